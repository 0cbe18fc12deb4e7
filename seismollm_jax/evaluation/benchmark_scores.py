"""Scores of the picking benchmark of Münchmeyer et al. (2022), from tables of its predictions.

Names and definitions are those of its results: thresholds are chosen on the set "dev", a score has
to lie above its threshold, residuals are predicted minus true, and the `std` of a residual is the
root of its mean square.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from seismollm_jax.metrics.ranking import Ranking

CANDIDATES = 50  # thresholds tried for Matthews' coefficient
OUTLIERS_S = (0.45, 1.5)  # limits of the benchmark's histograms, regional and teleseismic

Scores = dict[str, float]


def summarise(tables: Mapping[tuple[str, str], pd.DataFrame]) -> Scores:
    """All scores that tables of predictions allow.

    Args:
        tables: (set, kind) -> targets with predictions; rows without any are left out.
    """
    found: Scores = {}
    thresholds: dict[str, float] = {}
    for part in sorted({part for part, _ in tables}):  # dev before test
        if (part, "task1") in tables:
            table = tables[part, "task1"].dropna(subset="score_detection")
            truth = (table["trace_type"] == "earthquake").to_numpy()
            score = table["score_detection"].to_numpy(np.float64)
            found |= _detection(part, truth, score, thresholds)
        if (part, "task23") in tables:
            table = tables[part, "task23"].dropna(subset="score_p_or_s")
            truth = (table["phase_label"] == "P").to_numpy()
            # Networks that see no S at all divide by nothing.
            score = np.clip(table["score_p_or_s"].to_numpy(np.float64), -1e100, 1e100)
            found |= _phase(part, truth, score, thresholds)
            found |= _residuals(part, table)
    names = {"det": "det_threshold", "f1": "phase_threshold", "mcc": "phase_threshold_mcc"}
    return found | {names[name]: value for name, value in thresholds.items()}


def lines(scores: Mapping[str, float], sets: Sequence[str]) -> list[str]:
    """The scores as a table: a line for each, a column for each set, thresholds below."""
    names: dict[str, None] = {}  # in the order of the sets
    for name in scores:
        part, _, score = name.partition("_")
        if part in sets:
            names[score] = None
    shown = [f"{'':<20}" + "".join(f"{part:>10}" for part in sets)]
    for score in names:
        cells = (scores.get(f"{part}_{score}", float("nan")) for part in sets)
        numbers = (f"{'-' if cell != cell else f'{cell:.4f}':>10}" for cell in cells)
        shown.append(f"{score:<20}" + "".join(numbers))
    rest = {n: value for n, value in scores.items() if n.partition("_")[0] not in sets}
    return shown + [f"{name:<20}{value:>10.4g}" for name, value in rest.items()]


def _detection(
    part: str, truth: np.ndarray, score: np.ndarray, thresholds: dict[str, float]
) -> Scores:
    found = {f"{part}_det_auc": roc_auc(truth, score)}
    if part == "dev" and truth.any():
        thresholds["det"] = best_f1_threshold(truth, score)
        # The benchmark counts a score that equals the threshold on dev, where it is one of them.
        return found | _ratios(f"{part}_det", truth, score >= thresholds["det"])
    if "det" in thresholds:
        found |= _ratios(f"{part}_det", truth, score > thresholds["det"])
    return found


def _phase(part: str, truth: np.ndarray, score: np.ndarray, thresholds: dict[str, float]) -> Scores:
    found = {f"{part}_phase_auc": roc_auc(truth, score)}
    if part == "dev" and truth.any():
        thresholds["f1"] = best_f1_threshold(truth, score)
        places = np.linspace(0, len(score) - 1, CANDIDATES, dtype=int)
        tried = np.sort(score)[places]
        coefficients = [matthews(truth, score > threshold) for threshold in tried]
        thresholds["mcc"] = float(tried[int(np.argmax(coefficients))])
        found[f"{part}_phase_mcc"] = max(coefficients)
        return found | _ratios(f"{part}_phase", truth, score >= thresholds["f1"])
    if "f1" in thresholds:
        found |= _ratios(f"{part}_phase", truth, score > thresholds["f1"])
        found[f"{part}_phase_mcc"] = matthews(truth, score > thresholds["mcc"])
    return found


def _residuals(part: str, table: pd.DataFrame) -> Scores:
    """Of the phase that is in the window, seconds."""
    found: Scores = {}
    for phase in ("P", "S"):
        own = table[table["phase_label"] == phase]
        if own.empty:
            continue
        onset, rate = own["phase_onset"], own["sampling_rate"]
        residual = ((own[f"{phase.lower()}_sample_pred"] - onset) / rate).to_numpy(np.float64)
        size = np.abs(residual)
        found[f"{part}_{phase}_mean_s"] = float(residual.mean())
        found[f"{part}_{phase}_std_s"] = float(np.sqrt(np.square(residual).mean()))
        found[f"{part}_{phase}_mae_s"] = float(size.mean())
        for limit in OUTLIERS_S:
            found[f"{part}_{phase}_beyond_{limit}_s"] = float((size > limit).mean())
    return found


def roc_auc(truth: np.ndarray, score: np.ndarray) -> float:
    """Area under the receiver operating characteristic; nan without both classes."""
    return Ranking(score, truth).areas(np.ones(len(score)))[0]


def best_f1_threshold(truth: np.ndarray, score: np.ndarray) -> float:
    """The smallest accepted score that gives the best F1, the lowest of several."""
    ranking = Ranking(score, truth)
    hits, false = ranking.counts(np.ones(len(score)))
    f1 = 2 * hits / (hits + false + truth.sum())
    return float(ranking.thresholds[f1 == f1.max()].min())


def matthews(truth: np.ndarray, accepted: np.ndarray) -> float:
    """Matthews' correlation coefficient; 0 where a class is empty."""
    table = np.zeros((2, 2))
    np.add.at(table, (truth.astype(int), accepted.astype(int)), 1)
    root = np.sqrt(np.prod([*table.sum(0), *table.sum(1)]))
    return float(np.linalg.det(table) / root) if root else 0.0


def _ratios(name: str, truth: np.ndarray, accepted: np.ndarray) -> Scores:
    hits = int((truth & accepted).sum())
    predicted, true = int(accepted.sum()), int(truth.sum())
    return {
        f"{name}_precision": hits / predicted if predicted else 0.0,
        f"{name}_recall": hits / true if true else 0.0,
        f"{name}_f1": 2 * hits / (predicted + true) if predicted + true else 0.0,
    }
