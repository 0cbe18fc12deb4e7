"""GPT-2 decoder blocks on embeddings, with adapters (Radford et al. 2019)."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from seismollm_jax.models.dropout import Dropout
from seismollm_jax.models.layers import RunBlock, call_block
from seismollm_jax.models.seismollm.lora import LoRALinear

# The names `activation_function` takes in GPT-2 configuration files.
ACTIVATIONS = {
    "gelu_new": lambda x: jax.nn.gelu(x, approximate=True),
    "gelu_pytorch_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "relu": jax.nn.relu,
}
ADAPTED_LAYERS = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")


@dataclasses.dataclass(frozen=True)
class GPT2Config:
    """The fields of a Hugging Face GPT-2 `config.json` that shape the computation."""

    n_embd: int = 768
    n_head: int = 12
    n_layer: int = 12
    n_positions: int = 1024
    n_inner: int | None = None
    layer_norm_epsilon: float = 1e-5
    activation_function: str = "gelu_new"
    embd_pdrop: float = 0.1
    attn_pdrop: float = 0.1
    resid_pdrop: float = 0.1

    def __post_init__(self) -> None:
        if self.n_embd % self.n_head:
            raise ValueError(f"n_embd={self.n_embd} is not a multiple of n_head={self.n_head}")
        if self.activation_function not in ACTIVATIONS:
            raise ValueError(
                f"activation_function={self.activation_function!r} is not one of {[*ACTIVATIONS]}"
            )

    @property
    def inner(self) -> int:
        """Width of the feed-forward layer."""
        return self.n_inner or 4 * self.n_embd

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "GPT2Config":
        """Reads the contents of a `config.json`.

        Raises:
            ValueError: not a GPT-2 configuration, or one whose attention is scaled otherwise.
        """
        if fields.get("model_type", "gpt2") != "gpt2":
            raise ValueError(f"model_type is {fields['model_type']!r}, expected 'gpt2'")
        unusual = {"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False}
        for name, usual in unusual.items():
            if fields.get(name, usual) != usual:
                raise ValueError(f"{name}={fields[name]} is not supported, only {usual}")
        names = {field.name for field in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in fields.items() if name in names})


@dataclasses.dataclass(frozen=True)
class LoRAConfig:
    """Adapter settings; `targets` names layers of `ADAPTED_LAYERS`. Rank 0 means no adapters."""

    rank: int = 16
    alpha: float = 16.0
    dropout: float = 0.1
    targets: tuple[str, ...] = ADAPTED_LAYERS

    def __post_init__(self) -> None:
        if unknown := set(self.targets) - set(ADAPTED_LAYERS):
            raise ValueError(f"lora.targets {sorted(unknown)} are not among {ADAPTED_LAYERS}")
        if not (0 < self.alpha < float("inf") and 0 <= self.dropout < 1 and self.rank >= 0):
            raise ValueError(
                f"lora.alpha={self.alpha} must be positive, lora.dropout={self.dropout} from 0 "
                f"to below 1, lora.rank={self.rank} not negative"
            )


def layer_norm(config: GPT2Config, *, dtype: DTypeLike, rngs: nnx.Rngs) -> nnx.LayerNorm:
    """GPT-2's layer norm; the two-pass variance, since the one-pass form loses digits."""
    return nnx.LayerNorm(
        config.n_embd,
        epsilon=config.layer_norm_epsilon,
        use_fast_variance=False,
        dtype=dtype,
        rngs=rngs,
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def causal_softmax(scores: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """Softmax over the keys up to each query, (..., queries, keys), in float32.

    The gradient keeps the result alone, in its own precision; the derived one keeps exponentials in
    float32. Softmax itself runs in float32 whatever the precision of the result.
    """
    return _softmax(scores, dtype)


def _softmax(scores: jax.Array, dtype: jnp.dtype) -> jax.Array:
    causal = jnp.tril(jnp.ones(scores.shape[-2:], bool))
    return jax.nn.softmax(jnp.where(causal, scores, -jnp.inf)).astype(dtype)


def _forward(scores: jax.Array, dtype: jnp.dtype) -> tuple[jax.Array, jax.Array]:
    weights = _softmax(scores, dtype)
    return weights, weights


def _backward(dtype: jnp.dtype, weights: jax.Array, gradient: jax.Array) -> tuple[jax.Array]:
    weights, gradient = weights.astype(jnp.float32), gradient.astype(jnp.float32)
    return (weights * (gradient - (weights * gradient).sum(-1, keepdims=True)),)


causal_softmax.defvjp(_forward, _backward)


class Attention(nnx.Module):
    """Causal multi-head self-attention; softmax in float32."""

    def __init__(self, config: GPT2Config, linear, *, dtype: DTypeLike):
        width, depth = config.n_embd, config.n_layer
        self.c_attn = linear("attn.c_attn", width, 3 * width, std=0.02)
        self.c_proj = linear("attn.c_proj", width, width, std=0.02 / (2 * depth) ** 0.5)
        self.dropout, self.heads, self.dtype = Dropout(config.attn_pdrop), config.n_head, dtype

    def __call__(self, x: jax.Array, *, rngs: nnx.Rngs | None) -> jax.Array:
        batch, tokens, width = x.shape
        query, key, value = (
            part.reshape(batch, tokens, self.heads, width // self.heads)
            for part in jnp.split(self.c_attn(x, rngs=rngs), 3, axis=-1)
        )
        scores = jnp.einsum("bqhd,bkhd->bhqk", query, key, preferred_element_type=jnp.float32)
        weights = causal_softmax(scores / (width // self.heads) ** 0.5, self.dtype)
        weights = self.dropout(weights, deterministic=rngs is None, rngs=rngs)
        mixed = jnp.einsum("bhqk,bkhd->bqhd", weights, value)
        return self.c_proj(mixed.reshape(batch, tokens, width), rngs=rngs)


class MLP(nnx.Module):
    """The position-wise feed-forward part of a block."""

    def __init__(self, config: GPT2Config, linear):
        width, depth = config.n_embd, config.n_layer
        self.c_fc = linear("mlp.c_fc", width, config.inner, std=0.02)
        self.c_proj = linear("mlp.c_proj", config.inner, width, std=0.02 / (2 * depth) ** 0.5)
        self.activation = config.activation_function

    def __call__(self, x: jax.Array, *, rngs: nnx.Rngs | None) -> jax.Array:
        return self.c_proj(ACTIVATIONS[self.activation](self.c_fc(x, rngs=rngs)), rngs=rngs)


class Block(nnx.Module):
    """Pre-norm decoder block."""

    def __init__(self, config: GPT2Config, lora: LoRAConfig, *, dtype: DTypeLike, rngs: nnx.Rngs):
        def linear(name: str, inputs: int, outputs: int, std: float) -> LoRALinear:
            return LoRALinear(
                inputs,
                outputs,
                rank=lora.rank if name in lora.targets else 0,
                alpha=lora.alpha,
                dropout=lora.dropout,
                kernel_init=nnx.initializers.normal(std),
                dtype=dtype,
                rngs=rngs,
            )

        self.ln_1 = layer_norm(config, dtype=dtype, rngs=rngs)
        self.ln_2 = layer_norm(config, dtype=dtype, rngs=rngs)
        self.attn = Attention(config, linear, dtype=dtype)
        self.mlp = MLP(config, linear)
        self.dropout = Dropout(config.resid_pdrop)

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None) -> jax.Array:
        attended = self.attn(self.ln_1(x), rngs=rngs)
        x = x + self.dropout(attended, deterministic=rngs is None, rngs=rngs)
        expanded = self.mlp(self.ln_2(x), rngs=rngs)
        return x + self.dropout(expanded, deterministic=rngs is None, rngs=rngs)


class GPT2(nnx.Module):
    """Positions, `layers` decoder blocks and the final norm: (batch, tokens, width) unchanged.

    The final norm is kept although it was trained behind the last of the published blocks; the
    PyTorch original does so, and its checkpoints rely on it. A random start follows GPT-2's own
    rule: normal weights of standard deviation 0.02, residual projections smaller by
    sqrt(2 n_layer), zero biases.
    """

    def __init__(
        self,
        config: GPT2Config,
        lora: LoRAConfig,
        *,
        layers: int,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        shape = (config.n_positions, config.n_embd)
        self.wpe = nnx.Param(0.02 * jax.random.normal(rngs.params(), shape))
        self.blocks = nnx.List(Block(config, lora, dtype=dtype, rngs=rngs) for _ in range(layers))
        self.ln_f = layer_norm(config, dtype=dtype, rngs=rngs)
        self.dropout, self.dtype = Dropout(config.embd_pdrop), dtype

    def __call__(
        self, x: jax.Array, *, rngs: nnx.Rngs | None, run_block: RunBlock = call_block
    ) -> jax.Array:
        x = x + self.wpe[: x.shape[1]].astype(self.dtype)
        x = self.dropout(x, deterministic=rngs is None, rngs=rngs)
        for block in self.blocks:
            x = run_block(block, x, rngs)
        return self.ln_f(x)
