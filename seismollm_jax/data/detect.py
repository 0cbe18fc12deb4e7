"""Opens a dataset without a configuration: its format is found by the names of its files."""

from __future__ import annotations

import ast
import itertools
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
        *parents, last = field.split(".")
        place = settings
        for parent in parents:
            place = place[parent] if isinstance(place.get(parent), dict) else {}
        if not equals or last not in place:
            raise ValueError(
                f"the option {option!r} is not NAME=VALUE with a name out of {_names(SETTINGS)}"
            )
        try:
            place[last] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            place[last] = text
    return name, catalogue.FORMATS[name](settings)


def _names(settings: dict[str, Any]) -> str:
    nested = {
        f"{name}.{field}"
        for name in settings
        if isinstance(settings[name], dict)
        for field in settings[name]
    }
    plain = {name for name in settings if not isinstance(settings[name], dict)}
    return ", ".join(sorted(plain | nested))


def detect_format(path: str | Path) -> str:
    """The name of a dataset's format, as in `data.format`.

    `path` is a folder, a table in one, the file of a mixture, an address in object storage
    (prepared datasets are read from there), or `seisbench:NAME`.

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
        return found[0] if found else "stead"  # a table of any other name is read as STEAD's
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
