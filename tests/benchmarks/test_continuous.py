"""The benchmark picks what it writes, and its table says what was measured; speed is not judged."""

import argparse
from pathlib import Path

import obspy
import pytest

from benchmarks import archive_data, continuous, continuous_systems
from tests import setups


@pytest.fixture(autouse=True)
def _short_days(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_data, "DAY_S", 120)


def test_files_are_the_record_and_are_kept(tmp_path: Path) -> None:
    files = archive_data.write(tmp_path, stations=2, days=1)
    stream = obspy.Stream([trace for path in files[1] for trace in obspy.read(path)])
    for trace, made in zip(stream, archive_data.day("S001", 0), strict=True):
        assert trace.id == made.id
        assert trace.stats.starttime == made.stats.starttime
        assert (trace.data == made.data).all()
    before = files[0][0].stat().st_mtime_ns
    assert archive_data.write(tmp_path, stations=2, days=1) == files
    assert files[0][0].stat().st_mtime_ns == before


def test_gaps_take_half_a_second_each() -> None:
    whole, parts = archive_data.day("S000", 0), archive_data.day("S000", 0, gaps=5)
    assert len(parts) == 3 * 6
    lost = sum(len(trace) for trace in whole) - sum(len(trace) for trace in parts)
    assert lost == 3 * 5 * 50
    assert parts[1].stats.starttime - parts[0].stats.endtime == pytest.approx(0.51)


def test_measures(tmp_path: Path, data_folder: Path) -> None:
    checkpoint, archive = tmp_path / "run", tmp_path / "sds"
    low = {"options.p_threshold": 0.0, "options.s_threshold": 0.0}
    setups.save_random(checkpoint, setups.config("picking", data_folder, low))
    archive_data.write(archive, stations=2, days=1)
    base = {"checkpoint": checkpoint, "batch_size": 8, "folder": archive, "days": 1}
    picked, host, gaps = (
        continuous_systems.ours(argparse.Namespace(**base, work=work, gaps=gaps))
        | {"peak_memory_mb": 1}
        for work, gaps in (("archive", 0), ("host", 0), ("host", 10))
    )
    assert picked["station_days"] == 2
    assert picked["picks"] > 0
    assert sum(picked["stages_s"].values()) > 0
    slower = {**picked, "seconds": picked["seconds"] + 9}
    summary = continuous._summary([slower, picked, slower])
    assert summary["station_days_per_minute"] == pytest.approx(120 / slower["seconds"])
    assert summary["seconds"]["lowest"] == picked["seconds"]
    figures = {
        "machine": {"cpu": "x", "cores": 1, "load_average_begin": [0], "load_average_end": [0]},
        "rounds": 3,
        "systems": {
            "ours": {
                "host, 0 gaps": continuous._summary([host]),
                "host, 10 gaps": continuous._summary([gaps]),
                "archive": summary,
            }
        },
    }
    ratio = gaps["cpu_s"] / host["cpu_s"]
    assert f"the gaps make the host's CPU time {ratio:.2f} times as long" in continuous.table(
        figures
    )
