"""Picks of the device are those of the host."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seismollm_jax import tasks
from seismollm_jax.metrics import peaks
from seismollm_jax.metrics.phases import NO_PICK
from seismollm_jax.tasks import device_peaks

SAMPLES = 40
# Few values, so that heights are equal and tops are flat; what no probability is, too.
VALUES = (0.0, 0.1, 0.2999, 0.3, 0.30001, 0.5, 0.7, 0.7, 0.9, 1.0, np.nan, np.inf, -np.inf)


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def picked(curves, threshold, distance, slots):
    return device_peaks.pick_batch(curves, threshold, distance, slots)


def check(curves: np.ndarray, threshold: float, distance: int, slots: int) -> np.ndarray:
    expected = peaks.pick_batch(curves, threshold, distance, slots)
    found = picked(jnp.asarray(curves), threshold, distance, slots)
    assert (found[0].dtype, found[1].dtype) == (np.int32, np.float32)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(one), other)
    return expected[0]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from(VALUES), min_size=SAMPLES, max_size=SAMPLES),
        min_size=3,
        max_size=3,
    ),
    st.sampled_from(((0.3, 0, 1), (0.3, 5, 1), (0.3, 3, 4), (0.1, 1, 50), (0.0, 6, 7))),
)
def test_same_picks_as_on_the_host(rows, setting) -> None:
    check(np.array(rows, np.float32), *setting)


@pytest.mark.parametrize("slots", [1, 3])
def test_smooth_curves(slots: int) -> None:
    draw = np.random.default_rng(0)
    noise = draw.normal(size=(20, 600))
    smooth = np.stack([np.convolve(row, np.hanning(21), "same") for row in noise])
    found = check((1 / (1 + np.exp(-smooth))).astype(np.float32), 0.3, 50, slots)
    assert (found != NO_PICK).mean() > 0.5


@pytest.mark.parametrize("samples", [1, 2, 3, 4])
def test_short_traces(samples: int) -> None:
    curve = np.array([[0.1, 0.9, 0.5, 0.2][:samples]], np.float32)
    assert check(curve, 0.3, 10, 2)[0, 0] == (1 if samples > 2 else NO_PICK)


def test_no_slots_are_refused() -> None:
    with pytest.raises(ValueError, match="1 or more"):
        device_peaks.pick_batch(jnp.zeros((1, 5)), 0.3, 1, 0)


def test_picking_decodes_the_same_on_both() -> None:
    task = tasks.get("picking")
    context = task.context(window=300, sampling_rate_hz=50.0, options={"max_picks": 2})
    noise = np.random.default_rng(1).normal(size=(4, 300, 3))
    smooth = np.apply_along_axis(np.convolve, 1, noise, np.hanning(15), "same")
    output = (1 / (1 + np.exp(-smooth))).astype(np.float32)
    on_device = task.on_device
    found = on_device.decode(jnp.asarray(output[..., list(on_device.channels)]), context)
    expected = task.decode(output, context)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(np.asarray(found[name]), values)
