"""The training step's options: split arrays, micro-batches, less memory, averaged weights."""

import jax
import numpy as np
import pytest
from flax import nnx

from seismollm_jax.models.batch_norm import BatchNorm, keep_stored
from seismollm_jax.training.step import begin_average, evaluated, make_eval_step, make_init
from tests import setups
from tests.training.steps import ADAM, ROWS, advance, batch, experiment, start, step_of

ACCUMULATE, REMATERIALISE = ("train.accumulate", 2), ("train.rematerialise", True)
STORED = ("train.batch_norm", "stored")


def first_moments(state) -> dict[str, np.ndarray]:
    """A tenth of the gradient, after a first step."""
    return state["opt"][0].mu


def assert_close(found, expected, rtol: float = 2e-5, atol: float = 2e-7) -> None:
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=rtol, atol=atol, err_msg=name)


def test_split_arrays_give_what_one_device_gives() -> None:
    task, fsdp = "picking", 4
    arrays = batch(task)
    one, one_figures = advance(task, setups.layout(1), arrays)
    split, figures = advance(task, setups.layout(8, fsdp), arrays)
    assert float(figures["loss"]) == pytest.approx(float(one_figures["loss"]), rel=1e-6)
    assert float(figures["grad_norm"]) == pytest.approx(float(one_figures["grad_norm"]), rel=1e-5)
    assert_close(split["stats"], one["stats"])
    assert_close(first_moments(split), first_moments(one), rtol=1e-4, atol=1e-6)


def test_with_fsdp_each_device_holds_a_part() -> None:
    layout = setups.layout(8, fsdp=4)
    state, frozen = make_init(experiment("magnitude"), ADAM, layout)(jax.random.key(0))
    for name, leaf in frozen.items():
        assert leaf.addressable_shards[0].data.size == leaf.size / 4, name
    held = sum(leaf.addressable_shards[0].data.size for leaf in jax.tree.leaves(state["opt"]))
    total = sum(leaf.size for leaf in jax.tree.leaves(state["opt"]))
    assert held < 0.4 * total  # arrays of one or two numbers are whole everywhere
    same, _ = make_init(experiment("magnitude"), ADAM, setups.layout(1))(jax.random.key(0))
    for name, leaf in same["params"].items():
        np.testing.assert_array_equal(np.asarray(state["params"][name]), np.asarray(leaf))


def operations(layout, name: str, *changes) -> int:
    """How often an operation stands in the step before the compiler sees it."""
    arrays = [jax.tree.map(np.asarray, tree) for tree in start("magnitude")]
    step = step_of("magnitude", layout, *changes)
    lowered = step.lower(*arrays, batch("magnitude"), jax.random.key(3), np.float32(1))
    return lowered.as_text().count(name)


def test_whole_arrays_are_not_held_for_the_gradient() -> None:
    """They are collected twice, and activations are worked out twice only if asked for."""
    layout = setups.layout(8, fsdp=4)
    split = [leaf for leaf in layout.spread(start("magnitude")[1]).values() if any(leaf.spec)]
    assert len(split) == 8  # weights and biases of the four layers of a block
    constraint, product = "sdy.sharding_constraint", "stablehlo.dot_general"
    assert operations(layout, constraint) >= 2 * len(split)
    assert operations(layout, product) == operations(setups.layout(8), product)
    assert operations(layout, product, REMATERIALISE) > operations(layout, product)


def test_micro_batches_add_up() -> None:
    layout, valid = setups.layout(8, 2), np.ones(ROWS)
    valid[[1, 6, 7]] = 0  # 7 of the even rows count, and 6 of the odd ones
    arrays = batch("magnitude", valid)
    both, both_figures = advance("magnitude", layout, arrays, ACCUMULATE)
    alone = setups.layout(1)
    one, one_figures = advance("magnitude", alone, {k: v[0::2] for k, v in arrays.items()})
    then = {**start("magnitude")[0], "stats": one["stats"]}
    two, two_figures = advance(
        "magnitude", alone, {k: v[1::2] for k, v in arrays.items()}, state=then
    )
    expected = (7 * float(one_figures["loss"]) + 6 * float(two_figures["loss"])) / 13
    assert float(both_figures["loss"]) == pytest.approx(expected, rel=1e-6)
    assert_close(both["stats"], two["stats"])
    mean = {
        name: (7 * value + 6 * first_moments(two)[name]) / 13
        for name, value in first_moments(one).items()
    }
    assert_close(first_moments(both), mean, rtol=1e-4, atol=1e-6)


def test_stored_statistics_stay() -> None:
    """They make the training loss that of inference, and batch norms learn all the same."""
    task, layout, arrays = "magnitude", setups.layout(1), batch("magnitude")
    state, figures = advance(task, layout, arrays, ACCUMULATE, STORED)
    first, frozen = start(task)
    for name, value in first["stats"].items():
        np.testing.assert_array_equal(state["stats"][name], value, err_msg=name)
    evaluate = make_eval_step(experiment(task), layout)
    _, losses = evaluate(first["params"], frozen, first["stats"], layout.to_global(arrays))
    assert float(figures["loss"]) == pytest.approx(float(np.mean(losses)), rel=1e-5)
    norms = {name.removesuffix("/var") for name in first["stats"] if name.endswith("/var")}
    moments = first_moments(state)
    for norm in norms:
        assert all(np.abs(moments[f"{norm}/{part}"]).max() > 0 for part in ("scale", "bias")), norm


@pytest.mark.parametrize("family", ["seismollm", "seist_s"])
def test_no_batch_norm_is_forgotten(family: str) -> None:
    made = experiment("picking", ("model", family))
    network = nnx.eval_shape(lambda: made.build(nnx.Rngs(0)))
    keep_stored(network)
    norms = [part for _, part in nnx.iter_modules(network) if isinstance(part, BatchNorm)]
    assert all(norm.stored for norm in norms)
    assert 2 * len(norms) == len(made.abstract().stats)


def test_what_is_worked_out_twice_is_the_same() -> None:
    task = "picking"
    layout, dropout = setups.layout(1), ("lora.dropout", 0.5)
    kept, kept_figures = advance(task, layout, batch(task), dropout)
    again, figures = advance(task, layout, batch(task), dropout, REMATERIALISE)
    assert float(figures["loss"]) == pytest.approx(float(kept_figures["loss"]), rel=1e-6)
    assert_close(again["stats"], kept["stats"])
    assert_close(first_moments(again), first_moments(kept), rtol=1e-4, atol=1e-6)


def test_averaged_weights_follow() -> None:
    layout, average = setups.layout(1), ("optim.average", 0.2)
    state, _ = start("magnitude")
    parts = {part: state[part] for part in ("params", "stats")}
    state, expected = {**state, "average": parts}, parts
    for number, decay in enumerate([0.1, 2 / 11, 0.2]):
        arrays = batch("magnitude", seed=number)
        state, _ = advance("magnitude", layout, arrays, average, state=state)
        now = {part: state[part] for part in ("params", "stats")}
        expected = jax.tree.map(lambda a, b, d=decay: d * a + (1 - d) * b, expected, now)
    params, stats = evaluated(state)
    assert_close(params, expected["params"])
    assert_close(stats, expected["stats"])
    assert evaluated(now) == (now["params"], now["stats"])


def test_the_average_begins_with_the_first_weights_and_memory_of_its_own() -> None:
    changes = ("optim.average", 0.9)
    layout = setups.layout(1)
    state, frozen = make_init(experiment("magnitude", changes), ADAM, layout)(jax.random.key(0))
    state["params"] = jax.tree.map(lambda leaf: leaf + 1, state["params"])  # pretrained ones, say
    begin_average(state)
    for name, leaf in state["params"].items():
        np.testing.assert_array_equal(leaf, state["average"]["params"][name])
    step, arrays = step_of("magnitude", layout, changes), layout.to_global(batch("magnitude"))
    for _ in range(2):  # arrays that share memory cannot be given away
        state, _ = step(state, frozen, arrays, jax.random.key(3), np.float32(1e-3))
