import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seismollm_jax.data.augment import Augmentation
from seismollm_jax.data.labels import pick_labels
from seismollm_jax.data.records import Record
from seismollm_jax.data.sample import SampleOptions, is_noise, make_sample
from seismollm_jax.data.waveform import NORMALISATIONS

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = json.loads((GOLDEN / "augment.json").read_text())["cases"]
ARRAYS = np.load(GOLDEN / "augment.npz")
# What the settings of the PyTorch original are called here. Mask and noise percentage are swapped,
# because the original mixes them up.
NAMES = {
    "add_gap_rate": "gap_rate",
    "shift_event_rate": "shift_rate",
    "max_event_num": "max_events",
    "mask_percent": "noise_percent",
    "noise_percent": "mask_percent",
}


def cases(group):
    found = [case for case in CASES if case["group"] == group]
    assert found
    return [pytest.param(case, id=case["id"]) for case in found]


class Legacy:
    """The methods of `numpy.random.Generator` on top of numpy's older generator."""

    def __init__(self, seed):
        self.state, self.n_draws = np.random.RandomState(seed), 0

    def _drawn(self, value):
        self.n_draws += 1
        return value

    def random(self):
        return self._drawn(self.state.random_sample())

    def integers(self, low, high):
        return self._drawn(self.state.randint(low, high))

    def uniform(self, low, high):
        return self._drawn(self.state.uniform(low, high))

    def choice(self, options, size=None, replace=True):
        return self._drawn(self.state.choice(options, size, replace))

    def standard_normal(self, size):
        return self._drawn(self.state.standard_normal(size))


def record(waveform, p=(), s=(), **labels):
    return Record(waveform=waveform, p_samples=list(p), s_samples=list(s), **labels)


@pytest.mark.parametrize("case", cases("is_noise"))
def test_is_noise_golden(case):
    snr_db = tuple(float(value) for value in case["snr"])
    ours = is_noise(
        record(np.zeros((case["length"], 3)), case["ppks"], case["spks"], snr_db=snr_db),
        float(case["min_snr"]),
    )
    # The original fails on a P without an S and takes an S without a P for noise; here the other
    # phase is not labelled.
    one_phase = bool(case["ppks"]) != bool(case["spks"])
    assert ours is (False if one_phase else case["out"])


@pytest.mark.parametrize("case", cases("process"))
def test_process_golden(case):
    settings = {NAMES.get(name, name): value for name, value in case["settings"].items()}
    options = SampleOptions(
        window=160,
        sampling_rate_hz=50,
        normalisation=settings.pop("norm_mode", "std"),
        p_position_ratio=settings.pop("p_position_ratio", None),
    )
    # No operation knows the components, so the file order of the golden trace is kept.
    trace = record(ARRAYS[f"{case['id']}/in_data"].T, case["ppks"], case["spks"], magnitude=3.5)
    rng = Legacy(case["seed"])
    sample = make_sample(
        trace, rng, options, Augmentation(**settings) if case["augmentation"] else None
    )
    assert rng.n_draws == case["n_draws"]
    assert (sample.p_samples, sample.s_samples) == (case["out_ppks"], case["out_spks"])
    assert sample.waveform.dtype == np.float32
    np.testing.assert_allclose(
        sample.waveform.T, ARRAYS[f"{case['id']}/out_data"], rtol=2e-5, atol=2e-5
    )
    assert sample.magnitude == 3.5
    labels = pick_labels(sample.p_samples, sample.s_samples, length=160, width=25)
    np.testing.assert_allclose(labels.T, ARRAYS[f"{case['id']}/out_dpk_label"], atol=3e-6)


@st.composite
def records(draw):
    n = draw(st.integers(2, 300))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    waveform = rng.standard_normal((n, 3)).astype(np.float32)
    picks = st.lists(st.integers(-5, n + 5), max_size=2)
    labels = {"magnitude": 2.0, "distance_km": 30.0, "back_azimuth_deg": 5.0, "polarity": 1}
    return record(waveform, draw(picks), draw(picks), **labels)


@given(
    trace=records(),
    seed=st.integers(0, 2**32 - 1),
    window=st.integers(1, 350),
    ratio=st.sampled_from([None, 0.0, 0.3, 1.0]),
    augmentation=st.sampled_from([None, Augmentation(), Augmentation(shift_rate=1, gap_rate=1)]),
    normalisation=st.sampled_from(NORMALISATIONS),
)
def test_any_record_gives_a_sample(trace, seed, window, ratio, augmentation, normalisation):
    options = SampleOptions(window, 100.0, normalisation, p_position_ratio=ratio)
    before = trace.waveform.copy(), list(trace.p_samples), list(trace.s_samples)
    sample = make_sample(trace, np.random.default_rng(seed), options, augmentation)
    again = make_sample(trace, np.random.default_rng(seed), options, augmentation)
    np.testing.assert_array_equal(trace.waveform, before[0])
    assert (trace.p_samples, trace.s_samples) == before[1:]
    np.testing.assert_array_equal(sample.waveform, again.waveform)
    assert sample.waveform.shape == (window, 3)
    assert sample.waveform.dtype == np.float32
    assert np.isfinite(sample.waveform).all()
    assert all(0 <= pick < window for pick in sample.p_samples + sample.s_samples)
    assert (sample.magnitude, sample.polarity) == (2.0, 1)
    if is_noise(trace):
        assert sample.noise
        assert sample.p_samples == sample.s_samples == []
    # A phase without a pick is absent only where somebody has looked for it.
    assert sample.p_labelled == (is_noise(trace) or bool(trace.p_samples))
    assert sample.s_labelled == (is_noise(trace) or bool(trace.s_samples))


@given(n=st.integers(20, 300), window=st.integers(1, 320), seed=st.integers(0, 2**32 - 1))
def test_window_start_and_shift_lead_back_to_the_trace(n, window, seed):
    ramp = np.repeat(np.arange(n, dtype=np.float32)[:, None], 3, axis=1)
    trace = record(ramp, [n // 3], [n // 3 + 5])
    only_shift = Augmentation(0, 0, 1, 1.0, 0, 0, 0, 0.97, 0, 0)
    options = SampleOptions(window, 100.0, "none")
    sample = make_sample(trace, np.random.default_rng(seed), options, only_shift)
    index = (sample.window_start + np.arange(window) - sample.shift) % n
    inside = sample.window_start + np.arange(window) < n
    expected = np.where(inside, index, 0)
    np.testing.assert_allclose(sample.waveform[:, 0], expected - expected.mean(), atol=1e-4)
    for pick in sample.p_samples:
        assert index[pick] == n // 3


def test_fixed_position():
    waveform = np.random.default_rng(0).standard_normal((600, 3)).astype(np.float32)
    options = SampleOptions(200, 100.0, p_position_ratio=0.25)
    sample = make_sample(record(waveform, [20], [60]), np.random.default_rng(0), options)
    assert (sample.p_samples, sample.s_samples, sample.window_start) == ([50], [90], -30)
    # The original fails on noise here.
    noise = make_sample(record(waveform), np.random.default_rng(0), options)
    assert noise.noise
    assert 0 <= noise.window_start < 400


def test_noise_values_switch():
    waveform = np.ones((100, 3), np.float32)
    labels = {"magnitude": 2.0, "distance_km": 9.0, "back_azimuth_deg": 5.0, "polarity": 0}
    trace = record(waveform, [50], [40], **labels)
    rng = np.random.default_rng(0)
    kept = make_sample(trace, rng, SampleOptions(100, 100.0))
    assert (kept.magnitude, kept.distance_km, kept.back_azimuth_deg, kept.polarity) == (2, 9, 5, 0)
    gone = make_sample(trace, rng, SampleOptions(100, 100.0, noise_keeps_values=False))
    assert all(map(math.isnan, (gone.magnitude, gone.distance_km, gone.back_azimuth_deg)))
    assert gone.polarity == -1
    assert kept.noise
    assert gone.noise


def test_low_signal_to_noise_ratio_is_noise():
    trace = record(np.ones((100, 3), np.float32), [50], [60], snr_db=(1.0, 2.0, 2.5))
    assert is_noise(trace, 3.0)
    assert not is_noise(trace, 2.2)
    assert not is_noise(trace)
    trace.snr_db = (1.0, 2.0, math.nan)
    assert not is_noise(trace, 3.0)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"window": 0}, "window is 0"),
        ({"sampling_rate_hz": 0.0}, "sampling_rate_hz is 0.0"),
        ({"normalisation": "minmax"}, "normalisation is 'minmax'"),
        ({"p_position_ratio": -1}, "p_position_ratio is -1.*None"),
        ({"coda_ratio": -0.5}, "coda_ratio is -0.5"),
    ],
)
def test_options_out_of_range(setting, message):
    with pytest.raises(ValueError, match=message):
        SampleOptions(**({"window": 100, "sampling_rate_hz": 100.0} | setting))
