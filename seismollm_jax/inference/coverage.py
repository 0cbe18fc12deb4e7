"""The account of a run over continuous records: what was read, used and left out, and why."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

log = logging.getLogger(__name__)


@dataclass
class Report:
    """What was read, what became of it, and why the rest was left out.

    Seconds of the components are summed over components: a three-component hour counts 3 h.
    Read = used + left out, up to the sample or two that resampling trims off each piece.
    """

    files_read: int = 0
    files_unreadable: int = 0
    traces_read: int = 0
    traces_left_out: int = 0
    component_seconds_read: float = 0.0
    component_seconds_used: float = 0.0
    component_seconds_left_out: float = 0.0
    conflicting_seconds: float = 0.0  # part of what is left out: overlaps that disagree
    segments: int = 0
    segment_seconds: float = 0.0
    gap_seconds: float = 0.0  # inside segments, without data on any component
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Keep a remark for the user."""
        self.notes.append(text)
        log.info(text)

    def __str__(self) -> str:
        """One line of figures, then one line a note."""
        head = (
            f"{self.files_read} files and {self.traces_read} traces read, "
            f"{self.files_unreadable} files unreadable, {self.traces_left_out} traces left out; "
            f"{self.segments} segments, {self.segment_seconds:.1f} s of which "
            f"{self.gap_seconds:.1f} s are gaps; component seconds: "
            f"{self.component_seconds_read:.1f} read, {self.component_seconds_used:.1f} used, "
            f"{self.component_seconds_left_out:.1f} left out "
            f"({self.conflicting_seconds:.1f} in overlaps that disagree)"
        )
        return "\n".join([head, *(f"- {text}" for text in self.notes)])
