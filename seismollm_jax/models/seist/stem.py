"""The stem: seismogram in, features at a quarter of the rate out."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from seismollm_jax.models.layers import BatchNorm, RunBlock, call_block, convolve_together
from seismollm_jax.models.seist.config import StemConfig
from seismollm_jax.models.seist.layers import convolution


class Branch(nnx.Module):
    """One scale: 1x1, wide strided convolution of each channel by itself, 1x1, norm, exact GELU."""

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
        self.in_proj = convolution(inputs, inputs, dtype=dtype, rngs=rngs)
        self.depthwise = convolution(
            inputs, inputs, kernel, stride=stride, groups=inputs, dtype=dtype, rngs=rngs
        )
        self.pointwise = convolution(inputs, outputs, dtype=dtype, rngs=rngs)
        self.norm = BatchNorm(outputs, dtype=dtype)

    def composed(self) -> jax.Array:
        """All three convolutions as one, kernel (time, inputs, outputs); nothing lies between."""
        ahead, behind = self.in_proj.kernel[0], self.pointwise.kernel[0]
        depthwise = self.depthwise.kernel[:, 0]  # (time, inputs)
        return jnp.einsum("ij,kj,jo->kio", ahead, depthwise, behind, precision="highest")


class StemBlock(nnx.Module):
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
        self.out_proj = convolution(len(kernels) * outputs, outputs, dtype=dtype, rngs=rngs)
        self.norm, self.stride = BatchNorm(outputs, dtype=dtype), stride

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        # All branches as one convolution. Those of single channels are what processors are worst
        # at, and so few channels leave them idle as it is.
        kernels = [branch.composed() for branch in self.branches]
        norms = [branch.norm for branch in self.branches]
        y = convolve_together(x, kernels, stride=self.stride)
        y = BatchNorm.together(y, norms, gelu=True, train=train)
        return self.norm(self.out_proj(y), train=train)


class Stem(nnx.Module):
    """Blocks in sequence: (batch, samples, components) -> (batch, ceil(samples/4), channels).

    The quarter is the product of the default strides 2, 1, 1, 2.
    """

    def __init__(self, config: StemConfig, *, components: int, dtype: DTypeLike, rngs: nnx.Rngs):
        inputs = (components, *config.channels[:-1])
        self.blocks = nnx.List(
            StemBlock(
                width_in,
                width_out,
                kernels=[kernel + config.kernel_step * i for i in range(config.branches)],
                stride=stride,
                dtype=dtype,
                rngs=rngs,
            )
            for width_in, width_out, kernel, stride in zip(
                inputs, config.channels, config.kernels, config.strides, strict=True
            )
        )

    def __call__(self, x: jax.Array, *, train: bool, run_block: RunBlock = call_block) -> jax.Array:
        for block in self.blocks:
            x = run_block(block, x, train=train)
        return x
