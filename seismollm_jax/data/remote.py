"""Files in object storage: addresses such as gs://bucket/folder, and the local cache of them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

CACHE = "SEISMOLLM_CACHE"  # environment variable: folder of the cache
ATTEMPTS = 3
PAUSE_S = 2.0  # before the second attempt, and twice as much before each further one
AGAIN_S = 300.0  # until a file that could not be fetched is tried again
BLOCK = 1 << 20


def is_remote(path: str | Path) -> bool:
    """Whether a path is an address of object storage (gs://, s3://, ...)."""
    return "://" in str(path)


def join(folder: str | Path, name: str) -> str:
    """Path or address of a file in a folder."""
    return f"{str(folder).rstrip('/')}/{name}" if is_remote(folder) else str(Path(folder) / name)


def cache_folder() -> Path:
    """Where fetched files are kept: $SEISMOLLM_CACHE, or ~/.cache/seismollm_jax."""
    return Path(os.environ.get(CACHE) or Path.home() / ".cache" / "seismollm_jax")


@contextlib.contextmanager
def open_binary(path: str | Path) -> Iterator[BinaryIO]:
    """Open a local or remote file for reading.

    Nothing but reading belongs into the `with`: whatever fails in it is taken for a failing store.

    Raises FileNotFoundError, any other OSError naming the file, and ImportError where the package
    for that kind of storage is not installed.
    """
    if not is_remote(path):
        with Path(path).open("rb") as file:
            yield file
        return
    system, name = _system(str(path))
    with _told(path), system.open(name, "rb") as file:
        yield file


@contextlib.contextmanager
def _told(path: str | Path) -> Iterator[None]:
    """Any trouble of a store as an OSError that names the file: their libraries raise anything."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path} does not exist") from error
    except Exception as error:
        raise OSError(
            f"{path} cannot be read ({type(error).__name__}: {error}); check the address, the "
            "network, and your access to that store"
        ) from error


def sha256(path: str | Path) -> str:
    """SHA-256 of a local or remote file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with open_binary(path) as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def size(path: str | Path) -> int:
    """Bytes of a local or remote file. Raises FileNotFoundError."""
    if not is_remote(path):
        return Path(path).stat().st_size
    system, name = _system(str(path))
    with _told(path):
        return int(system.size(name))


def fetch(address: str, local: Path, checksum: str) -> None:
    """Bring a remote file to `local`, whole or not at all, unless it is there.

    Processes that want the same file wait for the one that fetches it. A file that could not be had
    is not asked for again for `AGAIN_S`, since a training wants thousands of traces of it. Raises
    FileNotFoundError if there is no such file; OSError if it cannot be fetched, or if its SHA-256
    is not `checksum`, after several attempts.
    """
    from filelock import FileLock

    local.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{local}.lock"):
        if local.exists():
            return
        since, trouble = _lost.get(address, (0.0, None))
        if trouble is not None and time.monotonic() - since < AGAIN_S:
            raise type(trouble)(str(trouble))
        try:
            _fetch(address, local, checksum)
        except OSError as error:
            _lost[address] = time.monotonic(), error
            raise


_lost: dict[str, tuple[float, OSError]] = {}  # address -> when, and why, it could not be fetched


def _fetch(address: str, local: Path, checksum: str) -> None:
    part = local.with_name(f"{local.name}.part")
    reason = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE_S * 2 ** (attempt - 1))
        try:
            system, name = _system(address)
            system.get_file(name, str(part))
            if sha256(part) == checksum:
                part.replace(local)
                return
            reason = "its checksum is not that in prepared.json"
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{address} does not exist") from error
        except ImportError:
            raise
        except Exception as error:  # as in `_told`
            reason = f"{type(error).__name__}: {error}"
        finally:
            part.unlink(missing_ok=True)
    raise OSError(
        f"{address} cannot be fetched to {local.parent} ({ATTEMPTS} attempts): {reason}. "
        f"The environment variable {CACHE} names another folder to fetch to"
    )


def _system(address: str) -> tuple[Any, str]:
    """The file system of an address, and the file's name in it."""
    import fsspec

    try:
        return fsspec.core.url_to_fs(address)
    except ImportError as error:
        raise ImportError(
            f"{address} needs a package that is not installed ({error}): "
            "pip install gcsfs for gs://, s3fs for s3://"
        ) from error
    except ValueError as error:
        raise ValueError(f"{address} has an unknown kind of address: {error}") from error
    except Exception as error:  # such as credentials that are missing
        raise OSError(
            f"{address} cannot be reached ({type(error).__name__}: {error}); check your access to "
            "that store"
        ) from error
