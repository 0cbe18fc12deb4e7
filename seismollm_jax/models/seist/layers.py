"""What every part of SeisT is made of: its first weights, pooling, dropout of paths."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from seismollm_jax.models.dropout import Dropout
from seismollm_jax.models.layers import BatchNorm, conv1d

# All weights start normal with this deviation, all biases at zero.
weight_init = nnx.initializers.normal(0.02)


def convolution(
    inputs: int,
    outputs: int,
    kernel: int = 1,
    *,
    stride: int = 1,
    groups: int = 1,
    bias: bool = False,
    dtype: DTypeLike,
    rngs: nnx.Rngs,
) -> nnx.Conv:
    """A convolution over time with SeisT's first weights; no padding of its own."""
    return conv1d(
        inputs,
        outputs,
        kernel,
        stride=stride,
        groups=groups,
        bias=bias,
        kernel_init=weight_init,
        bias_init=nnx.initializers.zeros_init(),
        dtype=dtype,
        rngs=rngs,
    )


def drop_path(rate: float) -> nnx.Dropout:
    """Stochastic depth: drops a branch for some samples of the batch (arXiv 1603.09382)."""
    return nnx.Dropout(rate, broadcast_dims=(1, 2))


def dropped(dropout: Dropout | nnx.Dropout, x: jax.Array, rngs: nnx.Rngs | None) -> jax.Array:
    """Dropout, which no random stream switches off."""
    return dropout(x, deterministic=rngs is None, rngs=rngs)


def pooled(x: jax.Array, size: int) -> jax.Array:
    """Mean plus maximum of windows of `size` samples; the last window may have fewer.

    (batch, time, channels) -> (batch, ceil(time / size), channels).
    """
    batch, time, channels = x.shape
    windows = -(-time // size)

    def cut(fill: float) -> jax.Array:
        padding = ((0, 0), (0, windows * size - time), (0, 0))
        padded = jnp.pad(x, padding, constant_values=fill)
        return padded.reshape(batch, windows, size, channels)

    counts = jnp.minimum(time - size * jnp.arange(windows), size).astype(x.dtype)
    samples = cut(-jnp.inf)
    largest = samples[:, :, 0]
    # In place of max(2), whose gradient looks for the samples that equal the maximum: compilers
    # work them out twice, not always to the last bit. Of equal ones the first counts, as in
    # PyTorch.
    for i in range(1, size):
        largest = jnp.where(samples[:, :, i] > largest, samples[:, :, i], largest)
    return cut(0).sum(2) / counts[:, None] + largest


class Aggregation(nnx.Module):
    """Mean plus maximum of every `size` samples, 1x1 convolution, batch norm."""

    def __init__(self, inputs: int, outputs: int, size: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.proj = convolution(inputs, outputs, dtype=dtype, rngs=rngs)
        self.norm = BatchNorm(outputs, dtype=dtype)
        self.size = size

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None = None, *, train: bool) -> jax.Array:
        del rngs  # nothing is dropped here; blocks are called alike
        if self.size > 1:
            x = pooled(x, self.size)
        return self.norm(self.proj(x), train=train)


class MLP(nnx.Module):
    """The position-wise feed-forward part: wider by `ratio`, exact GELU, back, dropout."""

    def __init__(
        self, channels: int, ratio: float, rate: float, *, dtype: DTypeLike, rngs: nnx.Rngs
    ):
        width = int(ratio * channels)
        self.expand = convolution(channels, width, bias=True, dtype=dtype, rngs=rngs)
        self.project = convolution(width, channels, bias=True, dtype=dtype, rngs=rngs)
        self.dropout = Dropout(rate)

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None) -> jax.Array:
        x = self.project(jax.nn.gelu(self.expand(x), approximate=False))
        return dropped(self.dropout, x, rngs)
