"""The window that a network sees of an event on a record, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from obspy import Inventory, UTCDateTime

from seismollm_jax.data.resampling import grid_index
from seismollm_jax.data.waveform import fixed_start
from seismollm_jax.inference.orientation import SMALLEST_SINE, orientation_of
from seismollm_jax.inference.pieces import HORIZONTAL_ALIASES
from seismollm_jax.inference.streams import Segment
from seismollm_jax.inference.windows import cut

COMPONENTS = "ZNE"  # columns of a segment
BEFORE_S, AFTER_S = 0.5, 2.0  # around P and S, where every sample is needed
MOST_MISSING = 0.1  # of a window

GAP = "gap"  # samples are missing where they matter, or many of them
EDGE = "edge"  # the same, at the beginning or end of the window up to where there is nothing
COMPONENT = "component"  # one that the answer needs has no data
ORIENTATION = "orientation"  # of the horizontals is not known
OTHER_EVENT = "other_event"  # with P and S, has its P in the window


def covering(segments: Sequence[Segment], trace_id: str, time: UTCDateTime) -> Segment | None:
    """The segment of a record that a time lies in."""
    for segment in segments:
        place = grid_index(time.ns, segment.sampling_rate_hz) - segment.anchor
        if segment.trace_id == trace_id and 0 <= place < len(segment.data):
            return segment
    return None


def window_start(segment: Segment, p_time: UTCDateTime, window: int, ratio: float) -> int:
    """First sample, seen from the segment's, of the window with P at a share of its length.

    It may lie ahead of the segment. That is where training puts the window.
    """
    p_sample = grid_index(p_time.ns, segment.sampling_rate_hz) - segment.anchor
    return fixed_start(p_sample, window, ratio)


def lacking(
    segment: Segment, start: int, window: int, arrivals: Sequence[UTCDateTime]
) -> tuple[float, list[str]]:
    """Seconds of a window in which a component that it has lacks data, and whether that matters.

    It does if a tenth of the window is missing, or anything between half a second before P and 2 s
    after the last arrival, as far as that is in the window.

    Args:
        segment: of the record.
        start: first sample of the window.
        window: samples.
        arrivals: P, and S if there is one.

    Returns:
        Seconds, and reasons: `GAP`, `EDGE`, both or none.
    """
    valid = cut(segment.valid, start, window)
    valid = valid[:, valid.any(0)]
    if not valid.shape[1]:
        return window / segment.sampling_rate_hz, [EDGE]
    rate = segment.sampling_rate_hz
    missing = ~np.asarray(valid.all(1))
    here = [grid_index(time.ns, rate) - segment.anchor - start for time in arrivals]
    first = max(0, min(here) - round(BEFORE_S * rate))
    last = max(first, max(here) + round(AFTER_S * rate))
    if not missing[first:last].any() and missing.mean() <= MOST_MISSING:
        return float(missing.sum() / rate), []
    there = np.flatnonzero(valid.any(1))
    inside = np.zeros(window, bool)
    inside[there[0] : there[-1] + 1] = True
    reasons = {GAP: (missing & inside).any(), EDGE: not inside.all()}
    return float(missing.sum() / rate), [name for name, is_so in reasons.items() if is_so]


def components(segment: Segment, start: int, window: int, needs: Collection[str]) -> list[str]:
    """`COMPONENT` if one of those that an answer needs has no data in the window."""
    there = np.asarray(cut(segment.valid, start, window).any(0))
    return [] if all(there[COMPONENTS.index(name)] for name in needs) else [COMPONENT]


def orientation(segment: Segment, inventory: Inventory | None, time: UTCDateTime) -> list[str]:
    """`ORIENTATION` if horizontals were taken for north and east without being known to be.

    Channels called N and E are believed, 1 and 2 need an inventory.
    """
    azimuths = []
    for codes in segment.channels[1:]:
        for code in codes.split("+"):
            if code[-1:] not in HORIZONTAL_ALIASES:
                continue
            known = None if inventory is None else orientation_of(inventory, segment, code, time)
            if known is None:
                return [ORIENTATION]
            azimuths.append(known[0])
    if len(azimuths) == 2 and abs(np.sin(np.radians(azimuths[1] - azimuths[0]))) < SMALLEST_SINE:
        return [ORIENTATION]  # too near to one line, and so not turned
    return []
