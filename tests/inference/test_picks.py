"""Picks on curves, and what becomes of them."""

import csv

import numpy as np
import obspy
import pandas as pd
import pytest
from obspy import UTCDateTime

from seismollm_jax.inference.pick_output import COLUMNS, write_csv
from seismollm_jax.inference.picks import Pick, PickList, merged, pick_segment
from seismollm_jax.inference.quality import snr_db, uncertainty
from seismollm_jax.inference.streams import Segment

START = UTCDateTime("2024-03-01T12:00:00.37")
PHASES, THRESHOLDS = {"P": 1, "S": 2}, {"P": 0.3, "S": 0.5}


def segment(samples, seed=0):
    data = np.random.default_rng(seed).normal(5, 3, (samples, 3)).astype(np.float32)
    valid = np.ones((samples, 3), bool)
    return Segment("XX.ABC..HH", START, 100.0, data, valid, ("HHZ", "HH1", "HH2"))


def bell(samples, centre, height, width=20.0):
    return height * np.exp(-0.5 * ((np.arange(samples) - centre) / width) ** 2)


def test_picks_have_sub_sample_times_and_extents():
    record = segment(3000)
    curves = np.zeros((3000, 3), np.float32)
    curves[:, 1] = bell(3000, 500.3, 0.9) + bell(3000, 2000, 0.31)
    curves[:, 2] = bell(3000, 900.75, 0.8) + bell(3000, 2500, 0.49)  # the second one is too low
    picks = pick_segment(curves, record, PHASES, THRESHOLDS, 1.0)
    assert [(p.phase, p.trace_id) for p in picks] == [(x, "XX.ABC..HH") for x in "PSP"]
    assert [p.channel for p in picks] == ["HHZ", "HH1", "HHZ"]
    offsets = [(p.peak_time - START) * 100 for p in picks]
    assert offsets == pytest.approx([500.3, 900.75, 2000], abs=0.01)
    assert [p.peak_value for p in picks] == pytest.approx([0.9, 0.8, 0.31], abs=1e-3)
    # at half the threshold: 0.15 = 0.9 exp(-d^2 / 800)
    half_width = np.sqrt(800 * np.log(0.9 / 0.15))
    assert (picks[0].start_time - START) * 100 == pytest.approx(np.ceil(500.3 - half_width))
    assert (picks[0].end_time - START) * 100 == pytest.approx(np.floor(500.3 + half_width))
    assert [p.uncertainty_s for p in picks] == pytest.approx([0.2] * 3, rel=0.01)


def test_more_picks_than_any_limit_of_training():
    record = segment(60000)
    curves = np.zeros((60000, 3), np.float32)
    curves[50::300, 1] = 0.7
    assert len(pick_segment(curves, record, PHASES, THRESHOLDS, 1.0)) == 200
    assert len(pick_segment(curves, record, PHASES, THRESHOLDS, 4.0)) == 100


def test_nothing_is_picked_beside_missing_data():
    record = segment(300)
    curves = np.full((300, 3), 0.1, np.float32)
    curves[[100, 200], 1] = 0.9
    curves[101:150] = np.nan
    (pick,) = pick_segment(curves, record, {"P": 1}, THRESHOLDS, 0.1)
    assert (pick.peak_time - START) * 100 == pytest.approx(200)
    assert pick_segment(np.full((300, 1), np.nan), record, PHASES, THRESHOLDS, 0.1) == []


def test_errors_name_the_trace_and_the_phase():
    with pytest.raises(ValueError, match=r"XX\.ABC\.\.HH: curves of 10"):
        pick_segment(np.zeros((10, 3)), segment(20), PHASES, THRESHOLDS, 1.0)
    with pytest.raises(KeyError, match="Pn"):
        pick_segment(np.zeros((20, 3)), segment(20), {"Pn": 1}, THRESHOLDS, 1.0)


def test_the_width_of_a_peak():
    curve = bell(2000, 1000, 0.8, 13.0)
    assert uncertainty(curve, 1000, 100.0) == pytest.approx(0.13, rel=0.01)
    curve[1005:] = np.nan  # one side counts twice
    assert uncertainty(curve, 1000, 100.0) == pytest.approx(0.13, rel=0.01)
    assert uncertainty(bell(20, 10, 0.8, 13.0), 10, 100.0) is None
    wide = np.where(np.arange(600) < 300, bell(600, 300, 1, 10), bell(600, 300, 1, 30))
    assert uncertainty(wide, 300, 100.0) == pytest.approx(0.2, rel=0.01)


def test_signal_to_noise():
    draw = np.random.default_rng(0)
    data = draw.normal(1e4, 1, (4000, 3))
    data[2000:] = draw.normal(1e4, 10, (2000, 3))
    valid = np.ones(data.shape, bool)
    assert snr_db(data, valid, 2000, 100.0) == pytest.approx(20, abs=0.5)
    assert snr_db(data, valid, 1000, 100.0) == pytest.approx(0, abs=0.5)
    data[2000:, 1] *= 100  # as if the component were missing
    valid[:, 1] = False
    assert snr_db(data, valid, 2000, 100.0) == pytest.approx(20, abs=0.5)
    assert snr_db(data, valid, 100, 100.0) is None  # too little noise before it
    assert snr_db(data, valid, 3950, 100.0) is None
    assert snr_db(np.zeros((4000, 3)), valid, 2000, 100.0) is None


def made(phase="P", after_s=0.0, trace_id="XX.ABC..HH", **more):
    time = START + after_s
    fields = {"peak_value": 0.51234, "uncertainty_s": 0.1, "snr_db": 12.34, "channel": "HHZ"}
    return Pick(
        trace_id=trace_id,
        start_time=time - 0.2,
        end_time=time + 0.1,
        peak_time=time,
        phase=phase,
        **(fields | more),
    )


def test_selection():
    picks = PickList(
        [made(), made("S", 1, peak_value=0.9), made("P", 2, "YY.B.00.BH", peak_value=0.7)]
    )
    assert picks.select(phase="P") == [picks[0], picks[2]]
    assert picks.select(trace_id=r"XX\..*") == picks[:2]
    assert picks.select(trace_id="XX") == []  # the whole of it
    assert picks.select(min_probability=0.7) == picks[1:]
    assert picks.select(min_confidence=0.8) == [picks[1]]
    assert picks.select(starttime=START + 0.5, endtime=START + 1) == [picks[1]]
    assert isinstance(picks.select(), PickList)
    assert merged([picks[1:], picks[:1]]) == picks


def test_seisbench_columns():
    table = PickList([made("S", 1), made(polarity="U", polarity_value=0.8)]).to_dataframe()
    assert table.columns[:8].tolist() == [
        *("station", "time", "start_time", "end_time", "probability", "phase"),
        *("polarity", "polarity_probability"),
    ]
    assert table["phase"].tolist() == ["P", "S"]  # by time
    assert table["time"][0] == pd.Timestamp(START.datetime)
    assert table["polarity"][0] == "U"
    assert list(PickList().to_dataframe().columns) == list(table.columns)


def test_quakeml(tmp_path):
    picks = PickList([made(polarity="D", up_probability=0.1), made("S", 1, snr_db=None)])
    path = tmp_path / "picks.xml"
    picks.to_quakeml(path, "a network")
    (event,) = obspy.read_events(str(path))
    first, second = event.picks
    assert first.time == START
    assert first.time_errors.uncertainty == 0.1
    assert first.waveform_id.get_seed_string() == "XX.ABC..HHZ"
    assert (first.phase_hint, first.polarity, first.evaluation_mode) == (
        *("P", "negative", "automatic"),
    )
    assert first.method_id.id == "smi:local/a_network"
    assert [comment.text for comment in first.comments] == [
        *("probability=0.5123", "snr_db=12.3", "up_probability=0.1000"),
    ]
    assert (second.phase_hint, second.polarity) == ("S", None)
    assert len(PickList().to_catalog()) == 0


def test_table_of_picks(tmp_path):
    path = tmp_path / "picks.csv"
    assert write_csv((made(phase, i) for i, phase in enumerate("PS")), path) == 2
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert rows[1] == {
        "trace_id": "XX.ABC..HH",
        "phase": "S",
        "time": "2024-03-01T12:00:01.370000Z",
        "probability": "0.5123",
        "uncertainty_s": "0.1000",
        "snr_db": "12.3",
        "start_time": "2024-03-01T12:00:01.170000Z",
        "end_time": "2024-03-01T12:00:01.470000Z",
        "channel": "HHZ",
        "peak_velocity_m_s": "",
        "peak_period_s": "",
    }
    assert [UTCDateTime(row["time"]) for row in rows] == [START, START + 1]
    assert PickList([made(snr_db=None)]).write_csv(path) == 1
    assert next(csv.DictReader(path.read_text().splitlines()))["snr_db"] == ""
    assert write_csv([], path) == 0
    assert path.read_text() == ",".join(COLUMNS) + "\n"
