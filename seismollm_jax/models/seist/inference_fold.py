"""The arrays of a trained SeisT, merged as far as linear layers follow one another.

All of it is exact in real arithmetic, and computed in float64 and rounded once. Published weights
have running variances down to 1e-11, so that factors of some hundred follow tiny products.

- A batch norm that uses its running statistics is a factor and a shift for each channel, and the
  layer before or behind it is linear.
- The three convolutions of a branch of the stem are one, of all channels with all; the zeros padded
  ahead of the middle one are what the first, which has no bias, makes of zeros. The branches of a
  block are one convolution too, the shorter kernels filled up with zeros: so few channels leave a
  processor idle anyway, and convolutions of single channels are what it is worst at.
- Parallel branches of later blocks begin with one product. What follows stays branch by branch: one
  product with zeros between them would take 1.1 to 1.3 of the time (2 CPU cores, float32).
- In attention, queries are made of the same input as what is attended for, and keys and values of
  pooled samples by one product. A constant in all keys changes nothing, since the softmax does not
  see it, and one in all values comes out as it is.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from seismollm_jax.models.folded import Affine, Plain, filled
from seismollm_jax.models.output import Output
from seismollm_jax.models.seist.config import SeisTConfig, StageConfig


class Grouped(NamedTuple):
    """A grouped block.

    Attributes:
        conv: kernel (time, channels of a group, channels).
        proj: kernel (channels, channels).
        expand, project: feed-forward part.
    """

    conv: Affine
    proj: Any
    expand: Affine
    project: Affine


class MultiScale(NamedTuple):
    """A multi-scale block: `enter` for all branches; the closing norm is a factor and a shift."""

    enter: Affine
    branches: list[Grouped]
    norm: Affine


class Transformer(NamedTuple):
    """A transformer layer.

    Attributes:
        enter: to what attention is for, the query of each head, scaled, without pooling key and
            value, and the input of the grouped part.
        context: pooled samples to key and value, (width, 2 * width); None without pooling.
        leave: the projection behind attention.
        grouped: None where attention has all channels.
        norm: factor and shift of everything.
        expand, project: feed-forward part.
    """

    enter: Affine
    context: Any
    leave: Affine
    grouped: Grouped | None
    norm: Affine
    expand: Affine
    project: Affine


class Stage(NamedTuple):
    """A stage: what follows its pooling, and its blocks."""

    enter: Affine
    blocks: list[MultiScale | Transformer]


class Folded(NamedTuple):
    """All arrays of the inference graph.

    Attributes:
        stem: for each block its convolutions, kernels (time, inputs, outputs), and its projection.
        stages: of the encoder.
        head: per sample: the up-layers and the last convolution, kernels (inputs, time, outputs);
            per window: a linear layer.
    """

    stem: list[tuple[list[Affine], Affine]]
    stages: list[Stage]
    head: list[Affine]


class _Folder:
    """Makes the parts; kernels get the compute type, everything else, and the last layer, float32.

    Names of arrays go up to the part that is asked for.
    """

    def __init__(self, config: SeisTConfig, arrays: Mapping[str, Any]):
        self.config, self.own = config, Plain(arrays)
        self.dtype = jnp.dtype(config.compute_dtype)

    def kernel(self, kernel: np.ndarray) -> np.ndarray:
        return kernel.astype(np.float32).astype(self.dtype)

    def affine(
        self, kernel: np.ndarray, bias: np.ndarray, dtype: DTypeLike | None = None
    ) -> Affine:
        kernel = kernel.astype(np.float32).astype(dtype or self.dtype)
        return Affine(kernel, bias.astype(np.float32))

    def pointwise(self, name: str) -> np.ndarray:
        """(inputs, outputs) of a 1x1 convolution."""
        return self.own(f"{name}/kernel")[0]

    def normed(self, proj: str, norm: str) -> tuple[np.ndarray, np.ndarray]:
        """Kernel and bias of a 1x1 convolution without bias and the batch norm behind it."""
        factor, shift = self.own.norm(norm)
        return self.pointwise(proj) * factor, shift

    def biased(self, name: str) -> Affine:
        """A 1x1 convolution with a bias."""
        return self.affine(self.pointwise(name), self.own(f"{name}/bias"))

    def norm(self, name: str) -> Affine:
        return Affine(*(part.astype(np.float32) for part in self.own.norm(name)))

    def stem_block(self, name: str) -> tuple[list[Affine], Affine]:
        kernels, shifts = [], []
        for i in range(self.config.stem.branches):
            branch = f"{name}/branches/{i}"
            factor, shift = self.own.norm(f"{branch}/norm")
            depthwise = self.own(f"{branch}/depthwise/kernel")[:, 0]  # (time, inputs)
            behind = self.pointwise(f"{branch}/pointwise") * factor
            kernels.append(self.pointwise(f"{branch}/in_proj") * depthwise[:, None] @ behind)
            shifts.append(shift)
        together = filled(kernels)
        if together is None:
            convs = [self.affine(*pair) for pair in zip(kernels, shifts, strict=True)]
        else:
            convs = [self.affine(together, np.concatenate(shifts))]
        return convs, self.affine(*self.normed(f"{name}/out_proj", f"{name}/norm"))

    def grouped(self, name: str) -> Grouped:
        factor, shift = self.own.norm(f"{name}/norm0")
        ahead, constant = self.own.norm(f"{name}/norm1")
        wide = self.pointwise(f"{name}/mlp/expand")
        return Grouped(
            self.affine(self.own(f"{name}/conv/kernel") * factor, shift),
            self.kernel(self.pointwise(f"{name}/proj")),
            self.affine(
                ahead[:, None] * wide, constant @ wide + self.own(f"{name}/mlp/expand/bias")
            ),
            self.biased(f"{name}/mlp/project"),
        )

    def multi_scale(self, name: str) -> MultiScale:
        branches = [f"{name}/branches/{i}" for i in range(len(self.config.kernels))]
        entries = [self.normed(f"{branch}/proj", f"{branch}/norm") for branch in branches]
        kernels, shifts = zip(*entries, strict=True)
        return MultiScale(
            self.affine(np.concatenate(kernels, 1), np.concatenate(shifts)),
            [self.grouped(f"{branch}/grouped") for branch in branches],
            self.norm(f"{name}/norm"),
        )

    def transformer(self, name: str, stage: StageConfig) -> Transformer:
        attention = f"{name}/attention"
        enter, shift = self.normed(f"{name}/attention_proj", f"{name}/attention_norm")
        query = self.pointwise(f"{attention}/query") / stage.head_width**0.5
        query_bias = self.own(f"{attention}/query/bias") / stage.head_width**0.5
        pair = np.concatenate(
            [self.pointwise(f"{attention}/{part}") for part in ("key", "value")], 1
        )
        kernels, shifts = [enter, enter @ query], [shift, shift @ query + query_bias]
        if stage.attention_pooling > 1:
            kernel, constant = self.normed(
                f"{attention}/aggregation/proj", f"{attention}/aggregation/norm"
            )
            factor, offset = self.own.norm(f"{attention}/norm")
            context = self.kernel(kernel * factor @ pair)
            constant = constant * factor + offset
        else:
            context, constant = None, shift
            kernels.append(enter @ pair)
            shifts.append(np.zeros(pair.shape[1]))
        value_bias = constant @ self.pointwise(f"{attention}/value")
        value_bias = value_bias + self.own(f"{attention}/value/bias")
        leave = self.pointwise(f"{attention}/out")
        leave_bias = value_bias @ leave + self.own(f"{attention}/out/bias")
        grouped = None
        if self.config.attention_width(stage) < stage.channels:
            kernel, shift = self.normed(f"{name}/conv_proj", f"{name}/conv_norm")
            kernels.append(kernel)
            shifts.append(shift)
            grouped = self.grouped(f"{name}/grouped")
        return Transformer(
            self.affine(np.concatenate(kernels, 1), np.concatenate(shifts)),
            context,
            self.affine(leave, leave_bias),
            grouped,
            self.norm(f"{name}/norm"),
            self.biased(f"{name}/mlp/expand"),
            self.biased(f"{name}/mlp/project"),
        )

    def stage(self, name: str, stage: StageConfig) -> Stage:
        first = stage.blocks - stage.transformers
        blocks = [f"{name}/blocks/{b}" for b in range(stage.blocks)]
        return Stage(
            self.affine(*self.normed(f"{name}/aggregation/proj", f"{name}/aggregation/norm")),
            [
                *(self.multi_scale(block) for block in blocks[:first]),
                *(self.transformer(block, stage) for block in blocks[first:]),
            ],
        )

    def per_sample(self) -> list[Affine]:
        layers = []
        for i in range(len(self.config.halvings())):
            factor, shift = self.own.norm(f"head/up_layers/{i}/norm")
            kernel = self.own(f"head/up_layers/{i}/conv/kernel") * factor
            bias = self.own(f"head/up_layers/{i}/conv/bias") * factor + shift
            layers.append(self.affine(kernel.swapaxes(0, 1), bias))
        last = self.own("head/out_conv/kernel").swapaxes(0, 1)
        return [*layers, self.affine(last, self.own("head/out_conv/bias"), jnp.float32)]

    def per_window(self) -> list[Affine]:
        kernel, bias = (self.own(f"head/linear/{part}") for part in ("kernel", "bias"))
        return [self.affine(kernel, bias, jnp.float32)]


def fold(config: SeisTConfig, output: Output, arrays: Mapping[str, Any]) -> Folded:
    """Arrays of the plain network, by name, to those of the inference graph, on the host."""
    folder = _Folder(config, arrays)
    return Folded(
        [folder.stem_block(f"stem/blocks/{b}") for b in range(len(config.stem.kernels))],
        [folder.stage(f"stages/{s}", stage) for s, stage in enumerate(config.stages)],
        folder.per_sample() if output.per_sample else folder.per_window(),
    )
