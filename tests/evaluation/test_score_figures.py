"""Pictures of scores, judged by the colours and places of their pixels."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from seismollm_jax.evaluation import score_figures
from seismollm_jax.evaluation.score_figures import PALETTE, Group, Mark


def near(path: Path, colour: str, tolerance: float = 0.05) -> np.ndarray:
    """Mask of pixels close to a colour."""
    return np.abs(imread(path)[:, :, :3] - np.array(to_rgb(colour))).max(2) < tolerance


def height(mask: np.ndarray) -> float:
    """How far up its pixels are, from the lower edge."""
    return float(mask.shape[0] - np.median(np.flatnonzero(mask.any(1))))


def test_curves_with_gaps_bands_and_a_mark(tmp_path: Path) -> None:
    path = tmp_path / "curves.png"
    x = [0.1, 0.2, 0.3, 0.4]
    series = {
        "upper": {"value": [0.9, 0.9, 0.9, None], "low": [0.8] * 4, "high": [1.0] * 4},
        "lower": {"value": [0.6] * 4},
    }
    score_figures.curves(x, series, "tolerance (s)", "share", path)
    upper, lower = (near(path, colour) for colour in PALETTE[:2])
    assert height(upper) > height(lower) + 50
    assert near(path, "#d9eaf4", 0.02).sum() > 5000  # the band
    right = [np.flatnonzero(mask.any(0)).max() for mask in (upper, lower)]
    assert right[0] < right[1] - 100  # nothing is drawn where there is no value
    black = near(path, "black").sum()
    score_figures.curves(x, series, "threshold", "share", path, mark=Mark(0.25, "in use"))
    assert near(path, "black").sum() > black + 200
    nothing = {"value": [None] * 4}
    score_figures.curves(x, {"rate": nothing}, "threshold", "1/h", path, share=False)


def test_a_trade_off_is_drawn_where_it_is(tmp_path: Path) -> None:
    shares = {}
    for name, low in (("wide", 0.05), ("close", 0.85)):
        path = tmp_path / f"{name}.png"
        pair = (np.linspace(low, 0.95, 20).tolist(), np.linspace(0.99, low, 20).tolist())
        points = {"in use": (0.9, 0.9)}
        score_figures.trade_off({"": pair}, "recall (share)", "share", path, points=points)
        blue = np.flatnonzero(near(path, PALETTE[0]).any(0))
        shares[name] = np.ptp(blue) / imread(path).shape[1]
    assert min(shares.values()) > 0.3  # 0.07 if it were drawn from 0 to 1


@pytest.mark.parametrize("unit", ["km", "", "°"])
def test_errors_lie_on_their_side(tmp_path: Path, unit: str) -> None:
    middles = []
    for sign in (-1, 1):
        path = tmp_path / "residuals.png"
        error = sign * np.append(np.full(90, 5.0), [-5.0, np.nan])
        score_figures.value_residuals(error, unit, path, name="distance")
        middles.append(np.mean(np.nonzero(near(path, "#4076b4"))[1]))
    assert middles[1] > middles[0] + 200
    score_figures.value_residuals(np.zeros(0), unit, path)
    score_figures.value_residuals(np.zeros(3), unit, path)


def test_parts_have_points_intervals_and_counts(tmp_path: Path) -> None:
    path = tmp_path / "parts.png"
    nan = float("nan")
    entries = [Group("< 1", 900, 0.5, 0.4, 0.6), Group("≥ 1", 100, 0.9, nan, nan)]
    score_figures.parts({"P": entries}, "magnitude", "F1 (share)", path, share=True)
    blue, grey = near(path, PALETTE[0]), near(path, "#999999", 0.02)
    middle = blue.shape[1] // 2
    assert height(blue[:, middle:]) > height(blue[:, :middle]) + 50
    assert grey[:, :middle].sum() > 4 * grey[:, middle:].sum()
    score_figures.parts({"P": entries, "S": [entry._replace(value=nan) for entry in entries]},
                        "magnitude", "MAE (s)", path, share=False)  # fmt: skip


def test_stations_are_in_order_and_few(tmp_path: Path) -> None:
    values = np.random.default_rng(0).permutation(40) / 40
    entries = [Group(f"NA.S{n}", 500 - n, v, v - 0.02, v + 0.02) for n, v in enumerate(values)]
    tall, short = tmp_path / "tall.png", tmp_path / "short.png"
    score_figures.stations({"P": entries}, "F1 (share)", tall, share=True)
    score_figures.stations({"P": entries[:30]}, "F1 (share)", short, share=True)
    assert tall.read_bytes() == short.read_bytes()
    row, column = np.nonzero(near(tall, PALETTE[0]))
    assert np.corrcoef(-row, column)[0, 1] > 0.98  # the best on top, to the right


def test_calibration_counts_below(tmp_path: Path) -> None:
    path = tmp_path / "calibration.png"
    value: list[float | None] = [0.1, None, 0.9]
    curve = {
        "edges": [0.0, 0.3, 0.6, 1.0],
        "count": [50.0, 0.0, 500.0],
        "probability": [0.1, None, 0.9],
        "frequency": {"value": value, "low": [0.0, None, 0.8], "high": [0.2, None, 1.0]},
    }
    score_figures.calibration(curve, "hits", path, error=0.01)
    grey = near(path, "#999999", 0.02)
    third = grey.shape[1] // 3
    assert grey[:, 2 * third :].sum() > grey[:, :third].sum() > 1000
    score_figures.calibration({**curve, "count": [0.0] * 3}, "hits", path, error=float("nan"))
