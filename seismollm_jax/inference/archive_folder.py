"""The folder that takes what an archive gives, and its manifest.

    settings.json                      what decides the picks; a folder has one
    manifest*.jsonl                    a line for each finished station-day; a shard has its own
    picks/NET.STA/YYYY-DDD.csv (.xml)  picks of a station-day
    picks.csv picks.parquet coverage.csv   everything together, by time

A station-day counts as finished when its line is in the manifest, which is written after its picks.
So a run may end at any moment: what has no whole line is done once more, over what is there.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, NamedTuple

import filelock
import pandas as pd

from seismollm_jax import atomic_files
from seismollm_jax.inference import pick_output
from seismollm_jax.inference.archive_days import StationDay
from seismollm_jax.inference.archive_plan import FileState
from seismollm_jax.inference.archive_reading import Prepared
from seismollm_jax.inference.picks import PickList

SETTINGS = "settings.json"
COVERAGE = ("date", "trace_id", "channels", "read", "analysed", "edge", "left_out")
_TEXTS = ("trace_id", "phase", "channel")


class Done(NamedTuple):
    """What the manifest says of a finished station-day, as far as decisions need it."""

    inputs: str
    outputs: tuple[str, ...]
    picks: int
    finished: float


class Folder:
    """An output folder, open for writing by one shard; a context manager.

    Attributes:
        path: of the folder.
        outputs: kinds of files of a station-day, "csv" and perhaps "quakeml".
        done: finished station-days, of all shards.
    """

    def __init__(
        self,
        path: Path,
        settings: Mapping[str, Any],
        *,
        shard: tuple[int, int] = (0, 1),
        quakeml: bool = False,
    ):
        self.path, self.settings = path, json.loads(json.dumps(settings))
        self.outputs = ("csv", "quakeml") if quakeml else ("csv",)
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
            and self.picks_path(day).exists()
        )

    def picks_path(self, day: StationDay) -> Path:
        """The table of a station-day."""
        return self.path / "picks" / day.station / f"{day.name}.csv"

    def write(self, found: Prepared, picks: PickList, creator: str) -> None:
        """Write what a station-day gave, then its line of the manifest."""
        day, path = found.day, self.picks_path(found.day)
        for left in path.parent.glob(f".{day.name}.*.partial"):  # by a process that was killed
            left.unlink()
        with atomic_files.whole(path) as temporary:
            picks.write_csv(str(temporary))
        if "quakeml" in self.outputs:
            with atomic_files.whole(path.with_suffix(".xml")) as temporary:
                picks.to_quakeml(str(temporary), creator)
        inputs, finished = fingerprint(found.span, found.files), time.time()
        self._append(
            {
                "station": day.station,
                "date": day.date.isoformat(),
                "day": day.day,
                "picks": len(picks),
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
        self.done[day] = Done(inputs, self.outputs, len(picks), finished)

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
                    line["inputs"], tuple(line["outputs"]), line["picks"], line["finished"]
                )
                if day not in latest or latest[day].finished <= entry.finished:
                    latest[day] = entry
                    yield day, entry, line

    def collect(self, *, parquet: bool = False) -> tuple[Path, int]:
        """Put all finished station-days together; returns the table of picks and their number.

        In memory are the picks of one day of all stations.
        """
        by_day: dict[int, list[StationDay]] = {}
        for day in self.done:
            by_day.setdefault(day.day, []).append(day)
        output, count = self.path / "picks.csv", 0
        with filelock.FileLock(self.path / "collect.lock"), ExitStack() as stack:
            file = stack.enter_context(stack.enter_context(atomic_files.whole(output)).open("w"))
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(pick_output.COLUMNS)
            table = None
            if parquet:
                target = stack.enter_context(atomic_files.whole(output.with_suffix(".parquet")))
                table = stack.enter_context(_parquet(target))
            for number in sorted(by_day):
                rows = sorted((r for d in by_day[number] for r in self._rows(d)), key=_order)
                writer.writerows(rows)
                count += len(rows)
                if table is not None:
                    table.write_table(_arrow(rows))
            self._collect_coverage()
        return output, count

    def _rows(self, day: StationDay) -> list[list[str]]:
        with self.picks_path(day).open(encoding="utf-8", newline="") as file:
            return list(csv.reader(file))[1:]

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


def _order(row: list[str]) -> tuple[str, str, str]:
    trace_id, phase, moment = row[:3]
    return moment, trace_id, phase


def _arrow(rows: list[list[str]]) -> Any:
    """Picks as a table of Arrow."""
    import pyarrow  # slow to import

    frame = pd.DataFrame(rows, columns=list(pick_output.COLUMNS))
    columns: dict[str, Any] = {}
    for name in pick_output.COLUMNS:
        if name in _TEXTS:
            columns[name] = pyarrow.array(frame[name].tolist(), pyarrow.string())
        elif "time" in name:
            values = pd.to_datetime(frame[name], utc=True, format="ISO8601")
            columns[name] = pyarrow.array(values, pyarrow.timestamp("us", "UTC"))
        else:
            values = pd.to_numeric(frame[name].replace("", None))
            columns[name] = pyarrow.array(values, pyarrow.float64(), from_pandas=True)
    return pyarrow.table(columns)


def _parquet(path: Path) -> Any:
    import pyarrow.parquet

    return pyarrow.parquet.ParquetWriter(path, _arrow([]).schema)
