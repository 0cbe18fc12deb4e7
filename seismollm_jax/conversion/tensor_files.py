"""Files of named tensors, whatever their format: opened by content, read one tensor at a time."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seismollm_jax.conversion import safetensors_files, torch_files
from seismollm_jax.conversion.torch_files import Entry, FileError

__all__ = ["Entry", "FileError", "TensorFile", "check", "open_file", "sha256"]

WRAPPERS = ("module.", "_orig_mod.")  # of distributed and of compiled modules


@dataclass(frozen=True)
class TensorFile:
    """A file that has been opened but not read.

    Attributes:
        path: where it is.
        format: "pth" or "safetensors".
        tensors: by name without the wrappers' prefixes, in the file's order.
        prefix: what was taken off; where names differ in it, all of them with commas between.
        training: a training file's content besides tensors and notes, None for a bare state dict.
        notes: what this project adds to files it writes, empty in others.
    """

    path: Path
    format: str
    tensors: dict[str, Entry]
    prefix: str
    training: dict[str, Any] | None
    notes: dict[str, Any]


def _unwrapped(name: str) -> str:
    while name.startswith(WRAPPERS):
        for wrapper in WRAPPERS:
            name = name.removeprefix(wrapper)
    return name


def _notes(path: Path, text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        notes = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileError(
            f"{path}: its notes are damaged ({error}); convert or fetch it again"
        ) from error
    if not isinstance(notes, dict):
        raise FileError(f"{path}: its notes are no table; convert or fetch it again")
    return notes


def open_file(path: Path) -> TensorFile:
    """Opens a PyTorch or safetensors file, told apart by content; reads no values.

    Raises:
        FileError: not there, neither of them, damaged, or holding something else.
        ImportError: a PyTorch file without torch, or with one that does not read safely.
    """
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise FileError(f"{path} cannot be read ({error.strerror}); check the path") from error
    training = None
    if torch_files.recognised(head):
        kind = "pth"
        entries, training, text = torch_files.read(path, also=("bool",))  # masks, not used
    elif safetensors_files.recognised(head):
        kind = "safetensors"
        entries, text = safetensors_files.read(path)
    else:
        raise FileError(
            f"{path} is neither a PyTorch nor a safetensors file (it begins with {head!r}), or "
            "truncated; give a .pth or .safetensors file, or fetch it again"
        )
    tensors: dict[str, Entry] = {}
    for name, entry in entries.items():
        if _unwrapped(name) in tensors:
            raise FileError(
                f"{path}: {_unwrapped(name)!r} occurs twice once 'module.' and '_orig_mod.' are "
                "taken off; remove one of them and save the file again"
            )
        tensors[_unwrapped(name)] = entry
    prefixes = {name.removesuffix(_unwrapped(name)) for name in entries} - {""}
    return TensorFile(path, kind, tensors, ",".join(sorted(prefixes)), training, _notes(path, text))


def check(file: TensorFile) -> None:
    """Reads everything once and compares it with the checksums that the file carries.

    Files in torch's old format and safetensors files from elsewhere carry none.

    Raises:
        FileError: damaged.
    """
    if file.format == "pth":
        torch_files.check(file.path)
    elif safetensors_files.DIGEST in file.notes:
        entries, _ = safetensors_files.read(file.path)  # the names in the file, prefixes and all
        safetensors_files.check(file.path, entries, file.notes)


def sha256(path: Path) -> str:
    """Hash of a file's bytes, without holding them in memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
