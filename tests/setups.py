"""Experiments that many tests share: the real configurations, made as small as they go."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from jax.sharding import AxisType

from seismollm_jax import tasks
from seismollm_jax.parallel import DATA, Layout

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
}


def config(
    task: str, folder: Path | str = "", changes: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The `smoke` configuration of a task on the built-in data in `folder`, smaller still."""
    found = importlib.import_module(f"configs.{task}").get_config("smoke")
    found.update_from_flattened_dict({"data.path": str(folder), **TINY, **(changes or {})})
    return found.to_dict()


def layout(devices: int) -> Layout:
    """A mesh over the first so many of the eight devices."""
    mesh = jax.make_mesh(
        (devices,), (DATA,), devices=jax.devices()[:devices], axis_types=(AxisType.Auto,)
    )
    return Layout(mesh)
