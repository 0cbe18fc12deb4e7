"""Targets of the picking benchmark of Münchmeyer et al. (2022), and where a network looks for them.

The benchmark ("Which picker fits my data? A quantitative evaluation of deep learning based seismic
pickers", doi:10.1029/2021JB023499; github.com/seisbench/pick-benchmark) publishes a table for each
dataset and kind of task: task1.csv has windows of 30 s with or without an earthquake, task23.csv
windows of 10 s with exactly one arrival, whose phase and time are to be found. Sample numbers
count from the beginning of the trace at the sampling rate of their row.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from seismollm_jax.data.records import Dataset

COLUMNS = ("trace_name", "trace_split", "sampling_rate", "start_sample", "end_sample")
TASKS = {"task1": ("trace_type",), "task23": ("phase_label", "phase_onset")}
"""Kind of target -> columns that it has besides `COLUMNS`; also the names of files."""
WORDS = {"trace_type": ("earthquake", "noise"), "phase_label": ("P", "S")}


@dataclasses.dataclass(frozen=True)
class Look:
    """A window of the network on a trace, and the part of it that belongs to the target.

    Attributes:
        start: first sample, counted in the trace; what lies outside the trace is zero.
        first, end: the part, counted from `start`.
    """

    start: int
    first: int
    end: int


def read(path: str | Path, sets: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Targets by kind, those of the wanted sets.

    Args:
        path: a folder with task1.csv, task23.csv or both, or one such table under any name.
        sets: values of `trace_split`.

    Raises:
        FileNotFoundError: no table there.
        ValueError: a table without the columns, with cells that make no sense, or without a row of
            these sets.
    """
    path = Path(path)
    files = [path] if path.is_file() else [path / f"{kind}.csv" for kind in TASKS]
    if not (files := [file for file in files if file.is_file()]):
        raise FileNotFoundError(f"{path} holds no {' or '.join(f'{kind}.csv' for kind in TASKS)}")
    found = {}
    for file in files:
        table = pd.read_csv(file, dtype={"trace_name": str, "trace_split": str}, low_memory=False)
        kind, own = next(
            ((kind, own) for kind, own in TASKS.items() if set(own) <= set(table.columns)),
            ("", ()),
        )
        lacking = sorted(set(COLUMNS) - set(table.columns))
        if not kind or lacking:
            columns = [*lacking, *([] if kind else ["trace_type or phase_label and phase_onset"])]
            raise ValueError(f"{file} is no table of targets: it lacks {', '.join(columns)}")
        _check(file, table, own)
        wanted = table[table["trace_split"].isin(list(sets))].reset_index(drop=True)
        if wanted.empty:
            there = sorted(table["trace_split"].fillna("").unique())
            raise ValueError(
                f"{file} has no row of the sets {', '.join(sets)}; its trace_split holds "
                f"{', '.join(map(repr, there))}"
            )
        found[kind] = wanted
    return found


def _check(file: Path, table: pd.DataFrame, own: Sequence[str]) -> None:
    counted = ["sampling_rate", "start_sample", "end_sample"]
    counted += [column for column in own if column not in WORDS]
    numbers = table[counted].apply(pd.to_numeric, errors="coerce").astype(np.float64)
    bad = ~np.isfinite(numbers).all(axis=1) | table["trace_name"].isna()
    bad |= (numbers["sampling_rate"] <= 0) | (numbers["end_sample"] <= numbers["start_sample"])
    for column in set(own) & set(WORDS):
        bad |= ~table[column].isin(WORDS[column])
    if bad.any():
        row = int(bad.to_numpy().argmax())
        cells = table.loc[row, [*COLUMNS, *own]].to_dict()
        raise ValueError(f"{file}: row {row + 2} makes no target: {cells}")


def rows_of(targets: pd.DataFrame, dataset: Dataset) -> np.ndarray:
    """The row of the dataset that each target is of, -1 where it has none, int64.

    Targets know traces by their names in the waveform file. Where several files of a dataset have
    one name, `trace_idx` decides, if the row of that number has it.
    """
    table = dataset.table
    names = table["address"] if "address" in table else table["trace_name"]
    first = pd.Series(np.arange(len(names)), index=names.to_numpy())
    first = first[~names.duplicated(keep=False).to_numpy()]
    rows = first.reindex(targets["trace_name"]).fillna(-1).to_numpy(np.int64)
    if "trace_idx" in targets and len(first) < len(names):
        index = pd.to_numeric(targets["trace_idx"], errors="coerce").fillna(-1).to_numpy(np.int64)
        inside = (index >= 0) & (index < len(names))
        same = np.zeros(len(targets), bool)
        same[inside] = names.to_numpy()[index[inside]] == targets["trace_name"][inside].to_numpy()
        rows = np.where((rows < 0) & same, index, rows)
    return rows


def looks(start: int, end: int, window: int, samples: int) -> list[Look]:
    """The windows by which a network looks at the part [start, end) of a trace.

    A part that fits into a window is in the middle of it; where the trace ends, the window is
    shifted to stay inside, and only a trace shorter than a window is filled with zeros, at its
    end. This is how the benchmark gives context to networks with long windows. A longer part is
    covered by as few windows as possible, evenly spread.

    Args:
        start: first sample of the part.
        end: the one after its last.
        window: of the network, samples.
        samples: in the trace.

    Returns:
        None for a part that is not in the trace.
    """
    start, end = max(start, 0), min(end, samples)
    if start >= end:
        return []
    if end - start <= window:
        first = max(min(start - (window - (end - start)) // 2, samples - window), 0)
        return [Look(first, start - first, end - first)]
    count = math.ceil((end - start) / window)
    starts = np.linspace(start, end - window, count).round().astype(int)
    return [Look(int(first), 0, window) for first in starts]
