"""Events of continuous records: windows, answers, flags, and that cutting changes nothing."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obspy import Stream, UTCDateTime, read_events

import seismollm_jax as sj
from seismollm_jax.data.geodesy import distance_and_back_azimuth
from seismollm_jax.inference.events import answers as event_answers
from seismollm_jax.inference.events import crust
from seismollm_jax.inference.events import windows as event_windows
from seismollm_jax.inference.events.table import COLUMNS, Event, EventTable
from tests.inference import archives, event_networks
from tests.inference.event_networks import WINDOW

START = UTCDateTime(2020, 1, 1, 0, 0, 3)
RATES = {"polarity": 100.0, "magnitude": 100.0, "distance": 50.0, "back_azimuth": 100.0}
SHARES = {"polarity": 0.4, "magnitude": 0.125, "distance": 0.25, "back_azimuth": 0.4}


@pytest.fixture(scope="module")
def record() -> Stream:
    return archives.record("XX.STA", START, 80, seed=1)


@pytest.fixture(scope="module")
def table(networks: sj.EventPredictor, record: Stream) -> EventTable:
    return networks.catalogue(record, inventory=event_networks.inventory("XX.STA"))


def inner(table: EventTable) -> list[Event]:
    """Events whose windows lie inside the record."""
    return [e for e in table if START + 10 < e.p.peak_time < START + 65]


def test_every_p_is_an_event_and_every_pick_is_kept(
    table: EventTable, networks: sj.EventPredictor, record: Stream
) -> None:
    picks = networks.picking.classify(record).picks
    assert [(p.phase, p.peak_time) for p in table.picks] == [(p.phase, p.peak_time) for p in picks]
    assert [e.p.peak_time for e in table] == [p.peak_time for p in picks if p.phase == "P"]
    assert any(e.s for e in table)
    assert len(table) > 15
    assert {id(pick) for e in table for pick in (e.p, e.s) if pick} < set(map(id, table.picks))


@pytest.mark.parametrize("task", RATES)
def test_networks_see_the_windows_of_their_contracts(
    task: str, table: EventTable, networks: sj.EventPredictor, record: Stream
) -> None:
    predictor, rate = networks.answers[task], RATES[task]
    (segment,) = networks.segments(record)[0][rate]
    assert segment.sampling_rate_hz == predictor.sampling_rate_hz == rate
    event = inner(table)[3]
    p_sample = round((event.p.peak_time - segment.start_time) * rate)
    first = p_sample - int(SHARES[task] * WINDOW)
    windows = [segment.data[first + shift : first + shift + WINDOW] for shift in shifts(rate)]
    answers = predictor.predict(np.stack([window.T for window in windows]))  # normalises itself
    column = event_answers.KINDS[task].column
    values = predictor.experiment.task.answer_columns(answers)[column]
    found = event.answers[task]
    if task == "polarity":
        assert found.value == values[0]
        assert found.probability == pytest.approx(answers["polarity"][0].max(), abs=1e-4)
        return
    assert found.value == pytest.approx(float(values[0]), rel=1e-3, abs=1e-3)
    change = values[1:] - values[0]
    change = (change + 180) % 360 - 180 if task == "back_azimuth" else change
    assert found.spread == pytest.approx(np.sqrt(np.mean(change**2)), rel=0.02, abs=1e-3)
    if task == "back_azimuth":
        length = np.hypot(*predictor.forward(normalised(predictor, windows[:1]))[0])
        assert found.length == pytest.approx(length, rel=1e-3)


def shifts(rate: float) -> list[int]:
    return [0, *(round(seconds * rate) for seconds in event_answers.SHIFTS_S)]


def normalised(predictor: sj.Predictor, windows: list[np.ndarray]) -> np.ndarray:
    return np.stack([predictor.normalise(window).T for window in windows])


def test_epicentres_lie_where_distance_and_direction_say(table: EventTable) -> None:
    for event in table:
        assert event.epicentre is not None
        place = event.epicentre.latitude, event.epicentre.longitude
        distance, azimuth = distance_and_back_azimuth(*event_networks.PLACE, *place)
        assert distance == pytest.approx(event.answers["distance"].value, abs=1e-3)
        off = float(azimuth) - float(event.answers["back_azimuth"].value)
        assert abs((off + 180) % 360 - 180) < 1e-3
        assert event.epicentre.origin_time < event.p.peak_time
        good = event.answers["distance"].is_ok and event.answers["back_azimuth"].is_ok
        assert (event.epicentre.flag == "ok") == good


def test_without_metadata_no_epicentre(networks: sj.EventPredictor, record: Stream) -> None:
    part = record.slice(START, START + 20)
    assert all(event.epicentre is None for event in networks.catalogue(part))
    other = networks.catalogue(part, inventory=event_networks.inventory("XX.OTHER"))
    assert len(other) > 3
    for event in other:
        assert event.epicentre.flag.startswith("no_station")
        assert event.epicentre.latitude is None


@settings(deadline=None, max_examples=6, derandomize=True)
@given(st.integers(0, 600), st.integers(7000, 8000), st.lists(st.integers(0, 8000), max_size=3))
def test_cutting_changes_nothing(
    networks: sj.EventPredictor, table: EventTable, first: int, last: int, cuts: list[int]
) -> None:
    """Away from the ends of the record, by what an event depends on."""
    record = archives.record("XX.STA", START, 80, seed=1)
    bounds = sorted({first, last, *(cut for cut in cuts if first < cut < last)})
    parts = Stream()
    for begin, end in itertools.pairwise(bounds):
        parts += record.slice(START + begin / 100, START + (end - 1) / 100)
    found = networks.catalogue(parts, inventory=event_networks.inventory("XX.STA"))
    low = START + first / 100 + networks.reach_s + 2
    high = START + last / 100 - networks.reach_s - 2

    def inside(events: EventTable) -> list[dict[str, Any]]:
        return [event.row() for event in events if low < event.p.peak_time < high]

    rows, expected = inside(found), inside(table)
    assert len(rows) == len(expected) > 3
    for row, same in zip(rows, expected, strict=True):
        assert row["p_time"].ns == pytest.approx(same["p_time"].ns, abs=20_000)
        for name in COLUMNS:
            if isinstance(row[name], float):
                assert row[name] == pytest.approx(same[name], rel=0.01, abs=0.02), name
            elif not isinstance(row[name], UTCDateTime) and name != "event_id":
                assert row[name] == same[name], name


def flags(table: EventTable, task: str) -> dict[float, str]:
    """By seconds of P after the start."""
    return {event.p.peak_time - START: event.answers[task].flag for event in table}


def test_gaps_and_edges_are_masked_counted_and_flagged(
    networks: sj.EventPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = archives.record("XX.STA", START, 40, seed=1)
    gap = START + 20, START + 21.5
    parts = record.slice(START, gap[0] - 0.01) + record.slice(gap[1])
    predictor, seen = networks.answers["polarity"], []
    forward = predictor.forward

    def spy(x: np.ndarray) -> np.ndarray:
        seen.extend(x)
        return forward(x)

    monkeypatch.setattr(predictor, "forward", spy)
    table = networks.catalogue(parts)
    assert len(seen) == len(table)  # polarities have no shifted windows
    whole = np.stack([trace.data for trace in record]).astype(np.float32)
    counted = {"gap": 0, "edge": 0}
    for event, window in zip(table, seen, strict=True):
        first = round((event.p.peak_time - START) * 100) - 256
        index = np.arange(first, first + WINDOW)
        valid = (index >= 0) & (index < 4000) & ~((index >= 2000) & (index < 2150))
        assert (window[:, ~valid] == 0).all()
        expected = predictor.normalise(whole[:, index[valid]].T).T
        np.testing.assert_allclose(window[:, valid], expected, atol=2e-5)
        answer = event.answers["polarity"]
        assert answer.missing_s == pytest.approx((~valid).sum() / 100)
        if (~valid).sum() > 64:
            holes = (~valid & (index >= 2000) & (index < 2150)).any()
            reasons = {"gap": holes, "edge": first < 0 or first + WINDOW > 4000}
            # A gap that reaches to the end of the window is its edge.
            if reasons["gap"] and (~valid)[[0, -1]].any() and not reasons["edge"]:
                reasons = {"gap": False, "edge": True}
            for name, is_so in reasons.items():
                counted[name] += is_so
                assert (name in answer.flag.split("+")) == is_so, (first, answer.flag)
        elif valid.all():
            assert not {"gap", "edge"} & set(answer.flag.split("+"))
    assert counted["gap"] > 1
    assert counted["edge"] > 3


def test_components_and_orientation(networks: sj.EventPredictor) -> None:
    record = archives.record("XX.STA", START, 25, seed=1)
    for trace, name in zip(record, "Z12", strict=True):
        trace.stats.channel = f"HH{name}"

    def shares(stream: Stream, reason: str, **options: Any) -> dict[str, float]:
        made = networks.catalogue(stream, **options)
        assert len(made) > 2
        return {
            task: np.mean([reason in e.answers[task].flag.split("+") for e in made])
            for task in RATES
        }

    only = {"back_azimuth": 1.0}
    none = dict.fromkeys(RATES, 0.0)
    known = event_networks.inventory("XX.STA", azimuth=30.0, names="Z12")
    assert shares(record, "orientation") == none | only
    assert shares(record, "orientation", inventory=known) == none
    assert shares(record, "component") == none
    assert shares(record[:2], "component") == none | only
    assert shares(record[1:], "component") == none | only | {"polarity": 1.0}


def test_tables_agree(table: EventTable, tmp_path: Path) -> None:
    assert table.write_csv(tmp_path / "events.csv") == len(table)
    rows, frame = pd.read_csv(tmp_path / "events.csv"), table.to_dataframe()
    assert list(rows) == list(frame) == list(COLUMNS)
    assert rows["event_id"].is_unique
    for name, kind in COLUMNS.items():
        if kind == "time":
            times = pd.to_datetime(rows[name]).dt.tz_localize(None)
            pd.testing.assert_series_equal(times, frame[name], check_dtype=False)
        elif kind == "text":
            assert rows[name].tolist() == frame[name].tolist()
        else:
            digits = int(kind[1])
            np.testing.assert_allclose(rows[name], frame[name], atol=0.51 * 10.0**-digits)
    assert (frame["sp_s"].isna() == frame["s_time"].isna()).all()
    ok = rows["magnitude_flag"].eq("ok").sum()
    assert f"- magnitude: {ok} of {len(table)} ok" in str(table)
    assert str(table).startswith(f"{len(table)} events, {rows['s_time'].notna().sum()} of them")


def test_quakeml_has_what_is_believed(
    table: EventTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = inner(table)[:4]
    for event, is_ok in zip(chosen, (True, True, False, False), strict=True):
        for answer in event.answers.values():
            monkeypatch.setattr(answer, "flag", "ok" if is_ok else "gap")
        assert event.epicentre is not None
        monkeypatch.setattr(event.epicentre, "flag", "ok" if is_ok else "distance")
    path = tmp_path / "events.xml"
    EventTable("SeisMoLLM", chosen, table.picks, None).to_quakeml(path)
    found = read_events(path)
    assert len(found) == 4
    found.write(str(path), format="QUAKEML", validate=True)  # against the schema
    for event, written, is_ok in zip(chosen, found, (True, True, False, False), strict=True):
        assert len(written.picks) == 1 + (event.s is not None)
        assert written.picks[0].time == event.p.peak_time
        assert len(written.origins) == len(written.station_magnitudes) == is_ok
        assert len(written.magnitudes) == is_ok
        assert any("magnitude=" in comment.text for comment in written.comments)
        if not is_ok:
            assert written.picks[0].backazimuth is None
            continue
        azimuth = event.answers["back_azimuth"]
        assert written.picks[0].backazimuth == pytest.approx(azimuth.value)
        assert written.preferred_origin().latitude == pytest.approx(event.epicentre.latitude)
        assert {a.pick_id for a in written.origins[0].arrivals} == {
            pick.resource_id for pick in written.picks
        }
        size = written.station_magnitudes[0]
        assert size.mag == pytest.approx(event.answers["magnitude"].value)
        assert size.origin_id == written.origins[0].resource_id
        assert written.preferred_magnitude().mag == size.mag
    event.answers["magnitude"].flag = "ok"  # without an origin
    (written,) = EventTable("SeisMoLLM", [event], table.picks, None).to_catalog()
    assert (len(written.magnitudes), len(written.station_magnitudes)) == (1, 0)
    written_alone = type(found)([written])
    written_alone.write(str(path), format="QUAKEML", validate=True)


def test_polarities_go_to_the_picks(table: EventTable) -> None:
    letters = {"up": "U", "down": "D"}
    assert any(event.p.polarity for event in table)
    for event in table:
        answer = event.answers["polarity"]
        assert event.p.polarity == (letters[str(answer.value)] if answer.is_ok else None)
        if answer.is_ok:
            assert event.p.polarity_value == answer.probability >= event_answers.LEAST_PROBABILITY


def test_any_subset_does(event_root: Path, record: Stream) -> None:
    folder = event_networks.folders(event_root)
    alone = sj.load_events(folder["picking"], batch_size=8, p_threshold=0.5, s_threshold=0.5)
    frame = alone.catalogue(record).to_dataframe()
    assert len(frame) > 15
    assert frame["sp_s"].notna().any()
    assert frame["magnitude_flag"].isna().all()
    assert list(frame) == list(COLUMNS)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: sj.load_events(f["magnitude"]), "is a network for magnitude, not for picking"),
        (
            lambda f: sj.load_events(f["picking"], distance=f["polarity"]),
            "is a network for polarity, not for distance",
        ),
        (lambda f: sj.load_events(f["picking"], p_position=1.5), "p_position is 1.5"),
    ],
)
def test_networks_that_cannot_be(
    event_root: Path, make: Callable[[dict[str, Path]], Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make(event_networks.folders(event_root))


class Says:
    """A network that says the same of every window, or of each of its shifts."""

    def __init__(self, predictor: sj.Predictor, *outputs: list[float]):
        self.predictor, self.outputs = predictor, outputs

    def __getattr__(self, name: str) -> Any:
        return getattr(self.predictor, name)

    def forward(self, x: np.ndarray) -> np.ndarray:
        return np.array([self.outputs[i % len(self.outputs)] for i in range(len(x))], np.float32)


@pytest.mark.parametrize(
    ("task", "outputs", "sp_s", "expected"),
    [
        ("magnitude", [[3.0]], 2.0, "ok"),
        ("magnitude", [[0.01]], 2.0, "bounds"),
        ("magnitude", [[7.99]], 2.0, "bounds"),
        ("magnitude", [[3.0], [4.0], [2.0], [3.0], [3.0]], 2.0, "unstable"),
        ("distance", [[16.0]], 2.0, "ok"),
        ("distance", [[60.0]], 2.0, "s_minus_p"),
        ("distance", [[60.0]], None, "ok"),
        ("distance", [[499.9]], None, "bounds"),
        ("distance", [[16.0], [40.0], [40.0], [40.0], [40.0]], 2.0, "unstable"),
        ("back_azimuth", [[0.9, 0.1]], 2.0, "ok"),
        ("back_azimuth", [[0.3, 0.1]], 2.0, "undecided"),
        ("back_azimuth", [[0.9, 0.0], [0.9, 0.1], [0.9, -0.1], [0.9, 0.2], [0.9, -0.2]], 2, "ok"),
        ("back_azimuth", [[0.9, 0.0], [0.0, 0.9], [0.9, 0], [0.0, -0.9], [0.9, 0]], 2, "unstable"),
        ("polarity", [[0.9, 0.1]], 2.0, "ok"),
        ("polarity", [[0.35, 0.65]], 2.0, "undecided"),
    ],
)
def test_what_is_not_believed(
    networks: sj.EventPredictor,
    table: EventTable,
    record: Stream,
    task: str,
    outputs: list[list[float]],
    sp_s: float | None,
    expected: str,
) -> None:
    (segment,) = networks.segments(record)[0][RATES[task]]
    p, s = pick(table, 30), None if sp_s is None else pick(table, 30 + sp_s)
    subject = event_answers.Subject(p, s, segment)
    (found,) = event_answers.answer(Says(networks.answers[task], *outputs), [subject])
    assert found.flag == expected
    p.snr_db = 2.0
    later = UTCDateTime(p.peak_time) + 1
    crowded = event_answers.Subject(p, s, segment, [p.peak_time, later])
    (found,) = event_answers.answer(Says(networks.answers[task], *outputs), [crowded])
    reasons = set(found.flag.split("+")) - set(expected.split("+"))
    assert reasons == {"snr"} | ({event_windows.OTHER_EVENT} if task != "polarity" else set())


def pick(table: EventTable, seconds: float) -> Any:
    """Such as those of the table, at another time."""
    copied = type(table.picks[0])(**{**vars(table.picks[0]), "snr_db": 20.0})
    copied.peak_time = START + seconds
    return copied


def test_the_longest_pair(networks: sj.EventPredictor) -> None:
    assert networks.longest_sp_s == WINDOW / 100  # of the picking window
    assert crust.LONGEST_SP_S > 50
