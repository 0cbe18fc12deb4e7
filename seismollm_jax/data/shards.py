"""The shards of a dataset in preparation, one at a time or side by side.

Each is written to a temporary name, read back, and renamed when it is whole.
"""

from __future__ import annotations

import dataclasses
import itertools
import multiprocessing
import os
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np

from seismollm_jax import atomic_files
from seismollm_jax.data import array_records, prepared
from seismollm_jax.data.packing import Accuracy, pack
from seismollm_jax.data.sources import BadTrace, WaveformSource


@dataclasses.dataclass(frozen=True)
class Shard:
    """One shard's work, for a process of its own.

    Attributes:
        path: of the shard.
        source: its traces, in order.
        resample: whether to store them at the rate of the source instead of their own.
        dtype: see `packing.pack`.
        compress: whether to.
        known: what an earlier run noted about it.
    """

    path: Path
    source: WaveformSource
    resample: bool
    dtype: str
    compress: bool
    known: dict[str, Any] | None


def shard_name(number: int, shards: int) -> str:
    """File name of a shard."""
    return f"shard-{number:05d}-of-{shards:05d}.array_record"


def write_shard(shard: Shard) -> dict[str, Any]:
    """Write one shard, unless it is there, whole, and lacks no trace; its entry in prepared.json.

    A trace that cannot be read is an empty record, so that the others keep their positions.
    """
    known = shard.known
    if known and not known["unreadable"] and not prepared.differs(str(shard.path), known):
        return {**known, "kept": True}
    accuracy, unreadable = Accuracy(), []

    def records() -> Iterator[bytes]:
        for position in range(len(shard.source)):
            name = shard.source.trace_name(position)
            try:
                waveform = _waveform(shard, position)
            except BadTrace as error:
                unreadable.append([position, name, str(error)])
                yield b""
                continue
            packed = pack(waveform, shard.dtype)
            accuracy.measure(waveform, packed, name)
            yield packed

    with atomic_files.whole(shard.path) as part:
        array_records.write(part, records(), compress=shard.compress)
    return {
        **prepared.entry(shard.path),
        "rows": len(shard.source),
        "unreadable": unreadable,
        "accuracy": accuracy.as_dict(),
        "kept": False,
    }


def _waveform(shard: Shard, position: int) -> np.ndarray:
    """One waveform to be stored, float32 (samples, 3). Raises BadTrace."""
    if not shard.resample:
        return shard.source.waveform(position)
    waveform = shard.source[position].waveform
    if len(waveform) < 2 or not np.isfinite(waveform).all():
        name = shard.source.trace_name(position)
        raise BadTrace(shard.path.name, name, "has no usable samples after resampling")
    return waveform


def in_processes(tasks: Iterator[Shard], workers: int) -> Generator[dict[str, Any], None, None]:
    """Results as they come. Fresh processes, since HDF5 and ArrayRecord must not be forked."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent)
    try:
        running = {pool.submit(write_shard, task) for task in itertools.islice(tasks, 2 * workers)}
        while running:
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                running |= {pool.submit(write_shard, task) for task in itertools.islice(tasks, 1)}
                yield future.result()
    except BrokenProcessPool as error:
        raise RuntimeError(
            "a worker process ended at once, perhaps for want of memory; run the same command "
            "again, which goes on from here, with fewer --workers"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """Ends this process as soon as the one that started it is gone, however it went."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
