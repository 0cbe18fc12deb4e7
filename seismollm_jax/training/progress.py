"""How far a run has come, and which of its checkpoints is the best."""

import math
from collections.abc import Mapping
from typing import Any

from seismollm_jax.evaluation.evaluate import Evaluation
from seismollm_jax.tasks.base import Task


def none_yet() -> dict[str, Any]:
    """Of a run that begins."""
    return {"step": 0, "epoch": 0, "best": None, "best_step": None, "epochs_since_best": 0}


def after_epoch(
    progress: Mapping[str, Any], task: Task, outcome: Evaluation, step: int, epoch: int
) -> dict[str, Any]:
    """Progress after an epoch. A figure that is NaN is never an improvement."""
    value, best = outcome.scores()[task.monitor], progress["best"]
    better = math.isfinite(value) and (
        best is None or (value > best if task.maximise else value < best)
    )
    return {
        "step": step,
        "epoch": epoch,
        "best": value if better else best,
        "best_step": step if better else progress["best_step"],
        "epochs_since_best": 0 if better else progress["epochs_since_best"] + 1,
    }
