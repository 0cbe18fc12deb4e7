"""The two kinds of blocks that SeisT's encoder is made of.

Grouped blocks carry a residual of their own, and stand where their input is added once more: it
counts twice, as in the PyTorch original.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from seismollm_jax.models.dropout import Dropout
from seismollm_jax.models.layers import BatchNorm, auto_pad
from seismollm_jax.models.seist.config import SeisTConfig, StageConfig
from seismollm_jax.models.seist.layers import (
    MLP,
    Aggregation,
    convolution,
    drop_path,
    dropped,
)

TRANSFORMER_KERNEL = 3  # of the convolution beside attention


class GroupedBlock(nnx.Module):
    """A grouped convolution and a feed-forward part, each with a residual of its own."""

    def __init__(
        self,
        channels: int,
        kernel: int,
        group: int,
        path_rate: float,
        config: SeisTConfig,
        *,
        rngs: nnx.Rngs,
    ):
        dtype = jnp.dtype(config.compute_dtype)
        self.conv = convolution(
            channels, channels, kernel, groups=channels // group, dtype=dtype, rngs=rngs
        )
        self.norm0 = BatchNorm(channels, dtype=dtype)
        self.proj = convolution(channels, channels, dtype=dtype, rngs=rngs)
        self.norm1 = BatchNorm(channels, dtype=dtype)
        self.mlp = MLP(
            channels, config.mlp_ratio, config.drop.mlp_drop_rate, dtype=dtype, rngs=rngs
        )
        self.path, self.kernel = drop_path(path_rate), kernel

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None, *, train: bool) -> jax.Array:
        y = self.norm0(self.conv(auto_pad(x, self.kernel)), train=train)
        y = self.proj(jax.nn.gelu(y, approximate=False))
        x = x + dropped(self.path, y, rngs)
        return x + dropped(self.path, self.mlp(self.norm1(x, train=train), rngs), rngs)


class Branch(nnx.Module):
    """One scale: 1x1 convolution, batch norm, and a grouped block on top of it."""

    def __init__(
        self,
        outputs: int,
        kernel: int,
        stage: StageConfig,
        path_rate: float,
        config: SeisTConfig,
        *,
        rngs: nnx.Rngs,
    ):
        dtype = jnp.dtype(config.compute_dtype)
        self.proj = convolution(stage.channels, outputs, dtype=dtype, rngs=rngs)
        self.norm = BatchNorm(outputs, dtype=dtype)
        self.grouped = GroupedBlock(outputs, kernel, stage.head_width, path_rate, config, rngs=rngs)

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None, *, train: bool) -> jax.Array:
        x = self.norm(self.proj(x), train=train)
        return x + self.grouped(x, rngs, train=train)


class MultiScaleBlock(nnx.Module):
    """Parallel branches of growing kernel, concatenated and normalised; no residual around it."""

    def __init__(
        self, stage: StageConfig, path_rate: float, config: SeisTConfig, *, rngs: nnx.Rngs
    ):
        widths = config.branch_widths(stage)
        self.branches = nnx.List(
            Branch(width, kernel, stage, path_rate, config, rngs=rngs)
            for width, kernel in zip(widths, config.kernels, strict=True)
        )
        self.norm = BatchNorm(stage.channels, dtype=jnp.dtype(config.compute_dtype))

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None, *, train: bool) -> jax.Array:
        scales = [branch(x, rngs, train=train) for branch in self.branches]
        return self.norm(jnp.concatenate(scales, axis=-1), train=train)


class PooledAttention(nnx.Module):
    """Multi-head attention of every sample to pooled ones; no mask, no positions.

    Softmax in float32. Pooled keys and values pass through two batch norms, one after the other.
    """

    def __init__(self, width: int, stage: StageConfig, config: SeisTConfig, *, rngs: nnx.Rngs):
        dtype: DTypeLike = jnp.dtype(config.compute_dtype)
        self.pools = stage.attention_pooling > 1
        if self.pools:
            self.aggregation = Aggregation(
                width, width, stage.attention_pooling, dtype=dtype, rngs=rngs
            )
            self.norm = BatchNorm(width, dtype=dtype)
        self.query, self.key, self.value, self.out = (
            convolution(width, width, bias=True, dtype=dtype, rngs=rngs) for _ in range(4)
        )
        self.key_dropout = Dropout(config.drop.key_drop_rate)
        self.dropout = Dropout(config.drop.attn_drop_rate)
        self.out_dropout = Dropout(config.drop.other_drop_rate)
        self.heads, self.dtype = width // stage.head_width, dtype

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None, *, train: bool) -> jax.Array:
        batch, time, width = x.shape
        context = x
        if self.pools:
            context = self.norm(self.aggregation(x, train=train), train=train)
        key = dropped(self.key_dropout, self.key(context), rngs)
        shape = (batch, -1, self.heads, width // self.heads)
        query, key = self.query(x).reshape(shape), key.reshape(shape)
        value = self.value(context).reshape(shape)
        query = query / (width // self.heads) ** 0.5
        scores = jnp.einsum("bqhd,bkhd->bhqk", query, key, preferred_element_type=jnp.float32)
        weights = dropped(self.dropout, jax.nn.softmax(scores).astype(self.dtype), rngs)
        mixed = jnp.einsum("bhqk,bkhd->bqhd", weights, value).reshape(batch, time, width)
        return dropped(self.out_dropout, self.out(mixed), rngs)


class TransformerLayer(nnx.Module):
    """Attention on some channels beside a grouped convolution on the others, then an MLP.

    The residual of the MLP starts from the normalised sum, and none spans the whole layer. Where
    rounding gives attention all channels there is no convolution.
    """

    def __init__(
        self, stage: StageConfig, path_rate: float, config: SeisTConfig, *, rngs: nnx.Rngs
    ):
        dtype = jnp.dtype(config.compute_dtype)
        width = config.attention_width(stage)
        rest = stage.channels - width
        self.attention_proj = convolution(stage.channels, width, dtype=dtype, rngs=rngs)
        self.attention_norm = BatchNorm(width, dtype=dtype)
        self.attention = PooledAttention(width, stage, config, rngs=rngs)
        self.attention_path = drop_path(path_rate * config.attention_ratio)
        self.convolves = rest > 0
        if self.convolves:
            self.conv_proj = convolution(stage.channels, rest, dtype=dtype, rngs=rngs)
            self.conv_norm = BatchNorm(rest, dtype=dtype)
            self.grouped = GroupedBlock(
                rest, TRANSFORMER_KERNEL, stage.head_width, path_rate, config, rngs=rngs
            )
            self.conv_path = drop_path(path_rate * (1 - config.attention_ratio))
        self.norm = BatchNorm(stage.channels, dtype=dtype)
        self.mlp = MLP(
            stage.channels, config.mlp_ratio, config.drop.mlp_drop_rate, dtype=dtype, rngs=rngs
        )
        self.path = drop_path(path_rate)

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None, *, train: bool) -> jax.Array:
        y = self.attention_norm(self.attention_proj(x), train=train)
        parts = [y + dropped(self.attention_path, self.attention(y, rngs, train=train), rngs)]
        if self.convolves:
            y = self.conv_norm(self.conv_proj(x), train=train)
            parts.append(y + dropped(self.conv_path, self.grouped(y, rngs, train=train), rngs))
        x = self.norm(jnp.concatenate(parts, axis=-1), train=train)
        return x + dropped(self.path, self.mlp(x, rngs), rngs)
