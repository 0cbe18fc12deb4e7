"""Events in progress on continuous records."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from obspy import Stream, Trace, UTCDateTime

import seismollm_jax as sj
from seismollm_jax.inference.detections import detect_segment, merged_detections
from seismollm_jax.inference.streams import Segment
from tests import setups

START = UTCDateTime("2024-03-01T12:00:00.37")
VALUE = st.one_of(st.just(np.nan), st.floats(0, 1, width=32))


def segment(samples: int, start: UTCDateTime = START) -> Segment:
    data = np.zeros((samples, 3), np.float32)
    channels = ("HHZ", "HHN", "HHE")
    return Segment("XX.ABC..HH", start, 100.0, data, np.ones((samples, 3), bool), channels)


def test_runs_above_the_threshold() -> None:
    curve = np.zeros(1000, np.float32)
    curve[100:200], curve[150] = 0.6, 0.8
    curve[400:500], curve[450] = 0.7, np.nan  # a gap divides
    curve[700] = 0.5  # is not above
    found = detect_segment(curve, segment(1000), 0.5)
    samples = [
        (round((one.start_time - START) * 100), round((one.end_time - START) * 100))
        for one in found
    ]
    assert samples == [(100, 199), (400, 449), (451, 499)]
    assert [one.peak_value for one in found] == pytest.approx([0.8, 0.7, 0.7])
    table = found.to_dataframe()
    assert list(table.columns) == ["station", "start_time", "end_time", "probability"]
    assert table["station"].tolist() == ["XX.ABC..HH"] * 3
    assert UTCDateTime(table["end_time"][0]) == START + 1.99
    assert len(found.select(min_confidence=0.75)) == len(found.select(trace_id="XX.*")) - 2 == 1
    assert found.select(trace_id="XX") == []
    later = detect_segment(curve, segment(1000, START + 1), 0.5)
    times = [one.start_time for one in merged_detections([later, found])]
    assert times == sorted(times)
    assert len(times) == 6
    nothing = detect_segment(np.zeros(0, np.float32), segment(0), 0.5)
    assert list(nothing.to_dataframe().columns) == list(table.columns)
    with pytest.raises(ValueError, match=r"XX\.ABC\.\.HH: a curve of 9 samples .* of 10"):
        detect_segment(np.zeros(9), segment(10), 0.5)


@given(hnp.arrays(np.float32, 60, elements=VALUE), st.integers(0, 40), st.integers(2, 20))
def test_a_part_of_a_curve_has_the_detections_of_the_whole(
    curve: np.ndarray, first: int, length: int
) -> None:
    """But for those that reach its ends."""
    whole = detect_segment(curve, segment(60), 0.5)
    start = START + first / 100
    part = detect_segment(curve[first : first + length], segment(length, start), 0.5)
    low, high = start + 0.005, START + (first + length - 1) / 100 - 0.005
    inside = [[x for x in one if x.start_time > low and x.end_time < high] for one in (whole, part)]
    assert [(x.start_time, x.end_time, x.peak_value) for x in inside[0]] == [
        (x.start_time, x.end_time, x.peak_value) for x in inside[1]
    ]


def test_annotate_and_classify(tmp_path: Path) -> None:
    changes = {"options.form": "detection", "precision.matmul": "highest"}
    setups.save_random(tmp_path, setups.config("picking", changes=changes))
    predictor = sj.load(tmp_path, batch_size=4)
    draw = np.random.default_rng(0)
    header = {"network": "XX", "station": "ABC", "starttime": START, "sampling_rate": 100.0}
    stream = Stream(
        Trace(draw.normal(0, 100, 2000), {**header, "channel": f"HH{component}"})
        for component in "ZNE"
    )
    annotations = predictor.annotate(stream)
    assert [trace.stats.channel for trace in annotations] == [f"SeisMoLLM_{x}_HH" for x in "DPS"]
    curve = annotations[0].data
    threshold = float(np.quantile(curve, 0.9))
    found = predictor.classify(stream, detection_threshold=threshold).detections
    assert sum(round((x.end_time - x.start_time) * 100) + 1 for x in found) == (
        np.count_nonzero(curve > np.float32(threshold))
    )
    assert max(x.peak_value for x in found) == curve.max()
    assert predictor.classify(stream, detection_threshold=1.0).detections == []
    with pytest.raises(ValueError, match="detection_threshold is 2; it must lie between 0 and 1"):
        predictor.classify(stream, detection_threshold=2)
    answers = predictor.predict(draw.normal(0, 100, (2, 3, 640)))
    assert answers["detection"].shape == (2, 2)
    assert answers["detection_probability"].shape == answers["p_sample"].shape == (2, 1)
