"""A tiny network, a first state and a batch for tests of the training step."""

import functools
from typing import Any

import jax
import numpy as np

from seismollm_jax import experiment as experiments
from seismollm_jax import parallel
from seismollm_jax.experiment import Experiment
from seismollm_jax.parallel import Layout
from seismollm_jax.training.optim import make_optimizer
from seismollm_jax.training.step import make_train_step
from tests import setups

ROWS, WINDOW, RATE = 16, 640, np.float32(1e-2)
LORA = {
    "backbone.tuning": "lora",
    "lora.rank": 2,
    "lora.targets": ("attn.c_attn", "mlp.c_fc"),
    "lora.dropout": 0.0,
}
ADAM = make_optimizer("adam", weight_decay=0.0, momentum=0.0)


@functools.cache
def experiment(task: str, *changes: tuple[str, Any]) -> Experiment:
    """With changes as pairs of field and value."""
    return experiments.make(setups.config(task, changes={**LORA, **dict(changes)}))


@functools.cache
def step_of(task: str, layout: Layout, *changes: tuple[str, Any]):
    return make_train_step(experiment(task, *changes), ADAM, layout)


@functools.cache
def start(task: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A first state and frozen parameters on the host."""
    params, frozen, stats = setups.random_arrays(experiment(task))
    state = {"step": np.int32(0), "params": params, "stats": stats, "opt": ADAM.init(params)}
    return jax.device_get(state), frozen


def fresh(task: str, layout: Layout) -> tuple[dict[str, Any], dict[str, Any]]:
    """Device copies, which a step may consume."""
    arrays = start(task)
    return jax.tree.map(parallel.place, arrays, layout.spread(arrays))


def batch(task: str, valid: np.ndarray | None = None, seed: int = 0) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    target = {
        "magnitude": {"magnitude": draw.uniform(0, 8, (ROWS, 1))},
        "picking": {
            "labels": draw.uniform(0, 1, (ROWS, WINDOW, 3)),
            "p_sample_labelled": np.ones(ROWS),
            "s_sample_labelled": np.ones(ROWS),
        },
    }[task]
    arrays = {"waveform": draw.normal(0, 1, (ROWS, WINDOW, 3)), **target}
    arrays["valid"] = np.ones(ROWS) if valid is None else valid
    arrays["readable"] = np.ones(ROWS)
    return {name: value.astype(np.float32) for name, value in arrays.items()}


def advance(
    task: str,
    layout: Layout,
    arrays: dict[str, np.ndarray],
    *changes: tuple[str, Any],
    state: dict[str, Any] | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """One step -> state and figures on the host. Begins with `state`, which stays."""
    first, frozen = fresh(task, layout)
    if state is not None:
        first = jax.tree.map(parallel.place, state, layout.spread(state))
    step = step_of(task, layout, *changes)
    return jax.device_get(step(first, frozen, layout.to_global(arrays), jax.random.key(3), RATE))
