"""A station-day read from its files, with margins, ready for the network."""

from __future__ import annotations

import glob
import io
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from obspy import Stream, Trace, UTCDateTime
from obspy import read as read_file

from seismollm_jax.data.mseed_blocks import BlockCache
from seismollm_jax.data.resampling import grid_index
from seismollm_jax.inference.archive.days import StationDay
from seismollm_jax.inference.archive.plan import FileState, Plan
from seismollm_jax.inference.coverage import Coverage
from seismollm_jax.inference.events.predictor import EventPredictor
from seismollm_jax.inference.predictor import Predictor
from seismollm_jax.inference.streams import Segment

REACH_S = 30.0
"""Beyond the windows that see a day: filters at 10 Hz and more, the search for dead stretches, and
what is measured around a pick."""
MOST_NOTES = 20


@dataclass
class Prepared:
    """A station-day as far as it goes without the network.

    Attributes:
        day: which one.
        span: begin and end, exclusive, of the time it answers for, ns since 1970-01-01.
        files: that were read, or should have been.
        segments: with margins of the neighbouring days, at the picking network's sampling rate.
        resampled: the same for networks of other sampling rates.
        coverage: a row an instrument, of `span` alone, see :func:`account`.
        unreadable: file and reason.
        notes: remarks on the data, also of the margins.
        seconds: that each stage took.
    """

    day: StationDay
    span: tuple[int, int]
    files: list[FileState]
    segments: list[Segment] = field(default_factory=list)
    resampled: dict[float, list[Segment]] = field(default_factory=dict)
    coverage: list[dict[str, Any]] = field(default_factory=list)
    unreadable: list[dict[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)


class Reader:
    """Reads station-days; may be used by several threads."""

    def __init__(self, plan: Plan, predictor: Predictor | EventPredictor, options: dict[str, Any]):
        self.plan, self.predictor, self.options = plan, predictor, options
        if isinstance(predictor, EventPredictor):
            reach_s = predictor.reach_s
        else:
            reach_s = predictor.window / predictor.sampling_rate_hz
        self.margin_ns = round((reach_s + REACH_S) * 1e9)
        self._blocks, self._lock = BlockCache(), threading.Lock()

    def inputs(self, day: StationDay) -> tuple[tuple[int, int], list[FileState]]:
        """The time that a station-day answers for, and all files that have a part in its picks."""
        start, end = span = self.plan.span(day)
        return span, self.plan.files(day.station, start - self.margin_ns, end + self.margin_ns)

    def __call__(self, day: StationDay) -> Prepared:
        """Read and prepare what `inputs` gives."""
        begin = time.perf_counter()
        span, files = self.inputs(day)
        found = Prepared(day, span, files)
        stream = Stream()
        for file in files:
            try:
                stream += self._read(file, span[0] - self.margin_ns, span[1] + self.margin_ns)
            except Exception as error:  # the many formats raise anything at all on broken files
                reason = f"{type(error).__name__}: {error}"
                found.unreadable.append({"file": str(file.path), "reason": reason})
        stream.traces = [trace for trace in stream if self._wanted(trace, day.station)]
        read = time.perf_counter()
        remarks = Coverage()
        if isinstance(self.predictor, EventPredictor):
            records, _ = self.predictor.segments(stream, coverage=remarks, **self.options)
            found.segments = records.pop(self.predictor.picking.sampling_rate_hz)
            found.resampled = records
        else:
            found.segments, _ = self.predictor.segments(stream, coverage=remarks, **self.options)
        found.coverage = account(stream, found.segments, span)
        found.notes = remarks.notes[:MOST_NOTES]
        if more := len(remarks.notes) - len(found.notes):
            found.notes.append(f"and {more} more remarks")
        found.seconds = {"read": read - begin, "prepare": time.perf_counter() - read}
        return found

    def _read(self, file: FileState, start_ns: int, end_ns: int) -> Stream:
        """The samples of a file in a span; of miniSEED without reading the rest of the file."""
        start, end = UTCDateTime(ns=start_ns), UTCDateTime(ns=end_ns)
        with self._lock:
            blocks = self._blocks.blocks(file.path)
        if blocks is None:
            return read_file(glob.escape(str(file.path)), starttime=start, endtime=end)
        data = blocks.read(file.path, start_ns, end_ns)
        if not data:
            return Stream()
        return read_file(io.BytesIO(data), format="MSEED", starttime=start, endtime=end)

    def _wanted(self, trace: Trace, station: str) -> bool:
        stats = trace.stats
        return f"{stats.network}.{stats.station}" == station and self.plan.selection.has_channel(
            stats.channel
        )


def account(
    stream: Stream, segments: Sequence[Segment], span: tuple[int, int]
) -> list[dict[str, Any]]:
    """What of a span of time came in, and what became of it, by instrument.

    Seconds are those of components: a three-component hour counts 3 h.

    Returns:
        For each trace_id: channels, and seconds: read = analysed + edge (beside gaps, ends and
        dead stretches, where no answer is wanted) + left_out (dead, there twice, not finite, no
        component that the network knows; also what resampling rounds off).
    """
    rows: dict[str, dict[str, Any]] = {}
    for trace in stream:
        stats = trace.stats
        rate = float(stats.sampling_rate)
        if not 0 < rate < np.inf:
            continue
        instrument = stats.channel.strip()[:-1]
        trace_id = f"{stats.network}.{stats.station}.{stats.location}.{instrument}"
        row = rows.setdefault(trace_id, _row())
        # First samples at and after the two times.
        first, end = (-int((stats.starttime.ns - t) * rate // 10**9) for t in span)
        samples = min(max(end, 0), stats.npts) - min(max(first, 0), stats.npts)
        if samples > 0:
            row["channels"].add(stats.channel)
            row["read"] += samples / rate
    for segment in segments:
        row, rate = rows[segment.trace_id], segment.sampling_rate_hz
        first, end = (grid_index(t, rate) - segment.anchor for t in span)
        part = slice(max(first, 0), max(end, 0))
        valid = segment.valid[part]
        known = np.count_nonzero(valid) / rate
        answered = np.count_nonzero(valid & segment.where[part, None]) / rate
        row["analysed"] += answered
        row["edge"] += known - answered
    found = []
    for trace_id, row in sorted(rows.items()):
        if not row["channels"]:
            continue
        row["left_out"] = max(0.0, row["read"] - row["analysed"] - row["edge"])
        numbers = {name: round(value, 2) for name, value in row.items() if name != "channels"}
        channels = " ".join(sorted(row["channels"]))
        found.append({"trace_id": trace_id, "channels": channels, **numbers})
    return found


def _row() -> dict[str, Any]:
    return {"channels": set(), "read": 0.0, "analysed": 0.0, "edge": 0.0, "left_out": 0.0}
