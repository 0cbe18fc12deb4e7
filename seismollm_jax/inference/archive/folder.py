"""The folder that takes what an archive gives, and its manifest.

    settings.json                      what decides the picks; a folder has one
    manifest*.jsonl                    a line for each finished station-day; a shard has its own
    picks/NET.STA/YYYY-DDD.csv (.xml)  picks of a station-day
    events/NET.STA/YYYY-DDD.csv (.xml) its events, if they are asked for
    detections/NET.STA/YYYY-DDD.csv    those of a network that detects
    pictures/, report/                 see `pictures`
    picks.csv picks.parquet coverage.csv   everything together, by time; the others too

A station-day counts as finished when its line is in the manifest, which is written after its picks.
So a run may end at any moment: what has no whole line is done once more, over what is there.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import filelock

from seismollm_jax import atomic_files
from seismollm_jax.inference.archive import tables
from seismollm_jax.inference.archive.days import StationDay
from seismollm_jax.inference.archive.plan import FileState
from seismollm_jax.inference.archive.reading import Prepared
from seismollm_jax.inference.archive.tables import DETECTIONS, EVENTS, PICKS, Table
from seismollm_jax.inference.detections import DetectionList
from seismollm_jax.inference.events.table import EventTable
from seismollm_jax.inference.picks import PickList

SETTINGS = "settings.json"
COVERAGE = ("date", "trace_id", "channels", "read", "analysed", "edge", "left_out")


class Done(NamedTuple):
    """What the manifest says of a finished station-day, as far as decisions need it."""

    inputs: str
    outputs: tuple[str, ...]
    picks: int
    finished: float
    events: int = 0


@dataclass(frozen=True)
class Answers:
    """What the network, or networks, say of a station-day.

    Attributes:
        creator: their name, for QuakeML.
        picks: of the day.
        detections: none, of a network that does not detect.
        events: None where they are not asked for.
    """

    creator: str
    picks: PickList
    detections: DetectionList
    events: EventTable | None = None


class Folder:
    """An output folder, open for writing by one shard; a context manager.

    Attributes:
        path: of the folder.
        outputs: kinds of files of a station-day, "csv" and perhaps "quakeml", "events",
            "detections" and those of :mod:`seismollm_jax.inference.archive.pictures`.
        done: finished station-days, of all shards.
    """

    def __init__(
        self,
        path: Path,
        settings: Mapping[str, Any],
        *,
        shard: tuple[int, int] = (0, 1),
        quakeml: bool = False,
        events: bool = False,
        detections: bool = False,
        pictures: Iterable[str] = (),
    ):
        self.path, self.settings = path, json.loads(json.dumps(settings))
        asked = {"csv": True, "quakeml": quakeml, "events": events, "detections": detections}
        self.outputs = (*(kind for kind, is_asked in asked.items() if is_asked), *pictures)
        index, count = shard
        name = "manifest" if count == 1 else f"manifest-{index:04d}-of-{count:04d}"
        self._manifest_path = path / f"{name}.jsonl"
        self._stack = ExitStack()
        self._manifest: IO[str] | None = None
        self.done: dict[StationDay, Done] = {}

    def __enter__(self) -> Folder:
        self.path.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self._manifest_path.with_suffix(".lock"), timeout=0)
        try:
            self._stack.enter_context(lock)
        except filelock.Timeout as error:
            raise RuntimeError(
                f"another process works on {self._manifest_path}; wait for it, or give --shard to "
                "share the work"
            ) from error
        try:
            self._check_settings()
            self.done = {day: entry for day, entry, _ in self.entries()}
            self._manifest = self._stack.enter_context(_open_lines(self._manifest_path))
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def is_done(self, day: StationDay, span: tuple[int, int], files: list[FileState]) -> bool:
        """Whether a station-day is finished, of the same files, with all that is asked for."""
        entry = self.done.get(day)
        return (
            entry is not None
            and entry.inputs == fingerprint(span, files)
            and set(self.outputs) <= set(entry.outputs)
            and all(self.day_path(table, day).exists() for table in self.tables)
        )

    @property
    def tables(self) -> tuple[Table, ...]:
        """The tables of a station-day."""
        return PICKS, *(table for table in (EVENTS, DETECTIONS) if table.name in self.outputs)

    def day_path(self, table: Table, day: StationDay) -> Path:
        """A table of a station-day."""
        return self.path / table.name / day.station / f"{day.name}.csv"

    def picks_path(self, day: StationDay) -> Path:
        """The picks of a station-day."""
        return self.day_path(PICKS, day)

    def write(self, found: Prepared, answers: Answers) -> None:
        """Write what a station-day gave, then its line of the manifest."""
        day, picks, events = found.day, answers.picks, answers.events
        self._write_day(
            PICKS, day, picks.write_csv, lambda path: picks.to_quakeml(path, answers.creator)
        )
        if events is not None:
            self._write_day(EVENTS, day, events.write_csv, events.to_quakeml)
        if DETECTIONS in self.tables:
            self._write_day(DETECTIONS, day, answers.detections.write_csv)
        inputs, finished = fingerprint(found.span, found.files), time.time()
        number = 0 if events is None else len(events)
        self._append(
            {
                "station": day.station,
                "date": day.date.isoformat(),
                "day": day.day,
                "picks": len(picks),
                "phases": Counter(pick.phase for pick in picks),
                "events": number,
                "detections": len(answers.detections),
                "coverage": found.coverage,
                "unreadable": found.unreadable,
                "notes": found.notes,
                "seconds": {name: round(value, 3) for name, value in found.seconds.items()},
                "span": found.span,
                "files": [[str(file.path), file.size, file.mtime_ns] for file in found.files],
                "inputs": inputs,
                "outputs": self.outputs,
                "settings": digest(self.settings),
                "finished": finished,
            }
        )
        self.done[day] = Done(inputs, self.outputs, len(picks), finished, number)

    def _write_day(
        self,
        table: Table,
        day: StationDay,
        write_csv: Callable[[str], Any],
        write_quakeml: Callable[[str], Any] | None = None,
    ) -> None:
        path = self.day_path(table, day)
        for left in path.parent.glob(f".{day.name}.*.partial"):  # by a process that was killed
            left.unlink()
        with atomic_files.whole(path) as temporary:
            write_csv(str(temporary))
        if write_quakeml is not None and "quakeml" in self.outputs:
            with atomic_files.whole(path.with_suffix(".xml")) as temporary:
                write_quakeml(str(temporary))

    def note_unreadable(self, path: Path, reason: str) -> None:
        """Enter a file that belongs to no station-day because it cannot be read."""
        line = {"unreadable_file": str(path), "reason": reason}
        if line not in (entry for entry in _lines(self._manifest_path)):
            self._append(line)

    def entries(self) -> Iterator[tuple[StationDay, Done, dict[str, Any]]]:
        """The lines of all manifests; of a station-day that was done again, the latest one last."""
        latest: dict[StationDay, Done] = {}
        for path in sorted(self.path.glob("manifest*.jsonl")):
            for line in _lines(path):
                if "station" not in line:
                    continue
                day = StationDay(line["station"], line["day"])
                entry = Done(
                    line["inputs"],
                    tuple(line["outputs"]),
                    line["picks"],
                    line["finished"],
                    line.get("events", 0),  # older ones have none
                )
                if day not in latest or latest[day].finished <= entry.finished:
                    latest[day] = entry
                    yield day, entry, line

    def collect(
        self,
        *,
        parquet: bool = False,
        look: Callable[[Mapping[str, str]], None] | None = None,
    ) -> dict[str, tuple[Path, int]]:
        """Put all finished station-days together.

        In memory are the rows of one day of all stations.

        Args:
            parquet: write Parquet too.
            look: called with each event's row.

        Returns:
            For each table by name, its path and number of rows.
        """
        by_day: dict[int, list[StationDay]] = {}
        for day in self.done:
            by_day.setdefault(day.day, []).append(day)
        found = {}
        with filelock.FileLock(self.path / "collect.lock"):
            for table in self.tables:
                days = (
                    [self.day_path(table, day) for day in by_day[number]]
                    for number in sorted(by_day)
                )
                count = tables.collect(
                    *(table, self.path, days),
                    parquet=parquet,
                    look=look if table is EVENTS else None,
                )
                found[table.name] = self.path / f"{table.name}.csv", count
            self._collect_coverage()
        return found

    def _collect_coverage(self) -> None:
        with (
            atomic_files.whole(self.path / "coverage.csv") as temporary,
            temporary.open("w") as file,
        ):
            writer = csv.DictWriter(file, COVERAGE, lineterminator="\n")
            writer.writeheader()
            for day, entry, line in self.entries():
                if entry.finished == self.done[day].finished:
                    writer.writerows({"date": line["date"], **row} for row in line["coverage"])

    def _append(self, line: Mapping[str, Any]) -> None:
        assert self._manifest is not None, "the folder is not open"
        self._manifest.write(json.dumps(line) + "\n")
        self._manifest.flush()
        os.fsync(self._manifest.fileno())

    def _check_settings(self) -> None:
        """Claim the folder for these settings, or find that it has them.

        Raises:
            ValueError: it has others.
        """
        path = self.path / SETTINGS
        if not path.exists():
            atomic_files.write(path, (json.dumps(self.settings, indent=1) + "\n").encode())
        there = json.loads(path.read_text())
        if there == self.settings:
            return
        differing = [
            f"{name}: {there.get(name)!r} there, {self.settings.get(name)!r} now"
            for name in sorted({*there, *self.settings})
            if there.get(name) != self.settings.get(name)
        ]
        raise ValueError(
            f"{self.path} holds picks made with other settings; give another --output, or remove "
            "it.\n" + "\n".join(differing)
        )


def fingerprint(span: tuple[int, int], files: Iterable[FileState]) -> str:
    """A hash of everything that a station-day is made of."""
    return digest([*span, *([str(file.path), file.size, file.mtime_ns] for file in files)])


def digest(value: Any) -> str:
    """A hash of something that JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _open_lines(path: Path) -> IO[str]:
    """Open a file for more lines; the rest of one that was not finished is cut off."""
    if path.exists():
        with path.open("rb+") as file:
            size = file.seek(0, os.SEEK_END)
            end = size
            while end:  # backwards to the last newline
                begin = max(0, end - 65536)
                file.seek(begin)
                found = file.read(end - begin).rfind(b"\n")
                if found >= 0:
                    end = begin + found + 1
                    break
                end = begin
            if end < size:
                file.truncate(end)
    return path.open("a", encoding="utf-8")


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a manifest."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith("\n"):  # being written, or a process was killed
                return
            try:
                yield json.loads(line)
            except ValueError as error:
                raise ValueError(
                    f"{path}, line {number}: no JSON ({error}); remove the line, and its "
                    "station-day is done again"
                ) from error
