"""What decides the results of an archive, for the folder that takes them."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seismollm_jax.inference import options, pick_output
from seismollm_jax.inference.detections import detects
from seismollm_jax.inference.events.predictor import EventPredictor
from seismollm_jax.inference.predictor import Predictor


def describe(
    predictor: Predictor | EventPredictor,
    chosen: Mapping[str, Any],
    inventory: Path | None,
    channels: Sequence[str],
) -> dict[str, Any]:
    """All that decides the results besides the records; the size of batches does not.

    Args:
        predictor: the networks.
        chosen: options of `classify`.
        inventory: file with station metadata.
        channels: patterns of those that are wanted.
    """
    if isinstance(predictor, EventPredictor):
        answers = {
            name: {
                "checksum": other.network.checksum,
                "contract": other.experiment.contract(),
            }
            for name, other in predictor.answers.items()
        }
        rules = {"p_position": predictor.p_position, "longest_sp_s": predictor.longest_sp_s}
        picks = describe(predictor.picking, chosen, inventory, channels)
        return picks | {"answers": answers, "events": rules}
    used = options.parse(chosen, predictor.window, predictor.sampling_rate_hz)
    made = dataclasses.asdict(dataclasses.replace(used, inventory=None))
    del made["batch_size"]
    context, task = predictor.experiment.context, predictor.experiment.task
    if detects(task) and made["detection_threshold"] is None:
        made["detection_threshold"] = context.options.detection_threshold
    return {
        "checkpoint": {
            "task": task.name,
            "checksum": predictor.network.checksum,
        },
        "thresholds": {
            name: value
            for name, value in predictor.thresholds.items()
            if not name.endswith("_from")
        },
        "min_peak_distance_s": context.options.min_peak_distance_s,
        "window": predictor.window,
        "sampling_rate_hz": predictor.sampling_rate_hz,
        "normalisation": predictor.experiment.sample_options.normalisation,
        "options": made,
        "inventory": None
        if inventory is None
        else hashlib.sha256(inventory.read_bytes()).hexdigest(),
        "channels": list(channels),
        "columns": list(pick_output.COLUMNS),
    }
