"""Heads for use alone: channels that are asked for, interpolation and convolution in any order."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from seismollm_jax.models.folded import Affine
from seismollm_jax.models.interpolation import interpolation_weights
from seismollm_jax.models.layers import (
    auto_padding,
    stretched_convolution,
    stretched_products,
    upsampling_sizes,
)
from seismollm_jax.models.output import Output


def gelu(x: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """The exact GELU, computed in float32 whatever comes in."""
    return jax.nn.gelu(x.astype(jnp.float32), approximate=False).astype(dtype)


def answer(
    output: Output,
    layers: Sequence[Affine],
    channels: Sequence[int] | None,
    logits: Callable[[list[Affine]], jax.Array],
) -> jax.Array:
    """The network's output, of which channels that are not wanted are not computed.

    Args:
        output: what the last layer gives.
        layers: of the head.
        channels: those to compute, in this order; None for all.
        logits: layers of the head -> their values before the activation.
    """
    if channels is None:
        return output.activate(logits([*layers]))
    chosen = np.asarray(channels)
    if output.activation == "softmax":  # which looks at all of them
        return output.activate(logits([*layers]))[..., chosen]
    last = Affine(*(part[..., chosen] for part in layers[-1]))
    return output.activate(logits([*layers[:-1], last]))


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
