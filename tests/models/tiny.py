"""The tiny networks behind the golden files, filled with their recorded weights."""

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from seismollm_jax import tasks
from seismollm_jax.models.seismollm.gpt2 import GPT2Config
from seismollm_jax.models.seismollm.model import EmbedderConfig, SeisMoLLM, SeisMoLLMConfig
from seismollm_jax.models.seismollm.names import (
    GPT2_PREFIX,
    checkpoint_rules,
    is_checkpoint_extra,
)
from seismollm_jax.models.state import Split, key, merge, split
from seismollm_jax.models.weights import read
from tests import golden_files

TASKS = tuple(tasks.TASKS)
CONFIG = SeisMoLLMConfig(
    gpt2=GPT2Config(n_embd=64, n_head=4, n_layer=4, n_positions=256),
    layers=3,
    patch_size=8,
    embedder=EmbedderConfig(channels=(8, 12, 16)),
    head_channels=(20, 24, 28, 32),
)


@functools.cache
def golden(task: str) -> dict[str, np.ndarray]:
    return golden_files.load(f"model/{task}.npz")


def state_dict(task: str) -> dict[str, np.ndarray]:
    """The recorded checkpoint under its PyTorch keys."""
    base = golden_files.load("model/gpt2_base.npz")
    tail = base.pop("wpe_tail")
    arrays = base | {
        name.removeprefix("weights/"): value
        for name, value in golden(task).items()
        if name.startswith("weights/")
    }
    # Positions behind the 16 tokens of training never moved; all tasks share them.
    wpe = f"{GPT2_PREFIX}wpe.weight"
    arrays[wpe] = np.concatenate([arrays[wpe], tail])
    return arrays


@functools.cache
def shapes(config: SeisMoLLMConfig, task: str) -> Split:
    """The network's parts as shapes."""
    output = tasks.get(task).output
    return split(nnx.eval_shape(lambda: SeisMoLLM(config, output, rngs=nnx.Rngs(0))), bool)


def fill(config: SeisMoLLMConfig, task: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """PyTorch arrays -> flat parameters and statistics; every one of them used."""
    parts = shapes(config, task)
    flat = {**parts.params, **parts.frozen, **parts.stats}
    rules = list(checkpoint_rules(config, tasks.get(task).output))
    assert {key(rule.path) for rule in rules} == set(flat)
    wanted = {rule.path: flat[key(rule.path)].shape for rule in rules}
    values = read(rules, arrays, wanted, source=task, ignore=is_checkpoint_extra)
    return {key(path): jnp.asarray(value) for path, value in values.items()}


@functools.cache
def arrays(task: str) -> dict[str, Any]:
    """The recorded weights of the tiny network of a task, flat; not to be changed."""
    return fill(CONFIG, task, state_dict(task))


def model(task: str) -> Any:
    """The tiny network of a task with its recorded weights."""
    return merge(shapes(CONFIG, task).graphdef, arrays(task))
