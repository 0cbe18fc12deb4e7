"""What comes out does not depend on how a record was cut, wherever it begins."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obspy import Stream, Trace, UTCDateTime

from seismollm_jax.data.waveform import normalise
from seismollm_jax.inference.annotate import annotate_segments
from seismollm_jax.inference.picks import merged, pick_segment
from seismollm_jax.inference.streams import segments

WINDOW, SAMPLES = 200, 3000
START = UTCDateTime("2024-02-29T23:59:50")
WEIGHTS = np.random.default_rng(1).normal(size=(WINDOW, 1, 3)).astype(np.float32)


def network(x):
    """Depends on the position in the window and on all of the window; between 0 and 1."""
    mixed = (x[:, :, :, None] * WEIGHTS).sum(2) + 3 * x.std(1)[:, None] - np.roll(x, 7, 1)
    return (1 / (1 + np.exp(-mixed))).astype(np.float32)


def analyse(stream, batch_size):
    """Curves by time in ns and instrument, and picks."""
    found, _ = segments(stream, 100.0, max_gap_s=WINDOW / 100, edge_s=0.1)
    curves, picks = {}, []
    for segment, values in annotate_segments(
        network,
        found,
        window=WINDOW,
        overlap=0.5,
        batch_size=batch_size,
        normalise=lambda data, valid: normalise(data, "std", valid),
    ):
        for sample in np.flatnonzero(segment.where).tolist():
            curves[segment.anchor + sample] = values[sample]
        thresholds = {"P": 0.6, "S": 0.6}
        picks.append(pick_segment(values, segment, {"P": 1, "S": 2}, thresholds, 0.1))
    return curves, merged(picks)


def record(rate, offset_s):
    samples = round(SAMPLES * rate / 100)
    return Stream(
        Trace(
            (np.random.default_rng(i).normal(0, 100, samples) + 900).astype(np.int32),
            {"network": "XX", "station": "A", "channel": f"HH{component}"}
            | {"starttime": START + offset_s, "sampling_rate": rate},
        )
        for i, component in enumerate("ZNE")
    )


def pieces(stream, cuts, order):
    """Each trace cut in its own places, into files in any order; overlapping by some samples."""
    found = []
    for trace, (places, overlap) in zip(stream, cuts, strict=True):
        bounds = [0, *sorted({round(place * len(trace)) for place in places}), len(trace)]
        for first, end in itertools.pairwise(bounds):
            part = trace.copy()
            part.data = trace.data[first : end + overlap]
            part.stats.starttime = UTCDateTime(
                ns=trace.stats.starttime.ns + round(first * 10**9 / trace.stats.sampling_rate)
            )
            if len(part):
                found.append(part)
    return Stream(sorted(found, key=lambda part: order(part.stats.npts)))


CUTS = st.tuples(st.lists(st.floats(0.01, 0.99), max_size=4), st.sampled_from([0, 0, 13]))


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from([(100.0, 0.0), (100.0, 0.0037), (125.0, 0.0), (40.0, 0.0052)]),
    st.tuples(CUTS, CUTS, CUTS),
    st.randoms(use_true_random=False),
    st.integers(1, 9),
    st.integers(0, 1500),
    st.integers(600, 1500),
)
def test_cut_anywhere_in_any_way(kind, cuts, random, batch_size, first, length):
    rate, offset_s = kind
    whole = record(rate, offset_s)
    curves, picks = analyse(whole, 4)
    assert len(curves) == pytest.approx(SAMPLES - 20, abs=1)
    # As files: nothing changes, up to the ends.
    again, same = analyse(pieces(whole, cuts, lambda _: random.random()), batch_size)
    assert again.keys() == curves.keys()
    np.testing.assert_allclose(list(again.values()), [curves[i] for i in again], atol=1e-5)
    assert [pick.phase for pick in same] == [pick.phase for pick in picks]
    times = [pick.peak_time.ns for pick in picks]
    assert [pick.peak_time.ns for pick in same] == pytest.approx(times, abs=20_000)
    # As a part of its own: nothing changes away from its ends, by a window and a filter.
    begin, end = START + offset_s + first / 100, START + offset_s + (first + length) / 100
    part, fewer = analyse(whole.slice(begin, end), batch_size)
    reach = WINDOW + 33 * (3 if rate == 40 else 1)
    low, high = min(part) + reach, max(part) - reach
    inner = [i for i in part if low <= i <= high]
    assert len(inner) > 50 or rate == 40
    np.testing.assert_allclose([part[i] for i in inner], [curves[i] for i in inner], atol=1e-5)

    def inside(picks):
        span = UTCDateTime(ns=(low + 20) * 10**7), UTCDateTime(ns=(high - 20) * 10**7)
        return picks.select(starttime=span[0], endtime=span[1])

    times = [pick.peak_time.ns for pick in inside(fewer)]
    assert times == pytest.approx([pick.peak_time.ns for pick in inside(picks)], abs=20_000)
    assert times or length < 1000
