"""PyTorch's own files: read without running anything from them, and written whole or not at all.

Two formats occur: a zip archive with the pickled structure in `data.pkl` and every storage as an
uncompressed record with a checksum, and, before torch 1.6, a chain of pickles followed by the
storages, without checksums. The former is mapped into memory, so that nothing is copied.

This module imports nothing of the package, because the GPT-2 reader needs it too.
"""

import contextlib
import os
import pickle  # for the name of an exception; nothing is unpickled with it
import re
import tempfile
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seismollm_jax import atomic_files

NOTES = "seismollm_jax"  # key of what this project adds to files it writes
ZIP = b"PK\x03\x04"
OLD = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the old format's first number, after two bytes
SAFE_FROM = (2, 10)  # before it, weights_only did not protect (CVE-2025-32434, CVE-2026-24747)
REAL = ("float16", "bfloat16", "float32", "float64")
WHOLE = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64")
PLAIN = (type(None), bool, int, float, str, bytes)
RESAVE = "where it was made, save its weights alone: torch.save(model.state_dict(), path)"
EXPECTED = "expected tensors by name, or a training file with them under 'model_dict'"


class FileError(ValueError):
    """A tensor file that cannot be used: names the file, what is wrong and the remedy."""


@dataclass(frozen=True)
class Entry:
    """One tensor of a file, not read yet.

    Attributes:
        shape: its sizes.
        dtype: as in the file, by NumPy's names and "bfloat16".
        read: gives the values, read-only; bfloat16 as float32, which is exact.
    """

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], np.ndarray]


def recognised(head: bytes) -> bool:
    """Whether a file that begins like this is one."""
    return head.startswith(ZIP) or head[2:].startswith(OLD)


@contextlib.contextmanager
def damage(path: Path) -> Iterator[None]:
    """Turns whatever a library raises on a broken file into a FileError."""
    try:
        yield
    except FileError:
        raise
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        raise FileError(
            f"{path} is not readable, truncated or damaged ({reason}); fetch it again"
        ) from error


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A path to write to; what is there at the end becomes `path`, and nothing on failure.

    Raises:
        FileExistsError: `path` is there already.
    """
    if os.path.lexists(path):
        raise FileExistsError(f"{path} exists; choose another name or remove it")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: its folder does not exist; create it first")
    with atomic_files.whole(path) as part:
        part.touch()
        mode = part.stat().st_mode & 0o777  # as the umask has it; safetensors would hide the file
        yield part
        part.chmod(mode)
        with part.open("rb+") as file:
            os.fsync(file.fileno())


def _torch(path: Path, *, reading: bool = True) -> Any:
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            f"{path} is a PyTorch file, which needs the torch extra: "
            "pip install 'seismollm_jax[torch]' (or use model.safetensors instead)"
        ) from error
    version = tuple(int(part) for part in re.findall(r"\d+", torch.__version__)[:2])
    if reading and version < SAFE_FROM:
        raise ImportError(
            f"{path} is a PyTorch file; before torch 2.10 such a file could run code while it is "
            f"read, and {torch.__version__} is installed: pip install 'torch>=2.10'"
        )
    return torch


def _is_zip(path: Path) -> bool:
    with damage(path), path.open("rb") as file:
        return file.read(len(ZIP)) == ZIP


def _check_archive(path: Path, *, data: bool) -> None:
    """Layout and checksums, those of the storages only if `data`."""
    with damage(path), zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        names = [record.filename for record in records]
        root = names[0].split("/")[0] if names else ""
        if f"{root}/constants.pkl" in names:
            raise FileError(f"{path} is a TorchScript archive, which holds code; {RESAVE}")
        if f"{root}/data.pkl" not in names:
            raise FileError(f"{path} is a zip archive but not PyTorch's (no data.pkl); {EXPECTED}")
        if len(set(names)) < len(names):
            raise FileError(f"{path} holds a record twice; fetch it again")
        for record in records:
            # Mapped into memory, compressed bytes would pass for values.
            if record.compress_type != zipfile.ZIP_STORED:
                raise FileError(f"{path} was compressed after it was written; {RESAVE}")
            if data or not record.filename.startswith(f"{root}/data/"):
                with archive.open(record) as stream:  # raises at its end on another checksum
                    while stream.read(1 << 20):
                        pass


def _unsafe(path: Path, message: str) -> FileError:
    """What the restricted unpickler stumbled over, from its message."""
    patterns = (
        r"GLOBAL (\S+) was not an allowed global",
        r"unsupported GLOBAL (\S+) whose module",
        r"unrecognized function (.+)",
        r"Can only (?:create|build) .*but got (<class .+>)",
        r"``(\S+)`` .*must be imported",
    )
    found = [match.group(1) for p in patterns if (match := re.search(p, message))]
    if found:
        return FileError(
            f"{path} asks for {found[0]}, which could run code from the file; that is not done "
            f"here: {RESAVE}"
        )
    lines = [line for line in message.splitlines() if line.strip() and "torch.load" not in line]
    reason = lines[-1] if lines else "no reason given"
    return FileError(
        f"{path} is damaged, or holds more than tensors and plain values ({reason}); fetch it "
        f"again or, {RESAVE}"
    )


def _load(path: Path) -> Any:
    torch = _torch(path)
    if zipped := _is_zip(path):
        _check_archive(path, data=False)
    with damage(path), warnings.catch_warnings(), contextlib.ExitStack() as stack:
        warnings.simplefilter("ignore")  # what comes out is examined instead
        source = path
        if path.name.endswith(".safetensors"):  # torch would go by the name
            source = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "file.pth"
            source.symlink_to(path.resolve())
        try:
            return torch.load(source, map_location="cpu", weights_only=True, mmap=zipped)
        except pickle.UnpicklingError as error:
            raise _unsafe(path, str(error)) from error


def _entry(tensor: Any, where: str, path: Path, *, also: tuple[str, ...] = ()) -> Entry:
    """A tensor of a file, if its values can be read as they are."""
    torch = _torch(path)
    with damage(path):
        dtype = str(tensor.dtype).removeprefix("torch.")
        if tensor.is_nested or tensor.layout != torch.strided or tensor.device.type != "cpu":
            problem = f"is no dense tensor ({tensor.layout}, {tensor.device.type})"
        elif tensor.is_quantized or dtype not in (*REAL, *WHOLE, *also):
            problem = f"has the type {dtype}"
        elif tensor.numel() * tensor.element_size() > path.stat().st_size:
            problem = f"claims more values than the file holds ({tuple(tensor.shape)})"
        elif not _within_storage(tensor):
            problem = "lies outside its storage"
        else:
            plain = tensor.detach().resolve_neg()
            return Entry(tuple(tensor.shape), dtype, lambda: _values(plain, dtype))
    raise FileError(
        f"{path}: {where} {problem}; expected a dense tensor of real or whole numbers: convert it "
        "(tensor.dense or tensor.float) and save the file again"
    )


def _within_storage(tensor: Any) -> bool:
    if tensor.numel() == 0:
        return True
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    last = tensor.storage_offset() + sum((size - 1) * stride for size, stride in steps)
    return (last + 1) * tensor.element_size() <= tensor.untyped_storage().nbytes()


def _values(tensor: Any, dtype: str) -> np.ndarray:
    array = (tensor.float() if dtype == "bfloat16" else tensor).numpy()
    array.flags.writeable = False  # it may be the file itself
    return array


def _plain(value: Any, where: str, path: Path, seen: dict[int, Any]) -> Any:
    """Values besides the network's, tensors among them as arrays."""
    if type(value) in PLAIN:
        return value
    if id(value) in seen:  # shared parts are walked once; a part of itself has no result yet
        if seen[id(value)] is None:
            raise FileError(f"{path}: {where} contains itself; {RESAVE}")
        return seen[id(value)]
    seen[id(value)] = None
    if isinstance(value, _torch(path).Tensor):
        result: Any = _entry(value, where, path).read()
    elif isinstance(value, dict):
        # Not value.items(): a file may have given the mapping attributes of its own.
        items = dict.items(value)
        result = {key: _plain(v, f"{where}[{key!r}]", path, seen) for key, v in items}
    elif isinstance(value, list | tuple):
        kind = list if isinstance(value, list) else tuple
        result = kind(_plain(v, f"{where}[{i}]", path, seen) for i, v in enumerate(value))
    else:
        name = type(value).__name__
        raise FileError(
            f"{path}: {where} is of type {name}; expected tensors and plain values; {RESAVE}"
        )
    seen[id(value)] = result
    return result


def read(
    path: Path, *, also: tuple[str, ...] = ()
) -> tuple[dict[str, Entry], dict[str, Any] | None, str | None]:
    """Tensors by name, a training file's other content (None for a bare state dict), the notes.

    Args:
        path: the file.
        also: dtypes to accept besides real and whole numbers.

    Raises:
        ImportError: torch is not installed, or too old to read safely.
        FileError: damaged, asking for code, or holding something else.
    """
    content = _load(path)
    if not isinstance(content, dict):
        raise FileError(
            f"{path} holds an object of type {type(content).__name__}; {EXPECTED}; {RESAVE}"
        )
    top = dict(dict.items(content))
    notes, training = top.pop(NOTES, None), None
    if not isinstance(notes, str | None):
        raise FileError(f"{path}: {NOTES!r} is of type {type(notes).__name__}, not text; {RESAVE}")
    state = top.pop("model_dict") if (full := "model_dict" in top) else top
    if full:
        with damage(path):  # nested too deeply
            training = _plain(top, "file", path, {})
    if not isinstance(state, dict) or not state:
        kind = "is empty" if isinstance(state, dict) else f"is of type {type(state).__name__}"
        raise FileError(f"{path}: the state dict {kind}; {EXPECTED}; {RESAVE}")
    entries = {}
    for name, value in dict.items(state):
        if not isinstance(name, str) or not isinstance(value, _torch(path).Tensor):
            kind = type(value).__name__
            raise FileError(f"{path}: {name!r} in it is of type {kind}; {EXPECTED}; {RESAVE}")
        entries[name] = _entry(value, repr(name), path, also=also)
    return entries, training, notes


def check(path: Path) -> None:
    """Compares every record's checksum; the old format has none.

    Raises:
        FileError: one differs.
    """
    if _is_zip(path):
        _check_archive(path, data=True)


def read_state_dict(path: Path) -> dict[str, np.ndarray]:
    """Arrays of a state dict as float32, checked against the file's checksums.

    Raises:
        ImportError: torch is not installed, or too old to read safely.
        FileError: the file is damaged or holds more than tensors.
    """
    _torch(path)
    with damage(path), path.open("rb") as file:
        if not recognised(file.read(16)):
            raise FileError(f"{path} is not a readable PyTorch state dict; fetch the file again")
    check(path)
    entries = read(path, also=("bool",))[0]  # the causal masks of older files
    return {name: entry.read().astype(np.float32) for name, entry in entries.items()}


def _to_torch(value: Any, where: str, torch: Any) -> Any:
    if isinstance(value, np.generic):  # would be refused by the restricted unpickler
        value = value.item()
    if type(value) in PLAIN:
        return value
    if isinstance(value, np.ndarray):
        if value.dtype.name not in (*REAL, *WHOLE) or value.dtype.name == "bfloat16":
            raise TypeError(f"{where} has the type {value.dtype}, which is not written")
        # Its own bytes only, and a scalar stays one.
        array = np.asarray(value, value.dtype.newbyteorder("="), order="C")
        return torch.from_numpy(array)
    if isinstance(value, Mapping):
        mapping = OrderedDict if isinstance(value, OrderedDict) else dict
        return mapping((k, _to_torch(v, f"{where}[{k!r}]", torch)) for k, v in value.items())
    if isinstance(value, list | tuple):
        kind = list if isinstance(value, list) else tuple
        return kind(_to_torch(v, f"{where}[{i}]", torch) for i, v in enumerate(value))
    raise TypeError(f"{where} is a {type(value).__name__}, which is not written")


def write(path: Path, payload: Mapping[str, Any]) -> None:
    """Writes nested values, NumPy arrays among them as tensors, in the zip format.

    The state dict, under "model_dict" or else the payload itself, keeps its order.

    Raises:
        FileExistsError: `path` is there already.
        ImportError: torch is not installed.
        TypeError: a value that the restricted unpickler would not read.
        OSError: no room, or no permission.
    """
    with new_file(path) as part, warnings.catch_warnings():
        torch = _torch(path, reading=False)  # arrays that may not be written to are only saved
        warnings.filterwarnings("ignore", message=".*not writable")
        values = _to_torch(payload, str(path), torch)
        full = "model_dict" in values
        state = OrderedDict(values["model_dict"] if full else values)
        values = {**values, "model_dict": state} if full else state
        try:
            with part.open("wb") as file:  # by name, the name would go into the file
                torch.save(values, file)
        except RuntimeError as error:  # how torch reports that writing failed
            if isinstance(interrupt := error.__context__, KeyboardInterrupt):
                raise interrupt from None
            raise OSError(f"{path} could not be written ({error}); is there room?") from error
