"""Picks: found on probability curves, selected, and as tables, QuakeML or ObsPy objects."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from obspy import Inventory, UTCDateTime
from obspy.core.event import Catalog

from seismollm_jax.inference import amplitudes, pick_output
from seismollm_jax.inference.detections import DetectionList
from seismollm_jax.inference.quality import snr_db, uncertainty
from seismollm_jax.inference.streams import Segment
from seismollm_jax.metrics.peaks import find_peaks


@dataclass(kw_only=True)
class Pick:
    """An arrival on a record; the first nine attributes are SeisBench's.

    Attributes:
        trace_id: "NET.STA.LOC.HH", the last part being band and instrument code.
        start_time: first sample of the run around the peak at half the threshold or more.
        end_time: last sample of that run.
        peak_time: of the peak of the probability curve, to a fraction of a sample.
        peak_value: probability at the highest sample, 0 to 1.
        phase: such as "P" or "S".
        polarity: "U" or "D", None where unknown.
        polarity_value: probability of that polarity.
        up_probability: of an upward first motion.
        uncertainty_s: standard deviation of a normal distribution as wide as the peak at half its
            height. Networks draw peaks of the width of their training labels even where they are
            sure, so it compares picks of one network.
        snr_db: of ground motion in the 2 s after and the 5 s before the pick.
        channel: code of the component that the phase is usually read on, if it has data: the
            vertical for P, a horizontal for S.
        peak_velocity_m_s: peak ground velocity, see :mod:`seismollm_jax.inference.amplitudes`; None
            without an inventory.
        peak_period_s: of the swing with that velocity.
        no_amplitude: why there is none although there is an inventory.
    """

    trace_id: str
    start_time: UTCDateTime
    end_time: UTCDateTime
    peak_time: UTCDateTime
    peak_value: float
    phase: str
    polarity: str | None = None
    polarity_value: float | None = None
    up_probability: float | None = None
    uncertainty_s: float | None = None
    snr_db: float | None = None
    channel: str = ""
    peak_velocity_m_s: float | None = None
    peak_period_s: float | None = None
    no_amplitude: str = ""


class PickList(list[Pick]):
    """Picks with what one does with them."""

    def select(
        self,
        trace_id: str | None = None,
        phase: str | None = None,
        min_probability: float | None = None,
        starttime: UTCDateTime | None = None,
        endtime: UTCDateTime | None = None,
        min_confidence: float | None = None,
    ) -> PickList:
        """Those that fulfil everything given.

        Args:
            trace_id: regular expression that the whole trace_id matches, as in SeisBench.
            phase: "P" or "S".
            min_probability: smallest `peak_value`.
            starttime: earliest `peak_time`.
            endtime: latest `peak_time`.
            min_confidence: SeisBench's name of `min_probability`.
        """
        pattern = None if trace_id is None else re.compile(trace_id)
        least = max(min_probability or 0.0, min_confidence or 0.0)
        return PickList(
            pick
            for pick in self
            if (pattern is None or pattern.fullmatch(pick.trace_id))
            and (phase is None or pick.phase == phase)
            and pick.peak_value >= least
            and (starttime is None or pick.peak_time >= starttime)
            and (endtime is None or pick.peak_time <= endtime)
        )

    def to_dataframe(self) -> pd.DataFrame:
        """A row a pick, by time, in SeisBench's columns, and uncertainty_s, snr_db and more."""
        return pick_output.to_dataframe(self)

    def to_catalog(self, creator: str = "seismollm_jax") -> Catalog:
        """An ObsPy catalogue with one event that holds all picks: they are not associated."""
        return pick_output.to_catalog(self, creator)

    def to_quakeml(self, path: str, creator: str = "seismollm_jax") -> None:
        """Write `to_catalog` as QuakeML 1.2."""
        pick_output.write_quakeml(self, path, creator)

    def write_csv(self, path: str) -> int:
        """Write a table as `predict.py` does; returns the number of picks."""
        return pick_output.write_csv(self, path)


@dataclass
class ClassifyOutput:
    """What `Predictor.classify` gives.

    Attributes:
        creator: name of the model.
        picks: by time.
        coverage: what came in, was analysed and was masked.
        detections: by time; of a network that detects events.
    """

    creator: str
    picks: PickList
    coverage: object
    detections: DetectionList = field(default_factory=DetectionList)


def pick_segment(
    probability: np.ndarray,
    segment: Segment,
    phases: Mapping[str, int],
    thresholds: Mapping[str, float],
    min_distance_s: float,
    component_order: str = "ZNE",
    inventory: Inventory | None = None,
) -> PickList:
    """Pick every arrival on a segment's probability curves.

    Args:
        probability: (samples, k); nan where there is no data, beside which nothing is picked.
        segment: the record the curves belong to.
        phases: channel of each phase, such as {"P": 1, "S": 2}.
        thresholds: smallest probability of a pick, by phase.
        min_distance_s: of two peaks of a phase this close or closer the higher one stays.
        component_order: of the segment.
        inventory: with responses, for amplitudes.

    Returns:
        Picks in order of time, placed at the top of the parabola through the highest sample and its
        neighbours.

    Raises:
        ValueError: the curves have another length than the segment.
        KeyError: a phase without a threshold.
    """
    if len(probability) != len(segment.data):
        raise ValueError(
            f"{segment.trace_id}: curves of {len(probability)} samples for a segment of "
            f"{len(segment.data)}"
        )
    rate, found = segment.sampling_rate_hz, PickList()
    for phase, number in phases.items():
        if number >= probability.shape[1]:  # nothing but nan
            continue
        curve, threshold = np.ascontiguousarray(probability[:, number]), thresholds[phase]
        peaks = find_peaks(curve, threshold, int(min_distance_s * rate), None)
        if not len(peaks):
            continue
        low = np.flatnonzero(~(curve >= threshold / 2))
        low = np.concatenate([[-1], low, [len(curve)]])
        after = np.searchsorted(low, peaks)
        first, last = low[after - 1] + 1, low[after] - 1
        for peak, begin, end in zip(peaks.tolist(), first.tolist(), last.tolist(), strict=True):
            found.append(
                Pick(
                    trace_id=segment.trace_id,
                    start_time=segment.time(begin),
                    end_time=segment.time(end),
                    peak_time=segment.time(peak, _vertex(curve[peak - 1 : peak + 2])),
                    peak_value=float(curve[peak]),
                    phase=phase,
                    uncertainty_s=uncertainty(curve, peak, rate),
                    snr_db=snr_db(segment.data, segment.valid, peak, rate),
                    channel=_channel(segment, peak, phase, component_order),
                )
            )
    found.sort(key=lambda pick: (pick.peak_time, pick.phase))
    if inventory is not None:
        amplitudes.measure(found, segment, inventory)
    return found


def merged(lists: Iterable[PickList]) -> PickList:
    """All picks by time, then trace_id and phase."""
    together = PickList(pick for picks in lists for pick in picks)
    together.sort(key=lambda pick: (pick.peak_time, pick.trace_id, pick.phase))
    return together


def _channel(segment: Segment, sample: int, phase: str, component_order: str) -> str:
    """The component that has data at a sample, the usual one of the phase before others."""
    for component in "NEZ" if phase.startswith("S") else "ZNE":
        column = component_order.index(component)
        if segment.valid[sample, column] and segment.channels[column]:
            return segment.channels[column].split("+")[0]
    return ""


def _vertex(three: np.ndarray) -> float:
    """Place of the top of the parabola through three samples, relative to the middle one."""
    before, top, after = three.astype(np.float64)
    curvature = before - 2 * top + after  # below 0: the middle one is higher than its predecessor
    return float(np.clip(0.5 * (before - after) / curvature, -0.5, 0.5))
