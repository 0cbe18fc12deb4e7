"""What ways of splitting a catalogue put on several sides."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from seismollm_jax.data import catalogue, splits
from seismollm_jax.data.check_findings import NOTE, WARNING, Finding
from seismollm_jax.data.check_table import station_names
from seismollm_jax.data.records import Dataset

# Beside `by`; sizes as in the protocols.
HOW = {"train": 0.8, "val": 0.1, "seed": 0, "shuffle": True, "path": ""}
WAYS = ("event", "station", "row", "time", "column")


def split_findings(dataset: Dataset, by: str = "") -> tuple[list[Finding], dict[str, Any]]:
    """Look at the dataset's own split, if there is one, and at the one asked for.

    That is made as a training makes it, so members of a mixture are split in the ways of their own.
    Returns what is wrong, and way -> sizes of the parts and what they share.
    """
    table, rows = dataset.table, np.arange(len(dataset.table))
    found: list[Finding] = []
    figures: dict[str, Any] = {}
    ways: dict[str, dict[str, np.ndarray]] = {}
    own = splits.by_column(rows, table)
    if any(map(len, own.values())):
        ways["column"] = own
    elif by == "column" and not dataset.members:
        text = "the dataset says of no trace which part it is in"
        remedy = "Split by event instead."
        return [Finding(WARNING, "no_split_column", len(rows), "traces", text, remedy)], figures
    if by:
        try:
            ways[by] = catalogue.split_groups(dataset, rows, {**HOW, "by": by})[0]
        except (ValueError, OSError) as error:  # a member's split file may be lost
            remedy = "Take another way, or complete the table."
            found.append(Finding(WARNING, "split_impossible", 1, "splits", str(error), remedy))
    for way, parts in ways.items():
        findings, figures[way] = _look(table, way, parts)
        found += findings
    return found, figures


def _look(
    table: pd.DataFrame, by: str, parts: dict[str, np.ndarray]
) -> tuple[list[Finding], dict[str, Any]]:
    events, traces = splits.shared_events(parts, table)
    stations = _shared(pd.factorize(station_names(table))[0], parts)
    placed = sum(map(len, parts.values()))
    figures = {
        "traces": {part: len(rows) for part, rows in parts.items()},
        "in_no_part": len(table) - placed,
        "shared_events": events,
        "traces_of_shared_events": traces,
        "shared_stations": stations,
    }
    called = "the dataset's own split" if by == "column" else f"a split by {by}"
    found = []
    if events:
        text = f"in {called}, events are in more than one part, with {traces} traces"
        remedy = "Scores come out better than on events never seen; split by event."
        found.append(Finding(WARNING, "shared_events", events, "events", text, remedy))
    if stations:
        text = f"in {called}, stations are in more than one part"
        remedy = "To be tested on stations never seen, split by station."
        found.append(Finding(NOTE, "shared_stations", stations, "stations", text, remedy))
    if placed < len(table):
        text = f"in {called}, traces are in no part, and are not used with data.split.by={by}"
        remedy = "Fill in the column, or split in another way."
        found.append(Finding(NOTE, "in_no_part", len(table) - placed, "traces", text, remedy))
    return found, figures


def _shared(codes: np.ndarray, parts: dict[str, np.ndarray]) -> int:
    """How many groups, numbered from 0 with -1 for none, are in more than one part."""
    n = int(codes.max(initial=-1)) + 1
    sides = np.zeros(n, np.int64)
    for rows in parts.values():
        here = codes[rows]
        sides[np.unique(here[here >= 0])] += 1
    return int(np.count_nonzero(sides > 1))
