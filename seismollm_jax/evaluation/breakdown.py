"""Scores by signal-to-noise ratio, distance, magnitude and station."""

import itertools
from typing import Any

import numpy as np
import pandas as pd

from seismollm_jax.evaluation.evaluate import Evaluation
from seismollm_jax.evaluation.intervals import bounds, part_of, resampled
from seismollm_jax.evaluation.predictions import stations
from seismollm_jax.metrics.bootstrap import Resampling

EDGES = {
    "snr_db": (0.0, 10.0, 20.0, 30.0, 40.0),
    "distance_km": (10.0, 25.0, 50.0, 100.0, 150.0, 200.0, 300.0, 500.0),
    "magnitude": (1.0, 2.0, 3.0, 4.0, 5.0, 6.0),
}
"""Inner edges of the bins; the lower edge of a bin belongs to it. The same for every dataset, so
that breakdowns can be compared."""

STATION_RECORDS = 20  # a station with fewer is left out
STATIONS = 200  # those with most records, at most


def break_down(
    outcome: Evaluation, catalogue: pd.DataFrame, resampling: Resampling
) -> dict[str, list[dict[str, Any]]]:
    """Quantity -> its bins in ascending order, with counts, scores and intervals.

    Bins without a record and quantities that no record has are left out. The signal-to-noise ratio
    is the mean over the components that have one.

    Args:
        outcome: at the thresholds to judge.
        catalogue: the table of the dataset.
        resampling: of the events of all records.
    """
    table = catalogue.iloc[outcome.rows]
    ratios = table[["snr_z_db", "snr_n_db", "snr_e_db"]].mean(axis=1)
    values = {
        "snr_db": ratios.to_numpy(np.float64),
        "distance_km": table["distance_km"].to_numpy(np.float64),
        "magnitude": table["magnitude"].to_numpy(np.float64),
    }
    found: dict[str, list[dict[str, Any]]] = {}
    for quantity, value in values.items():
        edges = (-np.inf, *EDGES[quantity], np.inf)
        for low, high in itertools.pairwise(edges):
            chosen = (value >= low) & (value < high)
            if chosen.any():
                bin_ = {"low": _finite(low), "high": _finite(high)}
                entry = bin_ | _scored(outcome, chosen, resampling)
                found.setdefault(quantity, []).append(entry)
    names = pd.Series(stations(table), dtype=object)
    counts = names.value_counts()
    for station in counts.index[counts >= STATION_RECORDS][:STATIONS]:
        chosen = (names == station).to_numpy(bool)
        entry = {"station": station} | _scored(outcome, chosen, resampling)
        found.setdefault("station", []).append(entry)
    return found


def _scored(outcome: Evaluation, chosen: np.ndarray, resampling: Resampling) -> dict[str, Any]:
    headline = {
        f"{name}/{score}" for name, metric in outcome.metrics.items() for score in metric.headline
    }
    scores = outcome.scores_of(chosen)
    mine = part_of(resampling, chosen)
    spread = resampled(outcome, chosen, mine) if mine.events > 1 else {}
    return {
        "records": int(chosen.sum()),
        "events": mine.events,
        "scores": {k: _finite(v) for k, v in scores.items() if k in headline},
        "intervals": {k: bounds(v) for k, v in spread.items() if k in headline},
    }


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
