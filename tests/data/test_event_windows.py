"""Windows around events: no foreign arrival, samples counted rightly."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from seismollm_jax.data.event_windows import NO_TIME, find_window, limits
from seismollm_jax.data.stream_files import Piece, Pieces

second = 1_000_000_000


arrivals = st.lists(
    st.tuples(st.integers(0, 3600), st.integers(1, 60), st.sampled_from(["PS", "P", "S"])),
    min_size=1, max_size=12,
)  # fmt: skip


@given(arrivals)
def test_no_window_holds_a_foreign_arrival(events: list[tuple[int, int, str]]) -> None:
    base = 10**18
    p = np.array([base + t * second if "P" in which else NO_TIME for t, _, which in events])
    s = np.array([base + (t + d) * second if "S" in which else NO_TIME for t, d, which in events])
    low, high, interleaved = limits(p, s)
    for i in np.flatnonzero(~interleaved):
        mine = [time for time in (p[i], s[i]) if time != NO_TIME]
        assert low[i] < min(mine)
        assert high[i] > max(mine)
        for j in range(len(events)):
            others = [time for time in (p[j], s[j]) if time != NO_TIME]
            assert j == i or all(not low[i] <= time <= high[i] for time in others)


@given(
    st.lists(st.tuples(st.integers(0, 900), st.integers(1, 300)), min_size=1, max_size=6),
    st.sampled_from([20.0, 100.0, 125.0]),
    st.integers(10, 990),
    st.floats(0, 1),
)
def test_windows_count_samples_from_their_first(
    spans: list[tuple[int, int]], rate: float, p_s: int, shift: float
) -> None:
    base = 10**18 + round(shift * 1e9 / rate)
    pieces = Pieces([Piece(base + a * second, round(n * rate), rate, "f") for a, n in spans])
    pieces.sort()
    span = (10**18 + (p_s - 30) * second, 10**18 + (p_s + 60) * second)
    p_ns = 10**18 + p_s * second
    found = find_window({"Z": pieces}, p_ns, NO_TIME, span_ns=span)
    near = any(a + 0.3 < p_s < a + n - 0.3 for a, n in spans)
    inside = any(a - 0.3 < p_s < a + n + 0.3 for a, n in spans)
    if isinstance(found, str):
        assert not near
        return
    assert inside
    assert math.isnan(found.s_sample)
    assert abs(found.start_ns + found.p_sample * 1e9 / rate - p_ns) <= 0.51e9 / rate
    assert 0 <= found.p_sample < found.samples
    assert found.start_ns >= span[0] - 0.51e9 / rate
    assert found.start_ns + found.samples * 1e9 / rate <= span[1] + 1.01e9 / rate
    covered = np.zeros(found.samples, bool)
    for piece in pieces.pieces:
        first = round((piece.start_ns - found.start_ns) * rate / 1e9)
        covered[max(first, 0) : max(first + piece.samples, 0)] = True
    assert found.gaps == (not covered.all())
    assert covered.any()  # it may begin in a gap, where a piece ends within a sample of it
