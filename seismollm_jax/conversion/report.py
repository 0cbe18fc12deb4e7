"""What a conversion did, tensor by tensor, and how its results come into being: whole or not."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seismollm_jax import atomic_files
from seismollm_jax.conversion.network import Tensor

SHOWN = 100  # problems in a message; a network has some 200 arrays
COLUMNS = ("source", "target", "transform", "shape", "dtype")


class ConversionError(ValueError):
    """Something that does not convert, or is not what it should be.

    Attributes:
        problems: one line each, all of them.
    """

    def __init__(self, source: Any, problems: Sequence[str], what: str = "cannot be converted"):
        self.problems = list(problems)
        count = f"{len(self.problems)} problem{'s' if len(self.problems) > 1 else ''}"
        shown = self.problems[:SHOWN]
        if more := len(self.problems) - len(shown):
            shown.append(f"... and {more} more; --report FILE.json lists all")
        super().__init__(f"{source} {what}, {count}:\n  " + "\n  ".join(shown))


@dataclasses.dataclass
class Report:
    """Filled while a command runs, so that it is complete up to the point of a failure.

    Attributes:
        command: what was asked for.
        facts: what was found out: task, sizes, provenance, verification.
        rows: one tensor each, in the order of `COLUMNS`; shape and dtype are the source's.
        problems: why it failed; empty if it did not.
    """

    command: str
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    rows: list[tuple[str, str, str, str, str]] = dataclasses.field(default_factory=list)
    problems: list[str] = dataclasses.field(default_factory=list)

    def add(self, source: str, target: str, transform: str, tensor: Tensor) -> None:
        """Adds the row of one tensor; what has no counterpart shows as a dash."""
        shape = str(tensor.shape)
        self.rows.append((source or "-", target or "-", transform, shape, tensor.dtype))

    def table(self) -> str:
        """The rows in columns."""
        rows = [COLUMNS, *self.rows]
        widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
        lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
        return "\n".join(lines)

    def write(self, path: Path) -> None:
        """Writes everything as JSON, replacing an earlier report."""
        content = {
            "command": self.command,
            **self.facts,
            "tensors": [dict(zip(COLUMNS, row, strict=True)) for row in self.rows],
            "problems": self.problems,
        }
        with atomic_files.whole(path) as temporary:  # in place of an earlier report
            temporary.write_text(json.dumps(content, indent=1, default=str) + "\n")
