"""From waveform files to three-component segments on the model's grid of absolute time.

Nothing is lost without a word: whatever is left out (unreadable files, traces without a usable
component, overlapping samples, dead channels) is entered in a :class:`Coverage` with the reason.
Channels of different instruments at one site (HH and HN, say) stay apart.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from obspy import Inventory, Stream, Trace, UTCDateTime
from obspy import read as read_file

from seismollm_jax.data.resampling import grid_index, grid_time_ns, to_grid
from seismollm_jax.inference.coverage import Coverage
from seismollm_jax.inference.orientation import Span, orient
from seismollm_jax.inference.pieces import (
    Piece,
    cut_pieces,
    gap_seconds,
    join,
    report_conflict,
    without_dead,
)

EDGE_S = 0.5  # beside gaps, ends and dead stretches without an answer


@dataclass
class Segment:
    """A stretch of one instrument's record on the grid of absolute time.

    Attributes:
        trace_id: "NET.STA.LOC.HH", the last part being band and instrument code.
        start_time: of the first sample.
        sampling_rate_hz: of `data`.
        data: (samples, 3) float32 in the component order asked for, 0 where not valid.
        valid: (samples, 3) bool, true where there is data; a missing component has none.
        channels: the channel codes behind each component, such as ("HHZ", "HH1", ""); empty where
            the component is missing, joined by "+" where several contribute.
        answered: (samples,) bool, where an answer is wanted: where there is data, but beside its
            ends. None: wherever there is data on any component.
    """

    trace_id: str
    start_time: UTCDateTime
    sampling_rate_hz: float
    data: np.ndarray
    valid: np.ndarray
    channels: tuple[str, ...] = ("", "", "")
    answered: np.ndarray | None = None

    @property
    def anchor(self) -> int:
        """Number of the first sample on the grid counted from 1970-01-01."""
        return grid_index(self.start_time.ns, self.sampling_rate_hz)

    @property
    def where(self) -> np.ndarray:
        """(samples,) bool, see `answered`."""
        return np.asarray(self.valid.any(1)) if self.answered is None else self.answered

    @property
    def missing_components(self) -> tuple[int, ...]:
        """Columns without any data."""
        return tuple(np.flatnonzero(~self.valid.any(0)).tolist())

    def time(self, sample: int, fraction: float = 0.0) -> UTCDateTime:
        """Time of a sample, and a fraction of an interval after it."""
        ns = grid_time_ns(self.anchor + sample, self.sampling_rate_hz)
        return UTCDateTime(ns=ns + round(fraction * 1e9 / self.sampling_rate_hz))


def read(
    patterns: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    coverage: Coverage | None = None,
) -> Stream:
    """Read waveform files of any format ObsPy knows.

    Args:
        patterns: a file, a pattern such as "day/*.mseed" (`**` descends into folders), or a list.
        coverage: takes the counts and the reasons for files that could not be read.

    Raises:
        FileNotFoundError: no pattern matches a file.
        ValueError: none of the files could be read; the message names each with its error.
    """
    coverage = Coverage() if coverage is None else coverage
    patterns = [patterns] if isinstance(patterns, (str, os.PathLike)) else patterns
    stream = Stream()
    failed: list[str] = []
    files: set[str] = set()
    for pattern in map(str, patterns):
        exact = Path(pattern).is_file()
        found = [pattern] if exact else sorted(glob.glob(pattern, recursive=True))
        names = {os.path.realpath(name): name for name in found if Path(name).is_file()}
        if not names:
            coverage.note(f"{pattern}: matches no file; for a folder give a pattern like folder/*")
        new = [name for real, name in names.items() if real not in files]
        files.update(names)
        for name in new:
            try:
                stream += read_file(glob.escape(name))
                coverage.files_read += 1
            except Exception as error:  # the many formats raise anything at all on broken files
                failed.append(f"{name}: {type(error).__name__}: {error}")
                coverage.files_unreadable += 1
                coverage.note(f"{failed[-1]}; left out")
    if not files:
        raise FileNotFoundError(f"no file matches {', '.join(map(str, patterns))}")
    if not coverage.files_read:
        raise ValueError(
            "none of the waveform files could be read (is it a format ObsPy knows?):\n"
            + "\n".join(failed)
        )
    return stream


def segments(
    stream: Iterable[Trace],
    sampling_rate_hz: float,
    component_order: str = "ZNE",
    *,
    max_gap_s: float = 60.0,
    edge_s: float = EDGE_S,
    strict: bool = False,
    flexible_horizontals: bool = True,
    inventory: Inventory | None = None,
    coverage: Coverage | None = None,
) -> tuple[list[Segment], Coverage]:
    """Arrange traces into three-component segments on the grid of one sampling rate.

    Traces are grouped by network, station, location and band + instrument code. Of overlapping
    samples the earlier piece's count, and overlaps that disagree are reported. Stretches without
    any change for 5 s are dead and count as gaps. Horizontals 1 and 2 stand in for N and E wherever
    neither N nor E has data at the time. Components without data are zero and not valid.

    Args:
        stream: an ObsPy stream; it is not changed.
        sampling_rate_hz: the model's rate; other rates are resampled without a time shift, and
            samples off the grid of absolute time are shifted onto it.
        component_order: order of the columns, an arrangement of Z, N and E.
        max_gap_s: a longer time without data on any component divides segments; a shorter one
            stays inside a segment as samples that are not valid.
        edge_s: no answer is wanted so close to a start or end of data on any component.
        strict: use only samples that all three components have.
        flexible_horizontals: take components 1 and 2 for N and E.
        inventory: gives the orientation of the sensors; what deviates is turned to N, E and up.
        coverage: continue this one (from :func:`read`) instead of a new one.

    Returns:
        The segments, by trace_id and time, and the account.

    Raises:
        ValueError: `component_order` is not an arrangement of Z, N, E, or a rate is not positive.
    """
    if sorted(component_order) != ["E", "N", "Z"]:
        raise ValueError(f"component_order is {component_order!r}; give Z, N and E in some order")
    if not sampling_rate_hz > 0:
        raise ValueError(f"sampling_rate_hz is {sampling_rate_hz}; it must be positive")
    coverage = Coverage() if coverage is None else coverage
    groups: dict[str, list[Piece]] = {}
    for trace in stream:
        trace_id, pieces = cut_pieces(trace, coverage, flexible_horizontals)
        groups.setdefault(trace_id, []).extend(pieces)
    found = []
    for trace_id in sorted(groups):
        placed = _place(trace_id, groups.pop(trace_id), sampling_rate_hz, coverage)
        for stretch in _stretches(placed, max_gap_s * sampling_rate_hz):
            segment, spans = _assemble(
                trace_id, stretch, sampling_rate_hz, component_order, coverage
            )
            if inventory is not None:
                orient(segment, spans, component_order, inventory, coverage)
            _mask(segment, edge_s, strict, coverage)
            found.append(segment)
    return found, coverage


@dataclass
class _Placed:
    """A piece on the grid; `piece` is what it comes from."""

    first: int
    data: np.ndarray
    piece: Piece

    @property
    def end(self) -> int:
        return self.first + len(self.data)


def _place(trace_id: str, pieces: list[Piece], rate_hz: float, coverage: Coverage) -> list[_Placed]:
    """Join what has one channel and rate, and put it on the grid."""
    placed = []
    for component in dict.fromkeys(p.component for p in pieces):
        coverage.add(trace_id, "gap", gap_seconds([p for p in pieces if p.component == component]))
    for kind in dict.fromkeys((p.channel, p.rate_hz) for p in pieces):
        same = [p for p in pieces if (p.channel, p.rate_hz) == kind]
        for whole in join(trace_id, same, coverage):
            for piece in without_dead(trace_id, whole, coverage):
                data, first = to_grid(piece.data, piece.start_ns, piece.rate_hz, rate_hz)
                if len(data):
                    placed.append(_Placed(first, data, piece))
                else:
                    coverage.add(trace_id, "too_short", len(piece.data) / piece.rate_hz)
    return sorted(placed, key=lambda p: (p.first, p.piece.start_ns))


def _stretches(placed: list[_Placed], max_gap: float) -> list[list[_Placed]]:
    """Divide pieces, in order of time, at long gaps."""
    found: list[list[_Placed]] = []
    end = 0
    for item in placed:
        if not found or item.first - end > max_gap:
            found.append([])
            end = item.first
        found[-1].append(item)
        end = max(end, item.end)
    return found


def _assemble(
    trace_id: str,
    stretch: list[_Placed],
    rate_hz: float,
    component_order: str,
    coverage: Coverage,
) -> tuple[Segment, list[Span]]:
    """Lay the components side by side."""
    start, end = stretch[0].first, max(item.end for item in stretch)
    # Components contiguous in memory, as normalisation wants them.
    data, valid = np.zeros((3, end - start), np.float32).T, np.zeros((3, end - start), bool).T
    spans: list[Span] = []
    replaced: dict[str, float] = {}
    north, east = component_order.index("N"), component_order.index("E")
    for item in sorted(stretch, key=lambda item: item.piece.alias):  # those with true names first
        piece, column = item.piece, component_order.index(item.piece.component)
        part = slice(item.first - start, item.end - start)
        taken = valid[part, column].copy()
        # Seconds of the piece's own samples that a sample on the grid stands for.
        each = len(piece.data) / piece.rate_hz / len(item.data)
        if piece.alias:
            other = _true_horizontals(spans, start, item, (north, east))
            if other.any():
                seconds = int(other.sum()) * each
                coverage.add(trace_id, "unusable", seconds)
                replaced[piece.channel] = replaced.get(piece.channel, 0.0) + seconds
            taken &= ~other
        else:
            other = np.zeros(len(taken), bool)
        if taken.any():
            both = int(taken.sum())
            coverage.add(trace_id, "overlap", both * each)
            here, there = data[part, column][taken], item.data[taken].astype(np.float32)
            differ = int((here != there).sum())
            report_conflict(trace_id, piece, rate_hz, differ, both, coverage)
        free = ~(taken | other)
        if not free.any():
            continue
        np.copyto(data[part, column], item.data, where=free, casting="same_kind")
        valid[part, column] |= free
        spans.append(Span(part.start, part.stop, column, piece.channel, piece.alias))
    for channel, seconds in replaced.items():
        coverage.note(
            f"{trace_id}: {seconds:.1f} s of {channel} left out, N or E is there at the same time"
        )
    spans.sort(key=lambda span: span.first)
    channels = tuple(
        "+".join(dict.fromkeys(span.channel for span in spans if span.column == column))
        for column in range(3)
    )
    time = UTCDateTime(ns=grid_time_ns(start, rate_hz))
    return Segment(trace_id, time, rate_hz, data, valid, channels), spans


def _true_horizontals(
    spans: list[Span], start: int, item: _Placed, columns: tuple[int, int]
) -> np.ndarray:
    """Where N or E under their own names have data during a piece, (samples,) bool."""
    found = np.zeros(len(item.data), bool)
    offset = item.first - start
    for span in spans:
        if span.column in columns and not span.alias:
            found[max(0, span.first - offset) : max(0, span.end - offset)] = True
    return found


def _mask(segment: Segment, edge_s: float, strict: bool, coverage: Coverage) -> None:
    """Decide where an answer is wanted, and account for the rest."""
    valid, rate = segment.valid, segment.sampling_rate_hz
    if strict:
        complete = np.asarray(valid.all(1, keepdims=True))
        coverage.add(segment.trace_id, "incomplete", int((valid & ~complete).sum()) / rate)
        segment.data[~complete[:, 0]] = 0
        valid &= complete
    answered = np.asarray(valid.any(1))
    edge = round(edge_s * rate)
    changed = np.ones(len(valid) + 1, bool)
    changed[1:-1] = (valid[1:] != valid[:-1]).any(1)
    bounds = np.flatnonzero(changed)
    for first, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        components = int(valid[first].sum())
        if not components or not edge:
            continue
        answered[first : first + edge] = False
        answered[max(first, end - edge) : end] = False
        lost = min(end - first, 2 * edge) * components / rate
        reason = "edge" if end - first > 2 * edge else "too_short"
        coverage.add(segment.trace_id, reason, lost)
    segment.answered = answered
