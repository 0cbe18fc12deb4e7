"""Prepared datasets: shards in ArrayRecord files, an index, and checksums, local or remote.

    prepared.json       what it is, and size and SHA-256 of every other file
    index.npz           the catalogue's table; `address` is the position of a trace in its shard
    unreadable.csv      traces that could not be read, with the reason
    shard-00000-of-00128.array_record ...

Row order and trace names are those of the dataset it was made of, unreadable traces included, so
that splits and checkpoints of one fit the other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from seismollm_jax import atomic_files
from seismollm_jax.data import array_records, remote
from seismollm_jax.data.packing import unpack
from seismollm_jax.data.records import Dataset, Report
from seismollm_jax.data.table_files import read_table
from seismollm_jax.data.tidy import left_out

DESCRIPTION, INDEX, UNREADABLE = "prepared.json", "index.npz", "unreadable.csv"
KIND = "seismollm_jax prepared dataset"
VERSION = 1
STORAGE = "arrayrecord"


class ArrayRecordFile:
    """A shard; an address is the position of a trace in it.

    `origin` is the remote folder that the shard is fetched from if it is not at `path` yet, or
    empty. The library checks a hash of every record that it reads.
    """

    def __init__(self, path: Path, origin: str = ""):
        if origin and not path.exists():
            shards = describe(path.parent)["shards"]
            checksums = {shard["file"]: shard["sha256"] for shard in shards}
            remote.fetch(remote.join(origin, path.name), path, checksums[path.name])
        self._reader = array_records.open_file(path)

    def read(self, address: str) -> np.ndarray:
        """See `storage.Storage`; float32 of shape (3, samples)."""
        position, records = int(address), self._reader.num_records()
        if position >= records:
            raise ValueError(
                f"is record {position} of a file with {records}, which is damaged; "
                "python -m seismollm_jax.data verify finds all that are"
            )
        data = self._reader.read([position])[0]
        if not data:
            raise ValueError(f"could not be read when the dataset was prepared, see {UNREADABLE}")
        return unpack(data)

    def close(self) -> None:
        """See `storage.Storage`."""
        self._reader.close()


def describe(path: str | Path) -> dict[str, Any]:
    """The contents of the prepared.json of a local or remote folder.

    Raises FileNotFoundError; ValueError if it is not one, or one of a later version.
    """
    name = remote.join(path, DESCRIPTION)
    with remote.open_binary(name) as file:
        text = file.read()
    return _checked(name, text)  # behind the `with`: what is wrong in it is no trouble of the store


def _checked(name: str, text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
        kind, version = found["kind"], found["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{name} does not describe a prepared dataset ({error!r})") from error
    if kind != KIND or version != VERSION:
        raise ValueError(
            f"{name} describes a {kind}, version {version}; this release reads version {VERSION}. "
            "Prepare the dataset anew, or update seismollm_jax"
        )
    return found


def read(
    path: str | Path, *, table: str | None = None, magnitude_type: str | None = None
) -> Dataset:
    """Open a prepared dataset.

    `path` is a folder, or the address of one in object storage: then the index is fetched to the
    cache (see `remote.cache_folder`) now, and each shard when a trace of it is first wanted.
    `table`, if given, must be the table that was chosen when the dataset was prepared, if one was.
    `magnitude_type` keeps the rows of that type only, as for STEAD.

    Raises FileNotFoundError; ValueError for files that do not belong together, another table, or a
    magnitude type that does not occur; OSError or ImportError if a remote folder cannot be read.
    """
    name = remote.join(path, DESCRIPTION)
    with remote.open_binary(name) as file:
        text = file.read()
    found = _checked(name, text)
    prepared_from = found["source"]["table"]
    if table and prepared_from and table != prepared_from:
        raise ValueError(
            f"{path} was prepared from the table {prepared_from!r}, not data.table={table!r}"
        )
    folder, origin = Path(path), ""
    if remote.is_remote(path):
        origin = str(path)
        # A folder that is written anew at the same address gets another place in the cache.
        folder = remote.cache_folder() / hashlib.sha256(origin.encode() + text).hexdigest()[:16]
        remote.fetch(remote.join(path, INDEX), folder / INDEX, found["index"]["sha256"])
        atomic_files.write(folder / DESCRIPTION, text)
    rows = read_table(folder / INDEX)
    if len(rows) != found["rows"]:
        raise ValueError(
            f"{folder / INDEX} has {len(rows)} rows and {DESCRIPTION} says {found['rows']}; "
            "copy the dataset again"
        )
    lost = [s["file"] for s in found["shards"] if not (folder / s["file"]).is_file()]
    if lost and not origin:
        raise FileNotFoundError(
            f"{folder / lost[0]} does not exist ({len(lost)} of {len(found['shards'])} shards "
            "missing); copy the dataset again, or prepare it again into the same folder, which "
            "writes what is missing"
        )
    counts = dict(found["report"])
    if magnitude_type is not None:
        kinds = rows["magnitude_type"].astype(object)
        if not (kinds == magnitude_type.lower()).any():
            known = ", ".join(f"{kind} ({n})" for kind, n in kinds.value_counts().items())
            raise ValueError(
                f"no row of {path} has magnitude type {magnitude_type!r}; it has: {known or 'none'}"
            )
        reason = f"rows of another magnitude type than {magnitude_type}, left out"
        rows = left_out(rows, (kinds != magnitude_type.lower()).to_numpy(), reason, counts)
        counts["rows"] = len(rows)
    return Dataset(
        name=found["name"],
        path=folder,
        table=rows,
        sampling_rate_hz=found["sampling_rate_hz"],
        storage=STORAGE,
        inner_path=origin,
        dimension_order="CW",
        report=Report(counts),
    )


def verify(path: str | Path, progress: Callable[[int], object] = lambda n: None) -> list[str]:
    """Compare every file of a local or remote prepared dataset with its checksum.

    `progress` is told the size in bytes of each file done. Returns what is wrong, a line for each
    file; nothing if all is well. Raises what `describe` does.
    """
    found = describe(path)
    problems = []
    for file in [found["index"], *found["shards"]]:
        problem = differs(remote.join(path, file["file"]), file)
        if problem:
            problems.append(problem)
        progress(file["bytes"])
    return problems


def differs(path: str, file: dict[str, Any]) -> str:
    """How a file differs from its entry in prepared.json; empty if it does not."""
    try:
        size = remote.size(path)
        if size != file["bytes"]:
            return f"{path} has {size} bytes instead of {file['bytes']}"
        if remote.sha256(path) != file["sha256"]:
            return f"{path} has another checksum than when it was written"
    except FileNotFoundError:
        return f"{path} does not exist"
    return ""


def entry(path: Path) -> dict[str, Any]:
    """The entry of a file in prepared.json."""
    return {
        "file": path.name,
        "bytes": path.stat().st_size,
        "sha256": remote.sha256(path),
    }
