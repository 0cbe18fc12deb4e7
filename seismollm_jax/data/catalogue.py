"""Opens a dataset by the name of its format and splits it for a task."""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seismollm_jax.data import splits, stead, synthetic
from seismollm_jax.data.records import Dataset, select


def _open_stead(settings: Mapping[str, Any]) -> Dataset:
    return stead.read(
        settings["path"],
        table=settings["table"] or None,
        magnitude_type=settings["magnitude_type"] or None,
    )


def _open_builtin(settings: Mapping[str, Any]) -> Dataset:
    """The built-in dataset at `path`, written first if it is not there."""
    wanted = settings["builtin"]
    synthetic.write(settings["path"], traces=wanted["traces"], seed=wanted["seed"])
    return dataclasses.replace(_open_stead(settings), name="builtin")


FORMATS: dict[str, Callable[[Mapping[str, Any]], Dataset]] = {
    "stead": _open_stead,
    "builtin": _open_builtin,
}


def open_dataset(settings: Mapping[str, Any]) -> Dataset:
    """Reads the table of the dataset that the `data` part of a configuration describes.

    Raises:
        ValueError: unknown format, no path, or a sampling rate other than the configured one.
        FileNotFoundError: nothing there.
    """
    if settings["format"] not in FORMATS:
        raise ValueError(f"data.format={settings['format']!r} is not one of {', '.join(FORMATS)}")
    if not settings["path"]:
        raise ValueError(
            "data.path is empty: give the directory of the dataset, --config.data.path=DIR, or "
            "use the built-in one, --config=configs/TASK.py:builtin"
        )
    if not Path(settings["path"]).exists() and settings["format"] != "builtin":
        raise FileNotFoundError(
            f"data.path={settings['path']!r} does not exist; give the directory that holds the "
            "dataset's tables and waveform files"
        )
    dataset = FORMATS[settings["format"]](settings)
    if dataset.sampling_rate_hz != settings["sampling_rate_hz"]:
        raise ValueError(
            f"{dataset.path} is sampled at {dataset.sampling_rate_hz:g} Hz, but "
            f"data.sampling_rate_hz is {settings['sampling_rate_hz']:g}; set it to the dataset's"
        )
    return dataset


@dataclasses.dataclass(frozen=True)
class Parts:
    """The rows of a dataset that a task uses, split.

    Attributes:
        rows: part name ("train", "val", "test") -> dataset row numbers.
        left_out: reason -> number of rows that no part has.
        hash: fingerprint of the split, the same wherever the dataset lies.
    """

    rows: dict[str, np.ndarray]
    left_out: dict[str, int]
    hash: str


def split_for(
    dataset: Dataset, settings: Mapping[str, Any], *, needs: Sequence[str], uses_noise: bool
) -> Parts:
    """Selects the rows a task can use and splits them as `data.split` says.

    Raises:
        ValueError: no row has the labels that the task needs, or the split is impossible.
    """
    rows, left_out = select(
        dataset.table, needs, noise_rows=uses_noise and settings["noise_rows"]
    )
    earthquakes = (dataset.table["category"].to_numpy()[rows] != "noise").sum()
    if not earthquakes:
        reasons = ", ".join(f"{count} with {reason}" for reason, count in left_out.items())
        raise ValueError(
            f"no row of {dataset.path} can be used: the task needs {', '.join(needs)}; "
            f"left out: {reasons}"
        )
    how = settings["split"]
    parts = splits.split(
        rows,
        dataset.table,
        by=how["by"],
        sizes=(how["train"], how["val"]),
        seed=how["seed"],
        shuffle=how["shuffle"],
    )
    names = dataset.table["trace_name"].to_numpy()
    return Parts(parts, left_out, splits.split_hash(parts, names))


def fingerprint(dataset: Dataset) -> str:
    """Short hash of the trace names in order: tells whether two tables are the same catalogue."""
    digest = hashlib.sha256("\n".join(dataset.table["trace_name"].astype(str)).encode())
    return digest.hexdigest()[:16]
