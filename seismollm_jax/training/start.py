"""How a training run begins: its first weights, its checks and its first lines."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from seismollm_jax import parallel
from seismollm_jax.data import catalogue
from seismollm_jax.experiment import Experiment
from seismollm_jax.models.state import key as name_of
from seismollm_jax.training.checkpoint import CheckpointError, load


def first_weights(
    experiment: Experiment,
    state: dict[str, Any],
    frozen: dict[str, Any],
    layout: parallel.Layout,
) -> dict[str, Any]:
    """Lays the weights a new run starts from over the random ones; says where they come from.

    Raises:
        CheckpointError: `start_from` is another network than the configured one, or was trained
            on other input.
    """
    config = experiment.config
    trees = (state["params"], frozen, state["stats"])
    if config["start_from"]:
        stored = load(config["start_from"])
        arrays = {
            name: np.asarray(leaf)
            for part in (stored.params, stored.frozen, stored.stats)
            for name, leaf in part.items()
        }
        shapes = {name: leaf.shape for tree in trees for name, leaf in tree.items()}
        if shapes != {name: leaf.shape for name, leaf in arrays.items()}:
            raise CheckpointError(
                f"start_from={config['start_from']}: the network there ({stored.path}) has other "
                "arrays or sizes than this configuration asks for; use the task, backbone.*, "
                "embedder.*, head.* and lora.* of its config.json"
            )
        theirs, ours = stored.description["contract"], experiment.contract()
        for name in ("sampling_rate_hz", "component_order", "normalisation", "labels"):
            if theirs[name] != ours[name]:
                raise CheckpointError(
                    f"start_from={config['start_from']} was trained with {name} {theirs[name]!r}; "
                    f"this configuration has {ours[name]!r}: make them equal"
                )
        source = {"source": f"checkpoint {stored.path}", "sha256": None}
    else:
        weights = experiment.family.read_pretrained(config, experiment.settings)
        arrays = {name_of(path): value for path, value in weights.arrays.items()}
        source = {"source": weights.source, "sha256": weights.sha256}
    for tree in trees:
        for name in tree.keys() & arrays.keys():
            tree[name] = layout.replicate(arrays[name])
    return source


def check_split(description: Mapping[str, Any], split_hash: str) -> None:
    """Refuses to continue a run on other data.

    Raises:
        ValueError: the split is not the one that the run began with.
    """
    if description["split_hash"] != split_hash:
        raise ValueError(
            f"the data are split otherwise (hash {split_hash}) than when this run began "
            f"({description['split_hash']}): restore data.path and data.split.*, or use a fresh "
            "--workdir"
        )


def summary(
    experiment: Experiment,
    state: Mapping[str, Any],
    frozen: Mapping[str, Any],
    pretrained: Mapping[str, Any],
    dataset: Any,
    parts: catalogue.Parts,
    layout: parallel.Layout,
) -> list[str]:
    """The first lines of a run."""
    trainable = sum(leaf.size for leaf in state["params"].values())
    total = trainable + sum(leaf.size for leaf in frozen.values())
    rows = ", ".join(f"{name} {len(part)}" for name, part in parts.rows.items())
    lines = [
        f"task {experiment.task.name} ({experiment.task.short_name}), model "
        f"{experiment.family.name}: {total:,} parameters, {trainable:,} learn",
        f"weights: {pretrained['source']}",
        f"devices: {layout.devices} x {jax.devices()[0].device_kind}, "
        f"{jax.process_count()} process(es)",
        f"data: {dataset.path}, {len(dataset.table)} traces; {rows} (split by "
        f"{experiment.config['data']['split']['by']}, hash {parts.hash})",
    ]
    lines += [f"  left out: {count} with {reason}" for reason, count in parts.left_out.items()]
    return lines + [f"  {line}" for line in str(dataset.report).splitlines()]
