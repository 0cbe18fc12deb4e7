"""metrics.json: scores with intervals, curves, breakdown, and what was evaluated."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seismollm_jax import atomic_files
from seismollm_jax.data import catalogue, splits
from seismollm_jax.data.records import Dataset
from seismollm_jax.data.sources import WaveformSource
from seismollm_jax.evaluation import breakdown, curves, intervals
from seismollm_jax.evaluation.evaluate import Evaluation
from seismollm_jax.metrics import bootstrap
from seismollm_jax.training import saved
from seismollm_jax.training.provenance import provenance

NAME = "metrics.json"


def make(outcome: Evaluation, dataset: Dataset, source: WaveformSource) -> dict[str, Any]:
    """Everything that the outcome itself says.

    Args:
        outcome: at the thresholds to judge.
        dataset: that was evaluated.
        source: of its waveforms; says why some could not be read.
    """
    resampling = intervals.of_events(outcome, dataset.table)
    drawn = curves.draw_up(outcome, dataset.table, resampling)
    found = {
        "scores": as_json({**outcome.scores(), **drawn.scores}),
        "intervals": {**intervals.intervals(outcome, resampling), **drawn.intervals},
        "bootstrap": {
            "level": bootstrap.LEVEL,
            "resamples": resampling.resamples,
            "seed": resampling.seed,
            "events": resampling.events,
        },
        "records": outcome.records,
        "curves": drawn.curves,
        "breakdown": breakdown.break_down(outcome, dataset.table, resampling),
        "unreadable": source.why_unreadable(outcome.unread),
    }
    if dataset.members:
        found["sources"] = _scores_by_source(outcome, dataset)
    return found


def origin(
    stored: saved.Stored,
    dataset: Dataset,
    parts: catalogue.Parts,
    how: Mapping[str, Any],
    part: str,
    exposed: str,
) -> dict[str, Any]:
    """What was evaluated, and with what.

    Args:
        stored: the checkpoint.
        dataset: that was evaluated.
        parts: its split.
        how: the `data.split` part of the configuration.
        part: which one it was.
        exposed: see `exposure.exposure`.
    """
    return {
        "split": part,
        "split_by": None if part == "all" else splits.how_made(how),
        "split_hash": parts.hash,
        "left_out": dict(parts.left_out),
        "training_traces": exposed,
        "data": str(dataset.path),
        "checkpoint": str(stored.path),
        "step": stored.description["progress"]["step"],
        "network_sha256": stored.sha256(),
        "task": stored.description["task"],
        "provenance": provenance(),
    }


def write(found: Mapping[str, Any], folder: Path) -> None:
    """Writes the file, whole or not at all."""
    atomic_files.write(folder / NAME, (json.dumps(found, indent=1) + "\n").encode())


def lines(found: Mapping[str, Any]) -> list[str]:
    """Scores with their intervals for the console."""
    shown = []
    for name, value in found["scores"].items():
        low, high = found["intervals"].get(name, (None, None))
        spread = "" if low is None or high is None else f"  {low:.4g} to {high:.4g}"
        shown.append(f"{name:<30} {math.nan if value is None else value:<12.5g}{spread}".rstrip())
    if found["unreadable"]:
        shown.append(f"{len(found['unreadable'])} traces could not be read; {NAME} says why")
    return shown


def as_json(scores: Mapping[str, float]) -> dict[str, float | None]:
    """JSON has no NaN; a score that does not exist is null."""
    return {k: v if math.isfinite(v) else None for k, v in scores.items()}


def _scores_by_source(outcome: Evaluation, dataset: Dataset) -> dict[str, Any]:
    """Scores of each member of a mixture that has a record here."""
    sources = dataset.table["source"].to_numpy(object)[outcome.rows]
    return {
        member.name: as_json(outcome.scores_of(sources == member.name))
        for member in dataset.members
        if (sources == member.name).any()
    }
