"""Split files: which trace is in which part, to be read, shared and used again.

A split file is a table in CSV, packed with gzip or not, with the columns `trace_name` and `split`
(train, val or dev, test). Names decide, so it fits any copy of the dataset, whatever the order of
its rows, and a table of SeisBench or its benchmark (`trace_split`) can be used as it is. Lines in
front that begin with # say how it was made. A table rather than JSON, because a million traces can
then be looked at, sorted and joined with the tools that people have.
"""

from __future__ import annotations

import csv
import dataclasses
import gzip
import json
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

from seismollm_jax import atomic_files
from seismollm_jax.data import splits

NAME = "split.csv.gz"  # in a working directory
COLUMNS = ("split", "trace_split")  # of which the first that is there counts
TITLE = "Which trace is in which part. To split in the same way: data.split.by=file"


@dataclasses.dataclass(frozen=True)
class SplitFile:
    """A split as it was written.

    Attributes:
        path: of the file.
        names: part name ("train", "val", "test") -> names of its traces, in the file's order.
        about: what the lines in front say, empty without them.
        hash: `splits.hash_of_names` of what the file holds.
    """

    path: Path
    names: dict[str, np.ndarray]
    about: dict[str, Any]
    hash: str


def write(
    path: Path, parts: Mapping[str, np.ndarray], names: np.ndarray, about: Mapping[str, Any]
) -> None:
    """Writes a split; the file is complete or not there, and the same for the same split.

    Args:
        path: of the file, gzip-packed whatever its name.
        parts: part name -> row numbers; their order is kept.
        names: trace names by row number.
        about: lines in front, as JSON; the number of traces and the hash are added to them.
    """
    table = pd.DataFrame(
        {
            "trace_name": np.concatenate([names[rows] for rows in parts.values()]),
            "split": np.repeat(list(parts), [len(rows) for rows in parts.values()]),
        }
    )
    about = {
        **about,
        "traces": {part: len(rows) for part, rows in parts.items()},
        "hash": splits.split_hash(parts, names),
    }
    text = "".join(f"# {key}: {json.dumps(value)}\n" for key, value in about.items())
    text = f"# {TITLE}\n{text}" + table.to_csv(index=False, lineterminator="\n")
    # Level 6 is as small as 9 within a few per cent. Without a time in it the file is reproducible.
    atomic_files.write(path, gzip.compress(text.encode(), compresslevel=6, mtime=0))


def read(path: str | Path) -> SplitFile:
    """Reads a split file.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it is no such table, or damaged, or has been changed since it was written.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"the split file {path} does not exist; give one with --config.data.split.path=FILE "
            f"(train.py) or --split_file=FILE (eval.py): a training writes {NAME} into its workdir"
        )
    try:
        opener = _opener(path)
        with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
            about = _about(file)
        with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
            table = _table(file, path, skip=len(about))
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, pd.errors.ParserError) as error:
        raise ValueError(f"the split file {path} is damaged, or no CSV table: {error}") from error
    said = {key: value for line in about for key, value in _statement(line, path)}
    names = {
        part: table["trace_name"].to_numpy(object)[table["part"] == number]
        for number, part in enumerate(splits.PARTS)
    }
    found = SplitFile(path, names, said, splits.hash_of_names(names))
    if "hash" in said and said["hash"] != found.hash:
        raise ValueError(
            f"the split file {path} has been changed since it was written: its traces have the "
            f"hash {found.hash}, its line '# hash' says {said['hash']}; restore it, or remove that "
            "line if the change is meant"
        )
    return found


def rows_of(file: SplitFile, table: pd.DataFrame) -> tuple[dict[str, np.ndarray], int]:
    """The rows of a catalogue by the names in a file.

    Returns the row numbers of each part, in the file's order, and the number of names that the
    catalogue lacks. The file may lack rows of the catalogue likewise.
    """
    index = pd.Index(table["trace_name"].astype(object))
    rows = {part: index.get_indexer(names) for part, names in file.names.items()}
    lacking = sum(int(np.count_nonzero(found < 0)) for found in rows.values())
    return {part: found[found >= 0].astype(np.int64) for part, found in rows.items()}, lacking


def _opener(path: Path) -> Callable[..., IO[str]]:
    """What opens the file, packed or not; its name does not tell."""
    with path.open("rb") as file:
        return gzip.open if file.read(2) == b"\x1f\x8b" else open


def _about(file: IO[str]) -> list[str]:
    lines = []
    while (line := file.readline()).startswith("#"):
        lines.append(line)
    return lines


def _statement(line: str, path: Path) -> list[tuple[str, Any]]:
    """Key and value of a line in front, unless it is a remark."""
    key, colon, value = line.lstrip("# ").partition(": ")
    if not colon or not key.isidentifier():
        return []
    try:
        return [(key, json.loads(value))]
    except ValueError:
        if key == "hash":
            raise ValueError(f"the split file {path} has an unreadable line: {line!r}") from None
        return []


def _table(file: IO[str], path: Path, skip: int) -> pd.DataFrame:
    """Names and part numbers, each trace once, without those that are in no part."""
    for _ in range(skip):
        file.readline()
    header = next(csv.reader([file.readline()]), [])
    column = next((name for name in COLUMNS if name in header), None)
    if column is None or "trace_name" not in header:
        raise ValueError(
            f"the split file {path} needs the columns trace_name and {' or '.join(COLUMNS)}; "
            f"it has {', '.join(header) or 'none'}"
        )
    wanted = sorted([(header.index("trace_name"), "trace_name"), (header.index(column), "split")])
    table = pd.read_csv(
        file,
        header=None,
        usecols=[position for position, _ in wanted],
        names=[name for _, name in wanted],
        index_col=False,
        dtype=str,
        keep_default_na=False,
    )
    table = table[table["split"].str.strip() != ""]
    if table.empty:
        raise ValueError(f"the split file {path} puts no trace into any part")
    table = table.assign(part=splits.part_numbers(table["split"]))
    unknown = table[table["part"] < 0]
    if len(unknown):
        name, word = unknown.iloc[0][["trace_name", "split"]]
        raise ValueError(
            f"the split file {path} puts {name!r} into {word!r}, and {len(unknown)} traces in all "
            f"into parts that do not exist; use {', '.join(splits.PARTS)} or dev"
        )
    table = table[["trace_name", "part"]].drop_duplicates()  # SeisBench's targets repeat traces
    twice = table[table["trace_name"].duplicated()]
    if len(twice):
        raise ValueError(
            f"the split file {path} puts {twice['trace_name'].iloc[0]!r}, and {len(twice)} traces "
            "in all, into several parts; keep one line of each"
        )
    return table
