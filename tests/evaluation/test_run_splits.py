"""Which records an evaluation takes: parts of a split, other catalogues, split files."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from seismollm_jax.data import split_files
from seismollm_jax.evaluation.run import run
from seismollm_jax.training import loop, saved
from tests import setups
from tests.evaluation.checkpoints import summary_of


def shortened(data_folder: Path, copy: Path) -> Path:
    """A copy of the dataset with 40 records in its catalogue."""
    shutil.copytree(data_folder, copy)
    table = pd.read_csv(copy / "merge.csv", low_memory=False)
    table.iloc[:40].to_csv(copy / "merge.csv", index=False)
    return copy


def test_another_catalogue_is_named_as_such(
    trained: Path, data_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shortened(data_folder, tmp_path / "copy")
    message = r"another catalogue than the one .* no test part .*--split=all"
    with pytest.raises(ValueError, match=message):
        run(trained, tmp_path / "out", part="test", data_path=str(copy))
    run(trained, tmp_path / "out", part="all", data_path=str(copy))
    assert "another catalogue than that of the training" in capsys.readouterr().out
    summary = json.loads((tmp_path / "out/metrics.json").read_text())
    assert summary["records"] <= 40
    assert summary["training_traces"] == "possible"


def test_other_splits_where_allowed(
    trained: Path, data_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shortened(data_folder, tmp_path / "copy")
    out = tmp_path / "out"
    run(trained, out, part="test", data_path=str(copy), allow_other_split=True)
    assert "traces of the training may be among these" in capsys.readouterr().out
    summary = summary_of(out)
    assert (summary["split"], summary["training_traces"]) == ("test", "possible")
    # Where it is the training's split after all, that is said nevertheless.
    run(trained, out, part="test", allow_other_split=True)
    assert "may be among these" not in capsys.readouterr().out
    description = saved.load(trained).description
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
    assert written.hash == saved.load(trained).description["split_hash"]
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
    with pytest.raises(saved.CheckpointError, match="holds no checkpoint"):
        run(tmp_path, tmp_path / "out")
