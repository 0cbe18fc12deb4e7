"""Which other records a sample may borrow an event or noise from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd

from seismollm_jax.data import split_files, splits
from seismollm_jax.data.records import Dataset, Record
from seismollm_jax.data.sources import WaveformSource


class Source(Protocol):
    """Random access to records by position."""

    def __len__(self) -> int: ...

    def __getitem__(self, position: int) -> Record: ...


@dataclass(frozen=True)
class Donors:
    """Some records of a source: `positions` there, and their dataset `rows`, ascending.

    The order by row makes what is drawn depend on which records there are, not on where a split
    has put them.
    """

    source: Source
    positions: np.ndarray
    rows: np.ndarray

    @classmethod
    def of(cls, source: Source, rows: np.ndarray, chosen: np.ndarray) -> Donors:
        """The records of `source`, whose dataset rows are `rows`, where the mask `chosen` is set.

        Both arrays are as long as the source.
        """
        positions = np.flatnonzero(chosen)
        order = np.argsort(np.asarray(rows)[positions], kind="stable")
        return cls(source, positions[order], np.asarray(rows)[positions[order]])

    def __len__(self) -> int:
        return len(self.rows)

    def draw(self, rng: np.random.Generator, host_row: int) -> int | None:
        """Index in `positions` and `rows` of any record but that of `host_row`; None without."""
        at = int(np.searchsorted(self.rows, host_row))
        is_host = at < len(self.rows) and int(self.rows[at]) == host_row
        others = len(self.rows) - is_host
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
        events = Donors.of(train, train.rows, paired.to_numpy())
    if rates["enabled"] and rates["real_noise_rate"] > 0:
        source = WaveformSource(dataset, noise_rows(dataset.table, split, how))
        noise = Donors.of(source, source.rows, np.ones(len(source), bool))
    return {"events": events, "noise": noise}


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
