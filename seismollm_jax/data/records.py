"""The data contract: a trace, a sample, a catalogue, and which rows of it a task can use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

COMPONENTS = "ZNE"
"""Component order of every waveform inside the package: vertical, north, east."""

LABELS = ("p_sample", "s_sample", "magnitude", "distance_km", "back_azimuth_deg", "polarity")
"""Label columns of a catalogue that a task may need."""

TABLE_COLUMNS = (
    *("trace_name", "file", "category", "event_id", "network", "station", "instrument"),
    *("start_time", "origin_time", "p_sample", "s_sample", "magnitude", "magnitude_type"),
    *("distance_km", "back_azimuth_deg", "polarity", "snr_z_db", "snr_n_db", "snr_e_db"),
    *("station_latitude_deg", "station_longitude_deg", "station_elevation_m"),
    *("event_latitude_deg", "event_longitude_deg", "event_depth_km"),
    *("sampling_rate_hz", "component_order", "split"),
)
"""Columns of every catalogue, whatever the dataset; see `Dataset`."""

UP, DOWN, NO_POLARITY = 0, 1, -1
"""First motion of the P wave: compression, dilatation, not known."""


@dataclass(slots=True)
class Record:
    """One three-component trace with its labels.

    `waveform` is float32 of shape (samples, 3) in the order Z, N, E. Picks are sample indices
    counted from the first sample. With picks of one phase alone, the other is not labelled; without
    any, the trace is noise. A missing number is NaN, a missing polarity -1.
    """

    waveform: np.ndarray  # (samples, 3)
    p_samples: list[int]
    s_samples: list[int]
    magnitude: float = np.nan
    distance_km: float = np.nan
    back_azimuth_deg: float = np.nan
    polarity: int = NO_POLARITY
    snr_db: tuple[float, float, float] = (np.nan, np.nan, np.nan)


@dataclass(slots=True)
class Sample:
    """One window, ready for a task to encode.

    `waveform` is float32 (window, 3), normalised, zero-filled where the window leaves the trace.
    Picks are relative to the window and may be empty. `window_start` is the index in the trace of
    the window's first sample; it is negative when the window begins before the trace. With
    the circular shift of the augmentation the trace is shifted first, so sample i of the window
    is sample (window_start + i - shift) modulo the trace length of the trace as read; `shift` is 0
    otherwise. `noise` tells that the trace was taken for noise, or turned into it. Where a phase is
    not `p_labelled` or `s_labelled`, nobody says whether it is in the window: that it has no picks
    does not mean that it is not there.
    """

    waveform: np.ndarray  # (window, 3)
    p_samples: list[int]
    s_samples: list[int]
    magnitude: float
    distance_km: float
    back_azimuth_deg: float
    polarity: int
    window_start: int
    shift: int = 0
    noise: bool = False
    p_labelled: bool = True
    s_labelled: bool = True


@dataclass(frozen=True)
class Report:
    """What a reader found and changed: text of the finding -> number of rows."""

    counts: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        width = max((len(str(n)) for n in self.counts.values()), default=0)
        return "\n".join(f"{n:>{width}}  {text}" for text, n in self.counts.items())


@dataclass(frozen=True)
class Dataset:
    """A catalogue and where its waveforms are.

    `table` has the columns `TABLE_COLUMNS` and a RangeIndex: the row number identifies a record.

    ==================  =========================================================================
    trace_name          name of the waveform, unique
    file                waveform file, relative to `path` (categorical)
    category            "earthquake" or "noise" (categorical)
    event_id            text, missing for noise (categorical)
    network, station    codes (categorical), as is `instrument`, the band and instrument code
    start_time          time of the first sample, UTC; `origin_time` that of the event
    p_sample, s_sample  arrivals in samples from the first one, whole numbers, NaN = missing
    magnitude           0 to 8; `magnitude_type` in lower case (categorical)
    distance_km         epicentral distance
    back_azimuth_deg    station to event, 0 <= value < 360
    polarity            0 up, 1 down, -1 missing (int8)
    snr_z_db ...        signal-to-noise ratio of each component
    station_*, event_*  coordinates
    sampling_rate_hz    of the trace as stored, which `p_sample` and `s_sample` count in
    component_order     of the trace as stored, such as "ENZ" or "Z" (categorical)
    split               "train", "val" or "test" where the dataset says so itself (categorical)
    address             optional: what its file knows the trace by, if not `trace_name`
    source              of a mixture: the name of its member (categorical)
    ==================  =========================================================================

    Attributes:
        name: of the dataset.
        path: directory that `file` is relative to.
        table: see above.
        sampling_rate_hz: of the records that a `WaveformSource` makes of it.
        storage: what kind of files hold the waveforms, a key of `storage.STORAGES`.
        inner_path: group in those files that holds the traces.
        dimension_order: "WC" for waveforms stored (samples, components), "CW" for (components,
            samples); empty where the shape tells.
        report: what the reader found.
        members: of a mixture, in the order of their rows; they say how their files are stored.
    """

    name: str
    path: Path
    table: pd.DataFrame
    sampling_rate_hz: float = 100.0
    storage: str = "hdf5"
    inner_path: str = "data"
    dimension_order: str = ""
    report: Report = field(default_factory=Report)
    members: tuple[Member, ...] = ()


@dataclass(frozen=True)
class Member:
    """One dataset of a mixture.

    Attributes:
        name: in the mixture.
        dataset: as its reader made it.
        weight: how many samples of a training are to be its own, against the other members'; None
            in proportion to its records.
        split: fields of `data.split` that are its own, if any are.
    """

    name: str
    dataset: Dataset
    weight: float | None = None
    split: Mapping[str, Any] | None = None


def select(
    table: pd.DataFrame, needs: Sequence[str], noise_rows: bool
) -> tuple[np.ndarray, dict[str, int]]:
    """Find the rows that a task can use.

    `needs` names the labels, out of `LABELS`, that an earthquake row must have; of names joined
    by | it must have one. Noise rows are kept when `noise_rows` is true, and have no labels.
    Returns the row numbers (int64, ascending) and, for the rows left out, how many for which
    reason; a row with several reasons counts under the first. The counts and the rows add up to
    the length of the table.

    Raises ValueError for a label that no catalogue has.
    """
    unknown = [name for need in needs for name in need.split("|") if name not in LABELS]
    if unknown:
        raise ValueError(f"no such label: {', '.join(unknown)}; choose from {', '.join(LABELS)}")
    noise = (table["category"] == "noise").to_numpy()
    usable = np.ones(len(table), bool)
    counts: dict[str, int] = {}

    def leave_out(mask: np.ndarray, reason: str) -> None:
        dropped = usable & mask
        if dropped.any():
            counts[reason] = int(dropped.sum())
            usable[dropped] = False

    if not noise_rows:
        leave_out(noise, "noise trace")
    for need in needs:
        names = need.split("|")
        missing = np.logical_and.reduce([_is_missing(table[name]) for name in names])
        leave_out(missing & ~noise, f"no {' or '.join(names)}")
    return np.flatnonzero(usable), counts


def _is_missing(label: pd.Series) -> np.ndarray:
    values = label.to_numpy()
    return values == NO_POLARITY if label.name == "polarity" else np.isnan(values)
