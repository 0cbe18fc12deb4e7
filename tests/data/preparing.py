"""Preparing the built-in dataset, and comparing what comes out: shared by several tests."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from seismollm_jax.data import prepare, stead
from seismollm_jax.data.records import Dataset
from seismollm_jax.data.sources import WaveformSource

SHARD = 10  # traces in a shard of the 64 of the built-in dataset: 7 shards


def run(dataset: Dataset, output: Path, **options: Any) -> prepare.Summary:
    return prepare.prepare(
        dataset, output, **{"source_format": "stead", "shard_traces": SHARD, **options}
    )


def everything(dataset: Dataset) -> WaveformSource:
    return WaveformSource(dataset, np.arange(len(dataset.table)))


def assert_same_records(first: Dataset, second: Dataset) -> None:
    one, other = everything(first), everything(second)
    assert len(one) == len(other) > 0
    for i in range(len(one)):
        expected, found = dataclasses.asdict(one[i]), dataclasses.asdict(other[i])
        np.testing.assert_array_equal(found.pop("waveform"), expected.pop("waveform"))
        np.testing.assert_equal(found, expected)


def break_traces(data_folder: Path, folder: Path, rows: list[int]) -> Dataset:
    """A copy of the built-in dataset without the waveforms of some rows."""
    shutil.copytree(data_folder, folder)
    dataset = stead.read(folder)
    with h5py.File(folder / "merge.hdf5", "a") as h5:
        for row in rows:
            del h5[f"data/{dataset.table['trace_name'].iloc[row]}"]
    return dataset


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
