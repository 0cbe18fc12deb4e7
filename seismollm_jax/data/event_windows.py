"""Where the window of an event on a continuous record begins and ends, and what it holds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from seismollm_jax.data.stream_files import Piece, Pieces

CLEAR_NS = 500_000_000  # between a window's end and another event's arrival
LEAD_NS = 5_000_000_000  # ahead of P, even in the coda of an event before
TAIL_NS = 5_000_000_000  # behind the last pick of the event
CODA_RATIO = 2  # an event ends so many S-P times after S, as in the labels of detection
ONSET_S = 0.2  # of data that an arrival needs on either side
NO_TIME = -(2**63)
"""Stands for a missing time among nanoseconds."""


class Window(NamedTuple):
    """A stretch of one instrument's record.

    Attributes:
        start_ns: time of the first sample.
        samples: its length.
        rate_hz: of its samples.
        components: those that have data somewhere in it, such as "ZNE", "Z12" or "Z".
        p_sample, s_sample: arrivals in samples from the first one, nan where there is none.
        lost: which of the arrivals, out of "PS", has no data around it and is therefore missing.
        gaps: whether a component lacks samples.
    """

    start_ns: int
    samples: int
    rate_hz: float
    components: str
    p_sample: float
    s_sample: float
    lost: str
    gaps: bool


def limits(p_ns: np.ndarray, s_ns: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How far the windows of one instrument's events may reach.

    `p_ns` and `s_ns` are int64 with NO_TIME for missing ones. Returns for each event the earliest
    begin and the latest end in nanoseconds: behind the coda of the event before, but 5 s ahead of
    the first pick if that much is free of other picks, and ahead of the next event. The third
    array is true where the arrivals of events interleave, so that there is no window for either.
    """
    first = np.where(p_ns == NO_TIME, s_ns, p_ns)
    last = np.where(s_ns == NO_TIME, p_ns, s_ns)
    order = np.argsort(first, kind="stable")
    first, last = first[order], last[order]
    latest = np.concatenate([[0], np.maximum.accumulate(last)[:-1]])  # of all events before
    following = np.concatenate([first[1:], [2**62]])
    interleaved = (latest >= first) & (latest > 0)
    interleaved |= following <= last
    ends = np.maximum.accumulate(last + CODA_RATIO * (last - first))
    coda = np.concatenate([[0], ends[:-1]])
    low = np.maximum(np.minimum(coda, first - LEAD_NS), latest + CLEAR_NS)
    high = following - CLEAR_NS
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return low[back], high[back], interleaved[back]


def find_window(
    channels: Mapping[str, Pieces],
    p_ns: int,
    s_ns: int,
    *,
    span_ns: tuple[int, int],
) -> Window | str:
    """The window over the data that an instrument has in a span of time.

    The horizontals are N and E if either has data there, else 1 and 2. The window ends where the
    data of all components end. Returns the reason, in words, where there is no window.
    """
    there = {
        component: found
        for component, pieces in channels.items()
        if (found := pieces.between(*span_ns))
    }
    horizontals = "NE" if there.keys() & {"N", "E"} else "12"
    components = "".join(c for c in "Z" + horizontals if c in there)
    if not components:
        return "no data at the time of the picks"
    pieces = {component: there[component] for component in components}
    rates = {piece.rate_hz for found in pieces.values() for piece in found}
    if len(rates) > 1:
        return "components, or parts, of different sampling rates"
    rate = rates.pop()
    origin = pieces[components[0]][0].start_ns
    begin = max(span_ns[0], min(piece.start_ns for found in pieces.values() for piece in found))
    end = min(span_ns[1], max(piece.end_ns for found in pieces.values() for piece in found))
    start_ns = origin + round(math.ceil((begin - origin) * rate / 1e9 - 0.5) * 1e9 / rate)
    samples = math.floor((end - start_ns) * rate / 1e9 + 1e-3)
    if samples < 2:
        return "no data at the time of the picks"
    missing = {c: _missing(pieces[c], start_ns, samples, rate) for c in components}
    arrivals, lost = [], ""
    for phase, time_ns in (("P", p_ns), ("S", s_ns)):
        arrivals.append(math.nan)
        if time_ns == NO_TIME:
            continue
        sample = round((time_ns - start_ns) * rate / 1e9)
        around = (sample - math.ceil(ONSET_S * rate), sample + math.ceil(ONSET_S * rate) + 1)
        inside = around[0] >= 0 and around[1] <= samples
        if inside and any(_is_free(gaps, around) for gaps in missing.values()):
            arrivals[-1] = float(sample)
        else:
            lost += phase
    if math.isnan(arrivals[0]) and math.isnan(arrivals[1]):
        return "no data at the time of the picks"
    gaps = any(missing.values())
    return Window(start_ns, samples, rate, components, arrivals[0], arrivals[1], lost, gaps)


def _missing(
    pieces: list[Piece], start_ns: int, samples: int, rate_hz: float
) -> list[tuple[int, int]]:
    """Ranges of samples of a window that no piece has."""
    found, filled = [], 0
    for piece in pieces:
        first = round((piece.start_ns - start_ns) * rate_hz / 1e9)
        if first > filled:
            found.append((filled, min(first, samples)))
        filled = max(filled, first + piece.samples)
        if filled >= samples:
            break
    if filled < samples:
        found.append((filled, samples))
    return found


def _is_free(gaps: list[tuple[int, int]], span: tuple[int, int]) -> bool:
    return all(end <= span[0] or first >= span[1] for first, end in gaps)
