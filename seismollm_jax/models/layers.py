"""Layers that more than one model family needs, with PyTorch's conventions."""

import functools
import math
from collections.abc import Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from seismollm_jax.models.batch_norm import BatchNorm
from seismollm_jax.models.interpolation import interpolate

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
    groups: int = 1,
    bias: bool,
    kernel_init: nnx.Initializer = uniform_fan_in,
    bias_init: nnx.Initializer | None = None,
    dtype: DTypeLike,
    rngs: nnx.Rngs,
) -> nnx.Conv:
    """A convolution over time without padding of its own; kernel (time, inputs/groups, outputs).

    Initial values are PyTorch's own unless others are given.
    """
    return nnx.Conv(
        inputs,
        outputs,
        (kernel,),
        strides=stride,
        padding="VALID",
        feature_group_count=groups,
        use_bias=bias,
        kernel_init=kernel_init,
        bias_init=bias_init or uniform_bias(inputs // groups * kernel),
        dtype=dtype,
        rngs=rngs,
    )


def auto_padding(length: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros left and right that make a convolution's output ceil(length / stride) long.

    The larger half of an odd total goes to the right.
    """
    total = -length % stride + kernel - stride
    return total // 2, total - total // 2


def convolve(
    x: jax.Array, kernel: jax.Array, *, padding: tuple[int, int], stride: int = 1, groups: int = 1
) -> jax.Array:
    """Convolution over time with zeros around: (batch, time, inputs) -> (batch, ..., outputs).

    The zeros are never written to memory, and the gradient cuts nothing off.
    """
    return jax.lax.conv_general_dilated(
        x,
        kernel.astype(x.dtype),
        (stride,),
        [padding],
        dimension_numbers=("NWC", "WIO", "NWC"),
        feature_group_count=groups,
    )


def convolve_together(x: jax.Array, kernels: Sequence[jax.Array], *, stride: int) -> jax.Array:
    """Several convolutions with `auto_padding` as one, their outputs side by side.

    Args:
        x: (batch, time, inputs).
        kernels: (time, inputs, outputs) each; the shorter ones are filled up with zeros.
        stride: of all.
    """
    paddings = [auto_padding(x.shape[1], len(kernel), stride) for kernel in kernels]
    before, after = (max(sides) for sides in zip(*paddings, strict=True))
    filled = [
        jnp.pad(kernel, ((before - left, after - right), (0, 0), (0, 0)))
        for kernel, (left, right) in zip(kernels, paddings, strict=True)
    ]
    kernel = jnp.concatenate(filled, axis=2)
    return convolve(x, kernel, padding=(before, after), stride=stride)


def auto_pad(x: jax.Array, kernel: int, stride: int = 1) -> jax.Array:
    """Pads time with `auto_padding` zeros: (batch, time, channels) -> (batch, padded, channels)."""
    return jnp.pad(x, ((0, 0), auto_padding(x.shape[1], kernel, stride), (0, 0)))


def upsampling_sizes(features: int, samples: int, layers: int) -> list[int]:
    """Lengths after each of some upsampling layers: a geometric ladder to `samples`.

    Each is truncated from the already truncated one behind it, in double precision.
    """
    factor = (samples / features) ** (1 / layers)
    sizes = [samples]
    while len(sizes) < layers:
        sizes.append(int(sizes[-1] / factor))
    return sizes[::-1]


def stretched_convolution(
    x: jax.Array, kernel: jax.Array, length: int, padding: tuple[int, int]
) -> jax.Array:
    """Interpolation to a length, then convolution: (batch, time, inputs) to (..., outputs)."""
    return convolve(interpolate(x, length), kernel, padding=padding)


def stretched_products(
    x: jax.Array, kernel: jax.Array, length: int, padding: tuple[int, int]
) -> jax.Array:
    """The same in another order: products for each position of the kernel, interpolated, added."""
    taps, inputs, outputs = kernel.shape
    # As a convolution of one tap, whose arrays lie in memory as those of the convolutions before;
    # a matrix product turns them over, there and back. On CPUs too it takes half the time.
    taps_beside = kernel.swapaxes(0, 1).reshape(1, inputs, taps * outputs)
    products = convolve(x, taps_beside, padding=(0, 0))
    shifted = []
    # The gradient of a split is one concatenation; that of slices would be a sum of so many.
    for k, part in enumerate(jnp.split(interpolate(products, length), taps, axis=-1)):
        before, after = padding[0] - k, padding[1] - (taps - 1 - k)  # zeros, or samples cut off
        part = part.astype(jnp.float32)
        shifted.append(jax.lax.pad(part, 0.0, ((0, 0, 0), (before, after, 0), (0, 0, 0))))
    return functools.reduce(jnp.add, shifted).astype(x.dtype)


class UpLayer(nnx.Module):
    """Linear interpolation, convolution with bias, batch norm, exact GELU."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        kernel_init: nnx.Initializer = uniform_fan_in,
        bias_init: nnx.Initializer | None = None,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        self.conv = conv1d(
            inputs,
            outputs,
            kernel,
            bias=True,
            kernel_init=kernel_init,
            bias_init=bias_init,
            dtype=dtype,
            rngs=rngs,
        )
        self.norm = BatchNorm(outputs, dtype=dtype)
        self.kernel = kernel

    def __call__(self, x: jax.Array, length: int, *, train: bool) -> jax.Array:
        padding = auto_padding(length, self.kernel, 1)
        conv: Any = self.conv  # whose type allows for no bias
        kernel, bias = conv.kernel[...], conv.bias[...]
        # With few outputs the products are made before time is stretched, which has fewer of them
        # and spares the stretched input, by far the largest array of the network.
        few = self.kernel * kernel.shape[2] < kernel.shape[1]
        stretch = stretched_products if few else stretched_convolution
        y = stretch(x.astype(self.norm.dtype), kernel, length, padding) + bias.astype(x.dtype)
        return BatchNorm.together(y, [self.norm], gelu=True, train=train)
