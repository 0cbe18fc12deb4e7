"""Bootstrap over events (Efron 1979; by clusters, Field & Welsh 2007).

Records of one earthquake share its source, its time and its label, so they are no independent
draws: whole events are drawn, each with all its records. Scores that are functions of sums over
records need only the sums of each event, which makes a thousand resamples of a hundred thousand
records a matter of a second.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from seismollm_jax.metrics.phases import Parts

RESAMPLES = 1000
FEW_RESAMPLES = 300  # for curves and for parts of the records, of which there are many
SEED = 0
LEVEL = 0.95
CHUNK_BYTES = 2**25  # of the weights that are held at a time


@dataclass(frozen=True)
class Resampling:
    """So many draws of events with replacement, the same draws at each use.

    Attributes:
        groups: (rows,) event of each record, numbers from 0 without gaps.
        resamples: how many.
        seed: of the draws.
    """

    groups: np.ndarray
    resamples: int = RESAMPLES
    seed: int = SEED

    @property
    def events(self) -> int:
        """Number of events."""
        return int(self.groups.max()) + 1 if len(self.groups) else 0

    def sums(self, parts: Mapping[str, np.ndarray]) -> Parts:
        """Sums over the records of each resample.

        Args:
            parts: (rows,) or (rows, k) each, what each record adds. Whole numbers are summed
                exactly.

        Returns:
            (resamples,) or (resamples, k) each, float64.
        """
        tables = {name: _by_event(part, self.groups, self.events) for name, part in parts.items()}
        found = {name: np.empty((self.resamples, table.shape[1])) for name, table in tables.items()}
        # Sums of whole numbers below 2**24 are exact in float32, which is twice as fast.
        kinds = {table.dtype for table in tables.values()}
        draws, size = self._draws(), max(1, CHUNK_BYTES // (8 * max(self.events, 1)))
        for start in range(0, self.resamples, size):
            drawn = np.stack(list(itertools.islice(draws, size)))
            weights = {kind: drawn.astype(kind) for kind in kinds}
            for name, table in tables.items():
                found[name][start : start + len(drawn)] = weights[table.dtype] @ table
        return {
            name: value[:, 0] if np.ndim(parts[name]) == 1 else value
            for name, value in found.items()
        }

    def apply(self, function: Callable[[np.ndarray], Mapping[str, float]]) -> Parts:
        """Values (resamples,) of a function of weights (rows,), how often each record counts."""
        found = [function(drawn[self.groups]) for drawn in self._draws()]
        return {name: np.array([one[name] for one in found]) for name in found[0]}

    def _draws(self) -> Iterator[np.ndarray]:
        """How often each event was drawn (events,), resample by resample."""
        rng, events = np.random.default_rng(self.seed), self.events
        for _ in range(self.resamples):
            yield np.bincount(rng.integers(0, events, events), minlength=events)


def interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of the middle 95 % of resampled scores (resamples, ...); nan where there is none."""
    percents = 50 * (1 - LEVEL), 50 * (1 + LEVEL)
    values = np.asarray(values, np.float64)
    if not np.isnan(values).any():
        low, high = np.percentile(values, percents, axis=0)
        return low, high
    found = np.full((2, int(np.prod(values.shape[1:]))), np.nan)
    for place, column in enumerate(values.reshape(len(values), -1).T):
        defined = column[~np.isnan(column)]
        if len(defined):
            found[:, place] = np.percentile(defined, percents)
    low, high = found.reshape(2, *values.shape[1:])
    return low, high


def groups_of(events: np.ndarray) -> np.ndarray:
    """Events by name, (rows,), None or nan where a record has none -> numbers from 0.

    A record without an event is one by itself. Numbers go by first appearance.
    """
    numbers: dict[object, int] = {}
    found = np.empty(len(events), np.int64)
    for row, event in enumerate(events.tolist()):
        missing = event is None or event != event
        found[row] = numbers.setdefault(("row", row) if missing else event, len(numbers))
    return found


def _by_event(part: np.ndarray, groups: np.ndarray, events: int) -> np.ndarray:
    """Sums of (rows,) or (rows, k) over the rows of each event, (events, k)."""
    exact = part.dtype == bool or np.issubdtype(part.dtype, np.integer)
    table = part.reshape(len(part), -1)
    found = np.empty((events, table.shape[1]), np.float32 if exact else np.float64)
    for column in range(table.shape[1]):
        found[:, column] = np.bincount(groups, weights=table[:, column], minlength=events)
    return found
