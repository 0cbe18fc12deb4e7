"""Dropout with half the random numbers."""

import jax
import jax.numpy as jnp
from flax import nnx

STEPS = 1 << 16  # of 16 bits


class Dropout(nnx.Module):
    """Sets a share of the elements to zero and makes the others larger by what that takes away.

    Random numbers that do not depend on how an array is divided over devices are costly: 18 % of a
    training step on a CPU went into them. A number of 32 bits serves for two elements here, so the
    share is a multiple of 1/65536; the factor goes with it.
    """

    def __init__(self, rate: float):
        self.rate = rate

    def __call__(self, x: jax.Array, *, deterministic: bool, rngs: nnx.Rngs | None) -> jax.Array:
        dropped = round(self.rate * STEPS)
        if deterministic or not dropped:
            return x
        if dropped == STEPS:
            return jnp.zeros_like(x)
        assert rngs is not None
        *rest, last = x.shape
        bits = jax.random.bits(rngs.dropout(), (*rest, -(-last // 2)), jnp.uint32)
        # Compared first, so that answers go to memory, and not numbers of four times their size.
        halves = [half >= dropped for half in (bits & (STEPS - 1), bits >> 16)]
        kept = jnp.concatenate(halves, -1)[..., :last]
        return jnp.where(kept, x * (STEPS / (STEPS - dropped)), 0).astype(x.dtype)
