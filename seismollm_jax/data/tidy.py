"""What readers of catalogues share: cells set to missing and rows left out, all of it counted."""

from __future__ import annotations

import numpy as np
import pandas as pd

from seismollm_jax.data.records import DOWN, UP

MAGNITUDE_RANGE = (0.0, 8.0)
POLARITY_WORDS = {
    **dict.fromkeys(("u", "c", "up", "positive", "compression"), UP),
    **dict.fromkeys(("d", "r", "down", "negative", "dilatation"), DOWN),
}
"""First motion in lower case -> its code; other words are taken as missing."""


def count(counts: dict[str, int], text: str, mask: pd.Series | np.ndarray) -> None:
    """Add the number of rows in `mask` to a finding of the report, unless there are none."""
    n = int(np.count_nonzero(mask))
    if n:
        counts[text] = counts.get(text, 0) + n


def blank(
    table: pd.DataFrame, column: str, mask: pd.Series, text: str, counts: dict[str, int]
) -> None:
    """Set values to missing and count those that were not."""
    count(counts, text, mask & table[column].notna())
    table.loc[mask, column] = np.nan


def left_out(
    raw: pd.DataFrame, mask: pd.Series | np.ndarray, text: str, counts: dict[str, int]
) -> pd.DataFrame:
    """The rows that are not in `mask`, which are counted."""
    count(counts, text, mask)
    return raw[~mask].reset_index(drop=True) if mask.any() else raw
