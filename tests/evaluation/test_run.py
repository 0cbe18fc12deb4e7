"""Evaluating a checkpoint: files, moved data, damaged traces, refusals."""

import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

from seismollm_jax import tasks
from seismollm_jax.data import catalogue
from seismollm_jax.evaluation.run import run
from seismollm_jax.training import checkpoint, loop
from tests import setups

PICTURES = {
    "picking": {"residuals.png", "examples.png"},
    "polarity": {"polarity.png"},
    "magnitude": {"magnitude.png"},
    "back_azimuth": {"back_azimuth_deg.png"},
    "distance": {"distance_km.png"},
}
TRAINED = ("picking", "magnitude")
COLUMNS = {
    "picking": [
        *("true_p_sample", "pred_p_sample", "p_probability", "p_residual_s"),
        *("true_s_sample", "pred_s_sample", "s_probability", "s_residual_s"),
    ],
    "polarity": ["true_polarity", "pred_polarity", "up_probability"],
    "magnitude": ["true_magnitude", "pred_magnitude"],
    "back_azimuth": ["true_back_azimuth_deg", "pred_back_azimuth_deg"],
    "distance": ["true_distance_km", "pred_distance_km"],
}


@pytest.fixture(scope="module")
def trained(
    request: pytest.FixtureRequest, data_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A checkpoint of a task: trained for two of them, random for the others."""
    task = getattr(request, "param", "magnitude")
    workdir = tmp_path_factory.mktemp(task)
    changes: dict[str, Any] = {"data.split.by": "row", "data.format": "stead"}
    if task == "picking":
        changes["options.p_threshold"] = 0.05  # so that there are picks
    config = setups.config(task, data_folder, changes)
    if task in TRAINED:
        loop.run(config, workdir)
    else:
        dataset, needs = catalogue.open_dataset(config["data"]), tasks.get(task).needs
        parts = catalogue.split_for(dataset, config["data"], needs=needs, uses_noise=False)
        data = {"dataset": catalogue.fingerprint(dataset), "split_hash": parts.hash}
        setups.save_random(workdir, config, data)
    return workdir


@pytest.mark.parametrize("trained", setups.TASKS, indirect=True)
def test_files_of_an_evaluation(trained: Path, data_folder: Path, tmp_path: Path) -> None:
    stored = checkpoint.load(trained)
    task = stored.description["task"]
    scores = run(trained, tmp_path / "out", part="val")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "metrics.json",
        "predictions.csv",
        "pictures",
    }
    pictures = list((tmp_path / "out/pictures").iterdir())
    assert {path.name for path in pictures} == PICTURES[task]
    assert all(path.stat().st_size > 3000 for path in pictures)
    summary = json.loads((tmp_path / "out/metrics.json").read_text())
    assert summary["scores"] == {k: v if np.isfinite(v) else None for k, v in scores.items()}
    assert (summary["task"], summary["split"], summary["unreadable"]) == (task, "val", {})
    assert (summary["data"], summary["checkpoint"]) == (str(data_folder), str(stored.path))
    assert summary["step"] == int(stored.path.name)
    table = pd.read_csv(tmp_path / "out/predictions.csv")
    assert list(table.columns) == ["trace_name", "row", "window_start", *COLUMNS[task]]
    assert len(table) == summary["records"] > 0
    assert table["row"].is_unique
    names = pd.read_csv(data_folder / "merge.csv", low_memory=False)["trace_name"]
    assert table["trace_name"].tolist() == names[table["row"]].tolist()
    if task not in TRAINED:
        return
    # The validation of the training run saw the same records, windows and network.
    logged = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    (last,) = [line for line in logged if line["part"] == "val"]
    for name, value in scores.items():
        assert (last[name] is None) == (not np.isfinite(value))
        if last[name] is not None:
            assert value == pytest.approx(last[name], rel=1e-5, abs=1e-6), name


def test_batch_size_does_not_matter(trained: Path, tmp_path: Path) -> None:
    first = run(trained, tmp_path / "a", part="all")
    second = run(trained, tmp_path / "b", part="all", batch_size=16)
    assert first.keys() == second.keys()
    for name in first:
        assert first[name] == pytest.approx(second[name], rel=1e-5, nan_ok=True)
    one, two = (pd.read_csv(tmp_path / name / "predictions.csv") for name in "ab")
    pd.testing.assert_frame_equal(one, two, rtol=1e-5)
    assert len(one) == 58


def test_moved_data(trained: Path, data_folder: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(data_folder, tmp_path / "moved")
    expected = run(trained, tmp_path / "a", part="val")
    assert run(trained, tmp_path / "b", part="val", data_path=str(moved)) == expected
    assert json.loads((tmp_path / "b/metrics.json").read_text())["data"] == str(moved)


def test_builtin_data_are_not_made_anew_where_they_moved_to(
    data_folder: Path, tmp_path: Path
) -> None:
    config = setups.config("magnitude", data_folder)
    loop.run(config, tmp_path / "run")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        run(tmp_path / "run", tmp_path / "out", data_path=str(tmp_path / "nowhere"))
    assert not (tmp_path / "nowhere").exists()
    moved = shutil.copytree(data_folder, tmp_path / "moved")
    assert run(tmp_path / "run", tmp_path / "out", data_path=str(moved))


def damage(folder: Path, names: list[str]) -> None:
    with h5py.File(folder / "merge.hdf5", "a") as file:
        for name in names:
            file["data"][name][5:10] = np.nan


def test_damaged_traces_are_counted_and_listed(
    trained: Path,
    data_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(trained, tmp_path / "whole", part="val")
    table = pd.read_csv(tmp_path / "whole/predictions.csv")
    copy = shutil.copytree(data_folder, tmp_path / "copy")
    bad = table["trace_name"].iloc[[0, 2]].tolist()
    damage(copy, bad)
    run(trained, tmp_path / "out", part="val", data_path=str(copy))
    summary = json.loads((tmp_path / "out/metrics.json").read_text())
    assert sorted(summary["unreadable"]) == sorted(bad)
    for name, reason in summary["unreadable"].items():
        assert f"trace {name!r} has 5 samples that are not finite" in reason
    assert summary["records"] == len(table) - 2
    rest = pd.read_csv(tmp_path / "out/predictions.csv")
    assert rest["trace_name"].tolist() == table.drop([0, 2])["trace_name"].tolist()
    assert "2 traces could not be read; metrics.json says why" in capsys.readouterr().out


@pytest.mark.parametrize("trained", ["picking", "magnitude"], indirect=True)
def test_a_split_without_a_readable_trace(trained: Path, data_folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(data_folder, tmp_path / "copy")
    damage(copy, pd.read_csv(copy / "merge.csv", low_memory=False)["trace_name"].tolist())
    message = r"none of the \d+ records in the val split of .* can be used; the first: .*finite"
    with pytest.raises(ValueError, match=message):
        run(trained, tmp_path / "out", part="val", data_path=str(copy))
    assert not (tmp_path / "out/metrics.json").exists()


def test_another_catalogue_is_named_as_such(
    trained: Path, data_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(data_folder, tmp_path / "copy")
    table = pd.read_csv(copy / "merge.csv", low_memory=False)
    table.iloc[:40].to_csv(copy / "merge.csv", index=False)
    message = r"another catalogue than the one .* no test part .*--split=all"
    with pytest.raises(ValueError, match=message):
        run(trained, tmp_path / "out", part="test", data_path=str(copy))
    run(trained, tmp_path / "out", part="all", data_path=str(copy))
    assert "another catalogue than that of the training" in capsys.readouterr().out
    assert json.loads((tmp_path / "out/metrics.json").read_text())["records"] <= 40


def test_the_same_catalogue_split_otherwise_is_refused(trained: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(trained, tmp_path / "run")
    for file in copy.glob("checkpoints/*/description/metadata"):
        description = json.loads(file.read_text())
        description["config"]["data"]["split"]["seed"] = 5
        file.write_text(json.dumps(description))
    message = r"the test split of .* is not the one of the training .*evaluate --split=all"
    with pytest.raises(ValueError, match=message):
        run(copy, tmp_path / "out", part="test")
    assert run(copy, tmp_path / "out", part="all")


def test_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(checkpoint.CheckpointError, match="holds no checkpoint"):
        run(tmp_path, tmp_path / "out")
