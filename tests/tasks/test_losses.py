"""The losses against values and gradients recorded from the PyTorch original."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seismollm_jax import tasks
from tests import golden_files

GOLDEN = golden_files.load("losses.npz")
CASES = sorted({key.rsplit("/", 1)[0] for key in GOLDEN})
TARGET = {"picking": "labels", "magnitude": "magnitude", "distance": "distance_km"}

# As in production: what the compiler may merge is what these tests are about.
OPTIONS = {"xla_backend_optimization_level": 3}


def both_labelled(rows: int) -> dict[str, np.ndarray]:
    return {f"{phase}_sample_labelled": np.ones(rows, np.float32) for phase in "ps"}


def case(name: str) -> tuple[jax.Array, dict[str, jax.Array], np.ndarray]:
    """Output, targets, recorded gradient, in our layout."""
    task = name.split("/")[0]
    found, gradient = GOLDEN[f"{name}/pred0"], GOLDEN[f"{name}/grad0"]
    if task == "back_azimuth":
        found = np.concatenate([found, GOLDEN[f"{name}/pred1"]], 1)
        gradient = np.concatenate([gradient, GOLDEN[f"{name}/grad1"]], 1)
        target = {"back_azimuth_deg": GOLDEN[f"{name}/degrees"].astype(np.float32)}
    elif task == "polarity":
        target = {"polarity": GOLDEN[f"{name}/target0"].astype(np.float32)}
    else:
        target = {TARGET[task]: GOLDEN[f"{name}/target0"]}
    if task == "picking":
        target = {"labels": target["labels"].swapaxes(1, 2), **both_labelled(len(found))}
        found, gradient = found.swapaxes(1, 2), gradient.swapaxes(1, 2)
    return jnp.asarray(found), jax.tree.map(jnp.asarray, target), gradient


def test_every_task_and_the_saturated_case_are_recorded() -> None:
    assert {name.split("/")[0] for name in CASES} == set(tasks.TASKS)
    saturated = GOLDEN["picking/001/pred0"]
    assert saturated.min() == 0
    assert saturated.max() == 1
    assert GOLDEN["picking/002/target0"].max() > 1


@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient_golden(name: str) -> None:
    task = tasks.get(name.split("/")[0])
    output, targets, gradient = case(name)

    def mean_loss(output: jax.Array, targets: dict[str, jax.Array]) -> jax.Array:
        return task.loss(output, targets).mean()

    program = jax.jit(jax.value_and_grad(mean_loss)).lower(output, targets)
    loss, found = program.compile(compiler_options=OPTIONS)(output, targets)
    np.testing.assert_allclose(loss, GOLDEN[f"{name}/loss"], rtol=1e-6)
    assert golden_files.relative_difference(found, gradient) < 1e-6


@pytest.mark.parametrize("name", [name for name in CASES if name.endswith("/000")])
def test_one_loss_a_row_whatever_the_others(name: str) -> None:
    task = tasks.get(name.split("/")[0])
    output, targets, _ = case(name)
    together = task.loss(output, targets)
    assert together.shape == (len(output),)
    alone = [
        task.loss(output[i : i + 1], {k: v[i : i + 1] for k, v in targets.items()})[0]
        for i in range(len(output))
    ]
    np.testing.assert_allclose(together, alone, rtol=1e-6)


def test_perfect_answers_cost_nothing() -> None:
    angle = np.float32([[30.0], [359.0]])
    vector = np.concatenate([np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))], 1)
    perfect = {
        "back_azimuth": (vector, {"back_azimuth_deg": angle}),
        "magnitude": (np.float32([[3.5]]), {"magnitude": np.float32([[3.5]])}),
        "distance": (np.float32([[120.0]]), {"distance_km": np.float32([[120.0]])}),
        "polarity": (np.float32([[0, 1]]), {"polarity": np.float32([[0, 1]])}),
    }
    for name, (output, targets) in perfect.items():
        loss = tasks.get(name).loss(jnp.asarray(output), jax.tree.map(jnp.asarray, targets))
        np.testing.assert_allclose(loss, 0, atol=2e-6)


def test_neither_curve_trains_nothing() -> None:
    output, targets, _ = case("picking/000")
    gradient = jax.grad(lambda x: tasks.get("picking").loss(x, targets).sum())(output)
    assert not np.any(gradient[:, :, 0])
    assert np.all(gradient[:, :, 1:] != 0)


@pytest.mark.parametrize(("phase", "curve"), [("p", 1), ("s", 2)])
def test_a_phase_without_labels_teaches_nothing(phase: str, curve: int) -> None:
    """Neither the loss nor its gradient depends on the curve; that of the other phase stays."""
    task = tasks.get("picking")
    output, targets, _ = case("picking/000")
    first = jnp.zeros(len(output)).at[0].set(1.0)
    targets = {**targets, f"{phase}_sample_labelled": 1.0 - first}
    whole = case("picking/000")[1]
    gradient = jax.grad(lambda y: task.loss(y, targets).sum())(output)
    expected = jax.grad(lambda y: task.loss(y, whole).sum())(output)
    np.testing.assert_array_equal(gradient[0, :, curve], 0)
    other = 3 - curve
    assert np.abs(gradient[0, :, other]).max() > 0
    np.testing.assert_array_equal(gradient[0, :, other], expected[0, :, other])
    np.testing.assert_array_equal(gradient[1:], expected[1:])
    moved = output.at[0, :, curve].set(0.5)
    np.testing.assert_array_equal(task.loss(moved, targets), task.loss(output, targets))
    assert task.loss(moved, whole)[0] != task.loss(output, whole)[0]
