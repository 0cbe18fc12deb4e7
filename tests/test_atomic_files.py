"""What is written appears whole or not at all."""

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from seismollm_jax import atomic_files


class Failure(Exception):
    """What goes wrong in the middle."""


def fail(output: Path, write: Callable[[Path], object]) -> None:
    """Writes something to the temporary name and then fails."""
    with atomic_files.whole(output) as temporary:
        write(temporary)
        raise Failure


@pytest.mark.parametrize("earlier", [b"earlier", None])
def test_a_file_has_its_name_only_at_the_end(tmp_path: Path, earlier: bytes | None) -> None:
    output = tmp_path / "new" / "table.csv"
    if earlier is not None:
        atomic_files.write(output, earlier)
    with atomic_files.whole(output) as temporary:
        assert temporary.parent == output.parent  # renaming across file systems is copying
        temporary.write_bytes(b"half")
        assert (output.read_bytes() if output.exists() else None) == earlier
    assert output.read_bytes() == b"half"
    assert list(output.parent.iterdir()) == [output]


def test_a_directory_has_its_name_only_at_the_end(tmp_path: Path) -> None:
    output = tmp_path / "run"
    with atomic_files.whole(output) as temporary:
        (temporary / "checkpoints").mkdir(parents=True)
        assert not output.exists()
    assert list(tmp_path.iterdir()) == [output]
    assert (output / "checkpoints").is_dir()


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(b"half"),
        lambda path: (path / "a" / "b").mkdir(parents=True),
        lambda path: None,
    ],
    ids=["file", "directory", "nothing"],
)
def test_a_failure_leaves_what_was_there(tmp_path: Path, write: Callable[[Path], object]) -> None:
    output = tmp_path / "table.csv"
    atomic_files.write(output, b"earlier")
    with pytest.raises(Failure):
        fail(output, write)
    assert list(tmp_path.iterdir()) == [output]
    assert output.read_bytes() == b"earlier"


def test_a_directory_into_which_something_is_still_written(tmp_path: Path) -> None:
    stop = threading.Event()

    def go_on(folder: Path) -> None:
        while not stop.is_set():
            with contextlib.suppress(FileNotFoundError):  # it may vanish between two files
                (folder / str(time.monotonic_ns())).touch()

    def write(folder: Path) -> None:
        folder.mkdir()
        for i in range(1000):  # removing them takes a while
            (folder / str(i)).touch()
        threading.Thread(target=go_on, args=(folder,)).start()
        threading.Timer(0.2, stop.set).start()

    with pytest.raises(Failure):
        fail(tmp_path / "run", write)
    assert list(tmp_path.iterdir()) == []


def test_two_writers_at_once(tmp_path: Path) -> None:
    """Each writes its own; the later one stays."""
    output = tmp_path / "index"
    with atomic_files.whole(output) as one, atomic_files.whole(output) as other:
        assert one != other
        one.write_bytes(b"one")
        other.write_bytes(b"other")
    assert output.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [output]
