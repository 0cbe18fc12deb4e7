"""SeisMoLLM for use alone: the same function as `model.SeisMoLLM`, with fewer operations.

The arrays come from `inference_fold`. What is left here is the computation: no dropout, no
adapters, no batch norms, and a head whose matrix products are done before upsampling.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from seismollm_jax.models.folded import Affine
from seismollm_jax.models.inference_head import answer, answer_per_sample, gelu
from seismollm_jax.models.layers import auto_padding, convolve
from seismollm_jax.models.output import Output
from seismollm_jax.models.seismollm.gpt2 import ACTIVATIONS
from seismollm_jax.models.seismollm.heads import POOL_STRIDE
from seismollm_jax.models.seismollm.inference_fold import Block, Folded, Norm
from seismollm_jax.models.seismollm.model import SeisMoLLMConfig, from_tokens, to_tokens


def run(
    config: SeisMoLLMConfig,
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
    features = embed(config, arrays, x.astype(config.compute_dtype))
    hidden = think(config, arrays, to_tokens(features, config.patch_size))
    sequence = from_tokens(hidden, config.patch_size)

    def logits(layers: Sequence[Affine]) -> jax.Array:
        if output.per_sample:
            return answer_per_sample(layers, sequence, x.shape[1])
        return answer_per_window(layers, sequence)

    return answer(output, arrays.head, channels, logits)


def embed(config: SeisMoLLMConfig, arrays: Folded, x: jax.Array) -> jax.Array:
    """(batch, samples, components) -> (batch, ceil(samples / 8), features)."""
    for (branches, project), stride in zip(arrays.embedder, config.embedder.strides, strict=True):
        scales = []
        for kernel, bias in branches:
            padding = auto_padding(x.shape[1], len(kernel), stride)
            y = convolve(x, kernel, stride=stride, padding=padding)
            scales.append(gelu(y + bias, x.dtype))
        y = jnp.concatenate(scales, -1) @ project.kernel
        x = (y + project.bias).astype(x.dtype)
    return x


def layer_norm(x: jax.Array, norm: Norm, epsilon: float) -> jax.Array:
    """Over the last axis, in float32, with the two-pass variance."""
    y = x.astype(jnp.float32)
    y = y - y.mean(-1, keepdims=True)
    factor = lax.rsqrt(jnp.square(y).mean(-1, keepdims=True) + epsilon)
    return (y * factor * norm.scale + norm.bias).astype(x.dtype)


def think(config: SeisMoLLMConfig, arrays: Folded, x: jax.Array) -> jax.Array:
    """GPT-2: (batch, tokens, width) unchanged.

    All windows' tokens are rows of one matrix outside of attention, which the compiler would not
    arrange by itself: 0.93 of the time for 8 windows of 8192 samples on 2 CPU cores.
    """
    batch, tokens, width = x.shape
    epsilon = config.gpt2.layer_norm_epsilon
    x = (x + arrays.positions[:tokens].astype(x.dtype)).reshape(batch * tokens, width)
    for block in arrays.blocks:
        x = x + attend(config, block, layer_norm(x, block.ln_1, epsilon), tokens)
        y = linear(layer_norm(x, block.ln_2, epsilon), block.c_fc)
        y = ACTIVATIONS[config.gpt2.activation_function](y)
        x = x + linear(y, block.mlp_proj)
    return layer_norm(x, arrays.ln_f, epsilon).reshape(batch, tokens, width)


def linear(x: jax.Array, layer: Affine) -> jax.Array:
    """(rows, inputs) -> (rows, outputs)."""
    return (x @ layer.kernel + layer.bias).astype(x.dtype)


def attend(config: SeisMoLLMConfig, block: Block, x: jax.Array, tokens: int) -> jax.Array:
    """Causal self-attention within windows: (batch * tokens, width) unchanged."""
    heads = config.gpt2.n_head
    rows, width = x.shape
    qkv = linear(x, block.c_attn).reshape(-1, tokens, 3, heads, width // heads)
    query, key, value = qkv.transpose(2, 0, 3, 1, 4)  # (batch, heads, tokens, head)
    scores = jnp.einsum("bhqd,bhkd->bhqk", query, key, preferred_element_type=jnp.float32)
    causal = jnp.tril(jnp.ones((tokens, tokens), bool))
    scores = jnp.where(causal, scores / (width // heads) ** 0.5, -jnp.inf)
    mixed = jnp.einsum("bhqk,bhkd->bqhd", jax.nn.softmax(scores).astype(x.dtype), value)
    return linear(mixed.reshape(rows, width), block.attn_proj)


def answer_per_window(layers: Sequence[Affine], x: jax.Array) -> jax.Array:
    """Pooling head: (batch, time, features) -> logits (batch, channels), float32."""
    for kernel, bias in layers[:-1]:
        x = (convolve(x, kernel, padding=(0, 0), stride=POOL_STRIDE) + bias).astype(x.dtype)
    return x.astype(jnp.float32).mean(1) @ layers[-1].kernel + layers[-1].bias
