"""Events of archives: once each, as of one record, with interruptions and in shards."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from obspy import UTCDateTime, read_events

import seismollm_jax as sj
from seismollm_jax.inference.archive import run as archive
from seismollm_jax.inference.archive.days import Selection
from seismollm_jax.inference.archive.folder import Folder
from seismollm_jax.inference.archive.run import Job
from seismollm_jax.inference.events.table import COLUMNS
from tests.inference import archives, event_networks
from tests.inference.archives import MIDNIGHT, STATIONS


@pytest.fixture(scope="module")
def records() -> dict:
    """Two stations, 75 s on either side of a midnight, which is more than a day reaches over."""
    return {
        station: archives.record(station, MIDNIGHT - 75, 150, seed)
        for seed, station in enumerate(STATIONS)
    }


@pytest.fixture(scope="module")
def job(records: dict, tmp_path_factory: pytest.TempPathFactory) -> Job:
    root = tmp_path_factory.mktemp("sds")
    archives.write_sds(root, records.values())
    stations = root.parent / f"{root.name}.xml"
    event_networks.inventory(*STATIONS).write(str(stations), format="STATIONXML")
    return Job(inputs=(str(root),), output=root / "none", inventory=stations)


@pytest.fixture(scope="module")
def straight(
    job: Job, networks: sj.EventPredictor, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """An output folder of one undisturbed run."""
    output, said = tmp_path_factory.mktemp("straight"), []
    asked = dataclasses.replace(job, output=output, parquet=True, quakeml=True)
    summary = archive.run(networks, asked, said.append)
    assert (summary.planned, summary.done) == (4, 4)
    table = pd.read_csv(output / "events.csv")
    assert summary.events == len(table)
    assert f"{len(table)} events" in str(summary)
    assert said[-1].startswith(f"{len(table)} events, {table['s_time'].count()} of them with S\n")
    return output


def same(one: Path, other: Path) -> None:
    for name in ("picks.csv", "events.csv"):
        assert (one / name).read_bytes() == (other / name).read_bytes()


def test_the_days_together_are_the_whole_record(
    straight: Path, records: dict, networks: sj.EventPredictor
) -> None:
    found = pd.read_csv(straight / "events.csv")
    assert list(found) == list(COLUMNS)
    metadata = event_networks.inventory(*STATIONS)
    tables = [networks.catalogue(record, inventory=metadata) for record in records.values()]
    whole = pd.concat([table.to_dataframe() for table in tables])
    whole = whole.sort_values(["p_time", "trace_id"], ignore_index=True)
    assert len(found) == len(whole) > 40
    times = pd.to_datetime(found["p_time"]).dt.tz_localize(None)
    near = (times - MIDNIGHT.datetime).dt.total_seconds().abs() < 20
    assert near.sum() > 8  # whose windows reach over midnight
    for name, kind in COLUMNS.items():
        if kind == "time":
            off = pd.to_datetime(found[name]).dt.tz_localize(None) - whole[name]
            assert off.abs().max() < pd.Timedelta(100, "us")
        elif kind == "text":
            assert found[name].tolist() == whole[name].tolist()
        else:
            known = whole[name].notna()
            assert (found[name].notna() == known).all()
            expected = pytest.approx(whole[name][known].tolist(), rel=0.01, abs=0.05)
            assert found[name][known].tolist() == expected, name


def test_an_event_lies_in_the_file_of_its_p(straight: Path) -> None:
    over = 0
    for station in STATIONS:
        for name, day in (("2019-365", "2019-12-31T"), ("2020-001", "2020-01-01T")):
            part = pd.read_csv(straight / f"events/{station}/{name}.csv")
            assert len(part) > 5
            assert part["p_time"].str.startswith(day).all()
            over += (part["s_time"].dropna().str[:11] != day).sum()
            events = read_events(straight / f"events/{station}/{name}.xml")
            assert len(events) == len(part)
            for event, p_time in zip(events, part["p_time"], strict=True):
                assert abs(event.picks[0].time - UTCDateTime(p_time)) < 1e-5
            picks = pd.read_csv(straight / f"picks/{station}/{name}.csv")
            assert picks["time"].str.startswith(day).all()
    assert over <= len(STATIONS)  # the S of the last P before midnight


def test_parquet_has_the_same(straight: Path) -> None:
    rows, columns = (
        pd.read_csv(straight / "events.csv"),
        pd.read_parquet(straight / "events.parquet"),
    )
    assert list(rows) == list(columns)
    assert (pd.to_datetime(rows["p_time"]) == columns["p_time"]).all()
    assert (columns["s_time"].isna() == rows["s_time"].isna()).all()
    assert columns["magnitude"].tolist() == rows["magnitude"].tolist()
    assert columns["magnitude_flag"].tolist() == rows["magnitude_flag"].tolist()


def test_an_interrupted_run_goes_on(
    job: Job,
    straight: Path,
    networks: sj.EventPredictor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = dataclasses.replace(job, output=tmp_path)
    append, seen = Folder._append, []

    def killed(folder: Folder, line: Any) -> None:
        seen.append(line)
        if len(seen) > 1:  # with the tables of the second station-day on the disk
            raise KeyboardInterrupt
        append(folder, line)

    with monkeypatch.context() as patched:
        patched.setattr(Folder, "_append", killed)
        with pytest.raises(KeyboardInterrupt):
            archive.run(networks, job, str)
    assert not (tmp_path / "events.csv").exists()
    assert len(list(tmp_path.glob("events/*/*.csv"))) >= 2
    assert archive.run(networks, job, str).done == 3
    same(tmp_path, straight)
    assert archive.run(networks, job, str).done == 0
    next(tmp_path.glob("events/*/*.csv")).unlink()
    assert archive.run(networks, job, str).done == 1
    same(tmp_path, straight)
    lines = (tmp_path / "manifest.jsonl").read_text().splitlines()
    manifest = [json.loads(line) for line in lines]
    table = pd.read_csv(tmp_path / "events.csv")
    by_day = {(line["station"], line["day"]): line["events"] for line in manifest}
    assert sum(by_day.values()) == len(table)


def test_shards_together_are_the_single_run(
    job: Job, straight: Path, networks: sj.EventPredictor, tmp_path: Path
) -> None:
    for index in range(2):
        part = dataclasses.replace(job, output=tmp_path, shard=(index, 2))
        summary = archive.run(networks, part, str)
        assert (summary.collected is None) == (index == 0)
        assert (tmp_path / "events.csv").exists() == (index == 1)
    same(tmp_path, straight)


def test_a_folder_has_one_kind_of_events(
    job: Job, straight: Path, networks: sj.EventPredictor
) -> None:
    there = dataclasses.replace(job, output=straight, selection=Selection(stations=("XX.*",)))
    with pytest.raises(ValueError, match=r"other settings.*\n.*answers: .*None now"):
        archive.run(networks.picking, there, str)
    others = {name: net for name, net in networks.answers.items() if name != "polarity"}
    fewer = sj.EventPredictor(networks.picking, others)
    with pytest.raises(ValueError, match=r"answers: .*polarity"):
        archive.run(fewer, there, str)
