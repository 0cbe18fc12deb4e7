"""The two heads: one answer per sample, or one answer per window."""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from seismollm_jax.models.layers import (
    BatchNorm,
    RunBlock,
    auto_pad,
    call_block,
    conv1d,
    interpolate,
    uniform_bias,
    uniform_fan_in,
)

POOL_KERNEL, POOL_STRIDE = 16, 4


def upsampling_sizes(features: int, samples: int, layers: int) -> list[int]:
    """Lengths after each up-layer: a geometric ladder from `features` to `samples`.

    Each is truncated from the already truncated one behind it, in double precision.
    """
    factor = (samples / features) ** (1 / layers)
    sizes = [samples]
    while len(sizes) < layers:
        sizes.append(int(sizes[-1] / factor))
    return sizes[::-1]


class UpLayer(nnx.Module):
    """Linear interpolation, convolution with bias, batch norm, exact GELU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, dtype, rngs: nnx.Rngs):
        self.conv = conv1d(inputs, outputs, kernel, bias=True, dtype=dtype, rngs=rngs)
        self.norm = BatchNorm(outputs, dtype=dtype)
        self.kernel = kernel

    def __call__(self, x: jax.Array, length: int, *, train: bool) -> jax.Array:
        x = self.conv(auto_pad(interpolate(x, length), self.kernel))
        return jax.nn.gelu(self.norm(x, train=train), approximate=False)


class PerSampleHead(nnx.Module):
    """Upsamples features back to waveform samples: (batch, time, features) -> (batch, samples, k).

    Channels and kernels run through the embedder's in reverse. The first entry of `channels` is
    replaced by twice the output channels, as in the PyTorch original.
    """

    def __init__(
        self,
        features: int,
        outputs: int,
        *,
        channels: Sequence[int],
        kernels: Sequence[int],
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        widths = [features, *channels[:0:-1], 2 * outputs]
        self.up_layers = nnx.List(
            UpLayer(inputs, width, kernel, dtype=dtype, rngs=rngs)
            for (inputs, width), kernel in zip(
                itertools.pairwise(widths), kernels[::-1], strict=True
            )
        )
        # The last layer is float32 whatever the compute dtype: rounded logits would flatten peaks.
        self.out_conv = conv1d(widths[-1], outputs, 7, bias=True, dtype=jnp.float32, rngs=rngs)

    def __call__(
        self, x: jax.Array, samples: int, *, train: bool, run_block: RunBlock = call_block
    ) -> jax.Array:
        sizes = upsampling_sizes(x.shape[1], samples, len(self.up_layers))
        for layer, size in zip(self.up_layers, sizes, strict=True):
            x = run_block(layer, x, length=size, train=train)
        return self.out_conv(auto_pad(x, 7))


class PooledHead(nnx.Module):
    """Two strided convolutions, mean over time, linear: (batch, time, features) -> (batch, k)."""

    def __init__(self, features: int, outputs: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.convs = nnx.List(
            conv1d(
                features,
                features,
                POOL_KERNEL,
                stride=POOL_STRIDE,
                bias=True,
                dtype=dtype,
                rngs=rngs,
            )
            for _ in range(2)
        )
        self.linear = nnx.Linear(
            features,
            outputs,
            kernel_init=uniform_fan_in,
            bias_init=uniform_bias(features),
            dtype=jnp.float32,
            rngs=rngs,
        )

    def __call__(
        self, x: jax.Array, samples: int, *, train: bool, run_block: RunBlock = call_block
    ) -> jax.Array:
        del samples, train  # one answer per window, and nothing here depends on the mode
        for conv in self.convs:
            x = run_block(conv, x)
        return self.linear(x.astype(jnp.float32).mean(1))
