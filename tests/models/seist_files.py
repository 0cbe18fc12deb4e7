"""Small SeisT networks with random weights, and those that were published."""

import math
import os
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from seismollm_jax.models.output import Output
from seismollm_jax.models.seist.config import DropRates, SeisTConfig, StageConfig, StemConfig
from seismollm_jax.models.seist.model import SeisT
from seismollm_jax.models.seist.names import checkpoint_table
from seismollm_jax.models.state import Split, path, split
from seismollm_jax.models.weights import Extra, Rule, Shape

OUTPUTS = {
    "dpk": Output(per_sample=True, channels=3, activation="sigmoid"),
    "pmp": Output(per_sample=False, channels=2, activation="softmax"),
    "emg": Output(per_sample=False, channels=1, activation="sigmoid", scale=8.0),
    "baz": Output(per_sample=False, channels=1, activation="sigmoid", scale=360.0),
    "dis": Output(per_sample=False, channels=1, activation="sigmoid", scale=500.0),
}
# Every kind of block: with and without pooling, and convolutions beside attention; several heads;
# widths that the branches share unequally.
TINY = SeisTConfig(
    stages=(
        StageConfig(blocks=2, channels=12, head_width=4, attention_pooling=3),
        StageConfig(blocks=1, channels=4, head_width=4, pooling=1),
    ),
    kernels=(3, 5),
    mlp_ratio=2,
    drop=DropRates(0.5, 0.1, 0.1, 0.2, 0.1),
    stem=StemConfig(channels=(4, 8), kernels=(5, 3), strides=(2, 1), branches=2),
)


def parts(config: SeisTConfig, output: Output) -> Split:
    """The network's parts as shapes."""
    return split(nnx.eval_shape(lambda: SeisT(config, output, rngs=nnx.Rngs(0))), lambda path: True)


def shapes(found: Split) -> dict[Any, Shape]:
    """Shapes by path."""
    return {
        path(name): tuple(leaf.shape)
        for part in (found.params, found.stats)
        for name, leaf in part.items()
    }


def state_dict(config: SeisTConfig, output: Output, seed: int = 0) -> dict[str, np.ndarray]:
    """Random arrays under PyTorch's names, in PyTorch's order."""
    draw, known = np.random.default_rng(seed), shapes(parts(config, output))
    arrays: dict[str, np.ndarray] = {}
    for entry in checkpoint_table(config, output):
        if isinstance(entry, Extra):
            arrays[entry.key] = np.asarray(889, entry.dtype)
            continue
        shape = entry.shape(known[entry.path])
        scale = math.prod(shape[1:]) ** -0.5 if len(shape) > 1 else 0.3
        value = draw.normal(scale=scale, size=shape)
        if entry.path[-1] == "scale":
            value = np.exp(value) / 2  # else activations, which blocks double, grow and grow
        if entry.path[-1] == "var":
            value = np.exp(value)
        arrays[entry.key] = value.astype(np.float32)
    return arrays


def filled(config: SeisTConfig, output: Output, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """The network's arrays by our names."""
    return {
        "/".join(map(str, rule.path)): jnp.asarray(rule.convert(arrays[rule.key]))
        for rule in checkpoint_table(config, output)
        if isinstance(rule, Rule)
    }


def published(variable: str) -> Path:
    """The folder that an environment variable names; the test is skipped where it is not set."""
    folder = os.environ.get(variable)
    if not folder:
        pytest.skip(f"{variable} names no folder")
    return Path(folder)
