"""Traces that augmentation borrows from, and that cannot be read: told, and no more than that."""

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from seismollm_jax.data import stead, synthetic
from seismollm_jax.training import loop
from seismollm_jax.training.saved import find
from tests import setups

TRACES = 64


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A third of it is noise."""
    folder = tmp_path_factory.mktemp("noisy") / "data"
    synthetic.write(folder, traces=TRACES, seed=4, noise_share=0.34)
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / "data")


def spoil(folder: Path, category: str, count: int) -> list[str]:
    """Takes the numbers out of the first waveforms of a category; their names."""
    table = stead.read(folder).table
    names = table["trace_name"][table["category"] == category].iloc[:count].tolist()
    with h5py.File(folder / "merge.hdf5", "a") as file:
        for name in names:
            file["data"][name][...] = np.nan
    return names


def config(task: str, folder: Path, **augment: float) -> dict[str, Any]:
    """Two epochs in which every augmented sample borrows, rows in the order of the table."""
    changes = {
        **{"data.format": "stead", "data.split.by": "row", "data.split.shuffle": False},
        **{"train.epochs": 2, "augment.enabled": True, "augment.generate_noise_rate": 0.0},
        **{f"augment.{name}": value for name, value in augment.items()},
    }
    return setups.config(task, folder, changes)


def reports(text: str) -> list[str]:
    return [line for line in text.splitlines() if "could not be read" in line]


def assert_finished(workdir: Path) -> None:
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if line["part"] in ("train", "val")]
    assert losses
    assert all(math.isfinite(loss) for loss in losses)
    assert find(workdir).is_dir()


def test_noise_that_no_sample_is_made_of(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Magnitude has no noise among its samples, so these traces are read for others alone."""
    names = spoil(folder, "noise", 4)
    loop.run(config("magnitude", folder, real_noise_rate=1.0), tmp_path / "run")
    told = reports(capsys.readouterr().out)
    assert len(told) == 2  # once an epoch
    for line in told:  # those that chance has drawn, each once
        found = [name for name in names if repr(name) in line]
        assert found
        assert line.count("has 6000 samples that are not finite") == len(found)
        assert f"{len(found)} traces could not be read and were left out: " in line
    assert_finished(tmp_path / "run")


def test_events_that_are_samples_themselves_count_once(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (name, *_), (noise,) = spoil(folder, "earthquake", 1), spoil(folder, "noise", 1)
    settings = config("picking", folder, superpose_rate=1.0, real_noise_rate=1.0)
    settings["train"]["epochs"] = 1
    loop.run(settings, tmp_path / "run")
    told = reports(capsys.readouterr().out)
    for lost in (name, noise):
        assert len([line for line in told if repr(lost) in line]) == 1
    counts = [re.findall(r"(\d+) traces could not", line) for line in told]
    assert sum(int(number) for found in counts for number in found) == 2
    assert_finished(tmp_path / "run")


def test_nothing_is_told_where_all_can_be_read(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = config("magnitude", folder, real_noise_rate=1.0)
    settings["train"]["epochs"] = 1
    loop.run(settings, tmp_path / "run")
    assert not reports(capsys.readouterr().out)


def test_too_many_of_them_end_the_run(folder: Path, tmp_path: Path) -> None:
    noise = int((stead.read(folder).table["category"] == "noise").sum())
    spoil(folder, "noise", noise)
    message = r"too many traces cannot be read\. \d+ traces could not be read"
    with pytest.raises(loop.TrainingError, match=message):
        loop.run(config("magnitude", folder, real_noise_rate=1.0), tmp_path / "run")
