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
from seismollm_jax.models.state import Arrays, batch_stats, merge, split
from seismollm_jax.parallel import Layout

State = dict[str, Any]  # step, params, stats, opt
Batch = Mapping[str, jax.Array]


def make_init(
    experiment: Experiment, optimizer: optax.GradientTransformation, layout: Layout
) -> Callable[[jax.Array], tuple[State, Arrays]]:
    """key -> (state, frozen parameters), random, replicated over the mesh."""

    @functools.partial(jax.jit, out_shardings=layout.replicated)
    def init(key: jax.Array) -> tuple[State, Arrays]:
        parts = split(experiment.build(nnx.Rngs(key)), experiment.is_trainable)
        state = {
            "step": jnp.zeros((), jnp.int32),
            "params": parts.params,
            "stats": parts.stats,
            "opt": optimizer.init(parts.params),
        }
        return state, parts.frozen

    return init


def weighted_mean(values: jax.Array, weights: jax.Array) -> jax.Array:
    """Mean over the rows that count, (batch,) each; 0 if none does."""
    return jnp.where(weights > 0, values, 0).sum() / jnp.maximum(weights.sum(), 1)


def make_train_step(
    experiment: Experiment, optimizer: optax.GradientTransformation, layout: Layout
) -> Callable[[State, Arrays, Batch, jax.Array, jax.Array], tuple[State, dict[str, jax.Array]]]:
    """One optimiser step: (state, frozen, batch, key, learning rate) -> (state, figures).

    The batch is split over the mesh, everything else replicated; batch statistics are those of the
    whole batch. The state is donated. Rows with `valid` 0 have no part in the loss. Dropout draws
    from the key folded with the step number, so there is no random state to keep.

    A step whose loss or gradient is not finite counts, and changes nothing else of the state. The
    figures `loss` and `grad_norm`, of the gradient over all parameters before any clipping, tell.
    `unread` is the number of traces that could not be read.
    """
    graphdef = experiment.abstract().graphdef
    replicated, batched = layout.replicated, layout.batched

    def loss_fn(params: Arrays, frozen: Arrays, stats: Arrays, batch: Batch, key: jax.Array):
        model: Any = merge(graphdef, params, frozen, stats)
        output = model(batch["waveform"], train=True, rngs=nnx.Rngs(dropout=key))
        loss = weighted_mean(experiment.task.loss(output, batch), batch["valid"])
        return loss, batch_stats(model)

    @functools.partial(
        jax.jit,
        donate_argnums=0,
        in_shardings=(replicated, replicated, batched, replicated, replicated),
        out_shardings=replicated,
    )
    def train_step(state: State, frozen: Arrays, batch: Batch, key: jax.Array, rate: jax.Array):
        key = jax.random.fold_in(key, state["step"])
        (loss, stats), gradients = jax.value_and_grad(loss_fn, has_aux=True)(
            state["params"], frozen, state["stats"], batch, key
        )
        direction, opt = optimizer.update(gradients, state["opt"], state["params"])
        params = jax.tree.map(lambda p, d: p - rate * d, state["params"], direction)
        norm = optax.tree.norm(gradients)
        finite = jnp.isfinite(loss) & jnp.isfinite(norm)
        new = {"params": params, "stats": stats, "opt": opt}
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
    graphdef = experiment.abstract().graphdef
    replicated, batched = layout.replicated, layout.batched

    @functools.partial(
        jax.jit,
        in_shardings=(replicated, replicated, replicated, batched),
        out_shardings=batched,
    )
    def eval_step(params: Arrays, frozen: Arrays, stats: Arrays, batch: Batch):
        model: Any = merge(graphdef, params, frozen, stats)
        output = model(batch["waveform"])
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
