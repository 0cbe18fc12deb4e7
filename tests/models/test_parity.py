"""The network against activations and outputs recorded from the PyTorch original."""

import functools
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from seismollm_jax import tasks
from seismollm_jax.models.seismollm.embedder import Embedder
from seismollm_jax.models.seismollm.gpt2 import GPT2
from seismollm_jax.models.seismollm.heads import PerSampleHead, PooledHead
from seismollm_jax.models.seismollm.model import (
    SeisMoLLM,
    SeisMoLLMConfig,
    from_tokens,
    is_trainable,
    to_tokens,
)
from seismollm_jax.models.state import merge, path, split
from tests import golden_files
from tests.golden_files import relative_difference, thin
from tests.models import tiny

LENGTHS = (1024, 1000, 997, 6000)
BACKBONE, HEAD = 1e-5, 2e-5  # relative; the original's own float32 error is 1e-6


def channels_first(array) -> np.ndarray:
    array = np.asarray(array)
    return array.swapaxes(1, 2) if array.ndim == 3 else array


# Compiled in stages, because the stages up to the head are the same program for all tasks.
@nnx.jit
def embed(embedder: Embedder, x: jax.Array) -> list[jax.Array]:
    """Features after each block."""
    stages = [x]
    for block in embedder.blocks:
        stages.append(block(stages[-1], train=False))
    return stages[1:]


@nnx.jit
def think(backbone: GPT2, features: jax.Array) -> tuple[jax.Array, ...]:
    """Tokens, hidden states and the sequence made of them, for tokens of eight features."""
    tokens = to_tokens(features, 8)
    hidden = backbone(tokens, rngs=None)
    return tokens, hidden, from_tokens(hidden, 8)


@nnx.jit(static_argnums=2)
def answer(head: PerSampleHead | PooledHead, sequence: jax.Array, length: int) -> jax.Array:
    return head(sequence, length, train=False)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("task", tiny.TASKS)
def test_activations_and_output(task: str, length: int) -> None:
    golden, model = tiny.golden(task), tiny.model(task)
    recorded = {k.split("/")[-1] for k in golden if k.startswith(f"io/L{length}/")}
    compared = set()

    def check(name: str, found, tolerance: float) -> None:
        expected = golden[f"io/L{length}/{name}"]
        assert relative_difference(thin(found, 500), expected.reshape(-1)) < tolerance, name
        compared.add(name)

    x = golden[f"io/L{length}/x"].swapaxes(1, 2)  # (batch, samples, 3)
    blocks = embed(model.embedder, x)
    for i, features in enumerate(blocks):
        if f"embed_block{i}" in recorded:
            check(f"embed_block{i}", channels_first(features), BACKBONE)
    check("embed", channels_first(blocks[-1]), BACKBONE)
    tokens, hidden, sequence = think(model.backbone, blocks[-1])
    check("tokens", tokens, BACKBONE)
    check("llm", hidden, BACKBONE)
    if "unpatched" in recorded:
        check("unpatched", channels_first(sequence), BACKBONE)
        stages = per_sample_stages if isinstance(model.head, PerSampleHead) else pooled_stages
        for name, value in stages(model.head, sequence).items():
            check(name, channels_first(value), HEAD)
    output = np.asarray(model.output.activate(answer(model.head, sequence, length)))
    if task == "back_azimuth":
        check("out0", output[:, 0:1], BACKBONE)
        check("out1", output[:, 1:2], BACKBONE)
    else:
        check("out", channels_first(output), HEAD if task == "picking" else BACKBONE)
    assert compared == recorded - {"x"}


@pytest.mark.parametrize("task", tiny.TASKS)
def test_whole_network_in_one_call(task: str) -> None:
    golden, model = tiny.golden(task), tiny.model(task)
    output = np.asarray(nnx.jit(lambda m, x: m(x))(model, golden["io/L997/x"].swapaxes(1, 2)))
    if task == "back_azimuth":
        expected = np.concatenate([golden["io/L997/out0"], golden["io/L997/out1"]])
        output = output.T
    else:
        expected, output = golden["io/L997/out"], channels_first(output)
    tolerance = HEAD if task == "picking" else BACKBONE
    assert relative_difference(thin(output, 500), expected.reshape(-1)) < tolerance


@nnx.jit
def per_sample_stages(head: PerSampleHead, x: jax.Array) -> dict[str, jax.Array]:
    """For windows of 1024 samples, with the sizes written out."""
    stages = {}
    for i, (layer, size) in enumerate(zip(head.up_layers, (214, 361, 608, 1024), strict=True)):
        x = stages[f"head_up{i}"] = layer(x, size, train=False)
    padded = jnp.pad(x, ((0, 0), (3, 3), (0, 0)))
    stages["head_out_conv"] = head.out_conv(padded)
    return stages


@nnx.jit
def pooled_stages(head: PooledHead, x: jax.Array) -> dict[str, jax.Array]:
    first = head.convs[0](x)
    second = head.convs[1](first)
    pooled = second.mean(1)
    return {
        "head_conv0": first,
        "head_conv1": second,
        "head_pool": pooled[:, None],
        "head_lin": head.linear(pooled),
    }


@functools.cache
def by_formula(seed: int, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Weights that both frameworks can make without a file (the recipe beside the recordings)."""
    draw = np.random.RandomState(zlib.crc32(f"{seed}:{name}".encode()))
    if name.endswith("num_batches_tracked"):
        return np.array(7)
    if name.endswith("running_var"):
        return (0.5 + draw.random_sample(shape)).astype(np.float32)
    z = draw.standard_normal(shape)
    if name.endswith("running_mean"):
        z = 0.1 * z
    elif "lora_A" in name:
        z = z / np.sqrt(shape[1])
    elif "lora_B" in name:
        z = 0.05 * z
    elif len(shape) == 1:
        z = 1 + 0.1 * z if name.endswith("weight") else 0.05 * z
    elif "wpe" in name or "wte" in name:
        z = 0.1 * z
    elif ".c_" in name:
        z = z / np.sqrt(shape[0])
    elif len(shape) == 3:
        z = (2 if "out_conv" in name else 1.3) * z / np.sqrt(shape[1] * shape[2])
    else:
        z = z / np.sqrt(shape[-1])
    return z.astype(np.float32)


def full_size_shapes(task: str) -> dict[str, tuple[int, ...]]:
    """Shapes of the published checkpoints; the window tasks differ in the last layer alone."""
    keys = golden_files.read_json("model/keys.json")
    shapes = {
        k: tuple(v)
        for k, v in keys["picking" if task == "picking" else "magnitude"]["shapes"].items()
    }
    if task in ("polarity", "back_azimuth"):
        shapes |= {"out_head.lin.weight": (2, 96), "out_head.lin.bias": (2,)}
    return shapes


@pytest.mark.parametrize("task", tiny.TASKS)
def test_full_size_by_formula(task: str) -> None:
    recipe = golden_files.read_json("model/recipe.json")
    golden = golden_files.load("model/full.npz")
    seed, config = recipe["seed"], SeisMoLLMConfig()
    arrays = {k: by_formula(seed, k, s) for k, s in full_size_shapes(task).items()}
    for name, first in recipe["probe"].items():
        if name in arrays:
            np.testing.assert_allclose(arrays[name].reshape(-1)[:4], first, rtol=1e-6)
    model = merge(tiny.shapes(config, task).graphdef, tiny.fill(config, task, arrays))
    for length in recipe["lengths"]:
        draw = np.random.RandomState(zlib.crc32(f"{seed}:full:{length}".encode()))
        x = draw.standard_normal((1, 3, length)).astype(np.float32)
        np.testing.assert_array_equal(thin(x[:, :, :16], 48), golden[f"L{length}/x_head"].ravel())
        sequence = think(model.backbone, embed(model.embedder, x.swapaxes(1, 2))[-1])[-1]
        found = np.asarray(model.output.activate(answer(model.head, sequence, length)))
        short = tasks.get(task).short_name
        if task == "back_azimuth":
            expected = [golden[f"L{length}/{short}_out{i}"].ravel() for i in (0, 1)]
            expected = np.concatenate(expected)
        else:
            expected = golden[f"L{length}/{short}_out"].ravel()
        tolerance = HEAD if task == "picking" else BACKBONE
        difference = relative_difference(thin(channels_first(found), 2000), expected)
        print(f"{task}, {length} samples: relative difference {difference:.1e}")
        assert difference < tolerance


PUBLISHED_COUNTS = {  # all, trainable, trainable arrays
    "picking": (23_743_863, 2_489_463, 133),
    "polarity": (23_496_614, 2_242_214, 121),
    "magnitude": (23_496_517, 2_242_117, 121),
    "back_azimuth": (23_496_614, 2_242_214, 121),
    "distance": (23_496_517, 2_242_117, 121),
}


@pytest.mark.parametrize("task", tiny.TASKS)
def test_parameter_counts_at_full_size(task: str) -> None:
    config, output = SeisMoLLMConfig(), tasks.get(task).output
    parts = split(
        nnx.eval_shape(lambda: SeisMoLLM(config, output, rngs=nnx.Rngs(0))),
        lambda p: is_trainable(config, p),
    )
    trainable = sum(leaf.size for leaf in parts.params.values())
    frozen = sum(leaf.size for leaf in parts.frozen.values())
    assert (trainable + frozen, trainable, len(parts.params)) == PUBLISHED_COUNTS[task]


@pytest.mark.parametrize("task", ["picking", "magnitude"])
def test_trainable_paths_are_the_originals(task: str) -> None:
    from seismollm_jax.models.seismollm.names import checkpoint_rules

    config = SeisMoLLMConfig()
    expected = set(golden_files.read_json("model/keys.json")[task]["trainable"])
    rules = checkpoint_rules(config, tasks.get(task).output)
    found = {
        rule.key
        for rule in rules
        if rule.path[-1] not in ("mean", "var") and is_trainable(config, rule.path)
    }
    assert found == expected


@pytest.mark.parametrize(
    ("tuning", "learns", "stays"),
    [
        (
            "lora",
            ["backbone/wpe", "backbone/ln_f/scale", "backbone/blocks/0/attn/c_attn/lora_a"],
            ["backbone/blocks/0/attn/c_attn/base/kernel", "backbone/blocks/2/mlp/c_fc/base/bias"],
        ),
        ("full", ["backbone/wpe", "backbone/blocks/0/attn/c_attn/base/kernel"], []),
        ("frozen", [], ["backbone/wpe", "backbone/ln_f/scale", "backbone/blocks/1/ln_1/bias"]),
    ],
)
def test_tuning_modes(tuning: str, learns: list[str], stays: list[str]) -> None:
    import dataclasses

    config = dataclasses.replace(tiny.CONFIG, tuning=tuning)
    module = nnx.eval_shape(
        lambda: SeisMoLLM(config, tasks.get("magnitude").output, rngs=nnx.Rngs(0))
    )
    parts = split(module, lambda p: is_trainable(config, p))
    assert set(learns) <= set(parts.params)
    assert set(stays) <= set(parts.frozen)
    adapters = [name for name in {**parts.params, **parts.frozen} if "lora_" in name]
    assert bool(adapters) == (tuning == "lora")
    outside = [name for name in parts.frozen if not name.startswith("backbone/")]
    assert not outside
    assert all(is_trainable(config, path(name)) for name in parts.params)
