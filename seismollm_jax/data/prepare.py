"""Turns any dataset into a prepared one: see `prepared` for what that is.

What each shard holds is noted in the folder `progress` as soon as it is whole, so a run that was
killed goes on where it was.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import hashlib
import io
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from seismollm_jax import atomic_files
from seismollm_jax.data import catalogue, prepared, remote
from seismollm_jax.data.packing import DTYPES, Accuracy
from seismollm_jax.data.records import COMPONENTS, Dataset
from seismollm_jax.data.shards import Shard, in_processes, shard_name, write_shard
from seismollm_jax.data.sources import WaveformSource
from seismollm_jax.data.table_files import write_table

SHARDS = 128  # many for a cluster to read side by side, few enough to keep all of them open
FEWEST = 256  # traces in a shard
PROGRESS, PLAN = "progress", "plan.json"


@dataclasses.dataclass(frozen=True)
class Summary:
    """What `prepare` did.

    Attributes:
        traces: rows of the dataset.
        unreadable: those whose waveform could not be read, and is not there.
        kept: shards that an earlier run had written and that were found whole.
        shards: all of them.
        bytes: of all files.
        source_bytes: of the waveform files that were read; 0 if they cannot be told, or hold
            continuous records.
        written: traces written by this run.
        seconds: that it took.
        accuracy: of the waveforms.
    """

    traces: int
    unreadable: int
    kept: int
    shards: int
    bytes: int
    source_bytes: int
    written: int
    seconds: float
    accuracy: Accuracy


def prepare(
    dataset: Dataset,
    output: str | Path,
    *,
    source_format: str,
    table: str = "",
    dtype: str = "float32",
    sampling_rate_hz: float | None = None,
    compress: bool = False,
    shard_traces: int | None = None,
    workers: int = 1,
    max_bad: float = 0.05,
    progress: Callable[[int], object] = lambda traces: None,
) -> Summary:
    """Write a dataset into the folder `output`, or go on with what an earlier run began there.

    Args:
        dataset: what to write.
        output: a local folder that is empty, not there yet, or of the same call before.
        source_format: name of its format, which is noted.
        table: the table of it that was asked for, which is noted.
        dtype: of the samples, "float32", "int16" or "float16", see `packing.pack`.
        sampling_rate_hz: resample to this rate; None keeps every trace as sampled.
        compress: whether to compress; smaller, and slower to read.
        shard_traces: traces in a file; None makes about 128 files.
        workers: processes that read and write; 1 does it in this process.
        max_bad: share of traces that may be unreadable.
        progress: told the number of traces after each shard.

    Raises:
        ValueError: an argument that is out of range, another dataset in `output`, or too many
            unreadable traces.
        FileExistsError: `output` holds other files.
        OSError: a file cannot be written; RuntimeError: a process was killed.
    """
    from filelock import FileLock, Timeout

    begun = time.perf_counter()
    if remote.is_remote(output):
        raise ValueError(
            f"--output {output} is not a local folder; prepare into one and copy it there, "
            "such as with `gcloud storage cp -r FOLDER gs://BUCKET/FOLDER`"
        )
    _check_arguments(dtype, sampling_rate_hz, shard_traces, max_bad)
    rows = len(dataset.table)
    if not rows:
        raise ValueError(f"{dataset.path} has no rows")
    target = catalogue.at_rate(dataset, sampling_rate_hz or dataset.sampling_rate_hz)
    if sampling_rate_hz is None:  # nothing is resampled now, whatever a training will do
        target = dataset
    shard_traces = shard_traces or max(FEWEST, -(-rows // SHARDS))
    plan = {
        "version": prepared.VERSION,
        "waveforms": _waveforms_hash(dataset),
        "dtype": dtype,
        "sampling_rate_hz": sampling_rate_hz,
        "compress": compress,
        "shard_traces": shard_traces,
    }
    folder = Path(output)
    known = _claim(folder, plan)
    try:
        with FileLock(folder / PROGRESS / "lock", timeout=0):
            for stale in folder.glob(".*.partial"):
                stale.unlink()
            tasks = _shards(target, folder, plan, known)
            workers = min(workers, -(-rows // shard_traces))
            found = _run(tasks, rows, workers, max_bad, progress, folder)
            _finish(target, folder, plan, found, source_format, table)
    except Timeout as error:
        raise ValueError(f"another process is preparing {folder}; wait for it to end") from error
    for file in (folder / PROGRESS).iterdir():
        file.unlink()
    (folder / PROGRESS).rmdir()
    accuracy = Accuracy()
    for shard in found:
        accuracy.add(Accuracy(**shard["accuracy"]))
    return Summary(
        traces=rows,
        unreadable=sum(len(shard["unreadable"]) for shard in found),
        kept=sum(shard["kept"] for shard in found),
        shards=len(found),
        bytes=sum(file.stat().st_size for file in folder.iterdir()),
        source_bytes=_source_bytes(dataset),
        written=sum(shard["rows"] for shard in found if not shard["kept"]),
        seconds=time.perf_counter() - begun,
        accuracy=accuracy,
    )


def _check_arguments(
    dtype: str, sampling_rate_hz: float | None, shard_traces: int | None, max_bad: float
) -> None:
    if dtype not in DTYPES:
        raise ValueError(f"dtype is {dtype!r}; choose from {', '.join(DTYPES)}")
    if sampling_rate_hz is not None and not 0 < sampling_rate_hz < float("inf"):
        raise ValueError(f"the sampling rate is {sampling_rate_hz} Hz; it must be positive")
    if shard_traces is not None and shard_traces < 1:
        raise ValueError(f"a shard of {shard_traces} traces is impossible; give at least 1")
    if not 0 <= max_bad <= 1:
        raise ValueError(f"max_bad is {max_bad}; it is a share, 0 to 1")


def _waveforms_hash(dataset: Dataset) -> str:
    """Fingerprint of all in a table that decides what is in the shards, its labels left out."""
    columns = ["trace_name", "file", "component_order", "sampling_rate_hz"]
    columns += ["address"] if "address" in dataset.table else []
    stores = [member.dataset for member in dataset.members] or [dataset]
    how = [(store.storage, store.inner_path, store.dimension_order) for store in stores]
    digest = hashlib.sha256(repr((columns, how)).encode())
    # Text, not codes: they depend on the order of the categories.
    values = pd.util.hash_pandas_object(dataset.table[columns], index=False)
    digest.update(values.to_numpy().tobytes())
    return digest.hexdigest()[:16]


def _claim(folder: Path, plan: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Make the folder ours; what is known of shards there, by their file names."""
    notes = folder / PROGRESS
    known: dict[str, dict[str, Any]] = {}
    if (folder / prepared.DESCRIPTION).exists():
        found = prepared.describe(folder)
        earlier = found["plan"]
        known = {shard["file"]: shard for shard in found["shards"]}
    elif (notes / PLAN).exists():
        earlier = json.loads((notes / PLAN).read_text())
    elif folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} holds other files; give an empty folder")
    else:
        earlier = plan
    if earlier != plan:
        changed = [name for name in plan if earlier.get(name) != plan[name]]
        raise ValueError(
            f"{folder} holds a dataset that was prepared with other {', '.join(changed)}; "
            "give another --output, or remove that folder"
        )
    notes.mkdir(parents=True, exist_ok=True)
    atomic_files.write(notes / PLAN, json.dumps(plan).encode())
    for note in notes.glob("shard-*.json"):
        shard = json.loads(note.read_text())
        known[shard["file"]] = shard
    return known


def _shards(
    dataset: Dataset, folder: Path, plan: dict[str, Any], known: dict[str, dict[str, Any]]
) -> Iterator[Shard]:
    """The work, made piece by piece: the sources of all of them are large."""
    rows, size = len(dataset.table), plan["shard_traces"]
    columns = dataset.table.select_dtypes("category").columns
    for first in range(0, rows, size):
        piece = dataset.table.iloc[first : first + size].copy()
        for column in columns:  # else each has the names of all files
            piece[column] = piece[column].cat.remove_unused_categories()
        source = WaveformSource(
            dataclasses.replace(dataset, table=piece), np.arange(len(piece)), max_open_files=64
        )
        path = folder / shard_name(first // size, -(-rows // size))
        yield Shard(
            path=path,
            source=source,
            resample=plan["sampling_rate_hz"] is not None,
            dtype=plan["dtype"],
            compress=plan["compress"],
            known=known.get(path.name),
        )


def _run(
    tasks: Iterator[Shard],
    rows: int,
    workers: int,
    max_bad: float,
    progress: Callable[[int], object],
    folder: Path,
) -> list[dict[str, Any]]:
    """Writes all shards; their entries in order."""
    found: dict[str, dict[str, Any]] = {}
    bad = done = 0
    one_by_one = (write_shard(task) for task in tasks)
    with contextlib.closing(in_processes(tasks, workers) if workers > 1 else one_by_one) as results:
        for shard in results:
            found[shard["file"]] = shard
            note = {name: value for name, value in shard.items() if name != "kept"}
            path = folder / PROGRESS / f"{Path(shard['file']).stem}.json"
            atomic_files.write(path, json.dumps(note).encode())
            done += shard["rows"]
            bad += len(shard["unreadable"])
            progress(shard["rows"])
            if bad > max_bad * rows:
                reasons = "; ".join(
                    reason for shard in found.values() for _, _, reason in shard["unreadable"][:3]
                )
                raise ValueError(
                    f"{bad} of the {done} traces read so far cannot be used, which is more than "
                    f"{max_bad:g} of all {rows}: {reasons[:1000]}. Correct the files and run this "
                    "again, which goes on from here, or allow more with --max-bad"
                )
    return [found[name] for name in sorted(found)]


def _finish(
    dataset: Dataset,
    folder: Path,
    plan: dict[str, Any],
    found: list[dict[str, Any]],
    source_format: str,
    table: str,
) -> None:
    """Write everything but the shards, prepared.json last."""
    rows = dataset.table.copy()
    numbers = np.arange(len(rows))
    size = plan["shard_traces"]
    files = pd.Index([shard["file"] for shard in found])
    rows["file"] = pd.Categorical.from_codes(numbers // size, files)
    rows["address"] = (numbers % size).astype(str)
    rows["component_order"] = pd.Categorical.from_codes(
        np.zeros(len(rows), np.int8), pd.Index([COMPONENTS])
    )
    counts = dict(dataset.report.counts)
    if plan["sampling_rate_hz"] is not None:
        factor = dataset.sampling_rate_hz / rows["sampling_rate_hz"].to_numpy(np.float64)
        for column in ("p_sample", "s_sample"):
            rows[column] = np.trunc(rows[column].to_numpy(np.float64) * factor).astype(np.float32)
        rows["sampling_rate_hz"] = float(dataset.sampling_rate_hz)
    lost = [
        (size * number + position, name, reason)
        for number, shard in enumerate(found)
        for position, name, reason in shard["unreadable"]
    ]
    if lost:
        counts["traces that could not be read when the dataset was prepared"] = len(lost)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([("row", "trace_name", "reason"), *lost])
    atomic_files.write(folder / prepared.UNREADABLE, text.getvalue().encode())
    write_table(folder / prepared.INDEX, rows)
    shards = [{n: v for n, v in shard.items() if n != "kept"} for shard in found]
    description = {
        "kind": prepared.KIND,
        "version": prepared.VERSION,
        "name": dataset.name,
        "source": {"format": source_format, "table": table},
        "fingerprint": catalogue.fingerprint(dataset),
        "rows": len(rows),
        "sampling_rate_hz": dataset.sampling_rate_hz,
        "component_order": COMPONENTS,
        "dtype": plan["dtype"],
        "report": counts,
        "plan": plan,
        "index": prepared.entry(folder / prepared.INDEX),
        "shards": shards,
    }
    atomic_files.write(folder / prepared.DESCRIPTION, json.dumps(description, indent=1).encode())


def _source_bytes(dataset: Dataset) -> int:
    if dataset.storage == "streams":  # its file is an index, and records are long beside windows
        return 0
    try:
        files = dataset.table["file"].cat.remove_unused_categories().cat.categories
        return sum(os.path.getsize(Path(dataset.path) / str(file)) for file in files)
    except OSError:
        return 0
