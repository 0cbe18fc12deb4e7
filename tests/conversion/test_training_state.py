"""Optimiser and schedule between PyTorch and this project, with PyTorch's own optimisers."""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np
import pytest

from seismollm_jax import experiment as experiments
from seismollm_jax.conversion import training_state
from seismollm_jax.conversion.network import state_shapes
from seismollm_jax.conversion.training_state import TrainingState, TrainingStateError
from seismollm_jax.experiment import Experiment
from seismollm_jax.models import seismollm
from seismollm_jax.models.seismollm.names import checkpoint_table
from seismollm_jax.models.state import key as name_of
from seismollm_jax.models.weights import Extra, Rule
from seismollm_jax.training.optim import Triangle, make_optimizer
from tests import setups
from tests.conversion import originals
from tests.golden_files import relative_difference

UP, DOWN, BASE, TOP = 3, 5, 1e-3, 4e-3
STEPS = 4
OPTIMIZERS = {
    "adam": {"name": "adam", "weight_decay": 0.0},
    "adam with decay": {"name": "adam", "weight_decay": 0.1},
    "adamw": {"name": "adamw", "weight_decay": 0.1},
    "sgd": {"name": "sgd", "weight_decay": 0.1, "momentum": 0.8},
    "sgd without momentum": {"name": "sgd", "weight_decay": 0.0, "momentum": 0.0},
}
CASES = pytest.mark.parametrize("case", OPTIMIZERS)


@functools.cache
def experiment() -> Experiment:
    changes = {"backbone.tuning": "lora", "lora.rank": 2}
    return experiments.make(setups.config("distance", changes=changes))


@functools.cache
def table() -> tuple[Rule | Extra, ...]:
    made = experiment()
    return tuple(checkpoint_table(seismollm.from_settings(made.settings), made.task.output))


@functools.cache
def shapes() -> dict:
    return state_shapes(experiment())


def learns(entry: Rule | Extra) -> bool:
    return isinstance(entry, Rule) and experiment().is_trainable(entry.path)


def gradients(step: int) -> dict[str, np.ndarray]:
    """By PyTorch's names, for what learns."""
    draw = np.random.default_rng(step)
    return {
        entry.key: draw.normal(size=entry.shape(shapes()[entry.path])).astype(np.float32)
        for entry in training_state.parameters(table())
        if isinstance(entry, Rule) and learns(entry)
    }


def ours(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """PyTorch's arrays under our names, in our layout."""
    rules = {entry.key: entry for entry in table() if isinstance(entry, Rule)}
    return {name_of(rules[key].path): rules[key].convert(v) for key, v in arrays.items()}


def torch_optimizer(case: str, parameters: dict[str, Any]) -> Any:
    torch = pytest.importorskip("torch")
    options = dict(OPTIMIZERS[case])
    classes = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    return classes[options.pop("name")](list(parameters.values()), lr=BASE, **options)


def torch_schedule(optimizer: Any) -> Any:
    torch = pytest.importorskip("torch")
    return torch.optim.lr_scheduler.CyclicLR(
        optimizer, BASE, TOP, step_size_up=UP, step_size_down=DOWN, cycle_momentum=False
    )


class Torch:
    """A training in PyTorch with given gradients."""

    def __init__(self, case: str):
        torch = pytest.importorskip("torch")
        draw = np.random.default_rng(9)
        self.parameters = {}
        for entry in training_state.parameters(table()):
            shape = entry.shape if isinstance(entry, Extra) else entry.shape(shapes()[entry.path])
            value = torch.from_numpy(draw.normal(size=shape).astype(np.float32))
            self.parameters[entry.key] = torch.nn.Parameter(value, requires_grad=learns(entry))
        self.optimizer = torch_optimizer(case, self.parameters)
        self.schedule = torch_schedule(self.optimizer)

    def step(self, number: int) -> None:
        torch = pytest.importorskip("torch")
        for key, value in gradients(number).items():
            self.parameters[key].grad = torch.from_numpy(value)
        self.optimizer.step()
        self.schedule.step()

    def values(self) -> dict[str, np.ndarray]:
        """Copies of the parameters that learn."""
        found = self.parameters.items()
        return {k: v.detach().numpy().copy() for k, v in found if v.requires_grad}

    def saved(self) -> dict[str, Any]:
        """The top level of a training file, NumPy arrays for tensors."""
        torch = pytest.importorskip("torch")
        content = {
            "epoch": 6,
            "optimizer_dict": self.optimizer.state_dict(),
            "scheduler_dict": self.schedule.state_dict(),
            "loss": 0.25,
        }
        return originals.arrays(content, torch)


@functools.cache
def trained(case: str) -> Torch:
    """Four steps; not to be changed."""
    training = Torch(case)
    for i in range(STEPS):
        training.step(i)
    return training


def read(content: dict[str, Any], **options: Any) -> TrainingState:
    found = training_state.read(content, table(), shapes(), experiment().is_trainable, **options)
    assert found is not None
    return found


def write(state: TrainingState) -> dict[str, Any]:
    return training_state.write(state, table(), experiment().is_trainable)


def assert_same_state(found: TrainingState, expected: TrainingState) -> None:
    plain = {"moments": None}
    assert dataclasses.asdict(dataclasses.replace(found, **plain)) == dataclasses.asdict(
        dataclasses.replace(expected, **plain)
    )
    assert found.moments.keys() == expected.moments.keys()
    for field, arrays in expected.moments.items():
        assert found.moments[field].keys() == arrays.keys()
        for path, value in arrays.items():
            other = found.moments[field][path]
            assert (other.shape, other.tobytes()) == (value.shape, value.tobytes()), path


@CASES
def test_what_is_read(case: str) -> None:
    state, options = read(trained(case).saved()), OPTIMIZERS[case]
    assert state.optimizer == options["name"]
    assert state.weight_decay == options["weight_decay"]
    assert state.momentum == options.get("momentum", 0.9)
    assert state.rate == Triangle(BASE, TOP, UP, DOWN)
    assert (state.step, state.epochs, state.best) == (STEPS, 7, 0.25)
    assert state.count == (0 if options["name"] == "sgd" else STEPS)
    fields = {"sgd": {"trace"}}.get(options["name"], {"mu", "nu"})
    assert set(state.moments) == (set() if case == "sgd without momentum" else fields)
    for arrays in state.moments.values():
        assert len(arrays) == len(gradients(0)) > 20


@CASES
def test_next_step_is_the_same(case: str) -> None:
    """The strictest test of moments, counters and decay: what the optimiser does with them."""
    training = Torch(case)
    for i in range(STEPS):
        training.step(i)
    state, before = read(training.saved()), ours(training.values())
    optimizer = make_optimizer(
        state.optimizer, weight_decay=state.weight_decay, momentum=state.momentum
    )
    stored = training_state.optimizer_state(state, before)
    direction, _ = optimizer.update(ours(gradients(STEPS)), stored, before)
    training.step(STEPS)
    rate = state.rate(STEPS)
    for name, value in ours(training.values()).items():
        moved = before[name] - rate * np.asarray(direction[name])
        assert relative_difference(moved - before[name], value - before[name]) < 1e-3
        np.testing.assert_allclose(moved, value, rtol=1e-6, atol=1e-7)


@CASES
def test_there_and_back(case: str) -> None:
    """Through our optimiser's state, and through PyTorch's own objects."""
    state = read(trained(case).saved())
    blank = dataclasses.replace(state, count=0, moments={})
    parts = experiment().abstract()
    stored = training_state.optimizer_state(state, parts.params)
    again = training_state.filled(blank, jax.tree.map(jax.numpy.asarray, stored))
    assert_same_state(again, state)
    written = write(again)
    assert_same_state(read(written), again)
    fresh = Torch(case)
    torch = pytest.importorskip("torch")
    content = originals.tensors(written, torch)
    fresh.optimizer.load_state_dict(content["optimizer_dict"])
    schedule = torch_schedule(fresh.optimizer)
    schedule.load_state_dict(content["scheduler_dict"])
    fresh.schedule = schedule
    assert_same_state(read({**fresh.saved(), "epoch": written["epoch"]}), again)


@CASES
def test_pytorch_continues_as_if_nothing_had_happened(case: str) -> None:
    torch = pytest.importorskip("torch")
    straight, other = Torch(case), Torch(case)
    for i in range(STEPS):
        straight.step(i)
    content = originals.tensors(write(read(straight.saved())), torch)
    for key, value in straight.values().items():
        other.parameters[key].data.copy_(torch.from_numpy(value))
    other.optimizer.load_state_dict(content["optimizer_dict"])
    other.schedule.load_state_dict(content["scheduler_dict"])
    for i in range(STEPS, STEPS + 3):
        straight.step(i)
        other.step(i)
        rates = [t.optimizer.param_groups[0]["lr"] for t in (straight, other)]
        assert rates[0] == rates[1] == pytest.approx(Triangle(BASE, TOP, UP, DOWN)(i + 1), 1e-12)
    for key, value in straight.values().items():
        np.testing.assert_array_equal(other.values()[key], value)


@CASES
def test_not_begun(case: str) -> None:
    options = {"momentum": 0.5, **OPTIMIZERS[case]}
    rates = {"base_lr": BASE, "max_lr": TOP, "up_steps": UP, "down_steps": DOWN}
    state = training_state.from_config({**options, **rates})
    stored = training_state.optimizer_state(state, experiment().abstract().params)
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(stored))
    again = training_state.filled(state, stored)
    assert_same_state(again, state)
    written = write(state)
    assert (written["epoch"], written["loss"]) == (-1, float("inf"))
    assert written["optimizer_dict"]["state"] == {}
    assert_same_state(read(written), state)
    fresh = Torch(case)
    fresh.optimizer.load_state_dict(originals.tensors(written["optimizer_dict"], None))
    fresh.schedule.load_state_dict(written["scheduler_dict"])
    fresh.step(0)
    once = Torch(case)
    once.step(0)
    for key, value in once.values().items():
        np.testing.assert_array_equal(fresh.values()[key], value)


def test_files_of_older_versions_leave_adam_and_adamw_open() -> None:
    content = trained("adamw").saved()
    (group,) = content["optimizer_dict"]["param_groups"]
    assert read(content, optimizer="adamw").optimizer == "adamw"
    with pytest.raises(TrainingStateError, match="the optimiser is adamw, not adam"):
        read(content, optimizer="adam")
    del group["decoupled_weight_decay"]
    assert read(content, optimizer="adamw").optimizer == "adamw"
    group["weight_decay"] = 0.01  # means something else to each of them
    with pytest.raises(TrainingStateError, match="say which with --optimizer"):
        read(content)
    group["weight_decay"] = 0.0
    assert read(content).optimizer == "adam"
    with pytest.raises(TrainingStateError, match="the optimiser is SGD, not adam"):
        read(trained("sgd").saved(), optimizer="adam")


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, {"optimizer_dict": {}, "loss": 1.0}])
def test_no_training(content: dict[str, Any]) -> None:
    assert training_state.read(content, table(), shapes(), experiment().is_trainable) is None
