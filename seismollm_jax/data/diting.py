"""Reader of DiTing (Zhao et al., 2023, doi:10.1016/j.eqs.2022.01.022), as its authors give it.

Three tables are known: the full one in 28 parts `DiTing330km_part_<i>.csv`, the light one
`DiTing330km_light.csv` and the few-shot one `DiTing330km_fewshot.csv`, the last two made by the
authors of the PyTorch original and its predecessor. All point into the same waveform files
`DiTing330km_part_<part>.hdf5`, datasets `earthquake/<key>` of shape (samples, 3), order Z, N, E, at
50 Hz.

`python -m seismollm_jax.data.diting light DIR` makes the light table out of the full one.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from seismollm_jax import atomic_files
from seismollm_jax.data.hdf5_catalogue import (
    MISSING,
    MISSING_CODE,
    keep_magnitude_type,
    name_traces,
    probe,
    read_columns,
    read_header,
    require_columns,
    require_files,
    settle,
)
from seismollm_jax.data.records import Dataset, Report
from seismollm_jax.data.tidy import blank, count, left_out

COMPONENT_ORDER = "ZNE"
SAMPLING_RATE_HZ = 50.0
SAMPLES = 9000  # of a trace
PARTS = 28  # of the full table
VARIANTS = {"light": "DiTing330km_light.csv", "fewshot": "DiTing330km_fewshot.csv"}

TEXTS = {
    "key": "key",
    "part": "part",
    "ev_id": "event_id",
    "mag_type": "magnitude_type",
    "p_motion": "polarity",
    "net": "network",
    "sta_id": "station",
}
NUMBERS = {
    "p_pick": "p_sample",
    "s_pick": "s_sample",
    "evmag": "magnitude",
    "dis": "distance_km",
    "baz": "back_azimuth_deg",
    "Z_P_power_snr": "snr_z_db",
    "N_S_power_snr": "snr_n_db",
    "E_S_power_snr": "snr_e_db",
}
REQUIRED = ("part", "key", "p_pick", "s_pick")
CODES = ("net", "key")

# To local magnitude: (factor * m + offset) / divisor.
TO_LOCAL_MAGNITUDE = {"ml": (1.0, 0.0, 1.0), "ms": (1.0, 1.08, 1.13), "mb": (1.17, 0.67, 1.13)}


def read(
    path: str | Path,
    *,
    table: str | None = None,
    magnitude_type: str | None = None,
    name: str = "diting",
) -> Dataset:
    """Read one of the tables of DiTing.

    `path` is the directory, or one table in it. `table` names the table: "full", "light",
    "fewshot", or a file of that layout; it may be None where the directory has one alone.
    `magnitude_type` keeps the rows whose magnitude was given in that type only.

    Magnitudes are converted to local magnitude as in the PyTorch original, Ms by (m + 1.08) / 1.13
    and mb by (1.17 m + 0.67) / 1.13, then clipped to 0 to 8. Unlike there, blanks are removed from
    texts whatever the version of pandas, a blank magnitude is missing and not 0, and so is one of
    another type or of none; a blank first motion, or one other than U, C, D and R, is missing.
    `report` of the result counts these.

    Raises FileNotFoundError for a missing table or waveform file, ValueError for a missing column,
    an ambiguous directory, or waveforms that do not belong to the table.
    """
    counts: dict[str, int] = {}
    tables = _find_tables(Path(path), table, counts)
    parts = []
    for csv in tqdm(tables, desc="tables", unit="file", disable=None if len(tables) > 1 else True):
        parts.append(_read_csv(csv, counts))
    raw = pd.concat(parts, ignore_index=True)
    raw = _addresses(raw, counts)
    if raw.empty:
        raise ValueError(
            f"{tables[0]} has no row with a usable part and key; is the download complete?"
        )
    directory = tables[0].parent
    files = {part: f"DiTing330km_part_{part}.hdf5" for part in raw["part"].unique()}
    require_files(tables[0], list(files.values()))
    raw["file"] = raw.pop("part").map(files).astype("category")
    raw = name_traces(raw, counts)
    raw = keep_magnitude_type(raw, magnitude_type, tables[0], counts)
    probe(directory, raw, "earthquake")
    return Dataset(
        name=name,
        path=directory,
        table=_tidy(raw, counts),
        sampling_rate_hz=SAMPLING_RATE_HZ,
        inner_path="earthquake",
        report=Report({"rows": len(raw), **counts}),
    )


def _full_tables(path: Path) -> list[Path]:
    """The parts of the full table, by number."""
    found = [
        (re.fullmatch(r"DiTing330km_part_(\d+)\.csv", p.name), p)
        for p in path.glob("DiTing330km_part_*.csv")
    ]
    return [p for _, p in sorted((int(m.group(1)), p) for m, p in found if m)]


def _find_tables(path: Path, table: str | None, counts: dict[str, int]) -> list[Path]:
    """Tables to read, in order."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(
            f"{path} does not exist; give the DiTing directory or a table in it"
        )
    full = _full_tables(path)
    there = {key: path / file for key, file in VARIANTS.items() if (path / file).is_file()}
    found = [*(["full"] if full else []), *there]
    if table is None:
        if not found:
            raise FileNotFoundError(
                f"{path} has no DiTing330km_part_<i>.csv, {', '.join(VARIANTS.values())}; "
                "name the table with data.table"
            )
        if len(found) > 1:
            raise ValueError(
                f"{path} has several tables: {', '.join(found)}; choose one with data.table"
            )
        table = found[0]
    if table != "full":
        csv = path / VARIANTS.get(table, table)
        if not csv.is_file():
            listed = ", ".join(sorted(p.name for p in path.glob("*.csv"))) or "none"
            remedy = ""
            if csv.name == VARIANTS["light"] and full:
                remedy = (
                    f". `python -m seismollm_jax.data.diting light {path}` makes it out of the "
                    "full one"
                )
            raise FileNotFoundError(f"{csv} does not exist; tables there: {listed}{remedy}")
        return [csv]
    if not full:
        listed = ", ".join(found) or "none"
        raise FileNotFoundError(f"{path} has no DiTing330km_part_<i>.csv; tables there: {listed}")
    lacking = PARTS - len(full)
    if lacking > 0:
        counts[f"of {PARTS} tables DiTing330km_part_<i>.csv are not there"] = lacking
    return full


def _read_csv(csv: Path, counts: dict[str, int]) -> pd.DataFrame:
    """Wanted columns of one table under their new names; absent ones are left out."""
    header = read_header(csv)
    require_columns(csv, header, REQUIRED, "DiTing")
    texts = [column for column in TEXTS if column in header]
    numbers = [column for column in NUMBERS if column in header]
    lacking = [column for column in [*TEXTS, *NUMBERS] if column not in header]
    raw = read_columns(csv, texts, numbers, counts, codes=CODES, inner_blanks=True)
    if lacking:
        text = f"rows without the columns {', '.join(lacking)}"
        counts[text] = counts.get(text, 0) + len(raw)
    for column in texts:
        bare = {word: word.replace(" ", "") or None for word in raw[column].dropna().unique()}
        raw[column] = raw[column].map(bare)
    return raw.rename(columns=TEXTS | NUMBERS)


def _addresses(raw: pd.DataFrame, counts: dict[str, int]) -> pd.DataFrame:
    """Rows whose waveform can be addressed, with a number `part` and an `address`.

    A key such as 1.01, which lost its zeros on the way, stands for 000001.0100.
    """
    part = pd.to_numeric(raw["part"], errors="coerce")
    bad = part.isna() | (part % 1 != 0) | (part < 0)
    raw = left_out(raw.assign(part=part), bad, "rows without a usable part, left out", counts)
    words = raw["key"].str.extract(r"^(\d{1,6})\.(\d{1,4})$")
    bad = words[0].isna()
    raw = left_out(raw, bad, "rows without a usable key, left out", counts)
    words = words[~bad].reset_index(drop=True)
    raw["part"] = raw["part"].astype(np.int64)
    raw["address"] = words[0].str.zfill(6) + "." + words[1].str.pad(4, "right", "0")
    return raw.drop(columns="key")


def _tidy(raw: pd.DataFrame, counts: dict[str, int]) -> pd.DataFrame:
    """Turn the raw table into the columns of `Dataset.table`."""
    if "magnitude" in raw:
        kinds = raw.get("magnitude_type", pd.Series(None, raw.index, object))
        kinds = kinds.astype(object).str.lower()
        known = kinds.isin(list(TO_LOCAL_MAGNITUDE))
        there = raw["magnitude"].notna()
        for kind, (factor, offset, divisor) in TO_LOCAL_MAGNITUDE.items():
            rows = kinds == kind
            if kind != "ml":
                count(counts, f"evmag converted from {kind} to local magnitude", rows & there)
            raw.loc[rows, "magnitude"] = (factor * raw.loc[rows, "magnitude"] + offset) / divisor
        others = kinds[there & ~known].dropna().unique()
        text = "evmag of a type other than ml, ms, mb, taken as missing"
        if len(others):
            text += f" ({', '.join(sorted(others)[:8])})"
        blank(raw, "magnitude", ~known & kinds.notna(), text, counts)
        blank(raw, "magnitude", kinds.isna(), "evmag without a type, taken as missing", counts)
    raw["sampling_rate_hz"] = SAMPLING_RATE_HZ
    raw["component_order"] = COMPONENT_ORDER
    return settle(raw, {new: column for column, new in NUMBERS.items()}, counts)


def make_light(directory: str | Path) -> tuple[int, int]:
    """Write `DiTing330km_light.csv` out of the full table, as the original's authors made theirs.

    It holds the rows in which no column is empty, blanks removed and a lone `-` in the two columns
    of residuals counting as empty, with 0 < p_pick < s_pick < 9000 and a first motion other than n.
    Returns the number of rows of the full table and of the light one.

    Raises FileExistsError if the light table is there, FileNotFoundError if the full one is not,
    ValueError for a table that cannot be read, or if no row is left.
    """
    directory = Path(directory)
    target = directory / VARIANTS["light"]
    if target.exists():
        raise FileExistsError(f"{target} exists; move it away to have it made again")
    tables = _full_tables(directory)
    if not tables:
        raise FileNotFoundError(f"{directory} has no DiTing330km_part_<i>.csv")
    total, kept = 0, []
    for csv in tqdm(tables, desc="tables", unit="file", disable=None):
        rows, light = _light_part(csv)
        total += rows
        kept.append(light)
    light = pd.concat(kept, ignore_index=True)
    if light.empty:
        raise ValueError(f"no row of {directory} has a value in every column")
    with atomic_files.whole(target) as temporary:
        light.to_csv(temporary)
    return total, len(light)


def _light_part(csv: Path) -> tuple[int, pd.DataFrame]:
    """Number of rows of a part, and those for the light table."""
    columns = read_header(csv)[1:]  # the first is the row number
    needed = ("p_pick", "s_pick", "p_motion", "P_residual", "S_residual", *REQUIRED)
    absent = [column for column in dict.fromkeys(needed) if column not in columns]
    if absent:
        raise ValueError(f"{csv} lacks the column {', '.join(absent)}; it has {', '.join(columns)}")
    part = read_columns(csv, columns, [], {}, codes=columns)
    total = len(part)
    for column in columns:
        words = part[column].str.replace(" ", "")
        empty = [*(MISSING_CODE if column in CODES else MISSING)]
        if column in ("P_residual", "S_residual"):
            empty.append("-")
        part[column] = words.where(~words.isin(empty))
    part = part.dropna()
    p, s = (pd.to_numeric(part[column], errors="coerce") for column in ("p_pick", "s_pick"))
    keep = (p > 0) & (p < s) & (s < SAMPLES) & (part["p_motion"].str.lower() != "n")
    return total, part[keep]


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m seismollm_jax.data.diting", description="Tables of the DiTing dataset."
    )
    commands = parser.add_subparsers(required=True)
    light = commands.add_parser("light", help="make the light table out of the full one")
    light.add_argument("directory", metavar="DIR", help="folder with DiTing330km_part_<i>.csv")
    given = parser.parse_args(arguments)
    try:
        total, kept = make_light(given.directory)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{Path(given.directory) / VARIANTS['light']}: {kept} of {total} rows")
    return 0


if __name__ == "__main__":
    sys.exit(main())
