"""Layers against their definitions in NumPy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from seismollm_jax import tasks
from seismollm_jax.models.interpolation import interpolation_weights
from seismollm_jax.models.layers import (
    BatchNorm,
    auto_pad,
    auto_padding,
    conv1d,
    interpolate,
    upsampling_sizes,
)
from seismollm_jax.models.seismollm.gpt2 import GPT2, GPT2Config, LoRAConfig
from seismollm_jax.models.seismollm.lora import LoRALinear, narrow_product
from seismollm_jax.models.seismollm.model import SeisMoLLM, SeisMoLLMConfig, from_tokens, to_tokens
from seismollm_jax.models.state import split
from tests.models import tiny


def draw(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(2, 3, shape), jnp.float32)


def test_batch_norm_in_training() -> None:
    x, norm = draw(4, 7, 3), BatchNorm(3, dtype=jnp.float32)
    norm.scale[...], norm.bias[...] = jnp.array([1.0, 2.0, 3.0]), jnp.array([0.0, 1.0, -1.0])
    norm.mean[...], norm.var[...] = jnp.full(3, 5.0), jnp.full(3, 2.0)
    found = norm(x, train=True)
    x64 = np.asarray(x, np.float64)
    mean, biased = x64.mean((0, 1)), x64.var((0, 1))
    expected = (x64 - mean) / np.sqrt(biased + 1e-5) * [1, 2, 3] + [0, 1, -1]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(norm.mean[...], 0.9 * 5 + 0.1 * mean, rtol=1e-5)
    unbiased = biased * 28 / 27  # batch and time together
    np.testing.assert_allclose(norm.var[...], 0.9 * 2 + 0.1 * unbiased, rtol=1e-5)


def test_batch_norm_in_use() -> None:
    x, norm = draw(4, 7, 3), BatchNorm(3, dtype=jnp.float32)
    norm.mean[...], norm.var[...] = jnp.full(3, 5.0), jnp.full(3, 4.0)
    found = norm(x, train=False)
    np.testing.assert_allclose(found, (x - 5) / math.sqrt(4 + 1e-5), rtol=1e-5)
    np.testing.assert_array_equal(norm.mean[...], [5, 5, 5])


def test_batch_norm_keeps_digits_under_an_offset() -> None:
    """The one-pass variance would lose them all here."""
    x = jnp.asarray(np.random.default_rng(0).normal(0, 1, (4, 50, 2)) + 3000, jnp.float32)
    found = np.asarray(BatchNorm(2, dtype=jnp.float32)(x, train=True))
    assert found.std((0, 1)) == pytest.approx(1, abs=1e-3)


def test_batch_norm_in_half_precision_counts_in_float32() -> None:
    norm = BatchNorm(3, dtype=jnp.bfloat16)
    assert norm(draw(2, 5, 3).astype(jnp.bfloat16), train=True).dtype == jnp.bfloat16
    assert norm.mean[...].dtype == norm.scale[...].dtype == jnp.float32


@given(length=st.integers(1, 400), kernel=st.integers(1, 40), stride=st.integers(1, 5))
def test_padding_makes_the_length_of_the_stride(length: int, kernel: int, stride: int) -> None:
    kernel = max(kernel, stride)
    left, right = auto_padding(length, kernel, stride)
    assert 0 <= left <= right <= left + 1
    assert (length + left + right - kernel) // stride + 1 == math.ceil(length / stride)


def test_odd_padding_goes_to_the_right() -> None:
    x = auto_pad(jnp.ones((1, 5, 1)), 4)
    np.testing.assert_array_equal(x[0, :, 0], [0, 1, 1, 1, 1, 1, 0, 0])


def test_convolution_is_a_correlation() -> None:
    layer = conv1d(2, 3, 4, stride=2, bias=True, dtype=jnp.float32, rngs=nnx.Rngs(0))
    x = draw(1, 12, 2)
    found = layer(x)
    kernel, bias = np.asarray(layer.kernel[...]), np.asarray(layer.bias[...])
    expected = [
        np.einsum("ti,tio->o", np.asarray(x[0, s : s + 4]), kernel) + bias for s in range(0, 9, 2)
    ]
    assert kernel.shape == (4, 2, 3)
    np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=1e-5)


def test_initial_weights_are_pytorchs() -> None:
    layer = conv1d(20, 50, 10, bias=True, dtype=jnp.float32, rngs=nnx.Rngs(0))
    bound = 1 / math.sqrt(20 * 10)
    for values in (layer.kernel[...], layer.bias[...]):
        assert 0.9 * bound < float(jnp.abs(values).max()) <= bound
        assert float(values.std()) == pytest.approx(bound / math.sqrt(3), rel=0.2)


@given(source=st.integers(1, 300), target=st.integers(1, 900))
@settings(max_examples=60)
def test_interpolation_weights(source: int, target: int) -> None:
    left, right, weight = interpolation_weights(source, target)
    assert left.shape == right.shape == weight.shape == (target,)
    assert 0 <= left.min() <= left.max() < source
    assert ((right == left + 1) | (right == source - 1)).all()
    assert 0 <= weight.min() <= weight.max() < 1
    centres = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, None)
    np.testing.assert_allclose(left + weight, centres, atol=1e-3)


def test_interpolation_of_a_line_is_the_line() -> None:
    x = jnp.arange(10.0)[None, :, None]
    found = interpolate(x, 40)[0, :, 0]
    expected = np.clip((np.arange(40) + 0.5) / 4 - 0.5, 0, 9)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_interpolation_to_the_same_length_changes_nothing() -> None:
    x = draw(2, 17, 3)
    np.testing.assert_array_equal(interpolate(x, 17), x)


def test_tokens_and_back() -> None:
    x = draw(2, 35, 3)
    tokens = to_tokens(x, 8)
    assert tokens.shape == (2, 4, 24)
    # Feature slow, sample in the patch fast.
    np.testing.assert_array_equal(tokens[1, 2].reshape(3, 8), x[1, 16:24].T)
    np.testing.assert_array_equal(from_tokens(tokens, 8), x[:, :32])


@pytest.mark.parametrize(
    ("features", "samples", "sizes"),
    [
        (1024, 8192, [1721, 2895, 4870, 8192]),
        (744, 6000, [1253, 2112, 3560, 6000]),
        (368, 3000, [621, 1050, 1775, 3000]),
        (120, 997, [203, 345, 587, 997]),
    ],
)
def test_upsampling_sizes(features: int, samples: int, sizes: list[int]) -> None:
    assert upsampling_sizes(features, samples, 4) == sizes


# -- adapters and GPT-2 ----------------------------------------------------------------------


def linear(rank: int, dropout: float = 0.0) -> LoRALinear:
    return LoRALinear(
        6,
        5,
        rank=rank,
        alpha=8.0,
        dropout=dropout,
        kernel_init=nnx.initializers.normal(1.0),
        dtype=jnp.float32,
        rngs=nnx.Rngs(0),
    )


def test_a_new_adapter_changes_nothing() -> None:
    layer, x = linear(rank=2), draw(3, 6)
    np.testing.assert_array_equal(layer(x, rngs=None), layer.base(x))
    assert layer.lora_a[...].any()


def test_an_adapter_adds_its_scaled_product() -> None:
    layer, x = linear(rank=2), draw(3, 6)
    layer.lora_b[...] = draw(2, 5, seed=1)
    expected = layer.base(x) + 8.0 / 2 * (x @ layer.lora_a[...] @ layer.lora_b[...])
    np.testing.assert_allclose(layer(x, rngs=None), expected, rtol=1e-5)


@pytest.mark.parametrize(("inputs", "outputs"), [(7, 2), (2, 7)])
def test_the_gradient_of_a_narrow_product(inputs: int, outputs: int) -> None:
    x, kernel, dy = draw(2, 3, inputs), draw(inputs, outputs, seed=1), draw(2, 3, outputs, seed=2)
    y, pull = jax.vjp(narrow_product, x, kernel)
    plain_y, plain_pull = jax.vjp(jnp.matmul, x, kernel)
    np.testing.assert_array_equal(y, plain_y)
    for found, expected in zip(pull(dy), plain_pull(dy), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_rank_zero_is_the_plain_layer() -> None:
    assert set(split(linear(rank=0), bool).params) == {"base/kernel", "base/bias"}


def test_dropout_reaches_the_adapter_alone() -> None:
    layer, x = linear(rank=2, dropout=0.5), draw(3, 6)
    np.testing.assert_array_equal(layer(x, rngs=nnx.Rngs(dropout=1)), layer.base(x))
    layer.lora_b[...] = draw(2, 5, seed=1)
    first, second = (layer(x, rngs=nnx.Rngs(dropout=seed)) for seed in (1, 2))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, layer(x, rngs=nnx.Rngs(dropout=1)))


SMALL = GPT2Config(n_embd=16, n_head=2, n_layer=3, n_positions=12)


def gpt2(config: GPT2Config = SMALL) -> GPT2:
    return GPT2(config, LoRAConfig(rank=2), layers=2, dtype=jnp.float32, rngs=nnx.Rngs(0))


def test_no_token_sees_a_later_one() -> None:
    model, x = gpt2(), draw(1, 10, 16)
    changed = x.at[0, 6].add(10 * draw(16, seed=1))
    run = nnx.jit(lambda m, x: m(x, rngs=None))
    one, two = run(model, x), run(model, changed)
    np.testing.assert_array_equal(one[0, :6], two[0, :6])
    assert (np.abs(one[0, 6:] - two[0, 6:]).max(-1) > 1e-5).all()


def test_dropout_rates_of_gpt2_act_only_with_random_numbers() -> None:
    model, x = gpt2(), draw(1, 10, 16)
    quiet = model(x, rngs=None)
    noisy = model(x, rngs=nnx.Rngs(dropout=0))
    assert not np.allclose(quiet, noisy)
    still = GPT2Config(**{**vars(SMALL), "embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0})
    model = GPT2(still, LoRAConfig(dropout=0.0), layers=2, dtype=jnp.float32, rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(model(x, rngs=None), model(x, rngs=nnx.Rngs(dropout=0)))


def test_random_gpt2_starts_by_its_own_rule() -> None:
    parts = split(gpt2(GPT2Config(n_embd=64, n_head=2, n_layer=8)), bool).params
    spread = {name: float(value.std()) for name, value in parts.items()}
    assert spread["wpe"] == pytest.approx(0.02, rel=0.1)
    assert spread["blocks/1/attn/c_attn/base/kernel"] == pytest.approx(0.02, rel=0.1)
    assert spread["blocks/0/mlp/c_proj/base/kernel"] == pytest.approx(0.02 / 4, rel=0.1)
    assert not parts["blocks/0/attn/c_attn/base/bias"].any()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model_type": "bert"}, "model_type is 'bert', expected 'gpt2'"),
        ({"scale_attn_weights": False}, "scale_attn_weights=False is not supported"),
        ({"scale_attn_by_inverse_layer_idx": True}, "idx=True is not supported"),
        ({"activation_function": "swish"}, "'swish' is not one of"),
        ({"n_head": 5}, "n_embd=768 is not a multiple of n_head=5"),
    ],
)
def test_gpt2_of_another_kind(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GPT2Config.from_json(fields)


@pytest.mark.parametrize(
    ("name", "width", "heads", "layers"),
    [
        ("gpt2", 768, 12, 12),
        ("gpt2-medium", 1024, 16, 24),
        ("gpt2-large", 1280, 20, 36),
        ("gpt2-xl", 1600, 25, 48),
    ],
)
def test_published_sizes_fit(name: str, width: int, heads: int, layers: int) -> None:
    config = SeisMoLLMConfig(gpt2=GPT2Config(n_embd=width, n_head=heads, n_layer=layers))
    assert config.features == width // 8
    assert config.tokens(8192) == 128
    assert config.tokens(6000) == 93
    for task in ("picking", "magnitude"):
        output = tasks.get(task).output
        module = nnx.eval_shape(lambda o=output: SeisMoLLM(config, o, rngs=nnx.Rngs(0)))
        shape = jax.ShapeDtypeStruct((2, 6000, 3), jnp.float32)
        answer = nnx.eval_shape(lambda m, x: m(x), module, shape)
        assert answer.shape == ((2, 6000, 3) if task == "picking" else (2, 1))
        kernel = split(module, bool).params["backbone/blocks/2/mlp/c_fc/base/kernel"]
        assert kernel.shape == (width, 4 * width)
        assert split(module, bool).params["embedder/blocks/3/norm/scale"].shape == (width // 8,)


@pytest.mark.parametrize("task", ["picking", "magnitude"])
def test_half_precision_answers_in_float32(task: str) -> None:
    config = SeisMoLLMConfig(**{**vars(tiny.CONFIG), "compute_dtype": "bfloat16"})
    output = tasks.get(task).output
    module = nnx.eval_shape(lambda: SeisMoLLM(config, output, rngs=nnx.Rngs(0)))
    shape = jax.ShapeDtypeStruct((1, 1024, 3), jnp.float32)
    assert nnx.eval_shape(lambda m, x: m(x), module, shape).dtype == jnp.float32
    assert all(leaf.dtype == jnp.float32 for leaf in split(module, bool).params.values())
