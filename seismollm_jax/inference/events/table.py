"""Events as objects, and as rows of a table: a row an event and record."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from obspy import UTCDateTime

from seismollm_jax.inference.events import crust
from seismollm_jax.inference.events.answers import KINDS, OK, Answer
from seismollm_jax.inference.pick_output import time_text
from seismollm_jax.inference.picks import Pick, PickList

TIME, TEXT = "time", "text"  # the others are numbers and their formats

_PICK = {"time": TIME, "probability": ".4f", "uncertainty_s": ".4f", "snr_db": ".1f"}
COLUMNS: Mapping[str, str] = {
    **{"event_id": TEXT, "trace_id": TEXT},
    **{f"p_{name}": kind for name, kind in _PICK.items()},
    **{f"s_{name}": kind for name, kind in _PICK.items()},
    **{"sp_s": ".3f", "sp_distance_km": ".1f"},
    **{"polarity": TEXT, "polarity_probability": ".4f"},
    **{"polarity_flag": TEXT, "polarity_missing_s": ".2f"},
    **{"magnitude": ".2f", "magnitude_shift_spread": ".2f"},
    **{"magnitude_flag": TEXT, "magnitude_missing_s": ".2f"},
    **{"distance_km": ".1f", "distance_shift_spread_km": ".1f"},
    **{"distance_flag": TEXT, "distance_missing_s": ".2f"},
    **{"back_azimuth_deg": ".1f", "back_azimuth_shift_spread_deg": ".1f"},
    **{"back_azimuth_length": ".3f"},
    **{"back_azimuth_flag": TEXT, "back_azimuth_missing_s": ".2f"},
    **{"latitude": ".5f", "longitude": ".5f", "epicentre_shift_spread_km": ".1f"},
    **{"origin_time": TIME, "epicentre_flag": TEXT},
}
"""Names of the columns and what is in them."""

FLAGS = {**{name: f"{name}_flag" for name in KINDS}, "epicentre": "epicentre_flag"}


@dataclass
class Epicentre:
    """Where an event was, as a single station sees it.

    Attributes:
        latitude, longitude: degrees; None where they are not known.
        spread_km: of the shifted windows, along and across the line to the station together.
        origin_time: P minus its travel time, see `crust.p_travel_time_s`.
        flag: "ok", or what is wrong: no_station, distance, back_azimuth.
    """

    latitude: float | None
    longitude: float | None
    spread_km: float | None
    origin_time: UTCDateTime | None
    flag: str


@dataclass
class Event:
    """A P on a record, the S that goes with it, and what the networks say.

    Attributes:
        p: its pick.
        s: the pick, None if there is none.
        answers: by task.
        epicentre: None unless it was asked for.
    """

    p: Pick
    s: Pick | None
    answers: dict[str, Answer] = field(default_factory=dict)
    epicentre: Epicentre | None = None

    @property
    def event_id(self) -> str:
        """Record and time of P to the millisecond, such as "XX.STA..HH_20240131T120001.250"."""
        time = UTCDateTime(ns=round(self.p.peak_time.ns / 10**6) * 10**6)
        return f"{self.p.trace_id}_{time.strftime('%Y%m%dT%H%M%S.%f')[:-3]}"

    def row(self) -> dict[str, Any]:
        """Values by column; None where there is none."""
        found: dict[str, Any] = dict.fromkeys(COLUMNS)
        found |= {"event_id": self.event_id, "trace_id": self.p.trace_id}
        for name, pick in (("p", self.p), ("s", self.s)):
            if pick is not None:
                found |= {
                    f"{name}_time": pick.peak_time,
                    f"{name}_probability": pick.peak_value,
                    f"{name}_uncertainty_s": pick.uncertainty_s,
                    f"{name}_snr_db": pick.snr_db,
                }
        if self.s is not None:
            found["sp_s"] = self.s.peak_time - self.p.peak_time
            found["sp_distance_km"] = crust.sp_distance_km(found["sp_s"])
        for task, made in self.answers.items():
            kind = KINDS[task]
            found |= {
                kind.column: made.value,
                f"{task}_flag": made.flag,
                f"{task}_missing_s": made.missing_s,
            }
            if kind.steady is not None:
                found[f"{task}_shift_spread{kind.unit}"] = made.spread
            else:
                found[f"{task}_probability"] = made.probability
            if made.length is not None:
                found[f"{task}_length"] = made.length
        if self.epicentre is not None:
            found |= {
                "latitude": self.epicentre.latitude,
                "longitude": self.epicentre.longitude,
                "epicentre_shift_spread_km": self.epicentre.spread_km,
                "origin_time": self.epicentre.origin_time,
                "epicentre_flag": self.epicentre.flag,
            }
        return found


@dataclass
class EventTable:
    """What `EventPredictor.catalogue` gives; its length is the number of events.

    Attributes:
        creator: name of the model.
        events: by time of P.
        picks: all picks by time, also those of no event.
        coverage: what came in, was analysed and was masked.
    """

    creator: str
    events: list[Event]
    picks: PickList
    coverage: Any

    def __len__(self) -> int:
        return len(self.events)

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events)

    def to_dataframe(self) -> pd.DataFrame:
        """A row an event and record, in `COLUMNS`; times without a zone are UTC."""
        return to_dataframe(self.events)

    def to_catalog(self) -> Any:
        """An ObsPy catalogue, see :mod:`seismollm_jax.inference.events.quakeml`."""
        from seismollm_jax.inference.events import quakeml

        return quakeml.to_catalog(self.events, self.creator)

    def to_quakeml(self, path: str | os.PathLike[str]) -> None:
        """Write `to_catalog` as QuakeML 1.2."""
        self.to_catalog().write(str(path), format="QUAKEML")

    def write_csv(self, path: str | os.PathLike[str]) -> int:
        """Write the table of `predict.py`; returns the number of events."""
        return write_csv(self.events, path)

    def __str__(self) -> str:
        return summary(texts(event) for event in self.events)


def to_dataframe(events: Iterable[Event]) -> pd.DataFrame:
    """A row an event and record, in `COLUMNS`; times without a zone are UTC."""
    rows = [event.row() for event in events]
    columns: dict[str, Any] = {}
    for name, kind in COLUMNS.items():
        values = [row[name] for row in rows]
        if kind == TIME:
            times = [None if value is None else value.datetime for value in values]
            columns[name] = pd.Series(times, dtype="datetime64[us]")
        elif kind == TEXT:
            columns[name] = pd.Series(values, dtype=object)
        else:
            columns[name] = pd.Series(values, dtype=float)
    return pd.DataFrame(columns)


def texts(event: Event) -> dict[str, str]:
    """A row as it stands in a CSV file; empty where there is no value."""
    return {name: _text(value, COLUMNS[name]) for name, value in event.row().items()}


def write_csv(events: Iterable[Event], path: str | os.PathLike[str]) -> int:
    """Write a row an event and record; times in ISO 8601, UTC, microseconds.

    Returns:
        The number of events.
    """
    count = 0
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(COLUMNS), lineterminator="\n")
        writer.writeheader()
        for event in events:
            writer.writerow(texts(event))
            count += 1
    return count


class Tally:
    """Counts of events and flags, row after row."""

    def __init__(self) -> None:
        self.events = self.pairs = 0
        self.flags: dict[str, Counter[str]] = {name: Counter() for name in FLAGS}

    def add(self, row: Mapping[str, str]) -> None:
        """Enter a row of texts."""
        self.events += 1
        self.pairs += bool(row["s_time"])
        for name, column in FLAGS.items():
            if row[column]:
                self.flags[name].update(row[column].split("+"))
                self.flags[name]["all"] += 1

    def __str__(self) -> str:
        lines = [f"{self.events} events, {self.pairs} of them with S"]
        for name, counts in self.flags.items():
            if not counts["all"]:
                continue
            why = ", ".join(
                f"{reason} {n}" for reason, n in counts.most_common() if reason not in (OK, "all")
            )
            text = f"{name}: {counts[OK]} of {counts['all']} ok"
            lines.append(f"- {text}" + (f" (the others: {why})" if why else ""))
        return "\n".join(lines)


def summary(rows: Iterable[Mapping[str, str]]) -> str:
    """How many events there are and what was flagged, in lines."""
    tally = Tally()
    for row in rows:
        tally.add(row)
    return str(tally)


def _text(value: Any, kind: str) -> str:
    if value is None:
        return ""
    if kind == TIME:
        return time_text(value)
    return str(value) if kind == TEXT else format(value, kind)
