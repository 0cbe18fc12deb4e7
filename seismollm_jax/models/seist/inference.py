"""SeisT for use alone: the same function as `model.SeisT`, with fewer operations.

The arrays come from `inference_fold`, which says what became of the layers.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from seismollm_jax.models.folded import Affine
from seismollm_jax.models.inference_head import answer, answer_per_sample, gelu
from seismollm_jax.models.layers import auto_padding, convolve
from seismollm_jax.models.output import Output
from seismollm_jax.models.seist.config import SeisTConfig, StageConfig
from seismollm_jax.models.seist.inference_fold import Folded, Grouped, MultiScale, Transformer
from seismollm_jax.models.seist.layers import pooled


def run(
    config: SeisTConfig,
    output: Output,
    arrays: Folded,
    x: jax.Array,
    channels: Sequence[int] | None,
) -> jax.Array:
    """The network's output for normalised windows.

    Args:
        config: sizes.
        output: what the last layer gives.
        arrays: of `inference_fold.fold`.
        x: (batch, samples, components).
        channels: those of the output to compute, in this order; None for all.

    Returns:
        float32 (batch, samples, channels) or (batch, channels).
    """
    features = stem(config, arrays, x.astype(config.compute_dtype))
    for stage, folded in zip(config.stages, arrays.stages, strict=True):
        if stage.pooling > 1:
            features = pooled(features, stage.pooling)
        features = linear(features, folded.enter)
        for block in folded.blocks:
            if isinstance(block, MultiScale):
                features = multi_scale(block, features)
            else:
                features = transform(stage, config.attention_width(stage), block, features)

    def logits(layers: Sequence[Affine]) -> jax.Array:
        if output.per_sample:
            return answer_per_sample(layers, features, x.shape[1])
        return features.astype(jnp.float32).mean(1) @ layers[-1].kernel + layers[-1].bias

    return answer(output, arrays.head, channels, logits)


def linear(x: jax.Array, layer: Affine) -> jax.Array:
    """(batch, time, inputs) -> (batch, time, outputs)."""
    return (x @ layer.kernel + layer.bias).astype(x.dtype)


def stem(config: SeisTConfig, arrays: Folded, x: jax.Array) -> jax.Array:
    """(batch, samples, components) -> (batch, ceil(samples / 4), channels)."""
    for (branches, project), stride in zip(arrays.stem, config.stem.strides, strict=True):
        scales = []
        for kernel, bias in branches:
            padding = auto_padding(x.shape[1], len(kernel), stride)
            y = convolve(x, kernel, stride=stride, padding=padding)
            scales.append(gelu(y + bias, x.dtype))
        x = linear(jnp.concatenate(scales, -1), project)
    return x


def feed_forward(x: jax.Array, expand: Affine, project: Affine) -> jax.Array:
    """The position-wise part, without its residual."""
    return linear(gelu(x @ expand.kernel + expand.bias, x.dtype), project)


def grouped(block: Grouped, x: jax.Array) -> jax.Array:
    """A grouped block, with its residuals and once more its input."""
    taps, group, width = block.conv.kernel.shape
    padding = auto_padding(x.shape[1], taps, 1)
    y = convolve(x, block.conv.kernel, padding=padding, groups=width // group)
    y = x + gelu(y + block.conv.bias, x.dtype) @ block.proj
    return x + y + feed_forward(y, block.expand, block.project)


def multi_scale(block: MultiScale, x: jax.Array) -> jax.Array:
    """Branches of growing kernel."""
    widths = [len(branch.proj) for branch in block.branches]
    inputs = jnp.split(linear(x, block.enter), np.cumsum(widths)[:-1], -1)
    scales = [grouped(branch, y) for branch, y in zip(block.branches, inputs, strict=True)]
    x = jnp.concatenate(scales, -1)
    return (x * block.norm.kernel + block.norm.bias).astype(x.dtype)


def transform(stage: StageConfig, width: int, block: Transformer, x: jax.Array) -> jax.Array:
    """Attention on `width` channels beside a grouped convolution, then the feed-forward part."""
    y = linear(x, block.enter)
    x, query, rest = y[..., :width], y[..., width : 2 * width], y[..., 2 * width :]
    if block.context is None:
        pair, rest = rest[..., : 2 * width], rest[..., 2 * width :]
    else:
        pair = pooled(x, stage.attention_pooling) @ block.context
    key, value = jnp.split(pair, 2, -1)
    parts = [x + linear(attend(query, key, value, stage.head_width), block.leave)]
    if block.grouped is not None:
        parts.append(grouped(block.grouped, rest))
    x = (jnp.concatenate(parts, -1) * block.norm.kernel + block.norm.bias).astype(x.dtype)
    return x + feed_forward(x, block.expand, block.project)


def attend(query: jax.Array, key: jax.Array, value: jax.Array, head_width: int) -> jax.Array:
    """Of every sample to the pooled ones: (batch, time, width) unchanged."""
    batch, time, width = query.shape
    shape = (batch, -1, width // head_width, head_width)
    query, key, value = (part.reshape(shape) for part in (query, key, value))
    scores = jnp.einsum("bqhd,bkhd->bhqk", query, key, preferred_element_type=jnp.float32)
    weights = jax.nn.softmax(scores).astype(value.dtype)
    return jnp.einsum("bhqk,bkhd->bqhd", weights, value).reshape(batch, time, width)
