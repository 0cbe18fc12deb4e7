"""Gap-free pieces of single components: cut from traces, chosen among horizontals, joined.

What is dropped on the way is entered in the :class:`~seismollm_jax.inference.coverage.Report`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from obspy import Trace, UTCDateTime

from seismollm_jax.inference.coverage import Report

HORIZONTAL_ALIASES = {"1": "N", "2": "E"}  # horizontals of unknown or other orientation


@dataclass
class Piece:
    """A gap-free run of one component."""

    component: str
    channel: str
    start_ns: int
    rate_hz: float
    data: np.ndarray

    @property
    def end_ns(self) -> int:
        """Time just after the last sample's interval."""
        return self.start_ns + round(len(self.data) * 1e9 / self.rate_hz)


def cut_pieces(trace: Trace, report: Report) -> tuple[str, list[Piece]]:
    """Return the trace's group (NET.STA.LOC.HH) and its gap-free runs of finite numbers."""
    stats = trace.stats
    channel = stats.channel.strip()
    trace_id = f"{stats.network}.{stats.station}.{stats.location}.{channel[:-1]}"
    rate, component = float(stats.sampling_rate), channel[-1:].upper()
    reason = ""
    if component not in ("Z", "N", "E", *HORIZONTAL_ALIASES):
        reason = f"component {component!r} is none of Z, N, E, 1, 2; rename the channel if it is"
    elif trace.data.dtype.kind not in "iuf":
        reason = f"samples of type {trace.data.dtype} are not numbers"
    elif not len(trace.data):
        reason = "it has no samples"
    elif not rate > 0:
        reason = f"its sampling rate is {rate} Hz; correct the header"
    if reason:
        report.traces_left_out += 1
        report.note(f"{trace.id} from {stats.starttime}: {reason}; trace left out")
        if rate > 0 and trace.data.dtype.kind in "iuf":
            report.component_seconds_read += len(trace.data) / rate
            report.component_seconds_left_out += len(trace.data) / rate
        return trace_id, []
    usable = ~np.ma.getmaskarray(trace.data)
    data = np.ma.getdata(trace.data)
    finite = np.isfinite(data)
    bad = int((usable & ~finite).sum())
    if bad:
        report.note(f"{trace.id} from {stats.starttime}: {bad} samples are nan or inf; masked")
        report.component_seconds_left_out += bad / rate
    report.component_seconds_read += int(usable.sum()) / rate
    edges = np.flatnonzero(np.diff(np.concatenate([[False], usable & finite, [False]])))
    start_ns = stats.starttime.ns
    return trace_id, [
        Piece(component, channel, start_ns + round(first * 1e9 / rate), rate, data[first:end])
        for first, end in edges.reshape(-1, 2)
    ]


def choose_horizontals(trace_id: str, pieces: list[Piece], report: Report) -> list[Piece]:
    """Rename 1 and 2 to N and E, leaving out what overlaps in time with a true N or E."""
    true = [p for p in pieces if p.component in "NE"]
    kept = []
    for piece in pieces:
        if piece.component not in HORIZONTAL_ALIASES:
            kept.append(piece)
        elif any(p.start_ns < piece.end_ns and piece.start_ns < p.end_ns for p in true):
            seconds = len(piece.data) / piece.rate_hz
            report.component_seconds_left_out += seconds
            report.note(
                f"{trace_id}: {seconds:.1f} s of {piece.channel} from "
                f"{UTCDateTime(ns=piece.start_ns)} left out, N or E is there at the same time"
            )
        else:
            piece.component = HORIZONTAL_ALIASES[piece.component]
            kept.append(piece)
    return kept


def join(trace_id: str, pieces: list[Piece], report: Report) -> list[Piece]:
    """Join pieces of one rate that touch or overlap to within half a sample."""
    runs: list[list[tuple[int, Piece]]] = []
    length = 0
    for piece in sorted(pieces, key=lambda p: p.start_ns):
        offset = 0
        if runs:  # counted from the start of the run, so that small deviations do not add up
            offset = round((piece.start_ns - runs[-1][0][1].start_ns) * piece.rate_hz / 1e9)
        if not runs or offset > length:
            runs.append([(0, piece)])
            length = len(piece.data)
        else:
            runs[-1].append((offset, piece))
            length = max(length, offset + len(piece.data))
    return [run[0][1] if len(run) == 1 else _merge(trace_id, run, report) for run in runs]


def _merge(trace_id: str, run: list[tuple[int, Piece]], report: Report) -> Piece:
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
    report.component_seconds_left_out += overlapping / first.rate_hz
    report.conflicting_seconds += conflicting / first.rate_hz
    if conflicting:
        report.note(
            f"{trace_id}: {conflicting} of {overlapping} overlapping samples of {first.channel} "
            f"after {UTCDateTime(ns=first.start_ns)} disagree; the earlier piece's were kept"
        )
    channels = dict.fromkeys(name for _, p in run for name in p.channel.split("+"))
    return Piece(first.component, "+".join(channels), first.start_ns, first.rate_hz, data)
