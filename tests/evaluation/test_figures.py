"""Pictures hold what they should: judged by the colours and places of their pixels."""

import sys

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from seismollm_jax.evaluation import figures
from seismollm_jax.evaluation.canvas import COLOURS


def near(path, colour, tolerance=0.12):
    """Mask of pixels close to a colour."""
    return np.abs(imread(path)[:, :, :3] - np.array(to_rgb(colour))).max(2) < tolerance


def columns(mask):
    return np.flatnonzero(mask.any(0))


def test_residuals_lie_where_they_should(tmp_path):
    rng = np.random.default_rng(0)
    counts = {"P": {"precision": 0.9, "n": 1000}}
    late = {"P": rng.normal(0.3, 0.01, 500), "S": np.array([])}
    figures.phase_residuals(late, counts, tmp_path / "late.png")
    figures.phase_residuals({"P": -late["P"], "S": np.zeros(3)}, {}, tmp_path / "early.png")
    bars = [columns(near(tmp_path / f"{name}.png", "#4076b4")) for name in ("late", "early")]
    assert np.median(bars[0]) > np.median(bars[1]) + 100
    assert not near(tmp_path / "late.png", "#d0503f").any()  # no residuals of S
    assert near(tmp_path / "early.png", "#d0503f").any()


def example(samples=3000, p=800, s=1500, with_s=True):
    rng = np.random.default_rng(p)
    waveform = rng.normal(size=(samples, 3)).astype(np.float32) + 1e4
    curves = np.zeros((samples, 3), np.float32)
    curves[p - 20 : p + 20, 1] = 0.9
    predicted = {"P": [p], "S": [s] if with_s else [-10_000_000]}
    truth = {"P": np.array([p + 5]), "S": np.array([s])}
    return figures.Window(waveform, truth, predicted, curves, "a window")


@pytest.mark.parametrize("number", [1, 5])
def test_example_windows(tmp_path, number):
    with_s = [example(p=700 + 50 * i) for i in range(number)]
    without = [example(p=700 + 50 * i, with_s=False) for i in range(number)]
    figures.example_windows(with_s, tmp_path / "with.png")
    figures.example_windows(without, tmp_path / "without.png")
    red = [near(tmp_path / f"{name}.png", COLOURS["S"]).sum() for name in ("with", "without")]
    assert red[0] > red[1] + 50 * number  # the missing S pick is not drawn anywhere
    assert near(tmp_path / "with.png", COLOURS["P"]).sum() > 50 * number


def test_example_windows_of_noise_and_none(tmp_path):
    noise = example()._replace(truth={}, predicted={})
    noise.waveform[:, 2] = 0
    figures.example_windows([noise], tmp_path / "noise.png")
    assert near(tmp_path / "noise.png", "#333333").any()
    with pytest.raises(ValueError, match="at least one"):
        figures.example_windows([], tmp_path / "none.png")


def test_example_windows_without_curves_and_whole(tmp_path):
    """Those of a network that answers for the whole window; an open file serves as well."""
    plain = example()._replace(truth={}, predicted={}, curves=None, title="magnitude 3.0")
    with (tmp_path / "plain.png").open("wb") as file:
        figures.example_windows([plain] * 3, file)
    assert not near(tmp_path / "plain.png", COLOURS["P"]).any()
    places = []
    for zoom in (True, False):
        figures.example_windows([example(p=100, s=200)], tmp_path / "window.png", zoom=zoom)
        places.append(np.median(columns(near(tmp_path / "window.png", COLOURS["S"], 0.05)[60:])))
    assert places[0] > places[1] + 100  # an early arrival is not at the left of its surroundings


@pytest.mark.parametrize("number", [0, 1, 30, 3000])
def test_true_against_predicted(tmp_path, number):
    true = np.random.default_rng(0).uniform(0, 8, number)
    path = tmp_path / "scatter.png"
    figures.true_against_predicted(np.append(true, np.nan), np.append(true, 3.0), "", path)
    assert near(path, COLOURS["S"]).any() == (number > 0)  # the line of perfect prediction
    figures.true_against_predicted(true[:, None], true[:, None], "km", path, name="distance")
    with pytest.raises(ValueError, match="predicted ones"):
        figures.true_against_predicted(true, np.append(true, 1.0), "km", path)


def test_directions_point_clockwise_from_north(tmp_path):
    path = tmp_path / "polar.png"
    figures.polar_back_azimuth(np.full(50, 90.0), np.full(50, 95.0 - 360), path)
    image = near(path, "#bbbbbb", 0.05)
    half = image[:, : image.shape[1] // 2]
    half[int(0.7 * half.shape[0]) :] = False  # the legend
    axis = np.mean(np.flatnonzero(near(path, "black").any(0))[[0, -1]]) / 2
    assert np.median(columns(half)) > axis  # east is right
    figures.polar_back_azimuth(np.zeros(0), np.zeros(0), path)


def test_confusion_shades_the_rows(tmp_path):
    path = tmp_path / "confusion.png"
    figures.confusion(np.array([[90, 10], [0, 0]]), ["up", "down"], path)
    image = imread(path)[:, :, :3].mean(2)
    middle = image[image.shape[0] // 3]
    dark = np.flatnonzero(middle < 0.4)
    assert len(dark) > 50
    assert np.median(dark) < image.shape[1] / 2


def log_rows():
    rows = [{"step": k, "part": "train", "loss": 1 / (k + 1), "lr": 1e-3} for k in range(1000)]
    rows += [{"step": k, "part": "val", "loss": None, "p/f1": 0.5} for k in range(0, 1000, 100)]
    return [*rows, {"epoch": 3, "loss": 7.0}]


def test_training_curve(tmp_path):
    figures.training_curve(log_rows(), tmp_path / "two.png")
    figures.training_curve(log_rows(), tmp_path / "three.png", metrics=["val/p/f1", "absent"])
    heights = [imread(tmp_path / f"{name}.png").shape[0] for name in ("two", "three")]
    assert heights[1] > heights[0] + 200  # a panel more
    with pytest.raises(ValueError, match="'epochs'"):
        figures.training_curve(log_rows(), tmp_path / "none.png", x="epochs")


def test_pyplot_is_left_alone():
    # Its global state leaks figures and breaks with several threads.
    assert (
        "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
    )
