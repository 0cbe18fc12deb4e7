"""Linear interpolation in time, without scattered additions in its gradient.

A row of the result is a weighted sum of two neighbouring rows of the input, and a row of the
gradient one of a few neighbouring rows of the result's: both are products with a narrow band.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

BLOCK = 128  # rows of the result made by one product on TPUs, the size of their matrix units


class Band(NamedTuple):
    """A banded matrix by rows: row i has `weights[i]` in the columns from `start[i]` on."""

    start: np.ndarray  # (rows,) int32
    weights: np.ndarray  # (rows, width) float32


def interpolation_weights(source: int, target: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Left index, right index and right weight of linear interpolation, each (target,).

    Half-pixel centres with clamped ends, as PyTorch's `interpolate(align_corners=False)`. The
    coordinates are deliberately float32, rounded after every operation: near sample 8000 one unit
    in the last place is 5e-4, so float64 coordinates would move the result away from PyTorch's.
    Computing them here with NumPy keeps the compiler from contracting the two operations.
    """
    ratio = np.float32(source) / np.float32(target)
    centres = np.arange(target, dtype=np.float32) + np.float32(0.5)
    position = np.maximum(np.float32(0), ratio * centres - np.float32(0.5))
    left = position.astype(np.int32)
    return left, np.minimum(left + 1, source - 1), position - left.astype(np.float32)


@functools.lru_cache(maxsize=64)
def bands(source: int, target: int) -> tuple[Band, Band]:
    """The matrix (target, source) of the interpolation, and its transpose."""
    left, right, weight = interpolation_weights(source, target)
    width = min(2, source)
    start = np.minimum(left, source - width).astype(np.int32)
    rows = np.arange(target)
    weights = np.zeros((target, width), np.float32)
    np.add.at(weights, (rows, left - start), 1 - weight)
    np.add.at(weights, (rows, right - start), weight)
    return Band(start, weights), _transposed(Band(start, weights), source)


def _transposed(band: Band, columns: int) -> Band:
    i, k = np.nonzero(band.weights)
    column = band.start[i] + k
    first, last = np.full(columns, len(band.start)), np.full(columns, -1)
    np.minimum.at(first, column, i)
    np.maximum.at(last, column, i)
    width = int((last - first).max()) + 1
    start = np.minimum(first, len(band.start) - width)
    weights = np.zeros((columns, width), np.float32)
    weights[column, i - start[column]] = band.weights[i, k]
    return Band(start.astype(np.int32), weights)


def multiply(band: Band, x: jax.Array) -> jax.Array:
    """(batch, columns, channels) -> (batch, rows, channels)."""
    # TPUs take rows one by one where they gather, but multiply blocks of them in no time.
    return jax.lax.platform_dependent(
        x,
        tpu=functools.partial(_by_products, band),
        default=functools.partial(_by_rows, band),
    )


def _by_rows(band: Band, x: jax.Array) -> jax.Array:
    weights = jnp.asarray(band.weights, x.dtype)[:, :, None]
    taken = (
        weights[:, k] * x.at[:, band.start + k].get(mode="promise_in_bounds")
        for k in range(band.weights.shape[1])
    )
    return functools.reduce(jnp.add, taken)


def _by_products(band: Band, x: jax.Array) -> jax.Array:
    """Rows in blocks, each the product of a small matrix with the samples that it needs."""
    rows, width = band.weights.shape
    blocks = -(-rows // BLOCK)
    start = np.pad(band.start, (0, blocks * BLOCK - rows), "edge").reshape(blocks, BLOCK, 1)
    weights = np.pad(band.weights, ((0, blocks * BLOCK - rows), (0, 0)))
    weights = weights.reshape(blocks, BLOCK, width, 1)
    size = int((start.max(1) - start.min(1)).max()) + width
    first = np.minimum(start.min(1)[:, 0], x.shape[1] - size)
    # The matrices are made on the device: written out, they would be large constants.
    place = start - first[:, None, None]
    column = jnp.arange(size, dtype=jnp.int32)
    entries = (jnp.where(column == place + k, weights[:, :, k], 0) for k in range(width))
    matrices = functools.reduce(jnp.add, entries).astype(x.dtype)  # (blocks, BLOCK, size)
    # One product for each block: a single one for all would need their samples side by side.
    products = [
        jnp.einsum("ij,bjc->bic", matrix, x[:, i : i + size], precision="highest")
        for matrix, i in zip(matrices, first, strict=True)
    ]
    return jnp.concatenate(products, axis=1)[:, :rows]


def interpolate(x: jax.Array, length: int) -> jax.Array:
    """Linear interpolation in time: (batch, time, channels) -> (batch, length, channels)."""
    return _interpolate(x.shape[1], length, x)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _interpolate(source: int, target: int, x: jax.Array) -> jax.Array:
    return multiply(bands(source, target)[0], x)


def _forward(source: int, target: int, x: jax.Array) -> tuple[jax.Array, None]:
    return multiply(bands(source, target)[0], x), None


def _backward(source: int, target: int, _: None, gradient: jax.Array) -> tuple[jax.Array]:
    # Left to itself, the gradient of taking rows adds row by row, on CPUs in one thread.
    return (multiply(bands(source, target)[1], gradient),)


_interpolate.defvjp(_forward, _backward)
