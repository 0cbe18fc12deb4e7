"""Waveforms as bytes: exact, or as precise as is said."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from seismollm_jax.data.packing import Accuracy, UnusablePart, pack, unpack

WAVEFORMS = hnp.arrays(
    np.float32,
    st.tuples(st.integers(2, 40), st.just(3)),
    elements=st.floats(-(2.0**120), 2.0**120, width=32),
)


@given(WAVEFORMS)
def test_float32_is_exact(waveform):
    found = unpack(pack(waveform, "float32"))
    np.testing.assert_array_equal(found.T.view(np.uint32), waveform.view(np.uint32))


@given(WAVEFORMS)
def test_int16_is_within_a_step_of_the_range(waveform):
    found = unpack(pack(waveform, "int16")).T.astype(np.float64)
    wide = waveform.astype(np.float64)
    step = np.maximum((wide.max(axis=0) - wide.min(axis=0)) / 65532, np.finfo(np.float32).tiny)
    rounding = np.spacing(np.abs(waveform).max(axis=0)).astype(np.float64)
    assert (np.abs(found - wide) <= 0.5001 * step + 1.5 * rounding).all()
    assert (found[waveform == 0] == 0).all()


@given(WAVEFORMS)
def test_float16_is_within_its_precision_of_the_median(waveform):
    found = unpack(pack(waveform, "float16")).T.astype(np.float64)
    wide = waveform.astype(np.float64)
    distance = np.abs(wide - np.median(wide, axis=0))
    finest = distance.max(axis=0) * 2.0**-37  # of numbers too small for all 11 bits
    rounding = np.spacing(np.abs(waveform).max(axis=0)).astype(np.float64)
    assert (np.abs(found - wide) <= distance * 2.0**-11 + finest + 2 * rounding).all()


@pytest.mark.parametrize("dtype", ["int16", "float16"])
@pytest.mark.parametrize("value", [0.0, 1e-30, -7.3, 3.4e38])
def test_constant_components_are_exact(dtype, value):
    waveform = np.full((50, 3), value, np.float32)
    np.testing.assert_array_equal(unpack(pack(waveform, dtype)).T, waveform)


@given(hnp.arrays(np.int32, (30, 3), elements=st.integers(-32766, 32766)), st.integers(-9999, 9999))
def test_int16_keeps_counts_exactly(counts, mean):
    waveform = (counts + mean).astype(np.float32)
    np.testing.assert_array_equal(unpack(pack(waveform, "int16")).T, waveform)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
@pytest.mark.parametrize("mean", [0.0, 1e4])
def test_neither_units_nor_a_mean_cost_precision(scale, mean):
    noise = np.random.default_rng(0).normal(size=(6000, 3))
    waveform = (scale * (noise + mean)).astype(np.float32)
    for dtype, wanted in (("int16", 85), ("float16", 70)):
        accuracy = Accuracy()
        accuracy.measure(waveform, pack(waveform, dtype), "x")
        # float32 itself has no more than 24 bits for mean and noise together: exact, or nearly.
        assert accuracy.exact or accuracy.worst_snr_db > wanted


def test_float16_keeps_a_weak_arrival():
    rng = np.random.default_rng(0)
    waveform = rng.normal(size=(2000, 3)).astype(np.float32)
    waveform[1000:] *= 1e5
    weak = waveform[:1000]
    for dtype, good in (("float16", True), ("int16", False)):
        error = unpack(pack(waveform, dtype)).T[:1000] - weak
        assert (np.std(error) < 0.02 * np.std(weak)) == good


def test_accuracy_is_measured_and_added():
    rng = np.random.default_rng(0)
    parts = [Accuracy(), Accuracy()]
    for i, part in enumerate(parts):
        waveform = rng.normal(size=(500, 3)).astype(np.float32)
        waveform[:, 1] = 4  # constant, exact
        waveform[100, 2] = 1000 * (i + 1)
        packed = pack(waveform, "int16")
        part.measure(waveform, packed, f"trace {i}")
        error = unpack(packed).T[:, [0, 2]].astype(float) - waveform[:, [0, 2]]
        deviation = waveform[:, [0, 2]].astype(float).std(0)
        snr = 20 * np.log10(deviation / np.sqrt((error**2).mean(0)))
        assert part.worst_snr_db == pytest.approx(snr.min())
        assert part.largest_error == pytest.approx((np.abs(error).max(0) / deviation).max())
    whole = Accuracy()
    whole.measure(np.ones((5, 3), np.float32), pack(np.ones((5, 3), np.float32), "int16"), "flat")
    assert "all 1 traces are kept exactly" in str(whole)
    for part in parts:
        whole.add(Accuracy(**part.as_dict()))
    assert (whole.traces, whole.exact) == (3, 1)
    worst = min(parts, key=lambda part: part.worst_snr_db)
    assert whole.worst_trace == worst.worst_trace
    assert whole.snr_sum_db == pytest.approx(sum(part.worst_snr_db for part in parts))
    assert f"at worst {worst.worst_snr_db:.1f} dB ({worst.worst_trace})" in str(whole)


@pytest.mark.parametrize("data", [b"", b"abc", bytes(40), b"\x09" * 68])
def test_other_bytes_are_refused(data):
    with pytest.raises(UnusablePart):
        unpack(data)
