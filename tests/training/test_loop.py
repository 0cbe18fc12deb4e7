"""Whole training runs: what they leave, how they continue, when they stop."""

import dataclasses
import gzip
import io
import json
import math
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from seismollm_jax.evaluation import run
from seismollm_jax.training import loop
from seismollm_jax.training.optim import Triangle
from seismollm_jax.training.saved import CheckpointError, find, load, read_description
from tests import setups
from tests.training.runs import assert_same_network, latest, lines

EPOCHS = 4
# 46 of the 64 traces are earthquakes of the training part: 92 windows with augmentation, 6 steps.
EPOCH_STEPS = 6
CHANGES = {"augment.enabled": True, "train.epochs": EPOCHS, "optim.up_steps": 5}


def config(folder: Path, **changes: Any) -> dict[str, Any]:
    return setups.config("magnitude", folder, {**CHANGES, **changes})


@pytest.fixture(scope="module")
def straight(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four epochs in one go; not to be changed."""
    workdir = tmp_path_factory.mktemp("straight")
    loop.run(config(data_folder, **{"train.pictures": 2}), workdir)
    return workdir


def test_what_a_run_leaves(straight: Path, data_folder: Path) -> None:
    wanted = ["checkpoints", "config.json", "metrics.jsonl", "pictures"]
    wanted += ["split.csv.gz", "tensorboard"]
    assert sorted(path.name for path in straight.iterdir()) == wanted
    assert (straight / "pictures/training.png").stat().st_size > 1000
    assert json.loads((straight / "config.json").read_text())["data"]["path"] == str(data_folder)
    train, val = lines(straight, "train"), lines(straight, "val")
    ends = [EPOCH_STEPS * epoch for epoch in range(1, EPOCHS + 1)]
    assert list(val) == ends
    assert list(train) == list(range(2, EPOCH_STEPS * EPOCHS + 1, 2))
    settings = config(data_folder)["optim"]
    rate = Triangle(settings["base_lr"], settings["max_lr"], 5, settings["down_steps"])
    for step, line in train.items():
        assert line["lr"] == rate(step - 1)
        assert math.isfinite(line["loss"])
    assert {"loss", "magnitude/mae", "magnitude/r2"} <= set(val[EPOCH_STEPS])
    assert [*lines(straight, "epoch")] == ends
    speeds = [json.loads(line) for line in (straight / "metrics.jsonl").read_text().splitlines()]
    speeds = [row for row in speeds if row["part"] == "train"]
    for row in speeds:
        assert row["samples_per_s_per_device"] == pytest.approx(row["samples_per_s"] / 8)
        assert 0 <= row["input_wait"] <= 1
        assert not row.keys() & {"mfu", "peak_memory_gib"}  # CPUs have no published ones
    assert all(math.isfinite(line["train_loss"]) for line in lines(straight, "epoch").values())


def test_pictures_of_the_same_records_at_each_validation(straight: Path) -> None:
    events = EventAccumulator(str(straight / "tensorboard"))
    events.Reload()
    assert sorted(events.Tags()["images"]) == ["val/examples", "val/magnitude"]
    for name in ("val/examples", "val/magnitude"):
        pictures = events.Images(name)
        assert [picture.step for picture in pictures] == [*lines(straight, "val")]
        assert len({picture.encoded_image_string for picture in pictures}) == EPOCHS
    picture = pictures[-1]
    decoded = imread(io.BytesIO(picture.encoded_image_string))
    assert decoded.shape == (picture.height, picture.width, 4)


def test_a_dry_run_says_everything_and_leaves_nothing(
    straight: Path, data_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workdir = tmp_path / "run"
    assert loop.run(config(data_folder), workdir, dry_run=True) == {}
    console = capsys.readouterr().out
    assert "mesh: data 8 x fsdp 1 over 8 devices\nbatch: 16 windows, 2 on each device" in console
    assert re.search(r"memory on each device: [\d.]+ [KMG]iB for a step", console)
    assert "from the beginning" in console
    assert "dry run: nothing was trained or written" in console
    assert not workdir.exists()
    # Of a run that would continue.
    shutil.copytree(straight, workdir)
    before = {path: path.stat().st_mtime_ns for path in workdir.rglob("*")}
    loop.run(config(data_folder, **{"train.epochs": 9}), workdir, dry_run=True)
    assert f"continuing at step {EPOCHS * EPOCH_STEPS}" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in workdir.rglob("*")} == before


def test_a_profile_has_the_steps_asked_for(
    data_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"train.epochs": 1, "train.peak_tflops": 1e-3}
    loop.run(config(data_folder, **changes), tmp_path, profile_steps=2)
    said = re.search(r"profile of steps 3 to 4 in (\S+): open that", capsys.readouterr().out)
    assert said
    with gzip.open(said[1]) as file:
        events = json.load(file)["traceEvents"]
    steps = [event["args"]["step_num"] for event in events if event.get("name") == "train"]
    assert steps == ["3", "4"]
    calls = [event for event in events if event.get("name") == "PjitFunction(train_step)"]
    assert calls
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))  # for TensorBoard
    rows = (json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines())
    assert all(row["mfu"] > 0 for row in rows if row["part"] == "train")
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert events.Tags()["images"] == []


def test_best_and_latest_checkpoint_say_what_they_are(straight: Path, data_folder: Path) -> None:
    losses = {step: line["loss"] for step, line in lines(straight, "val").items()}
    best = min(losses, key=lambda step: losses[step])
    assert find(straight).name == str(best)
    kept = {int(path.name) for path in (straight / "checkpoints").iterdir()}
    assert kept == {best, (EPOCHS - 1) * EPOCH_STEPS, EPOCHS * EPOCH_STEPS}
    description = read_description(latest(straight))
    progress = description["progress"]
    assert (progress["step"], progress["epoch"]) == (EPOCHS * EPOCH_STEPS, EPOCHS)
    assert (progress["best"], progress["best_step"]) == (losses[best], best)
    assert description["task"] == "magnitude"
    assert description["config"]["data"]["path"] == str(data_folder)
    assert description["contract"] == {
        "sampling_rate_hz": 100.0,
        "component_order": "ZNE",
        "normalisation": "std",
        "window": 640,
        "p_position_ratio": None,
        "output": {"per_sample": False, "channels": 1, "activation": "sigmoid", "scale": 8.0},
        "labels": ["magnitude"],
    }
    assert description["validation"]["loss"] == losses[EPOCHS * EPOCH_STEPS]
    assert "random" in description["pretrained"]["source"]


def test_stopping_and_continuing_changes_nothing(
    straight: Path, data_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loop.run(config(data_folder, **{"train.epochs": 1}), tmp_path)
    assert "from the beginning" in capsys.readouterr().out
    loop.run(config(data_folder), tmp_path)
    assert f"continuing at step {EPOCH_STEPS}" in capsys.readouterr().out
    assert lines(tmp_path, "train") == lines(straight, "train")
    assert lines(tmp_path, "val") == lines(straight, "val")
    assert_same_network(latest(tmp_path), latest(straight))
    assert_same_network(find(tmp_path), find(straight))
    # A third time there is nothing left to do, and the scores are those of the last validation.
    files = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    again = loop.run(config(data_folder), tmp_path)
    assert again.items() <= lines(straight, "val")[EPOCHS * EPOCH_STEPS].items()
    assert again
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == files


def test_other_seeds_and_orders_give_other_runs(
    straight: Path, data_folder: Path, tmp_path: Path
) -> None:
    """What the tests of sameness would miss if nothing depended on anything."""
    loop.run(config(data_folder, **{"train.epochs": 1, "seed": 1}), tmp_path / "seed")
    loop.run(config(data_folder, **{"train.epochs": 1, "train.shuffle": False}), tmp_path / "order")
    runs = [lines(path, "train")[2]["loss"] for path in (straight, *tmp_path.iterdir())]
    assert len(set(runs)) == 3


def test_number_of_steps_instead_of_epochs(data_folder: Path, tmp_path: Path) -> None:
    loop.run(config(data_folder, **{"train.steps": EPOCH_STEPS + 1}), tmp_path)
    assert latest(tmp_path).name == str(2 * EPOCH_STEPS)


def test_another_split_is_refused(straight: Path, data_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(straight, tmp_path / "run")
    changed = config(data_folder, **{"data.split.seed": 1, "train.epochs": 9})
    message = r"began with the split of the data = \w+; this configuration has \w+: restore it"
    with pytest.raises(ValueError, match=message):
        loop.run(changed, tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embedder.channels": (2, 2, 4)}, r"the model = \{'embedder': .*restore it, or use a fr"),
        ({"data.normalisation": "max"}, r"the input = \{'normalisation': 'std'\}; .* 'max'\}"),
        ({"seed": 1}, "seed = 0; this configuration has 1"),
        ({"optim.name": "sgd"}, "optim.name = adam"),
        ({"train.batch_size": 8}, "train.batch_size = 16"),
        ({"train.shuffle": False}, "train.shuffle = True"),
        ({"augment.gap_rate": 0.0}, r"augment = \{'gap_rate': 0\.4\}"),
    ],
)
def test_another_run_is_not_continued(
    straight: Path, data_folder: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    shutil.copytree(straight, tmp_path / "run")
    with pytest.raises(ValueError, match=message):
        loop.run(config(data_folder, **{"train.epochs": 9, **changes}), tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train.batch_size": 12}, r"train\.batch_size=12 does not divide over 8 devices"),
        ({"train.eval_batch_size": 0}, r"train\.eval_batch_size=0 does not divide"),
        ({"train.epochs": 0}, r"train\.epochs=0 must be at least 1"),
        ({"train.log_every": 0}, r"train\.log_every=0 must be at least 1"),
        ({"data.split.train": 1.0, "data.split.val": 0.0}, r"the val part of .* is empty"),
    ],
)
def test_numbers_that_make_no_sense(
    data_folder: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        loop.run(config(data_folder, **changes), tmp_path)


@dataclasses.dataclass
class Scripted:
    """An outcome of a validation that says what it is told."""

    loss: float
    unread: tuple[int, ...] = ()
    records: int = 0

    def scores(self) -> dict[str, float]:
        return {"loss": self.loss}


def script(monkeypatch: pytest.MonkeyPatch, losses: list[float]) -> None:
    left = iter(losses)
    monkeypatch.setattr(loop, "evaluate", lambda *arguments, **options: Scripted(next(left)))


def test_stops_when_nothing_improves(
    data_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With a patience of 1, two epochs without improvement are one too many; NaN is none."""
    script(monkeypatch, [math.nan, 2.0, 1.0, math.nan, 1.5, 0.1])
    settings = config(data_folder, **{"train.patience": 1, "train.epochs": 6})
    loop.run(settings, tmp_path)
    assert "stopped: no improvement in 2 epochs" in capsys.readouterr().out
    assert list(lines(tmp_path, "val")) == [EPOCH_STEPS * epoch for epoch in (1, 2, 3, 4, 5)]
    assert lines(tmp_path, "val")[4 * EPOCH_STEPS]["loss"] is None
    kept = sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir())
    assert kept == [3 * EPOCH_STEPS, 4 * EPOCH_STEPS, 5 * EPOCH_STEPS]
    assert find(tmp_path).name == str(3 * EPOCH_STEPS)
    progress = read_description(latest(tmp_path))["progress"]
    assert progress["epochs_since_best"] == 2
    loop.run(settings, tmp_path)  # stays stopped
    assert latest(tmp_path).name == str(5 * EPOCH_STEPS)


def test_patience_begins_anew_after_an_improvement(
    data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(monkeypatch, [1.0, 2.0, 0.5, 2.0])
    loop.run(config(data_folder, **{"train.patience": 1}), tmp_path)
    assert latest(tmp_path).name == str(EPOCHS * EPOCH_STEPS)
    assert find(tmp_path).name == str(3 * EPOCH_STEPS)


def spoil(folder: Path, count: int) -> list[str]:
    """Removes the waveforms of the first earthquakes."""
    table = pd.read_csv(folder / "merge.csv", low_memory=False)
    names = table.loc[table["trace_category"] != "noise", "trace_name"].iloc[:count].tolist()
    with h5py.File(folder / "merge.hdf5", "a") as file:
        for name in names:
            file["data"][name][...] = np.nan
    return names


def stead(folder: Path, **changes: Any) -> Mapping[str, Any]:
    """The files are read as they are; the built-in format would say that they changed."""
    return config(folder, **{"data.format": "stead", "train.epochs": 1, **changes})


def test_bad_traces_are_left_out_and_named(
    data_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(data_folder, tmp_path / "data")
    names = spoil(folder, 3)
    split = {"data.split.by": "row", "data.split.shuffle": False}
    loop.run(stead(folder, **split), tmp_path / "run")
    console = capsys.readouterr().out
    assert "3 traces could not be read and were left out" in console
    for name in names:
        assert f"trace {name!r} has 6000 samples that are not finite" in console
    assert latest(tmp_path / "run").is_dir()


def test_too_many_bad_traces_end_the_run(data_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(data_folder, tmp_path / "data")
    spoil(folder, 12)
    split = {"data.split.by": "row", "data.split.shuffle": False}
    message = r"too many traces cannot be read\. 12 traces could not be read"
    with pytest.raises(loop.TrainingError, match=message):
        loop.run(stead(folder, **split), tmp_path / "run")


def test_fine_tuning_starts_from_a_checkpoint(
    straight: Path, data_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    standing = {"optim.base_lr": 0.0, "optim.max_lr": 0.0, "train.epochs": 1}
    standing["train.batch_norm"] = "stored"
    loop.run(config(data_folder, start_from=str(straight), **standing), tmp_path)
    assert "batch norms: statistics stored with the weights" in capsys.readouterr().out
    source, tuned = load(straight), load(tmp_path)
    for before, after in ((source.params, tuned.params), (source.stats, tuned.stats)):
        assert before.keys() == after.keys()
        for name, value in before.items():
            np.testing.assert_array_equal(after[name], value)
    assert tuned.description["pretrained"]["source"] == f"checkpoint {source.path}"
    first = lines(tmp_path, "val")[0]  # of the network as it came, on the same records
    scores = {name: value for name, value in first.items() if name not in ("step", "part")}
    assert scores == pytest.approx(source.description["validation"], rel=1e-5)


def test_traces_of_the_earlier_training_are_named_when_held_out(
    straight: Path, data_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    changes = {"start_from": str(straight), "train.epochs": 1}
    loop.run(config(data_folder, **changes), tmp_path / "same")
    assert "held out here" not in capsys.readouterr().out
    other = {**changes, "data.split.by": "row", "data.split.seed": 3}
    loop.run(config(data_folder, **other), tmp_path / "other")
    console = capsys.readouterr().out
    assert "with the names of some that are held out here (" in console
    repair = {"data.split.by": "file", "data.split.path": str(straight / "split.csv.gz")}
    assert f"data.split.path={straight / 'split.csv.gz'}" in console
    loop.run(config(data_folder, **changes, **repair), tmp_path / "mended")
    assert "held out here" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embedder.channels": (2, 2, 4)}, r"has other arrays or sizes"),
        ({"model": "seist_s"}, r"is a network with model='seismollm'; this .* has 'seist_s'"),
        ({"data.normalisation": "max"}, r"trained with normalisation 'std'; .* 'max'"),
    ],
)
def test_fine_tuning_of_something_else(
    straight: Path, data_folder: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        loop.run(config(data_folder, start_from=str(straight), **changes), tmp_path)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("stored", r"train\.batch_norm='stored' keeps .* of a trained network.* give start_from"),
        ("running", r"train\.batch_norm='running' is not one of batch, stored"),
    ],
)
def test_statistics_that_cannot_be(
    data_folder: Path, tmp_path: Path, choice: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        loop.run(config(data_folder, **{"train.batch_norm": choice}), tmp_path)
    assert not any(tmp_path.iterdir())


def test_nothing_to_leave_out(data_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"adapters_only: every array .*'seismollm'\) learns"):
        loop.run(config(data_folder, **{"train.adapters_only": True}), tmp_path)
    assert not any(tmp_path.iterdir())


def test_a_member_alone_is_recognised_after_a_mixture(
    straight: Path, data_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """And the other way round: a mixture after one of its members."""
    mix = tmp_path / "mix.toml"
    mix.write_text(f"[one]\nformat = 'stead'\npath = '{data_folder}'")
    mixed = {"data.format": "mixture", "data.path": str(mix), "train.epochs": 1}
    other = {"data.split.by": "row", "data.split.seed": 3, "train.epochs": 1}
    loop.run(config(data_folder, **mixed), tmp_path / "mixed")
    capsys.readouterr()
    loop.run(config(data_folder, **other, start_from=str(tmp_path / "mixed")), tmp_path / "alone")
    console = capsys.readouterr().out
    assert "with the names of some that are held out here (" in console
    assert "keeps them apart" not in console  # the names in that file are those of the mixture
    loop.run(config(data_folder, **{**mixed, **other}, start_from=str(straight)), tmp_path / "b")
    assert "held out here (" in capsys.readouterr().out


def test_records_in_another_order_are_another_run(data_folder: Path, tmp_path: Path) -> None:
    """Batches are made by position, so the rest of the run would see other ones."""
    folder = shutil.copytree(data_folder, tmp_path / "data")
    ways = {"data.split.by": "event", "train.epochs": 1}
    loop.run(stead(folder, **ways), tmp_path / "run")
    table = pd.read_csv(folder / "merge.csv", low_memory=False)
    table.iloc[::-1].to_csv(folder / "merge.csv", index=False)
    with pytest.raises(ValueError, match="began with the order of the training records = "):
        loop.run(stead(folder, **{**ways, "train.epochs": 2}), tmp_path / "run")


def test_a_label_that_nobody_has_is_named(
    data_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """A picker trained on P alone answers for S too, and must be known to mean nothing by it."""
    folder = shutil.copytree(data_folder, tmp_path / "data")
    table = pd.read_csv(folder / "merge.csv", low_memory=False)
    table.assign(s_arrival_sample=np.nan).to_csv(folder / "merge.csv", index=False)
    changes = {"data.format": "stead", "train.epochs": 1}
    loop.run(setups.config("picking", folder, changes), tmp_path / "run")
    console = capsys.readouterr().out
    assert re.search(r"training records: \d+ with p_sample, 0 with s_sample", console)
    said = "no training record had s_sample: what this network says of it means nothing"
    assert said in console
    run.run(tmp_path / "run", tmp_path / "out", part="val")
    assert said in capsys.readouterr().out
