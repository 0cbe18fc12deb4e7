"""Low-rank adapters (LoRA, arXiv 2106.09685) on linear layers."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from seismollm_jax.models.dropout import Dropout
from seismollm_jax.models.layers import uniform_fan_in


class LoRALinear(nnx.Module):
    """A linear layer with an optional adapter: base(x) + (alpha / rank) * dropout(x) A B.

    With rank 0 it is the plain layer. `base` keeps its own sub-path so that a trainability rule
    can tell frozen weights from adapters by name. A starts uniform, B at zero, so a new adapter
    changes nothing.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        rank: int,
        alpha: float,
        dropout: float,
        kernel_init: nnx.Initializer,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        self.base = nnx.Linear(inputs, outputs, kernel_init=kernel_init, dtype=dtype, rngs=rngs)
        self.rank, self.dtype = rank, dtype
        if rank:
            self.scale = alpha / rank
            self.dropout = Dropout(dropout)
            self.lora_a = nnx.LoRAParam(uniform_fan_in(rngs.params(), (inputs, rank)))
            self.lora_b = nnx.LoRAParam(jnp.zeros((rank, outputs)))

    def __call__(self, x: jax.Array, *, rngs: nnx.Rngs | None) -> jax.Array:
        """(..., inputs) -> (..., outputs); `rngs` None switches the adapter's dropout off."""
        y = self.base(x)
        if not self.rank:
            return y
        x = self.dropout(x, deterministic=rngs is None, rngs=rngs).astype(self.dtype)
        a, b = self.lora_a[...].astype(self.dtype), self.lora_b[...].astype(self.dtype)
        return y + self.scale * narrow_product(narrow_product(x, a), b)


@jax.custom_vjp
def narrow_product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x @ kernel for a kernel with one short side: (..., inputs) -> (..., outputs).

    Its gradient turns the narrow arrays over and leaves the wide ones as they lie in memory. The
    derived one transposes the wide gradient too, and on CPUs computes that anew, column by column:
    a quarter of a training step.
    """
    return x @ kernel


def _forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return x @ kernel, (x, kernel)


def _backward(kept: tuple[jax.Array, jax.Array], dy: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = kept
    inputs, outputs = kernel.shape
    x_rows, dy_rows = x.reshape(-1, inputs), dy.reshape(-1, outputs)
    if inputs <= outputs:
        d_kernel = jnp.einsum("ni,no->io", x_rows, dy_rows)
    else:
        d_kernel = jnp.einsum("no,ni->oi", dy_rows, x_rows).T
    return dy @ kernel.T, d_kernel


narrow_product.defvjp(_forward, _backward)
