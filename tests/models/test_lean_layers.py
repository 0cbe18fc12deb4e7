"""Rearranged layers and gradients by formula, against the plain ones that JAX derives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from seismollm_jax.models import interpolation
from seismollm_jax.models.batch_norm import BatchNorm
from seismollm_jax.models.layers import (
    auto_pad,
    auto_padding,
    convolve,
    convolve_together,
    stretched_convolution,
    stretched_products,
)
from seismollm_jax.models.seismollm.embedder import MultiScaleBlock
from seismollm_jax.models.seismollm.gpt2 import causal_softmax


def draw(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def matrix(source: int, target: int) -> np.ndarray:
    """The interpolation written out."""
    left, right, weight = interpolation.interpolation_weights(source, target)
    found = np.zeros((target, source), np.float32)
    np.add.at(found, (np.arange(target), left), 1 - weight)
    np.add.at(found, (np.arange(target), right), weight)
    return found


@given(source=st.integers(1, 300), target=st.integers(1, 600))
@settings(max_examples=40, deadline=None)
def test_bands_are_the_matrix_and_its_transpose(source: int, target: int) -> None:
    expected = matrix(source, target)
    for band, dense in zip(
        interpolation.bands(source, target), (expected, expected.T), strict=True
    ):
        found = np.zeros_like(dense)
        assert band.start.min() >= 0
        for k in range(band.weights.shape[1]):
            found[np.arange(len(dense)), band.start + k] += band.weights[:, k]
        np.testing.assert_array_equal(found, dense)


@pytest.mark.parametrize(("source", "target"), [(31, 52), (300, 503), (9, 9), (1, 4), (40, 17)])
def test_the_interpolation_and_its_gradient(source: int, target: int) -> None:
    x, y, dense = draw(2, source, 3), draw(2, target, 3, seed=1), matrix(source, target)
    found, pull = jax.vjp(lambda x: interpolation.interpolate(x, target), x)
    np.testing.assert_allclose(found, np.einsum("ts,bsc->btc", dense, x), atol=1e-5)
    np.testing.assert_allclose(pull(y)[0], np.einsum("ts,btc->bsc", dense, y), atol=1e-5)


@pytest.mark.parametrize(("source", "target"), [(31, 52), (300, 503), (503, 300)])
def test_both_ways_to_multiply_agree(source: int, target: int) -> None:
    x = draw(2, source, 3)
    for band in interpolation.bands(source, target):
        x = draw(2, band.start.max() + band.weights.shape[1], 3)
        np.testing.assert_allclose(
            interpolation._by_products(band, x), interpolation._by_rows(band, x), atol=1e-5
        )


@pytest.mark.parametrize("taps", [1, 4, 7])
def test_products_may_come_before_the_interpolation(taps: int) -> None:
    x, kernel, padding = draw(2, 20, 5), draw(taps, 5, 2, seed=1), auto_padding(33, taps, 1)

    def run(form):
        return jax.vjp(lambda x, kernel: form(x, kernel, 33, padding), x, kernel)

    (usual, pull), (found, other) = run(stretched_convolution), run(stretched_products)
    np.testing.assert_allclose(found, usual, atol=1e-5)
    y = draw(*usual.shape, seed=2)
    for one, two in zip(other(y), pull(y), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-4)


@pytest.mark.parametrize("length", [40, 41])
def test_several_convolutions_as_one(length: int) -> None:
    x, kernels = draw(2, length, 3), [draw(k, 3, 2, seed=k) for k in (4, 7, 12)]
    found = convolve_together(x, kernels, stride=2)
    each = [
        convolve(auto_pad(x, len(kernel), 2), kernel, padding=(0, 0), stride=2)
        for kernel in kernels
    ]
    np.testing.assert_allclose(found, jnp.concatenate(each, -1), atol=1e-5)


@pytest.mark.parametrize("outputs", [2, 70])  # computed together, and one by one
def test_a_block_of_the_embedder_is_its_branches(outputs: int) -> None:
    block = MultiScaleBlock(
        3, outputs, kernels=(4, 6), stride=2, dtype=jnp.float32, rngs=nnx.Rngs(0)
    )
    x, scales = draw(2, 31, 3), []
    expected = nnx.clone(block)
    for branch in expected.branches:
        y = branch.conv(auto_pad(branch.in_proj(x), branch.conv.kernel.shape[0], 2))
        scales.append(jax.nn.gelu(branch.norm(y, train=True), approximate=False))
    y = expected.norm(expected.out_proj(jnp.concatenate(scales, -1)), train=True)
    np.testing.assert_allclose(block(x, train=True), y, atol=2e-5)
    for one, two in zip(
        jax.tree.leaves(nnx.state(block, nnx.BatchStat)),
        jax.tree.leaves(nnx.state(expected, nnx.BatchStat)),
        strict=True,
    ):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("gelu", [False, True])
def test_the_gradient_of_a_batch_norm(gelu: bool) -> None:
    def plain(x, scale, bias):
        mean = x.mean((0, 1))
        var = jnp.square(x - mean).mean((0, 1))
        y = (x - mean) / jnp.sqrt(var + 1e-5) * scale + bias
        return jax.nn.gelu(y, approximate=False) if gelu else y

    def ours(x, scale, bias):
        norm = BatchNorm(3, dtype=jnp.float32)
        norm.scale[...], norm.bias[...] = scale, bias
        return BatchNorm.together(x, [norm], gelu=gelu, train=True)

    arguments = (2 + 3 * draw(4, 9, 3), draw(3, seed=1), draw(3, seed=2))
    (found, pull), (expected, derived) = jax.vjp(ours, *arguments), jax.vjp(plain, *arguments)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    for one, two in zip(pull(found), derived(found), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)


def test_a_batch_norm_keeps_its_input_alone() -> None:
    """What the gradient needs is the input, in its own precision, and small arrays."""

    def run(x):
        norm = BatchNorm(3, dtype=jnp.bfloat16)
        return BatchNorm.together(x, [norm], gelu=True, train=True)

    _, pull = jax.vjp(run, draw(4, 9, 3).astype(jnp.bfloat16))
    large = [leaf for leaf in jax.tree.leaves(pull) if leaf.size > 3]
    assert [(leaf.shape, leaf.dtype) for leaf in large] == [((4, 9, 3), jnp.bfloat16)]


@pytest.mark.parametrize("offset", [0.0, 3.0, 30.0])
def test_statistics_in_one_pass_lose_no_more_than_bfloat16_does(offset: float) -> None:
    x = (offset + draw(8, 900, 3)).astype(jnp.bfloat16)
    norm = BatchNorm(3, dtype=jnp.bfloat16, momentum=1.0)
    norm(x, train=True)
    exact = np.asarray(x, np.float64).reshape(-1, 3)
    np.testing.assert_allclose(norm.mean[...], exact.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(norm.var[...], exact.var(0, ddof=1), rtol=1e-3)
    norm(jnp.full((2, 9, 3), 1000.0, jnp.bfloat16), train=True)
    assert np.all(np.asarray(norm.var[...]) == 0)  # never below


def test_the_softmax_of_attention_and_its_gradient() -> None:
    def plain(scores):
        weights = jnp.exp(scores) * np.tri(7)
        return weights / weights.sum(-1, keepdims=True)

    scores, y = draw(2, 3, 7, 7), draw(2, 3, 7, 7, seed=1)
    found, pull = jax.vjp(lambda scores: causal_softmax(scores, jnp.float32), scores)
    expected, derived = jax.vjp(plain, scores)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(pull(y)[0], derived(y)[0], atol=1e-6)

    _, pull = jax.vjp(lambda scores: causal_softmax(scores, jnp.bfloat16), scores)
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(pull)} == {"bfloat16"}  # none of float32
    np.testing.assert_allclose(pull(y.astype(jnp.bfloat16))[0], derived(y)[0], atol=0.02)
