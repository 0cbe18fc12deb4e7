"""What readers of CSV tables with HDF5 waveforms share: cells, names, units, the final columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from seismollm_jax.data.records import NO_POLARITY, TABLE_COLUMNS
from seismollm_jax.data.splits import PARTS
from seismollm_jax.data.tidy import MAGNITUDE_RANGE, POLARITY_WORDS, blank, count, left_out

MISSING = ("", " ", "None", "none", "nan", "NaN", "NA", "N/A", "null", "NULL")
MISSING_CODE = ("", "None")  # NA is a network and NAN a station
NUMBERS = (
    *("p_sample", "s_sample", "magnitude", "distance_km", "back_azimuth_deg"),
    *("station_latitude_deg", "station_longitude_deg", "station_elevation_m"),
    *("event_latitude_deg", "event_longitude_deg", "event_depth_km"),
    *("snr_z_db", "snr_n_db", "snr_e_db"),
)
CATEGORICAL = ("file", "event_id", "network", "station", "instrument", "magnitude_type")
PROBES = 32


def read_header(csv: Path) -> list[str]:
    """Names of the columns of a table. Raises ValueError, naming the file, if it is none."""
    try:
        return list(pd.read_csv(csv, nrows=0, index_col=False).columns)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise _unreadable(csv, error) from error


def read_columns(
    csv: Path,
    texts: Sequence[str],
    numbers: Sequence[str],
    counts: dict[str, int],
    *,
    codes: Sequence[str] = (),
    inner_blanks: bool = False,
) -> pd.DataFrame:
    """Columns of a table, which must be there: texts, and numbers as float64.

    A cell that is no number becomes missing and is counted. `codes` are the text columns in which
    words such as NA are no missing cells. With `inner_blanks` a number may have blanks in it.

    Raises ValueError, naming the file, if it is no table.
    """
    options: dict[str, Any] = {
        "index_col": False,
        "usecols": [*texts, *numbers],
        "na_values": {c: list(MISSING_CODE if c in codes else MISSING) for c in (*texts, *numbers)},
        "keep_default_na": False,
    }
    types = {**dict.fromkeys(texts, str), **dict.fromkeys(numbers, np.float64)}
    try:
        try:
            return pd.read_csv(csv, dtype=types, **options)
        except (pd.errors.ParserError, UnicodeDecodeError):
            raise
        except ValueError:  # a cell that is no number: find and count these cells
            table = pd.read_csv(csv, dtype=str, **options)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise _unreadable(csv, error) from error
    for column in numbers:
        words = table[column].str.strip()
        if inner_blanks:
            words = words.str.replace(" ", "")
        number = pd.to_numeric(words, errors="coerce")
        bad = words.notna() & (words != "") & number.isna()
        count(counts, f"{column} not a number, taken as missing", bad)
        table[column] = number.astype(np.float64)
    return table


def require_columns(csv: Path, header: list[str], required: Sequence[str], like: str) -> None:
    """Raises ValueError if a table lacks a column; `like` names the dataset that has them all."""
    absent = [column for column in required if column not in header]
    if absent:
        raise ValueError(
            f"{csv} lacks the column {', '.join(absent)}; it has {', '.join(header)}. "
            f"Rename the columns as in {like}"
        )


def _unreadable(csv: Path, error: Exception) -> ValueError:
    return ValueError(f"{csv} is not a readable CSV table: {error}")


def require_files(table: Path, names: Sequence[str]) -> None:
    """Raises FileNotFoundError if a waveform file is not beside its table."""
    lost = [name for name in names if not (table.parent / name).is_file()]
    if lost:
        raise FileNotFoundError(
            f"{table} needs the waveform file {table.parent / lost[0]}, which does not exist "
            f"({len(lost)} of {len(names)} files missing); put it beside the table"
        )


def keep_magnitude_type(
    raw: pd.DataFrame, magnitude_type: str | None, where: Path, counts: dict[str, int]
) -> pd.DataFrame:
    """The rows whose `magnitude_type` is the wanted one in any case; all of them for None.

    Raises ValueError, with the types that there are, if no row has it.
    """
    if magnitude_type is None:
        return raw
    if "magnitude_type" not in raw:
        raise ValueError(
            f"{where} has no column of magnitude types, so rows of the type {magnitude_type!r} "
            "cannot be chosen; set data.magnitude_type to nothing"
        )
    kinds = raw["magnitude_type"].astype(object).str.strip().str.lower()
    if not (kinds == magnitude_type.lower()).any():
        known = ", ".join(f"{kind} ({n})" for kind, n in kinds.value_counts().items())
        raise ValueError(
            f"no row of {where} has the magnitude type {magnitude_type!r}; "
            f"it has: {known or 'none'}"
        )
    reason = f"rows of another magnitude type than {magnitude_type}, left out"
    return left_out(raw, kinds != magnitude_type.lower(), reason, counts)


def name_traces(raw: pd.DataFrame, counts: dict[str, int]) -> pd.DataFrame:
    """Rows with a unique `trace_name`, made from `file` and `address`.

    The name is the address. Addresses that several files have get the file's name in front. Of rows
    with the same address in the same file the first stays. `address` goes if it is the name.
    """
    twice = raw.duplicated(["file", "address"])
    raw = left_out(raw, twice, "rows with a trace that an earlier row has, left out", counts)
    raw["trace_name"] = raw["address"]
    shared = raw["address"].duplicated(keep=False)
    if not shared.any():
        return raw.drop(columns="address")
    stems = raw.loc[shared, "file"].astype(object).str.removesuffix(".hdf5")
    raw.loc[shared, "trace_name"] = stems + "/" + raw.loc[shared, "address"]
    return raw


def probe(directory: Path, table: pd.DataFrame, group: str) -> None:
    """Look for some evenly spaced rows in the waveform files, which shows a wrong file.

    Raises ValueError if none of them is there, or a file is not HDF5.
    """
    found, last = False, ""
    addresses = table["address"] if "address" in table else table["trace_name"]
    rows = np.unique(np.linspace(0, len(table) - 1, PROBES).astype(int))
    for row in rows:
        file, address = directory / table["file"].iloc[row], addresses.iloc[row]
        name, part = address.partition("$")[::2]
        try:
            with h5py.File(file, "r", locking="best-effort") as h5:
                trace = h5.get(f"{group}/{name}")
                if isinstance(trace, h5py.Dataset) and (trace.ndim == 2 or (part and trace.ndim)):
                    found = True
                else:
                    last = f"{file} has no trace {group}/{name}"
        except OSError as error:
            raise ValueError(
                f"{file} cannot be opened as HDF5 ({error}); is the download complete?"
            ) from error
    if not found:
        raise ValueError(
            f"none of {len(rows)} traces tried is there: {last}. Table and waveforms do not match"
        )


def settle(raw: pd.DataFrame, called: Mapping[str, str], counts: dict[str, int]) -> pd.DataFrame:
    """The columns of `Dataset.table`, checked and in their units, and `address` if it is there.

    `raw` has some of them: numbers; `category` as text of which "noise" counts; `polarity` as words
    (see `tidy.POLARITY_WORDS`); times as text; `split` as it shall be. What it lacks is missing.
    `called` gives the names of columns in the dataset's own table, for the report.
    """
    out = raw
    for column in TABLE_COLUMNS:
        if column not in out:
            out[column] = np.nan if column in NUMBERS else np.full(len(out), None, object)
    noise = out["category"].astype(object).str.strip().str.lower() == "noise"
    count(counts, "noise rows", noise)
    kinds = np.where(noise, "noise", "earthquake")
    out["category"] = pd.Categorical(kinds, ["earthquake", "noise"])
    for column in NUMBERS:
        with np.errstate(over="ignore"):  # becomes infinite, which is seen next
            out[column] = out[column].astype(np.float32)
        name = called.get(column, column)
        blank(out, column, np.isinf(out[column]), f"{name} infinite, taken as missing", counts)
    for column in ("p_sample", "s_sample"):
        out[column] = np.trunc(out[column])
        # One beyond the end shows when the trace is read: it then counts as noise.
        reason = f"{column} before the trace begins, taken as missing"
        blank(out, column, out[column] < 0, reason, counts)
        blank(out, column, noise, f"{column} in a noise row, ignored", counts)
    reversed_picks = out["p_sample"] >= out["s_sample"]
    count(counts, "P arrival not before S, trace will count as noise", reversed_picks)
    low, high = MAGNITUDE_RANGE
    clipped = (out["magnitude"] < low) | (out["magnitude"] > high)
    name = called.get("magnitude", "magnitude")
    count(counts, f"{name} clipped to {low:g} to {high:g}", clipped)
    out["magnitude"] = out["magnitude"].clip(low, high)
    name = called.get("distance_km", "distance_km")
    negative = out["distance_km"] < 0
    blank(out, "distance_km", negative, f"{name} negative, taken as missing", counts)
    out["back_azimuth_deg"] = out["back_azimuth_deg"].mod(360)
    # The remainder of a tiny negative angle rounds to 360 itself.
    out.loc[out["back_azimuth_deg"] >= 360, "back_azimuth_deg"] = 0

    words = out["polarity"].astype(object).str.strip().str.lower()
    known = words.map(POLARITY_WORDS)
    unknown = words.notna() & (words != "") & known.isna()
    count(counts, "polarity not up or down, taken as missing", unknown)
    out["polarity"] = known.fillna(NO_POLARITY).astype(np.int8)
    for column in ("start_time", "origin_time"):
        time = pd.to_datetime(out[column], format="ISO8601", utc=True, errors="coerce")
        count(counts, f"{column} unreadable, taken as missing", out[column].notna() & time.isna())
        out[column] = time.dt.tz_localize(None).dt.as_unit("us")
    out["magnitude_type"] = out["magnitude_type"].astype(object).str.strip().str.lower()
    out["sampling_rate_hz"] = out["sampling_rate_hz"].astype(np.float32)
    out["component_order"] = out["component_order"].astype("category")
    out["split"] = pd.Categorical(out["split"], list(PARTS))
    for column in CATEGORICAL:
        out[column] = out[column].astype("category")
    extra = ["address"] if "address" in out else []
    return out[[*TABLE_COLUMNS, *extra]].reset_index(drop=True)


def parse_snr(texts: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Signal-to-noise ratios (rows, 3) in the order written, and which rows could not be read.

    A text is like `[ 56.79 55.40 47.40]`, with or without commas, or one number for all components.
    """
    values = np.full((len(texts), 3), np.nan, np.float32)
    bad = np.zeros(len(texts), bool)
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            continue
        try:
            numbers = [float(word) for word in text.strip("[]() ").replace(",", " ").split()]
        except ValueError:
            numbers = []
        if len(numbers) == 3 or (len(numbers) == 1 and text.strip()[:1] not in "[("):
            values[row] = numbers
        else:
            bad[row] = True
    return values, bad
