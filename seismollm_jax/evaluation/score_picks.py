"""Picks of continuous records against a catalogue of picks.

`python -m seismollm_jax.evaluation.score_picks PICKS.csv TRUE.csv`: both tables have the columns
`phase` and `time`; where both name the station (`trace_id` or `station`), picks of one station are
compared with those of the same. A catalogue pick is found if a pick of its phase lies within the
tolerance; pairs are made one to one, the closest first.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from seismollm_jax import command_line
from seismollm_jax.atomic_files import write

STATION = ("trace_id", "station")
EPSILON_S = 1e-6  # times are written to the microsecond


def read(path: str | Path) -> pd.DataFrame:
    """Table of picks: phase ("P", "S": the first letter), time_s (since 1970), station.

    `station` is "NET.STA", or empty where the table does not say.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a column is missing, or a time is none; the message names the row.
    """
    raw = pd.read_csv(path, dtype=str, keep_default_na=False)
    if missing := [name for name in ("phase", "time") if name not in raw]:
        raise ValueError(
            f"{path} has no column {', '.join(missing)}; it has {', '.join(raw.columns)}"
        )
    times = pd.to_datetime(raw["time"], format="ISO8601", utc=True, errors="coerce")
    if times.isna().any():
        row = int(np.flatnonzero(times.isna())[0])
        raise ValueError(
            f"{path}, row {row + 2}: time {raw['time'][row]!r} is none like 2020-01-31T12:34:56.7Z"
        )
    name = next((name for name in STATION if name in raw), None)
    station = raw[name] if name else pd.Series("", index=raw.index)
    return pd.DataFrame(
        {
            "phase": raw["phase"].str.strip().str[:1].str.upper(),
            "time_s": times.astype("datetime64[ns, UTC]").astype(np.int64) / 1e9,
            "station": station.str.split(".").str[:2].str.join("."),
        }
    )


def match(found: np.ndarray, true: np.ndarray, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of times that are at most `tolerance` apart, one to one, the closest first.

    Returns:
        Indices into `found` and into `true`, in order of `true`.
    """
    order = np.argsort(found, kind="stable")
    times = found[order]
    low = np.searchsorted(times, true - tolerance - EPSILON_S, "left")
    high = np.searchsorted(times, true + tolerance + EPSILON_S, "right")
    here = np.repeat(np.arange(len(true)), high - low)
    there = np.arange(len(here)) - np.repeat(np.cumsum(high - low) - high, high - low)
    distance = np.abs(times[there] - true[here])
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    for i in np.lexsort((here, there, distance)).tolist():
        mine, theirs = int(there[i]), int(here[i])
        if theirs not in pairs and mine not in taken:
            pairs[theirs] = mine
            taken.add(mine)
    matched = np.array(sorted(pairs), np.int64)
    return order[[pairs[i] for i in matched.tolist()]].astype(np.int64), matched


def score(found: pd.DataFrame, true: pd.DataFrame, tolerance_s: float) -> dict[str, Any]:
    """Scores by phase: true, picks, matched, precision, recall, f1, residual_mean_s, _std_s.

    Args:
        found: picks, as `read` gives them.
        true: of the catalogue; its phases are scored.
        tolerance_s: largest distance of a pair.

    Returns:
        Scores that are not defined are NaN. Residuals are pick minus catalogue.
    """
    by_station = bool(found["station"].any() and true["station"].any())
    scores: dict[str, Any] = {}
    for phase, wanted in true.groupby("phase"):
        own = found[found["phase"] == phase]
        residuals: list[np.ndarray] = []
        groups = wanted.groupby("station") if by_station else [("", wanted)]
        for station, some in groups:
            picked = own[own["station"] == station] if by_station else own
            mine, theirs = (table["time_s"].to_numpy() for table in (picked, some))
            i, j = match(mine, theirs, tolerance_s)
            residuals.append(mine[i] - theirs[j])
        residual = np.concatenate(residuals)
        hits = len(residual)
        scores[str(phase)] = {
            "true": len(wanted),
            "picks": len(own),
            "matched": hits,
            "precision": hits / len(own) if len(own) else math.nan,
            "recall": hits / len(wanted),
            "f1": 2 * hits / (len(own) + len(wanted)),
            "residual_mean_s": float(residual.mean()) if hits else math.nan,
            "residual_std_s": float(residual.std()) if hits else math.nan,
        }
    return scores


def without_nan(scores: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The same with None in place of NaN, which JSON does not have."""
    return {
        phase: {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in row.items()
        }
        for phase, row in scores.items()
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Scores the tables that the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m seismollm_jax.evaluation.score_picks",
        description="Compares a table of picks with a catalogue's: precision, recall, residuals.",
    )
    parser.add_argument("picks", help="table with phase and time, such as predict.py writes")
    parser.add_argument("true", help="catalogue's, with the same columns")
    parser.add_argument(
        "--tolerance", type=float, default=0.1, metavar="S", help="seconds (default: %(default)s)"
    )
    parser.add_argument("--output", metavar="FILE", type=Path, help="scores as JSON")
    given = parser.parse_args(arguments)
    if not given.tolerance >= 0:
        parser.error(f"--tolerance={given.tolerance} is negative")
    scores = score(read(given.picks), read(given.true), given.tolerance)
    if not scores:
        raise ValueError(f"{given.true} holds no picks")
    table = pd.DataFrame(scores).T.astype({name: int for name in ("true", "picks", "matched")})
    print(table.to_string(float_format=lambda value: f"{value:.4f}"))
    if given.output:
        text = json.dumps({"tolerance_s": given.tolerance, **without_nan(scores)}, indent=2)
        write(given.output, text.encode())


if __name__ == "__main__":
    command_line.guarded(main)
