"""Which other records a sample may borrow an event or noise from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd

from seismollm_jax.data import mixture, split_files, splits
from seismollm_jax.data.records import Dataset, Record
from seismollm_jax.data.sources import WaveformSource


class Source(Protocol):
    """Random access to records by position."""

    def __len__(self) -> int: ...

    def __getitem__(self, position: int) -> Record: ...


@dataclass(frozen=True)
class Donors:
    """Some records of a source: `positions` there, their dataset `rows`, their `keys`, ascending.

    The order by key makes what is drawn depend on which records there are, not on where a table or
    a split has put them.
    """

    source: Source
    positions: np.ndarray
    rows: np.ndarray
    keys: np.ndarray

    @classmethod
    def of(cls, source: Source, rows: np.ndarray, keys: np.ndarray, chosen: np.ndarray) -> Donors:
        """The records of `source` where the mask `chosen` is set.

        `rows` and `keys` are those of its records; all arrays are as long as the source.
        """
        rows, keys = np.asarray(rows), np.asarray(keys)
        positions = np.flatnonzero(chosen)
        positions = positions[np.argsort(keys[positions], kind="stable")]
        return cls(source, positions, rows[positions], keys[positions])

    def __len__(self) -> int:
        return len(self.rows)

    def draw(self, rng: np.random.Generator, host: int) -> int | None:
        """Index in the arrays of any record but that with the key `host`; None without one."""
        at = int(np.searchsorted(self.keys, np.array(host, self.keys.dtype)))
        is_host = at < len(self.keys) and int(self.keys[at]) == host
        others = len(self.keys) - is_host
        if not others:
            return None
        index = int(rng.integers(0, others))
        return index + 1 if is_host and index >= at else index


def find(
    dataset: Dataset,
    train: WaveformSource,
    split: Mapping[str, np.ndarray],
    how: Mapping[str, Any],
    rates: Mapping[str, Any],
) -> dict[str, Donors | None]:
    """The donors that a training needs: `events` and `noise`, None where nothing asks for them.

    `train` has the training's records, `split` the dataset rows of each part, `how` and `rates` are
    the parts `data.split` and `augment` of a configuration. Events come from the training's
    records with a P before an S.
    """
    events = noise = None
    if rates["enabled"] and rates["superpose_rate"] > 0:
        table = dataset.table.iloc[train.rows]
        paired = (table["p_sample"] < table["s_sample"]) & (table["category"] != "noise")
        events = Donors.of(train, train.rows, train.keys, paired.to_numpy())
    if rates["enabled"] and rates["real_noise_rate"] > 0:
        groups = mixture.groups(dataset, how)
        free = [_noise_rows_of(group, split) for group in groups]
        source = WaveformSource(dataset, np.sort(np.concatenate(free)))
        noise = Donors.of(source, source.rows, source.keys, np.ones(len(source), bool))
    return {"events": events, "noise": noise}


def _noise_rows_of(group: mixture.Group, split: Mapping[str, np.ndarray]) -> np.ndarray:
    """Noise rows of a group that training may borrow, as rows of the whole."""
    inside = {name: part[np.isin(part, group.rows)] - group.offset for name, part in split.items()}
    found = noise_rows(group.dataset.table, inside, group.how) + group.offset
    return found[np.isin(found, group.rows)]


def noise_rows(
    table: pd.DataFrame, split: Mapping[str, np.ndarray], how: Mapping[str, Any]
) -> np.ndarray:
    """Noise rows that training may borrow, ascending: nothing of validation or test is in them.

    Left out are the noise rows that a split puts there, whether or not the task has noise among its
    samples; in a split by station those of the stations there; in a split by time those later than
    the last training trace, or without a time.
    """
    free = (table["category"] == "noise").to_numpy(copy=True)
    held_out = np.concatenate([split["val"], split["test"]])
    if how["by"] == "file":
        named, _ = split_files.rows_of(split_files.read(how["path"]), table)
        held_out = np.concatenate([held_out, named["val"], named["test"]])
    elif how["by"] == "column":
        free &= np.isin(splits.part_numbers(table["split"]), (-1, splits.PARTS.index("train")))
    elif how["by"] == "station":
        stations = pd.MultiIndex.from_frame(table[["network", "station"]].astype(object))
        free &= ~stations.isin(stations[held_out].unique())
    elif how["by"] == "time":
        times = table["start_time"]
        free &= (times <= times.iloc[split["train"]].max()).to_numpy()
    free[held_out] = False
    return np.flatnonzero(free)
