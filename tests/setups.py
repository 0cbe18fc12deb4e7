"""Experiments that many tests share: the real configurations, made as small as they go."""

import dataclasses
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from seismollm_jax import experiment as experiments
from seismollm_jax import tasks
from seismollm_jax.experiment import Experiment
from seismollm_jax.parallel import Layout, layout_over
from seismollm_jax.training.checkpoint import Checkpoints
from seismollm_jax.training.optim import make_optimizer

Arrays = dict[str, np.ndarray]

TASKS = tuple(tasks.TASKS)
TINY = {
    "data.window": 640,
    "data.builtin.traces": 64,
    "data.threads": 1,
    "backbone.layers": 1,
    "backbone.random.n_embd": 16,
    "backbone.random.n_head": 2,
    "backbone.random.n_layer": 2,
    "backbone.random.n_positions": 64,
    "embedder.channels": (2, 2, 2),
    "embedder.scales": 1,
    "head.channels": (2, 2, 2, 2),
    "train.batch_size": 16,
    "train.eval_batch_size": 8,
    "train.epochs": 1,
    "train.patience": 9,
    "train.log_every": 2,
    "train.pictures": 0,  # drawing takes longer than training
}


def config(
    task: str, folder: Path | str = "", changes: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The `smoke` configuration of a task on the built-in data in `folder`, smaller still."""
    found = importlib.import_module(f"configs.{task}").get_config("smoke")
    found.update_from_flattened_dict({"data.path": str(folder), **TINY, **(changes or {})})
    return found.to_dict()


def layout(devices: int, fsdp: int = 1) -> Layout:
    """A mesh over the first so many of the eight devices; with fsdp, every array is split."""
    return dataclasses.replace(layout_over(jax.devices()[:devices], fsdp), split_from=1)


def random_arrays(experiment: Experiment, seed: int = 0) -> tuple[Arrays, Arrays, Arrays]:
    """Parameters that learn, frozen ones and statistics of a network that answers all sorts.

    Made with NumPy, because compiling the real initialisation takes seconds.
    """
    draw = np.random.default_rng(seed)

    def value(name: str, shape: tuple[int, ...]) -> np.ndarray:
        noise = draw.standard_normal(shape)
        if name.endswith("scale"):
            noise = 1 + 0.1 * noise
        elif name.endswith("var"):
            noise = draw.uniform(0.2, 0.5, shape)
        elif name.endswith("kernel"):
            noise /= np.sqrt(np.prod(shape[:-1]))
        else:
            noise *= 0.1
        return noise.astype(np.float32)

    parts = experiment.abstract()
    params, frozen, stats = (
        {name: value(name, leaf.shape) for name, leaf in part.items()}
        for part in (parts.params, parts.frozen, parts.stats)
    )
    return params, frozen, stats


def save_random(
    workdir: Path, config: Mapping[str, Any], description: Mapping[str, Any] | None = None
) -> None:
    """A checkpoint of such a network, described as the training loop does."""
    experiment = experiments.make(config)
    mesh = layout(8)
    params, frozen, stats = mesh.replicate(random_arrays(experiment))
    optimizer = make_optimizer("adam", weight_decay=0.0, momentum=0.0)
    state = {
        "step": mesh.replicate(np.int32(1)),
        "params": params,
        "stats": stats,
        "opt": mesh.replicate(optimizer.init(params)),
    }
    description = {
        "task": config["task"],
        "config": config,
        "settings": experiment.settings,
        "contract": experiment.contract(),
        "progress": {"step": 1, "best_step": 1},
        **(description or {}),
    }
    checkpoints = Checkpoints(workdir, maximise=False)
    checkpoints.save(1, state, frozen, description, 0.5)
    checkpoints.close()
