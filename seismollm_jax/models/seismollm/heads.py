"""The two heads: one answer per sample, or one answer per window."""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from seismollm_jax.models.layers import (
    RunBlock,
    UpLayer,
    auto_pad,
    call_block,
    conv1d,
    uniform_bias,
    uniform_fan_in,
    upsampling_sizes,
)

POOL_KERNEL, POOL_STRIDE = 16, 4


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
