"""The account of continuous records: how much came in, was analysed and was masked, and why."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import pandas as pd

log = logging.getLogger(__name__)

REASONS = {
    "dead": "constant for seconds: a dead channel or a gap filled with zeros",
    "edge": "beside a gap, an end or a dead stretch",
    "too_short": "in stretches that are nothing but such edges",
    "overlap": "there twice",
    "not_finite": "nan or infinite",
    "unusable": "no component that the network knows, horizontals 1 and 2 beside N or E, or a "
    "header without a sampling rate that makes sense",
    "incomplete": "not on all three components, with strict=True",
}
"""Why samples are masked."""


@dataclass
class Coverage:
    """What came in, what became of it, and why the rest was masked.

    Seconds are those of components: a three-component hour counts 3 h.
    """

    files_read: int = 0
    files_unreadable: int = 0
    traces_read: int = 0
    conflicting_seconds: float = 0.0  # part of "overlap": both say different things
    notes: list[str] = field(default_factory=list)
    seconds: dict[str, dict[str, float]] = field(default_factory=dict)

    def note(self, text: str) -> None:
        """Keep a remark for the user."""
        self.notes.append(text)
        log.info(text)

    def add(self, trace_id: str, column: str, seconds: float) -> None:
        """Enter seconds that were read, that lie in gaps, or that were masked for a reason."""
        if column not in ("read", "gap", *REASONS):
            raise KeyError(column)
        row = self.seconds.setdefault(trace_id, {})
        row[column] = row.get(column, 0.0) + float(seconds)

    def to_dataframe(self) -> pd.DataFrame:
        """A row for each instrument: what was read = analysed + masked, and masked = all reasons.

        Returns:
            trace_id, then seconds: read, analysed, masked, each of `REASONS`; and gap, seconds
            between the first and the last sample of a component of which there were none.
        """
        rows = []
        for trace_id, found in sorted(self.seconds.items()):
            reasons = {name: found.get(name, 0.0) for name in REASONS}
            masked, read = sum(reasons.values()), found.get("read", 0.0)
            rows.append(
                {"trace_id": trace_id, "read": read, "analysed": read - masked, "masked": masked}
                | reasons
                | {"gap": found.get("gap", 0.0)}
            )
        columns = ["trace_id", "read", "analysed", "masked", *REASONS, "gap"]
        return pd.DataFrame(rows, columns=columns)

    def __str__(self) -> str:
        """Figures of everything together, then one line a note."""
        table = self.to_dataframe()
        total = {name: float(table[name].sum()) for name in table.columns[1:]}
        why = ", ".join(f"{name} {total[name]:.1f}" for name in REASONS if total[name])
        head = (
            f"{self.files_read} files read, {self.files_unreadable} unreadable; {self.traces_read} "
            f"traces of {len(table)} instruments; component seconds: {total['read']:.1f} read, "
            f"{total['analysed']:.1f} analysed, {total['masked']:.1f} masked"
            + (f" ({why})" if why else "")
            + f"; {total['gap']:.1f} in gaps"
        )
        if self.conflicting_seconds:
            head += f"; {self.conflicting_seconds:.1f} in overlaps that disagree"
        return "\n".join([head, *(f"- {text}" for text in self.notes)])
