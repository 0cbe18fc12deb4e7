"""What of a record is drawn: its samples where they are few, their ranges where they are many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from obspy import UTCDateTime

from seismollm_jax.data.resampling import grid_index, grid_time_ns
from seismollm_jax.inference.picks import Pick
from seismollm_jax.inference.streams import Segment

LARGEST_BINS = 1500  # about one a pixel
MOST_SAMPLES = 6000  # drawn one by one


@dataclass
class Panel:
    """A stretch of an instrument's record, small enough to be kept until it is drawn.

    Attributes:
        trace_id: "NET.STA.LOC.HH", the last part being band and instrument code.
        first: number of the first sample on the grid counted from 1970-01-01.
        samples: how many the stretch has, gaps included.
        sampling_rate_hz: of the grid.
        size: samples behind each bin.
        low: (bins, 3) float32, smallest sample of each bin; nan where there is none.
        high: the largest one; the same as `low` if `size` is 1.
        curves: (bins,) of each phase, highest probability of each bin, nan where there is none.
        covered: first and last sample, exclusive, of stretches with data on any component, counted
            from `first`.
        channels: codes behind each component, "" where there is none.
        picks: to be drawn.
    """

    trace_id: str
    first: int
    samples: int
    sampling_rate_hz: float
    size: int
    low: np.ndarray
    high: np.ndarray
    curves: dict[str, np.ndarray]
    covered: list[tuple[int, int]] = field(default_factory=list)
    channels: tuple[str, ...] = ("", "", "")
    picks: list[Pick] = field(default_factory=list)

    @property
    def start_time(self) -> UTCDateTime:
        """Of the first sample."""
        return UTCDateTime(ns=grid_time_ns(self.first, self.sampling_rate_hz))

    @property
    def seconds(self) -> float:
        """From the first sample to the one after the last."""
        return self.samples / self.sampling_rate_hz

    @property
    def gaps(self) -> list[tuple[int, int]]:
        """Stretches without data on any component, as `covered`."""
        found, end = [], 0
        for first, last in [*sorted(self.covered), (self.samples, self.samples)]:
            if first > end:
                found.append((end, first))
            end = max(end, last)
        return found

    def add(
        self,
        segment: Segment,
        probability: np.ndarray,
        phases: Mapping[str, int],
        picks: Sequence[Pick] = (),
    ) -> None:
        """Enter what of a segment lies in the stretch.

        Args:
            segment: of the same instrument and rate.
            probability: (samples, k) of the segment.
            phases: channel of each phase in `probability`.
            picks: those outside the stretch are left out.
        """
        start, end = self.start_time, self.start_time + self.seconds
        self.picks += [pick for pick in picks if start <= pick.peak_time < end]
        offset = self.first - segment.anchor
        begin, stop = max(0, offset), min(len(segment.data), offset + self.samples)
        if stop <= begin:
            return
        part, place = slice(begin, stop), begin - offset
        for column in range(3):
            data, valid = segment.data[part, column], segment.valid[part, column]
            if valid.any():
                whole = valid.all()
                self._enter(self.low[:, column], data if whole else _or_nan(data, valid), place, 0)
                self._enter(self.high[:, column], data if whole else _or_nan(data, valid), place, 1)
        for phase, channel in phases.items():
            if channel < probability.shape[1]:  # otherwise nothing but nan
                self._enter(self.curves[phase], probability[part, channel], place, 1)
        present = np.concatenate([[False], segment.valid[part].any(1), [False]])
        bounds = np.flatnonzero(present[1:] != present[:-1]).reshape(-1, 2) + place
        self.covered += [(int(a), int(b)) for a, b in bounds]
        self.channels = tuple(
            "+".join(dict.fromkeys(c for c in (*old.split("+"), *new.split("+")) if c))
            for old, new in zip(self.channels, segment.channels, strict=True)
        )

    def _enter(self, row: np.ndarray, values: np.ndarray, place: int, largest: int) -> None:
        """Take samples from `place` on into a row of bins, nan aside."""
        choose = np.fmax if largest else np.fmin
        before = place % self.size
        after = -(before + len(values)) % self.size
        if before or after:
            filling = np.full(1, np.nan, np.float32)
            values = np.concatenate([filling.repeat(before), values, filling.repeat(after)])
        values = choose.reduce(values.reshape(-1, self.size), axis=1)
        bins = row[place // self.size :][: len(values)]
        choose(bins, values, out=bins, casting="same_kind")


def panel(
    trace_id: str,
    first: int,
    samples: int,
    sampling_rate_hz: float,
    phases: Mapping[str, int],
) -> Panel:
    """An empty stretch; see :class:`Panel` for the arguments."""
    size = 1 if samples <= MOST_SAMPLES else -(-samples // LARGEST_BINS)
    bins = -(-samples // size)
    low, high = (np.full((3, bins), np.nan, np.float32).T for _ in range(2))
    curves = {phase: np.full(bins, np.nan, np.float32) for phase in phases}
    return Panel(trace_id, first, samples, sampling_rate_hz, size, low, high, curves)


def of_span(
    segment: Segment,
    probability: np.ndarray,
    picks: Sequence[Pick],
    phases: Mapping[str, int],
    start_ns: int,
    end_ns: int,
    into: Panel | None = None,
) -> Panel:
    """The part of a segment between two times, ns since 1970-01-01, the end exclusive.

    Args:
        segment: the record.
        probability: (samples, k) of it.
        picks: those outside the span are left out.
        phases: channel of each phase in `probability`.
        start_ns: begin of the span.
        end_ns: its end.
        into: the same span, with parts of other segments, to be continued.
    """
    rate = segment.sampling_rate_hz
    first, end = grid_index(start_ns, rate), grid_index(end_ns, rate)
    made = into or panel(segment.trace_id, first, max(1, end - first), rate, phases)
    made.add(segment, probability, phases, picks)
    return made


def _or_nan(data: np.ndarray, valid: np.ndarray) -> np.ndarray:
    return np.where(valid, data, np.float32(np.nan))
