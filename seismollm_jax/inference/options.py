"""The options of annotate and classify, in SeisBench's words."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from obspy import Inventory

from seismollm_jax.inference.streams import EDGE_S
from seismollm_jax.inference.windows import Stacking, check_blinding, overlap_samples

# Networks are taught with one event a window, and of several in one they may find the largest
# alone. Longer windows than this often hold several.
LONG_WINDOW_S = 60.0


@dataclasses.dataclass(frozen=True)
class Options:
    """How continuous records are analysed. Names and meanings are SeisBench's, but the last two.

    Attributes:
        batch_size: windows in a pass; None takes the predictor's.
        overlap: of neighbouring windows: samples from 1 up, a share of the window below 1. By
            default 0.5, and 0.9 for windows of more than a minute.
        stacking: "avg" or "max" of the windows that cover a sample. By default "avg", and "max"
            for windows of more than a minute, so that it is enough to be seen in one of them.
        blinding: samples at the beginning and end of each window that are not used.
        strict: use only samples that all three components have; otherwise missing ones are zero.
        flexible_horizontal_components: take components 1 and 2 for N and E.
        P_threshold: smallest probability of a P pick; None takes the predictor's.
        S_threshold: the same of S.
        detection_threshold: of a network that detects events: where the probability is above it, an
            event is in progress; None takes the predictor's.
        edge_s: seconds beside gaps, ends and dead stretches of a component without an answer.
        inventory: of ObsPy; turns components whose orientation deviates to up, north and east.
    """

    batch_size: int | None = None
    overlap: float = 0.5
    stacking: Stacking = "avg"
    blinding: tuple[int, int] = (0, 0)
    strict: bool = False
    flexible_horizontal_components: bool = True
    P_threshold: float | None = None
    S_threshold: float | None = None
    detection_threshold: float | None = None
    edge_s: float = EDGE_S
    inventory: Inventory | None = None

    @property
    def thresholds(self) -> dict[str, float]:
        """Those given, by phase."""
        given = {"P": self.P_threshold, "S": self.S_threshold}
        return {phase: value for phase, value in given.items() if value is not None}


def parse(options: Mapping[str, Any], window: int, sampling_rate_hz: float) -> Options:
    """Checked options.

    Args:
        options: those given.
        window: samples of the network's window.
        sampling_rate_hz: of the network.

    Raises:
        TypeError: an option that does not exist; the message lists those that do.
        ValueError: a value that cannot be.
    """
    known = [field.name for field in dataclasses.fields(Options)]
    if unknown := [name for name in options if name not in known]:
        raise TypeError(f"no option {', '.join(unknown)}; there are {', '.join(known)}")
    long = window > LONG_WINDOW_S * sampling_rate_hz
    own: dict[str, Any] = {"overlap": 0.9, "stacking": "max"} if long else {}
    made = Options(**(own | dict(options)))
    overlap_samples(window, made.overlap)
    check_blinding(window, made.overlap, made.blinding)
    if made.stacking not in ("avg", "max"):
        raise ValueError(f"stacking is {made.stacking!r}; give 'avg' or 'max'")
    if made.batch_size is not None and made.batch_size < 1:
        raise ValueError(f"batch_size is {made.batch_size}; it must be at least 1")
    if not made.edge_s >= 0:
        raise ValueError(f"edge_s is {made.edge_s}; it must not be negative")
    given = {**made.thresholds, "detection": made.detection_threshold}
    for phase, value in given.items():
        if value is not None and not 0 <= value <= 1:
            raise ValueError(f"{phase}_threshold is {value}; it must lie between 0 and 1")
    return made
