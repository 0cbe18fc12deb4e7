"""What the steps of an epoch leave behind until it is over: losses, and what went wrong."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from seismollm_jax import parallel

MAX_SKIPPED_SHARE = 0.01  # of an epoch's steps may have a loss that is not finite ...
MAX_SKIPPED = 10  # ... and always so many, but not more in a row


@dataclasses.dataclass(frozen=True)
class Pending:
    """A step that has been dispatched, and whose figures are still on the devices."""

    step: int
    batch: Mapping[str, jax.Array]
    figures: Mapping[str, jax.Array]


@dataclasses.dataclass
class Epoch:
    """The steps of an epoch so far. A checkpoint keeps it, so that nothing is lost in between.

    Attributes:
        losses: of the steps whose loss was finite.
        norms: of their gradients.
        unread: dataset rows that could not be read.
        skipped: number of steps left out, because loss or gradient was not finite.
        in_a_row: how many of them came last, one after the other, earlier epochs included.
    """

    losses: list[float] = dataclasses.field(default_factory=list)
    norms: list[float] = dataclasses.field(default_factory=list)
    unread: set[int] = dataclasses.field(default_factory=set)
    skipped: int = 0
    in_a_row: int = 0

    @classmethod
    def restored(cls, kept: Mapping[str, Any]) -> "Epoch":
        """From what `kept` gave to the checkpoint."""
        return cls(**{**kept, "unread": set(kept["unread"])})

    def kept(self) -> dict[str, Any]:
        """What a checkpoint keeps of it, for JSON."""
        return {**vars(self), "unread": sorted(self.unread)}

    def read(self, pending: Pending) -> bool:
        """Takes the figures of a step; waits for it. Returns whether they are finite."""
        figures = jax.device_get(pending.figures)
        loss, norm = float(figures["loss"]), float(figures["grad_norm"])
        if figures["unread"]:
            names = [n for n in ("row", "readable", "unread_donors") if n in pending.batch]
            with jax.transfer_guard("allow"):
                host = parallel.gather({name: pending.batch[name] for name in names})
            self.unread |= set(host["row"][host["readable"] == 0].tolist())
            self.unread |= set(host.get("unread_donors", np.array(-1)).ravel().tolist()) - {-1}
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self.skipped += 1
            self.in_a_row += 1
            return False
        self.losses.append(loss)
        self.norms.append(norm)
        self.in_a_row = 0
        return True

    def too_many_skipped(self, steps: int) -> bool:
        """Whether more of an epoch's `steps` were left out than chance explains."""
        return self.in_a_row > MAX_SKIPPED or self.skipped > max(
            MAX_SKIPPED, MAX_SKIPPED_SHARE * steps
        )

    def means(self, last: int | None = None) -> tuple[float, float]:
        """Mean loss and norm of the gradient, of all its steps or of the last; NaN of none."""
        begin = 0 if last is None else -last
        if not self.losses:
            return math.nan, math.nan
        return float(np.mean(self.losses[begin:])), float(np.mean(self.norms[begin:]))
