"""Splitting a catalogue into training, validation and test rows."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

PARTS = ("train", "val", "test")
GROUPINGS = ("row", "event", "station")


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
    training and validation, the rest is the test part, which is empty if they add up to 1.

    `by="row"` splits as the PyTorch original does, row by row, so that traces of one event and of
    one station are on all sides: its order is `numpy.random.RandomState(seed).permutation`, its
    sizes are truncated. `by="event"` and `by="station"` keep the traces of an event or a station
    together. The place of a group in the shuffled order depends on the seed and its name alone, not
    on which rows were selected, and each part ends with the group at which its size is nearest to
    the wanted one. A trace without an event, such as noise, is a group of its own.

    Returns row numbers in the order of the split. Raises ValueError for sizes or a grouping that do
    not exist, and for a part that was wanted and comes out empty.
    """
    train, val = sizes
    if not (0 <= train <= 1 and 0 <= val <= 1 and train + val <= 1 + 1e-9):
        raise ValueError(f"split sizes are {train} and {val}; each, and their sum, must be 0 to 1")
    if by not in GROUPINGS:
        raise ValueError(f"split is by {by!r}; choose from {', '.join(GROUPINGS)}")
    rows = np.asarray(table_rows, np.int64)
    n = len(rows)
    whole = math.isclose(train + val, 1)
    if by == "row":
        order = np.random.RandomState(seed).permutation(n) if shuffle else np.arange(n)
        first = int(train * n)
        second = n if whole else first + int(val * n)
    else:
        order, ends = _grouped_order(rows, table, by, seed, shuffle)
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


def _grouped_order(
    rows: np.ndarray, table: pd.DataFrame, by: str, seed: int, shuffle: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Order of `rows` with groups in one piece, and the ends of the groups in it, from 0 on."""
    chosen = table.iloc[rows]
    if by == "event":
        # A leading letter keeps a trace's name from being mistaken for an event's.
        events = "e" + chosen["event_id"].astype(object)
        keys = events.where(chosen["event_id"].notna(), "t" + chosen["trace_name"].astype(object))
    else:
        network = chosen["network"].astype(object).where(chosen["network"].notna(), "")
        station = chosen["station"].astype(object).where(chosen["station"].notna(), "")
        keys = network + "." + station
    groups, names = pd.factorize(keys)
    if shuffle:
        digests = [hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8) for name in names]
        rank = np.argsort(np.argsort([d.digest() for d in digests], kind="stable"))
        groups = rank[groups]
    order = np.argsort(groups, kind="stable")
    return order, np.concatenate([[0], np.cumsum(np.bincount(groups))])


def _nearest(ends: np.ndarray, wanted: float) -> int:
    return int(ends[np.argmin(np.abs(ends - wanted))])


def split_hash(
    splits: Mapping[str, Sequence[int] | np.ndarray], names: Sequence[str] | np.ndarray
) -> str:
    """Short fingerprint of a split: 16 hexadecimal digits of a SHA-256.

    It tells which trace is in which part, whatever their order, so that results can be compared.
    `names` are the trace names by row number.
    """
    by_row = np.asarray(names, object)
    digest = hashlib.sha256()
    for part in sorted(splits):
        members = sorted(by_row[np.asarray(splits[part], np.int64)])
        digest.update("\n".join([f"[{part}]", *members, ""]).encode())
    return digest.hexdigest()[:16]
