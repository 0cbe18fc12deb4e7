"""Several datasets as one: their records, their splits, their shares of a training."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from seismollm_jax import experiment as experiments
from seismollm_jax import tasks
from seismollm_jax.data import catalogue, donors, mixture, pipeline, seisbench_files, split_files
from seismollm_jax.data.__main__ import main
from seismollm_jax.data.detect import detect_format, open_found
from seismollm_jax.data.records import TABLE_COLUMNS, Dataset
from seismollm_jax.data.sources import WaveformSource, record_keys
from tests import setups

ROWS = 12  # of the second dataset


def write_second(folder: Path) -> Path:
    """A dataset in SeisBench's format: 50 Hz, N Z E, P alone on every third trace, own parts."""
    rows = pd.DataFrame(
        {
            "trace_category": ["earthquake"] * (ROWS - 2) + ["noise"] * 2,
            "source_id": [f"e{k}" for k in range(ROWS)],
            "station_network_code": "XX",
            "station_code": [f"S{k % 3}" for k in range(ROWS)],
            "trace_p_arrival_sample": [*np.arange(300.0, 300 + ROWS - 2), np.nan, np.nan],
            "trace_s_arrival_sample": [
                np.nan if k % 3 == 0 or k >= ROWS - 2 else 500.0 + k for k in range(ROWS)
            ],
            "source_magnitude": 2.5,
            "source_magnitude_type": ["ML", "Mw"] * (ROWS // 2),
            "trace_sampling_rate_hz": 50.0,
            "trace_component_order": "NZE",
            "split": ["train"] * 8 + ["dev"] * 2 + ["train", "test"],
        }
    )
    draw = np.random.default_rng(0)
    waveforms = [draw.normal(0, 1, (3, 1500)).astype(np.float32) for _ in range(ROWS)]
    seisbench_files.write(folder, waveforms, rows, data_format={}, bucket_traces=ROWS)
    return folder


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, data_folder: Path) -> Path:
    folder = tmp_path_factory.mktemp("mixture")
    write_second(folder / "other")
    return described(
        folder / "mix.toml",
        first={"format": "stead", "path": str(data_folder), "weight": 3},
        other={"format": "seisbench", "path": "other", "weight": 1.0},
    )


def described(path: Path, **members: dict[str, Any]) -> Path:
    def value(given: Any) -> str:
        if isinstance(given, dict):
            return "{" + ", ".join(f"{k} = {value(v)}" for k, v in given.items()) + "}"
        return f'"{given}"' if isinstance(given, str) else str(given)

    lines = []
    for name, fields in members.items():
        lines += [f"[{name}]", *(f"{k} = {value(v)}" for k, v in fields.items())]
    path.write_text("\n".join(lines))
    return path


def settings(path: Path, task: str = "picking", **changes: Any) -> dict[str, Any]:
    return setups.config(task, path, {"data.format": "mixture", **changes})["data"]


def opened(path: Path, **changes: Any) -> Dataset:
    return catalogue.open_dataset(settings(path, **changes))


def split(dataset: Dataset, data: dict[str, Any], task: str = "picking") -> catalogue.Parts:
    found = tasks.get(task)
    return catalogue.split_for(dataset, data, needs=found.needs, uses_noise=found.uses_noise)


def test_records_are_those_of_the_members(file: Path) -> None:
    dataset = opened(file)
    assert dataset.table.columns.tolist() == [*TABLE_COLUMNS, "address", "source"]
    assert dataset.table["trace_name"].is_unique
    source = WaveformSource(dataset, np.arange(len(dataset.table)))
    offset = 0
    for member in dataset.members:
        theirs = catalogue.at_rate(member.dataset, 100.0)
        direct = WaveformSource(theirs, np.arange(len(theirs.table)))
        for k in range(len(direct)):
            found, expected = source[offset + k], direct[k]
            np.testing.assert_array_equal(found.waveform, expected.waveform)
            assert (found.p_samples, found.s_samples) == (expected.p_samples, expected.s_samples)
            assert source.trace_name(offset + k) == f"{member.name}/{direct.trace_name(k)}"
        offset += len(direct)
    assert offset == len(source) == 64 + ROWS
    other = source[64 + 1]
    assert other.waveform.shape == (2999, 3)  # at 100 Hz
    assert (other.p_samples, other.s_samples) == ([602], [1002])
    report = str(dataset.report)
    assert "12  rows resampled from 50 to 100 Hz" in report
    assert "other: " in report


def test_events_of_two_catalogues_are_never_one(file: Path) -> None:
    table = opened(file).table
    events = table.groupby("event_id", observed=True)["source"].nunique()
    assert (events == 1).all()
    assert table["event_id"].notna().sum() > ROWS
    assert set(table["station"].dropna()) > {"S0", "S1", "S2"}


def test_a_member_may_be_split_in_its_own_way(file: Path, tmp_path: Path) -> None:
    own = described(
        tmp_path / "own.toml",
        first={"format": "stead", "path": str(opened(file).members[0].dataset.path)},
        other={
            "format": "seisbench",
            "path": str(file.parent / "other"),
            "split": {"by": "column"},
        },
    )
    data = settings(own, **{"data.split.by": "event"})
    dataset = catalogue.open_dataset(data)
    parts = split(dataset, data)
    place = {int(row): name for name, rows in parts.split.items() for row in rows}
    assert [place[64 + k] for k in range(ROWS)] == ["train"] * 8 + ["val"] * 2 + ["train", "test"]
    alone = opened(file).members[0].dataset
    first = split(alone, {**data, "format": "stead"})  # parts do not depend on other members
    for name, rows in first.rows.items():
        assert parts.rows[name][parts.rows[name] < 64].tolist() == rows.tolist()
    # A split file is about all of them.
    names = dataset.table["trace_name"].to_numpy()
    split_files.write(tmp_path / "split.csv.gz", parts.split, names, {})
    by_file = {**data, "split": {**data["split"], "by": "file", "path": tmp_path / "split.csv.gz"}}
    again = split(dataset, by_file)
    assert again.hash == parts.hash
    assert again.file_hash == parts.hash


def test_a_station_is_in_one_part_whatever_the_member(file: Path, tmp_path: Path) -> None:
    place = {"format": "seisbench", "path": str(file.parent / "other")}
    twice = described(tmp_path / "twice.toml", one=place, two=place)
    ways = {"data.split.by": "station", "data.split.train": 0.4, "data.split.val": 0.3}
    data = settings(twice, **{**ways, "data.noise_rows": False})
    dataset = catalogue.open_dataset(data)
    parts = split(dataset, data).split
    stations = [set(dataset.table["station"].iloc[rows]) for rows in parts.values()]
    assert sum(map(len, stations)) == 3


def test_noise_of_a_held_out_part_is_not_borrowed(file: Path, tmp_path: Path) -> None:
    own = described(
        tmp_path / "own.toml",
        other={
            "format": "seisbench",
            "path": str(file.parent / "other"),
            "split": {"by": "column"},
        },
    )
    data = settings(own, **{"data.noise_rows": False})
    dataset = catalogue.open_dataset(data)
    parts = split(dataset, data)
    train = WaveformSource(dataset, parts.rows["train"])
    rates = {"enabled": True, "superpose_rate": 0.0, "real_noise_rate": 0.5}
    noise = donors.find(dataset, train, parts.split, data["split"], rates)["noise"]
    assert noise is not None
    assert noise.rows.tolist() == [ROWS - 2]


def makers(path: Path, **changes: Any) -> tuple[Dataset, pipeline.SampleMaker]:
    config = setups.config("picking", path, {"data.format": "mixture", **changes})
    dataset = catalogue.open_dataset(config["data"])
    rows = split(dataset, config["data"]).rows["train"]
    source = WaveformSource(dataset, rows)
    maker = experiments.make(config).samples(source, source.rows, source.keys, augment=True)
    return dataset, maker


def test_weights_are_shares_of_the_samples(file: Path) -> None:
    dataset, maker = makers(file)
    shares = mixture.shares(dataset, maker.rows)
    assert shares is not None
    batches = pipeline.train_batches(maker, shuffle=True, local_batch=16, shares=shares)
    rows = np.concatenate([batches[step]["row"] for step in range(16)])
    assert np.count_nonzero(rows >= 64) == 64  # a quarter of 256
    # Each member goes through all of its records before any comes again.
    others = rows[rows >= 64].tolist()
    records = set(maker.rows[maker.rows >= 64].tolist())
    for epoch in range(len(others) // len(records)):
        assert set(others[epoch * len(records) : (epoch + 1) * len(records)]) == records
    # A sample is the same wherever it comes from, and so are batches from any step.
    again = makers(file)[1]
    other = pipeline.train_batches(again, shuffle=True, local_batch=16, shares=shares)
    np.testing.assert_array_equal(other[9]["waveform"], batches[9]["waveform"])
    with pipeline.Stream(batches, start=9, workers=1) as stream:
        np.testing.assert_array_equal(next(stream)["waveform"], batches[9]["waveform"])
    halves = [
        pipeline.train_batches(
            maker, shuffle=True, local_batch=8, process=p, processes=2, shares=shares
        )[9]
        for p in range(2)
    ]
    joined = np.concatenate([half["row"] for half in halves])
    np.testing.assert_array_equal(joined, batches[9]["row"])


def test_without_weights_every_record_counts_alike(file: Path, tmp_path: Path) -> None:
    members = opened(file).members
    plain = described(
        tmp_path / "plain.toml",
        first={"format": "stead", "path": str(members[0].dataset.path)},
        other={"format": "seisbench", "path": str(members[1].dataset.path)},
    )
    dataset, maker = makers(plain, **{"augment.enabled": False})
    assert mixture.shares(dataset, maker.rows) is None
    assert mixture.weights(dataset) == {"first": None, "other": None}
    count = len(maker.rows)
    batches = pipeline.train_batches(maker, shuffle=True, local_batch=1)
    assert Counter(int(batches[k]["row"][0]) for k in range(count)) == dict.fromkeys(
        maker.rows.tolist(), 1
    )


def test_records_with_p_alone_are_used_where_p_is_enough(file: Path) -> None:
    data = settings(file)
    dataset = catalogue.open_dataset(data)
    parts = split(dataset, data)
    used = set(np.concatenate(list(parts.rows.values())).tolist())
    assert {64 + k for k in range(ROWS)} <= used
    source = WaveformSource(dataset, np.arange(64, 64 + ROWS))
    maker = experiments.make(setups.config("picking")).samples(
        source, source.rows, source.keys, augment=False
    )
    elements = [maker(k, epoch=0, stream=pipeline.FIXED) for k in range(ROWS)]
    assert [int(e["p_sample_labelled"]) for e in elements] == [1] * ROWS
    expected = [int(k % 3 != 0 or k >= ROWS - 2) for k in range(ROWS)]
    assert [int(e["s_sample_labelled"]) for e in elements] == expected


def test_samples_follow_names_not_rows(file: Path) -> None:
    """The same window of a trace, in the mixture or after its table was put in another order."""
    dataset = opened(file)
    rows = np.arange(64 + ROWS)
    backwards = np.ascontiguousarray(rows[::-1])
    one, two = WaveformSource(dataset, rows), WaveformSource(dataset, backwards)
    np.testing.assert_array_equal(one.keys, two.keys[::-1])
    assert len(set(one.keys.tolist())) == len(rows)
    alone = WaveformSource(dataset.members[0].dataset, np.arange(64))
    np.testing.assert_array_equal(one.keys[:64], alone.keys)
    assert record_keys([b"TA.A01_20200101"]).tolist() == [17477833416653810982]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a": {"path": "x"}}, r'\[a\] needs format = "\.\.\.", as data\.format'),
        ({"a": {"format": "stead"}}, r'\[a\] needs path = "\.\.\."'),
        ({"a": {"format": "stead", "path": "x", "rate": 5}}, r"\[a\] has 'rate'; it may have"),
        ({"a": {"format": "mixture", "path": "x"}}, r"\[a\] is a mixture itself"),
        ({"a": {"format": "stead", "path": "x", "weight": 0}}, "weight is 0; it must be"),
        ({"a": {"format": "stead", "path": "x", "weight": "2"}}, "weight is '2'"),
        ({"a": {"format": "stead", "path": "x", "split": "event"}}, "split is 'event'; it must"),
        ({"a": {"format": "stead", "path": "x", "split": {"how": 1}}}, "split has 'how'; it may"),
        (
            {"a": {"format": "stead", "path": "x", "split": {"train": "0.8"}}},
            r"split\.train is '0\.8', which is not of the type of data\.split\.train",
        ),
        ({"a": {"format": "stead", "path": "x", "table": 3}}, "table is 3; it must be text"),
        ({"a": {"format": "builtin", "path": "x"}}, "write the built-in dataset into a folder"),
        ({"a": {"format": "tape", "path": "x"}}, r"data\.format='tape' is not one of"),
        ({"a": {"format": "stead", "path": "nowhere"}}, r"nowhere' does not exist"),
        ({}, "describes no dataset"),
    ],
)
def test_descriptions_that_do_not_fit(tmp_path: Path, members: dict, message: str) -> None:
    path = described(tmp_path / "mix.toml", **members)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        opened(path)


def test_a_member_that_cannot_be_split_is_named(file: Path, tmp_path: Path) -> None:
    place = {"format": "seisbench", "path": str(file.parent / "other")}
    path = described(tmp_path / "mix.toml", small={**place, "split": {"val": 0.01}})
    data = settings(path)
    with pytest.raises(ValueError, match=r"other: the split of 12 rows by event leaves val empty"):
        split(catalogue.open_dataset(data), data)


def test_magnitude_types_hold_for_all_members(file: Path) -> None:
    everything, ml = (
        opened(file, **{"data.magnitude_type": kind}).table["magnitude_type"] for kind in ("", "ml")
    )
    assert set(everything.dropna()) > {"ml"}
    assert set(ml.dropna()) == {"ml"}
    with pytest.raises(ValueError, match=r"data\.table='merge\.csv' cannot be meant for all"):
        opened(file, **{"data.table": "merge.csv"})


def test_weights_for_all_or_none(file: Path, tmp_path: Path) -> None:
    place = str(opened(file).members[0].dataset.path)
    member = {"format": "stead", "path": place}
    path = described(tmp_path / "mix.toml", one={**member, "weight": 2}, two=member)
    with pytest.raises(ValueError, match=r"\[one\] has a weight and \[two\] has none; give one"):
        opened(path)


def test_files_that_are_no_description(tmp_path: Path) -> None:
    path = tmp_path / "mix.toml"
    with pytest.raises(FileNotFoundError, match=r"mix\.toml"):
        opened(path)
    path.write_text("[a\nformat=")
    assert detect_format(path) == "mixture"
    with pytest.raises(ValueError, match=r"mix\.toml is not a TOML file: .*line 1"):
        opened(path)
    path.write_text("format = 'stead'")
    with pytest.raises(ValueError, match=r"format stands alone; put it into a table \[NAME\]"):
        opened(path)


def test_first_lines_say_who_gives_what(file: Path) -> None:
    data = settings(file)
    dataset = catalogue.open_dataset(data)
    lines = mixture.summary(dataset, split(dataset, data).rows)
    assert len(lines) == 2
    assert "75 % of the training's samples" in lines[0]
    assert lines[1].startswith("other: ")
    assert mixture.summary(dataset.members[0].dataset, {}) == []


def test_the_doctor_and_packing_take_a_mixture(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    quiet = ["--quiet", "--waveforms", "20", "--json"]
    assert main(["check", str(file), *quiet]) in (0, 1)
    found = json.loads(capsys.readouterr().out)
    assert found["contents"]["traces"] == 64 + ROWS
    assert found["contents"]["sampling_rates_hz"] == {"100": 64, "50": ROWS}
    output = str(tmp_path / "packed")
    assert main(["prepare", str(file), "--output", output, "--workers", "1", "--quiet"]) == 0
    packed, mixed = open_found(output)[1], opened(file)
    rows = np.arange(64 + ROWS)
    one, two = (WaveformSource(catalogue.at_rate(d, 100.0), rows) for d in (packed, mixed))
    for k in (0, 63, 64, 64 + ROWS - 1):
        np.testing.assert_array_equal(one[k].waveform, two[k].waveform)
        assert one.trace_name(k) == two.trace_name(k)
    assert mixture.shares(packed, rows) is None  # weights are the mixture's
