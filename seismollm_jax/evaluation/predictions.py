"""The table of predictions, a row for each record in the order of the dataset, CSV and Parquet."""

from pathlib import Path

import numpy as np
import pandas as pd

from seismollm_jax import atomic_files
from seismollm_jax.evaluation.evaluate import Evaluation

NAMES = ("predictions.csv", "predictions.parquet")


def table(outcome: Evaluation, catalogue: pd.DataFrame) -> pd.DataFrame:
    """What is known and what was predicted of each record.

    Args:
        outcome: at the thresholds that the predictions are to have.
        catalogue: the table of the dataset.

    Returns:
        trace_name, row, event_id and station (NETWORK.STATION) where the dataset has them,
        window_start, then the columns of the task.
    """
    found: dict[str, np.ndarray] = {
        "trace_name": catalogue["trace_name"].to_numpy(object)[outcome.rows],
        "row": outcome.rows,
    }
    for name, values in (("event_id", events(catalogue)), ("station", stations(catalogue))):
        if pd.notna(values).any():
            found[name] = values[outcome.rows]
    found["window_start"] = outcome.window_starts
    task = outcome.experiment.task
    found |= task.columns(outcome.targets, outcome.answers, outcome.experiment.context)
    return pd.DataFrame(found)


def write(predictions: pd.DataFrame, folder: Path) -> None:
    """Writes both files, each whole or not at all."""
    csv, parquet = (folder / name for name in NAMES)
    with atomic_files.whole(csv) as path:
        predictions.to_csv(path, index=False)
    with atomic_files.whole(parquet) as path:
        predictions.to_parquet(path, index=False, engine="pyarrow")


def events(catalogue: pd.DataFrame) -> np.ndarray:
    """Event of each row of a dataset, None where it has none."""
    return _text(catalogue["event_id"])


def stations(catalogue: pd.DataFrame) -> np.ndarray:
    """NETWORK.STATION of each row, the station alone where there is no network, or None."""
    network, station = _text(catalogue["network"]), _text(catalogue["station"])
    joined = [
        name if name is None or code is None else f"{code}.{name}"
        for code, name in zip(network, station, strict=True)
    ]
    return np.array(joined, object)


def _text(column: pd.Series) -> np.ndarray:
    values = column.astype(object).to_numpy(object, copy=True)
    values[pd.isna(values) | (values == "")] = None
    return values
