"""What the dataset doctor finds: one kind of problem each, with the rows that show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

ERROR, WARNING, NOTE = "error", "warning", "note"
LEVELS = (ERROR, WARNING, NOTE)
"""Wrong for certain, perhaps wrong or harmful, and good to know."""

EXAMPLES = 5


@dataclass(frozen=True)
class Finding:
    """One kind of problem.

    Attributes:
        level: out of `LEVELS`.
        name: a word for programs, such as "s_not_after_p".
        count: how many things have it.
        unit: what these things are, such as "traces".
        text: what is wrong.
        remedy: what to do about it.
        examples: the first few, each with `row`, `file` and `trace` and the fields that show it.
    """

    level: str
    name: str
    count: int
    unit: str
    text: str
    remedy: str
    examples: list[dict[str, Any]] = field(default_factory=list)


def of_rows(
    table: pd.DataFrame,
    rows: np.ndarray,
    level: str,
    name: str,
    text: str,
    remedy: str,
    fields: Sequence[str] = (),
    values: Mapping[str, np.ndarray] | None = None,
) -> list[Finding]:
    """A finding about some rows of a catalogue; none if there are no rows.

    `fields` are the columns that examples show, `values` are more of them, in the order of `rows`.
    """
    if not len(rows):
        return []
    examples = []
    for place, row in enumerate(rows[:EXAMPLES].tolist()):
        example = {"row": row}
        example |= {
            shown: plain(table[column].iloc[row])
            for shown, column in (("file", "file"), ("trace", "trace_name"))
        }
        example |= {column: plain(table[column].iloc[row]) for column in fields}
        example |= {key: plain(several[place]) for key, several in (values or {}).items()}
        examples.append(example)
    return [Finding(level, name, len(rows), "traces", text, remedy, examples)]


def plain(value: Any) -> Any:
    """A cell as JSON has it: a time is its ISO text; missing or infinite is None.

    A float has seven digits, which is what the table has.
    """
    if not isinstance(value, str) and pd.isna(value):
        return None
    if isinstance(value, pd.Timestamp | np.datetime64):
        return pd.Timestamp(value).isoformat(timespec="milliseconds")
    if isinstance(value, float | np.floating):
        if not np.isfinite(value):
            return None
        short = float(f"{value:.7g}")
        return int(short) if short.is_integer() and abs(short) < 1e15 else short
    return value.item() if isinstance(value, np.generic) else value


def counted(values: pd.Series) -> dict[str, int]:
    """Value -> number of rows, most frequent first; missing ones are left out."""
    found = values.value_counts()
    return {str(plain(value)): int(n) for value, n in found[found > 0].items()}


def listed(counts: Mapping[str, int], most: int = 6) -> str:
    """Counts in a line of text."""
    shown = [f"{value} {n}" for value, n in list(counts.items())[:most]]
    rest = len(counts) - most
    return ", ".join(shown) + (f" and {rest} more" if rest > 0 else "")
