"""Runs whose checkpoints leave out what the backbone gives (`train.adapters_only`)."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from seismollm_jax import parallel
from seismollm_jax.experiment import Experiment
from seismollm_jax.models.state import key as name_of
from seismollm_jax.training import backbone, saved
from seismollm_jax.training.backbone import BackboneError
from seismollm_jax.training.checkpoint import Checkpoints
from tests import setups
from tests.models import test_pretrained
from tests.training import steps


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return test_pretrained.bare(tmp_path_factory.mktemp("hub") / "gpt2")


def contents(gpt2: Path) -> tuple[Experiment, dict[str, Any], dict[str, Any]]:
    """An experiment on a GPT-2, and a state and frozen arrays as after its first steps."""
    made = steps.experiment("magnitude", ("backbone.weights", str(gpt2)))
    state, frozen = steps.start("magnitude")
    pretrained = made.family.read_pretrained(made.config, made.settings).arrays
    arrays = {name_of(path): value for path, value in pretrained.items()}
    return made, state, {name: arrays[name] for name in frozen}


def entry(made: Experiment, state: dict[str, Any], frozen: dict[str, Any]) -> dict[str, Any]:
    source = made.config["backbone"]["weights"]
    found = backbone.entry(made.config, made.settings, source, state["params"], frozen)
    assert found is not None
    return found


def test_a_run_continues_from_it(gpt2: Path, tmp_path: Path) -> None:
    made, state, frozen = contents(gpt2)
    arrays = (state, frozen)
    where = setups.layout(8).spread(arrays)
    placed, blank = (
        jax.tree.map(parallel.place, tree, where)
        for tree in (arrays, jax.tree.map(np.zeros_like, arrays))
    )
    description = {
        "config": made.config,
        "settings": made.settings,
        "progress": {"step": 1, "best_step": 1},
        "backbone": entry(made, *placed),
    }
    checkpoints = Checkpoints(tmp_path, maximise=False)
    checkpoints.save(1, *placed, description, 1.0)
    restored = checkpoints.restore(*blank)
    checkpoints.close()
    assert jax.tree.structure(restored) == jax.tree.structure(placed)
    for found, wanted in zip(jax.tree.leaves(restored), jax.tree.leaves(placed), strict=True):
        np.testing.assert_array_equal(found, wanted, strict=True)
        assert found.sharding == wanted.sharding
    path = saved.find(tmp_path)
    assert saved.read_shapes(path).get("frozen", {}) == {}
    saved.verify(path)
    stored = saved.load(path)
    assert stored.frozen.keys() == frozen.keys()
    for name, value in frozen.items():
        np.testing.assert_array_equal(stored.frozen[name], value, strict=True)


def test_frozen_arrays_that_are_others(gpt2: Path) -> None:
    """As after `start_from` a network on another backbone."""
    made, state, frozen = contents(gpt2)
    name = "backbone/blocks/0/attn/c_proj/base/bias"
    frozen[name] = np.nextafter(frozen[name], np.float32(9))
    text = rf"not those of the backbone '{gpt2}'.* 1 differ:\n  {name}: other values$"
    with pytest.raises(BackboneError, match=text):
        entry(made, state, frozen)
    frozen[name] = frozen[name][1:]
    with pytest.raises(BackboneError, match=rf"{name}: float32\(15,\) and float32\(16,\)$"):
        entry(made, state, frozen)
    del frozen[name]
    with pytest.raises(BackboneError, match=f"{name}: not in the network$"):
        entry(made, state, frozen)


def test_a_random_backbone() -> None:
    made = steps.experiment("magnitude")
    with pytest.raises(BackboneError, match="'random' is random GPT-2 weights, as"):
        entry(made, *steps.start("magnitude"))
