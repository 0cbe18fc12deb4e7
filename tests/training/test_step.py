"""The training step: what learns, what counts, and on how many devices."""

import dataclasses

import jax
import numpy as np
import pytest

from seismollm_jax.training.step import (
    make_eval_step,
    make_train_step,
    warn_of_recompilation,
)
from tests import setups
from tests.training.steps import ADAM, RATE, ROWS, advance, batch, experiment, fresh, start, step_of


def names(prefix: str, leaves: list[str]) -> set[str]:
    return {f"{prefix}/{leaf}" for leaf in leaves}


def expected_paths(task: str) -> tuple[set[str], set[str]]:
    """(learn, frozen) of the tiny network, written out."""
    learn, frozen = set(), set()
    for b in range(4):
        block = f"embedder/blocks/{b}"
        learn |= names(f"{block}/branches/0", ["in_proj/kernel", "conv/kernel"])
        learn |= names(f"{block}/branches/0/norm", ["scale", "bias"])
        learn |= names(block, ["out_proj/kernel", "norm/scale", "norm/bias"])
    learn |= names("backbone", ["wpe", "ln_f/scale", "ln_f/bias"])
    block = "backbone/blocks/0"
    learn |= names(block, ["ln_1/scale", "ln_1/bias", "ln_2/scale", "ln_2/bias"])
    for layer in ("attn/c_attn", "mlp/c_fc"):
        learn |= names(f"{block}/{layer}", ["lora_a", "lora_b"])
    for layer in ("attn/c_attn", "attn/c_proj", "mlp/c_fc", "mlp/c_proj"):
        frozen |= names(f"{block}/{layer}/base", ["kernel", "bias"])
    if task == "picking":
        for i in range(4):
            learn |= names(f"head/up_layers/{i}", ["conv/kernel", "conv/bias"])
            learn |= names(f"head/up_layers/{i}/norm", ["scale", "bias"])
        learn |= names("head/out_conv", ["kernel", "bias"])
    else:
        for layer in ("convs/0", "convs/1", "linear"):
            learn |= names(f"head/{layer}", ["kernel", "bias"])
    return learn, frozen


@pytest.mark.parametrize("task", ["picking", "magnitude"])
def test_exactly_these_learn(task: str) -> None:
    parts = experiment(task).abstract()
    learn, frozen = expected_paths(task)
    assert set(parts.params) == learn
    assert set(parts.frozen) == frozen
    assert all(name.endswith(("/mean", "/var")) for name in parts.stats)
    assert len(parts.stats) == 2 * (12 if task == "picking" else 8)


@pytest.mark.parametrize(("tuning", "frozen"), [("full", 0), ("frozen", 15)])
def test_other_tunings(tuning: str, frozen: int) -> None:
    parts = experiment("magnitude", ("backbone.tuning", tuning)).abstract()
    assert not [name for name in (*parts.params, *parts.frozen) if "lora" in name]
    assert len([name for name in parts.frozen if name.startswith("backbone/")]) == frozen
    assert len(parts.frozen) == frozen


def test_what_learns_moves_and_the_frozen_stays() -> None:
    layout = setups.layout(8)
    state, frozen = fresh("magnitude", layout)
    before, still = jax.device_get((state["params"], frozen))
    step = step_of("magnitude", layout)
    for seed in range(3):
        arrays = layout.to_global(batch("magnitude", seed=seed))
        state, _ = step(state, frozen, arrays, jax.random.key(3), RATE)
    after, frozen = jax.device_get((state["params"], frozen))
    assert frozen.keys() == still.keys()
    assert all(np.array_equal(frozen[name], still[name]) for name in still)
    unmoved = {name for name in before if np.array_equal(before[name], after[name])}
    assert unmoved == set()
    assert int(state["step"]) == 3
    assert state["step"].sharding.is_fully_replicated


@pytest.mark.parametrize("task", ["magnitude", "picking"])
def test_one_device_and_eight_agree(task: str) -> None:
    valid = np.ones(ROWS)
    valid[[1, 6, 7]] = 0
    arrays = batch(task, valid)
    arrays["readable"][[1, 6]] = 0  # the other one lacks its label
    one, one_figures = advance(task, setups.layout(1), arrays)
    eight, eight_figures = advance(task, setups.layout(8), arrays)
    assert float(one_figures["loss"]) == pytest.approx(float(eight_figures["loss"]), rel=1e-6)
    assert float(one_figures["unread"]) == float(eight_figures["unread"]) == 2
    for name in one["stats"]:
        np.testing.assert_allclose(
            one["stats"][name], eight["stats"][name], rtol=2e-6, atol=2e-7, err_msg=name
        )
    # Shards would have statistics of their own if they were not global: this would show it.
    half, _ = advance(
        task, setups.layout(1), {k: np.concatenate([v[:8], v[:8]]) for k, v in arrays.items()}
    )
    assert any(
        not np.allclose(one["stats"][name], half["stats"][name], rtol=1e-4) for name in one["stats"]
    )


def test_the_step_compiles_once() -> None:
    layout = setups.layout(8)
    state, frozen = fresh("magnitude", layout)
    step = make_train_step(experiment("magnitude"), ADAM, layout)
    key = jax.device_put(jax.random.key(3), layout.replicated)
    for seed in range(3):
        arrays = layout.to_global(batch("magnitude", seed=seed))
        rate = layout.replicate(np.float32(1e-3 * seed))
        state, _ = step(state, frozen, arrays, key, rate)
        assert step._cache_size() == 1


def test_another_compilation_is_noticed() -> None:
    layout = setups.layout(8)
    state, frozen = fresh("magnitude", layout)
    step = make_train_step(experiment("magnitude"), ADAM, layout)
    key, arrays = jax.random.key(3), batch("magnitude")
    state, _ = step(state, frozen, layout.to_global(arrays), key, RATE)
    warn_of_recompilation(step, arrays)
    halved = {name: value[:8] for name, value in arrays.items()}
    step(state, frozen, layout.to_global(halved), key, RATE)
    with pytest.warns(UserWarning, match=r"compiled 2 times.*waveform float32\(8, 640, 3\)"):
        warn_of_recompilation(step, halved)


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_step_that_is_not_finite_changes_nothing_but_the_count(where: str) -> None:
    layout, arrays = setups.layout(8), batch("magnitude")
    state, frozen = fresh("magnitude", layout)
    before = jax.device_get(state)
    if where == "loss":
        arrays["waveform"][3, 100, 1] = np.nan
        step = step_of("magnitude", layout)
    else:  # finite in every row, and too large for the norm over all parameters
        made = experiment("magnitude")
        steep = dataclasses.replace(
            made.task, loss=lambda output, targets: 1e38 * made.task.loss(output, targets) / 1e4
        )
        step = make_train_step(dataclasses.replace(made, task=steep), ADAM, layout)
    after, figures = jax.device_get(
        step(state, frozen, layout.to_global(arrays), jax.random.key(3), RATE)
    )
    assert np.isfinite(figures["loss"]) == (where == "gradient")
    assert not np.isfinite(figures["grad_norm"])
    assert after.pop("step") == before.pop("step") + 1
    jax.tree.map(np.testing.assert_array_equal, after, before)


def test_rows_that_are_not_valid_do_not_count() -> None:
    valid = np.ones(ROWS)
    valid[[0, 5]] = 0
    arrays = batch("magnitude", valid)
    first, first_figures = advance("magnitude", setups.layout(8), arrays)
    # Only the targets change: the waveforms are part of the batch statistics.
    arrays["magnitude"] = arrays["magnitude"].copy()
    arrays["magnitude"][[0, 5]] = 1e6
    second, second_figures = advance("magnitude", setups.layout(8), arrays)
    assert float(first_figures["loss"]) == float(second_figures["loss"])
    for name in first["params"]:
        np.testing.assert_array_equal(first["params"][name], second["params"][name])
    arrays["valid"] = np.ones(ROWS, np.float32)
    _, third_figures = advance("magnitude", setups.layout(8), arrays)
    assert float(third_figures["loss"]) > 1e4


def test_a_batch_without_any_valid_row_changes_no_parameter() -> None:
    state, figures = advance("magnitude", setups.layout(8), batch("magnitude", np.zeros(ROWS)))
    params = start("magnitude")[0]["params"]
    assert float(figures["loss"]) == 0
    assert float(figures["unread"]) == 0
    for name, value in params.items():
        np.testing.assert_array_equal(state["params"][name], value)


def test_dropout_follows_key_and_step() -> None:
    layout, arrays = setups.layout(8), batch("magnitude")
    step = step_of("magnitude", layout, ("lora.dropout", 0.5))

    def loss(key: int, number: int) -> float:
        state, frozen = fresh("magnitude", layout)
        state["step"] = layout.replicate(np.int32(number))
        batch_on = layout.to_global(arrays)
        return float(step(state, frozen, batch_on, jax.random.key(key), RATE)[1]["loss"])

    assert loss(0, 0) == loss(0, 0)
    assert loss(0, 0) != loss(0, 1)
    assert loss(0, 0) != loss(1, 0)


def test_evaluation_step_uses_running_statistics_row_by_row() -> None:
    layout = setups.layout(8)
    state, frozen = fresh("magnitude", layout)
    step = make_eval_step(experiment("magnitude"), layout)
    arrays = batch("magnitude")
    output, losses = step(state["params"], frozen, state["stats"], layout.to_global(arrays))
    assert output.shape == (ROWS, 1)
    assert losses.shape == (ROWS,)
    other = batch("magnitude", seed=1)
    other = {name: np.concatenate([arrays[name][:4], other[name][4:]]) for name in arrays}
    changed, _ = step(state["params"], frozen, state["stats"], layout.to_global(other))
    np.testing.assert_array_equal(np.asarray(output)[:4], np.asarray(changed)[:4])
    assert not np.array_equal(np.asarray(output)[4:], np.asarray(changed)[4:])
