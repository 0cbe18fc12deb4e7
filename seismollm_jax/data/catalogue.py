"""Opens a dataset by the name of its format and splits it for a task."""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from seismollm_jax.data import (
    diting,
    folder,
    mixture,
    prepared,
    remote,
    seisbench,
    split_files,
    splits,
    stead,
    synthetic,
)
from seismollm_jax.data.records import Dataset, Report, select
from seismollm_jax.data.seisbench_files import PREFIX


def _with(read: Callable[..., Dataset]) -> Callable[[Mapping[str, Any]], Dataset]:
    """Opens with a reader that takes a path, a table and a magnitude type."""
    return lambda settings: read(
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
                f"data.format is builtin, so data.path={settings['path']!r} is to be written, "
                f"but holds other data than this run asks for: {error}. Choose another data.path"
            ) from error
    return dataclasses.replace(_with(stead.read)(settings), name="builtin")


def _open_folder(settings: Mapping[str, Any]) -> Dataset:
    """Records around events, by default long enough to draw windows of `window` samples in."""
    own, window_s = settings["folder"], settings["window"] / settings["sampling_rate_hz"]
    with tqdm(desc="waveform files", unit="file", disable=None) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return folder.read(
            settings["path"],
            table=settings["table"] or None,
            before_s=window_s / 2 if own["before_s"] is None else own["before_s"],
            after_s=window_s if own["after_s"] is None else own["after_s"],
            instruments=own["instruments"],
            magnitude_type=settings["magnitude_type"] or None,
            progress=show,
        )


FORMATS: dict[str, Callable[[Mapping[str, Any]], Dataset]] = {
    "stead": _with(stead.read),
    "builtin": _open_builtin,
    "diting": _with(diting.read),
    "seisbench": _with(seisbench.read),
    "folder": _open_folder,
    "prepared": _with(prepared.read),
    mixture.FORMAT: lambda settings: mixture.read(settings, _open),
}


def open_dataset(settings: Mapping[str, Any]) -> Dataset:
    """Reads the table of the dataset that the `data` part of a configuration describes.

    Raises:
        ValueError: unknown format, no path, or rows without a usable sampling rate.
        FileNotFoundError: nothing there.
    """
    return at_rate(_open(settings), settings["sampling_rate_hz"])


def _open(settings: Mapping[str, Any]) -> Dataset:
    """The dataset, its records at its own sampling rate."""
    if settings["format"] not in FORMATS:
        raise ValueError(f"data.format={settings['format']!r} is not one of {', '.join(FORMATS)}")
    if not settings["path"]:
        raise ValueError(
            "data.path is empty: give the directory of the dataset, --config.data.path=DIR, or "
            "use the built-in one, --config=configs/TASK.py:builtin"
        )
    somewhere_else = (
        remote.is_remote(settings["path"])
        or settings["format"] == "builtin"
        or (settings["format"] == "seisbench" and settings["path"].startswith(PREFIX))
    )
    if not somewhere_else and not Path(settings["path"]).exists():
        raise FileNotFoundError(
            f"data.path={settings['path']!r} does not exist; give the directory that holds the "
            "dataset's tables and waveform files"
        )
    return FORMATS[settings["format"]](settings)


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
        split: as `rows`, with the rows that the task cannot use still in; what `hash` is of.
        file_hash: that of the file that decided, which may name traces that the dataset lacks;
            None if no file did.
        lacking: number of these traces.
    """

    rows: dict[str, np.ndarray]
    left_out: dict[str, int]
    hash: str
    split: dict[str, np.ndarray]
    file_hash: str | None = None
    lacking: int = 0

    def sizes(self) -> dict[str, int]:
        """Part name -> number of rows."""
        return {name: len(rows) for name, rows in self.rows.items()}

    def report(self) -> list[str]:
        """Lines about what is in no part."""
        lines = [f"left out: {count} with {reason}" for reason, count in self.left_out.items()]
        if self.lacking:
            lines.append(f"not in this dataset: {self.lacking} traces that the split file names")
        return lines


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
        FileNotFoundError: the split file is not there.
    """
    noise = dataset.table["category"].to_numpy() == "noise"
    wants_noise = uses_noise and settings["noise_rows"]
    usable, left_out = select(dataset.table, needs, noise_rows=wants_noise)
    reasons = ", ".join(f"{count} with {reason}" for reason, count in left_out.items())
    if noise[usable].all():
        raise ValueError(
            f"no row of {dataset.path} can be used: the task needs "
            f"{', '.join(needs).replace('|', ' or ')}; "
            f"left out: {reasons}. Add the missing columns (docs/data.md names those that are "
            "read), or use the built-in dataset, --config=configs/TASK.py:builtin"
        )
    rows = np.arange(len(noise)) if wants_noise else np.flatnonzero(~noise)
    parts, file_hash, lacking = split_groups(dataset, rows, settings["split"])
    placeless = np.setdiff1d(usable, np.concatenate(list(parts.values())), assume_unique=True)
    if len(placeless):
        source = "split file" if file_hash else "dataset's own split"
        left_out[f"no part in the {source}"] = len(placeless)
    kept = {name: rows[np.isin(rows, usable)] for name, rows in parts.items()}
    for name, rows in kept.items():
        if len(parts[name]) and not len(rows):
            raise ValueError(
                f"none of the {len(parts[name])} rows in the {name} part of {dataset.path} can be "
                f"used; left out: {reasons}. Change data.split.*, or use more data"
            )
    names = dataset.table["trace_name"].to_numpy()
    return Parts(kept, left_out, splits.split_hash(parts, names), parts, file_hash, lacking)


def all_usable(
    dataset: Dataset, settings: Mapping[str, Any], *, needs: Sequence[str], uses_noise: bool
) -> Parts:
    """One part, "all": every row that a task can use, in whatever part a split would put it."""
    usable, left_out = select(dataset.table, needs, uses_noise and settings["noise_rows"])
    parts = {"all": usable}
    names = dataset.table["trace_name"].to_numpy()
    return Parts(parts, left_out, splits.split_hash(parts, names), parts)


def split_groups(
    dataset: Dataset, rows: np.ndarray, how: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], str | None, int]:
    """Row numbers split as `data.split` says, members of a mixture in the ways of their own.

    The second result is the hash of the split file if one alone decided, the third how many
    traces such files name that the dataset lacks.

    Raises ValueError for a split that is impossible, FileNotFoundError for a split file that is
    not there.
    """
    parts: dict[str, list[np.ndarray]] = {name: [] for name in splits.PARTS}
    hashes, lacking = [], 0
    for group in mixture.groups(dataset, how):
        chosen = group.rows[np.isin(group.rows, rows)] - group.offset
        try:
            found, file_hash, missing = _split_rows(group.dataset, chosen, group.how)
        except ValueError as error:
            if group.dataset is dataset:
                raise
            raise ValueError(f"{group.dataset.path}: {error}") from error
        for name, part in found.items():
            parts[name].append(part + group.offset)
        hashes.append(file_hash)
        lacking += missing
    joined = {name: np.concatenate(found) for name, found in parts.items()}
    return joined, hashes[0] if len(hashes) == 1 else None, lacking


def _split_rows(
    dataset: Dataset, rows: np.ndarray, how: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], str | None, int]:
    """The split of some rows, and of a file its hash and the number of traces not found."""
    if how["by"] == "file":
        if not how["path"]:
            raise ValueError("data.split.by=file needs the file: --config.data.split.path=FILE")
        file = split_files.read(how["path"])
        parts, lacking = split_files.rows_of(file, dataset.table)
        parts = {name: found[np.isin(found, rows)] for name, found in parts.items()}
        if not any(map(len, parts.values())):
            raise ValueError(
                f"none of the traces that the split file {file.path} names is among the "
                f"{len(rows)} of {dataset.path} that this task may use; give the split file of "
                "this dataset"
            )
        return parts, file.hash, lacking
    if how["by"] == "column":
        parts = splits.by_column(rows, dataset.table)
        if not any(map(len, parts.values())):
            raise ValueError(
                f"{dataset.path} says of no trace whether it is for training, validation or test, "
                "so data.split.by=column is impossible; use data.split.by=event"
            )
        return parts, None, 0
    sizes = (how["train"], how["val"])
    parts = splits.split(rows, dataset.table, how["by"], sizes, how["seed"], how["shuffle"])
    return parts, None, 0


def fingerprint(dataset: Dataset, rows: np.ndarray | None = None) -> str:
    """Short hash of the trace names in order: tells whether two tables are the same catalogue.

    With `rows` it is that of these alone, in their order.
    """
    names = dataset.table["trace_name"]
    names = names if rows is None else names.iloc[rows]
    return hashlib.sha256("\n".join(names.astype(str)).encode()).hexdigest()[:16]


def labelled_records(dataset: Dataset, rows: np.ndarray, needs: Sequence[str]) -> dict[str, int]:
    """Number of earthquake rows with each label out of those of which a task needs only one."""
    table = dataset.table.iloc[rows]
    earthquakes = table[table["category"] != "noise"]
    names = [name for need in needs if "|" in need for name in need.split("|")]
    return {name: int(earthquakes[name].notna().sum()) for name in names}


def lacking_labels(labelled: Mapping[str, int]) -> list[str]:
    """What to say of labels that no record of a training had, although others could have had them.

    `labelled` is what `labelled_records` gives, as checkpoints keep it.
    """
    return [
        f"no training record had {name}: what this network says of it means nothing"
        for name, count in labelled.items()
        if not count
    ]
