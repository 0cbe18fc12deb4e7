"""SeisT's inference graph computes what the network computes."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seismollm_jax import models
from seismollm_jax.models import inference
from seismollm_jax.models.seist import inference_fold
from seismollm_jax.models.seist.config import SeisTConfig, StageConfig, StemConfig
from seismollm_jax.models.state import merge
from tests.golden_files import relative_difference
from tests.models.seist_files import OUTPUTS, TINY, filled, parts, state_dict

FLOAT32 = 5e-6  # relative; the network itself is that far from its value in float64
# Branches of the stem that cannot be one convolution, attention on all channels, and none.
OTHER = dataclasses.replace(
    TINY,
    stages=(
        StageConfig(blocks=2, channels=4, head_width=4, attention_pooling=2, pooling=3),
        StageConfig(blocks=1, channels=8, head_width=4, transformers=0),
    ),
    kernels=(3,),
    stem=StemConfig(channels=(4,), kernels=(5,), strides=(2,), branches=2, kernel_step=3),
)


def arrays_of(config: SeisTConfig, task: str) -> dict[str, Any]:
    """Random arrays, in the stem with channels that are nearly dead, as published ones are."""
    arrays = filled(config, OUTPUTS[task], state_dict(config, OUTPUTS[task]))
    for name in [name for name in arrays if name.startswith("stem") and name.endswith("norm/var")]:
        part = name.removesuffix("norm/var")
        ahead = f"{part}{'pointwise' if 'branches' in name else 'out_proj'}/kernel"
        arrays[name] = arrays[name].at[0].set(7e-12)
        arrays[ahead] = arrays[ahead].at[..., 0].multiply(1e-3)
        arrays[f"{part}norm/mean"] = arrays[f"{part}norm/mean"].at[0].set(1e-3)
    return arrays


def windows(length: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(length).normal(size=(2, length, 3)), jnp.float32)


@functools.cache
def plain(config: SeisTConfig, task: str, length: int) -> np.ndarray:
    graphdef = parts(config, OUTPUTS[task]).graphdef
    run = jax.jit(lambda arrays, x: merge(graphdef, arrays)(x))  # type: ignore[operator]
    return np.asarray(run(arrays_of(config, task), windows(length)))


def graph(
    config: SeisTConfig, task: str, length: int, channels: tuple[int, ...] | None = None
) -> np.ndarray:
    family, settings = models.get("seist_s"), dataclasses.asdict(config)
    made = inference.make(family, settings, OUTPUTS[task], arrays_of(config, task))
    run = jax.jit(functools.partial(made.function, channels=channels))
    return np.asarray(run(made.arrays, windows(length)))


@pytest.mark.parametrize(
    ("config", "task", "length"),
    [
        (TINY, "dpk", 101),  # windows of pooling that are not full
        (TINY, "pmp", 101),
        (OTHER, "dpk", 99),
    ],
)
def test_same_output_as_the_network(config: SeisTConfig, task: str, length: int) -> None:
    found, expected = graph(config, task, length), plain(config, task, length)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    assert np.ptp(expected) > 0.05
    assert relative_difference(found, expected) < FLOAT32


@pytest.mark.parametrize(("task", "channels"), [("dpk", (1, 2)), ("dpk", (0,)), ("pmp", (1,))])
def test_channels_alone(task: str, channels: tuple[int, ...]) -> None:
    expected = plain(TINY, task, 101)[..., list(channels)]
    assert relative_difference(graph(TINY, task, 101, channels), expected) < FLOAT32


def test_bfloat16_is_no_further_off_than_the_network() -> None:
    config = dataclasses.replace(TINY, compute_dtype="bfloat16")
    exact, found, usual = (
        plain(TINY, "dpk", 101),
        graph(config, "dpk", 101),
        plain(config, "dpk", 101),
    )
    assert found.dtype == np.float32
    off, usually_off = (relative_difference(y, exact) for y in (found, usual))
    assert 1e-4 < off < 1.5 * usually_off


def test_what_is_left() -> None:
    settings = models.get("seist_s").resolve(
        {"task": "dpk", "precision": {"compute": "float32"}}, None
    )
    config = models.seist.from_settings(settings)
    shapes = parts(config, OUTPUTS["dpk"])
    arrays = {
        name: np.ones(leaf.shape, np.float32)
        for part in (shapes.params, shapes.stats)
        for name, leaf in part.items()
    }
    folded = inference_fold.fold(config, OUTPUTS["dpk"], arrays)
    assert [[conv.kernel.shape for conv in convs] for convs, _ in folded.stem] == [
        [(19, 3, 48)],
        [(13, 16, 24)],
        [(13, 8, 48)],
        [(15, 16, 48)],
    ]
    first, last = folded.stages[0].blocks[-1], folded.stages[-1].blocks[-1]
    assert first.grouped is None  # attention has all 16 channels
    assert (first.enter.kernel.shape, first.context.shape) == ((16, 32), (16, 32))
    assert (last.enter.kernel.shape, last.context) == ((64, 4 * 48 + 16), None)
    assert len(jax.tree.leaves(folded)) < 0.5 * len(arrays)
