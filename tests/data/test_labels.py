import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seismollm_jax.data.labels import (
    NO_PICK,
    SHAPES,
    detection_targets,
    pad_phases,
    pick_labels,
    pick_targets,
    place,
    soft_window,
)

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = json.loads((GOLDEN / "labels.json").read_text())["cases"]
ARRAYS = np.load(GOLDEN / "labels.npz")
CURVE = {"ppk": "p", "spk": "s", "non": "neither", "det": "detection"}


def of(group):
    found = [case for case in CASES if case["group"] == group]
    assert found
    return found


def test_soft_labels_golden():
    expected = ARRAYS["soft"]
    assert len(expected) == len(of("soft"))
    for case, label in zip(of("soft"), expected, strict=True):
        ours = pick_labels(
            case["ppks"],
            case["spks"],
            length=case["length"],
            width=case["width"],
            shape=case["shape"],
            coda_ratio=case["coda_ratio"],
            curves=[CURVE[case["name"]]],
        )
        np.testing.assert_allclose(ours[:, 0], label, rtol=0, atol=3e-6, err_msg=case["id"])


@pytest.mark.parametrize("case", of("targets"), ids=lambda case: case["id"])
def test_picking_targets_golden(case):
    p, s = case["ppks"], case["spks"]
    ours = pick_labels(p, s, length=case["length"], width=case["width"])
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours.T, ARRAYS[f"{case['id']}/out_loss"], rtol=0, atol=3e-6)
    for samples, name in ((p, "ppk"), (s, "spk")):
        targets = pick_targets(samples, case["max_event_num"])
        expected = ARRAYS[f"{case['id']}/out_metric_{name}"]
        assert targets.dtype == expected.dtype
        np.testing.assert_array_equal(targets, expected)


@pytest.mark.parametrize("case", of("targets_det"), ids=lambda case: case["id"])
def test_detection_targets_golden(case):
    expected = ARRAYS[f"{case['id']}/out_det"]
    ours = detection_targets(
        case["ppks"],
        case["spks"],
        length=case["length"],
        width=case["width"],
        n=len(expected) // 2,
        coda_ratio=case["coda_ratio"],
    )
    np.testing.assert_array_equal(ours.ravel(), expected)


@pytest.mark.parametrize("case", of("pad_phases"), ids=lambda case: case["id"])
def test_pad_phases_golden(case):
    p, s = pad_phases(case["ppks"], case["spks"], case["padding"], case["num_samples"])
    assert [p, s] == case["out"]


picks = st.lists(st.integers(-20, 320), max_size=4)


@given(p=picks, s=picks, shape=st.sampled_from(SHAPES), width=st.integers(2, 60))
def test_labels_are_finite_and_zero_away_from_picks(p, s, shape, width):
    labels = pick_labels(p, s, length=300, width=width, shape=shape)
    assert labels.shape == (300, 3)
    assert np.isfinite(labels).all()
    index = np.arange(300)
    for column, samples in ((1, p), (2, s)):
        near = np.zeros(300, bool)
        for sample in samples:
            if 0 <= sample < 300:
                near |= (index >= sample - width // 2) & (index <= sample + width - width // 2)
        assert not labels[~near, column].any()
    assert (labels[:, 0] >= 0).all()
    alone = labels[:, 1:].sum(axis=1) == 0
    np.testing.assert_array_equal(labels[alone, 0], 1)


@given(sample=st.integers(0, 299), shape=st.sampled_from(SHAPES), width=st.integers(2, 60))
def test_window_peaks_at_the_pick(sample, shape, width):
    label = np.zeros(300)
    place(label, soft_window(shape, width), sample)
    assert label[sample] == pytest.approx(1.0)
    assert label.max() <= 1.0 + 1e-12


@given(sample=st.one_of(st.integers(-400, -1), st.integers(300, 700)))
def test_pick_outside_leaves_no_label(sample):
    label = np.zeros(300)
    place(label, soft_window("gaussian", 50), sample)
    assert not label.any()


def test_overlapping_windows_add_up():
    labels = pick_labels([100, 104], [], length=300, width=50, curves=["p"])
    assert labels.max() > 1.5


@given(p=picks, s=picks)
def test_padded_phases_are_pairs(p, s):
    p_padded, s_padded = pad_phases(p, s, padding=50, length=300)
    assert len(p_padded) == len(s_padded)
    assert p_padded[len(p_padded) - len(p) :] == sorted(p)
    assert s_padded[: len(s)] == sorted(s)


@given(samples=picks, n=st.integers(1, 5))
def test_pick_targets_keep_the_first(samples, n):
    targets = pick_targets(samples, n)
    assert targets.shape == (n,)
    assert targets.dtype == np.int64
    assert targets.tolist() == (samples + [NO_PICK] * n)[:n]


def test_detection_targets_keep_the_first_events():
    ours = detection_targets([10, 100], [20, 120], length=300, width=50, n=1)
    assert ours.tolist() == [[10, 40]]


def test_shared_window_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        soft_window("box", 10)[0] = 5


def test_errors_name_the_choices():
    with pytest.raises(ValueError, match=r"'cosine'.*gaussian, triangle"):
        soft_window("cosine", 50)
    with pytest.raises(ValueError, match="1 samples; sigmoid labels need at least 2"):
        soft_window("sigmoid", 1)
    with pytest.raises(ValueError, match=r"'noise'.*neither"):
        pick_labels([], [], length=10, width=2, curves=["noise"])
