"""Checkpoints on disk, with arrays small enough to see through."""

import gc
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from seismollm_jax.training.checkpoint import Checkpoints
from seismollm_jax.training.provenance import provenance
from seismollm_jax.training.saved import CheckpointError, find, load, read_description
from tests import setups


def contents(step: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """(state, frozen) on eight devices, recognisable by the step."""
    state = {
        "step": np.int32(step),
        "params": {"head/kernel": np.full((2, 3), step, np.float32)},
        "stats": {"norm/mean": np.arange(4, dtype=np.float32) + step},
        "opt": ({"mu": {"head/kernel": np.full((2, 3), -step, np.float32)}}, np.int32(step)),
    }
    frozen = {"backbone/kernel": np.full(5, 7, np.float32)}
    return setups.layout(8).replicate((state, frozen))


def write(workdir: Path, figures: dict[int, float], *, maximise: bool = False) -> None:
    """Saves a checkpoint a step with its monitored figure, as the training loop does."""
    checkpoints, best = Checkpoints(workdir, maximise=maximise), None
    for step, figure in figures.items():
        worst = -np.inf if maximise else np.inf
        if np.isfinite(figure) and (
            best is None or (figure > figures[best] if maximise else figure < figures[best])
        ):
            best = step
        progress = {"step": step, "best_step": best}
        description = {"progress": progress, "provenance": provenance()}
        checkpoints.save(
            step, *contents(step), description, figure if np.isfinite(figure) else worst
        )
    checkpoints.close()


def truncate(folder: Path) -> None:
    """Halves every file, which a full disk may do."""
    for path in folder.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def steps(workdir: Path) -> list[int]:
    return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir())


@pytest.mark.parametrize(
    ("maximise", "figures", "kept", "best"),
    [
        (False, {10: 3.0, 20: 1.0, 30: 2.0, 40: 2.5}, [20, 30, 40], 20),
        (True, {10: 3.0, 20: 1.0, 30: 2.0, 40: 2.5}, [10, 30, 40], 10),
        (False, {10: 3.0, 20: 2.0, 30: 1.0}, [20, 30], 30),
        (False, {10: 1.0, 20: np.nan, 30: np.inf, 40: np.nan}, [10, 30, 40], 10),
        (True, {10: 1.0, 20: np.nan, 30: 0.5, 40: np.nan}, [10, 30, 40], 10),
        (False, {10: np.nan, 20: 1.0, 30: 1.5}, [20, 30], 20),
        (False, {10: 1.0, 20: 1.0, 30: 1.0, 40: 2.0}, [10, 30, 40], 10),  # of equals the first
        (True, {10: 1.0, 20: 1.0, 30: 1.0, 40: 0.5}, [10, 30, 40], 10),
    ],
)
def test_best_and_latest_are_kept(
    tmp_path: Path, maximise: bool, figures: dict[int, float], kept: list[int], best: int
) -> None:
    write(tmp_path, figures, maximise=maximise)
    assert steps(tmp_path) == kept
    assert find(tmp_path).name == str(best)


def test_two_runs_of_the_program_keep_one_best(tmp_path: Path) -> None:
    write(tmp_path, {10: 1.0, 20: 2.0})
    checkpoints = Checkpoints(tmp_path, maximise=False)
    for step in (30, 40):
        description = {"progress": {"step": step, "best_step": 10}}
        checkpoints.save(step, *contents(step), description, 3.0)
    checkpoints.close()
    assert steps(tmp_path) == [10, 30, 40]


@pytest.mark.parametrize("maximise", [False, True])
def test_checkpoints_within_an_epoch_are_never_the_best(tmp_path: Path, maximise: bool) -> None:
    checkpoints = Checkpoints(tmp_path, maximise=maximise)
    for step, monitor in {10: None, 20: None, 30: 1.0, 40: None, 50: None, 60: None}.items():
        progress = {"step": step, "best_step": 30 if step >= 30 else None}
        checkpoints.save(step, *contents(step), {"progress": progress}, monitor)
    checkpoints.close()
    assert steps(tmp_path) == [30, 50, 60]
    assert find(tmp_path).name == "30"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Best checkpoint 20, latest 30; not to be changed."""
    workdir = tmp_path_factory.mktemp("run")
    write(workdir, {10: 3.0, 20: 1.0, 30: 2.0})
    return workdir


@pytest.fixture
def leftovers() -> Iterator[None]:
    """After an error Orbax leaves reads behind that nobody awaits; they are to end in this test."""
    yield
    gc.collect()


breaks = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(run, tmp_path / "copy")


def test_restore_takes_the_latest_as_it_was(run: Path) -> None:
    template = contents(0)
    checkpoints = Checkpoints(run, maximise=False)
    state, frozen = checkpoints.restore(*template)
    description = checkpoints.latest_description()
    assert checkpoints.steps() == [20, 30]
    checkpoints.close()
    assert description is not None
    expected = contents(30)
    jax.tree.map(np.testing.assert_array_equal, (state, frozen), expected)
    assert jax.tree.structure((state, frozen)) == jax.tree.structure(expected)
    for found, wanted in zip(
        jax.tree.leaves((state, frozen)), jax.tree.leaves(expected), strict=True
    ):
        assert found.sharding == wanted.sharding
        assert found.dtype == wanted.dtype
    assert description["progress"] == {"step": 30, "best_step": 20}


def test_nothing_to_restore(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, maximise=False)
    assert checkpoints.latest_description() is None
    assert checkpoints.steps() == []
    checkpoints.close()


@breaks
@pytest.mark.usefixtures("leftovers")
def test_restore_refuses_another_network(run: Path) -> None:
    state, frozen = contents(0)
    state["params"] = {"head/kernel": jax.numpy.zeros((2, 4))}
    checkpoints = Checkpoints(run, maximise=False)
    with pytest.raises(
        CheckpointError, match=r"checkpoint 30 in .* not fit this config.*fresh --work"
    ):
        checkpoints.restore(state, frozen)
    checkpoints.close()


def test_saving_behind_a_later_step(copy: Path) -> None:
    checkpoints = Checkpoints(copy, maximise=False)
    with pytest.raises(CheckpointError, match=r"step 25 was not saved .* \(30\) is there"):
        checkpoints.save(25, *contents(25), {"progress": {}}, 1.0)
    checkpoints.close()
    assert steps(copy) == [20, 30]


@pytest.mark.parametrize("name", ["", "checkpoints", "checkpoints/20"])
def test_any_folder_on_the_way_leads_to_the_best(run: Path, name: str) -> None:
    assert find(run / name) == run / "checkpoints/20"
    stored = load(str(run / name))
    assert stored.path == run / "checkpoints/20"
    np.testing.assert_array_equal(stored.params["head/kernel"], np.full((2, 3), 20))
    np.testing.assert_array_equal(stored.stats["norm/mean"], np.arange(4) + 20)
    np.testing.assert_array_equal(stored.frozen["backbone/kernel"], np.full(5, 7))
    assert stored.params["head/kernel"].devices() == {jax.devices()[0]}


def test_a_single_checkpoint_is_taken_as_it_is(run: Path) -> None:
    assert find(run / "checkpoints/30") == run / "checkpoints/30"
    assert load(run / "checkpoints/30").description["progress"]["step"] == 30


def test_a_checkpoint_copied_elsewhere_is_enough(run: Path, tmp_path: Path) -> None:
    alone = shutil.copytree(run / "checkpoints/30", tmp_path / "my model")
    np.testing.assert_array_equal(load(alone).params["head/kernel"], np.full((2, 3), 30))


def test_a_missing_best_is_not_replaced_in_silence(copy: Path) -> None:
    shutil.rmtree(copy / "checkpoints/20")
    with pytest.raises(CheckpointError, match=r"step 20, is missing in .*there are \[30\]: name"):
        find(copy)
    assert find(copy / "checkpoints/30").name == "30"


def test_no_figure_was_finite(tmp_path: Path) -> None:
    write(tmp_path, {10: np.nan, 20: np.nan})
    with pytest.warns(UserWarning, match="no checkpoint in .* had a finite validation figure"):
        assert find(tmp_path).name == "20"


@pytest.mark.parametrize("name", ["empty", "missing", "empty/checkpoints"])
def test_no_checkpoint(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty/checkpoints").mkdir(parents=True)
    with pytest.raises(CheckpointError, match=rf"{name} holds no checkpoint; give the --workdir"):
        load(tmp_path / name)


def test_unfinished_checkpoints_are_passed_over(copy: Path) -> None:
    """What a process leaves that is killed while it writes."""
    shutil.copytree(copy / "checkpoints/30", copy / "checkpoints/40.orbax-checkpoint-tmp-1")
    (copy / "checkpoints/50").mkdir()
    assert find(copy).name == "20"


def test_damaged_description(copy: Path) -> None:
    file = copy / "checkpoints/20/description/metadata"
    file.write_text(file.read_text()[:40])
    with pytest.raises(CheckpointError, match=r"metadata cannot be read .* is damaged"):
        load(copy / "checkpoints/20")
    file.unlink()
    with pytest.raises(CheckpointError, match=r"metadata cannot be read .* is damaged"):
        load(copy)


def test_description_of_a_later_version(copy: Path) -> None:
    file = copy / "checkpoints/20/description/metadata"
    description = json.loads(file.read_text())
    description["format"], description["provenance"]["versions"]["seismollm_jax"] = 9, "4.5"
    file.write_text(json.dumps(description))
    with pytest.raises(CheckpointError, match=r"format 9; this version reads 1: .*\(4\.5\)"):
        read_description(copy / "checkpoints/20")


@breaks
@pytest.mark.usefixtures("leftovers")
@pytest.mark.parametrize("damage", ["removed", "truncated"])
def test_damaged_arrays(copy: Path, damage: str) -> None:
    if damage == "removed":
        for path in (copy / "checkpoints/20/model").rglob("*"):
            path.unlink() if path.is_file() else None
    else:
        truncate(copy / "checkpoints/20/model")
    with pytest.raises(CheckpointError, match="model is damaged"):
        load(copy)


def test_provenance_tells_how_to_do_it_again() -> None:
    found = provenance()
    assert set(found) == {"created", "versions", "commit", "command", "devices"}
    assert found["versions"]["jax"] == jax.__version__
    assert found["devices"] == "8 cpu"
