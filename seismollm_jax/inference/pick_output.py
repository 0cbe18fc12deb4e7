"""Picks as CSV, as a DataFrame and as QuakeML."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pandas as pd
from obspy import UTCDateTime
from obspy.core.event import (
    Catalog,
    Comment,
    CreationInfo,
    Event,
    QuantityError,
    ResourceIdentifier,
    WaveformStreamID,
)
from obspy.core.event import Pick as QuakeMLPick

if TYPE_CHECKING:
    from seismollm_jax.inference.picks import Pick

COLUMNS = (
    *("trace_id", "phase", "time", "probability"),
    *("uncertainty_s", "snr_db", "start_time", "end_time", "channel"),
    *("peak_velocity_m_s", "peak_period_s"),
)
POLARITIES = {"U": "positive", "D": "negative"}


def write_csv(picks: Iterable[Pick], path: str | os.PathLike[str]) -> int:
    """Write one row a pick, in `COLUMNS`; times in ISO 8601, UTC, microseconds.

    Rows are written as they come, so `picks` may be a generator over an archive.

    Returns:
        The number of picks written.
    """
    count = 0
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for pick in picks:
            count += 1
            writer.writerow(
                [
                    pick.trace_id,
                    pick.phase,
                    time_text(pick.peak_time),
                    f"{pick.peak_value:.4f}",
                    "" if pick.uncertainty_s is None else f"{pick.uncertainty_s:.4f}",
                    "" if pick.snr_db is None else f"{pick.snr_db:.1f}",
                    time_text(pick.start_time),
                    time_text(pick.end_time),
                    pick.channel,
                    "" if pick.peak_velocity_m_s is None else f"{pick.peak_velocity_m_s:.4g}",
                    "" if pick.peak_period_s is None else f"{pick.peak_period_s:.3f}",
                ]
            )
    return count


def to_dataframe(picks: Iterable[Pick]) -> pd.DataFrame:
    """A row a pick, by time, in SeisBench's columns, and some more after them."""
    picks = list(picks)
    columns: dict[str, Any] = {
        "station": [pick.trace_id for pick in picks],
        "time": [pick.peak_time.datetime for pick in picks],
        "start_time": [pick.start_time.datetime for pick in picks],
        "end_time": [pick.end_time.datetime for pick in picks],
        "probability": [pick.peak_value for pick in picks],
        "phase": [pick.phase for pick in picks],
        "polarity": [pick.polarity for pick in picks],
        "polarity_probability": [pick.polarity_value for pick in picks],
        "uncertainty_s": [pick.uncertainty_s for pick in picks],
        "snr_db": [pick.snr_db for pick in picks],
        "channel": [pick.channel for pick in picks],
        "peak_velocity_m_s": pd.Series([pick.peak_velocity_m_s for pick in picks], dtype=float),
        "peak_period_s": pd.Series([pick.peak_period_s for pick in picks], dtype=float),
    }
    table = pd.DataFrame(columns)
    return table.sort_values("time", kind="stable", ignore_index=True)


def to_catalog(picks: Iterable[Pick], creator: str) -> Catalog:
    """An ObsPy catalogue with one event that holds all picks; none if there are no picks."""
    made = CreationInfo(author=creator, creation_time=UTCDateTime())
    found = [quakeml_pick(pick, made) for pick in picks]
    event = Event(
        picks=found,
        creation_info=made,
        comments=[Comment(text="picks that are not associated with earthquakes yet")],
    )
    return Catalog([event] if found else [], creation_info=made)


def quakeml_pick(pick: Pick, made: CreationInfo) -> QuakeMLPick:
    """A pick as QuakeML has it; `made` says by which network."""
    network, station, location, instrument = pick.trace_id.split(".")
    return QuakeMLPick(
        time=pick.peak_time,
        time_errors=QuantityError(uncertainty=pick.uncertainty_s),
        waveform_id=WaveformStreamID(network, station, location, pick.channel or instrument),
        method_id=ResourceIdentifier("smi:local/" + re.sub(r"[^\w.~-]", "_", made.author)),
        phase_hint=pick.phase,
        polarity=POLARITIES.get(pick.polarity or ""),
        evaluation_mode="automatic",
        evaluation_status="preliminary",
        creation_info=made,
        comments=[Comment(text=text) for text in _remarks(pick)],
    )


def write_quakeml(picks: Iterable[Pick], path: str | os.PathLike[str], creator: str) -> None:
    """Write QuakeML 1.2."""
    to_catalog(picks, creator).write(str(path), format="QUAKEML")


def _remarks(pick: Pick) -> list[str]:
    texts = [f"probability={pick.peak_value:.4f}"]
    if pick.snr_db is not None:
        texts.append(f"snr_db={pick.snr_db:.1f}")
    if pick.peak_velocity_m_s is not None:
        texts.append(f"peak_velocity_m_s={pick.peak_velocity_m_s:.4g}")
    if pick.up_probability is not None:
        texts.append(f"up_probability={pick.up_probability:.4f}")
    return texts


def time_text(time: UTCDateTime) -> str:
    """ISO 8601, UTC, microseconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
