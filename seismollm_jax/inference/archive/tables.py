"""Tables of station-days put together, as CSV and as Parquet."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from seismollm_jax import atomic_files
from seismollm_jax.inference import detections, pick_output
from seismollm_jax.inference.events import table as event_table

TIME, TEXT, NUMBER = "time", "text", "number"


@dataclass(frozen=True)
class Table:
    """A kind of table, of which every station-day has one.

    Attributes:
        name: of the file with everything together, without its suffix, and of the folder with
            those of the station-days.
        columns: names, and what is in them: time, text or number.
        order: columns to sort by, within a day.
    """

    name: str
    columns: Mapping[str, str]
    order: tuple[str, ...]


PICKS = Table(
    "picks",
    {
        name: TEXT
        if name in ("trace_id", "phase", "channel")
        else TIME
        if "time" in name
        else NUMBER
        for name in pick_output.COLUMNS
    },
    ("time", "trace_id", "phase"),
)
EVENTS = Table(
    "events",
    {name: kind if kind in (TIME, TEXT) else NUMBER for name, kind in event_table.COLUMNS.items()},
    ("p_time", "trace_id"),
)
DETECTIONS = Table(
    "detections",
    dict(zip(detections.COLUMNS, (TEXT, TIME, TIME, NUMBER), strict=True)),
    ("start_time", "trace_id"),
)


def collect(
    table: Table,
    folder: Path,
    days: Iterable[Sequence[Path]],
    *,
    parquet: bool = False,
    look: Callable[[Mapping[str, str]], None] | None = None,
) -> int:
    """Write `NAME.csv`, and `NAME.parquet` if asked for; returns the number of rows.

    Args:
        table: which kind.
        folder: for the files.
        days: for each day, in order, the tables of its stations. In memory is one day.
        parquet: write this too.
        look: called with each row.
    """
    names, count = list(table.columns), 0
    places = [names.index(name) for name in table.order]
    with ExitStack() as stack:
        whole = stack.enter_context(atomic_files.whole(folder / f"{table.name}.csv"))
        file = stack.enter_context(whole.open("w", encoding="utf-8"))
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        binary = None
        if parquet:
            target = stack.enter_context(atomic_files.whole(folder / f"{table.name}.parquet"))
            binary = stack.enter_context(_parquet(target, table))
        for paths in days:
            rows = [row for path in paths for row in _rows(path)]
            rows.sort(key=lambda row: [row[place] for place in places])
            writer.writerows(rows)
            count += len(rows)
            if binary is not None:
                binary.write_table(_arrow(rows, table))
            if look is not None:
                for row in rows:
                    look(dict(zip(names, row, strict=True)))
    return count


def _rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))[1:]


def _arrow(rows: list[list[str]], table: Table) -> Any:
    """Rows of texts as a table of Arrow."""
    import pyarrow  # slow to import

    frame = pd.DataFrame(rows, columns=list(table.columns))
    columns: dict[str, Any] = {}
    for name, kind in table.columns.items():
        if kind == TEXT:
            columns[name] = pyarrow.array(frame[name].tolist(), pyarrow.string())
        elif kind == TIME:
            values = pd.to_datetime(frame[name].replace("", None), utc=True, format="ISO8601")
            columns[name] = pyarrow.array(values, pyarrow.timestamp("us", "UTC"), from_pandas=True)
        else:
            values = pd.to_numeric(frame[name].replace("", None))
            columns[name] = pyarrow.array(values, pyarrow.float64(), from_pandas=True)
    return pyarrow.table(columns)


def _parquet(path: Path, table: Table) -> Any:
    import pyarrow.parquet

    return pyarrow.parquet.ParquetWriter(path, _arrow([], table).schema)
