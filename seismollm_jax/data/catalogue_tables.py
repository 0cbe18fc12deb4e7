"""Picks, events and stations out of CSV tables, whatever their columns are called."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from seismollm_jax.data.records import NO_POLARITY
from seismollm_jax.data.tidy import POLARITY_WORDS, count, left_out

PICK_NAMES = {
    "event_id": ("event_id", "event_index", "event_idx", "source_id", "evid", "event"),
    "trace_id": ("trace_id", "station_id", "seed_id", "id"),
    "network": ("network", "network_code", "net"),
    "station": ("station", "station_code", "receiver_code", "sta"),
    "location": ("location", "location_code", "loc"),
    "phase": ("phase", "phase_type", "phase_hint", "phase_name", "phase_label"),
    "time": ("time", "phase_time", "pick_time", "peak_time", "arrival_time"),
    "p_time": ("p_time", "p_arrival_time"),
    "s_time": ("s_time", "s_arrival_time"),
    "polarity": ("polarity", "p_polarity", "phase_polarity", "first_motion", "p_first_motion"),
}
EVENT_NAMES = {
    "event_id": ("event_id", "event_index", "event_idx", "source_id", "evid", "id", "idx"),
    "origin_time": ("time", "origin_time", "event_time", "source_origin_time"),
    "event_latitude_deg": ("latitude", "event_latitude", "source_latitude", "lat"),
    "event_longitude_deg": ("longitude", "event_longitude", "source_longitude", "lon"),
    "event_depth_km": ("depth_km", "depth(km)", "event_depth_km", "source_depth_km", "depth"),
    "magnitude": ("magnitude", "mag", "event_magnitude", "source_magnitude"),
    "magnitude_type": ("magnitude_type", "mag_type", "magtype", "source_magnitude_type"),
}
STATION_NAMES = {
    "trace_id": ("station_id", "trace_id", "id"),
    "network": ("network", "network_code", "net"),
    "station": ("station", "station_code", "receiver_code", "sta"),
    "station_latitude_deg": ("latitude", "station_latitude", "receiver_latitude", "lat"),
    "station_longitude_deg": ("longitude", "station_longitude", "receiver_longitude", "lon"),
    "station_elevation_m": ("elevation_m", "elevation(m)", "elevation", "station_elevation_m"),
}
"""Our name -> names of columns taken for it, in any case, the first that is there."""

PICKS = ("event_id", "network", "station", "location", "phase", "time_ns", "polarity")
EVENTS = tuple(EVENT_NAMES)
STATIONS = tuple(STATION_NAMES)[1:]
PHASE = re.compile(r"[eiEI]?([PpSs])[gnbGNB*1]?")
MISSING = ("", " ", "None", "none", "nan", "NaN", "null", "-1")  # NA is a network
LONGEST_LIST = 5
NO_EVENT = "row "  # begins the name that a row without an event gets


def phase_of(name: str) -> str:
    """P or S for a first arrival of that kind, as Pg, Sn, p or iP; "" for anything else."""
    match = PHASE.fullmatch(name.strip())
    return match[1].upper() if match else ""


def listing(names: Sequence[str]) -> str:
    """The first of some names, for a message."""
    more = len(names) - LONGEST_LIST
    return ", ".join(map(str, names[:LONGEST_LIST])) + (f" and {more} more" if more > 0 else "")


def read_picks_csv(path: Path, counts: dict[str, int]) -> pd.DataFrame:
    """Picks of a table: one row a pick (`phase`, `time`), or one a trace (`p_time`, `s_time`).

    Returns the columns `PICKS`: codes are text, "" where missing, as is an event; times in
    nanoseconds since 1970-01-01. Rows that cannot be used are left out and counted.

    Raises ValueError for a file that is no table, without these columns, or without any time that
    can be read.
    """
    raw, header = _read_table(path, PICK_NAMES)
    if "time" in raw and "phase" in raw:
        picks = raw
    elif "p_time" in raw or "s_time" in raw:
        if "event_id" not in raw:  # what stands in a row belongs together
            raw["event_id"] = row_ids(path, len(raw))
        parts = [
            raw.assign(phase=name[0].upper(), time=raw[name]).dropna(subset="time")
            for name in ("p_time", "s_time")
            if name in raw
        ]
        picks = pd.concat(parts, ignore_index=True)
    else:
        wanted = "phase and time (one row a pick), or p_time and s_time (one row a trace)"
        raise ValueError(
            f"{path} needs the columns {wanted}; it has {', '.join(header)}. Rename them, or name "
            "another table with data.table"
        )
    _split_ids(picks)
    for column in ("event_id", "network", "station", "location"):
        if column not in picks:
            picks[column] = ""
        picks[column] = picks[column].fillna("").astype(str).str.strip()
    picks["event_id"] = _tidy_ids(picks["event_id"])
    picks["location"] = picks["location"].replace("--", "")
    picks["time_ns"] = times_ns(picks["time"], f"{path}, column time", counts)
    words = picks["polarity"] if "polarity" in picks else pd.Series(None, picks.index, object)
    words = words.str.strip().str.lower()
    known = words.map(POLARITY_WORDS)
    unclear = words.notna() & known.isna() & ~words.isin(["n", "x", "undecidable", "unknown", "?"])
    count(counts, "polarity not up or down, taken as missing", unclear)
    picks["polarity"] = known.fillna(NO_POLARITY).astype(np.int8)
    untimed = picks["time_ns"].isna()
    picks = left_out(picks, untimed, "picks without a readable time, left out", counts)
    return tidy_picks(picks, counts)


def tidy_picks(picks: pd.DataFrame, counts: dict[str, int]) -> pd.DataFrame:
    """The picks of P and S, by time, with the columns `PICKS`."""
    words = picks["phase"].fillna("").astype(str)
    phases = words.map({word: phase_of(word) for word in words.unique()})
    others = [word or "none" for word in words[phases == ""].value_counts().index]
    text = f"picks of other phases than P and S, left out ({listing(others)})"
    picks = left_out(picks.assign(phase=phases), phases == "", text, counts)
    picks["time_ns"] = picks["time_ns"].astype(np.int64)
    count(counts, "polarity of an S pick, ignored", _has_motion(picks) & (picks["phase"] == "S"))
    return picks[list(PICKS)].sort_values("time_ns", kind="stable", ignore_index=True)


def row_ids(path: Path, rows: int) -> list[str]:
    """What stands for the event of a table's rows that name none."""
    return [f"{NO_EVENT}{path.stem} {row + 1}" for row in range(rows)]


def _tidy_ids(ids: pd.Series) -> pd.Series:
    # A table program writes 12 as 12.0 where other rows have none.
    return ids.astype(object).str.strip().str.replace(r"^(\d+)\.0$", r"\1", regex=True)


def _has_motion(picks: pd.DataFrame) -> pd.Series:
    return picks["polarity"] != NO_POLARITY


def read_events_csv(
    path: Path, counts: dict[str, int], *, among_picks: bool = False
) -> pd.DataFrame:
    """Events of a table, the columns `EVENTS` with times as they come from `times_ns`.

    With `among_picks` the table is one of picks, whose columns `time`, `latitude` and so on are not
    the event's; those that say so are, such as `event_latitude` or `source_magnitude`.

    Raises ValueError for a file that is no table or has no column for `event_id`.
    """
    plain = {"id", "idx", "time", "latitude", "lat", "longitude", "lon", "depth_km", "depth"}
    names = EVENT_NAMES
    if among_picks:
        names = {ours: tuple(n for n in found if n not in plain) for ours, found in names.items()}
    raw, header = _read_table(path, names)
    if among_picks:
        if "event_id" not in raw:
            raw["event_id"] = row_ids(path, len(raw))
        raw = raw.dropna(subset="event_id").drop_duplicates("event_id", ignore_index=True)
    if "event_id" not in raw:
        raise ValueError(f"{path} needs a column event_id; it has {', '.join(header)}")
    raw["event_id"] = _tidy_ids(raw["event_id"])
    raw = left_out(raw, raw["event_id"].isna(), "events without event_id, left out", counts)
    _numbers(raw, path, ("event_", "magnitude"), counts)
    if "origin_time" in raw:
        raw["origin_time"] = times_ns(raw["origin_time"], f"{path}, column time", counts)
    return _completed(raw, EVENTS, "event_id", "events", counts)


def read_stations_csv(path: Path, counts: dict[str, int]) -> pd.DataFrame:
    """Stations of a table, the columns `STATIONS`.

    Raises ValueError for a file that is no table or names no stations.
    """
    raw, header = _read_table(path, STATION_NAMES)
    _split_ids(raw)
    if "station" not in raw:
        raise ValueError(f"{path} needs a column station; it has {', '.join(header)}")
    for column in ("network", "station"):
        raw[column] = raw[column].fillna("").str.strip() if column in raw else ""
    _numbers(raw, path, ("station_",), counts)
    return _completed(raw, STATIONS, ["network", "station"], "stations", counts)


def times_ns(texts: pd.Series, where: str, counts: dict[str, int]) -> pd.Series:
    """Times in nanoseconds since 1970-01-01 UTC, missing (Int64) where they cannot be read.

    Raises ValueError where none of them can.
    """
    times = pd.to_datetime(texts.str.strip(), format="ISO8601", utc=True, errors="coerce")
    bad = texts.notna() & times.isna()
    if len(texts) and bad.sum() and times.isna().all():
        row = int(np.argmax(bad))
        raise ValueError(
            f"{where}: {texts.iloc[row]!r} in data row {row + 1} is no time; write times as "
            "2020-01-31T12:34:56.789 (UTC)"
        )
    count(counts, f"{Path(where).name} unreadable", bad)
    numbers = times.dt.tz_localize(None).dt.as_unit("ns").astype(np.int64).astype("Int64")
    return numbers.where(times.notna(), pd.NA)


def _read_table(path: Path, names: dict[str, tuple[str, ...]]) -> tuple[pd.DataFrame, list[str]]:
    """Columns of a CSV file under our names, as text, and its header."""
    try:
        raw = pd.read_csv(
            path, dtype=str, index_col=False, na_values=list(MISSING), keep_default_na=False,
            encoding="utf-8-sig", skipinitialspace=True,
        )  # fmt: skip
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a readable CSV table: {error}") from error
    raw = raw.rename(columns={name: str(name).strip().lower().replace(" ", "_") for name in raw})
    taken = {}
    for ours, theirs in names.items():
        here = [name for name in theirs if name in raw.columns]
        if here:
            taken[ours] = raw[here[0]].astype(object)
    return pd.DataFrame(taken, index=raw.index), list(raw.columns)


def _split_ids(table: pd.DataFrame) -> None:
    """Codes out of NET.STA.LOC.CHA in `trace_id` or `station`, where they have no column."""
    source = "trace_id" if "trace_id" in table and "station" not in table else "station"
    if source not in table or not table[source].str.contains(".", regex=False).any():
        if source == "trace_id":
            table["station"] = table[source]
        return
    parts = table[source].fillna("").str.split(".", expand=True)
    dotted = table[source].fillna("").str.contains(".", regex=False)
    for number, column in enumerate(("network", "station", "location")):
        found = parts[number].fillna("") if number in parts else pd.Series("", table.index)
        old = table[column] if column in table else pd.Series("", table.index)
        table[column] = found.where(dotted, old if column != "station" else table[source])


def _numbers(
    table: pd.DataFrame, path: Path, prefixes: tuple[str, ...], counts: dict[str, int]
) -> None:
    for column in table.columns:
        if column.startswith(prefixes) and column not in ("event_id", "magnitude_type"):
            number = pd.to_numeric(table[column], errors="coerce").astype(np.float64)
            number = number.where(np.isfinite(number))
            bad = table[column].notna() & number.isna()
            count(counts, f"{path.name}: {column} not a number, taken as missing", bad)
            table[column] = number


def _completed(
    table: pd.DataFrame,
    columns: Sequence[str],
    key: str | list[str],
    what: str,
    counts: dict[str, int],
) -> pd.DataFrame:
    """The columns wanted, missing where absent, and one row for each key."""
    twice = table.duplicated(key)
    table = left_out(table, twice, f"{what} listed twice, the first kept", counts)
    for column in columns:
        if column not in table:
            table[column] = None if column == "magnitude_type" else np.nan
    if what == "events":
        table["origin_time"] = table["origin_time"].astype("Int64")
    return table[list(columns)]
