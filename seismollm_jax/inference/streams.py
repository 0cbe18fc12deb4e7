"""From waveform files to three-component segments at the model's sampling rate.

Nothing is lost without a word: whatever is left out (unreadable files, traces without a usable
component, overlapping samples) is counted in a :class:`Report` with the reason and the remedy.
Channels of different instruments at one site (HH and HN, say) stay apart.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from obspy import Stream, Trace, UTCDateTime
from obspy import read as read_file

from seismollm_jax.data.resampling import grid_index, grid_time_ns, resample
from seismollm_jax.inference.coverage import Report
from seismollm_jax.inference.pieces import Piece, choose_horizontals, cut_pieces, join

LARGEST_MISALIGNMENT = 0.1  # samples between components before it is worth a note


@dataclass
class Segment:
    """A stretch of one instrument's record on an even grid of samples.

    Attributes:
        trace_id: "NET.STA.LOC.HH", the last part being band and instrument code.
        start_time: of the first sample.
        sampling_rate_hz: of `data`.
        data: (samples, 3) float32 in the component order asked for, 0 where not valid.
        valid: (samples, 3) bool, true where there is data; a missing component has none.
        channels: the channel codes behind each component, such as ("HHZ", "HH1", ""); empty where
            the component is missing, joined by "+" where several contribute.
    """

    trace_id: str
    start_time: UTCDateTime
    sampling_rate_hz: float
    data: np.ndarray
    valid: np.ndarray
    channels: tuple[str, ...] = ("", "", "")

    @property
    def anchor(self) -> int:
        """Number of the first sample on the grid counted from 1970-01-01."""
        return grid_index(self.start_time.ns, self.sampling_rate_hz)

    @property
    def missing_components(self) -> tuple[int, ...]:
        """Columns without any data."""
        return tuple(np.flatnonzero(~self.valid.any(0)).tolist())


def read(
    patterns: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    report: Report | None = None,
) -> Stream:
    """Read waveform files of any format ObsPy knows.

    Args:
        patterns: a file, a pattern such as "day/*.mseed" (`**` descends into folders), or a list.
        report: takes the counts and the reasons for files that could not be read.

    Raises:
        FileNotFoundError: no pattern matches a file.
        ValueError: none of the files could be read; the message names each with its error.
    """
    report = Report() if report is None else report
    patterns = [patterns] if isinstance(patterns, (str, os.PathLike)) else patterns
    stream = Stream()
    failed: list[str] = []
    files: set[str] = set()
    for pattern in map(str, patterns):
        exact = Path(pattern).is_file()
        found = [pattern] if exact else sorted(glob.glob(pattern, recursive=True))
        names = {os.path.realpath(name): name for name in found if Path(name).is_file()}
        if not names:
            report.note(f"{pattern}: matches no file; for a folder give a pattern like folder/*")
        new = [name for real, name in names.items() if real not in files]
        files.update(names)
        for name in new:
            try:
                stream += read_file(glob.escape(name))
                report.files_read += 1
            except Exception as error:  # the many formats raise anything at all on broken files
                failed.append(f"{name}: {type(error).__name__}: {error}")
                report.files_unreadable += 1
                report.note(f"{failed[-1]}; left out")
    if not files:
        raise FileNotFoundError(f"no file matches {', '.join(map(str, patterns))}")
    if not report.files_read:
        raise ValueError(
            "none of the waveform files could be read (is it a format ObsPy knows?):\n"
            + "\n".join(failed)
        )
    return stream


def segments(
    stream: Iterable[Trace],
    sampling_rate_hz: float,
    component_order: str = "ZNE",
    max_gap_s: float = 10.0,
    report: Report | None = None,
) -> tuple[list[Segment], Report]:
    """Arrange traces into three-component segments at one sampling rate.

    Traces are grouped by network, station, location and band + instrument code. Within a component
    contiguous pieces are joined; of overlapping samples the earlier piece's count, and overlaps
    that disagree are reported. Horizontals 1 and 2 stand in for N and E wherever neither N nor E
    has data at the time. Components without data are zero and not valid.

    Args:
        stream: an ObsPy stream; it is not changed.
        sampling_rate_hz: the model's rate; other rates are resampled without a time shift.
        component_order: order of the columns, an arrangement of Z, N and E.
        max_gap_s: a longer time without data on any component divides segments; a shorter one
            stays inside a segment as samples that are not valid.
        report: continue this one (from :func:`read`) instead of a new one.

    Returns:
        The segments, by trace_id and time, and the report.

    Raises:
        ValueError: `component_order` is not an arrangement of Z, N, E, or a rate is not positive.
    """
    if sorted(component_order) != ["E", "N", "Z"]:
        raise ValueError(f"component_order is {component_order!r}; give Z, N and E in some order")
    if not sampling_rate_hz > 0:
        raise ValueError(f"sampling_rate_hz is {sampling_rate_hz}; it must be positive")
    report = Report() if report is None else report
    groups: dict[str, list[Piece]] = {}
    for trace in stream:
        report.traces_read += 1
        trace_id, pieces = cut_pieces(trace, report)
        groups.setdefault(trace_id, []).extend(pieces)
    found = []
    for trace_id in sorted(groups):
        pieces = choose_horizontals(trace_id, groups[trace_id], report)
        placed = _to_grid(trace_id, pieces, sampling_rate_hz, report)
        found += _assemble(trace_id, placed, sampling_rate_hz, component_order, max_gap_s, report)
    report.segments += len(found)
    for segment in found:
        report.segment_seconds += len(segment.data) / sampling_rate_hz
        report.gap_seconds += float((~segment.valid.any(1)).sum()) / sampling_rate_hz
        report.component_seconds_used += float(segment.valid.sum()) / sampling_rate_hz
    return found, report


def _to_grid(
    trace_id: str, pieces: list[Piece], rate_hz: float, report: Report
) -> dict[str, list[Piece]]:
    """Join, resample, and join again what had different rates; by component."""
    placed: dict[str, list[Piece]] = {}
    for component in dict.fromkeys(p.component for p in pieces):
        for source_hz in dict.fromkeys(p.rate_hz for p in pieces if p.component == component):
            same = [p for p in pieces if (p.component, p.rate_hz) == (component, source_hz)]
            for piece in join(trace_id, same, report):
                data, start_ns = resample(piece.data, piece.start_ns, source_hz, rate_hz)
                if len(data):
                    new = Piece(component, piece.channel, start_ns, rate_hz, data)
                    placed.setdefault(component, []).append(new)
                else:
                    seconds = len(piece.data) / source_hz
                    report.component_seconds_left_out += seconds
                    report.note(
                        f"{trace_id}: a piece of {piece.channel} of {seconds:.3f} s at "
                        f"{UTCDateTime(ns=piece.start_ns)} is too short to resample; left out"
                    )
        placed[component] = join(trace_id, placed.get(component, []), report)
    return placed


def _assemble(
    trace_id: str,
    placed: dict[str, list[Piece]],
    rate_hz: float,
    component_order: str,
    max_gap_s: float,
    report: Report,
) -> list[Segment]:
    """Lay the components side by side and divide at long gaps."""
    items = [
        (grid_index(piece.start_ns, rate_hz), component_order.index(component), piece)
        for component, runs in placed.items()
        for piece in runs
    ]
    items.sort(key=lambda item: item[:2])
    stretches: list[list[tuple[int, int, Piece]]] = []
    end = 0
    for item in items:
        if not stretches or item[0] - end > max_gap_s * rate_hz:
            stretches.append([])
            end = item[0]
        stretches[-1].append(item)
        end = max(end, item[0] + len(item[2].data))
    found = []
    for stretch in stretches:
        first, _, reference = stretch[0]
        samples = max(index + len(piece.data) for index, _, piece in stretch) - first
        data, valid = np.zeros((samples, 3), np.float32), np.zeros((samples, 3), bool)
        names: list[dict[str, None]] = [{}, {}, {}]
        fraction = reference.start_ns - grid_time_ns(first, rate_hz)
        worst = 0.0
        for index, column, piece in stretch:
            part = slice(index - first, index - first + len(piece.data))
            data[part, column], valid[part, column] = piece.data, True
            names[column].update(dict.fromkeys(piece.channel.split("+")))
            deviation = piece.start_ns - grid_time_ns(index, rate_hz) - fraction
            worst = max(worst, abs(deviation) * rate_hz / 1e9)
        start = UTCDateTime(ns=reference.start_ns)
        if worst > LARGEST_MISALIGNMENT:
            report.note(
                f"{trace_id} from {start}: samples of its pieces lie up to {worst:.2f} sample "
                "intervals off a common grid; they were not shifted"
            )
        channels = tuple("+".join(name) for name in names)
        found.append(Segment(trace_id, start, rate_hz, data, valid, channels))
    return found
