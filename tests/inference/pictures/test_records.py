"""Pictures of events and hours: which there are, and what stands in for long records."""

import numpy as np
import pytest
from matplotlib.image import imread
from obspy import UTCDateTime

from seismollm_jax.inference.picks import Pick, PickList
from seismollm_jax.inference.pictures import panels, records
from seismollm_jax.inference.pictures.figures import PHASES
from seismollm_jax.inference.pictures.records import HOUR_NS, Sketches
from seismollm_jax.inference.streams import Segment

RATE = 20.0
START = UTCDateTime("2024-03-01T22:50:00")
DAY = UTCDateTime("2024-03-01").ns, UTCDateTime("2024-03-02").ns
CODES = ("HHZ", "HHN", "HHE")


def pick(phase: str, time: UTCDateTime, probability: float = 0.9) -> Pick:
    return Pick(
        trace_id="XX.A..HH",
        start_time=time,
        end_time=time,
        peak_time=time,
        peak_value=probability,
        phase=phase,
    )


def segment(start: UTCDateTime, seconds: float, seed: int = 0) -> Segment:
    samples = round(seconds * RATE)
    data = np.random.default_rng(seed).normal(0, 1, (samples, 3)).astype(np.float32)
    return Segment("XX.A..HH", start, RATE, data, np.ones((samples, 3), bool), CODES)


def curves(record: Segment, picks: list[Pick]) -> np.ndarray:
    found = np.zeros((len(record.data), 3), np.float32)
    for one in picks:
        place = round((one.peak_time - record.start_time) * RATE)
        if 0 <= place < len(found):
            found[place, PHASES[one.phase]] = one.peak_value
    return found


@pytest.mark.parametrize("seconds", [200, 3000])
def test_a_panel_keeps_every_extreme(seconds: int) -> None:
    record = segment(START, seconds)
    record.data[777, 1] = 500.0
    record.data[778, 1] = -400.0
    record.valid[100:140] = False
    picks = [pick("P", START + 50)]
    probability = curves(record, picks)
    made = panels.panel("XX.A..HH", record.anchor, len(record.data), RATE, PHASES)
    made.add(record, probability, PHASES, picks)
    assert (made.size == 1) == (seconds == 200)
    assert (np.nanmax(made.high[:, 1]), np.nanmin(made.low[:, 1])) == (500, -400)
    assert np.nanmax(made.curves["P"]) == np.float32(0.9)
    assert np.nanmax(made.curves["S"]) == 0
    assert made.gaps == [(100, 140)]
    assert made.channels == CODES
    masked = np.where(record.valid, record.data, np.nan)
    np.testing.assert_array_equal(np.nanmin(made.low, 0), np.nanmin(masked, 0))
    np.testing.assert_array_equal(np.nanmax(made.high, 0), np.nanmax(masked, 0))
    assert np.isnan(made.low).any(1).sum() == (40 if made.size == 1 else 0)


def test_pieces_of_an_hour_make_one_panel() -> None:
    """Wherever a record is cut, and with what is missing between."""
    whole = segment(START, 1500)
    whole.valid[15000:15100] = False
    probability = curves(whole, [pick("S", START + 700)])
    probability[15000:15100] = np.nan
    span = DAY[0] + 23 * HOUR_NS, DAY[0] + 24 * HOUR_NS
    straight = panels.of_span(whole, probability, [], PHASES, *span)
    joined = None
    for first, end in ((0, 4111), (4111, 15000), (15100, len(whole.data))):
        part = Segment(
            whole.trace_id, whole.time(first), RATE, whole.data[first:end], whole.valid[first:end],
            CODES,
        )  # fmt: skip
        joined = panels.of_span(part, probability[first:end], [], PHASES, *span, joined)
    assert joined is not None
    np.testing.assert_array_equal(joined.low, straight.low)
    np.testing.assert_array_equal(joined.high, straight.high)
    assert joined.gaps == straight.gaps
    # From 23:15 on there is nothing; what came before 23:00 is left out.
    assert joined.gaps == [(3000, 3100), (18000, 72000)]
    assert joined.start_time == UTCDateTime("2024-03-01T23:00:00")
    np.testing.assert_array_equal(joined.curves["S"], straight.curves["S"])


@pytest.fixture
def sketches() -> Sketches:
    """22:50 to 00:10, an event at each five minutes; those beyond midnight belong to others."""
    made = Sketches(DAY, PHASES, 30.0, most_events=6, hours=True)
    record = segment(START, 4800)
    picks = PickList()
    for number in (*range(1, 14), 15):
        time = START + 300 * number
        picks += [pick("P", time, 0.5 + number / 100), pick("S", time + 4, 0.4)]
    picks.append(pick("P", UTCDateTime("2024-03-01T23:59:58"), 0.99))
    picks.append(pick("S", UTCDateTime("2024-03-02T00:00:03"), 0.98))  # tomorrow's, of today's P
    picks.sort(key=lambda p: p.peak_time)
    made.add(record, curves(record, picks), picks)
    return made


def test_the_most_probable_events_are_drawn(sketches: Sketches, tmp_path) -> None:
    assert len(sketches.events) == 14  # 13 of every five minutes, and the one before midnight
    assert all(DAY[0] <= p.peak_time.ns < DAY[1] for p in sketches.picks)
    folder = tmp_path / "XX.A" / "2024-061"
    said = records.write(sketches, folder, "event")
    assert said == ["pictures of the 6 most probable events; 8 more are not drawn"]
    names = sorted(path.name for path in folder.iterdir())
    times = [*(f"23{minute:02}00" for minute in range(35, 60, 5)), "235958"]
    assert names == [f"XX.A..HH_20240301T{time}.000.png" for time in times]
    last = sketches.panels["XX.A..HH", UTCDateTime("2024-03-01T23:59:58").ns]
    assert [p.phase for p in last.picks] == ["P", "S"]  # beyond midnight too
    assert imread(folder / names[0]).shape[2] == 4


def test_hours_are_drawn_and_old_pictures_go(sketches: Sketches, tmp_path) -> None:
    folder = tmp_path / "XX.A" / "2024-061"
    folder.mkdir(parents=True)
    (folder / "old.png").touch()
    killed = folder.with_name(".2024-061.0123abcd.partial")
    killed.mkdir()
    assert records.write(sketches, folder, "hour") == []
    assert not killed.exists()
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["XX.A..HH_20240301T22.png", "XX.A..HH_20240301T23.png"]
    hour = sketches.hours["XX.A..HH", DAY[0] + 22 * HOUR_NS]
    assert hour.gaps == [(0, round(50 * 60 * RATE))]
    assert [p.phase for p in hour.picks] == ["P", "S"]
    again = tmp_path / "again"
    records.write(sketches, again, "hour")
    for name in names:
        assert (again / name).read_bytes() == (folder / name).read_bytes()


def test_without_anything_there_is_no_folder(tmp_path) -> None:
    made = Sketches(DAY, PHASES, 30.0, most_events=5)
    assert records.write(made, tmp_path / "day", "event") == []
    assert not (tmp_path / "day").exists()
