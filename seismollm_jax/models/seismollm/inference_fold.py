"""The arrays of a trained SeisMoLLM, merged as far as linear layers follow one another.

All of it is exact in real arithmetic, and computed in float64 and rounded once, so that only the
rounding of the network's own float32 is left:

- An adapter is a product of matrices beside a matrix: kernel + (alpha / rank) A B.
- A batch norm that uses its running statistics is a factor and a shift for each channel, and the
  layer before it has no activation: kernel * factor, bias * factor + shift.
- The 1x1 convolution ahead of a branch has no bias, so the zeros padded behind it are what it
  makes of zeros padded ahead of it, and the two convolutions are one at the edges too. (The
  shift of a block's closing batch norm cannot move into the next block for the same reason: the
  padding there stands for zeros behind the shift.)
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from seismollm_jax.models.folded import Affine, Plain, filled
from seismollm_jax.models.output import Output
from seismollm_jax.models.seismollm.model import SeisMoLLMConfig

FUSED_BELOW = 32
"""Branches with fewer channels become one convolution, the shorter kernels filled up with zeros.

A processor multiplies by the zeros too, but sixteen channels leave most of it idle anyway: the
first block takes 0.84 of the time, and the others, with 48 and 96 channels, would take 1.15 to
1.35 of it (2 CPU cores, float32).
"""


class Norm(NamedTuple):
    """A layer norm."""

    scale: Any
    bias: Any


class Block(NamedTuple):
    """A block of GPT-2."""

    ln_1: Norm
    c_attn: Affine
    attn_proj: Affine
    ln_2: Norm
    c_fc: Affine
    mlp_proj: Affine


class Folded(NamedTuple):
    """All arrays of the inference graph.

    Attributes:
        embedder: for each block its convolutions, kernels (time, inputs, outputs), and the
            projection behind them.
        positions: (positions, width).
        blocks: of GPT-2.
        ln_f: the norm behind them.
        head: per sample: the up-layers and the last convolution, kernels (inputs, time, outputs);
            per window: strided convolutions, kernels (time, inputs, outputs), and a linear layer.
    """

    embedder: list[tuple[list[Affine], Affine]]
    positions: Any
    blocks: list[Block]
    ln_f: Norm
    head: list[Affine]


class _Arrays(Plain):
    def linear(self, name: str, scale: float) -> tuple[np.ndarray, np.ndarray]:
        """A layer of GPT-2 with what its adapter adds."""
        kernel = self(f"{name}/base/kernel")
        if f"{name}/lora_a" in self:
            kernel = kernel + scale * (self(f"{name}/lora_a") @ self(f"{name}/lora_b"))
        return kernel, self(f"{name}/base/bias")


def _fuse(kernels: list[np.ndarray], biases: list[np.ndarray]) -> list[tuple[np.ndarray, ...]]:
    """Sibling convolutions (time, inputs, outputs) as one, if that pays and can be."""
    together = None if kernels[0].shape[2] >= FUSED_BELOW else filled(kernels)
    if together is None:
        return list(zip(kernels, biases, strict=True))
    return [(together, np.concatenate(biases))]


def fold(config: SeisMoLLMConfig, output: Output, arrays: Mapping[str, Any]) -> Folded:
    """Arrays of the plain network, by name, to those of the inference graph, on the host.

    Kernels have the compute type, everything else, and the last layer, is float32.
    """
    own, dtype = _Arrays(arrays), jnp.dtype(config.compute_dtype)

    def affine(kernel: np.ndarray, bias: np.ndarray, kernel_dtype: DTypeLike = dtype) -> Affine:
        return Affine(kernel.astype(np.float32).astype(kernel_dtype), bias.astype(np.float32))

    def layer_norm(name: str) -> Norm:
        return Norm(*(own(f"{name}/{part}").astype(np.float32) for part in ("scale", "bias")))

    embedder = []
    for b in range(len(config.embedder.kernels)):
        kernels, shifts = [], []
        for i in range(config.embedder.scales):
            branch = f"embedder/blocks/{b}/branches/{i}"
            factor, shift = own.norm(f"{branch}/norm")
            ahead, kernel = own(f"{branch}/in_proj/kernel")[0], own(f"{branch}/conv/kernel")
            kernels.append(ahead @ kernel * factor)  # for each time, (inputs, outputs)
            shifts.append(shift)
        factor, shift = own.norm(f"embedder/blocks/{b}/norm")
        project = affine(own(f"embedder/blocks/{b}/out_proj/kernel")[0] * factor, shift)
        embedder.append(([affine(*pair) for pair in _fuse(kernels, shifts)], project))

    adapters = config.adapters
    scale = adapters.alpha / adapters.rank if adapters.rank else 0.0
    blocks = []
    for b in range(config.layers):
        block = f"backbone/blocks/{b}"
        blocks.append(
            Block(
                layer_norm(f"{block}/ln_1"),
                affine(*own.linear(f"{block}/attn/c_attn", scale)),
                affine(*own.linear(f"{block}/attn/c_proj", scale)),
                layer_norm(f"{block}/ln_2"),
                affine(*own.linear(f"{block}/mlp/c_fc", scale)),
                affine(*own.linear(f"{block}/mlp/c_proj", scale)),
            )
        )
    return Folded(
        embedder,
        own("backbone/wpe").astype(np.float32),
        blocks,
        layer_norm("backbone/ln_f"),
        _per_sample(config, own, affine) if output.per_sample else _pooled(own, affine),
    )


def _per_sample(config: SeisMoLLMConfig, own: _Arrays, affine: Any) -> list[Affine]:
    layers = []
    for i in range(len(config.head_channels)):
        factor, shift = own.norm(f"head/up_layers/{i}/norm")
        kernel = own(f"head/up_layers/{i}/conv/kernel") * factor
        bias = own(f"head/up_layers/{i}/conv/bias") * factor + shift
        layers.append(affine(kernel.swapaxes(0, 1), bias))
    last = "head/out_conv"
    kernel = own(f"{last}/kernel").swapaxes(0, 1)
    return [*layers, affine(kernel, own(f"{last}/bias"), jnp.float32)]


def _pooled(own: _Arrays, affine: Any) -> list[Affine]:
    convolutions = [
        affine(own(f"head/convs/{i}/kernel"), own(f"head/convs/{i}/bias")) for i in range(2)
    ]
    last = "head/linear"
    return [*convolutions, affine(own(f"{last}/kernel"), own(f"{last}/bias"), jnp.float32)]
