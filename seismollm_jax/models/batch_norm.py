"""Batch normalisation with PyTorch's running statistics, and its gradient by formula."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike


class BatchNorm(nnx.Module):
    """Batch normalisation over (batch, time) with PyTorch's running statistics.

    Differs from `nnx.BatchNorm` in one thing: the running variance takes the unbiased batch
    variance (m / (m - 1)), as PyTorch's does, while the normalisation itself uses the biased one.
    Statistics are computed in float32. Under `jax.jit` on a sharded batch they are those of the
    global batch, which is what PyTorch calls synchronised batch normalisation.

    All arithmetic is in methods of this class, by whose name the report on programs for pods
    (`seismollm_jax.pod`) knows its reductions.
    """

    def __init__(
        self, channels: int, *, momentum: float = 0.1, epsilon: float = 1e-5, dtype: DTypeLike
    ):
        self.scale = nnx.Param(jnp.ones(channels))
        self.bias = nnx.Param(jnp.zeros(channels))
        self.mean = nnx.BatchStat(jnp.zeros(channels))
        self.var = nnx.BatchStat(jnp.ones(channels))
        self.momentum, self.epsilon, self.dtype = momentum, epsilon, dtype
        self.stored = False  # training too takes the running statistics, and leaves them

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:  # (batch, time, channels)
        return self.together(x, [self], gelu=False, train=train)

    @staticmethod
    def together(
        x: jax.Array, norms: Sequence["BatchNorm"], *, gelu: bool, train: bool
    ) -> jax.Array:
        """Batch norms of neighbouring channels in one pass, then exact GELU if asked for.

        Args:
            x: (batch, time, all channels).
            norms: in the order of their channels; of the same settings.
            gelu: whether the activation follows.
            train: takes the statistics of the batch, and moves the running ones towards them,
                unless `keep_stored` said otherwise.
        """

        def joined(name: str) -> jax.Array:
            return jnp.concatenate([getattr(norm, name)[...] for norm in norms])

        scale, bias, epsilon, dtype = (
            joined("scale"),
            joined("bias"),
            norms[0].epsilon,
            norms[0].dtype,
        )
        if not train or norms[0].stored:
            mean, var = joined("mean"), joined("var")

            def by_stored(x: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
                factor = jax.lax.rsqrt(var + epsilon) * scale
                y = (x.astype(jnp.float32) - mean) * factor + bias
                return (_gelu(y) if gelu else y).astype(dtype)

            # Of this, too, the input alone is kept for the gradient.
            return (jax.checkpoint(by_stored) if train else by_stored)(x, scale, bias)
        y, mean, var = _normalise(x, scale, bias, epsilon, gelu, jnp.dtype(dtype))
        count = x.shape[0] * x.shape[1]
        mean, var = jax.lax.stop_gradient((mean, var * count / max(count - 1, 1)))
        first = 0
        for norm in norms:
            own = slice(first, first := first + norm.mean.shape[0])
            norm.mean[...] += norm.momentum * (mean[own] - norm.mean[...])
            norm.var[...] += norm.momentum * (var[own] - norm.var[...])
        return y

    @staticmethod
    def _normalised(
        x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float, gelu: bool, dtype: Any
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """The output, and mean and biased variance of the batch, whose gradients are left out."""
        narrow = jnp.finfo(x.dtype).bits < 32
        x = x.astype(jnp.float32)
        mean = x.mean((0, 1))
        if narrow:
            # Both sums in one pass; the digits that this loses to an offset, x has lost before.
            var = jnp.maximum(jnp.square(x).mean((0, 1)) - jnp.square(mean), 0)
        else:
            var = jnp.square(x - mean).mean((0, 1))
        y = (x - mean) * (jax.lax.rsqrt(var + epsilon) * scale) + bias
        return (_gelu(y) if gelu else y).astype(dtype), mean, var

    @staticmethod
    def _forward(x, scale, bias, epsilon, gelu, dtype):
        y, mean, var = BatchNorm._normalised(x, scale, bias, epsilon, gelu, dtype)
        return (y, mean, var), (x, scale, bias, mean, jax.lax.rsqrt(var + epsilon))

    @staticmethod
    def _backward(epsilon, gelu, dtype, kept, gradients):
        """Keeps the input alone, in its own precision, and sums over it once.

        The gradient that is derived keeps float32 arrays, and sums over them four times.
        """
        x, scale, bias, mean, inverse = kept
        normal = (x.astype(jnp.float32) - mean) * inverse
        gradient = gradients[0].astype(jnp.float32)
        if gelu:
            (gradient,) = jax.vjp(_gelu, normal * scale + bias)[1](gradient)
            # It is kept for the second pass over it, in the precision of activations.
            gradient = gradient.astype(x.dtype).astype(jnp.float32)
        to_bias, to_scale = gradient.sum((0, 1)), (gradient * normal).sum((0, 1))
        count = x.shape[0] * x.shape[1]
        centred = gradient - to_bias / count - normal * (to_scale / count)
        return ((inverse * scale) * centred).astype(x.dtype), to_scale, to_bias


def keep_stored(module: nnx.Module) -> None:
    """Lets all batch norms in a module normalise by their running statistics in training too.

    The statistics stay as they are; scales and biases may learn. Nothing else changes, dropout
    included.
    """
    for _, part in nnx.iter_modules(module):
        if isinstance(part, BatchNorm):
            part.stored = True


def _gelu(x: jax.Array) -> jax.Array:
    return jax.nn.gelu(x, approximate=False)


_normalise = functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))(BatchNorm._normalised)
_normalise.defvjp(BatchNorm._forward, BatchNorm._backward)
