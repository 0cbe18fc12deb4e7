"""The first lines of a run."""

import jax

from seismollm_jax.training import summary
from tests import setups
from tests.training.steps import experiment


def test_parameters_by_kind() -> None:
    ours = experiment("magnitude")
    parts = ours.abstract()
    lines = summary.parameters(ours, parts.params, parts.frozen)
    assert lines[0].split() == ["learn", "frozen"]
    table = {
        line.split()[0]: [int(n.replace(",", "")) for n in line.split()[1:]] for line in lines[1:]
    }
    assert list(table) == ["adapters", "backbone", "embedder", "head", "total"]
    adapters = 2 * (16 + 48) + 2 * (16 + 64)  # rank 2; c_attn to 3 x 16, c_fc to 4 x 16
    assert table["adapters"] == [adapters, 0]
    block = 16 * 48 + 48 + 16 * 16 + 16 + 2 * 16 * 64 + 64 + 16
    # Positions, and three layer norms.
    assert table["backbone"] == [64 * 16 + 3 * 2 * 16, block]
    learn = sum(leaf.size for leaf in parts.params.values())
    assert table["total"] == [learn, block]
    assert len({len(line) for line in lines}) == 1  # aligned


def test_devices_and_batch() -> None:
    layout = setups.layout(8, fsdp=2)
    settings = {"batch_size": 64, "accumulate": 4}
    assert summary.devices(layout, settings) == [
        f"devices: 8 x {jax.devices()[0].device_kind}, 1 process(es)",
        "mesh: data 4 x fsdp 2 over 8 devices",
        "batch: 64 windows, 8 on each device in 4 micro-batches of 2",
    ]
    assert summary.devices(layout, {**settings, "accumulate": 1})[-1].endswith("8 on each device")
