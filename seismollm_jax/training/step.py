"""The training state and the pure functions that make and advance it."""

import functools
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from seismollm_jax.experiment import Experiment
from seismollm_jax.models.batch_norm import keep_stored
from seismollm_jax.models.state import Arrays, Split, batch_stats, merge, split
from seismollm_jax.parallel import Layout
from seismollm_jax.training.memory import make_run_block

State = dict[str, Any]  # step, params, stats, opt and, with averaging, average
Batch = Mapping[str, jax.Array]


def make_init(
    experiment: Experiment, optimizer: optax.GradientTransformation, layout: Layout
) -> Callable[[jax.Array], tuple[State, Arrays]]:
    """key -> (state, frozen parameters), random, laid out as `Layout.spread` says."""

    @functools.partial(jax.jit, out_shardings=_shardings(experiment, optimizer, layout))
    def init(key: jax.Array) -> tuple[State, Arrays]:
        parts = split(experiment.build(nnx.Rngs(key)), experiment.is_trainable)
        return _first_state(experiment, optimizer, parts), parts.frozen

    return init


def _first_state(
    experiment: Experiment, optimizer: optax.GradientTransformation, parts: Split
) -> State:
    state: State = {
        "step": jnp.zeros((), jnp.int32),
        "params": parts.params,
        "stats": parts.stats,
        "opt": optimizer.init(parts.params),
    }
    if experiment.config["optim"]["average"]:
        state["average"] = {"params": parts.params, "stats": parts.stats}
    return state


def _shardings(
    experiment: Experiment, optimizer: optax.GradientTransformation, layout: Layout
) -> tuple[Any, Any]:
    parts = experiment.abstract()
    state = jax.eval_shape(
        lambda arrays: _first_state(experiment, optimizer, parts._replace(**arrays)),
        {"params": parts.params, "stats": parts.stats},
    )
    return layout.spread(state), layout.spread(parts.frozen)


def begin_average(state: State) -> None:
    """Lets the averaged weights, if there are any, begin as the weights themselves."""
    if "average" in state:
        # Copies, since the step gives away the memory of all its arguments.
        state["average"] = {part: jax.tree.map(jnp.copy, state[part]) for part in state["average"]}


def evaluated(state: Mapping[str, Any]) -> tuple[Arrays, Arrays]:
    """Parameters and statistics to evaluate with: the averaged ones if there are any."""
    best = state.get("average", state)
    return best["params"], best["stats"]


def make_train_step(
    experiment: Experiment, optimizer: optax.GradientTransformation, layout: Layout
) -> Callable[[State, Arrays, Batch, jax.Array, jax.Array], tuple[State, dict[str, jax.Array]]]:
    """One optimiser step: (state, frozen, batch, key, learning rate) -> (state, figures).

    The batch is split over the mesh, large arrays of the network and the optimiser over its fsdp
    axis; batch statistics are those of the whole batch. The state is donated. Rows with `valid` 0
    have no part in the loss. Dropout draws from the key folded with the step number, so there is no
    random state to keep.

    With `train.accumulate` k > 1 the batch goes through the network in k micro-batches, one after
    the other: micro-batch i has rows i, i + k, i + 2k, ... The gradient is that of the mean loss
    over the whole batch. Batch norms normalise each micro-batch by its own statistics, and the
    running ones take them in one by one, as in PyTorch. With `train.batch_norm` "stored" they
    normalise by their running statistics, which stay.

    With `optim.average` the averaged parameters and statistics follow with this decay, and sooner
    in the first steps: at step t, counted from 0, the decay is at most (1 + t) / (10 + t).

    A step whose loss or gradient is not finite counts, and changes nothing else of the state. The
    figures `loss` and `grad_norm`, of the gradient over all parameters before any clipping, tell.
    `unread` is the number of traces that could not be read.
    """
    graphdef, settings = experiment.abstract().graphdef, experiment.config["train"]
    parts, decay = settings["accumulate"], experiment.config["optim"]["average"]
    run_block = make_run_block(layout, gradient=True, rematerialise=settings["rematerialise"])
    replicated = layout.replicated
    held, held_frozen = _shardings(experiment, optimizer, layout)

    def loss_fn(
        params: Arrays, frozen: Arrays, stats: Arrays, batch: Batch, key: jax.Array, rows: jax.Array
    ):
        """This batch's part of the mean loss over `rows` rows, and the running statistics."""
        model: Any = merge(graphdef, params, frozen, stats)
        if settings["batch_norm"] == "stored":
            keep_stored(model)
        output = model(
            batch["waveform"],
            train=True,
            rngs=nnx.Rngs(dropout=key),
            run_block=run_block,
        )
        losses = experiment.task.loss(output, batch)
        return jnp.where(batch["valid"] > 0, losses, 0).sum() / rows, batch_stats(model)

    loss_and_gradient = jax.value_and_grad(loss_fn, has_aux=True)

    def whole_batch(state: State, frozen: Arrays, batch: Batch, key: jax.Array):
        rows = jnp.maximum(batch["valid"].sum(), 1)
        if parts == 1:
            return loss_and_gradient(state["params"], frozen, state["stats"], batch, key, rows)

        def divided(x: jax.Array) -> jax.Array:  # (batch, ...) -> (parts, batch / parts, ...)
            x = x.reshape(x.shape[0] // parts, parts, *x.shape[1:]).swapaxes(0, 1)
            return jax.lax.with_sharding_constraint(x, layout.micro_batched)

        def add(sums: Any, part: Any):
            loss, stats, gradients = sums
            (more, stats), more_gradients = loss_and_gradient(
                state["params"], frozen, stats, part["batch"], part["key"], rows
            )
            return (loss + more, stats, jax.tree.map(jnp.add, gradients, more_gradients)), None

        micro = {"batch": jax.tree.map(divided, dict(batch)), "key": jax.random.split(key, parts)}
        none = (jnp.zeros(()), state["stats"], jax.tree.map(jnp.zeros_like, state["params"]))
        (loss, stats, gradients), _ = jax.lax.scan(add, none, micro)
        return (loss, stats), gradients

    @functools.partial(
        jax.jit,
        donate_argnums=0,
        in_shardings=(held, held_frozen, layout.batched, replicated, replicated),
        out_shardings=(held, replicated),
    )
    def train_step(state: State, frozen: Arrays, batch: Batch, key: jax.Array, rate: jax.Array):
        key = jax.random.fold_in(key, state["step"])
        (loss, stats), gradients = whole_batch(state, frozen, batch, key)
        direction, opt = optimizer.update(gradients, state["opt"], state["params"])
        params = jax.tree.map(lambda p, d: p - rate * d, state["params"], direction)
        norm = optax.tree.norm(gradients)
        finite = jnp.isfinite(loss) & jnp.isfinite(norm)
        new: State = {"params": params, "stats": stats, "opt": opt}
        if decay:
            step = state["step"].astype(jnp.float32)
            kept = jnp.minimum(decay, (1 + step) / (10 + step))
            new["average"] = jax.tree.map(
                lambda old, now: old + (1 - kept) * (now - old),
                state["average"],
                {"params": params, "stats": stats},
            )
        new = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, {n: state[n] for n in new})
        unread = (1 - batch["readable"]).sum()
        if "unread_donors" in batch:
            unread += (batch["unread_donors"] >= 0).sum()
        figures = {"loss": loss, "grad_norm": norm, "unread": unread}
        return {"step": state["step"] + 1, **new}, figures

    return train_step


def make_eval_step(
    experiment: Experiment, layout: Layout
) -> Callable[[Arrays, Arrays, Arrays, Batch], tuple[jax.Array, jax.Array]]:
    """(params, frozen, stats, batch) -> (output, loss of each row (batch,)), in inference mode."""
    parts, run_block = experiment.abstract(), make_run_block(layout, gradient=False)
    held = [layout.spread(arrays) for arrays in (parts.params, parts.frozen, parts.stats)]

    @functools.partial(jax.jit, in_shardings=(*held, layout.batched), out_shardings=layout.batched)
    def eval_step(params: Arrays, frozen: Arrays, stats: Arrays, batch: Batch):
        model: Any = merge(parts.graphdef, params, frozen, stats)
        output = model(batch["waveform"], run_block=run_block)
        return output, experiment.task.loss(output, batch)

    return eval_step


def warn_of_recompilation(step: Any, batch: Batch) -> None:
    """Warns if a jitted step has been compiled more than once, which batches of one shape forbid.

    Args:
        step: of `make_train_step`.
        batch: the last one.
    """
    if (count := step._cache_size()) > 1:
        shapes = ", ".join(f"{name} {leaf.dtype}{leaf.shape}" for name, leaf in batch.items())
        warnings.warn(
            f"the training step was compiled {count} times, although the shapes of batches never "
            f"change; the last batch: {shapes}",
            stacklevel=2,
        )
