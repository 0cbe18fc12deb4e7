"""Archives picked: the union of station-days, interrupted, in shards, with what goes wrong."""

import dataclasses
import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from obspy import UTCDateTime, read_events

from seismollm_jax.inference.archive import progress
from seismollm_jax.inference.archive import run as archive
from seismollm_jax.inference.archive.days import Selection
from seismollm_jax.inference.archive.folder import Folder
from seismollm_jax.inference.archive.run import Job
from seismollm_jax.inference.predictor import Predictor
from tests.inference import archives
from tests.inference.archives import MIDNIGHT, STATIONS

ROOT = Path(__file__).parents[3]
SAME = ("trace_id", "phase", "channel")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkpoint")


@pytest.fixture(scope="module")
def predictor(checkpoint: Path) -> Predictor:
    return archives.predictor(checkpoint)


@pytest.fixture(scope="module")
def records() -> dict:
    """Two stations, 90 s on either side of a midnight."""
    return {
        station: archives.record(station, MIDNIGHT - 90, 180, seed)
        for seed, station in enumerate(STATIONS)
    }


@pytest.fixture(scope="module")
def sds(records: dict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sds")
    archives.write_sds(root, records.values())
    return root


@pytest.fixture(scope="module")
def straight(sds: Path, predictor: Predictor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder of one undisturbed run."""
    output = tmp_path_factory.mktemp("straight")
    job = Job(inputs=(str(sds),), output=output, parquet=True, quakeml=True)
    summary = archive.run(predictor, job, quiet)
    assert (summary.planned, summary.done, summary.unreadable) == (4, 4, {})
    assert summary.collected == output / "picks.csv"
    return output


def quiet(text: str) -> None:
    assert text


def table(folder: Path, name: str = "picks.csv") -> pd.DataFrame:
    return pd.read_csv(folder / name, dtype=dict.fromkeys(SAME, str), keep_default_na=False)


def test_the_days_together_are_the_whole_record(
    straight: Path, records: dict, predictor: Predictor
) -> None:
    stream = sum((r.copy() for r in list(records.values())[1:]), records[STATIONS[0]].copy())
    whole = predictor.classify(stream)
    found = table(straight)
    assert len(found) == len(whole.picks) > 100
    assert found["time"].is_monotonic_increasing
    for row, pick in zip(found.itertuples(), whole.picks, strict=True):
        assert (row.trace_id, row.phase, row.channel) == (pick.trace_id, pick.phase, pick.channel)
        assert abs(UTCDateTime(row.time) - pick.peak_time) < 1e-4
        assert row.probability == pytest.approx(pick.peak_value, abs=1e-4)
    before = found["time"] < MIDNIGHT.isoformat()
    assert 0.3 < before.mean() < 0.7


def test_picks_lie_in_the_file_of_their_day(straight: Path) -> None:
    for station in STATIONS:
        for name, day in (("2019-365", "2019-12-31T"), ("2020-001", "2020-01-01T")):
            part = table(straight, f"picks/{station}/{name}.csv")
            assert len(part) > 10
            assert part["time"].str.startswith(day).all()
            assert part["trace_id"].str.startswith(f"{station}.").all()
            events = read_events(straight / f"picks/{station}/{name}.xml")
            assert len(events[0].picks) == len(part)


def test_parquet_has_the_same(straight: Path) -> None:
    rows, columns = table(straight), pd.read_parquet(straight / "picks.parquet")
    assert list(rows) == list(columns)
    assert (columns["probability"] == rows["probability"]).all()
    assert (columns["time"] == pd.to_datetime(rows["time"])).all()
    assert columns["snr_db"].dtype == np.float64
    assert (columns["snr_db"].isna() == (rows["snr_db"].astype(str) == "")).all()


def test_coverage_adds_up(straight: Path) -> None:
    found = pd.read_csv(straight / "coverage.csv")
    assert len(found) == 4
    np.testing.assert_allclose(found["read"], 3 * 90)
    np.testing.assert_allclose(found["edge"], 3 * 0.5)  # at the two ends, not at midnight
    np.testing.assert_allclose(found["analysed"], 3 * 89.5)
    assert (found["left_out"] == 0).all()
    assert set(found["channels"]) == {"HHE HHN HHZ"}


def same(one: Path, other: Path) -> None:
    assert (one / "picks.csv").read_bytes() == (other / "picks.csv").read_bytes()
    columns = ["date", "trace_id"]
    first, second = (pd.read_csv(f / "coverage.csv").sort_values(columns) for f in (one, other))
    assert first.to_numpy().tolist() == second.to_numpy().tolist()


def test_shards_together_are_the_single_run(
    sds: Path,
    straight: Path,
    predictor: Predictor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    said: list[str] = []
    job = Job(inputs=(str(sds),), output=tmp_path)
    for index in range(2):
        part = dataclasses.replace(job, shard=(index, 2))
        summary = archive.run(predictor, part, said.append)
        assert summary.planned == summary.done == 2
        assert (summary.collected is None) == (index == 0)
        first, last = capsys.readouterr().out.splitlines()  # without a terminal
        assert re.fullmatch(r"1/2 station-days, [\d.]+ a minute, 0:00:0\d left", first)
        assert last.endswith("0:00:00 left")
    assert any("2 station-days are left to other shards" in text for text in said)
    same(tmp_path, straight)
    again = archive.run(predictor, job, quiet)  # by one process, over what two have done
    assert (again.planned, again.done) == (4, 0)
    same(tmp_path, straight)


KILLED = """
import json, os, runpy, signal, sys
from seismollm_jax.inference.archive import run as archive
from seismollm_jax.inference.archive.folder import Folder

_, checkpoint, sds, output = sys.argv
write, lines = Folder._append, []

def killed(folder, line):
    # At the second station-day, with its picks written and its line half on the disk.
    lines.append(line)
    if len(lines) < 2:
        return write(folder, line)
    picks = folder.picks_path(archive.StationDay(line["station"], line["day"]))
    picks.with_name(f".{picks.name}.0123.partial").touch()
    folder._manifest.write(json.dumps(line)[:100])
    folder._manifest.flush()
    os.kill(os.getpid(), signal.SIGKILL)

Folder._append = killed
thresholds = ["--p_threshold=0.5", "--s_threshold=0.5", "--batch_size=16"]
span = ["--start=2019-12-01", "--end=2020-01-03", "--station=XX.*,TWO"]
sys.argv = ["predict.py", f"--checkpoint={checkpoint}", f"--input={sds}", f"--output={output}"]
sys.argv += thresholds + span
runpy.run_path("predict.py", run_name="__main__")
"""


def test_a_killed_command_goes_on(
    checkpoint: Path, sds: Path, straight: Path, predictor: Predictor, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", KILLED, *map(str, (checkpoint, sds, tmp_path))]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == -signal.SIGKILL, result.stderr
    assert not (tmp_path / "picks.csv").exists()
    assert len(list(tmp_path.glob("picks/*/*.csv"))) == 2
    manifest = tmp_path / "manifest.jsonl"
    assert len(manifest.read_text().splitlines()) == 2
    assert not manifest.read_text().endswith("\n")
    summary = archive.run(predictor, Job(inputs=(str(sds),), output=tmp_path), quiet)
    assert (summary.planned, summary.done) == (4, 3)
    same(tmp_path, straight)
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    assert sorted((line["station"], line["date"]) for line in lines) == [
        (station, day) for station in STATIONS for day in ("2019-12-31", "2020-01-01")
    ]
    assert not list(tmp_path.rglob("*.partial"))


def test_what_changed_is_done_again(sds: Path, predictor: Predictor, tmp_path: Path) -> None:
    archive_copy, output = tmp_path / "sds", tmp_path / "out"
    shutil.copytree(sds, archive_copy)
    only = Selection(stations=("XX.*",))
    job = Job(inputs=(str(archive_copy),), output=output, selection=only)
    assert archive.run(predictor, job, quiet).done == 2
    before = table(output)
    bad = archive_copy / "2020/XX/ONE/HHZ.D/XX.ONE..HHZ.D.2020.001"
    bad.write_bytes(b"disk full" * 100)
    summary = archive.run(predictor, job, quiet)
    assert summary.done == 2  # the day before needs the file for its last minute
    assert list(summary.unreadable) == [str(bad)]
    assert "1 files could not be read" in str(summary)
    lines = [json.loads(line) for line in (output / "manifest.jsonl").read_text().splitlines()]
    assert [line["file"] for line in lines[-1]["unreadable"]] == [str(bad)]
    after = table(output)
    assert set(after["time"]) != set(before["time"])
    assert (after["time"] > MIDNIGHT.isoformat()).any()  # of the other components
    assert archive.run(predictor, job, quiet).done == 0
    (output / "picks/XX.ONE/2020-001.csv").unlink()
    assert archive.run(predictor, job, quiet).done == 1
    coverage = pd.read_csv(output / "coverage.csv")
    assert len(coverage) == 2
    assert sorted(coverage["channels"]) == ["HHE HHN", "HHE HHN HHZ"]
    everything = dataclasses.replace(job, quakeml=True)
    assert archive.run(predictor, everything, quiet).done == 2


def test_a_folder_has_one_kind_of_picks(
    straight: Path, sds: Path, predictor: Predictor, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(straight, folder)
    job = Job(inputs=(str(sds),), output=folder, options={"P_threshold": 0.9})
    with pytest.raises(ValueError, match=r"other settings.*\noptions: .*'P_threshold': 0.9"):
        archive.run(predictor, job, quiet)
    batches = Job(inputs=(str(sds),), output=folder, options={"batch_size": 3})
    assert archive.run(predictor, batches, quiet).done == 0
    with (
        Folder(folder, json.loads((folder / "settings.json").read_text())),
        pytest.raises(RuntimeError, match=r"another process works on .*manifest.jsonl"),
    ):
        archive.run(predictor, batches, quiet)


@pytest.mark.parametrize(
    ("text", "expected"), [(None, (0, 1)), ("", (0, 1)), ("0/4", (0, 4)), ("3/4", (3, 4))]
)
def test_shard(text: str | None, expected: tuple[int, int]) -> None:
    assert archive.shard(text) == expected


@pytest.mark.parametrize("text", ["4/4", "1", "-1/4", "a/b", "0/0"])
def test_shards_that_cannot_be(text: str) -> None:
    with pytest.raises(ValueError, match="give the number of this one from 0"):
        archive.shard(text)
