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
from seismollm_jax.data import catalogue, split_files
from seismollm_jax.evaluation.run import run
from seismollm_jax.training import checkpoint, loop
from tests import formats, setups

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
        *("true_p_sample", "pred_p_sample", "p_probability", "p_residual_s", "p_labelled"),
        *("true_s_sample", "pred_s_sample", "s_probability", "s_residual_s", "s_labelled"),
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


@pytest.mark.parametrize("form", ["seisbench_mixed", "diting", "mixture"])
def test_data_of_another_format(
    trained: Path, data_folder: Path, tmp_path: Path, form: str
) -> None:
    """It is found by looking, and resampled to the rate of the training."""
    path = tmp_path / "other"
    if form == "mixture":
        path = tmp_path / "mix.toml"
        path.write_text(f"[one]\nformat = 'stead'\npath = '{data_folder}'")
    else:
        formats.FORMATS[form](path)
        path = path / "DiTing330km_light.csv" if form == "diting" else path
    run(trained, tmp_path / "out", part="all", data_path=str(path))
    table = pd.read_csv(tmp_path / "out/predictions.csv")
    assert len(table) >= 15
    assert table["pred_magnitude"].notna().all()
    summary = json.loads((tmp_path / "out/metrics.json").read_text())
    assert summary["split_by"] is None
    assert ("sources" in summary) == (form == "mixture")
    if form == "mixture":
        overall = {k: v for k, v in summary["scores"].items() if k != "loss"}
        assert summary["sources"] == {"one": pytest.approx(overall)}


def test_all_needs_no_way_of_splitting(trained: Path, tmp_path: Path) -> None:
    """Not even if the training's way is impossible with these data."""
    formats.FORMATS["seisbench"](tmp_path / "other")
    table = pd.read_csv(tmp_path / "other" / "metadata.csv").drop(columns="split")
    table.to_csv(tmp_path / "other" / "metadata.csv", index=False)
    copy = shutil.copytree(trained, tmp_path / "run")
    for file in copy.rglob("description/metadata"):
        description = json.loads(file.read_text())
        description["config"]["data"]["split"]["by"] = "column"
        file.write_text(json.dumps(description))
    run(copy, tmp_path / "out", part="all", data_path=str(tmp_path / "other"))
    assert len(pd.read_csv(tmp_path / "out/predictions.csv")) > 15
    with pytest.raises(ValueError, match=r"data\.split\.by=column is impossible"):
        run(copy, tmp_path / "out", data_path=str(tmp_path / "other"))


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
    summary = json.loads((tmp_path / "out/metrics.json").read_text())
    assert summary["records"] <= 40
    assert summary["training_traces"] == "possible"


def summary_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metrics.json").read_text())


def test_other_splits_where_allowed(
    trained: Path, data_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(data_folder, tmp_path / "copy")
    table = pd.read_csv(copy / "merge.csv", low_memory=False)
    table.iloc[:40].to_csv(copy / "merge.csv", index=False)
    out = tmp_path / "out"
    run(trained, out, part="test", data_path=str(copy), allow_other_split=True)
    assert "traces of the training may be among these" in capsys.readouterr().out
    summary = summary_of(out)
    assert (summary["split"], summary["training_traces"]) == ("test", "possible")
    # Where it is the training's split after all, that is said nevertheless.
    run(trained, out, part="test", allow_other_split=True)
    assert "may be among these" not in capsys.readouterr().out
    description = checkpoint.load(trained).description
    summary = summary_of(out)
    assert (summary["training_traces"], summary["split_hash"]) == (
        "none",
        description["split_hash"],
    )
    assert summary["split_by"] == {
        "by": "row",
        "train": 0.8,
        "val": 0.1,
        "seed": 0,
        "shuffle": True,
    }
    for part in ("train", "all"):
        run(trained, out, part=part)
        assert summary_of(out)["training_traces"] == "included"


def test_the_split_file_of_the_training(trained: Path, data_folder: Path, tmp_path: Path) -> None:
    """With it the test part is the training's on a copy in another order, and on half of one."""
    file = trained / split_files.NAME
    written = split_files.read(file)
    assert written.hash == checkpoint.load(trained).description["split_hash"]
    assert written.about["made"]["by"] == "row"
    assert written.about["dataset"]["traces"] == 64
    run(trained, tmp_path / "here", part="test")
    expected = pd.read_csv(tmp_path / "here/predictions.csv").set_index("trace_name")
    copy = shutil.copytree(data_folder, tmp_path / "copy")
    table = pd.read_csv(copy / "merge.csv", low_memory=False)
    wanted = table["trace_name"].isin(expected.index[1:])
    for rows in (table.sample(frac=1, random_state=0), table[wanted | (table.index % 2 == 0)]):
        rows.to_csv(copy / "merge.csv", index=False)
        # Without the file the shares are drawn anew from other rows.
        with pytest.raises(ValueError, match=r"--split_file=WORKDIR/split\.csv\.gz"):
            run(trained, tmp_path / "out", part="test", data_path=str(copy))
        run(trained, tmp_path / "out", data_path=str(copy), split_file=str(file))
        summary = summary_of(tmp_path / "out")
        assert summary["training_traces"] == "none"
        assert summary["split_by"] == {"by": "file", "path": str(file)}
        found = pd.read_csv(tmp_path / "out/predictions.csv").set_index("trace_name")
        assert set(expected.index[1:]) <= set(found.index) <= set(expected.index)
        # Their windows are others, since those go by row number.
        assert found["true_magnitude"].equals(expected["true_magnitude"][found.index])


def test_another_split_file_is_refused(trained: Path, tmp_path: Path) -> None:
    names = split_files.read(trained / split_files.NAME).names
    everything = np.concatenate(list(names.values()))
    other = tmp_path / "other.csv"
    lines = [f"{name},{'test' if i % 2 else 'train'}" for i, name in enumerate(everything)]
    other.write_text("\n".join(["trace_name,split", *lines]))
    with pytest.raises(ValueError, match="is not the one of the training"):
        run(trained, tmp_path / "out", split_file=str(other))
    run(trained, tmp_path / "out", split_file=str(other), allow_other_split=True)
    summary = summary_of(tmp_path / "out")
    assert summary["training_traces"] == "possible"
    assert summary["records"] == len(everything) // 2


def test_training_and_going_on_with_a_split_file(
    trained: Path, data_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run by file is the run that the file is from, and either can be continued as the other."""
    changes = {"data.split.by": "file", "data.split.path": str(trained / split_files.NAME)}
    config = setups.config("magnitude", data_folder, {**changes, "data.format": "stead"})
    scores = loop.run(config, tmp_path / "run")
    logged = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    (last,) = [line for line in logged if line["part"] == "val"]
    assert scores["loss"] == pytest.approx(last["loss"], rel=1e-6)
    shown = capsys.readouterr().out
    assert "split by file" in shown
    assert "events have traces in more than one part" in shown
    first, second = (
        split_files.read(path / split_files.NAME) for path in (trained, tmp_path / "run")
    )
    assert first.hash == second.hash
    assert second.about["made"] == {"by": "file", "path": changes["data.split.path"]}
    config["data"]["split"]["by"], config["train"]["epochs"] = "row", 2
    loop.run(config, tmp_path / "run")
    assert "continuing at step" in capsys.readouterr().out
    assert split_files.read(tmp_path / "run" / split_files.NAME).about == second.about


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"train": 0.0, "val": 0.0}, r"the train part .* evaluation only; .*: raise train"),
        ({"by": "file"}, r"the val part .* evaluation only; .*mine\.csv.*: take another way"),
    ],
)
def test_a_split_for_evaluation_alone(
    data_folder: Path, tmp_path: Path, split: dict[str, Any], message: str
) -> None:
    table = pd.read_csv(data_folder / "merge.csv", low_memory=False)
    file = tmp_path / "mine.csv"
    table[["trace_name"]].assign(split="train").to_csv(file, index=False)
    config = setups.config("picking", data_folder)
    config["data"]["split"].update(path=str(file), **split)
    with pytest.raises(ValueError, match=message):
        loop.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


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
