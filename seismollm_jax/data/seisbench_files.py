"""Files of a dataset in SeisBench's format: which there are, their headers, and writing them.

A dataset is a folder with `metadata.csv` and `waveforms.hdf5`, or with several such pairs
`metadata<chunk>.csv` and `waveforms<chunk>.hdf5` that a text file `chunks` lists. Waveforms are
HDF5 datasets below the group `data`, one for each trace or, as buckets, for many; the group
`data_format` holds what they have in common.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from seismollm_jax.data.catalogue_tables import listing

PREFIX = "seisbench:"  # of data.path: a dataset that the seisbench package downloads


def find_chunks(path: Path, wanted: str | None, counts: dict[str, int]) -> list[str]:
    """Chunks of a dataset, "" for one that has none, in the order of their names.

    `wanted` names some, separated by commas, as chunks or as tables. Tables and waveform files
    without their counterpart are counted.

    Raises FileNotFoundError if there is no dataset, or not the wanted chunk.
    """
    if not path.is_dir():
        raise FileNotFoundError(f"{path} does not exist; give the folder with metadata.csv")
    tables, waveforms = (
        {m.group(1) for p in path.iterdir() if (m := re.fullmatch(pattern, p.name))}
        for pattern in (r"metadata(.*)\.csv", r"waveforms(.*)\.hdf5")
    )
    listed = path / "chunks"
    lines = listed.read_text().splitlines() if listed.is_file() else []
    chunks = {line.strip() for line in lines if line.strip()}
    if not chunks:
        chunks = {""} if "" in tables & waveforms else tables & waveforms
    if wanted is not None:
        words = [re.sub(r"^metadata(.*)\.csv$", r"\1", w.strip()) for w in wanted.split(",")]
        unknown = [word for word in words if word not in tables]
        if unknown:
            raise FileNotFoundError(
                f"{path} has no metadata{unknown[0]}.csv; its chunks are: "
                f"{listing(sorted(tables))}. Correct data.table"
            )
        chunks = set(words)
    else:
        odd = (tables | waveforms) - chunks
        if chunks and odd:
            text = (
                f"chunks not in use, half of them is missing or not listed ({listing(sorted(odd))})"
            )
            counts[text] = len(odd)
    if not chunks:
        raise FileNotFoundError(
            f"{path} has no metadata.csv with a waveforms.hdf5 beside it, nor chunks of such; "
            f"tables there: {listing(sorted(f'metadata{c}.csv' for c in tables)) or 'none'}"
        )
    for chunk in sorted(chunks):
        for file in (f"metadata{chunk}.csv", f"waveforms{chunk}.hdf5"):
            if not (path / file).is_file():
                raise FileNotFoundError(
                    f"{path / file} does not exist, although the dataset has the chunk {chunk!r}; "
                    "complete the download, or name the chunks that are there with data.table"
                )
    return sorted(chunks)


def read_format(waveforms: Path) -> dict[str, Any]:
    """What a waveform file says of all its traces: texts, numbers. Empty if it says nothing.

    Raises ValueError if the file cannot be opened.
    """
    try:
        with h5py.File(waveforms, "r", locking="best-effort") as h5:
            group = h5.get("data_format")
            if not isinstance(group, h5py.Group):
                return {}
            found = {key: value[()] for key, value in group.items() if hasattr(value, "shape")}
    except OSError as error:
        raise ValueError(
            f"{waveforms} cannot be opened as HDF5 ({error}); is the download complete?"
        ) from error
    return {key: _plain(value) for key, value in found.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):  # an order as a list of letters
        parts = [_plain(part) for part in value.ravel().tolist()]
        return "".join(map(str, parts)) if all(isinstance(p, str) for p in parts) else parts
    return value.decode() if isinstance(value, bytes) else value


def from_seisbench(name: str, chunks: str | None = None) -> Path:
    """Folder of a dataset such as "ETHZ", which the seisbench package downloads if need be.

    `chunks` names some of its chunks, separated by commas.

    Raises ImportError if the package is not installed, ValueError if it has no such dataset.
    """
    try:
        import seisbench.data
    except ImportError as error:
        raise ImportError(
            f"{PREFIX}{name} is downloaded by the seisbench package, which cannot be imported "
            f"({error}); pip install 'seismollm_jax[seisbench]', or give the folder of the dataset"
        ) from error
    known = {
        key: value
        for key, value in vars(seisbench.data).items()
        if isinstance(value, type)
        and issubclass(value, seisbench.data.WaveformDataset)
        and value.__module__ != "seisbench.data.base"
    }
    same = [key for key in known if key.lower() == name.lower()]
    if not same:
        raise ValueError(f"seisbench has no dataset {name!r}; it has {', '.join(sorted(known))}")
    options = {} if chunks is None else {"chunks": [c.strip() for c in chunks.split(",")]}
    return Path(known[same[0]](**options).path)


def write(
    path: str | Path,
    waveforms: Sequence[np.ndarray],
    metadata: pd.DataFrame,
    *,
    data_format: Mapping[str, Any],
    chunk: str = "",
    bucket_traces: int = 0,
) -> None:
    """Write a dataset, or one chunk of it, in SeisBench's format.

    `waveforms` are (components, samples), one for each row of `metadata`, whose `trace_name` is
    made if it is not there. `data_format` holds for instance `component_order` and `sampling_rate`.
    With `bucket_traces` so many traces in a row share an HDF5 dataset, which reads faster where
    they are alike in length; names then point into it.

    Raises ValueError if numbers of rows differ, a name occurs twice, has a `$`, or is given
    together with buckets; FileExistsError rather than overwriting.
    """
    path = Path(path)
    table, file = path / f"metadata{chunk}.csv", path / f"waveforms{chunk}.hdf5"
    if len(waveforms) != len(metadata):
        raise ValueError(f"{len(waveforms)} waveforms and {len(metadata)} rows of metadata")
    if bucket_traces and "trace_name" in metadata:
        raise ValueError("the names of traces in buckets are made; rename trace_name")
    names = [str(name) for name in metadata.get("trace_name", range(len(metadata)))]
    if len(set(names)) < len(names) or any("$" in name for name in names):
        raise ValueError("trace_name must be unique and without $")
    if table.exists() or file.exists():
        raise FileExistsError(f"{table} or {file.name} exists")
    path.mkdir(parents=True, exist_ok=True)
    with h5py.File(file, "w") as h5:
        for key, value in {"dimension_order": "CW", **data_format}.items():
            h5[f"data_format/{key}"] = value
        if not bucket_traces:
            for name, waveform in zip(names, waveforms, strict=True):
                h5[f"data/{name}"] = waveform
        for first in range(0, len(names) if bucket_traces else 0, bucket_traces or 1):
            part = waveforms[first : first + bucket_traces]
            components, samples = np.max([waveform.shape for waveform in part], axis=0)
            bucket = np.zeros((len(part), components, samples), np.result_type(*part))
            for i, waveform in enumerate(part):
                bucket[i, : waveform.shape[0], : waveform.shape[1]] = waveform
                names[first + i] = f"bucket{first}${i},:{waveform.shape[0]},:{waveform.shape[1]}"
            h5[f"data/bucket{first}"] = bucket
    metadata.assign(trace_name=names).to_csv(table, index=False)
