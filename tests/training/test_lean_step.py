"""The training step does nothing that it need not do."""

import jax
import pytest

from seismollm_jax.models.state import path
from tests import setups
from tests.training.steps import RATE, batch, fresh, step_of


def equations(jaxpr):
    """All equations, those of inner functions too."""
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        yield equation
        for value in equation.params.values():
            for inner in value if isinstance(value, (tuple, list)) else (value,):
                if hasattr(getattr(inner, "jaxpr", inner), "eqns"):
                    yield from equations(inner)


def traced(task: str):
    layout = setups.layout(1)
    state, frozen = fresh(task, layout)
    arrays = layout.to_global(batch(task))
    step = step_of(task, layout)
    return step.trace(state, frozen, arrays, jax.random.key(3), RATE), state, frozen


@pytest.mark.parametrize("task", ["magnitude", "picking"])
def test_no_gradient_of_frozen_weights(task: str) -> None:
    step, state, frozen = traced(task)
    products = [
        equation.outvars[0].aval.shape
        for equation in equations(step.jaxpr)
        if equation.primitive.name == "dot_general"
    ]
    kernels = {leaf.shape for name, leaf in frozen.items() if path(name)[-1] == "kernel"}
    learnt = {leaf.shape for leaf in state["params"].values()}
    # A gradient has the shape of its weights, either way round.
    for shape in kernels - learnt - {shape[::-1] for shape in learnt}:
        assert shape not in products
        assert shape[::-1] not in products
    assert learnt & (set(products) | {shape[::-1] for shape in products})  # adapters have one


@pytest.mark.parametrize("task", ["picking"])
def test_no_scattered_additions(task: str) -> None:
    step, _, _ = traced(task)
    shapes = [
        equation.outvars[0].aval.shape
        for equation in equations(step.jaxpr)
        if equation.primitive.name.startswith("scatter")
    ]
    assert not [shape for shape in shapes if len(shape) == 3]  # of activations


def test_the_state_is_updated_in_place() -> None:
    step, state, _ = traced("magnitude")
    assert step.lower().as_text().count("tf.aliasing_output") == len(jax.tree.leaves(state))
