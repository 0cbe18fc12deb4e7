"""Reader of users' own records: a folder of miniSEED and SAC files with picks.

The picks come from a CSV table or QuakeML (see `catalogue_files`), the waveforms from any files
below the folder (see `stream_files`). Picks of an event at a station make one row for each
instrument there: a window around them, cut so that it holds no arrival of another event.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from seismollm_jax.data.catalogue_files import read_catalogue
from seismollm_jax.data.catalogue_tables import NO_EVENT, listing
from seismollm_jax.data.event_windows import NO_TIME, TAIL_NS, Window, find_window, limits
from seismollm_jax.data.geodesy import distance_and_back_azimuth
from seismollm_jax.data.records import NO_POLARITY, TABLE_COLUMNS, Dataset, Report
from seismollm_jax.data.splits import PARTS
from seismollm_jax.data.stream_files import Index, Pieces, address_of, open_index
from seismollm_jax.data.tidy import MAGNITUDE_RANGE, count, left_out

LARGEST_S_MINUS_P_S = 120.0  # between picks that name no event
SAME_ARRIVAL_S = 0.5  # picks of one phase that close are one arrival
LOWEST_RATE_HZ = 10.0  # below are state-of-health and long-period channels
CATEGORICAL = ("file", "event_id", "network", "station", "instrument", "magnitude_type")


def read(
    path: str | Path,
    *,
    table: str | None = None,
    before_s: float = 30.0,
    after_s: float = 60.0,
    instruments: str = "",
    magnitude_type: str | None = None,
    name: str = "folder",
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Read picks and find their waveforms.

    `path` is the folder, or a pick table in it; `table` names the pick table or QuakeML file, or is
    a pattern for several such as "events/*.xml", where it is not found by looking. `before_s` and
    `after_s` are the seconds kept before the first pick and after it; a window ends no earlier than
    5 s after the last pick. `instruments` keeps those band and instrument codes alone, such as
    "HH,EH"; `magnitude_type` the rows of events with that type of magnitude. `progress` is called
    with the number of files looked at and their total.

    Raises FileNotFoundError for a missing folder or catalogue, ValueError for a catalogue that
    cannot be read or used, or of which no pick has a waveform.
    """
    path = Path(path)
    if path.is_file():
        path, table = path.parent, table or path.name
    if not path.is_dir():
        raise FileNotFoundError(f"{path} does not exist; give the folder that holds the records")
    if not (before_s > 0 and after_s > 0):
        raise ValueError(f"before_s is {before_s}, after_s {after_s}; both must be positive")
    index = open_index(path, progress)
    counts: dict[str, int] = {}
    streams = _usable_streams(index, instruments, counts)
    picks, events, stations = read_catalogue(index, table, counts)
    picks = _with_stations(path, streams, picks)
    sources = _sources(path, streams, picks, counts)
    groups = _pair(picks, sources, counts)
    rows = [
        row
        for _, group in groups.groupby("stream", sort=True)
        for row in _windows(group, streams, before_s, after_s, counts)
    ]
    if not rows:
        raise ValueError(
            f"{path}: no pick has a waveform at its time; it has picks from "
            f"{_day(picks['time_ns'].min())} to {_day(picks['time_ns'].max())}. "
            + "; ".join(f"{n} {text}" for text, n in counts.items())
        )
    out = _table(pd.DataFrame(rows), events, stations, counts)
    if magnitude_type is not None:
        others = out["magnitude_type"] != magnitude_type.lower()
        if others.all():
            known = sorted(out["magnitude_type"].dropna().unique())
            raise ValueError(
                f"{path}: no row is of an event with the magnitude type {magnitude_type!r}; "
                f"there are {listing(known) or 'none'}"
            )
        text = f"rows of another magnitude type than {magnitude_type}, left out"
        out = left_out(out, others, text, counts)
    out["file"] = pd.Categorical.from_codes(
        np.zeros(len(out), np.int8),
        pd.Index([index.path.name if index.path.parent == index.root else str(index.path)]),
    )
    report = Report({"rows": len(out), **counts})
    return Dataset(
        name=name,
        path=index.root,
        table=out[[*TABLE_COLUMNS, "address"]],
        sampling_rate_hz=float(out["sampling_rate_hz"].mode()[0]),
        storage="streams",
        dimension_order="WC",
        report=report,
    )


def _day(time_ns: int) -> str:
    return str(np.datetime64(int(time_ns), "ns"))[:19]


def _usable_streams(
    index: Index, instruments: str, counts: dict[str, int]
) -> dict[str, dict[str, Pieces]]:
    """The instruments of a folder that records can be made of."""
    if errors := index.errors():
        text = "; ".join(f"{name} ({errors[name]})" for name in list(errors)[:3])
        counts[f"waveform files that cannot be read, left out: {text}"] = len(errors)
    if ignored := index.ignored():
        text = f"files neither miniSEED nor SAC, ignored ({listing(ignored)})"
        counts[text] = len(ignored)
    streams = index.streams()
    if not streams:
        raise ValueError(
            f"{index.root} holds no miniSEED or SAC file with a channel that ends in Z, N, E, 1 or "
            f"2 among its {len(index.files)} files"
        )
    slow = [key for key, found in streams.items() if _highest_rate(found) < LOWEST_RATE_HZ]
    if slow:
        text = f"instruments sampled below {LOWEST_RATE_HZ:g} Hz, left out ({listing(slow)})"
        counts[text] = len(slow)
    wanted = {code.strip() for code in instruments.split(",")} - {""}
    kept = {
        key: found
        for key, found in streams.items()
        if key not in slow and (not wanted or key.rpartition(".")[2] in wanted)
    }
    if not kept:
        there = sorted({key.rpartition(".")[2] or "(none)" for key in streams})
        raise ValueError(
            f"{index.root}: no instrument is left with instruments={instruments!r} and at least "
            f"{LOWEST_RATE_HZ:g} Hz; there are {', '.join(there)}"
        )
    return kept


def _highest_rate(components: dict[str, Pieces]) -> float:
    return max(piece.rate_hz for found in components.values() for piece in found.pieces)


def _with_stations(path: Path, streams: dict[str, Any], picks: pd.DataFrame) -> pd.DataFrame:
    """The picks; those that name no station are of the only one that the folder has."""
    unnamed = picks["station"] == ""
    if not unnamed.any():
        return picks
    stations = {tuple(key.split(".")[:2]) for key in streams}
    if len(stations) > 1:
        names = listing([".".join(codes) for codes in sorted(stations)])
        raise ValueError(
            f"{path}: {int(unnamed.sum())} picks name no station, and the waveforms are of "
            f"{len(stations)} ({names}); add the columns network and station to the picks"
        )
    network, station = stations.pop()
    codes = picks[["network", "station"]].copy()
    codes.loc[unnamed, ["network", "station"]] = network, station
    return picks.assign(**codes)


def _sources(
    path: Path, streams: dict[str, Any], picks: pd.DataFrame, counts: dict[str, int]
) -> pd.DataFrame:
    """Which instruments a station of the picks has: columns pick_network, pick_station, stream ...

    A code of a network that one of the sides lacks fits any network, if only one has the station.
    """
    parts = [key.split(".") for key in streams]
    keys = pd.DataFrame(parts, columns=["network", "station", "location", "instrument"])
    keys["stream"] = list(streams)
    found = []
    for network, station in picks[["network", "station"]].drop_duplicates().itertuples(index=False):
        here = keys[keys["station"] == station]
        exact = here[here["network"] == network]
        if exact.empty:
            here = here if not network else here[here["network"] == ""]
            exact = here if here["network"].nunique() == 1 else here[:0]
        found.append(exact.assign(pick_network=network, pick_station=station))
    sources = pd.concat(found, ignore_index=True)
    if sources.empty:
        theirs = (picks["network"] + "." + picks["station"]).unique().tolist()
        raise ValueError(
            f"{path}: no station with picks has waveforms. The picks are of {listing(theirs)}, the "
            f"waveforms of {listing(list(streams))}; correct the codes in one of them"
        )
    idle = sorted(set(streams) - set(sources["stream"]))
    if idle:
        counts[f"instruments with waveforms but no picks ({listing(idle)})"] = len(idle)
    return sources


def _pair(picks: pd.DataFrame, sources: pd.DataFrame, counts: dict[str, int]) -> pd.DataFrame:
    """P and S of each event at each instrument: event_id, stream, p_ns, s_ns (Int64), polarity."""
    station = picks["network"] + "." + picks["station"]
    known = set(sources["pick_network"] + "." + sources["pick_station"])
    lost = ~station.isin(known)
    places = listing(station[lost].unique().tolist())
    text = f"picks of stations without waveforms, left out ({places})"
    picks = left_out(picks.assign(place=station), lost, text, counts)
    picks["event_id"] = picks["event_id"].where(picks["event_id"] != "", _associate(picks))
    unnamed = picks["event_id"].str.startswith(NO_EVENT)
    count(counts, "picks that name no event, paired by time or by their row", unnamed)
    twice = picks.duplicated(["event_id", "place", "location", "phase"])
    count(counts, "further picks of a phase of an event at a station, the earliest kept", twice)
    merged = picks.merge(
        sources.rename(columns={"location": "stream_location"})[
            ["pick_network", "pick_station", "stream", "stream_location"]
        ],
        left_on=["network", "station"],
        right_on=["pick_network", "pick_station"],
    )
    elsewhere = (merged["location"] != "") & (merged["location"] != merged["stream_location"])
    merged = merged[~elsewhere].drop_duplicates(["event_id", "stream", "phase"])
    p = merged[merged["phase"] == "P"].set_index(["event_id", "stream"])
    s = merged[merged["phase"] == "S"].set_index(["event_id", "stream"])
    groups = pd.DataFrame(
        {
            "p_ns": p["time_ns"].astype("Int64"),
            "s_ns": s["time_ns"].astype("Int64"),
            "polarity": p["polarity"].astype("Int64"),
        }
    ).reset_index()
    reverse = (groups["s_ns"] <= groups["p_ns"]).fillna(False).astype(bool)
    count(counts, "rows with S not after P, S taken as missing", reverse)
    groups.loc[reverse, "s_ns"] = pd.NA
    groups["polarity"] = groups["polarity"].fillna(NO_POLARITY).astype(np.int8)
    return groups


def _associate(picks: pd.DataFrame) -> pd.Series:
    """Names for the events of picks that name none: an S belongs to the P ahead of it."""
    names = pd.Series("", picks.index, dtype=object)
    for place, mine in picks[picks["event_id"] == ""].groupby("place", sort=False):
        last: dict[str, int] = {}
        label = ""
        for row, phase, time in zip(mine.index, mine["phase"], mine["time_ns"], strict=True):
            again = phase in last and time - last[phase] < SAME_ARRIVAL_S * 1e9
            follows = phase == "S" and "P" in last and "S" not in last
            if not again and not (follows and time - last["P"] <= LARGEST_S_MINUS_P_S * 1e9):
                last, label = {}, f"{NO_EVENT}{place} {str(np.datetime64(time, 'ns'))[:23]}"
            last.setdefault(phase, time)
            names[row] = label
    return names


def _windows(
    group: pd.DataFrame,
    streams: dict[str, dict[str, Pieces]],
    before_s: float,
    after_s: float,
    counts: dict[str, int],
) -> list[dict[str, Any]]:
    """Rows of one instrument."""
    stream = group["stream"].iloc[0]
    p_ns, s_ns = (group[name].fillna(NO_TIME).to_numpy(np.int64) for name in ("p_ns", "s_ns"))
    low, high, interleaved = limits(p_ns, s_ns)
    rows: list[dict[str, Any]] = []

    def tally(text: str, condition: bool = True) -> None:
        if condition:
            counts[text] = counts.get(text, 0) + 1

    for i, (event_id, polarity) in enumerate(
        zip(group["event_id"], group["polarity"], strict=True)
    ):
        p, s = int(p_ns[i]), int(s_ns[i])
        found: Window | str = "arrivals of another event between or with theirs"
        if not interleaved[i]:
            first, last = (s if p == NO_TIME else p), (p if s == NO_TIME else s)
            wanted = (
                first - round(before_s * 1e9),
                max(first + round(after_s * 1e9), last + TAIL_NS),
            )
            span = max(wanted[0], int(low[i])), min(wanted[1], int(high[i]))
            tally("rows cut short, another event arrives near them", span != wanted)
            found = find_window(streams[stream], p, s, span_ns=span)
        if isinstance(found, str):
            tally(f"rows left out: {found}")
            continue
        for phase in found.lost:
            tally(f"rows whose {phase} lies in a gap or outside, {phase} taken as missing")
        tally("rows with a gap, filled with zeros", found.gaps)
        rows.append({"stream": stream, "event_id": event_id, "polarity": polarity}
                    | found._asdict())  # fmt: skip
    return rows


def _table(
    rows: pd.DataFrame, events: pd.DataFrame, stations: pd.DataFrame, counts: dict[str, int]
) -> pd.DataFrame:
    """The columns of `Dataset.table` but for `file`."""
    codes = rows["stream"].str.split(".", expand=True)
    out = rows.assign(network=codes[0], station=codes[1], instrument=codes[3])
    out["trace_name"] = out["stream"] + "_" + out["event_id"].str.removeprefix(NO_EVENT)
    count(counts, "rows without P", out["p_sample"].isna())
    count(counts, "rows without S", out["s_sample"].isna())
    out = out.merge(events, on="event_id", how="left").merge(
        stations, on=["network", "station"], how="left"
    )
    count(counts, "rows of an event without coordinates", out["event_latitude_deg"].isna())
    count(counts, "rows of a station without coordinates", out["station_latitude_deg"].isna())
    coordinates = [
        out[f"{place}_{angle}_deg"].to_numpy(np.float64)
        for place in ("station", "event")
        for angle in ("latitude", "longitude")
    ]
    out["distance_km"], out["back_azimuth_deg"] = distance_and_back_azimuth(*coordinates)
    low, high = MAGNITUDE_RANGE
    clipped = (out["magnitude"] < low) | (out["magnitude"] > high)
    count(counts, f"magnitude clipped to {low:g} to {high:g}", clipped)
    out["magnitude"] = out["magnitude"].clip(low, high)
    count(counts, "rows without magnitude", out["magnitude"].isna())
    out["magnitude_type"] = out["magnitude_type"].str.strip().str.lower()
    out["event_id"] = out["event_id"].str.removeprefix(NO_EVENT)
    # Columns that no table had are objects after the merge.
    places = [name for name in TABLE_COLUMNS if name.startswith(("station_", "event_l", "event_d"))]
    out[places] = out[places].astype(np.float64)
    out["polarity"] = out["polarity"].astype(np.int8)
    out["start_time"] = _times(out["start_ns"])
    out["origin_time"] = _times(out["origin_time"])
    out["sampling_rate_hz"] = out["rate_hz"]
    out["component_order"] = out["components"].astype("category")
    out["category"] = pd.Categorical(["earthquake"] * len(out), ["earthquake", "noise"])
    out["split"] = pd.Categorical.from_codes(np.full(len(out), -1, np.int8), pd.Index(PARTS))
    for component in "zne":
        out[f"snr_{component}_db"] = np.float32(np.nan)
    out["address"] = [
        address_of(*values)
        for values in zip(
            *(out[c] for c in ("stream", "components", "start_ns", "samples", "rate_hz")),
            strict=True,
        )
    ]
    for column in CATEGORICAL[1:]:
        out[column] = out[column].astype(object).astype("category")
    return out


def _times(nanoseconds: pd.Series) -> pd.Series:
    return pd.to_datetime(nanoseconds.astype("Int64"), unit="ns").dt.as_unit("us")
