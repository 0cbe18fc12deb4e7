"""The dataset doctor on several datasets as one: each member counts as what it is."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from seismollm_jax.data import (
    catalogue,
    check_splits,
    check_table,
    check_waveforms,
    folder,
    mixture,
    prepared,
    stead,
)
from seismollm_jax.data.records import Dataset, Member
from tests.data.recordings import PICKS, START, picks_table, three, write

FAR = {"storage": "arrayrecord", "inner_path": "gs://bucket/set"}


def mixed(**members: Dataset) -> Dataset:
    return mixture.join(Path("mix.toml"), [Member(name, one) for name, one in members.items()])


def of_member(dataset: Dataset, rows: np.ndarray) -> dict[str, int]:
    found = dataset.table["source"].iloc[rows].value_counts()
    return {str(name): int(n) for name, n in found.items()}


def test_what_lies_far_is_not_read_unasked(builtin: Dataset) -> None:
    far = dataclasses.replace(builtin, **FAR)
    dataset = mixed(far=far, near=builtin)
    rows, why = check_waveforms.chosen_rows(dataset, None)
    assert of_member(dataset, rows) == {"far": 0, "near": 64}
    assert why == "far: each shard would have to be fetched first"
    rows, why = check_waveforms.chosen_rows(dataset, 128)
    assert (of_member(dataset, rows), why) == ({"far": 64, "near": 64}, "")
    rows, why = check_waveforms.chosen_rows(mixed(one=far, two=far), None)
    assert len(rows) == 0
    assert why.count("fetched") == 2


def test_members_share_the_time(builtin: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_waveforms, "COMMON_SAMPLE", 40)
    monkeypatch.setattr(check_waveforms, "SAMPLE", {"streams": 10})
    streams = dataclasses.replace(builtin, storage="streams")
    dataset = mixed(folder=streams, plain=builtin, far=dataclasses.replace(builtin, **FAR))
    rows, why = check_waveforms.chosen_rows(dataset, None)
    assert of_member(dataset, rows) == {"folder": 5, "plain": 20, "far": 0}
    assert (np.diff(rows) > 0).all()
    assert "folder: a sample spread over the table; plain: a sample" in why


def test_files_of_two_members_are_two(builtin: Dataset, packed: Path) -> None:
    dataset = mixed(one=builtin, two=builtin)
    contents = check_table.contents(dataset)
    assert (contents["files"], contents["first_file"]) == (2, "one/merge.hdf5")
    assert contents["bytes"] == 2 * (builtin.path / "merge.hdf5").stat().st_size
    rows, _ = check_waveforms.chosen_rows(dataset, 4)
    assert {0, 64} <= set(rows.tolist())
    other = prepared.read(packed)
    contents = check_table.contents(mixed(one=builtin, two=other))
    assert contents["storage"] == "hdf5, arrayrecord"
    assert contents["files"] == 1 + other.table["file"].nunique()
    assert contents["bytes"] == sum(
        path.stat().st_size
        for path in (builtin.path / "merge.hdf5", *packed.glob("*.array_record"))
    )
    assert check_table.contents(builtin)["first_file"] == "merge.hdf5"


def test_one_length_says_nothing_of_other_members(builtin: Dataset) -> None:
    table = builtin.table.copy()
    table.loc[7, ["p_sample", "s_sample"]] = [8000, 9000]  # behind the 6000 samples of the others
    late = dataclasses.replace(builtin, table=table)

    def behind(dataset: Dataset) -> list[int]:
        read = check_waveforms.read(dataset, None)
        return [
            example["row"]
            for finding in check_waveforms.waveform_findings(dataset, read)
            if finding.name == "arrival_behind_the_trace"
            for example in finding.examples
        ]

    assert behind(mixed(far=dataclasses.replace(late, **FAR), near=builtin)) == []
    assert behind(mixed(late=late, near=builtin)) == [7]


def test_sensors_of_a_folder_are_told_apart_beside_other_datasets(
    builtin: Dataset, tmp_path: Path
) -> None:
    write(three(location="00") + three(location="10"), tmp_path / "day.mseed")
    picks = picks_table(PICKS)
    pd.concat([picks.assign(location="00"), picks.assign(location="10")]).to_csv(
        tmp_path / "picks.csv", index=False
    )
    records = folder.read(tmp_path)
    assert len(records.table) == 4

    def twice(dataset: Dataset) -> set[int]:
        return {
            example["row"]
            for finding in check_table.duplicate_findings(dataset)
            if finding.name in ("same_start", "same_arrival")
            for example in finding.examples
        }

    assert twice(records) == twice(mixed(plain=builtin, records=records)) == set()
    # The same record in two catalogues: a sensor without location code beside one of a table.
    table = builtin.table.copy()
    for column in ("network", "station", "instrument"):
        table[column] = pd.Categorical([{"network": "XX", "station": "ABC"}.get(column, "HH")] * 64)
    table["start_time"] = pd.Timestamp(START.datetime) + pd.to_timedelta(np.arange(64), "D")
    bare = records.table.copy()
    bare["address"] = bare["address"].str.replace(".00.", "..")
    first = bare["address"].str.contains("..", regex=False).to_numpy().argmax()
    table.loc[5, "start_time"] = bare["start_time"].iloc[first]
    dataset = mixed(
        plain=dataclasses.replace(builtin, table=table),
        records=dataclasses.replace(records, table=bare),
    )
    assert twice(dataset) == {5, 64 + int(first)}


@pytest.fixture
def partly(builtin: Dataset) -> Dataset:
    """Two members, the second with parts of its own and the wish to be split by them."""
    table = builtin.table.assign(split=pd.Categorical((["train"] * 6 + ["val", "test"]) * 8))
    members = [
        Member("plain", builtin),
        Member("own", dataclasses.replace(builtin, table=table), split={"by": "column"}),
    ]
    return mixture.join(Path("mix.toml"), members)


@pytest.mark.parametrize("by", ["event", "station", "row", "time"])
def test_splits_are_those_of_a_training(partly: Dataset, by: str) -> None:
    _, figures = check_splits.split_findings(partly, by)
    settings = {
        "noise_rows": True,
        "split": {"by": by, "train": 0.8, "val": 0.1, "seed": 0, "shuffle": True, "path": ""},
    }
    parts = catalogue.split_for(partly, settings, needs=(), uses_noise=True)
    assert figures[by]["traces"] == parts.sizes()
    alone = check_splits.split_findings(partly.members[0].dataset, by)[1][by]["traces"]
    assert figures[by]["traces"] == {
        name: n + {"train": 48, "val": 8, "test": 8}[name] for name, n in alone.items()
    }
    assert figures["column"]["in_no_part"] == 64


def test_members_without_parts_of_their_own(partly: Dataset, builtin: Dataset) -> None:
    findings, figures = check_splits.split_findings(partly, "column")
    (finding,) = [f for f in findings if f.name == "split_impossible"]
    assert "says of no trace whether it is for training" in finding.text
    assert figures["column"]["traces"] == {"train": 48, "val": 8, "test": 8}
    (finding,), figures = check_splits.split_findings(mixed(one=builtin), "column")
    assert (finding.name, figures) == ("split_impossible", {})


def test_a_lost_split_file_of_a_member(builtin: Dataset, tmp_path: Path) -> None:
    how = {"by": "file", "path": str(tmp_path / "lost.csv")}
    dataset = mixture.join(tmp_path, [Member("one", stead.read(builtin.path), split=how)])
    (finding,), _ = check_splits.split_findings(dataset, "event")
    assert finding.name == "split_impossible"
    assert "lost.csv" in finding.text
