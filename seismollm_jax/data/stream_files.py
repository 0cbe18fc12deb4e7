"""Folders of miniSEED and SAC files: what is in them, and windows read from them.

The headers of all files are read once and kept in `INDEX_NAME` beside them; a file is looked at
again when its size or time of change differs. Where the folder cannot be written to, the index goes
to the user's cache folder.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seismollm_jax import atomic_files
from seismollm_jax.data.mseed_blocks import BlockCache
from seismollm_jax.data.stream_traces import MSEED, SAC, SAC_HEADER, literal, read_traces, sac_order

INDEX_NAME = ".seismollm_index.json.gz"
INDEX_VERSION = 1
COMPONENTS = "ZNE12"
CATALOGUE_ENDINGS = (".xml", ".qml", ".quakeml", ".csv")


class Piece(NamedTuple):
    """A run of samples of one channel in one file."""

    start_ns: int  # since 1970-01-01
    samples: int
    rate_hz: float
    file: str  # relative to the folder

    @property
    def end_ns(self) -> int:
        """Time just after the last sample's interval."""
        return self.start_ns + round(self.samples * 1e9 / self.rate_hz)


@dataclass
class Pieces:
    """The pieces of one channel by time."""

    pieces: list[Piece] = field(default_factory=list)
    _starts: list[int] = field(default_factory=list)
    _longest_ns: int = 0

    def sort(self) -> None:
        """To be called once after the pieces are complete."""
        self.pieces.sort()
        self._starts = [piece.start_ns for piece in self.pieces]
        self._longest_ns = max(piece.end_ns - piece.start_ns for piece in self.pieces)

    def between(self, start_ns: int, end_ns: int) -> list[Piece]:
        """The pieces with samples in a span of time, by their start."""
        first = bisect_left(self._starts, start_ns - self._longest_ns)
        last = bisect_left(self._starts, end_ns)
        return [piece for piece in self.pieces[first:last] if piece.end_ns > start_ns]


@dataclass
class Index:
    """What a folder holds.

    Attributes:
        path: of the index file.
        root: folder that the names of files are relative to.
        files: name -> `size`, `mtime_ns`, and of waveform files `format` and `traces` (network,
            station, location, channel, start_ns, samples, rate_hz of each); of one that could not
            be read `error`.
    """

    path: Path
    root: Path
    files: dict[str, dict[str, Any]]

    def streams(self) -> dict[str, dict[str, Pieces]]:
        """Pieces by instrument ("NET.STA.LOC.HH") and component; other components are left out."""
        found: dict[str, dict[str, Pieces]] = {}
        for name, entry in self.files.items():
            for network, station, location, channel, start_ns, samples, rate in entry["traces"]:
                if channel[-1:] in COMPONENTS and channel and samples > 0 and rate > 0:
                    key = f"{network}.{station}.{location}.{channel[:-1]}"
                    pieces = found.setdefault(key, {}).setdefault(channel[-1], Pieces())
                    pieces.pieces.append(Piece(start_ns, samples, rate, name))
        for components in found.values():
            for pieces in components.values():
                pieces.sort()
        return dict(sorted(found.items()))

    def errors(self) -> dict[str, str]:
        """Files that look like waveforms and could not be read, with the reason."""
        return {name: entry["error"] for name, entry in self.files.items() if entry.get("error")}

    def ignored(self) -> list[str]:
        """Files that are neither waveforms nor have the ending of a catalogue."""
        return [
            name
            for name, entry in self.files.items()
            if not entry["format"] and not name.lower().endswith(CATALOGUE_ENDINGS)
        ]

    def catalogues(self) -> list[str]:
        """Files with the ending of a catalogue, in the order of their names."""
        return sorted(name for name in self.files if name.lower().endswith(CATALOGUE_ENDINGS))


def file_format(head: bytes) -> str:
    """What the first 632 bytes of a file show: "MSEED", "SAC" or "" for anything else.

    Decided here because ObsPy would try to unpickle an unknown file.

    Raises ValueError for miniSEED 3, which ObsPy cannot read.
    """
    if head[:3] == b"MS\x03":
        raise ValueError("is miniSEED 3, which ObsPy cannot read; convert it to miniSEED 2")
    if len(head) >= 48 and head[6:7] in b"DRQMV" and head[7:8] in b" \0":
        return MSEED if all(byte in b"0123456789 \0" for byte in head[:6]) else ""
    return SAC if sac_order(head) else ""


def open_index(folder: Path, progress: Callable[[int, int], None] | None = None) -> Index:
    """The index of a folder, brought up to date and written.

    `progress` is called with the number of files looked at and their total.

    Raises OSError if the index can be written neither to the folder nor to the user's cache.
    """
    folder = folder.resolve()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seismollm_jax"
    elsewhere = cache / f"index_{hashlib.sha256(str(folder).encode()).hexdigest()[:16]}.json.gz"
    known: dict[str, dict[str, Any]] = {}
    for path in (folder / INDEX_NAME, elsewhere):
        # A broken index, or one of another version, is made anew.
        with contextlib.suppress(OSError, EOFError, ValueError, KeyError, TypeError):
            known = {**known, **load_index(path).files}
    names = sorted(walk(folder))
    files = {}
    for done, name in enumerate(names):
        state = (folder / name).stat()
        entry = known.get(name)
        if entry is None or (entry["size"], entry["mtime_ns"]) != (
            state.st_size,
            state.st_mtime_ns,
        ):
            entry = {"size": state.st_size, "mtime_ns": state.st_mtime_ns}
            entry |= _read_headers(folder / name)
        files[name] = entry
        if progress is not None:
            progress(done + 1, len(names))
    for path in (folder / INDEX_NAME, elsewhere):
        if path.exists() and files == known:
            return Index(path, folder, files)
    try:
        return _write_index(folder / INDEX_NAME, folder, files)
    except OSError:  # a folder that only others may write to
        cache.mkdir(parents=True, exist_ok=True)
        return _write_index(elsewhere, folder, files)


def load_index(path: Path) -> Index:
    """Reads an index file.

    Raises OSError or EOFError for a missing or damaged file, ValueError for another version.
    """
    with gzip.open(path, "rt", encoding="utf-8") as file:
        content = json.load(file)
    if content["version"] != INDEX_VERSION:
        raise ValueError(f"{path} has version {content['version']}; remove it")
    return Index(path, Path(content["root"] or path.parent), content["files"])


def _write_index(path: Path, folder: Path, files: dict[str, Any]) -> Index:
    # Beside the files it names no folder, so that all of it can be moved.
    root = "" if path.parent == folder else str(folder)
    content = {"version": INDEX_VERSION, "root": root, "files": files}
    with (
        atomic_files.whole(path) as temporary,
        temporary.open("wb") as raw,
        gzip.open(raw, "wt", encoding="utf-8") as file,
    ):
        json.dump(content, file)
    return Index(path, folder, files)


def walk(folder: Path) -> Iterator[str]:
    """Names of all files below a folder but hidden ones, following links, no folder twice."""
    seen = {str(folder)}
    for parent, folders, names in os.walk(folder, followlinks=True):
        real = {name: os.path.realpath(os.path.join(parent, name)) for name in folders}
        folders[:] = [n for n in folders if not n.startswith(".") and real[n] not in seen]
        seen.update(real[name] for name in folders)
        for name in names:
            path = Path(parent, name)
            if not name.startswith(".") and path.is_file():
                yield path.relative_to(folder).as_posix()


def _read_headers(path: Path) -> dict[str, Any]:
    """Format and traces of a file, or why it could not be read."""
    try:
        with path.open("rb") as file:
            kind = file_format(file.read(SAC_HEADER))
        if not kind:
            return {"format": "", "traces": []}
        import obspy

        traces = []
        for trace in obspy.read(literal(path), format=kind, headonly=True):
            stats = trace.stats
            codes = (stats.network, stats.station, stats.location, stats.channel)
            rate = snap_rate(float(stats.sampling_rate))
            names = [code.strip() for code in codes]
            traces.append([*names, int(stats.starttime.ns), int(stats.npts), rate])
    except Exception as error:  # ObsPy raises anything at all on broken files
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return {"format": MSEED, "traces": [], "error": reason}
    return {"format": kind, "traces": traces}


def snap_rate(rate_hz: float) -> float:
    """Rates off a round number by rounding errors of a header alone become that number."""
    nearest = round(rate_hz, 3)
    return nearest if nearest and abs(rate_hz / nearest - 1) < 1e-6 else rate_hz


def address_of(stream: str, components: str, start_ns: int, samples: int, rate_hz: float) -> str:
    """The address of a window: instrument, components in their order, and its samples."""
    return f"{stream}|{components}|{start_ns}|{samples}|{rate_hz!r}"


class StreamFolder:
    """Windows out of a folder of miniSEED and SAC files, by its index file.

    An address is made by `address_of`. What is read is float32 (samples, components) with the mean
    of each component removed, since a gap is filled with zeros, and so is what a training window
    sticks out of a trace. Pieces are joined across files to the nearest sample; where two overlap,
    the one that begins earlier counts.
    """

    def __init__(self, path: Path, group: str):
        self._index = load_index(Path(path))
        self._streams = self._index.streams()
        self._blocks = BlockCache()

    def read(self, address: str) -> np.ndarray:
        """See `storage.Storage`."""
        stream, components, *numbers = address.split("|")
        start_ns, samples, rate = int(numbers[0]), int(numbers[1]), float(numbers[2])
        if stream not in self._streams:
            raise KeyError(f"is of {stream}, which the index {self._index.path} does not have")
        end_ns = start_ns + round(samples * 1e9 / rate)
        files: dict[str, None] = {}
        for component in components:
            if pieces := self._streams[stream].get(component):
                files |= dict.fromkeys(piece.file for piece in pieces.between(start_ns, end_ns))
        data = np.zeros((samples, len(components)), np.float64)
        filled = np.zeros(data.shape, bool)
        traces = [t for file in files for t in self._traces(file, stream, start_ns, end_ns, rate)]
        for trace in sorted(traces, key=lambda trace: trace.stats.starttime.ns):
            column = components.find(trace.stats.channel.strip()[-1:])
            if column < 0:
                continue
            offset = round((trace.stats.starttime.ns - start_ns) * rate / 1e9)
            first, last = max(offset, 0), min(offset + len(trace.data), samples)
            if first < last:
                new = ~filled[first:last, column]
                values = np.ma.getdata(trace.data)[first - offset : last - offset]
                data[first:last, column][new] = values[new]
                filled[first:last, column] = True
        if not filled.any():
            raise ValueError(f"has no samples in its files ({', '.join(files)}); did they change?")
        for column in range(len(components)):
            usable = filled[:, column] & np.isfinite(data[:, column])
            if usable.any():
                data[filled[:, column], column] -= data[usable, column].mean()
        return data.astype(np.float32)

    def _traces(
        self, file: str, stream: str, start_ns: int, end_ns: int, rate_hz: float
    ) -> list[Any]:
        """Traces of an instrument at one rate out of a file, cut to about the span."""
        path, margin = self._index.root / file, round(2e9 / rate_hz)
        kind = self._index.files[file]["format"]
        span_ns = (start_ns - margin, end_ns + margin)
        try:
            found = read_traces(path, kind, stream, *span_ns, self._blocks)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise ValueError(f"cannot be read from {path} ({reason})") from error
        return [
            trace
            for trace in found
            if ".".join(part.strip() for part in trace.id.split("."))[:-1] == stream
            and snap_rate(float(trace.stats.sampling_rate)) == rate_hz
        ]

    def close(self) -> None:
        """Nothing stays open between reads."""
