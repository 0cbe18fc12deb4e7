"""Reader of STEAD (Mousavi et al., 2019, doi:10.1109/ACCESS.2019.2947848) and tables like it.

Three layouts of a directory are read: the published `merge.csv` + `merge.hdf5`; the published
pairs `chunk1.csv` + `chunk1.hdf5` and so on; and the re-sliced one of the PyTorch original,
`eq.csv` or `eq_MLmag.csv` with a column `file_idx` that points to `part_<file_idx>.hdf5`.
Waveforms are HDF5 datasets `data/<trace_name>` of shape (samples, 3), order E, N, Z, at 100 Hz.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from seismollm_jax.data.records import DOWN, NO_POLARITY, TABLE_COLUMNS, UP, Dataset, Report
from seismollm_jax.data.splits import PARTS

COMPONENT_ORDER = "ENZ"
SAMPLING_RATE_HZ = 100.0
MAGNITUDE_RANGE = (0.0, 8.0)

REQUIRED = ("trace_name", "p_arrival_sample", "s_arrival_sample")
POLARITY_COLUMNS = ("p_first_motion", "trace_p_polarity", "trace_polarity")
POLARITY_WORDS = {
    **dict.fromkeys(("u", "c", "up", "positive", "compression"), UP),
    **dict.fromkeys(("d", "r", "down", "negative", "dilatation"), DOWN),
}
NUMBERS = {
    "p_arrival_sample": "p_sample",
    "s_arrival_sample": "s_sample",
    "source_magnitude": "magnitude",
    "source_distance_km": "distance_km",
    "back_azimuth_deg": "back_azimuth_deg",
    "receiver_latitude": "station_latitude_deg",
    "receiver_longitude": "station_longitude_deg",
    "receiver_elevation_m": "station_elevation_m",
    "source_latitude": "event_latitude_deg",
    "source_longitude": "event_longitude_deg",
    "source_depth_km": "event_depth_km",
}
TEXTS = {
    "trace_name": "trace_name",
    "trace_category": "category",
    "source_id": "event_id",
    "network_code": "network",
    "receiver_code": "station",
    "receiver_type": "instrument",
    "source_magnitude_type": "magnitude_type",
    "trace_start_time": "start_time",
    "source_origin_time": "origin_time",
    "snr_db": "snr_db",
}
CATEGORICAL = ("file", "event_id", "network", "station", "instrument", "magnitude_type")
MISSING = ("", " ", "None", "none", "nan", "NaN", "NA", "N/A", "null", "NULL")
MISSING_CODE = ("", "None")  # NA is a network and NAN a station


def read(
    path: str | Path,
    *,
    table: str | None = None,
    magnitude_type: str | None = None,
    name: str = "stead",
) -> Dataset:
    """Read a catalogue in one of the STEAD layouts.

    `path` is a directory, or one table in it. `table` names the table where a directory has
    several, `table="chunks"` all chunk pairs. `magnitude_type` keeps the rows of that type only,
    in any case: "ml" makes the `stead_mag` set of the PyTorch original out of the published one.

    Arrivals are truncated to whole samples and magnitudes clipped to 0 to 8 without conversion
    between magnitude types, as in the original; back azimuths are brought into [0, 360). A cell
    that cannot be used becomes missing; `report` of the result counts those. The rows keep the
    order of the tables, chunks by number.

    Raises FileNotFoundError for a missing table or waveform file, ValueError for a missing column,
    a duplicate trace name, an ambiguous directory, or waveforms that do not belong to the table.
    """
    tables = _find_tables(Path(path), table)
    counts: dict[str, int] = {}
    raw = pd.concat([_read_csv(csv, counts) for csv in tables], ignore_index=True)
    raw = _left_out(raw, raw["trace_name"].isna(), "rows without trace_name, left out", counts)
    if raw.empty:
        raise ValueError(f"{tables[0]} has no rows; is the download complete?")
    _check_unique(raw, tables)
    if magnitude_type is not None:
        kinds = raw["magnitude_type"].str.strip().str.lower()
        if not (kinds == magnitude_type.lower()).any():
            known = ", ".join(f"{kind} ({n})" for kind, n in kinds.value_counts().items())
            raise ValueError(
                f"no row of {tables[0]} has source_magnitude_type {magnitude_type!r}; "
                f"it has: {known or 'none'}"
            )
        reason = f"rows of another magnitude type than {magnitude_type}, left out"
        raw = _left_out(raw, kinds != magnitude_type.lower(), reason, counts)
    directory = tables[0].parent
    _probe(directory, raw)
    return Dataset(
        name=name,
        path=directory,
        table=_tidy(raw, counts),
        sampling_rate_hz=SAMPLING_RATE_HZ,
        report=Report({"rows": len(raw), **counts}),
    )


def _find_tables(path: Path, table: str | None) -> list[Path]:
    """Tables to read, in order."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"{path} does not exist; give the STEAD directory or a table in it")
    numbered = [(re.fullmatch(r"chunk(\d+)\.csv", p.name), p) for p in path.glob("chunk*.csv")]
    chunks = [p for _, p in sorted((int(m.group(1)), p) for m, p in numbered if m)]
    if table is not None and table != "chunks":
        if not (path / table).is_file():
            found = ", ".join(sorted(p.name for p in path.glob("*.csv"))) or "none"
            raise FileNotFoundError(f"{path / table} does not exist; tables there: {found}")
        return [path / table]
    named = [path / n for n in ("merge.csv", "eq.csv", "eq_MLmag.csv") if (path / n).is_file()]
    candidates = {p.name: [p] for p in named} | ({"chunks": chunks} if chunks else {})
    if table is not None:
        candidates = {key: value for key, value in candidates.items() if key == table}
    if not candidates:
        raise FileNotFoundError(
            f"{path} has no merge.csv, chunk<n>.csv, eq.csv or eq_MLmag.csv; name the table"
        )
    if len(candidates) > 1:
        raise ValueError(
            f"{path} has several tables: {', '.join(candidates)}; choose one with data.table"
        )
    return next(iter(candidates.values()))


def _read_csv(csv: Path, counts: dict[str, int]) -> pd.DataFrame:
    """Wanted columns of one table under their new names, plus `file`; absent ones are missing."""
    try:
        header = list(pd.read_csv(csv, nrows=0, index_col=False).columns)
        absent = [column for column in REQUIRED if column not in header]
        if absent:
            raise ValueError(
                f"{csv} lacks the column {', '.join(absent)}; it has {', '.join(header)}. "
                "Rename the columns as in STEAD"
            )
        polarity = next((column for column in POLARITY_COLUMNS if column in header), None)
        texts = TEXTS | ({polarity: "polarity"} if polarity else {}) | {"file_idx": "file"}
        used_texts = [column for column in texts if column in header]
        used_numbers = [column for column in NUMBERS if column in header]
        codes = ("network_code", "receiver_code", "receiver_type", "trace_name")
        missing = {c: list(MISSING_CODE if c in codes else MISSING) for c in header}
        options: dict[str, Any] = {
            "index_col": False,
            "na_values": missing,
            "keep_default_na": False,
        }
        try:
            types: dict[str, Any] = {
                **dict.fromkeys(used_texts, str),
                **dict.fromkeys(used_numbers, np.float32),
            }
            raw = pd.read_csv(csv, usecols=list(types), dtype=types, **options)
        except pd.errors.ParserError:
            raise
        except ValueError:  # a cell that is no number: find and count these cells
            raw = pd.read_csv(csv, usecols=[*used_texts, *used_numbers], dtype=str, **options)
            for column in used_numbers:
                number = pd.to_numeric(raw[column].str.strip(), errors="coerce")
                bad = raw[column].notna() & (raw[column].str.strip() != "") & number.isna()
                _count(counts, f"{column} not a number, taken as missing", bad)
                raw[column] = number.astype(np.float32)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{csv} is not a readable CSV table: {error}") from error
    lacking = [column for column in [*TEXTS, *NUMBERS] if column not in header]
    if lacking:
        text = f"rows without the columns {', '.join(lacking)}"
        counts[text] = counts.get(text, 0) + len(raw)
    raw = raw.rename(columns=texts | NUMBERS)
    raw["file"] = _waveform_files(csv, raw)
    for column in (*TEXTS.values(), "polarity"):
        if column not in raw:
            raw[column] = np.full(len(raw), None, object)
    for column in NUMBERS.values():
        if column not in raw:
            raw[column] = np.full(len(raw), np.nan, np.float32)
    return raw


def _waveform_files(csv: Path, raw: pd.DataFrame) -> pd.Series | str:
    """Name of each row's waveform file; checks that all exist."""
    if "file" not in raw:
        files: pd.Series | str = csv.with_suffix(".hdf5").name
        names = [str(files)]
    else:
        number = pd.to_numeric(raw["file"], errors="coerce")
        bad = np.flatnonzero(number.isna() | (number % 1 != 0))
        if len(bad):
            raise ValueError(
                f"{csv}: file_idx is {raw['file'].iloc[bad[0]]!r} in data row {bad[0] + 1}; "
                "it must be the number of a part_<file_idx>.hdf5"
            )
        number = number.astype(np.int64)
        mapping = {index: f"part_{index}.hdf5" for index in number.unique()}
        files, names = number.map(mapping), list(mapping.values())
    lost = [name for name in names if not (csv.parent / name).is_file()]
    if lost:
        raise FileNotFoundError(
            f"{csv} needs the waveform file {csv.parent / lost[0]}, which does not exist "
            f"({len(lost)} of {len(names)} files missing); put it beside the table"
        )
    return files


def _check_unique(raw: pd.DataFrame, tables: list[Path]) -> None:
    twice = raw["trace_name"].duplicated(keep=False)
    if twice.any():
        name = raw.loc[twice, "trace_name"].iloc[0]
        rows = ", ".join(str(i + 1) for i in np.flatnonzero(raw["trace_name"] == name)[:5])
        raise ValueError(
            f"{', '.join(csv.name for csv in tables)} in {tables[0].parent}: trace_name {name!r} "
            f"occurs in data rows {rows}; {int(twice.sum())} rows share a name. Remove duplicates"
        )


def _probe(directory: Path, raw: pd.DataFrame, probes: int = 32) -> None:
    """Look for some evenly spaced rows in the waveform files, which shows a wrong file.

    Raises ValueError if none of them is there, or a file is not HDF5.
    """
    found, last = False, ""
    for row in np.unique(np.linspace(0, len(raw) - 1, probes).astype(int)):
        file, name = directory / raw["file"].iloc[row], raw["trace_name"].iloc[row]
        try:
            with h5py.File(file, "r", locking="best-effort") as h5:
                trace = h5.get(f"data/{name}")
                if isinstance(trace, h5py.Dataset) and trace.ndim == 2:
                    found = True
                else:
                    last = f"{file} has no trace data/{name}"
        except OSError as error:
            raise ValueError(
                f"{file} cannot be opened as HDF5 ({error}); is the download complete?"
            ) from error
    if not found:
        raise ValueError(
            f"none of {probes} traces tried is there: {last}. Table and waveforms do not match"
        )


def _tidy(raw: pd.DataFrame, counts: dict[str, int]) -> pd.DataFrame:
    """Turn the raw table into the columns of `Dataset.table`."""
    out = raw
    noise = raw["category"].str.strip().str.lower() == "noise"
    _count(counts, "noise rows", noise)
    kinds = np.where(noise, "noise", "earthquake")
    out["category"] = pd.Categorical(kinds, ["earthquake", "noise"])
    for column, new in NUMBERS.items():
        _blank(out, new, np.isinf(out[new]), f"{column} infinite, taken as missing", counts)
    for column in ("p_sample", "s_sample"):
        out[column] = np.trunc(out[column])
        # One beyond the end shows when the trace is read: it then counts as noise.
        reason = f"{column} before the trace begins, taken as missing"
        _blank(out, column, out[column] < 0, reason, counts)
        _blank(out, column, noise, f"{column} in a noise row, ignored", counts)
    reversed_picks = out["p_sample"] >= out["s_sample"]
    _count(counts, "P arrival not before S, trace will count as noise", reversed_picks)
    low, high = MAGNITUDE_RANGE
    clipped = (out["magnitude"] < low) | (out["magnitude"] > high)
    _count(counts, f"source_magnitude clipped to {low:g} to {high:g}", clipped)
    out["magnitude"] = out["magnitude"].clip(low, high)
    negative = out["distance_km"] < 0
    _blank(out, "distance_km", negative, "source_distance_km negative, taken as missing", counts)
    out["back_azimuth_deg"] = out["back_azimuth_deg"].mod(360)
    # The remainder of a tiny negative angle rounds to 360 itself.
    out.loc[out["back_azimuth_deg"] >= 360, "back_azimuth_deg"] = 0

    words = out["polarity"].astype(object).str.strip().str.lower()
    known = words.map(POLARITY_WORDS)
    _count(counts, "polarity not up or down, taken as missing", words.notna() & known.isna())
    out["polarity"] = known.fillna(NO_POLARITY).astype(np.int8)
    snr_db, bad = _parse_snr(out.pop("snr_db"))
    _count(counts, "snr_db unreadable, taken as missing", bad)
    for index, component in enumerate(COMPONENT_ORDER.lower()):
        out[f"snr_{component}_db"] = snr_db[:, index]
    for column in ("start_time", "origin_time"):
        time = pd.to_datetime(out[column], format="ISO8601", utc=True, errors="coerce")
        _count(counts, f"{column} unreadable, taken as missing", out[column].notna() & time.isna())
        out[column] = time.dt.tz_localize(None).dt.as_unit("us")
    out["magnitude_type"] = out["magnitude_type"].str.strip().str.lower()
    out["sampling_rate_hz"] = np.float32(SAMPLING_RATE_HZ)
    out["component_order"] = pd.Categorical.from_codes(
        np.zeros(len(out), np.int8), [COMPONENT_ORDER]
    )
    out["split"] = pd.Categorical.from_codes(np.full(len(out), -1, np.int8), list(PARTS))
    for column in CATEGORICAL:
        out[column] = out[column].astype("category")
    return out[list(TABLE_COLUMNS)].reset_index(drop=True)


def _parse_snr(texts: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Signal-to-noise ratios (rows, 3) in file order, and which rows could not be read.

    The text is like `[ 56.79 55.40 47.40]`.
    """
    values = np.full((len(texts), 3), np.nan, np.float32)
    bad = np.zeros(len(texts), bool)
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            continue
        try:
            east, north, vertical = text.strip("[] ").replace(",", " ").split()
            values[row] = float(east), float(north), float(vertical)
        except ValueError:
            bad[row] = True
    return values, bad


def _count(counts: dict[str, int], text: str, mask: pd.Series | np.ndarray) -> None:
    n = int(np.count_nonzero(mask))
    if n:
        counts[text] = counts.get(text, 0) + n


def _blank(
    table: pd.DataFrame, column: str, mask: pd.Series, text: str, counts: dict[str, int]
) -> None:
    """Set values to missing and count those that were not."""
    _count(counts, text, mask & table[column].notna())
    table.loc[mask, column] = np.nan


def _left_out(
    raw: pd.DataFrame, mask: pd.Series, text: str, counts: dict[str, int]
) -> pd.DataFrame:
    _count(counts, text, mask)
    return raw[~mask].reset_index(drop=True) if mask.any() else raw
