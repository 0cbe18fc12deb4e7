"""Multi-scale convolutional embedder: seismogram in, feature sequence at an eighth of the rate out.

SeisMoLLM (arXiv 2502.19960), section on the multi-scale convolutional embedder; sizes and paddings
as in the published PyTorch code.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from seismollm_jax.models.batch_norm import BatchNorm
from seismollm_jax.models.layers import (
    RunBlock,
    auto_padding,
    call_block,
    conv1d,
    convolve,
    convolve_together,
)

FEW = 64  # outputs of a branch, below which branches are computed together


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

    def composed(self) -> jax.Array:
        """Both convolutions as one, kernel (time, inputs, outputs); nothing lies between them."""
        return jnp.einsum(
            "ij,kjo->kio", self.in_proj.kernel[0], self.conv.kernel[...], precision="highest"
        )


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
        self.norm, self.stride = BatchNorm(outputs, dtype=dtype), stride

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        norms = [branch.norm for branch in self.branches]
        kernels = [branch.composed() for branch in self.branches]
        if kernels[0].shape[2] < FEW:
            # One convolution with the narrower kernels filled up with zeros: for few outputs it
            # takes as long as one of the branches.
            y = convolve_together(x, kernels, stride=self.stride)
            y = BatchNorm.together(y, norms, gelu=True, train=train)
        else:
            scales = []
            for kernel, norm in zip(kernels, norms, strict=True):
                padding = auto_padding(x.shape[1], len(kernel), self.stride)
                scale = convolve(x, kernel, padding=padding, stride=self.stride)
                scales.append(BatchNorm.together(scale, [norm], gelu=True, train=train))
            y = jnp.concatenate(scales, axis=-1)
        return self.norm(self.out_proj(y), train=train)


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
