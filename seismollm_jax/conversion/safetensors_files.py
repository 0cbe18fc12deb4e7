"""The safetensors format: a JSON header and the values, mapped into memory."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from safetensors.numpy import save_file

from seismollm_jax.conversion.torch_files import NOTES, Entry, FileError, damage, new_file

DIGEST = "tensors_sha256"  # among the notes
LONGEST_HEADER = 100_000_000  # bytes; the format's own limit
DTYPES = {
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    **{
        f"{kind[0].upper()}{bits}": f"{kind}{bits}"
        for kind in ("int", "uint")
        for bits in (8, 16, 32, 64)
    },
}


def recognised(head: bytes) -> bool:
    """Whether a file that begins like this is one."""
    length = int.from_bytes(head[:8], "little")
    return len(head) > 8 and head[8:9] == b"{" and 2 <= length <= LONGEST_HEADER


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name occurs twice in its header")
    return found


def read(path: Path) -> tuple[dict[str, Entry], str | None]:
    """Tensors by name in the header's order, and the notes.

    Raises:
        FileError: damaged, or a dtype that is not read.
    """
    with damage(path):
        with safetensors.safe_open(path, framework="numpy"):
            pass  # header, sizes, gaps, overlaps and the file's length
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length), object_pairs_hook=_unique)
        metadata = header.pop("__metadata__", None) or {}
        data = np.memmap(path, np.uint8, "r")
    if not header:
        raise FileError(f"{path} holds no tensor; expected a state dict, fetch it again")
    entries = {}
    for name, item in header.items():
        if item["dtype"] not in DTYPES:
            raise FileError(
                f"{path}: {name!r} has the type {item['dtype']}; expected real or whole numbers: "
                "convert it and save the file again"
            )
        begin, end = (8 + length + offset for offset in item["data_offsets"])
        entries[name] = _entry(data[begin:end], DTYPES[item["dtype"]], tuple(item["shape"]))
    return entries, metadata.get(NOTES)


def _entry(raw: np.ndarray, dtype: str, shape: tuple[int, ...]) -> Entry:
    def values() -> np.ndarray:
        if dtype != "bfloat16":
            return raw.view(np.ndarray).view(np.dtype(dtype).newbyteorder("<")).reshape(shape)
        bits = raw.view(np.ndarray).view("<u2").astype(np.uint32) << 16  # the upper half of float32
        array = bits.view(np.float32).reshape(shape)
        array.flags.writeable = False
        return array

    return Entry(shape, dtype, values)


def digest(entries: Mapping[str, Entry]) -> str:
    """SHA-256 over names, dtypes, shapes and values in the order of names, one at a time."""
    found = hashlib.sha256()
    for name in sorted(entries):
        entry = entries[name]
        found.update(json.dumps([name, entry.dtype, entry.shape]).encode())
        found.update(np.ascontiguousarray(entry.read()).reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def check(path: Path, entries: Mapping[str, Entry], notes: Mapping[str, Any]) -> None:
    """Compares the tensors with the digest among the notes; other projects' files have none.

    Args:
        path: for the message.
        entries: under the names that the file has.
        notes: as read.

    Raises:
        FileError: they are not the ones that were written.
    """
    if DIGEST in notes and digest(entries) != notes[DIGEST]:
        raise FileError(f"{path} is damaged (its tensors are not those written); fetch it again")


def write(path: Path, arrays: Mapping[str, np.ndarray], notes: Mapping[str, Any]) -> None:
    """Writes arrays and notes, a digest of the arrays among them.

    Raises:
        FileExistsError: `path` is there already.
        TypeError: an array of a type that is not read back.
        OSError: no room, or no permission.
    """
    with new_file(path) as part:
        # In one piece, which save_file takes for granted; a scalar stays one.
        whole = {
            name: np.asarray(array, array.dtype.newbyteorder("<"), order="C")
            for name, array in arrays.items()
        }
        for name, array in whole.items():
            if array.dtype.name == "bfloat16" or array.dtype.name not in DTYPES.values():
                raise TypeError(f"{path}: {name!r} has the type {array.dtype}: not written")
        entries = {
            name: Entry(array.shape, array.dtype.name, lambda array=array: array)  # type: ignore[misc]
            for name, array in whole.items()
        }
        text = json.dumps({**notes, DIGEST: digest(entries)})
        try:
            save_file(whole, part, metadata={"format": "pt", NOTES: text})
        except safetensors.SafetensorError as error:
            raise OSError(f"{path} could not be written ({error}); is there room?") from error
