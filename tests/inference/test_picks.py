"""Curves and picks on continuous records, with models that are simple functions."""

import csv

import numpy as np
import pytest
from obspy import UTCDateTime

from seismollm_jax.data.waveform import normalise
from seismollm_jax.inference.picks import (
    Pick,
    annotate_stream,
    normalised_window,
    pick_segment,
    write_csv,
)
from seismollm_jax.inference.streams import Segment
from seismollm_jax.inference.windows import window_starts

START = UTCDateTime("2024-03-01T12:00:00.37")
PHASES, THRESHOLDS = {"P": 1, "S": 2}, {"P": 0.3, "S": 0.5}


def segment(samples, seed=0, start=START, rate=100.0):
    data = np.random.default_rng(seed).normal(5, 3, (samples, 3)).astype(np.float32)
    return Segment("XX.ABC..HH", start, rate, data, np.ones((samples, 3), bool))


def unchanged(data, valid):
    return data


def annotate(forward, found, **changes):
    settings = {"window": 400, "overlap": 0.5, "batch_size": 4, "normalise": unchanged}
    return list(annotate_stream(forward, iter(found), **(settings | changes)))


def test_batches_have_one_size_and_nothing_is_lost():
    found = [segment(n, n) for n in (1, 399, 400, 401, 2345, 10, 1200)]
    seen, last = [], []

    def forward(x):
        seen.append(x.shape)
        last[:] = [x.copy()]
        assert x.dtype == np.float32
        return x * 2

    results = annotate(forward, found)
    assert set(seen) == {(4, 400, 3)}
    for expected, (actual, curves) in zip(found, results, strict=True):
        assert actual is expected
        np.testing.assert_array_equal(curves, expected.data * 2)
    windows = [len(window_starts(len(s.data), 400, 0.5, s.anchor)) for s in found]
    assert len(seen) == -(-sum(windows) // 4)  # segments share batches
    filled = sum(windows) % 4
    assert filled > 0
    assert last[0][:filled].any(axis=(1, 2)).all()
    assert not last[0][filled:].any()  # and not windows of the batch before
    assert len(seen) < sum(-(-n // 4) for n in windows)


def test_segments_come_out_as_soon_as_their_windows_are_done():
    made = []

    def source():
        for i in range(6):
            made.append(i)
            yield segment(1600, i)

    results = annotate_stream(
        lambda x: x, source(), window=400, overlap=0.5, batch_size=4, normalise=unchanged
    )
    next(results)
    assert len(made) <= 2  # memory does not grow with the archive


def test_the_result_does_not_depend_on_where_a_record_begins():
    rng = np.random.default_rng(1)
    weights = rng.normal(size=400)

    def forward(x):  # depends on the position in the window and on the whole window
        return (x * weights[:, None] + x.mean(1, keepdims=True)).astype(np.float32)

    whole = segment(6000)
    first = 1337
    part = Segment(
        whole.trace_id,
        whole.start_time + first / 100,
        100.0,
        whole.data[first:5000],
        whole.valid[first:5000],
    )
    curves = [
        c
        for _, c in annotate(
            forward, [whole, part], normalise=lambda x, v: normalise(x, "std", v), batch_size=7
        )
    ]
    inner = slice(first + 400, 5000 - 400)
    np.testing.assert_allclose(
        curves[0][inner], curves[1][inner.start - first : inner.stop - first], atol=1e-5
    )


def test_gaps_are_zero_to_the_model_and_nan_in_the_curves():
    record = segment(1000)
    record.data += 1e4  # an offset that demeaning with gap samples would turn into a step
    record.valid[450:550] = False
    record.valid[:, 2] = False
    record.data[~record.valid] = 0
    inputs = []

    def forward(x):
        inputs.append(x.copy())
        return np.ones((*x.shape[:2], 2), np.float32)

    ((_, curves),) = annotate(forward, [record], normalise=lambda x, v: normalise(x, "std", v))
    assert np.isnan(curves[450:550]).all()
    assert (curves[:450] == 1).all()
    assert (curves[550:] == 1).all()
    windows = np.concatenate(inputs)
    assert np.abs(windows).max() < 10  # without the mask it would reach 1e4 / std
    assert not windows[:, :, 2].any()


@pytest.mark.parametrize("mode", ["std", "joint_std"])
def test_windows_are_normalised_as_in_training(mode):
    def own(data, valid):
        return normalise(data, mode, valid)

    record = segment(400)
    record.data[:, 1] *= 20  # a joint scale shows it, one of each component does not
    result = normalised_window(record, 0, 400, own)
    np.testing.assert_array_equal(result, normalise(record.data, mode))
    record.valid[100:, 1] = False
    record.data[100:, 1] = 0
    result = normalised_window(record, 0, 400, own)
    assert not result[100:, 1].any()
    if mode == "std":
        np.testing.assert_allclose(result[:100, 1], normalise(record.data[:100])[:, 1], atol=1e-6)
        np.testing.assert_allclose(result[:, 0], normalise(record.data)[:, 0], atol=1e-6)
    else:
        spread = record.data[:100].std(0) / record.data[:100, 0].std()
        assert result[:100, 1].std() / result[:100, 0].std() == pytest.approx(spread[1], rel=1e-3)


def test_a_model_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"\(4, 200, 3\)"):
        annotate(lambda x: x[:, ::2], [segment(400)])


def bell(samples, centre, height, width=20.0):
    return height * np.exp(-0.5 * ((np.arange(samples) - centre) / width) ** 2)


def test_picks_have_sub_sample_times_and_extents():
    record = segment(3000)
    curves = np.zeros((3000, 3), np.float32)
    curves[:, 1] = bell(3000, 500.3, 0.9) + bell(3000, 2000, 0.31)
    curves[:, 2] = bell(3000, 900.75, 0.8) + bell(3000, 2500, 0.49)  # the second one is too low
    picks = pick_segment(curves, record, PHASES, THRESHOLDS, 1.0)
    assert [(p.phase, p.trace_id) for p in picks] == [(x, "XX.ABC..HH") for x in "PSP"]
    offsets = [(p.time - START) * 100 for p in picks]
    assert offsets == pytest.approx([500.3, 900.75, 2000], abs=0.01)
    assert [p.probability for p in picks] == pytest.approx([0.9, 0.8, 0.31], abs=1e-3)
    # at half the threshold: 0.15 = 0.9 exp(-d^2 / 800)
    half_width = np.sqrt(800 * np.log(0.9 / 0.15))
    assert (picks[0].start_time - START) * 100 == pytest.approx(np.ceil(500.3 - half_width))
    assert (picks[0].end_time - START) * 100 == pytest.approx(np.floor(500.3 + half_width))
    whole = pick_segment(curves, record, PHASES, THRESHOLDS, 1.0, sub_sample=False)
    assert [(p.time - START) * 100 for p in whole] == pytest.approx([500, 901, 2000])


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
    assert (pick.time - START) * 100 == pytest.approx(200)


def test_errors_name_the_trace_and_the_phase():
    with pytest.raises(ValueError, match=r"XX\.ABC\.\.HH: curves of 10"):
        pick_segment(np.zeros((10, 3)), segment(20), PHASES, THRESHOLDS, 1.0)
    with pytest.raises(KeyError, match="Pn"):
        pick_segment(np.zeros((20, 3)), segment(20), {"Pn": 1}, THRESHOLDS, 1.0)


def test_table_of_picks(tmp_path):
    path = tmp_path / "picks.csv"
    picks = (Pick("XX.ABC..HH", phase, START + i, 0.51234) for i, phase in enumerate("PS"))
    assert write_csv(picks, path) == 2
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert rows == [
        {
            "trace_id": "XX.ABC..HH",
            "phase": phase,
            "time": f"2024-03-01T12:00:0{i}.370000Z",
            "probability": "0.5123",
        }
        for i, phase in enumerate("PS")
    ]
    assert [UTCDateTime(row["time"]) for row in rows] == [START, START + 1]
    assert write_csv([], path) == 0
    assert path.read_text() == "trace_id,phase,time,probability\n"
