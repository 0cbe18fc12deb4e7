"""Opens a dataset by the name of its format and splits it for a task."""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from seismollm_jax.data import splits, stead, synthetic
from seismollm_jax.data.records import Dataset, Report, select


def _open_stead(settings: Mapping[str, Any]) -> Dataset:
    return stead.read(
        settings["path"],
        table=settings["table"] or None,
        magnitude_type=settings["magnitude_type"] or None,
    )


def _open_builtin(settings: Mapping[str, Any]) -> Dataset:
    """The built-in dataset at `path`, written first if it is not there."""
    wanted = settings["builtin"]
    with tqdm(total=wanted["traces"], desc="built-in dataset", unit="trace", disable=None) as bar:
        try:
            synthetic.write(
                settings["path"],
                traces=wanted["traces"],
                seed=wanted["seed"],
                progress=lambda done: bar.update(done - bar.n),
            )
        except FileExistsError as error:
            raise FileExistsError(
                f"{settings['path']} holds other data than this run asks for ({error}); remove "
                "that folder, or choose another data.path"
            ) from error
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
    return at_rate(dataset, settings["sampling_rate_hz"])


def at_rate(dataset: Dataset, sampling_rate_hz: float) -> Dataset:
    """The dataset with its records resampled to a rate where they have another, as its report says.

    Raises:
        ValueError: rows without a usable sampling rate.
    """
    rates = dataset.table["sampling_rate_hz"].to_numpy(np.float64)
    if not (rates > 0).all():
        row = int(np.argmin(rates > 0))
        raise ValueError(
            f"{dataset.path}: the trace {dataset.table['trace_name'].iloc[row]!r} (row {row}) has "
            f"the sampling rate {rates[row]}; correct it in the table, or remove the row"
        )
    counts = dict(dataset.report.counts)
    for rate, rows in zip(*np.unique(rates, return_counts=True), strict=True):
        if rate != sampling_rate_hz:
            counts[f"rows resampled from {rate:g} to {sampling_rate_hz:g} Hz"] = int(rows)
    return dataclasses.replace(
        dataset, sampling_rate_hz=float(sampling_rate_hz), report=Report(counts)
    )


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
    """Splits the catalogue as `data.split` says, then keeps the rows that a task can use.

    Splitting comes first, as in the PyTorch original, so that the labels a task needs have no
    influence on the side a row is on. Noise traces take part only where they are used; a split by
    row therefore differs between tasks with and without them, one by event or station does not.

    Raises:
        ValueError: no earthquake row has the labels that the task needs, a part loses all its rows,
            or the split is impossible.
    """
    noise = dataset.table["category"].to_numpy() == "noise"
    wants_noise = uses_noise and settings["noise_rows"]
    usable, left_out = select(dataset.table, needs, noise_rows=wants_noise)
    reasons = ", ".join(f"{count} with {reason}" for reason, count in left_out.items())
    if noise[usable].all():
        raise ValueError(
            f"no row of {dataset.path} can be used: the task needs {', '.join(needs)}; "
            f"left out: {reasons}. Add the missing columns (docs/data.md names those that are "
            "read), or use the built-in dataset, --config=configs/TASK.py:builtin"
        )
    how = settings["split"]
    parts = splits.split(
        np.arange(len(noise)) if wants_noise else np.flatnonzero(~noise),
        dataset.table,
        by=how["by"],
        sizes=(how["train"], how["val"]),
        seed=how["seed"],
        shuffle=how["shuffle"],
    )
    kept = {name: rows[np.isin(rows, usable)] for name, rows in parts.items()}
    for name, rows in kept.items():
        if len(parts[name]) and not len(rows):
            raise ValueError(
                f"none of the {len(parts[name])} rows in the {name} part of {dataset.path} can be "
                f"used; left out: {reasons}. Change data.split.*, or use more data"
            )
    names = dataset.table["trace_name"].to_numpy()
    return Parts(kept, left_out, splits.split_hash(kept, names))


def fingerprint(dataset: Dataset) -> str:
    """Short hash of the trace names in order: tells whether two tables are the same catalogue."""
    digest = hashlib.sha256("\n".join(dataset.table["trace_name"].astype(str)).encode())
    return digest.hexdigest()[:16]
