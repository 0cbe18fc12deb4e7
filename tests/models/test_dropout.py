"""Dropout drops the share it says, keeps the mean, and knows nothing of devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from seismollm_jax.models.dropout import Dropout
from tests import setups


def dropped(x: jax.Array, rate: float, seed: int = 0) -> jax.Array:
    return Dropout(rate)(x, deterministic=False, rngs=nnx.Rngs(dropout=seed))


@pytest.mark.parametrize("last", [1, 2, 7, 128])
@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_share_and_factor(last: int, rate: float) -> None:
    x = jnp.full((40_000 // last, last), 3.0)
    y = np.asarray(dropped(x, rate))
    kept = y != 0
    assert kept.mean() == pytest.approx(1 - rate, abs=5 * np.sqrt(rate * (1 - rate) / y.size))
    np.testing.assert_allclose(y[kept], 3 / (1 - rate), rtol=2e-5)


def test_neighbours_and_halves_are_independent() -> None:
    """The two elements that share a number are `last / 2` apart."""
    kept = np.asarray(dropped(jnp.ones((20_000, 8)), 0.5)) != 0
    correlation = np.corrcoef(kept.T) - np.eye(8)
    assert np.abs(correlation).max() < 5 / np.sqrt(len(kept))


def test_nothing_and_everything() -> None:
    x = jnp.arange(6.0).reshape(2, 3)
    assert dropped(x, 0.0) is x
    assert Dropout(0.5)(x, deterministic=True, rngs=None) is x
    assert not np.asarray(dropped(x, 1.0)).any()
    assert dropped(x.astype(jnp.bfloat16), 0.5).dtype == jnp.bfloat16


def test_the_same_on_any_number_of_devices() -> None:
    x = np.ones((16, 10), np.float32)
    outputs = []
    for devices in (1, 8):
        layout = setups.layout(devices)
        run = jax.jit(lambda x: dropped(x, 0.3, 7), in_shardings=layout.batched)
        outputs.append(np.asarray(run(x)))
    np.testing.assert_array_equal(*outputs)
