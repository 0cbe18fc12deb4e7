"""Damaged checkpoints give way to the ones before them, and nothing else does."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from seismollm_jax.training.checkpoint import Checkpoints
from seismollm_jax.training.repair import newest, set_damaged_aside, without_lost_best
from seismollm_jax.training.saved import CheckpointError, DamagedError, verify
from tests import setups
from tests.training.test_checkpoint import truncate

pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore::pytest.PytestUnhandledThreadExceptionWarning",
)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints 20 (the best), 30 and 40, with an array that no compression makes smaller."""
    workdir = tmp_path_factory.mktemp("original")
    checkpoints = Checkpoints(workdir, maximise=False)
    for step, figure in {20: 1.0, 30: 2.0, 40: 3.0}.items():
        noise = np.random.default_rng(step).standard_normal((300, 40)).astype(np.float32)
        state = {
            "step": np.int32(step),
            "params": {"head/kernel": noise},
            "stats": {"norm/mean": np.arange(4, dtype=np.float32)},
            "opt": ({"mu": {"head/kernel": -noise}}, np.int32(step)),
        }
        state, frozen = setups.layout(8).replicate((state, {"backbone/kernel": np.ones(5)}))
        description = {"progress": {"step": step, "best_step": 20}}
        checkpoints.save(step, state, frozen, description, figure)
    checkpoints.close()
    return workdir


@pytest.fixture
def run(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / "run")


def names(workdir: Path) -> list[str]:
    return sorted(path.name for path in (workdir / "checkpoints").iterdir())


def cut_description(path: Path) -> None:
    file = path / "description/metadata"
    file.write_text(file.read_text()[:50])


def empty(path: Path) -> None:
    shutil.rmtree(path)
    path.mkdir()


def flip(path: Path, item: str) -> None:
    """Changes one bit in the largest file of an item, where its numbers are.

    On a busy machine an array's parts may come to be in several files.
    """
    file = max((p for p in (path / item).rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    data = bytearray(file.read_bytes())
    assert len(data) > 10_000  # the rest is some hundred bytes
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


DAMAGE: dict[str, Callable[[Path], None]] = {
    "description cut off": cut_description,
    "description missing": lambda path: (path / "description/metadata").unlink(),
    "model missing": lambda path: shutil.rmtree(path / "model"),
    "train missing": lambda path: shutil.rmtree(path / "train"),
    "model truncated": lambda path: truncate(path / "model"),
    "train truncated": lambda path: truncate(path / "train"),
    "bit of the model": lambda path: flip(path, "model"),
    "bit of the optimiser": lambda path: flip(path, "train"),
    "empty": empty,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_the_one_before_serves(run: Path, damage: str) -> None:
    DAMAGE[damage](run / "checkpoints/40")
    with pytest.raises(DamagedError):
        verify(run / "checkpoints/40")
    (line,) = set_damaged_aside(run)
    aside = run / "checkpoints/damaged-40"
    assert f"step 40 is damaged and was set aside as {aside}; falling back to step 30 (" in line
    assert names(run) == ["20", "30", "damaged-40"]
    latest = newest(run)
    assert latest is not None
    assert latest.name == "30"
    checkpoints = Checkpoints(run, maximise=False)
    assert checkpoints.steps() == [20, 30]
    assert aside.is_dir()
    checkpoints.close()
    assert set_damaged_aside(run) == []


def test_two_are_damaged(run: Path) -> None:
    cut_description(run / "checkpoints/40")
    truncate(run / "checkpoints/30/train")
    (run / "checkpoints/damaged-40").mkdir()  # of an earlier time
    lines = set_damaged_aside(run)
    assert [("to step 20" in line, line.count("WARNING")) for line in lines] == [(True, 1)] * 2
    assert names(run) == ["20", "damaged-30", "damaged-40", "damaged-40-2"]


def test_all_are_damaged(run: Path) -> None:
    """Rather a disk that fails than a reason to begin anew."""
    before = names(run)
    for name in before:
        cut_description(run / "checkpoints" / name)
    with pytest.raises(CheckpointError, match=r"no checkpoint in .* is whole: step 40: .*step 20"):
        set_damaged_aside(run)
    assert names(run) == before


def test_whole_ones_stay(run: Path) -> None:
    before = names(run)
    assert set_damaged_aside(run) == []
    assert names(run) == before
    assert set_damaged_aside(run / "nowhere") == []
    assert newest(run / "nowhere") is None


def test_a_later_version_is_no_damage(run: Path) -> None:
    file = run / "checkpoints/40/description/metadata"
    file.write_text(
        file.read_text().replace('"format":1', '"format":9').replace('"format": 1', '"format": 9')
    )
    with pytest.raises(CheckpointError, match="format 9; this version reads 1"):
        set_damaged_aside(run)
    assert names(run) == ["20", "30", "40"]


def test_checkpoints_without_sums_are_read_all_the_same(run: Path) -> None:
    file = run / "checkpoints/40/description/metadata"
    file.write_text(file.read_text().replace('"sums"', '"other"'))
    verify(run / "checkpoints/40")


@pytest.mark.parametrize(
    ("best", "steps", "kept", "told"),
    [(20, [20, 30], 20, 0), (40, [20, 30], None, 1), (None, [20, 30], None, 0)],
)
def test_a_best_one_that_is_gone(
    best: int | None, steps: list[int], kept: int | None, told: int
) -> None:
    progress = {"step": 30, "best": 1.0, "best_step": best, "epochs_since_best": 2}
    found, lines = without_lost_best(progress, steps)
    assert found["best_step"] == kept
    assert found["epochs_since_best"] == 2
    assert (found["best"] is None) == bool(told)
    assert len(lines) == told
