"""What an archive holds: station-days, and the files of each.

Inputs are files, patterns, folders, SDS archives (SeisComP Data Structure,
`YEAR/NET/STA/CHAN.D/NET.STA.LOC.CHAN.D.YEAR.DAY`, found by its layout), or text lists of these. SDS
archives are understood by their file names, other files are opened for their headers.
"""

from __future__ import annotations

import glob
import os
import zlib
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from obspy import read as read_file

from seismollm_jax.inference.archive.days import DAY_NS, SPILL_NS, Selection, StationDay
from seismollm_jax.inference.archive.sds import Sds, is_sds


class FileState(NamedTuple):
    """A file as it is now."""

    path: Path
    size: int
    mtime_ns: int


@dataclass
class Plan:
    """Everything that is there and wanted.

    Attributes:
        selection: what is wanted.
        days: all station-days, by station and time.
        unreadable: files without readable headers, and the reason.
        left_out: channels that were not asked for, and how many files they have.
    """

    selection: Selection
    days: list[StationDay] = field(default_factory=list)
    unreadable: dict[Path, str] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    _sds: list[Sds] = field(default_factory=list)
    _spans: dict[str, list[tuple[int, int, Path]]] = field(default_factory=dict)
    _known: frozenset[StationDay] = frozenset()

    def span(self, day: StationDay) -> tuple[int, int]:
        """Begin and end, exclusive, of the time that a station-day answers for, in ns.

        That is the day, as far as it is asked for. Where no station-day stands before or after it,
        what the day's files hold beyond midnight belongs to it as well.
        """
        start, end = day.start_ns, day.start_ns + DAY_NS
        if day._replace(day=day.day - 1) not in self._known:
            start -= SPILL_NS
        if day._replace(day=day.day + 1) not in self._known:
            end += SPILL_NS
        return max(start, self.selection.start_ns), min(end, self.selection.end_ns)

    def files(self, station: str, start_ns: int, end_ns: int) -> list[FileState]:
        """The files with data of a station in a span of time, by name."""
        found = {path for sds in self._sds for path in sds.files(station, start_ns, end_ns)}
        spans = self._spans.get(station, [])
        for first, last, path in spans[: bisect_left(spans, (end_ns,))]:
            if first < end_ns and last >= start_ns:
                found.add(path)
        states = []
        for path in sorted(found):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            states.append(FileState(path, status.st_size, status.st_mtime_ns))
        return states

    def part(self, index: int, count: int) -> list[StationDay]:
        """The station-days of one of several processes.

        Which one has a station-day follows from its station and date alone, so that processes that
        see other parts of a growing archive still do everything once.
        """
        return [d for d in self.days if (zlib.crc32(d.station.encode()) + d.day) % count == index]


def make(inputs: Sequence[str | os.PathLike[str]], selection: Selection) -> Plan:
    """Find out what there is.

    Args:
        inputs: files, patterns, folders, SDS archives, or "@FILE", a text file with one of these a
            line, which are seen from its folder.
        selection: what is wanted.

    Raises:
        FileNotFoundError: an input matches nothing.
        ValueError: nothing of what is there is wanted.
    """
    plan = Plan(selection)
    days: set[StationDay] = set()
    seen: set[str] = set()
    for name in _expanded(inputs):
        root = Path(name)
        if root.is_dir() and is_sds(root):
            sds = Sds(root, selection)
            sds.scan(days, plan.left_out)
            plan._sds.append(sds)
            continue
        for path in _files(root, name):
            real = os.path.realpath(path)
            if real not in seen:
                seen.add(real)
                _read_header(path, plan, days)
    for spans in plan._spans.values():
        spans.sort()
    plan._known = frozenset(days)
    plan.days = sorted(days)
    if not days:
        reasons = [f"{path}: {why}" for path, why in list(plan.unreadable.items())[:5]]
        if plan.left_out:
            reasons.append(f"channels left out: {', '.join(sorted(plan.left_out)[:20])}")
        raise ValueError(
            "nothing in the input has the stations, channels and times asked for"
            + "".join(f"\n{reason}" for reason in reasons)
        )
    return plan


def _expanded(inputs: Iterable[str | os.PathLike[str]]) -> Iterator[str]:
    """Inputs with text lists replaced by their lines."""
    for name in map(str, inputs):
        if not name.startswith("@"):
            yield name
            continue
        file = Path(name[1:])
        for line in file.read_text(encoding="utf-8").splitlines():
            if line.strip() and not line.lstrip().startswith("#"):
                yield str(file.parent / line.strip())


def _files(root: Path, name: str) -> list[Path]:
    if root.is_dir():
        found = [
            Path(folder, file)
            for folder, _, files in os.walk(root)
            for file in files
            if not file.startswith(".")
        ]
    elif root.is_file():
        found = [root]
    else:
        found = [Path(path) for path in glob.glob(name, recursive=True) if Path(path).is_file()]
    if not found:
        raise FileNotFoundError(f"no file matches {name}")
    return sorted(found)


def _read_header(path: Path, plan: Plan, days: set[StationDay]) -> None:
    """Enter a file by its headers."""
    selection = plan.selection
    try:
        traces = read_file(glob.escape(str(path)), headonly=True)
    except Exception as error:  # the many formats raise anything at all on broken files
        plan.unreadable[path] = f"{type(error).__name__}: {error}"
        return
    ends: dict[str, tuple[int, int]] = {}
    for trace in traces:
        stats = trace.stats
        if not stats.npts or not selection.has_station(stats.network, stats.station):
            continue
        if not selection.has_channel(stats.channel):
            plan.left_out[stats.channel] = plan.left_out.get(stats.channel, 0) + 1
            continue
        station, start, end = (
            f"{stats.network}.{stats.station}",
            stats.starttime.ns,
            stats.endtime.ns,
        )
        days.update(
            StationDay(station, day)
            for day in range(start // DAY_NS, end // DAY_NS + 1)
            if selection.has_day(day)
        )
        before = ends.get(station, (start, end))
        ends[station] = min(before[0], start), max(before[1], end)
    for station, (start, end) in ends.items():
        plan._spans.setdefault(station, []).append((start, end, path))
