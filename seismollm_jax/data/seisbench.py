"""Reader of SeisBench's dataset format (Woollam et al., 2022, doi:10.1785/0220210324).

Some thirty public datasets come in it, with columns called CATEGORY_PARAMETER_UNIT, of which a
dataset has those that it wants, now and then under a name of its own. `ALIASES` says which are read
for what. The files are opened here, without the seisbench package.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from seismollm_jax.data.catalogue_tables import listing
from seismollm_jax.data.geodesy import distance_and_back_azimuth
from seismollm_jax.data.hdf5_catalogue import (
    keep_magnitude_type,
    name_traces,
    parse_snr,
    probe,
    read_columns,
    read_header,
    settle,
)
from seismollm_jax.data.records import Dataset, Report
from seismollm_jax.data.seisbench_files import PREFIX, find_chunks, from_seisbench, read_format
from seismollm_jax.data.tidy import blank, count, left_out

ALIASES = {
    "magnitude": ("source_magnitude", "preferred_source_magnitude"),
    "distance_km": ("path_ep_distance_km", "source_distance_km"),
    "back_azimuth_deg": ("path_back_azimuth_deg", "path_backazimuth_deg", "back_azimuth_deg"),
    "station_latitude_deg": ("station_latitude_deg", "receiver_latitude"),
    "station_longitude_deg": ("station_longitude_deg", "receiver_longitude"),
    "station_elevation_m": ("station_elevation_m", "receiver_elevation_m"),
    "event_latitude_deg": ("source_latitude_deg", "source_latitude"),
    "event_longitude_deg": ("source_longitude_deg", "source_longitude"),
    "event_depth_km": ("source_depth_km",),
    "snr_z_db": ("trace_z_snr_db",),
    "snr_n_db": ("trace_n_snr_db",),
    "snr_e_db": ("trace_e_snr_db",),
    "sampling_rate_hz": ("trace_sampling_rate_hz",),
    "interval_s": ("trace_dt_s",),
}
"""Number of the catalogue -> columns that it is read from, the first that is there, in any case."""

TEXT_ALIASES = {
    "address": ("trace_name",),
    "event_id": ("source_id", "event_id"),
    "network": ("station_network_code", "network_code"),
    "station": ("station_code", "receiver_code"),
    "instrument": ("trace_channel", "station_channels", "receiver_type"),
    "start_time": ("trace_start_time",),
    "origin_time": ("source_origin_time",),
    "magnitude_type": ("source_magnitude_type", "preferred_source_magnitude_type"),
    "category": ("trace_category",),
    "source_type": ("source_type",),
    "polarity": ("trace_polarity", "trace_p_first_motion", "p_first_motion"),
    "snr_db": ("trace_snr_db",),
    "component_order": ("trace_component_order",),
    "split": ("split", "trace_split"),
}
"""The same for texts."""

P_PHASES = ("p", "p1", "pg", "pn", "pb", "pmp")
S_PHASES = ("s", "s1", "sg", "sn", "sb", "sms")
"""Phases, in lower case, of the columns trace_PHASE_arrival_sample; the earliest arrival counts."""

SPLITS = {"train": "train", "dev": "val", "val": "val", "validation": "val", "test": "test"}
SIGNS = {"1": "up", "+1": "up", "1.0": "up", "-1": "down", "-1.0": "down"}
CODES = ("address", "network", "station", "instrument", "component_order")
COORDINATES = (
    *("station_latitude_deg", "station_longitude_deg"),
    *("event_latitude_deg", "event_longitude_deg"),
)
LABELS = {
    **{f"{phase}_sample": (f"trace_{phase}_arrival_sample",) for phase in "ps"},
    **{name: ALIASES[name] for name in ("magnitude", "distance_km", "back_azimuth_deg")},
    "polarity": (*TEXT_ALIASES["polarity"], "trace_p_polarity"),
}


def read(
    path: str | Path,
    *,
    table: str | None = None,
    magnitude_type: str | None = None,
    name: str = "",
) -> Dataset:
    """Read a dataset in SeisBench's format.

    `path` is the folder, one of its metadata files, or `seisbench:NAME` for a dataset that the
    seisbench package downloads. `table` names the chunks to read, separated by commas, as in
    "_2019,_2020" or "metadata_2019.csv"; None reads all. `magnitude_type` keeps the rows of that
    type only. `name` of the dataset is the folder's if empty.

    Every row has its own sampling rate and component order, from the table or else the waveform
    files. Arrivals are truncated to whole samples, magnitudes clipped to 0 to 8. Distance and back
    azimuth are computed from the coordinates where the table has none, and an event without an id
    goes by its origin time. A cell that cannot be used becomes missing; `report` counts those, and
    the labels for which there is no column.

    Raises FileNotFoundError for missing files, ImportError where a download needs the seisbench
    package, ValueError for a table without trace names, without any component order or sampling
    rate, or whose waveforms are not in the files.
    """
    if str(path).startswith(PREFIX):
        path = from_seisbench(str(path).removeprefix(PREFIX), table)
    path = Path(path)
    if path.is_file():
        path, table = path.parent, table or path.name
    counts: dict[str, int] = {}
    chunks = find_chunks(path, table, counts)
    formats = [read_format(path / f"waveforms{chunk}.hdf5") for chunk in chunks]
    raw = pd.concat(
        [_read_chunk(path, c, f, counts) for c, f in zip(chunks, formats, strict=True)],
        ignore_index=True,
    )
    raw = left_out(raw, raw["address"].isna(), "rows without trace_name, left out", counts)
    if raw.empty:
        raise ValueError(f"{path} has no rows; is the download complete?")
    for column, there, remedy in (
        ("component_order", raw["component_order"].notna(), 'such as "ZNE" for each row'),
        ("sampling_rate_hz", _positive(raw["sampling_rate_hz"]), "in Hz"),
    ):
        if not there.any():
            raise ValueError(
                f"{path}: neither the group data_format of the waveform files nor the table says "
                f"the {column}; add a column trace_{column}, {remedy}"
            )
        raw = left_out(raw, ~there, f"rows without {column}, left out", counts)
    raw["file"] = raw["file"].astype("category")
    raw = name_traces(raw, counts)
    raw = keep_magnitude_type(raw, magnitude_type, path, counts)
    probe(path, raw, "data")
    settled = _tidy(raw, counts)
    return Dataset(
        name=name or path.name,
        path=path,
        table=settled,
        sampling_rate_hz=float(settled["sampling_rate_hz"].mode()[0]),
        dimension_order=_dimension_order(path, chunks, formats),
        report=Report({"rows": len(settled), **counts}),
    )


def _positive(rates: pd.Series) -> pd.Series:
    return (rates > 0) & np.isfinite(rates)


def _dimension_order(path: Path, chunks: list[str], formats: list[dict]) -> str:
    """The order of samples and components; empty where no file says it."""
    orders = {str(found.get("dimension_order", "")).upper() for found in formats}
    if len(orders) > 1 or not orders <= {"", "CW", "WC"}:
        raise ValueError(
            f"{path}: data_format/dimension_order of the waveform files is "
            f"{' and '.join(map(repr, sorted(orders)))}; CW or WC, the same for all of "
            f"{len(chunks)} chunks, can be read. Choose chunks with data.table"
        )
    return orders.pop()


def _read_chunk(path: Path, chunk: str, data_format: dict, counts: dict[str, int]) -> pd.DataFrame:
    """Wanted columns of one chunk under the catalogue's names; absent ones are left out."""
    csv = path / f"metadata{chunk}.csv"
    header = read_header(csv)
    by_lower = {column.lower(): column for column in reversed(header)}
    numbers, texts = (
        {
            new: next(by_lower[name] for name in names if name in by_lower)
            for new, names in aliases.items()
            if any(name in by_lower for name in names)
        }
        for aliases in (ALIASES, TEXT_ALIASES)
    )
    if "address" not in texts:
        raise ValueError(f"{csv} lacks the column trace_name; it has {', '.join(header)}")
    arrivals = _phase_columns(header, "arrival_sample")
    polarities = _phase_columns(header, "polarity")
    unused = [c for p, cs in arrivals.items() if p not in (*P_PHASES, *S_PHASES) for c in cs]
    phases = [c for p, cs in arrivals.items() if p in (*P_PHASES, *S_PHASES) for c in cs]
    motions = [c for p, cs in polarities.items() if p in P_PHASES for c in cs]
    used_numbers = list(dict.fromkeys([*numbers.values(), *phases]))
    used_texts = list(dict.fromkeys([*texts.values(), *motions]))
    codes = [column for new, column in texts.items() if new in CODES]
    raw = read_columns(csv, used_texts, used_numbers, counts, codes=codes)
    out = pd.DataFrame({new: raw[old] for new, old in {**texts, **numbers}.items()})
    for label, wanted in (("p_sample", P_PHASES), ("s_sample", S_PHASES)):
        columns = [column for phase in wanted for column in arrivals.get(phase, ())]
        if columns:
            out[label] = _earliest(raw[columns])
    _first_motions(out, raw, arrivals, polarities)
    for label, names in LABELS.items():
        if label not in out:
            text = f"rows without a column for {label} ({', '.join(names)})"
            counts[text] = counts.get(text, 0) + len(out)
    if unused:
        text = f"arrivals of other phases, not used ({listing(sorted(unused))})"
        counts[text] = counts.get(text, 0) + len(out)
    _complete(out, data_format, counts)
    out["file"] = f"waveforms{chunk}.hdf5"
    return out


def _phase_columns(header: list[str], what: str) -> dict[str, list[str]]:
    """Phase in lower case -> columns trace_PHASE_<what>."""
    found: dict[str, list[str]] = {}
    for column in header:
        if match := re.fullmatch(rf"trace_(\w+)_{what}", column, re.IGNORECASE):
            found.setdefault(match.group(1).lower(), []).append(column)
    return found


def _earliest(arrivals: pd.DataFrame) -> pd.Series:
    """The earliest arrival of each row; one before the trace only where there is no other."""
    times = arrivals.astype(np.float32)
    inside = times.where((times >= 0) & np.isfinite(times)).min(axis=1)
    return inside.fillna(times.min(axis=1))


def _first_motions(out: pd.DataFrame, raw: pd.DataFrame, arrivals: dict, polarities: dict) -> None:
    """The polarity of the arrival that counts goes before that of the trace."""
    for phase in P_PHASES:
        for column in polarities.get(phase, ()):
            words = raw[column]
            if phase in arrivals:
                words = words.where(_earliest(raw[arrivals[phase]]) == out["p_sample"])
            out["polarity"] = words.fillna(out["polarity"]) if "polarity" in out else words


def _complete(out: pd.DataFrame, data_format: dict, counts: dict[str, int]) -> None:
    """Sampling rate and component order of each row, the waveform file's if it has none."""
    rate = out.get("sampling_rate_hz", pd.Series(np.nan, out.index))
    if "interval_s" in out:
        interval = out.pop("interval_s")
        rate = rate.where(_positive(rate), 1 / interval.where(interval > 0))
    common = data_format.get("sampling_rate", np.nan)
    common = float(common) if np.ndim(common) == 0 and not isinstance(common, str) else np.nan
    other = _positive(rate) & (np.abs(rate / common - 1) > 1e-4)
    text = "rows with a sampling rate other than their file's, the row's taken"
    count(counts, text, other)
    out["sampling_rate_hz"] = rate.where(_positive(rate), common)
    order = out.get("component_order", pd.Series(None, out.index, dtype=object)).astype(object)
    order = order.str.strip().str.upper()
    order = order.where(order.notna() & (order != ""), data_format.get("component_order") or None)
    out["component_order"] = order


def _tidy(raw: pd.DataFrame, counts: dict[str, int]) -> pd.DataFrame:
    """Turn the raw table into the columns of `Dataset.table`."""
    words = raw.pop("source_type") if "source_type" in raw else pd.Series(None, raw.index)
    category = raw["category"] if "category" in raw else pd.Series(None, raw.index)
    noise = np.zeros(len(raw), bool)
    for column in (category, words):
        noise |= column.astype(object).str.contains("noise", case=False).fillna(False).astype(bool)
    raw["category"] = np.where(noise, "noise", "earthquake")
    if "polarity" in raw:
        signs = raw["polarity"].astype(object)
        raw["polarity"] = signs.str.strip().map(SIGNS).fillna(signs)
    if "snr_db" in raw:
        _spread_snr(raw, counts)
    if "split" in raw:
        words = raw["split"].astype(object).str.strip().str.lower()
        raw["split"] = words.map(SPLITS)
        unknown = words.notna() & raw["split"].isna()
        count(counts, "split none of train, dev and test, taken as missing", unknown)
    if "instrument" in raw:  # some give the channel, some list all
        raw["instrument"] = raw["instrument"].str.strip().str[:2]
    _from_coordinates(raw, counts)
    if "origin_time" in raw:
        events = raw.get("event_id", pd.Series(None, raw.index, dtype=object)).astype(object)
        lacking = events.isna() & raw["origin_time"].notna() & ~noise
        count(counts, "rows of an event without source_id, its origin time taken", lacking)
        raw["event_id"] = events.where(~lacking, raw["origin_time"])
    return settle(raw, {new: names[0] for new, names in ALIASES.items()}, counts)


def _spread_snr(raw: pd.DataFrame, counts: dict[str, int]) -> None:
    """The three numbers of a cell go to the components in their order; one number to all three."""
    values, bad = parse_snr(raw.pop("snr_db"))
    count(counts, "trace_snr_db unreadable, taken as missing", bad)
    for component in "ZNE":
        column = f"snr_{component.lower()}_db"
        if column not in raw:
            raw[column] = np.nan
        for order in raw["component_order"].unique():
            place = order.replace("1", "N").replace("2", "E").find(component)
            rows = (raw["component_order"] == order) & raw[column].isna()
            if 0 <= place < 3:
                raw.loc[rows, column] = values[rows, place]


def _from_coordinates(raw: pd.DataFrame, counts: dict[str, int]) -> None:
    """Fill in distances and back azimuths that the table lacks."""
    if not all(column in raw for column in COORDINATES):
        return
    for column in COORDINATES:
        limit = 90 if "latitude" in column else 360
        text = f"{column} impossible, taken as missing"
        blank(raw, column, raw[column].abs() > limit, text, counts)
    found = distance_and_back_azimuth(*(raw[column].to_numpy() for column in COORDINATES))
    for column, values in zip(("distance_km", "back_azimuth_deg"), found, strict=True):
        if column not in raw:
            raw[column] = np.nan
        lacking = raw[column].isna().to_numpy() & np.isfinite(values)
        count(counts, f"{column} computed from the coordinates", lacking)
        raw.loc[lacking, column] = values[lacking]
