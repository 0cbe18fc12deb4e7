"""What archives hold, found by names or headers, and how it is shared out."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from obspy import Trace, UTCDateTime

from seismollm_jax.inference.archive.days import (
    DAY_NS,
    Selection,
    StationDay,
    patterns,
    time_ns,
)
from seismollm_jax.inference.archive.plan import Plan, make
from seismollm_jax.inference.archive.sds import is_sds

LAST, FIRST = (UTCDateTime(2019, 12, 31).ns // DAY_NS, UTCDateTime(2020, 1, 1).ns // DAY_NS)


def touch(root: Path, *names: str) -> Path:
    """Empty files of an SDS archive: it is understood by names alone."""
    for name in names:
        network, station, _, channel, kind, year, *_ = name.split(".")
        folder = root / year / network / station / f"{channel}.{kind}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return root


@pytest.fixture
def sds(tmp_path: Path) -> Path:
    return touch(
        tmp_path / "sds",
        *(f"XX.ONE..HH{c}.D.2019.365" for c in "ZNE"),
        *(f"XX.ONE.{loc}.HHZ.D.2020.001" for loc in ("", "00")),
        "XX.ONE..LHZ.D.2020.002",
        "XX.ONE..LOG.L.2020.003",
        "YY.TWO..BHZ.D.2020.001",
        "YY.TWO..BHZ.D.2020.001.part",
    )


def test_sds_is_understood_by_names(sds: Path) -> None:
    plan = make([sds], Selection())
    expected = [("XX.ONE", LAST), ("XX.ONE", FIRST), ("YY.TWO", FIRST)]
    assert plan.days == [StationDay(*day) for day in expected]
    assert [day.name for day in plan.days] == ["2019-365", "2020-001", "2020-001"]
    assert plan.left_out == {"LHZ": 1}
    everything = make([sds], Selection(channels=("*",)))
    assert StationDay("XX.ONE", FIRST + 1) in everything.days


def names(plan: Plan, station: str, start: str, end: str) -> list[str]:
    files = plan.files(station, UTCDateTime(start).ns, UTCDateTime(end).ns)
    return [file.path.name for file in files]


def test_files_of_a_span_over_the_new_year(sds: Path) -> None:
    plan = make([sds], Selection())
    old = [f"XX.ONE..HH{c}.D.2019.365" for c in "ENZ"]
    new = ["XX.ONE..HHZ.D.2020.001", "XX.ONE.00.HHZ.D.2020.001"]
    assert names(plan, "XX.ONE", "2019-12-31T12", "2020-01-01T00:01") == [*old, *new]
    assert names(plan, "XX.ONE", "2019-12-31T12", "2020-01-01") == old
    # Records at the end of the last day's files reach into the next day.
    assert names(plan, "XX.ONE", "2020-01-01T00:30", "2020-01-01T00:40") == [*old, *new]
    assert names(plan, "XX.ONE", "2020-01-01T01:00", "2020-01-01T02") == new


@pytest.mark.parametrize(
    ("selection", "days"),
    [
        (Selection(stations=("TWO",)), [("YY.TWO", FIRST)]),
        (Selection(stations=("XX.*",)), [("XX.ONE", LAST), ("XX.ONE", FIRST)]),
        (Selection(start_ns=FIRST * DAY_NS), [("XX.ONE", FIRST), ("YY.TWO", FIRST)]),
        (Selection(end_ns=FIRST * DAY_NS), [("XX.ONE", LAST)]),
        (Selection(channels=("B??",)), [("YY.TWO", FIRST)]),
    ],
)
def test_selection(sds: Path, selection: Selection, days: list[tuple[str, int]]) -> None:
    assert make([sds], selection).days == [StationDay(*day) for day in days]


def test_spans_cover_everything_once(sds: Path) -> None:
    begin, hour = UTCDateTime(2019, 12, 31, 6).ns, DAY_NS // 24
    plan = make([sds], Selection(start_ns=begin))
    one, two, other = map(plan.span, plan.days)
    assert one == (begin, FIRST * DAY_NS)
    assert two == (FIRST * DAY_NS, (FIRST + 1) * DAY_NS + hour)  # nothing stands after it
    assert other == (FIRST * DAY_NS - hour, (FIRST + 1) * DAY_NS + hour)


def write(path: Path, trace_id: str, start: str, seconds: int, form: str = "MSEED") -> Path:
    network, station, location, channel = trace_id.split(".")
    header = {
        **{"network": network, "station": station, "location": location, "channel": channel},
        **{"starttime": UTCDateTime(start), "sampling_rate": 1.0},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    Trace(np.arange(seconds, dtype=np.float32), header).write(str(path), format=form)
    return path


def test_other_files_by_their_headers(tmp_path: Path) -> None:
    long = write(tmp_path / "data/a.mseed", "XX.ONE..HHZ", "2019-12-31T23:00", 7200)
    sac = write(tmp_path / "data/deep/b.sac", "YY.TWO..HHZ", "2020-01-01T05:00", 600, "SAC")
    broken = tmp_path / "data/c.mseed"
    broken.write_bytes(b"no waveform")
    plan = make([tmp_path / "data"], Selection())
    expected = [("XX.ONE", LAST), ("XX.ONE", FIRST), ("YY.TWO", FIRST)]
    assert plan.days == [StationDay(*day) for day in expected]
    assert list(plan.unreadable) == [broken]
    assert "TypeError" in plan.unreadable[broken]
    files = plan.files("XX.ONE", FIRST * DAY_NS, (FIRST + 1) * DAY_NS)
    assert [file.path for file in files] == [long]
    assert files[0].size == long.stat().st_size
    assert plan.files("XX.ONE", (FIRST + 1) * DAY_NS, (FIRST + 2) * DAY_NS) == []

    (tmp_path / "list.txt").write_text("# two\ndata/a.mseed\n\ndata/**/*.sac\n")
    listed = make([f"@{tmp_path / 'list.txt'}", sac], Selection())
    assert listed.days == plan.days
    assert listed.unreadable == {}


def test_inputs_that_give_nothing(sds: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no file matches .*nowhere"):
        make([tmp_path / "nowhere"], Selection())
    with pytest.raises(ValueError, match="nothing in the input has the stations"):
        make([sds], Selection(stations=("ZZ.*",)))
    with pytest.raises(ValueError, match="'tomorrow' is not a time such as 2024-01-31"):
        time_ns("tomorrow", 0)
    assert time_ns(None, 5) == 5
    assert patterns("XX.*, YY.TWO,") == ("XX.*", "YY.TWO")


stations = st.sampled_from(["XX.A", "XX.B", "YY.LONG", "Z.1"])


@given(
    st.sets(st.tuples(stations, st.integers(10_000, 10_400)), max_size=200),
    st.integers(1, 9),
    st.integers(0, 3),
)
def test_shards_share_everything_once(days: set[tuple[str, int]], count: int, missing: int) -> None:
    plan = Plan(Selection(), sorted(StationDay(*day) for day in days))
    parts = [plan.part(index, count) for index in range(count)]
    assert sorted(day for part in parts for day in part) == plan.days
    # A process that sees less of an archive that is being filled takes no others of it.
    less = Plan(Selection(), plan.days[missing:])
    for index, part in enumerate(parts):
        assert set(less.part(index, count)) <= set(part)


def test_shards_are_even_by_station_and_by_day() -> None:
    days = [StationDay(f"XX.{s}", d) for s in range(40) for d in range(18000, 18040)]
    sizes = [len(Plan(Selection(), days).part(i, 8)) for i in range(8)]
    assert sizes == [200] * 8  # each station's days go round
    single = [StationDay("XX.1", d) for d in range(18000, 18016)]
    assert [len(Plan(Selection(), single).part(i, 8)) for i in range(8)] == [2] * 8


def test_a_folder_is_an_sds_archive_by_its_layout(sds: Path, tmp_path: Path) -> None:
    assert is_sds(sds)
    (tmp_path / "other/2020").mkdir(parents=True)
    assert not is_sds(tmp_path / "other")
