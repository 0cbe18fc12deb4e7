"""The SeisT networks: names and sizes as published, outputs as PyTorch's, dropout, training."""

import hashlib
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs import base
from seismollm_jax import models
from seismollm_jax.conversion import torch_seist
from seismollm_jax.models import seist
from seismollm_jax.models.seist.config import SIZES, branch_widths, rounded
from seismollm_jax.models.seist.layers import drop_path, dropped, pooled
from seismollm_jax.models.seist.model import SeisT
from seismollm_jax.models.seist.names import checkpoint_table
from seismollm_jax.models.seist.recognise import recognise
from seismollm_jax.models.state import batch_stats, merge
from seismollm_jax.models.weights import Extra, RecognitionError
from tests import golden_files
from tests.models.seist_files import OUTPUTS, TINY, filled, parts, shapes, state_dict


@pytest.mark.parametrize("size", SIZES)
def test_names_and_shapes_of_the_published_files(size: str) -> None:
    known = golden_files.read_json("seist/keys.json")
    found = parts(seist.published(size, "dpk"), OUTPUTS["dpk"])
    ours, features = shapes(found), SIZES[size][0][-1].channels
    for task, output in OUTPUTS.items():
        ours |= {
            ("head", "linear", "kernel"): (features, output.channels),
            ("head", "linear", "bias"): (output.channels,),
        }
        table = list(checkpoint_table(seist.published(size, task), output))
        layout = {
            entry.key: (entry.shape, entry.dtype)
            if isinstance(entry, Extra)
            else (entry.shape(ours[entry.path]), "float32")
            for entry in table
        }
        lines = [f"{key} {shape} {dtype}" for key, (shape, dtype) in layout.items()]
        recorded = known[f"{size}_{task}"]
        assert len(layout) == recorded["tensors"]
        assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == recorded["sha256"]
        told = recognise({key: shape for key, (shape, _) in layout.items()})
        assert (told.size, told.channels) == (size, output.channels)
        assert told.per_sample == output.per_sample
    count = sum(int(np.prod(leaf.shape)) for leaf in found.params.values())
    assert count == known[f"{size}_dpk"]["parameters"]


def test_a_pooled_head_has_the_names_of_its_table() -> None:
    found = shapes(parts(TINY, OUTPUTS["pmp"]))
    table = checkpoint_table(TINY, OUTPUTS["pmp"])
    assert {entry.path for entry in table if not isinstance(entry, Extra)} == set(found)


def test_other_files_are_told() -> None:
    with pytest.raises(RecognitionError, match=r"have the widths .*; missing: out_head\.lin"):
        recognise({"stem.0.weight": (3,)})
    one_off = {f"encoder_layers.{s}.0.proj.weight": (w, 1, 1) for s, w in enumerate((16, 24, 32))}
    assert recognise({**one_off, "out_head.lin.weight": (1, 64)}).size == "s"


@pytest.mark.parametrize("task", ["dpk", "pmp"])
def test_outputs_as_pytorchs(task: str) -> None:
    pytest.importorskip("torch")
    output = OUTPUTS[task]
    arrays = state_dict(TINY, output)
    x = np.random.default_rng(1).normal(size=(2, 3, 101)).astype(np.float32)
    x[1, 0] = 0
    theirs = torch_seist.forward(
        arrays,
        x,
        strides=TINY.stem.strides,
        pooling=[stage.pooling for stage in TINY.stages],
        attention_pooling=[stage.attention_pooling for stage in TINY.stages],
        head_widths=[stage.head_width for stage in TINY.stages],
        output=output,
    )
    graphdef = parts(TINY, output).graphdef
    with jax.default_matmul_precision("highest"):
        run = jax.jit(lambda arrays, x: merge(graphdef, arrays)(x))  # type: ignore[operator]
        ours = np.asarray(run(filled(TINY, output, arrays), x.swapaxes(1, 2)))
    ours = ours.swapaxes(1, 2) if output.per_sample else ours
    assert np.std(theirs) > 1e-3
    assert golden_files.relative_difference(ours, theirs) < 2e-5


def test_the_witness_wants_every_tensor() -> None:
    pytest.importorskip("torch")
    arrays = state_dict(TINY, OUTPUTS["pmp"]) | {"stem.0.extra": np.zeros(3, np.float32)}
    with pytest.raises(ValueError, match=r"no place in this network: stem\.0\.extra"):
        torch_seist.forward(
            arrays,
            np.zeros((1, 3, 64), np.float32),
            strides=(2, 1),
            pooling=(2, 1),
            attention_pooling=(3, 1),
            head_widths=(4, 4),
            output=OUTPUTS["pmp"],
        )


@pytest.mark.parametrize(("time", "size"), [(1, 2), (12, 4), (13, 4), (15, 8), (3, 8)])
def test_pooling_counts_the_samples_that_are_there(time: int, size: int) -> None:
    x = np.random.default_rng(time).normal(size=(2, time, 3)).astype(np.float32) - 5
    windows = [x[:, i : i + size] for i in range(0, time, size)]
    expected = np.stack([window.mean(1) + window.max(1) for window in windows], 1)
    np.testing.assert_allclose(pooled(jnp.asarray(x), size), expected, rtol=1e-5, atol=1e-5)


def test_gradient_of_pooling_goes_to_the_first_of_equal_samples() -> None:
    gradient = jax.grad(lambda x: pooled(x, 4).sum())(jnp.zeros((1, 4, 1)))
    np.testing.assert_allclose(gradient[0, :, 0], [1.25, 0.25, 0.25, 0.25])


def test_paths_are_dropped_for_whole_samples() -> None:
    x = jnp.ones((200, 5, 3))
    found = np.asarray(dropped(drop_path(0.25), x, nnx.Rngs(dropout=0)))
    assert np.ptp(found, axis=(1, 2)).max() == 0
    assert set(np.unique(found)) == {np.float32(0), np.float32(1 / 0.75)}
    assert 0.1 < (found == 0).mean() < 0.4
    np.testing.assert_array_equal(dropped(drop_path(0.25), x, None), x)


def test_path_rates_grow_over_all_blocks() -> None:
    rates = np.concatenate(seist.published("s", "dpk").path_drop_rates())
    np.testing.assert_allclose(rates, np.arange(9) / 80)


@pytest.fixture(scope="module")
def network() -> SeisT:
    return SeisT(TINY, OUTPUTS["emg"], rngs=nnx.Rngs(0))


def test_training_moves_statistics_and_draws(network: SeisT) -> None:
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 64, 3)), jnp.float32)
    before = {name: np.asarray(value) for name, value in batch_stats(network).items()}

    @nnx.jit
    def run(model: SeisT, x: jax.Array, key: jax.Array) -> jax.Array:
        return model(x, train=True, rngs=nnx.Rngs(dropout=key))

    first, again, other = (run(network, x, jax.random.key(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    after = batch_stats(network)
    assert [name for name in before if np.array_equal(before[name], after[name])] == []


@pytest.mark.parametrize(
    ("channels", "branches", "group", "widths"),
    [(24, 2, 8, [16, 8]), (96, 2, 32, [64, 32]), (64, 4, 16, [16] * 4), (32, 2, 8, [16, 16])],
)
def test_widths_of_branches(channels: int, branches: int, group: int, widths: list[int]) -> None:
    assert branch_widths(channels, branches, group) == widths


def test_rounding_of_widths() -> None:
    # 9 and 19 would fall below 0.9 of themselves, and are raised.
    assert [rounded(v, 8) for v in (9, 14, 17, 19, 3)] == [16, 16, 16, 24, 8]


def settings(**changes: Any) -> dict[str, Any]:
    config = base.get_config("picking", "stead").to_dict()
    config["seist"] |= changes
    return models.get("seist_l").resolve(config, None)


def test_settings() -> None:
    found = settings(mlp_drop_rate=0.05)
    assert found["drop"]["path_drop_rate"] == 0.3
    assert found["drop"]["mlp_drop_rate"] == 0.05
    assert seist.from_settings(json.loads(json.dumps(found))) == seist.from_settings(found)
    with pytest.raises(ValueError, match=r"seist\.key_drop_rate=1\.5"):
        settings(key_drop_rate=1.5)


def test_windows_that_are_too_short() -> None:
    family = models.get("seist_s")
    found = settings()
    for window in range(2, 20):
        with pytest.raises(ValueError, match=r"data\.window at least 20"):
            family.check_window(found, OUTPUTS["dpk"], window)
        family.check_window(found, OUTPUTS["emg"], window)
    for window in (1, *range(20, 300), 6000, 8192):
        family.check_window(found, OUTPUTS["dpk"], window)
