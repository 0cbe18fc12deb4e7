import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seismollm_jax.data import augment as aug
from seismollm_jax.data.augment import Augmentation, augment
from tests import golden_files

ARRAYS = golden_files.load("augment.npz")
cases = functools.partial(golden_files.cases, "augment.json")
NEVER = {
    "generate_noise_rate": 0.0,
    "shift_rate": 0.0,
    "drop_channel_rate": 0.0,
    "scale_amplitude_rate": 0.0,
    "pre_emphasis_rate": 0.0,
    "add_noise_rate": 0.0,
    "gap_rate": 0.0,
}


def array(case, name):
    """Golden arrays are (components, samples)."""
    return ARRAYS[f"{case['id']}/{name}"].T


def close(ours, expected):
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected, rtol=3e-6, atol=3e-6)


class Script:
    """Stands for a generator: checks each call against the recorded one, returns given values.

    The draws that only decide whether an operation happens are answered with one half.
    """

    def __init__(self, draws, values):
        self.expected = list(zip(draws, values, strict=True))

    def random(self):
        if self.expected and self.expected[0][0]["fn"] == "random":
            return self.expected.pop(0)[1]
        return 0.5

    def _next(self, fn, args):
        draw, value = self.expected.pop(0)
        assert (draw["fn"], draw["args"]) == (fn, args)
        return value

    def integers(self, low, high):
        return self._next("randint", [low, high])

    def uniform(self, low, high):
        return self._next("uniform", [low, high])

    def choice(self, options, size=None, replace=True):
        assert (size is None) or not replace
        options = [int(option) for option in options]
        return self._next("choice", [options] if size is None else [options, size])

    def standard_normal(self, size):
        shape = [size] if isinstance(size, int) else list(size)
        return self._next("randn", shape)


def run(case, values, *, rate=50, **rates):
    """Augment with only the named operation; the script must be used up."""
    rng = Script(case["draws"], values)
    out = augment(
        array(case, "in_data"),
        case.get("ppks", []),
        case.get("spks", []),
        rng,
        Augmentation(**(NEVER | rates)),
        sampling_rate_hz=rate,
        min_event_gap=case.get("min_gap", 20),
        coda_ratio=case.get("coda_ratio", 2.0),
    )
    assert rng.expected == []
    close(out.waveform, array(case, "out_data"))
    return out


@pytest.mark.parametrize("case", cases("pre_emphasis"))
def test_pre_emphasis_golden(case):
    close(aug.pre_emphasise(array(case, "in_data"), case["ratio"]), array(case, "out_data"))


@pytest.mark.parametrize("case", cases("adjust_amplitude"))
def test_adjust_amplitude_golden(case):
    close(aug.adjust_amplitude(array(case, "in_data")), array(case, "out_data"))


@pytest.mark.parametrize("case", cases("scale_amplitude"))
def test_scale_amplitude_golden(case):
    run(case, [case["coin"], case["factor"]], scale_amplitude_rate=1.0)


@pytest.mark.parametrize("case", cases("drop_channel"))
def test_drop_channel_golden(case):
    data = array(case, "in_data")
    count = [case["count"]] if case["draws"] else []
    rng = Script(case["draws"], [*count, *case["channels"]])
    channels = aug.draw_channels(data.shape[1], rng)
    assert channels == case["channels"]
    assert rng.expected == []
    close(aug.drop_channels(data, channels), array(case, "out_data"))


@pytest.mark.parametrize("case", cases("shift"))
def test_shift_golden(case):
    out = run(case, [case["shift"]], shift_rate=1.0)
    assert (out.p_samples, out.s_samples) == (case["out_ppks"], case["out_spks"])
    assert out.shift == case["shift"]


@pytest.mark.parametrize("case", cases("add_event"))
def test_add_event_golden(case):
    values = [case[name] for name in ("target", "position", "scale") if case[name] is not None]
    rates = {"add_event_rate": 1.0, "max_events": len(case["ppks"]) + 1}
    out = run(case, values, **rates)
    assert (out.p_samples, out.s_samples) == (case["out_ppks"], case["out_spks"])


@pytest.mark.parametrize("case", cases("gap"))
def test_gap_golden(case):
    segment = [] if case["segment"] is None else [case["segment"]]
    run(case, [*segment, case["start"], case["end"]], gap_rate=1.0)


@pytest.mark.parametrize("case", cases("add_noise"))
def test_add_noise_golden(case):
    normal = array(case, "in_normal").T
    values = [value for pair in zip(case["snr_db"], normal, strict=True) for value in pair]
    run(case, values, add_noise_rate=1.0)


@pytest.mark.parametrize("case", cases("generate_noise"))
def test_generate_noise_golden(case):
    normals = [ARRAYS[f"{case['id']}/in_normal{i}"] for i in range(len(case["draws"]))]
    out = run(case, normals, generate_noise_rate=1.0)
    assert out.noise
    assert out.p_samples == out.s_samples == []


@pytest.mark.parametrize("case", cases("mask_windows"))
def test_mask_windows_golden(case):
    percent = min(case["percent"], 100)
    run(case, [case["selected"]], rate=2 * case["window"], mask_percent=percent)


@pytest.mark.parametrize("case", cases("noise_windows"))
def test_noise_windows_golden(case):
    data, window = array(case, "in_data"), case["window"]
    assert aug.window_count(len(data), window, case["percent"]) == len(case["selected"])
    normal = ARRAYS[f"{case['id']}/in_normal"]
    noises = [noise.T for noise in normal.reshape(len(case["selected"]), data.shape[1], window)]
    close(aug.fill_windows(data, case["selected"], window, noises), array(case, "out_data"))


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 60), shift=st.integers(0, 59))
def test_shift_is_circular_and_invertible(seed, n, shift):
    shift %= n
    waveform = np.random.default_rng(seed).standard_normal((n, 3))
    picks = sorted(np.random.default_rng(seed).choice(n, size=2, replace=False).tolist())
    moved = aug.shift_circularly(waveform, shift)
    moved_picks = aug.shift_picks(picks, shift, n)
    np.testing.assert_array_equal(moved[moved_picks].sum(0), waveform[picks].sum(0))
    np.testing.assert_array_equal(aug.shift_circularly(moved, -shift), waveform)
    assert aug.shift_picks(moved_picks, -shift, n) == picks


@given(data=st.data(), n=st.integers(1, 200), seed=st.integers(0, 2**32 - 1))
def test_gap_starts_at_a_pick_or_later_and_spares_the_rest(data, n, seed):
    picks = data.draw(st.lists(st.integers(0, n - 1), max_size=4))
    start, end = aug.draw_gap(n, picks, np.random.default_rng(seed))
    assert 0 <= start <= end < n
    if picks and end > start:
        assert start >= min(picks)
        assert not any(start < pick < end for pick in picks)


def test_gap_with_the_only_pick_at_the_end_does_nothing():
    assert aug.draw_gap(100, [99], np.random.default_rng(0)) == (0, 0)


@given(seed=st.integers(0, 2**32 - 1), channels=st.integers(1, 6))
def test_some_channels_are_dropped_but_never_all(seed, channels):
    dropped = aug.draw_channels(channels, np.random.default_rng(seed))
    assert len(set(dropped)) == len(dropped) < channels
    assert len(dropped) >= 1 or channels == 1


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(40, 300))
def test_whole_chain_leaves_its_input_alone_and_picks_inside(seed, n):
    rng = np.random.default_rng(seed)
    waveform = rng.standard_normal((n, 3)).astype(np.float32)
    before = waveform.copy()
    p = int(rng.integers(0, n - 1))
    s = int(rng.integers(p + 1, n))
    everything = Augmentation(
        add_event_rate=0.8, max_events=3, shift_rate=0.8, mask_percent=20, noise_percent=20
    )
    options = {"sampling_rate_hz": 20, "min_event_gap": 2, "coda_ratio": 1.0}
    first = augment(waveform, [p], [s], np.random.default_rng(seed), everything, **options)
    again = augment(waveform, [p], [s], np.random.default_rng(seed), everything, **options)
    np.testing.assert_array_equal(waveform, before)
    np.testing.assert_array_equal(first.waveform, again.waveform)
    assert first.waveform.dtype == np.float32
    assert first.waveform.shape == (n, 3)
    assert np.isfinite(first.waveform).all()
    picks = first.p_samples + first.s_samples
    assert all(0 <= pick < n for pick in picks)
    assert len(first.p_samples) == len(first.s_samples) <= 3
    assert first.noise == (not picks)


def test_all_zero_trace_survives():
    always = {name: 1.0 for name in NEVER if name != "generate_noise_rate"}
    out = augment(
        np.zeros((100, 3), np.float32),
        [],
        [],
        np.random.default_rng(0),
        Augmentation(**always, generate_noise_rate=0.0),
        sampling_rate_hz=100,
        min_event_gap=50,
        coda_ratio=2.0,
    )
    assert not out.waveform.any()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"shift_rate": 1.5}, "shift_rate is 1.5; it must lie between 0 and 1"),
        ({"gap_rate": -0.1}, "gap_rate is -0.1"),
        ({"mask_percent": 101}, "mask_percent is 101; it must lie between 0 and 100"),
        ({"max_events": 0}, "max_events is 0"),
        ({"rotate_rate": 2}, "rotate_rate is 2; it must lie between 0 and 1"),
        ({"superpose_level_db": (3, -3)}, r"superpose_level_db is \(3, -3\); it must be \(lowest"),
        ({"real_noise_snr_db": (5,)}, r"real_noise_snr_db is \(5,\)"),
        ({"real_noise_snr_db": (0, float("nan"))}, r"real_noise_snr_db is \(0, nan\)"),
    ],
)
def test_settings_out_of_range(setting, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(**setting)
