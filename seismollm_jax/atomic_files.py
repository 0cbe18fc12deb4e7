"""Files and directories that come into being whole or not at all."""

import contextlib
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def whole(output: Path) -> Iterator[Path]:
    """A temporary name beside `output` for a file or directory that is to become it.

    It gets its name, in place of an earlier file, when the block ends without an error, or
    vanishes. What a process leaves that is killed is called `.NAME.XXXXXXXX.partial`. Folders on
    the way are made.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    # Not by process number: two machines may write the same file and share the number.
    temporary = output.with_name(f".{output.name}.{secrets.token_hex(4)}.partial")
    try:
        yield temporary
        temporary.replace(output)
    finally:
        _remove(temporary)


def write(output: Path, data: bytes) -> None:
    """Writes a small file, whole or not at all."""
    with whole(output) as temporary:
        temporary.write_bytes(data)


def _remove(temporary: Path) -> None:
    if not temporary.is_dir():
        temporary.unlink(missing_ok=True)
        return
    for _ in range(50):  # a library's threads may still be writing when a run is interrupted
        shutil.rmtree(temporary, ignore_errors=True)
        if not temporary.exists():
            return
        time.sleep(0.1)
