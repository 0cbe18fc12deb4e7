"""Detections: stretches of a record in which an event is in progress."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from obspy import UTCDateTime

from seismollm_jax.inference.pick_output import time_text
from seismollm_jax.inference.streams import Segment
from seismollm_jax.tasks.base import Task

COLUMNS = ("trace_id", "start_time", "end_time", "probability")


def detects(task: Task) -> bool:
    """Whether networks of a task, in this form of it, tell where an event is in progress."""
    return "detection" in task.labels


@dataclass(kw_only=True)
class Detection:
    """An event on a record, from P to the end of its coda; the attributes are SeisBench's.

    Attributes:
        trace_id: "NET.STA.LOC.HH", the last part being band and instrument code.
        start_time: first sample with a probability above the threshold.
        end_time: last such sample in a row.
        peak_value: highest probability between them, 0 to 1.
    """

    trace_id: str
    start_time: UTCDateTime
    end_time: UTCDateTime
    peak_value: float


class DetectionList(list[Detection]):
    """Detections with what one does with them."""

    def select(
        self, trace_id: str | None = None, min_confidence: float | None = None
    ) -> DetectionList:
        """Those that fulfil everything given.

        Args:
            trace_id: regular expression that the whole trace_id matches, as in SeisBench.
            min_confidence: smallest `peak_value`.
        """
        pattern = None if trace_id is None else re.compile(trace_id)
        return DetectionList(
            detection
            for detection in self
            if (pattern is None or pattern.fullmatch(detection.trace_id))
            and detection.peak_value >= (min_confidence or 0.0)
        )

    def write_csv(self, path: str | os.PathLike[str]) -> int:
        """Write one row a detection, in `COLUMNS`, as tables of picks are; returns the number."""
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            for one in self:
                times = time_text(one.start_time), time_text(one.end_time)
                writer.writerow([one.trace_id, *times, f"{one.peak_value:.4f}"])
        return len(self)

    def to_dataframe(self) -> pd.DataFrame:
        """A row a detection, by time, in SeisBench's columns."""
        return pd.DataFrame(
            [
                (one.trace_id, one.start_time.datetime, one.end_time.datetime, one.peak_value)
                for one in self
            ],
            columns=["station", "start_time", "end_time", "probability"],
        )


def detect_segment(probability: np.ndarray, segment: Segment, threshold: float) -> DetectionList:
    """Every run of samples above a threshold.

    Unlike SeisBench's, which go on down to half the threshold, a run ends where the probability is
    no longer above it, as in the training labels. Gaps and ends of the record end it too.

    Args:
        probability: (samples,) that an event is in progress; nan where there is no data.
        segment: the record that the curve belongs to.
        threshold: compared in float32.

    Returns:
        Detections in order of time.

    Raises:
        ValueError: the curve has another length than the segment.
    """
    if len(probability) != len(segment.data):
        raise ValueError(
            f"{segment.trace_id}: a curve of {len(probability)} samples for a segment of "
            f"{len(segment.data)}"
        )
    above = np.concatenate([[False], probability > np.float32(threshold), [False]])
    runs = np.flatnonzero(above[1:] != above[:-1]).reshape(-1, 2).tolist()
    return DetectionList(
        Detection(
            trace_id=segment.trace_id,
            start_time=segment.time(first),
            end_time=segment.time(end - 1),
            peak_value=float(probability[first:end].max()),
        )
        for first, end in runs
    )


def merged_detections(lists: Iterable[DetectionList]) -> DetectionList:
    """All detections by time, then trace_id."""
    together = DetectionList(one for detections in lists for one in detections)
    together.sort(key=lambda one: (one.start_time, one.end_time, one.trace_id))
    return together
