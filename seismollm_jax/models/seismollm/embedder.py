"""Multi-scale convolutional embedder: seismogram in, feature sequence at an eighth of the rate out.

SeisMoLLM (arXiv 2502.19960), section on the multi-scale convolutional embedder; sizes and paddings
as in the published PyTorch code.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from seismollm_jax.models.layers import BatchNorm, RunBlock, auto_pad, call_block, conv1d


class Branch(nnx.Module):
    """One scale of a block: 1x1 convolution, wide strided convolution, batch norm, exact GELU."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        kernel: int,
        stride: int,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        self.in_proj = conv1d(inputs, inputs, 1, bias=False, dtype=dtype, rngs=rngs)
        self.conv = conv1d(
            inputs, outputs, kernel, stride=stride, bias=False, dtype=dtype, rngs=rngs
        )
        self.norm = BatchNorm(outputs, dtype=dtype)
        self.kernel, self.stride = kernel, stride

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = self.conv(auto_pad(self.in_proj(x), self.kernel, self.stride))
        return jax.nn.gelu(self.norm(x, train=train), approximate=False)


class MultiScaleBlock(nnx.Module):
    """Parallel branches of growing kernel, concatenated and projected; no activation at the end."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        kernels: Sequence[int],
        stride: int,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        self.branches = nnx.List(
            Branch(inputs, outputs, kernel=kernel, stride=stride, dtype=dtype, rngs=rngs)
            for kernel in kernels
        )
        self.out_proj = conv1d(
            len(kernels) * outputs, outputs, 1, bias=False, dtype=dtype, rngs=rngs
        )
        self.norm = BatchNorm(outputs, dtype=dtype)

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        scales = [branch(x, train=train) for branch in self.branches]
        return self.norm(self.out_proj(jnp.concatenate(scales, axis=-1)), train=train)


class Embedder(nnx.Module):
    """Blocks in sequence: (batch, samples, components) -> (batch, ceil(samples/8), features).

    The eighth is the product of the default strides 2, 2, 2, 1.
    """

    def __init__(
        self,
        *,
        components: int,
        channels: Sequence[int],
        kernels: Sequence[int],
        kernel_steps: Sequence[int],
        strides: Sequence[int],
        scales: int,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        inputs = (components, *channels[:-1])
        self.blocks = nnx.List(
            MultiScaleBlock(
                width_in,
                width_out,
                kernels=[kernel + step * scale for scale in range(scales)],
                stride=stride,
                dtype=dtype,
                rngs=rngs,
            )
            for width_in, width_out, kernel, step, stride in zip(
                inputs, channels, kernels, kernel_steps, strides, strict=True
            )
        )

    def __call__(self, x: jax.Array, *, train: bool, run_block: RunBlock = call_block) -> jax.Array:
        for block in self.blocks:
            x = run_block(block, x, train=train)
        return x
