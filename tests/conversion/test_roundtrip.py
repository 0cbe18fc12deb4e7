"""Recorded checkpoints of the PyTorch original: to this project, in use there, and back."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import seismollm_jax as sj
from seismollm_jax import experiment as experiments
from seismollm_jax import tasks
from seismollm_jax.conversion import comparison, training_state
from seismollm_jax.conversion.network import state_shapes
from seismollm_jax.conversion.report import Report
from seismollm_jax.models.seismollm.model import SeisMoLLMConfig
from seismollm_jax.models.seismollm.names import checkpoint_table
from seismollm_jax.models.seismollm.recognise import recognise
from seismollm_jax.models.weights import Extra
from seismollm_jax.training import saved
from tests import setups
from tests.conversion import originals
from tests.golden_files import relative_difference, thin
from tests.models import tiny

OUTPUT = {"picking": 2e-5}  # largest relative difference from the recorded outputs


@dataclasses.dataclass(frozen=True)
class Trip:
    """The original's file, the checkpoint made of it, and the file made of that."""

    task: str
    source: Path
    workdir: Path
    back: Path
    there: Report
    again: Report


@pytest.fixture(scope="module", params=tiny.TASKS)
def trip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trip:
    """Not to be changed."""
    task, folder = request.param, tmp_path_factory.mktemp(request.param)
    source = originals.original(folder / "model.pth", task)
    workdir, back = folder / "run", folder / "back.pth"
    there = originals.import_file(source, workdir, originals.given(task), outputs=True)
    again = originals.export(workdir, back, outputs=task == "picking")
    return Trip(task, source, workdir, back, there, again)


def test_every_bit_comes_back(trip: Trip) -> None:
    found = originals.load(trip.back)
    assert found.pop("seismollm_jax").startswith("{")
    originals.assert_same(found, originals.load(trip.source))


def test_the_original_is_the_recorded_one(trip: Trip) -> None:
    """What the test above compares with, key by key from the recordings."""
    found, recorded = originals.load(trip.source), tiny.training(trip.task)
    layout = tiny.file_layout(trip.task)
    assert {k: (v.shape, v.dtype.name) for k, v in found["model_dict"].items()} == layout
    assert list(found["model_dict"]) == list(layout)
    assert len(found["optimizer_dict"]["state"]) == len(recorded["state_indices"]) > 100
    for name in ("epoch", "loss", "use_compile", "use_ddp", "scheduler_dict"):
        originals.assert_same(found[name], recorded[name])
    originals.assert_same(found["optimizer_dict"]["param_groups"], recorded["param_groups"])


def test_outputs_are_the_recorded_ones(trip: Trip) -> None:
    golden = tiny.golden(trip.task)
    found = sj.load(trip.workdir).forward(golden["io/L1024/x"])
    if trip.task == "back_azimuth":  # recorded one column at a time
        expected = np.stack([golden[f"io/L1024/out{i}"].ravel() for i in (0, 1)], axis=1).ravel()
    else:
        expected = golden["io/L1024/out"].ravel()
    difference = relative_difference(thin(found, 500), expected)
    print(f"{trip.task}: {difference:.1e}")
    assert difference < OUTPUT.get(trip.task, 1e-5)


def test_outputs_were_compared_with_pytorch(trip: Trip) -> None:
    """Of every task on the way here, of the one with most layers on the way back too."""
    for report in (trip.there, trip.again) if trip.task == "picking" else (trip.there,):
        result = report.facts["verification"]
        assert result["passed"] is True
        assert result["largest_difference"] <= result["tolerance"] <= 1e-4
        assert result["windows"] == [comparison.WINDOWS, originals.WINDOW, 3]


def test_the_reports_have_a_row_for_each_tensor(trip: Trip) -> None:
    layout, recorded = tiny.file_layout(trip.task), tiny.training(trip.task)
    count = len(layout) + 2 * len(recorded["state_indices"])
    rows = {row[0]: row for row in trip.there.rows}
    assert len(rows) == len(trip.there.rows) == len(trip.again.rows) == count
    assert {row[1] for row in trip.again.rows} == set(rows)
    for key, (shape, dtype) in layout.items():
        assert rows[key][3:] == (str(shape), dtype)
    ours = [row[1] for row in rows.values() if row[1] != "-"]
    assert len(set(ours)) == len(ours)
    parts = saved.read_shapes(saved.find(trip.workdir))
    names = {name for part in parts.values() for name in part}
    assert {name for name in ours if not name.startswith("opt/")} == names


def test_what_the_checkpoint_says_of_its_origin(trip: Trip) -> None:
    description = saved.read_description(saved.find(trip.workdir))
    recorded, conversion = tiny.training(trip.task), description["conversion"]
    assert conversion["source"] == "model.pth"
    assert len(conversion["sha256"]) == 64
    assert conversion["given"]["gpt2"]["n_head"] == tiny.CONFIG.gpt2.n_head
    assert conversion["assumed"] == {
        "sampling_rate_hz": 100.0,
        "normalisation": "std",
        "strides": [2, 2, 2, 1],
        "lora_alpha": 16.0,
        "lora_dropout": 0.1,
        "optimizer": "adam",
    }
    assert conversion["counters"] == {"step": 2, "values": recorded["num_batches_tracked"]}
    progress = {"step": 2, "epoch": 8, "best": recorded["loss"]}
    assert description["progress"] == progress | {"best_step": 2, "epochs_since_best": 0}
    optim = description["config"]["optim"]
    assert (optim["base_lr"], optim["max_lr"]) == (2e-4, 6e-4)
    assert (optim["up_steps"], optim["down_steps"], optim["name"]) == (3, 4, "adam")


@pytest.mark.parametrize("task", tiny.TASKS)
def test_the_published_size_by_its_shapes(task: str) -> None:
    layout = tiny.file_layout(task, full_size=True)
    found = recognise(
        {key: shape for key, (shape, _) in layout.items()},
        strides=(2, 2, 2, 1),
        lora_alpha=16.0,
        lora_dropout=0.1,
        tuning="full",
        gpt2=None,
    )
    assert found.config == SeisMoLLMConfig()
    output = tasks.get(task).output
    assert (found.per_sample, found.channels) == (output.per_sample, output.channels)
    experiment = experiments.make(
        setups.config(task, changes={"data.window": 6000}), dataclasses.asdict(found.config)
    )
    ours, table = state_shapes(experiment), list(checkpoint_table(found.config, output))
    expected = {
        entry.key: (entry.shape, entry.dtype)
        if isinstance(entry, Extra)
        else (entry.shape(ours[entry.path]), "float32")
        for entry in table
    }
    assert list(expected.items()) == list(layout.items())
    order = [entry.key for entry in training_state.parameters(table)]
    assert order == tiny.parameter_order(task)
