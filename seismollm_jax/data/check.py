"""The dataset doctor: all that can be seen to be wrong with a dataset before training on it.

No data are changed. The table is checked as a whole, waveforms as many as asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from seismollm_jax.data import (
    check_onsets,
    check_places,
    check_splits,
    check_table,
    check_waveforms,
)
from seismollm_jax.data.check_findings import ERROR, LEVELS, WARNING, Finding
from seismollm_jax.data.records import Dataset


def check(
    dataset: Dataset,
    needs: check_table.Needs,
    *,
    waveforms: int | None = None,
    split_by: str = "",
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> dict[str, Any]:
    """Check a dataset.

    Args:
        dataset: as a reader gives it.
        needs: tasks with the labels that they need.
        waveforms: how many traces to read, spread over the table; None for as many as take
            about a minute at most.
        split_by: a way of `splits.split`, or "column", to be looked at besides the dataset's own
            split; empty for none.
        progress: told how many traces out of how many have been read.

    Returns what docs/check.md describes, made of what JSON knows but for `findings`, which are
    instances of `Finding`, errors first.
    """
    table = dataset.table
    tasks = check_table.usable_by(table, needs)
    read = check_waveforms.read(dataset, waveforms, progress)
    onset_findings, onsets = check_onsets.onset_findings(dataset, read.measures)
    split_findings, split_figures = check_splits.split_findings(dataset, split_by)
    findings: list[Finding] = [
        *check_table.task_findings(tasks),
        *check_table.report_findings(dataset.report),
        *check_table.arrival_findings(table),
        *check_places.coordinate_findings(table),
        *check_places.geometry_findings(table),
        *check_places.time_findings(table),
        *check_table.magnitude_findings(dataset),
        *check_table.duplicate_findings(dataset),
        *check_table.event_findings(table),
        *check_waveforms.waveform_findings(dataset, read),
        *onset_findings,
        *split_findings,
    ]
    return {
        "contents": check_table.contents(dataset),
        "reader": dict(dataset.report.counts),
        "labels": check_table.labels(table),
        "magnitude_types": check_table.counted(table["magnitude_type"]),
        "tasks": tasks,
        "waveforms": check_waveforms.summary(dataset, read),
        "onsets": onsets,
        "splits": split_figures,
        "findings": sorted(findings, key=lambda finding: LEVELS.index(finding.level)),
    }


def found_problems(findings: list[Finding], strict: bool) -> bool:
    """Whether there is an error, or with `strict` an error or a warning."""
    return any(f.level == ERROR or (strict and f.level == WARNING) for f in findings)
