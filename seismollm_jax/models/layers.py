"""Layers that more than one model family needs, with PyTorch's conventions."""

import math
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

# PyTorch draws weights of convolutions and linear layers uniformly from +-1/sqrt(fan_in).
uniform_fan_in = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def uniform_bias(fan_in: int) -> nnx.Initializer:
    """Uniform in +-1/sqrt(fan_in), PyTorch's rule for the bias that goes with such weights."""
    bound = 1 / math.sqrt(fan_in)

    def init(key, shape, dtype=jnp.float32, out_sharding=None):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


class RunBlock(Protocol):
    """How a network calls its parts; training has ways of its own, to save memory.

    `inputs` are arrays and random streams, `options` plain values.
    """

    def __call__(self, block: Any, *inputs: Any, **options: Any) -> jax.Array:
        """What block(*inputs, **options) gives."""


def call_block(block: Any, *inputs: Any, **options: Any) -> jax.Array:
    """Calls a part of a network as it is."""
    return block(*inputs, **options)


def conv1d(
    inputs: int,
    outputs: int,
    kernel: int,
    *,
    stride: int = 1,
    bias: bool,
    dtype: DTypeLike,
    rngs: nnx.Rngs,
) -> nnx.Conv:
    """A convolution over time without padding of its own; kernel (time, inputs, outputs)."""
    return nnx.Conv(
        inputs,
        outputs,
        (kernel,),
        strides=stride,
        padding="VALID",
        use_bias=bias,
        kernel_init=uniform_fan_in,
        bias_init=uniform_bias(inputs * kernel),
        dtype=dtype,
        rngs=rngs,
    )


def auto_padding(length: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros left and right that make a convolution's output ceil(length / stride) long.

    The larger half of an odd total goes to the right.
    """
    total = -length % stride + kernel - stride
    return total // 2, total - total // 2


def auto_pad(x: jax.Array, kernel: int, stride: int = 1) -> jax.Array:
    """Pads time with `auto_padding` zeros: (batch, time, channels) -> (batch, padded, channels)."""
    return jnp.pad(x, ((0, 0), auto_padding(x.shape[1], kernel, stride), (0, 0)))


class BatchNorm(nnx.Module):
    """Batch normalisation over (batch, time) with PyTorch's running statistics.

    Differs from `nnx.BatchNorm` in one thing: the running variance takes the unbiased batch
    variance (m / (m - 1)), as PyTorch's does, while the normalisation itself uses the biased one.
    Statistics are computed in float32. Under `jax.jit` on a sharded batch they are those of the
    global batch, which is what PyTorch calls synchronised batch normalisation.
    """

    def __init__(
        self, channels: int, *, momentum: float = 0.1, epsilon: float = 1e-5, dtype: DTypeLike
    ):
        self.scale = nnx.Param(jnp.ones(channels))
        self.bias = nnx.Param(jnp.zeros(channels))
        self.mean = nnx.BatchStat(jnp.zeros(channels))
        self.var = nnx.BatchStat(jnp.ones(channels))
        self.momentum, self.epsilon, self.dtype = momentum, epsilon, dtype

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:  # (batch, time, channels)
        x = x.astype(jnp.float32)
        if train:
            mean = x.mean((0, 1))
            var = jnp.square(x - mean).mean((0, 1))
            count = x.shape[0] * x.shape[1]
            self.mean[...] += self.momentum * (mean - self.mean[...])
            self.var[...] += self.momentum * (var * count / max(count - 1, 1) - self.var[...])
        else:
            mean, var = self.mean[...], self.var[...]
        factor = jax.lax.rsqrt(var + self.epsilon) * self.scale[...]
        return ((x - mean) * factor + self.bias[...]).astype(self.dtype)


def interpolation_weights(source: int, target: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Left index, right index and right weight of linear interpolation, each (target,).

    Half-pixel centres with clamped ends, as PyTorch's `interpolate(align_corners=False)`. The
    coordinates are deliberately float32, rounded after every operation: near sample 8000 one unit
    in the last place is 5e-4, so float64 coordinates would move the result away from PyTorch's.
    Computing them here with NumPy keeps the compiler from contracting the two operations.
    """
    ratio = np.float32(source) / np.float32(target)
    centres = np.arange(target, dtype=np.float32) + np.float32(0.5)
    position = np.maximum(np.float32(0), ratio * centres - np.float32(0.5))
    left = position.astype(np.int32)
    return left, np.minimum(left + 1, source - 1), position - left.astype(np.float32)


def interpolate(x: jax.Array, length: int) -> jax.Array:
    """Linear interpolation in time: (batch, time, channels) -> (batch, length, channels)."""
    left, right, weights = interpolation_weights(x.shape[1], length)
    weight = jnp.asarray(weights, x.dtype)[:, None]
    return (1 - weight) * x[:, left] + weight * x[:, right]
