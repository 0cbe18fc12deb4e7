"""Splitting a catalogue into training, validation and test rows."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

PARTS = ("train", "val", "test")
WAYS = {
    "row": ("train", "val", "seed", "shuffle"),
    "event": ("train", "val", "seed", "shuffle"),
    "station": ("train", "val", "seed", "shuffle"),
    "time": ("train", "val"),
    "column": (),
    "file": ("path",),
}
"""Ways of splitting, and the settings of `data.split` that each looks at."""


def split(
    table_rows: np.ndarray,
    table: pd.DataFrame,
    by: str = "row",
    sizes: tuple[float, float] = (0.8, 0.1),
    seed: int = 0,
    shuffle: bool = True,
) -> dict[str, np.ndarray]:
    """Split row numbers of a catalogue into train, val and test.

    `table_rows` are row numbers in `table` (see `records.select`); `sizes` are the fractions for
    training and validation, the rest is the test part, which is empty if they add up to 1 and
    everything if both are 0.

    `by="row"` splits as the PyTorch original does, row by row, so that traces of one event and of
    one station are on all sides: its order is `numpy.random.RandomState(seed).permutation`, its
    sizes are truncated. `by="event"` and `by="station"` keep the traces of an event or a station
    together. The place of a group in the shuffled order depends on the seed and its name alone, not
    on which rows were selected, and each part ends with the group at which its size is nearest to
    the wanted one. A trace without an event, such as noise, is a group of its own. `by="time"` has
    the same groups as `by="event"`, the earliest for training and the latest for the test; seed and
    shuffle have no part in it. The time of an event is its origin time, or where none is known the
    start of its first trace. The parts of a table that brings its own are `by_column`'s.

    Returns row numbers in the order of the split. Raises ValueError for sizes or a way that do
    not exist, for traces without a time, and for a part that was wanted and comes out empty.
    """
    train, val = sizes
    if not (0 <= train <= 1 and 0 <= val <= 1 and train + val <= 1 + 1e-9):
        raise ValueError(f"split sizes are {train} and {val}; each, and their sum, must be 0 to 1")
    if by not in WAYS or "train" not in WAYS[by]:
        raise ValueError(f"split is by {by!r}; choose from {', '.join(WAYS)}")
    rows = np.asarray(table_rows, np.int64)
    n = len(rows)
    whole = math.isclose(train + val, 1)
    if by == "row":
        order = np.random.RandomState(seed).permutation(n) if shuffle else np.arange(n)
        first = int(train * n)
        second = n if whole else first + int(val * n)
    else:
        order, ends = _grouped_order(table.iloc[rows], by, seed, shuffle)
        first = _nearest(ends, train * n)
        second = n if whole else _nearest(ends, (train + val) * n)
    splits = dict(zip(PARTS, np.split(rows[order], [first, second]), strict=True))
    for part, wanted in zip(PARTS, (train, val, 0 if whole else 1 - train - val), strict=True):
        if wanted > 0 and len(splits[part]) == 0:
            raise ValueError(
                f"the split of {n} rows by {by} leaves {part} empty, although {wanted:.3g} of them "
                "were wanted; change the sizes, or split by row"
            )
    return splits


def by_column(table_rows: np.ndarray, table: pd.DataFrame) -> dict[str, np.ndarray]:
    """The parts that the column `split` of a catalogue names, in the order of its rows.

    Rows without a value that `part_numbers` knows are in no part, nor is any without the column.
    """
    rows = np.asarray(table_rows, np.int64)
    column = table.get("split")
    numbers = np.full(len(rows), -1) if column is None else part_numbers(column.iloc[rows])
    return {part: rows[numbers == number] for number, part in enumerate(PARTS)}


def part_numbers(values: pd.Series) -> np.ndarray:
    """Which of `PARTS` each text means, -1 for none; `dev` is SeisBench's word for val."""
    codes, words = pd.factorize(values)
    number = {word: index for index, word in enumerate(PARTS)} | {"dev": PARTS.index("val")}
    numbers = [number.get(str(word).strip().lower(), -1) for word in words]
    return np.array([*numbers, -1], np.int8)[codes]  # the code of a missing value is -1


def _grouped_order(
    chosen: pd.DataFrame, by: str, seed: int, shuffle: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Order of some rows with groups in one piece, and the ends of the groups in it, from 0 on."""
    groups, names = _stations(chosen) if by == "station" else _events(chosen)
    if by == "time":
        # Names decide between groups of the same time, whatever the order of the rows.
        places = np.lexsort((np.argsort(np.argsort(names)), _group_times(chosen, groups)))
    elif shuffle:
        digests = [hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8) for name in names]
        places = np.argsort([digest.digest() for digest in digests], kind="stable")
    else:
        places = np.argsort(np.unique(groups, return_index=True)[1])  # as they appear
    groups = np.argsort(places)[groups]
    order = np.argsort(groups, kind="stable")
    return order, np.concatenate([[0], np.cumsum(np.bincount(groups))])


def _stations(chosen: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Number of the station of each row, and names by number."""
    network = chosen["network"].astype(object).where(chosen["network"].notna(), "")
    station = chosen["station"].astype(object).where(chosen["station"].notna(), "")
    numbers, names = pd.factorize(network + "." + station)
    return numbers, names.to_numpy(object)


def _events(chosen: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Number of the event of each row, and names by number; a row without one is one by itself."""
    numbers, events = pd.factorize(chosen["event_id"])
    alone = np.flatnonzero(numbers < 0)
    numbers[alone] = len(events) + np.arange(len(alone))
    # A leading letter keeps a trace's name from being mistaken for an event's.
    traces = chosen["trace_name"].iloc[alone]
    return numbers, np.array([*(f"e{e}" for e in events), *(f"t{t}" for t in traces)], object)


def _group_times(chosen: pd.DataFrame, groups: np.ndarray) -> np.ndarray:
    """The earliest time of each group."""
    times = chosen["origin_time"].fillna(chosen["start_time"])
    earliest = pd.Series(times.to_numpy()).groupby(groups).min()
    unknown = earliest.isna().to_numpy()[groups]
    if unknown.any():
        raise ValueError(
            f"{np.count_nonzero(unknown)} of {len(chosen)} traces, the first of them "
            f"{chosen['trace_name'].iloc[np.argmax(unknown)]!r}, have neither an origin time nor "
            "a start time, so data.split.by=time cannot place them; fill in their times, or use "
            "data.split.by=event"
        )
    return earliest.to_numpy()


def _nearest(ends: np.ndarray, wanted: float) -> int:
    return int(ends[np.argmin(np.abs(ends - wanted))])


def shared_events(
    parts: Mapping[str, Sequence[int] | np.ndarray], table: pd.DataFrame
) -> tuple[int, int]:
    """How many events have traces in more than one part, and how many traces these events have.

    `parts` are row numbers in `table`; traces in none of them do not count.
    """
    codes, events = pd.factorize(table["event_id"])
    counts = np.zeros((len(parts), len(events)), np.int64)
    for index, rows in enumerate(parts.values()):
        found = codes[np.asarray(rows, np.int64)]
        counts[index] = np.bincount(found[found >= 0], minlength=len(events))
    shared = np.count_nonzero(counts, axis=0) > 1
    return int(np.count_nonzero(shared)), int(counts[:, shared].sum())


def how_made(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What of the `data.split` part of a configuration the split depends on."""
    return {name: settings[name] for name in ("by", *WAYS[settings["by"]])}


def split_hash(
    splits: Mapping[str, Sequence[int] | np.ndarray], names: Sequence[str] | np.ndarray
) -> str:
    """`hash_of_names` of a split in row numbers; `names` are the trace names by row number."""
    by_row = np.asarray(names, object)
    return hash_of_names({p: by_row[np.asarray(rows, np.int64)] for p, rows in splits.items()})


def hash_of_names(splits: Mapping[str, Iterable[str]]) -> str:
    """Short fingerprint of a split: 16 hexadecimal digits of a SHA-256.

    It tells which trace is in which part, whatever their order, so that results can be compared.
    """
    digest = hashlib.sha256()
    for part in sorted(splits):
        members = sorted(splits[part])
        # The number keeps a trace named like a part from being mistaken for its beginning, and no
        # name in an HDF5 file contains a zero byte.
        digest.update("\0".join([part, str(len(members)), *members, ""]).encode())
    return digest.hexdigest()[:16]
