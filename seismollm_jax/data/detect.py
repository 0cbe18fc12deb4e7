"""Opens a dataset without a configuration: its format is found by the names of its files."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seismollm_jax.data import catalogue, mixture, remote
from seismollm_jax.data.records import Dataset
from seismollm_jax.data.stream_files import file_format, walk
from seismollm_jax.data.stream_traces import SAC_HEADER

# Names of tables, by format.
TABLES = {
    "prepared": r"prepared\.json",
    "seisbench": r"metadata.*\.csv",
    "diting": r"DiTing330km_.*\.csv",
    "stead": r"merge\.csv|chunk\d+\.csv|eq\.csv|eq_MLmag\.csv",
}
RECORDINGS = (".mseed", ".miniseed", ".ms", ".msd", ".seed", ".sac")
# What readers take from the `data` part of a configuration, with the defaults it has there.
SETTINGS: dict[str, Any] = {
    "table": "",
    "magnitude_type": "",
    "window": 6000,
    "sampling_rate_hz": 100.0,
    "folder": {"before_s": None, "after_s": None, "instruments": ""},
}
OPTIONS: dict[str, Any] = {
    **{name: value for name, value in SETTINGS.items() if not isinstance(value, dict)},
    **{
        f"{name}.{field}": value
        for name, fields in SETTINGS.items()
        if isinstance(fields, dict)
        for field, value in fields.items()
    },
}
"""The same as options, by the name of the field."""
LOOKED_AT = 10_000  # files of a tree of recordings, until one is found


def open_found(
    path: str | Path, format_name: str = "", table: str = "", options: Sequence[str] = ()
) -> tuple[str, Dataset]:
    """The name of a dataset's format and the dataset, records at its own sampling rate.

    `format_name` is looked for if empty; `table` is as `data.table`; `options` are other fields of
    `data` that the reader of the format takes, such as "folder.before_s=60".

    Raises ValueError for a format or an option that does not exist, and what the reader raises.
    """
    name = format_name or detect_format(path)
    name = "stead" if name == "builtin" else name  # its layout; here nothing is written
    if name not in catalogue.FORMATS:
        raise ValueError(f"the format is {name!r}; choose from {', '.join(catalogue.FORMATS)}")
    settings = {**SETTINGS, "folder": dict(SETTINGS["folder"])}
    settings |= {"format": name, "path": str(path), "table": table}
    for option in options:
        field, equals, text = option.partition("=")
        if not equals or field not in OPTIONS:
            raise ValueError(
                f"the option {option!r} is not NAME=VALUE with a name out of "
                f"{', '.join(sorted(OPTIONS))}"
            )
        parent, _, last = field.rpartition(".")
        (settings[parent] if parent else settings)[last] = _value(option, text, OPTIONS[field])
    return name, catalogue.FORMATS[name](settings)


def _value(option: str, text: str, default: Any) -> str | int | float | None:
    """The value of an option, of the type of its default; None stands for a number to be given."""
    if isinstance(default, str):
        return text
    if default is None and text == "None":
        return None
    try:
        value = int(text) if isinstance(default, int) else float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        kind = "whole number" if isinstance(default, int) else "number"
        raise ValueError(f"the option {option!r} needs a {kind} above 0")
    return value


def detect_format(path: str | Path, of_other_tables: str = "stead") -> str:
    """The name of a dataset's format, as in `data.format`.

    `path` is a folder, a table in one, the file of a mixture, an address in object storage
    (prepared datasets are read from there), or `seisbench:NAME`. A table under a name of its
    own, which does not tell, is taken to be of the format `of_other_tables`.

    Raises FileNotFoundError if there is nothing, ValueError if the format cannot be told.
    """
    if str(path).startswith("seisbench:"):
        return "seisbench"
    if remote.is_remote(path):
        return "prepared"
    path = Path(path)
    if path.is_file() and path.suffix == ".toml":
        return mixture.FORMAT
    if path.is_file():
        found = _formats([path.name])
        if not found and re.search("pick", path.name, re.IGNORECASE):
            return "folder"
        return found[0] if found else of_other_tables
    if not path.is_dir():
        raise FileNotFoundError(f"{path} does not exist; give the folder of a dataset")
    found = _formats([file.name for file in path.iterdir()])
    if len(found) > 1:
        raise ValueError(f"{path} holds tables of {' and '.join(found)}; say which with --format")
    if found:
        return found[0]
    files = (path / name for name in itertools.islice(walk(path), LOOKED_AT))
    if any(file.suffix.lower() in RECORDINGS or _is_recording(file) for file in files):
        return "folder"
    raise ValueError(
        f"{path} has none of the files by which a dataset is known (prepared.json, metadata.csv, "
        "DiTing330km_*.csv, merge.csv, chunk<n>.csv, eq.csv, miniSEED or SAC files); give the "
        "dataset's folder, or its format with --format"
    )


def _is_recording(path: Path) -> bool:
    """Whether the content is that of a miniSEED or SAC file: archives name them in many ways."""
    try:
        with path.open("rb") as file:
            return bool(file_format(file.read(SAC_HEADER)))
    except (OSError, ValueError):  # which reading the dataset will tell about
        return False


def _formats(names: list[str]) -> list[str]:
    return [
        format_name
        for format_name, pattern in TABLES.items()
        if any(re.fullmatch(pattern, name) for name in names)
    ]
