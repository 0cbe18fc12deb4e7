"""Curves on continuous records, with models that are simple functions."""

import numpy as np
import pytest
from obspy import UTCDateTime

from seismollm_jax.data.waveform import normalise
from seismollm_jax.inference.annotate import annotate_segments, normalised_window, to_stream
from seismollm_jax.inference.streams import Segment
from seismollm_jax.inference.windows import window_starts

START = UTCDateTime("2024-03-01T12:00:00.37")


def segment(samples, seed=0, start=START, rate=100.0):
    data = np.random.default_rng(seed).normal(5, 3, (samples, 3)).astype(np.float32)
    return Segment("XX.ABC..HH", start, rate, data, np.ones((samples, 3), bool))


def unchanged(data, valid):
    return data


def annotate(forward, found, **changes):
    settings = {"window": 400, "overlap": 0.5, "batch_size": 4, "normalise": unchanged}
    return list(annotate_segments(forward, iter(found), **(settings | changes)))


@pytest.mark.parametrize(("batch_size", "multiple"), [(4, 1), (4, 4), (3, 8), (64, 1)])
def test_segments_share_batches_and_nothing_is_lost(batch_size, multiple):
    found = [segment(n, n) for n in (1, 399, 400, 401, 2345, 10, 1200)]
    seen, last = [], []

    def forward(x):
        seen.append(x.shape)
        last[:] = [x.copy()]
        assert x.dtype == np.float32
        return x * 2

    results = annotate(forward, found, batch_size=batch_size, multiple=multiple)
    for expected, (actual, curves) in zip(found, results, strict=True):
        assert actual is expected
        np.testing.assert_allclose(curves, expected.data * 2, rtol=1e-6)
    windows = sum(len(window_starts(s.where, 400, 0.5, s.anchor)) for s in found)
    size = -(-batch_size // multiple) * multiple
    assert {shape[1:] for shape in seen} == {(400, 3)}
    assert [shape[0] for shape in seen[:-1]] == [size] * (windows // size)
    filled = windows % size
    assert filled <= seen[-1][0] <= size
    assert seen[-1][0] % multiple == 0
    assert not last[0][filled:].any()  # and not windows of the batch before


def test_segments_come_out_as_soon_as_their_windows_are_done():
    made = []

    def source():
        for i in range(9):
            made.append(i)
            yield segment(1600, i)

    results = annotate_segments(
        lambda x: x, source(), window=400, overlap=0.5, batch_size=4, normalise=unchanged
    )
    next(results)
    assert len(made) <= 3  # memory does not grow with the archive


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
    np.testing.assert_allclose(curves[:450], 1, rtol=1e-6)
    np.testing.assert_allclose(curves[550:], 1, rtol=1e-6)
    windows = np.concatenate(inputs)
    assert np.abs(windows).max() < 10  # without the mask it would reach 1e4 / std
    assert not windows[:, :, 2].any()


def test_windows_with_little_data_count_less():
    record = segment(400, start=UTCDateTime(1000))  # on the grid of 200 samples
    assert record.anchor % 200 == 0

    def forward(x):  # tells windows apart: how much of each is data
        share = (x != 0).any(2).mean(1)
        return np.broadcast_to(share[:, None, None], x.shape)

    ((_, curves),) = annotate(forward, [record])
    # Each half is seen by the whole window and by one that is half empty.
    np.testing.assert_allclose(curves, (1 * 1 + 0.5 * 0.5) / 1.5, rtol=1e-6)


def test_what_wants_no_answer_costs_nothing():
    record = segment(4000)
    record.answered = np.zeros(4000, bool)
    record.answered[2000:2100] = True
    shapes = []

    def forward(x):
        shapes.append(x.shape)
        return x

    ((_, curves),) = annotate(forward, [record], batch_size=64)
    assert np.isfinite(curves).all(1).sum() == 100
    assert sum(shape[0] for shape in shapes) <= 4
    record.answered[:] = False
    ((_, curves),) = annotate(forward, [record])
    assert np.isnan(curves).all()
    assert len(shapes) == 1


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


@pytest.mark.parametrize("mode", ["std", "joint_std", "max"])
def test_a_missing_component_is_like_a_masked_one(mode):
    record = segment(400)
    record.valid[:, 1] = False
    record.data[:, 1] = 0
    found = normalised_window(record, 0, 400, lambda data, valid: normalise(data, mode, valid))
    np.testing.assert_allclose(found, normalise(record.data, mode, record.valid), atol=1e-6)


def test_a_model_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"\(4, 200, 3\)"):
        annotate(lambda x: x[:, ::2], [segment(400)])


def test_curves_as_traces():
    record = segment(1000)
    curves = np.arange(3000, dtype=np.float32).reshape(1000, 3)
    curves[:10] = curves[400:600] = np.nan
    stream = to_stream(record, curves, "NPS", "SeisMoLLM")
    assert [(trace.id, len(trace)) for trace in stream] == [
        (f"XX.ABC..SeisMoLLM_{label}_HH", length) for label in "NPS" for length in (390, 400)
    ]
    later = stream.select(channel="SeisMoLLM_P*")[1]
    assert later.stats.starttime == START + 6
    np.testing.assert_array_equal(later.data, curves[600:, 1])
    assert len(to_stream(record, np.full((1000, 1), np.nan), "NPS", "SeisMoLLM")) == 0
