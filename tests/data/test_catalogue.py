"""Opening a dataset by its configuration and splitting it for a task."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from seismollm_jax import tasks
from seismollm_jax.data import catalogue, split_files
from seismollm_jax.data.catalogue import fingerprint, open_dataset, split_for
from seismollm_jax.data.records import Dataset
from tests import setups


def settings(folder: Path | str, **changes: Any) -> dict[str, Any]:
    """The `data` part of a configuration."""
    found = setups.config("picking", folder)["data"]
    split = {name: changes.pop(name) for name in ("by", "train", "val", "file") if name in changes}
    split["path"] = str(split.pop("file", ""))
    return {**found, "split": {**found["split"], "by": "row", **split}, **changes}


@pytest.fixture(scope="module")
def dataset(data_folder: Path) -> Dataset:
    return open_dataset(settings(data_folder))


def parts_of(dataset: Dataset, task: str, **changes: Any) -> catalogue.Parts:
    found = tasks.get(task)
    given = settings("", **changes)
    return split_for(dataset, given, needs=found.needs, uses_noise=found.uses_noise)


def test_builtin_data_are_written_when_missing(tmp_path: Path, data_folder: Path) -> None:
    folder = tmp_path / "new" / "data"
    made = open_dataset(settings(folder))
    assert made.name == "builtin"
    assert len(made.table) == 64
    written = (folder / "merge.hdf5").stat().st_mtime_ns
    assert fingerprint(open_dataset(settings(folder))) == fingerprint(made)
    assert (folder / "merge.hdf5").stat().st_mtime_ns == written
    assert fingerprint(made) == fingerprint(open_dataset(settings(data_folder)))


def test_the_same_files_as_stead(data_folder: Path, dataset: Dataset) -> None:
    stead = open_dataset(settings(data_folder, format="stead"))
    assert (stead.name, dataset.name) == ("stead", "builtin")
    pd.testing.assert_frame_equal(stead.table, dataset.table)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"format": "tape"}, ValueError, r"data\.format='tape' is not one of stead, builtin"),
        ({"path": ""}, ValueError, r"data\.path is empty: give .*--config\.data\.path=DIR"),
        ({"format": "stead", "path": "no/where"}, FileNotFoundError, r"'no/where' does not exist"),
        ({"table": "eq.csv", "format": "stead"}, FileNotFoundError, r"eq\.csv does not exist"),
    ],
)
def test_what_cannot_be_opened(
    data_folder: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        open_dataset(settings(data_folder, **changes))


def test_other_builtin_data_are_not_overwritten(data_folder: Path) -> None:
    with pytest.raises(FileExistsError, match="another synthetic dataset"):
        open_dataset(settings(data_folder, builtin={"traces": 32, "seed": 0}))


@pytest.mark.parametrize("task", list(tasks.TASKS))
@pytest.mark.parametrize("by", ["row", "event", "station", "time"])
def test_parts_hold_usable_rows_once(dataset: Dataset, task: str, by: str) -> None:
    sizes = {"train": 0.6, "val": 0.2}
    parts = parts_of(dataset, task, by=by, **sizes)
    assert list(parts.rows) == ["train", "val", "test"]
    rows = np.concatenate(list(parts.rows.values()))
    assert len(set(rows.tolist())) == len(rows)
    assert len(rows) + sum(parts.left_out.values()) == len(dataset.table)
    table = dataset.table.iloc[rows]
    earthquakes = table[table["category"] == "earthquake"]
    assert (len(earthquakes) < len(table)) == tasks.get(task).uses_noise
    for need in tasks.get(task).needs:
        found = earthquakes[need.split("|")]
        known = found >= 0 if need == "polarity" else found.notna()
        assert known.any(axis=1).all()


def test_noise_can_be_left_out(dataset: Dataset) -> None:
    with_noise = parts_of(dataset, "picking")
    without = parts_of(dataset, "picking", noise_rows=False)
    noise = int((dataset.table["category"] == "noise").sum())
    assert noise > 0
    assert with_noise.left_out == {}
    assert without.left_out == {"noise trace": noise}
    assert without.hash != with_noise.hash


def test_a_row_is_in_the_same_part_for_tasks_with_the_same_rows(dataset: Dataset) -> None:
    """Splitting comes before the choice of rows, so that no task trains on another's test data."""
    side: dict[int, str] = {}
    for task in ("magnitude", "polarity", "distance", "back_azimuth"):
        for part, rows in parts_of(dataset, task).rows.items():
            for row in rows.tolist():
                assert side.setdefault(row, part) == part


def test_hash_knows_traces_and_parts_not_places(dataset: Dataset, data_folder: Path) -> None:
    parts = parts_of(dataset, "magnitude")
    assert parts.hash == parts_of(dataset, "magnitude").hash
    moved = dataclasses.replace(dataset, path=Path("elsewhere"))
    assert parts_of(moved, "magnitude").hash == parts.hash
    assert parts_of(dataset, "magnitude", train=0.7).hash != parts.hash
    renamed = dataset.table.assign(trace_name=dataset.table["trace_name"] + "x")
    other = dataclasses.replace(dataset, table=renamed)
    assert parts_of(other, "magnitude").hash != parts.hash
    assert fingerprint(other) != fingerprint(dataset) == fingerprint(moved)


def test_no_row_with_the_label(dataset: Dataset) -> None:
    table = dataset.table.assign(polarity=np.full(len(dataset.table), -1, np.int8))
    message = r"no row of .* can be used: the task needs .*polarity; left out: .*with no polarity"
    with pytest.raises(ValueError, match=message):
        parts_of(dataclasses.replace(dataset, table=table), "polarity")
    table = dataset.table.assign(p_sample=np.nan, s_sample=np.nan)
    message = r"the task needs p_sample or s_sample; left out: .* no p_sample or s_sample\. Add"
    with pytest.raises(ValueError, match=message):
        parts_of(dataclasses.replace(dataset, table=table), "picking")


def test_a_part_that_loses_all_its_rows(dataset: Dataset) -> None:
    magnitude = dataset.table["magnitude"].copy()
    rows = parts_of(dataset, "magnitude").rows["val"]
    magnitude.iloc[rows] = np.nan
    table = dataset.table.assign(magnitude=magnitude)
    message = r"none of the \d+ rows in the val part of .*no magnitude.*Change data\.split"
    with pytest.raises(ValueError, match=message):
        parts_of(dataclasses.replace(dataset, table=table), "magnitude")


def test_moved_data_are_the_same_catalogue(data_folder: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(data_folder, tmp_path / "moved")
    first, second = open_dataset(settings(data_folder)), open_dataset(settings(moved))
    assert fingerprint(first) == fingerprint(second)
    assert parts_of(first, "picking").hash == parts_of(second, "picking").hash


def with_column(dataset: Dataset) -> Dataset:
    """The dataset with parts of its own for all but every fourth trace."""
    words = np.resize(np.array(["train", "train", "dev", None, "train", "test"], object), 64)
    return dataclasses.replace(dataset, table=dataset.table.assign(split=pd.Categorical(words)))


def test_the_split_of_the_dataset(dataset: Dataset) -> None:
    parts = parts_of(with_column(dataset), "picking", by="column", train=0, val=0)
    column = with_column(dataset).table["split"]
    for part, word in (("train", "train"), ("val", "dev"), ("test", "test")):
        assert parts.rows[part].tolist() == np.flatnonzero(column == word).tolist()
    assert parts.left_out == {"no part in the dataset's own split": int(column.isna().sum())}
    assert parts.report() == [
        f"left out: {column.isna().sum()} with no part in the dataset's own split"
    ]
    for without in (dataset.table.assign(split=None), dataset.table.drop(columns="split")):
        with pytest.raises(ValueError, match=r"says of no trace .*by=column is impossible"):
            parts_of(dataclasses.replace(dataset, table=without), "picking", by="column")


@pytest.mark.parametrize("task", list(tasks.TASKS))
def test_a_split_file_on_a_shuffled_copy(dataset: Dataset, task: str, tmp_path: Path) -> None:
    """One file serves all tasks: it holds the rows too that the task it is from cannot use."""
    names = dataset.table["trace_name"].to_numpy(object)
    written = parts_of(dataset, "polarity", by="event", train=0.5, val=0.2)
    split_files.write(tmp_path / "split.csv.gz", written.split, names, {})
    shuffled = dataset.table.sample(frac=1, random_state=1).reset_index(drop=True)
    copy = dataclasses.replace(dataset, table=shuffled)
    changes = {"by": "file", "file": tmp_path / "split.csv.gz", "noise_rows": False}
    there = parts_of(copy, task, **changes)
    assert there.hash == there.file_hash == written.hash
    assert there.lacking == 0
    here = parts_of(dataset, task, by="event", train=0.5, val=0.2, noise_rows=False)
    assert here.file_hash is None
    assert (here.hash, here.left_out) == (there.hash, there.left_out)
    for part, rows in here.rows.items():  # in the same order, so that a training is the same
        assert shuffled["trace_name"][there.rows[part]].tolist() == names[rows].tolist()


def test_a_split_file_of_other_traces(dataset: Dataset, tmp_path: Path) -> None:
    names = dataset.table["trace_name"]
    noise = dataset.table["category"] == "noise"
    given = zip(names[~noise][:9], ["train", "val", "test"] * 3, strict=True)
    lines = [f"{name},{part}" for name, part in given]
    lines += [f"{names[noise].iloc[0]},train", "elsewhere,train", "nowhere,test"]
    file = tmp_path / "mine.csv"
    file.write_text("\n".join(["trace_name,split", *lines]) + "\n")
    parts = parts_of(dataset, "magnitude", by="file", file=file)
    assert parts.sizes() == {"train": 3, "val": 3, "test": 3}
    assert parts.lacking == 2
    assert sum(parts.left_out.values()) == 64 - 9
    assert parts.left_out["no part in the split file"] == (~noise).sum() - 9
    assert parts.report()[-1] == "not in this dataset: 2 traces that the split file names"
    assert parts.hash != parts.file_hash
    file.write_text("trace_name,split\n" + "\n".join(lines[-2:]))
    with pytest.raises(ValueError, match=r"none of the traces that .*mine\.csv names is among"):
        parts_of(dataset, "magnitude", by="file", file=file)
    with pytest.raises(ValueError, match=r"by=file needs the file: --config\.data\.split\.path"):
        parts_of(dataset, "magnitude", by="file")


def test_a_table_used_whole_for_the_test(dataset: Dataset) -> None:
    parts = parts_of(dataset, "magnitude", train=0, val=0)
    everything = parts_of(dataset, "magnitude")
    assert parts.sizes() == {"train": 0, "val": 0, "test": sum(everything.sizes().values())}
