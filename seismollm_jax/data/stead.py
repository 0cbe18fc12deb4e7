"""Reader of STEAD (Mousavi et al., 2019, doi:10.1109/ACCESS.2019.2947848) and tables like it.

Three layouts of a directory are read: the published `merge.csv` + `merge.hdf5`; the published
pairs `chunk1.csv` + `chunk1.hdf5` and so on; and the re-sliced one of the PyTorch original,
`eq.csv` or `eq_MLmag.csv` with a column `file_idx` that points to `part_<file_idx>.hdf5`.
Waveforms are HDF5 datasets `data/<trace_name>` of shape (samples, 3), order E, N, Z, at 100 Hz.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from seismollm_jax.data.hdf5_catalogue import (
    keep_magnitude_type,
    parse_snr,
    probe,
    read_columns,
    read_header,
    require_columns,
    require_files,
    settle,
)
from seismollm_jax.data.records import Dataset, Report
from seismollm_jax.data.tidy import count, left_out

COMPONENT_ORDER = "ENZ"
SAMPLING_RATE_HZ = 100.0

REQUIRED = ("trace_name", "p_arrival_sample", "s_arrival_sample")
POLARITY_COLUMNS = ("p_first_motion", "trace_p_polarity", "trace_polarity")
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
CODES = ("network_code", "receiver_code", "receiver_type", "trace_name")


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
    raw = left_out(raw, raw["trace_name"].isna(), "rows without trace_name, left out", counts)
    if raw.empty:
        raise ValueError(f"{tables[0]} has no rows; is the download complete?")
    _check_unique(raw, tables)
    raw = keep_magnitude_type(raw, magnitude_type, tables[0], counts)
    directory = tables[0].parent
    probe(directory, raw, "data")
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
    header = read_header(csv)
    require_columns(csv, header, REQUIRED, "STEAD")
    polarity = next((column for column in POLARITY_COLUMNS if column in header), None)
    texts = TEXTS | ({polarity: "polarity"} if polarity else {}) | {"file_idx": "file"}
    used_texts = [column for column in texts if column in header]
    used_numbers = [column for column in NUMBERS if column in header]
    raw = read_columns(csv, used_texts, used_numbers, counts, codes=CODES)
    lacking = [column for column in [*TEXTS, *NUMBERS] if column not in header]
    if lacking:
        text = f"rows without the columns {', '.join(lacking)}"
        counts[text] = counts.get(text, 0) + len(raw)
    raw = raw.rename(columns=texts | NUMBERS)
    raw["file"] = _waveform_files(csv, raw)
    for column in (*TEXTS.values(), "polarity"):
        if column not in raw:
            raw[column] = np.full(len(raw), None, object)
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
    require_files(csv, names)
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


def _tidy(raw: pd.DataFrame, counts: dict[str, int]) -> pd.DataFrame:
    """Turn the raw table into the columns of `Dataset.table`."""
    snr_db, bad = parse_snr(raw.pop("snr_db"))
    count(counts, "snr_db unreadable, taken as missing", bad)
    for index, component in enumerate(COMPONENT_ORDER.lower()):
        raw[f"snr_{component}_db"] = snr_db[:, index]
    raw["sampling_rate_hz"] = SAMPLING_RATE_HZ
    raw["component_order"] = COMPONENT_ORDER
    return settle(raw, {new: column for column, new in NUMBERS.items()}, counts)
