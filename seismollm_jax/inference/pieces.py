"""Gap-free pieces of single components: cut from traces, joined, freed of dead stretches.

What is dropped on the way is entered in the :class:`~seismollm_jax.inference.coverage.Coverage`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from obspy import Trace, UTCDateTime

from seismollm_jax.inference.coverage import Coverage

HORIZONTAL_ALIASES = {"1": "N", "2": "E"}  # horizontals of unknown or other orientation
JOIN_TOLERANCE = 0.05  # samples that a piece may be off the rhythm of the one it continues
DEAD_S = 5.0  # a component that is constant for so long is dead


@dataclass
class Piece:
    """A gap-free run of one component.

    Attributes:
        component: Z, N or E.
        channel: code, such as "HH1".
        alias: whether it is a horizontal 1 or 2 that stands for N or E.
        start_ns: of the first sample, since 1970-01-01.
        rate_hz: of the samples.
        data: (samples,).
    """

    component: str
    channel: str
    alias: bool
    start_ns: int
    rate_hz: float
    data: np.ndarray

    @property
    def end_ns(self) -> int:
        """Time just after the last sample's interval."""
        return self.start_ns + round(len(self.data) * 1e9 / self.rate_hz)

    def part(self, first: int, end: int) -> Piece:
        """Samples `first` to `end`, exclusive."""
        start_ns = self.start_ns + round(first * 1e9 / self.rate_hz)
        return Piece(
            self.component, self.channel, self.alias, start_ns, self.rate_hz, self.data[first:end]
        )


def cut_pieces(
    trace: Trace, coverage: Coverage, flexible_horizontals: bool = True
) -> tuple[str, list[Piece]]:
    """The trace's group (NET.STA.LOC.HH) and its gap-free runs of finite numbers.

    Args:
        trace: any ObsPy trace.
        coverage: takes what was read and what is left out.
        flexible_horizontals: take 1 for N and 2 for E.
    """
    stats = trace.stats
    channel = stats.channel.strip()
    trace_id = f"{stats.network}.{stats.station}.{stats.location}.{channel[:-1]}"
    rate, component = float(stats.sampling_rate), channel[-1:].upper()
    known = ("Z", "N", "E", *(HORIZONTAL_ALIASES if flexible_horizontals else ()))
    reason = ""
    if component not in known:
        reason = f"component {component!r} is none of {', '.join(known)}; rename the channel if so"
    elif trace.data.dtype.kind not in "iuf":
        reason = f"samples of type {trace.data.dtype} are not numbers"
    elif not len(trace.data):
        reason = "it has no samples"
    elif not 0 < rate < np.inf:
        reason = f"its sampling rate is {rate} Hz; correct the header"
    coverage.traces_read += 1
    if reason:
        coverage.note(f"{trace.id} from {stats.starttime}: {reason}; trace left out")
        if 0 < rate < np.inf and trace.data.dtype.kind in "iuf":
            for column in ("read", "unusable"):
                coverage.add(trace_id, column, len(trace.data) / rate)
        return trace_id, []
    data = np.ma.getdata(trace.data)
    usable = ~np.ma.getmaskarray(trace.data) if np.ma.isMaskedArray(trace.data) else None
    read = len(data) if usable is None else int(usable.sum())
    coverage.add(trace_id, "read", read / rate)
    if data.dtype.kind == "f":
        finite = np.isfinite(data)
        bad = read - int((finite if usable is None else finite & usable).sum())
        if bad:
            coverage.note(f"{trace.id} from {stats.starttime}: {bad} samples are nan or inf")
            coverage.add(trace_id, "not_finite", bad / rate)
        usable = finite if usable is None else usable & finite
    whole = Piece(
        HORIZONTAL_ALIASES.get(component, component),
        channel,
        component in HORIZONTAL_ALIASES,
        stats.starttime.ns,
        rate,
        data,
    )
    if usable is None or usable.all():
        return trace_id, [whole]
    edges = np.flatnonzero(np.diff(np.concatenate([[False], usable, [False]])))
    return trace_id, [whole.part(first, end) for first, end in edges.reshape(-1, 2).tolist()]


def join(trace_id: str, pieces: list[Piece], coverage: Coverage) -> list[Piece]:
    """Join pieces of one channel and rate that touch or overlap, in the rhythm of the first.

    Of samples that are there twice the earlier piece's count.
    """
    runs: list[list[tuple[int, Piece]]] = []
    length = 0
    for piece in sorted(pieces, key=lambda p: p.start_ns):
        offset, off = 0, 0.0
        if runs:  # counted from the start of the run, so that small deviations do not add up
            exact = (piece.start_ns - runs[-1][0][1].start_ns) * piece.rate_hz / 1e9
            offset, off = round(exact), abs(exact - round(exact))
        if not runs or offset > length or off > JOIN_TOLERANCE:
            runs.append([(0, piece)])
            length = len(piece.data)
        else:
            runs[-1].append((offset, piece))
            length = max(length, offset + len(piece.data))
    return [run[0][1] if len(run) == 1 else _merge(trace_id, run, coverage) for run in runs]


def _merge(trace_id: str, run: list[tuple[int, Piece]], coverage: Coverage) -> Piece:
    """One piece of a run, the earlier sample counting where two overlap."""
    length = max(offset + len(piece.data) for offset, piece in run)
    data = np.empty(length, np.result_type(*(piece.data.dtype for _, piece in run)))
    end = overlapping = conflicting = 0
    for offset, piece in run:
        shared = max(0, min(end - offset, len(piece.data)))
        overlapping += shared
        conflicting += int((data[offset : offset + shared] != piece.data[:shared]).sum())
        data[offset + shared : offset + len(piece.data)] = piece.data[shared:]
        end = max(end, offset + len(piece.data))
    first = run[0][1]
    coverage.add(trace_id, "overlap", overlapping / first.rate_hz)
    report_conflict(trace_id, first, first.rate_hz, conflicting, overlapping, coverage)
    return Piece(first.component, first.channel, first.alias, first.start_ns, first.rate_hz, data)


def report_conflict(
    trace_id: str, piece: Piece, rate_hz: float, conflicting: int, shared: int, coverage: Coverage
) -> None:
    """Say that samples are there twice and differ."""
    if conflicting:
        coverage.conflicting_seconds += conflicting / rate_hz
        coverage.note(
            f"{trace_id}: {conflicting} of {shared} overlapping samples of {piece.channel} after "
            f"{UTCDateTime(ns=piece.start_ns)} disagree; the earlier piece's were kept"
        )


def gap_seconds(pieces: list[Piece]) -> float:
    """Seconds between the first and the last sample of one component without any."""
    total, end = 0, None
    for piece in sorted(pieces, key=lambda p: p.start_ns):
        if end is not None:
            total += max(0, piece.start_ns - end)
        end = piece.end_ns if end is None else max(end, piece.end_ns)
    return total / 1e9


def without_dead(trace_id: str, piece: Piece, coverage: Coverage) -> list[Piece]:
    """What is left of a piece without its stretches of `DEAD_S` and more of one value."""
    least = max(2, round(DEAD_S * piece.rate_hz))
    runs = constant_runs(piece.data, least)
    if not runs:
        return [piece]
    dead = sum(end - first for first, end in runs)
    coverage.add(trace_id, "dead", dead / piece.rate_hz)
    bounds = [0, *(place for run in runs for place in run), len(piece.data)]
    parts = zip(bounds[::2], bounds[1::2], strict=True)
    return [piece.part(first, end) for first, end in parts if first < end]


def constant_runs(data: np.ndarray, least: int) -> list[tuple[int, int]]:
    """First and end of every run of `least` or more equal samples."""
    size = max(1, least // 2)  # a long run holds at least one whole block of so many
    blocks = data[: len(data) // size * size].reshape(-1, size)
    if not len(blocks):
        return []
    alike = (blocks[:, 0] == blocks[:, -1]) & (blocks[:, 0] == blocks[:, size // 2])
    if not alike.any():  # nearly always
        return []
    ends = np.flatnonzero(alike)
    found: list[tuple[int, int]] = []
    for block in ends[(blocks[ends] == blocks[ends, :1]).all(1)].tolist():
        first, end = block * size, (block + 1) * size
        if found and first < found[-1][1]:
            continue
        value = data[first]
        before = np.flatnonzero(data[max(0, first - size) : first] != value)
        begin = max(0, first - size) + (int(before[-1]) + 1 if len(before) else 0)
        while end < len(data) and data[end] == value:  # in long strides
            stride = data[end : end + 65536] != value
            end += int(stride.argmax()) if stride.any() else len(stride)
        if end - begin >= least:
            found.append((begin, end))
    return found
