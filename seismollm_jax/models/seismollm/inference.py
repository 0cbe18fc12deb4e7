"""SeisMoLLM for use alone: the same function as `model.SeisMoLLM`, with fewer operations.

The arrays come from `inference_fold`. What is left here is the computation: no dropout, no
adapters, no batch norms, and a head whose matrix products are done before upsampling.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from seismollm_jax.models.interpolation import interpolation_weights
from seismollm_jax.models.layers import (
    auto_padding,
    convolve,
    stretched_convolution,
    stretched_products,
    upsampling_sizes,
)
from seismollm_jax.models.output import Output
from seismollm_jax.models.seismollm.gpt2 import ACTIVATIONS
from seismollm_jax.models.seismollm.heads import POOL_STRIDE
from seismollm_jax.models.seismollm.inference_fold import Affine, Block, Folded, Norm
from seismollm_jax.models.seismollm.model import SeisMoLLMConfig, from_tokens, to_tokens


def run(
    config: SeisMoLLMConfig,
    output: Output,
    arrays: Folded,
    x: jax.Array,
    channels: Sequence[int] | None,
) -> jax.Array:
    """The network's output for normalised windows.

    Args:
        config: sizes.
        output: what the last layer gives.
        arrays: of `inference_fold.fold`.
        x: (batch, samples, components).
        channels: those of the output to compute, in this order; None for all.

    Returns:
        float32 (batch, samples, channels) or (batch, channels).
    """
    features = embed(config, arrays, x.astype(config.compute_dtype))
    hidden = think(config, arrays, to_tokens(features, config.patch_size))
    sequence = from_tokens(hidden, config.patch_size)
    last, chosen = arrays.head[-1], channels is not None
    if chosen and output.activation != "softmax":  # which looks at all of them
        last, chosen = Affine(*(part[..., np.asarray(channels)] for part in last)), False
    layers = [*arrays.head[:-1], last]
    if output.per_sample:
        logits = answer_per_sample(layers, sequence, x.shape[1])
    else:
        logits = answer_per_window(layers, sequence)
    result = output.activate(logits)
    return result[..., np.asarray(channels)] if chosen else result


def gelu(x: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """The exact GELU, computed in float32 whatever comes in."""
    return jax.nn.gelu(x.astype(jnp.float32), approximate=False).astype(dtype)


def embed(config: SeisMoLLMConfig, arrays: Folded, x: jax.Array) -> jax.Array:
    """(batch, samples, components) -> (batch, ceil(samples / 8), features)."""
    for (branches, project), stride in zip(arrays.embedder, config.embedder.strides, strict=True):
        scales = []
        for kernel, bias in branches:
            padding = auto_padding(x.shape[1], len(kernel), stride)
            y = convolve(x, kernel, stride=stride, padding=padding)
            scales.append(gelu(y + bias, x.dtype))
        y = jnp.concatenate(scales, -1) @ project.kernel
        x = (y + project.bias).astype(x.dtype)
    return x


def layer_norm(x: jax.Array, norm: Norm, epsilon: float) -> jax.Array:
    """Over the last axis, in float32, with the two-pass variance."""
    y = x.astype(jnp.float32)
    y = y - y.mean(-1, keepdims=True)
    factor = lax.rsqrt(jnp.square(y).mean(-1, keepdims=True) + epsilon)
    return (y * factor * norm.scale + norm.bias).astype(x.dtype)


def think(config: SeisMoLLMConfig, arrays: Folded, x: jax.Array) -> jax.Array:
    """GPT-2: (batch, tokens, width) unchanged.

    All windows' tokens are rows of one matrix outside of attention, which the compiler would not
    arrange by itself: 0.93 of the time for 8 windows of 8192 samples on 2 CPU cores.
    """
    batch, tokens, width = x.shape
    epsilon = config.gpt2.layer_norm_epsilon
    x = (x + arrays.positions[:tokens].astype(x.dtype)).reshape(batch * tokens, width)
    for block in arrays.blocks:
        x = x + attend(config, block, layer_norm(x, block.ln_1, epsilon), tokens)
        y = linear(layer_norm(x, block.ln_2, epsilon), block.c_fc)
        y = ACTIVATIONS[config.gpt2.activation_function](y)
        x = x + linear(y, block.mlp_proj)
    return layer_norm(x, arrays.ln_f, epsilon).reshape(batch, tokens, width)


def linear(x: jax.Array, layer: Affine) -> jax.Array:
    """(rows, inputs) -> (rows, outputs)."""
    return (x @ layer.kernel + layer.bias).astype(x.dtype)


def attend(config: SeisMoLLMConfig, block: Block, x: jax.Array, tokens: int) -> jax.Array:
    """Causal self-attention within windows: (batch * tokens, width) unchanged."""
    heads = config.gpt2.n_head
    rows, width = x.shape
    qkv = linear(x, block.c_attn).reshape(-1, tokens, 3, heads, width // heads)
    query, key, value = qkv.transpose(2, 0, 3, 1, 4)  # (batch, heads, tokens, head)
    scores = jnp.einsum("bhqd,bhkd->bhqk", query, key, preferred_element_type=jnp.float32)
    causal = jnp.tril(jnp.ones((tokens, tokens), bool))
    scores = jnp.where(causal, scores / (width // heads) ** 0.5, -jnp.inf)
    mixed = jnp.einsum("bhqk,bhkd->bqhd", jax.nn.softmax(scores).astype(x.dtype), value)
    return linear(mixed.reshape(rows, width), block.attn_proj)


def answer_per_sample(layers: Sequence[Affine], x: jax.Array, samples: int) -> jax.Array:
    """Upsampling head: (batch, time, features) -> logits (batch, samples, channels), float32."""
    sizes = upsampling_sizes(x.shape[1], samples, len(layers) - 1)

    def window_by_window(x: jax.Array) -> jax.Array:
        # Products are larger than what they are made of, and those of one window stay in the cache.
        return lax.map(lambda window: climb(window[None], products_first)[0], x)

    def climb(x: jax.Array, stretch: Callable[..., jax.Array]) -> jax.Array:
        for layer, size in zip(layers[:-1], sizes, strict=True):
            x = gelu(stretch(x, layer, size) + layer.bias, x.dtype)
        return stretch(x.astype(jnp.float32), layers[-1], samples) + layers[-1].bias

    usual = functools.partial(climb, stretch=as_in_training)
    return lax.platform_dependent(x, cpu=window_by_window, default=usual)


def products_first(x: jax.Array, layer: Affine, length: int) -> jax.Array:
    """Linear interpolation to `length` and convolution, in the other order: for CPUs.

    One works along time and the other across channels, so the products of all taps may be taken at
    the lower rate, and their sums read between them. That is 2.5 instead of 4.2 GFLOP for the head
    and 8192 samples. Taken at once from where they are needed, the interpolated values are never
    written to memory.

    Returns:
        float32, without the bias: (batch, length, outputs) of `x`, (batch, time, inputs).
    """
    batch, time, inputs = x.shape
    _, taps, outputs = layer.kernel.shape
    products = x.reshape(batch * time, inputs) @ layer.kernel.reshape(inputs, taps * outputs)
    products = products.reshape(batch, time, taps * outputs)
    left, right, weight = interpolation_weights(time, length)
    before, _ = auto_padding(length, taps, 1)
    total = jnp.float32(0)
    for tap in range(taps):
        product = products[:, :, tap * outputs : (tap + 1) * outputs]
        sample = np.arange(length) + tap - before  # that the tap reads, after interpolation
        within = (sample >= 0) & (sample < length)  # outside of it there is the padding, zero
        sample = sample.clip(0, length - 1)
        share = np.where(within, weight[sample], np.float32(0))[:, None]
        rest = np.where(within, 1 - weight[sample], np.float32(0))[:, None]
        total = total + rest * product[:, left[sample]]
        if length != time:  # else the weights of the right neighbours are 0
            total = total + share * product[:, right[sample]]
    return total


def as_in_training(x: jax.Array, layer: Affine, length: int) -> jax.Array:
    """The same in the order that suits accelerators."""
    kernel = layer.kernel.swapaxes(0, 1)  # (taps, inputs, outputs)
    padding = auto_padding(length, len(kernel), 1)
    few = len(kernel) * kernel.shape[2] < kernel.shape[1]
    return (stretched_products if few else stretched_convolution)(x, kernel, length, padding)


def answer_per_window(layers: Sequence[Affine], x: jax.Array) -> jax.Array:
    """Pooling head: (batch, time, features) -> logits (batch, channels), float32."""
    for kernel, bias in layers[:-1]:
        x = (convolve(x, kernel, padding=(0, 0), stride=POOL_STRIDE) + bias).astype(x.dtype)
    return x.astype(jnp.float32).mean(1) @ layers[-1].kernel + layers[-1].bias
