"""Opening a dataset by its configuration and splitting it for a task."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from seismollm_jax import tasks
from seismollm_jax.data import catalogue
from seismollm_jax.data.catalogue import fingerprint, open_dataset, split_for
from seismollm_jax.data.records import Dataset
from tests import setups


def settings(folder: Path | str, **changes: Any) -> dict[str, Any]:
    """The `data` part of a configuration."""
    split = {name: changes.pop(name) for name in tuple(changes) if name in ("by", "train", "val")}
    found = setups.config("picking", folder)["data"]
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
        ({"format": "diting"}, ValueError, r"data\.format='diting' is not one of stead, builtin"),
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
@pytest.mark.parametrize("by", ["row", "event", "station"])
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
    for name in tasks.get(task).needs:
        values = earthquakes[name]
        assert (values >= 0).all() if name == "polarity" else values.notna().all()


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
