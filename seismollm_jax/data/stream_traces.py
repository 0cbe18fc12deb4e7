"""Stretches of time out of one miniSEED or SAC file, without reading the rest of it."""

from __future__ import annotations

import glob
import io
import struct
from pathlib import Path
from typing import Any

import numpy as np

from seismollm_jax.data.mseed_blocks import BlockCache

MSEED, SAC = "MSEED", "SAC"
SAC_HEADER = 632  # bytes


def read_traces(
    path: Path, kind: str, stream: str, start_ns: int, end_ns: int, blocks: BlockCache
) -> list[Any]:
    """ObsPy traces of an instrument, cut to about a span of time.

    `kind` is MSEED or SAC, `stream` such as "NET.STA.LOC.HH"; times are nanoseconds since 1970.
    Traces of other instruments may be among them.

    Raises OSError, ValueError, and whatever ObsPy raises on broken files.
    """
    import obspy

    if kind == SAC:
        return _sac_traces(path, start_ns, end_ns)
    source: Any = literal(path)
    found = blocks.blocks(path)
    if found is not None:
        data = found.read(path, start_ns, end_ns)
        if not data:
            return []
        source = io.BytesIO(data)
    return list(
        obspy.read(
            source,
            format=MSEED,
            sourcename=f"{stream}?",  # others are not decoded
            starttime=obspy.UTCDateTime(ns=start_ns),
            endtime=obspy.UTCDateTime(ns=end_ns),
        )
    )


def _sac_traces(path: Path, start_ns: int, end_ns: int) -> list[Any]:
    import obspy

    # Which makes sure that the file is as long as its header says.
    trace = obspy.read(literal(path), format=SAC, headonly=True)[0]
    rate = trace.stats.sampling_rate
    first = max(0, int((start_ns - trace.stats.starttime.ns) * rate / 1e9))
    last = min(trace.stats.npts, int((end_ns - trace.stats.starttime.ns) * rate / 1e9) + 1)
    if first >= last:
        return []
    with path.open("rb") as file:
        order = sac_order(file.read(SAC_HEADER))
        file.seek(SAC_HEADER + 4 * first)
        data = file.read(4 * (last - first))
    trace.stats.starttime += first / rate
    trace.data = np.frombuffer(data, f"{order}f4")
    return [trace]


def sac_order(head: bytes) -> str:
    """Byte order, "<" or ">", that the header of a SAC file is in; empty if it is none."""
    if len(head) < SAC_HEADER:
        return ""
    for order in "<>":
        step = struct.unpack(f"{order}f", head[:4])[0]
        version = struct.unpack(f"{order}i", head[304:308])[0]
        if version in (6, 7) and 0 < step < 1e6:
            return order
    return ""


def literal(path: Path) -> str:
    """A name in which ObsPy sees no pattern."""
    return glob.escape(str(path))
