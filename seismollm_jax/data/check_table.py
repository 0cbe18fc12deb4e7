"""What a catalogue's table says by itself: what it holds, its arrivals, magnitudes, duplicates."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from seismollm_jax.data.check_findings import (
    ERROR,
    NOTE,
    WARNING,
    Finding,
    counted,
    listed,
    of_rows,
    plain,
)
from seismollm_jax.data.records import LABELS, NO_POLARITY, Dataset, Report, select

PLACES = (
    *("station_latitude_deg", "station_longitude_deg"),
    *("event_latitude_deg", "event_longitude_deg"),
)
OTHERS = ("event_id", "start_time", "origin_time", "magnitude_type", "snr_z_db", *PLACES, "split")
ZEROS = 0.02  # share of values of exactly 0 from which on they look like missing ones
FEWEST_ZEROS = 5
SAME_ARRIVAL_S = 0.1  # one wave is not picked twice so close
SAME_EVENT_S, SAME_EVENT_DEG = 1.0, 0.05  # origins that close are one earthquake
SPREAD_S = 60.0  # origin times of one event differ by less
# In the reader's report: cells that could not be used, and rows that were left out on purpose.
UNUSABLE = "not a number|unreadable|infinite|impossible|negative|before the trace begins|clipped"
UNUSABLE += "|cannot be read|could not be read|that an earlier row has|rows without .* left out"
UNUSABLE += "|taken as missing"
CONVERTED = "to local magnitude"

Needs = Mapping[str, tuple[Sequence[str], bool]]
"""Task -> the labels that it needs, as `records.select` takes them, and whether it uses noise."""


def contents(dataset: Dataset) -> dict[str, Any]:
    """What a dataset is made of: numbers of traces, events, stations, and so on."""
    table = dataset.table
    noise = (table["category"] == "noise").to_numpy()
    per_event = table["event_id"].value_counts()
    per_event = per_event[per_event > 0]
    times = table["start_time"].dropna()
    storages = list(dict.fromkeys(store.storage for store in stores(dataset)[0]))
    files = files_of(dataset)[1]
    sizes = [path.stat().st_size for path, _ in files if _here(path)]
    return {
        "name": dataset.name,
        "storage": ", ".join(storages),
        "traces": len(table),
        "earthquake_traces": int((~noise).sum()),
        "noise_traces": int(noise.sum()),
        "events": len(per_event),
        "traces_per_event": spread(per_event.to_numpy()),
        "networks": int(table["network"].nunique()),
        "stations": int(pd.factorize(station_names(table))[0].max(initial=-1)) + 1,
        "instruments": counted(table["instrument"]),
        "first_start": plain(times.min()) if len(times) else None,
        "last_start": plain(times.max()) if len(times) else None,
        "sampling_rates_hz": counted(table["sampling_rate_hz"]),
        "component_orders": counted(table["component_order"]),
        "files": len(files),
        "first_file": files[0][1] if files else None,
        "bytes": sum(sizes) if len(sizes) == len(files) and "streams" not in storages else None,
    }


def stores(dataset: Dataset) -> tuple[list[Dataset], np.ndarray]:
    """The datasets that have the waveforms, members of a mixture or it alone, and each row's."""
    if not dataset.members:
        return [dataset], np.zeros(len(dataset.table), np.int64)
    numbers = dataset.table["source"].cat.codes.to_numpy(np.int64)
    return [member.dataset for member in dataset.members], numbers


def files_of(dataset: Dataset) -> tuple[np.ndarray, list[tuple[Path, str]]]:
    """Each row's file, numbered, and path and name of these files.

    Members of a mixture may call theirs alike; the name then has the member's in front.
    """
    column, (datasets, store_of) = dataset.table["file"].cat, stores(dataset)
    categories = len(column.categories)
    used, numbers = np.unique(store_of * categories + column.codes, return_inverse=True)
    files = []
    for store, code in zip(*np.divmod(used, max(categories, 1)), strict=True):
        name = str(column.categories[code])
        shown = f"{dataset.members[store].name}/{name}" if dataset.members else name
        files.append((datasets[store].path / name, shown))
    return numbers, files


def _here(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def spread(values: np.ndarray) -> dict[str, float] | None:
    """Smallest, median and largest value; None without values."""
    if not len(values):
        return None
    return {"min": plain(values.min()), "median": plain(np.median(values)),
            "max": plain(values.max())}  # fmt: skip


def station_names(table: pd.DataFrame) -> pd.Series:
    """Network and station of each row as one text; missing where the row names no station."""
    parts = [table[c].astype(object).where(table[c].notna(), "") for c in ("network", "station")]
    return (parts[0] + "." + parts[1]).where(table["station"].notna())


def seconds(times: pd.Series) -> np.ndarray:
    """Seconds since 1970, float64, NaN for missing; times may be out of pandas' range."""
    values = times.to_numpy("datetime64[us]")
    return np.where(np.isnat(values), np.nan, values.astype(np.int64) / 1e6)


def labels(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Label or other column -> in how many earthquake rows it is there, and its range."""
    quakes = table[(table["category"] != "noise").to_numpy()]
    found: dict[str, dict[str, Any]] = {}
    for name in (*LABELS, *OTHERS):
        values = quakes[name]
        there = values != NO_POLARITY if name == "polarity" else values.notna()
        found[name] = {"traces": int(there.sum())}
        if name == "polarity":
            found[name] |= {"up": int((values == 0).sum()), "down": int((values == 1).sum())}
        elif values.dtype.kind == "f":
            found[name]["range"] = spread(values[there].to_numpy())
    return found


def usable_by(table: pd.DataFrame, needs: Needs) -> dict[str, dict[str, Any]]:
    """Task -> how many traces it can use, and for the others why not."""
    noise = (table["category"] == "noise").to_numpy()
    found = {}
    for task, (wanted, uses_noise) in needs.items():
        rows, left_out = select(table, wanted, noise_rows=uses_noise)
        found[task] = {
            "needs": list(wanted),
            "earthquake_traces": int((~noise[rows]).sum()),
            "noise_traces": int(noise[rows].sum()),
            "left_out": left_out,
        }
    return found


def task_findings(tasks: Mapping[str, Mapping[str, Any]]) -> list[Finding]:
    """Tasks that find nothing to learn from."""
    idle = [task for task, found in tasks.items() if not found["earthquake_traces"]]
    if not idle:
        return []
    level = ERROR if len(idle) == len(tasks) else NOTE
    text = f"no earthquake trace has the labels for {', '.join(idle)}"
    remedy = "The table of tasks says what is missing. Add these columns to train for them."
    return [Finding(level, "task_without_traces", len(idle), "tasks", text, remedy)]


def report_findings(report: Report) -> list[Finding]:
    """Cells and rows that the reader could not use."""
    bad = {text: n for text, n in report.counts.items() if re.search(UNUSABLE, text)}
    if not bad:
        return []
    text = "could not be used as they are: " + "; ".join(f"{n} {t}" for t, n in bad.items())
    remedy = "They are counted as missing. Correct the table if they should not be."
    return [Finding(WARNING, "unusable_cells", sum(bad.values()), "cells", text, remedy)]


def arrival_findings(table: pd.DataFrame) -> list[Finding]:
    """P and S in the wrong order. Arrivals behind the trace need its length, see `check`."""
    p, s = (table[name].to_numpy(np.float64) for name in ("p_sample", "s_sample"))
    found = of_rows(
        table,
        np.flatnonzero(s <= p),
        ERROR,
        "s_not_after_p",
        "S is not after P; such a trace counts as noise",
        "Correct the arrivals, or remove the one that is wrong.",
        ("p_sample", "s_sample"),
    )
    rate = table["sampling_rate_hz"].to_numpy(np.float64)
    late = np.flatnonzero((s - p) / rate > 200)
    found += of_rows(
        table,
        late,
        WARNING,
        "s_long_after_p",
        "S is more than 200 s after P",
        "Make sure that both are of one earthquake, and counted in samples of this trace.",
        ("p_sample", "s_sample", "sampling_rate_hz"),
    )
    return found


def magnitude_findings(dataset: Dataset) -> list[Finding]:
    """Mixed magnitude types, and values that may stand for missing ones."""
    found, table = [], dataset.table
    types = counted(table["magnitude_type"][table["magnitude"].notna()])
    if len(types) > 1:
        text = f"magnitudes are of several types, which differ systematically: {listed(types)}"
        remedy = "--config.data.magnitude_type=ml, for one, trains on that type alone."
        level = WARNING
        if any(CONVERTED in text for text in dataset.report.counts):
            text = f"magnitudes were given in several types, and are converted: {listed(types)}"
            level = NOTE
        found.append(Finding(level, "mixed_magnitude_types", len(types), "types", text, remedy))
    typeless = np.flatnonzero(table["magnitude"].notna() & table["magnitude_type"].isna())
    if len(types) and len(typeless):
        found += of_rows(
            table, typeless, NOTE, "magnitude_without_type",
            "the magnitude has no type", "Fill it in to tell the types apart.", ("magnitude",),
        )  # fmt: skip
    for column in ("magnitude", "distance_km", "back_azimuth_deg"):
        values = table[column].to_numpy()
        zero = np.flatnonzero(values == 0)
        if len(zero) >= max(FEWEST_ZEROS, ZEROS * np.count_nonzero(np.isfinite(values))):
            found += of_rows(
                table,
                zero,
                WARNING,
                f"{column}_zero",
                f"{column} is exactly 0, perhaps for a missing value (numbers below 0 become 0)"
                if column == "magnitude"
                else f"{column} is exactly 0, perhaps for a missing value",
                "Leave the cell empty where the value is not known.",
                (column,),
            )
    return found


def duplicate_findings(dataset: Dataset) -> list[Finding]:
    """Rows that look like the same record under several names."""
    table = dataset.table
    keys = pd.DataFrame({"station": pd.factorize(station_names(table))[0]})
    keys["instrument"] = table["instrument"].cat.codes.to_numpy()
    keys["location"] = _locations(dataset)  # in which two sensors at a station differ
    keys["start"] = table["start_time"].to_numpy()
    there = (keys["station"] >= 0) & keys["start"].notna()
    again = there.to_numpy() & keys.duplicated(keep=False).to_numpy()
    rows = np.flatnonzero(again)
    rows = rows[np.lexsort((rows, *(keys[c].to_numpy()[rows] for c in keys)))]  # twins together
    fields = ("station", "instrument", "start_time")
    remedy = "Remove all but one: copies in training and test make scores too good."
    text = "the same station, instrument and start time as another trace"
    found = of_rows(table, rows, WARNING, "same_start", text, remedy, fields)
    rate = table["sampling_rate_hz"].to_numpy(np.float64)
    arrival = seconds(table["start_time"]) + table["p_sample"].to_numpy(np.float64) / rate
    usable = np.flatnonzero((keys["station"] >= 0) & np.isfinite(arrival) & ~again)
    # Two sensors of a station may pick up the same wave; one sensor does so once.
    codes = [keys[c].to_numpy()[usable] for c in ("location", "instrument", "station")]
    order = np.lexsort((usable, arrival[usable], *codes))
    near = np.zeros(len(order) + 1, bool)  # whether each is near the one before
    near[1:-1] = np.diff(arrival[usable][order]) < SAME_ARRIVAL_S
    for code in codes:
        near[1:-1] &= np.diff(code[order]) == 0
    rows = usable[order][near[1:] | near[:-1]]
    text = "the same station, instrument and time of P as another trace, cut differently"
    shown = ("station", "instrument", "event_id", "start_time", "p_sample")
    return found + of_rows(table, rows, WARNING, "same_arrival", text, remedy, shown)


def _locations(dataset: Dataset) -> np.ndarray:
    """A number for the location code of each row: folders of records alone have such codes."""
    datasets, store_of = stores(dataset)
    streams = np.array([store.storage == "streams" for store in datasets])[store_of]
    found = np.full(len(dataset.table), "", object)
    if streams.any():
        found[streams] = dataset.table["address"][streams].str.split(".", n=3).str[2].to_numpy()
    return pd.factorize(found)[0]


def event_findings(table: pd.DataFrame) -> list[Finding]:
    """Events that share an id and should not, and such that should and do not."""
    found: list[Finding] = []
    names = ["event_id", "origin_time", "event_latitude_deg", "event_longitude_deg"]
    quakes = table.loc[table["event_id"].notna() & table["origin_time"].notna(), names]
    if quakes.empty:
        return found
    codes = quakes["event_id"].cat.codes.to_numpy()
    origin = seconds(quakes["origin_time"])
    groups = pd.Series(origin).groupby(codes)
    wide = (groups.max() - groups.min()) > SPREAD_S
    categories = quakes["event_id"].cat.categories
    several = [str(categories[code]) for code in wide.index[wide]]
    if several:
        text = f"one event_id stands for origin times more than {SPREAD_S:g} s apart"
        remedy = "Give each earthquake an id of its own: splits by event go by it."
        examples = [{"event_id": name} for name in several[:3]]
        found.append(
            Finding(WARNING, "event_id_reused", len(several), "events", text, remedy, examples)
        )
    first = quakes.assign(seconds=origin).iloc[np.unique(codes, return_index=True)[1]]
    first = first.sort_values("seconds")
    near = np.abs(np.diff(first["seconds"])) < SAME_EVENT_S
    for column in names[2:]:
        near &= np.abs(np.diff(first[column].to_numpy(np.float64))) < SAME_EVENT_DEG
    pairs = np.flatnonzero(near)
    if len(pairs):
        text = "the same origin as another event, under another event_id"
        remedy = "Give them one id, else a split by event puts one earthquake on both sides."
        examples = [
            {
                "event_id": str(first["event_id"].iloc[i]),
                "other_event_id": str(first["event_id"].iloc[i + 1]),
                "origin_time": plain(first["origin_time"].iloc[i]),
            }
            for i in pairs[:3]
        ]
        found.append(Finding(WARNING, "same_event", len(pairs), "events", text, remedy, examples))
    lacking = int(((table["category"] != "noise") & table["event_id"].isna()).sum())
    if lacking:
        text = "earthquake traces without event_id, so that a split by event takes each by itself"
        remedy = "Fill in the ids, or split by time."
        found.append(Finding(WARNING, "no_event_id", lacking, "traces", text, remedy))
    return found
