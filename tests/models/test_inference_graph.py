"""The inference graph computes what the network computes."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seismollm_jax import models, tasks
from seismollm_jax.models import inference as any_family
from seismollm_jax.models import inference_head
from seismollm_jax.models.folded import Affine
from seismollm_jax.models.seismollm import inference_fold
from seismollm_jax.models.seismollm.model import EmbedderConfig, SeisMoLLMConfig
from seismollm_jax.models.state import merge
from tests.golden_files import relative_difference
from tests.models import tiny

FLOAT32 = 2e-6  # relative; the network itself is 1e-6 away from its value in float64


def windows(length: int, count: int = 2) -> jax.Array:
    return jnp.asarray(np.random.default_rng(length).normal(size=(count, length, 3)), jnp.float32)


def plain(config: SeisMoLLMConfig, task: str, arrays: dict[str, Any], x: jax.Array) -> np.ndarray:
    model: Any = merge(tiny.shapes(config, task).graphdef, arrays)
    return np.asarray(jax.jit(lambda x: model(x))(x))


@functools.cache
def trained(task: str) -> np.ndarray:
    """Output of the network with its recorded weights for `windows(997)`."""
    return plain(tiny.CONFIG, task, tiny.arrays(task), windows(997))


def graph(config: SeisMoLLMConfig, task: str, arrays: dict[str, Any], x: Any, **how) -> np.ndarray:
    family, output = models.get("seismollm"), tasks.get(task).output
    made = any_family.make(family, dataclasses.asdict(config), output, arrays)
    run = jax.jit(functools.partial(made.function, channels=how.get("channels")))
    return np.asarray(run(made.arrays, x))


def shaken(arrays: dict[str, Any]) -> dict[str, Any]:
    """Statistics far from 0 and 1, adapters and biases that all count."""
    draw = np.random.default_rng(5)

    def value(name: str, array: jax.Array) -> np.ndarray:
        noise = draw.standard_normal(array.shape)
        last = name.rpartition("/")[2]
        if last == "mean":
            return 2 * noise
        if last == "var":
            return np.exp(2 * noise)
        return np.asarray(array) + (0.1 if last in ("bias", "scale", "lora_b") else 0) * noise

    return {name: np.asarray(value(name, x), np.float32) for name, x in arrays.items()}


@pytest.mark.parametrize("task", tiny.TASKS)
def test_same_output_as_the_trained_network(task: str) -> None:
    found, expected = graph(tiny.CONFIG, task, tiny.arrays(task), windows(997)), trained(task)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    assert relative_difference(found, expected) < FLOAT32


UNEVEN = dataclasses.replace(
    tiny.CONFIG,
    embedder=EmbedderConfig((8, 12, 16), (5, 4, 3, 1), (3, 3, 1, 2), (2, 3, 2, 1), scales=3),
    tuning="frozen",  # no adapters
)


@pytest.mark.parametrize(
    ("config", "task", "length"),
    [
        (tiny.CONFIG, "picking", 1024),
        (tiny.CONFIG, "magnitude", 1000),
        (UNEVEN, "picking", 1001),  # paddings that differ from branch to branch
    ],
)
def test_any_statistics_and_sizes(config: SeisMoLLMConfig, task: str, length: int) -> None:
    shapes = tiny.shapes(config, task)
    draw = np.random.default_rng(0)
    arrays = shaken(
        {
            name: draw.normal(0, np.prod(leaf.shape[:-1]) ** -0.5, leaf.shape)
            for part in (shapes.params, shapes.frozen, shapes.stats)
            for name, leaf in part.items()
        }
    )
    x = windows(length)
    found, expected = (f(config, task, arrays, x) for f in (graph, plain))
    assert np.ptp(expected) > 0.1
    assert relative_difference(found, expected) < 5 * FLOAT32  # large shifts cancel


def test_bfloat16_is_no_further_off_than_the_network() -> None:
    config = dataclasses.replace(tiny.CONFIG, compute_dtype="bfloat16")
    x, arrays, exact = windows(997), tiny.arrays("picking"), trained("picking")
    found, usual = (f(config, "picking", arrays, x) for f in (graph, plain))
    assert found.dtype == np.float32
    off, usually_off = (relative_difference(y, exact) for y in (found, usual))
    assert 1e-5 < off < 1.5 * usually_off


@pytest.mark.parametrize(("task", "channels"), [("picking", (1, 2)), ("polarity", (1,))])
def test_channels_alone(task: str, channels: tuple[int, ...]) -> None:
    chosen = graph(tiny.CONFIG, task, tiny.arrays(task), windows(997), channels=channels)
    assert relative_difference(chosen, trained(task)[..., list(channels)]) < FLOAT32


def test_only_narrow_siblings_of_like_parity_are_fused() -> None:
    def branches(config: SeisMoLLMConfig) -> list[int]:
        shapes = tiny.shapes(config, "magnitude")
        parts = shapes.params | shapes.frozen | shapes.stats
        arrays = {name: np.ones(leaf.shape, np.float32) for name, leaf in parts.items()}
        folded = inference_fold.fold(config, tasks.get("magnitude").output, arrays)
        return [len(convolutions) for convolutions, _ in folded.embedder]

    wide = dataclasses.replace(
        tiny.CONFIG, embedder=dataclasses.replace(tiny.CONFIG.embedder, channels=(8, 40, 31))
    )
    assert branches(wide) == [1, 4, 1, 1]
    assert branches(UNEVEN) == [3, 3, 3, 1]


@pytest.mark.parametrize(("time", "length"), [(50, 100), (37, 61), (40, 40), (8, 90)])
@pytest.mark.parametrize("taps", [1, 4, 7])
def test_both_orders_of_the_head_are_the_same(time: int, length: int, taps: int) -> None:
    draw = np.random.default_rng(time)
    x = jnp.asarray(draw.normal(size=(2, time, 6)), jnp.float32)
    for outputs in (1, 5):  # few and many, which accelerators do in different ways
        layer = Affine(jnp.asarray(draw.normal(size=(6, taps, outputs)), jnp.float32), None)
        first = inference_head.products_first(x, layer, length)
        usual = inference_head.as_in_training(x, layer, length)
        assert first.shape == (2, length, outputs)
        assert relative_difference(first, usual) < FLOAT32


def test_families_without_a_graph_run_as_they_are() -> None:
    family = dataclasses.replace(models.get("seismollm"), for_inference=None)
    x, arrays, expected = windows(997), tiny.arrays("picking"), trained("picking")
    made = any_family.make(
        family, dataclasses.asdict(tiny.CONFIG), tasks.get("picking").output, arrays
    )
    run = jax.jit(made.function, static_argnums=2)
    assert relative_difference(run(made.arrays, x, None), expected) < FLOAT32
    assert relative_difference(run(made.arrays, x, (2, 1)), expected[..., [2, 1]]) < FLOAT32
