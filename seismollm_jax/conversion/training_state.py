"""PyTorch's optimiser and schedule, as the original's training files hold them, to ours and back.

The files keep one parameter group over all parameters, frozen ones too, numbered in the order of
registration; only those that learn have moments. The schedule is PyTorch's CyclicLR in its
triangular mode.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import optax

from seismollm_jax.models.family import Path
from seismollm_jax.models.state import key as name_of
from seismollm_jax.models.state import path as path_of
from seismollm_jax.models.weights import Extra, Rule, Shape
from seismollm_jax.training.optim import Triangle, make_optimizer

STATISTICS = ("mean", "var")  # of batch norms; buffers, which the optimiser does not know
BETAS, EPSILON = (0.9, 0.999), 1e-8
UNUSED_MOMENTUM = 0.9  # of Adam, whose options in a file have none
# Our optimiser state's fields -> PyTorch's names of the same, by optimiser.
MOMENTS = {
    "adam": {"mu": "exp_avg", "nu": "exp_avg_sq"},
    "adamw": {"mu": "exp_avg", "nu": "exp_avg_sq"},
    "sgd": {"trace": "momentum_buffer"},
}


class TrainingStateError(ValueError):
    """An optimiser or schedule that cannot be continued here.

    Attributes:
        problems: one line each.
    """

    def __init__(self, problems: list[str]):
        self.problems = problems
        super().__init__("\n  ".join(problems))


@dataclasses.dataclass(frozen=True)
class TrainingState:
    """Where a training stands.

    Attributes:
        optimizer: adam, adamw or sgd.
        weight_decay, momentum: its options.
        rate: the learning-rate cycle.
        step: position in the cycle, in optimiser steps.
        count: steps that the optimiser itself counts; 0 for one that has not begun, and for SGD.
        moments: our field -> parameter path -> array, ours; empty if it has not begun.
        epochs: completed ones.
        best: smallest validation loss so far, None if there is none.
    """

    optimizer: str
    weight_decay: float
    momentum: float
    rate: Triangle
    step: int
    count: int
    moments: Mapping[str, Mapping[Path, np.ndarray]]
    epochs: int
    best: float | None


def parameters(table: Sequence[Rule | Extra]) -> list[Rule | Extra]:
    """The entries that are parameters in PyTorch, in the order in which its optimiser numbers them.

    The empty token embedding is one of them.
    """
    return [
        entry
        for entry in table
        if (isinstance(entry, Rule) and entry.path[-1] not in STATISTICS)
        or (isinstance(entry, Extra) and entry.dtype == "float32")
    ]


def read(
    training: Mapping[str, Any],
    table: Sequence[Rule | Extra],
    shapes: Mapping[Path, Shape],
    learns: Callable[[Path], bool],
    *,
    optimizer: str | None = None,
) -> TrainingState | None:
    """The training state in a full training file; None if it holds neither optimiser nor schedule.

    Args:
        training: the file's top level, without the network.
        table: of the network.
        shapes: of the network's arrays, by path, ours.
        learns: whether the optimiser moves the parameter at a path.
        optimizer: "adam" or "adamw", where the file leaves that open.

    Raises:
        TrainingStateError: with all problems.
    """
    stored: Any = training.get("optimizer_dict")
    schedule: Any = training.get("scheduler_dict")
    if all(isinstance(part, Mapping | None) and not part for part in (stored, schedule)):
        return None
    problems: list[str] = []
    try:
        group, states = stored["param_groups"][0], dict(stored["state"])
        if len(stored["param_groups"]) > 1:
            problems.append("the optimiser has several parameter groups; the original has one")
        name = _optimizer_name(group, optimizer, problems)
        rate, step = _schedule(schedule, problems)
        wanted = [
            entry if isinstance(entry, Rule) and learns(entry.path) else None
            for entry in parameters(table)
        ]
        if list(group["params"]) != list(range(len(wanted))):
            problems.append(
                f"the optimiser knows {len(group['params'])} parameters, the network has "
                f"{len(wanted)}, and they have to be numbered from 0"
            )
        else:
            names = [entry.key for entry in parameters(table)]
            count, moments = _moments(MOMENTS[name], states, wanted, names, shapes, problems)
        epochs, loss = int(training.get("epoch", -1)) + 1, training.get("loss")
        best = None if loss is None or not math.isfinite(float(loss)) else float(loss)
        decay = float(group["weight_decay"])
        momentum = float(group.get("momentum", UNUSED_MOMENTUM))
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, OverflowError) as error:
        problems.append(f"optimiser or schedule incomplete: {type(error).__name__} {error}")
    if problems:
        raise TrainingStateError(problems)
    return TrainingState(name, decay, momentum, rate, step, count, moments, epochs, best)


def _optimizer_name(group: Mapping[str, Any], told: str | None, problems: list[str]) -> str:
    unusual = {"amsgrad": False, "maximize": False, "nesterov": False, "dampening": 0}
    problems += [
        f"optimiser option {option}={group[option]} is not known here"
        for option, usual in unusual.items()
        if group.get(option, usual) != usual
    ]
    if "betas" not in group:
        if told:
            problems.append(f"the optimiser is SGD, not {told}")
        return "sgd"
    if tuple(group["betas"]) != BETAS or group["eps"] != EPSILON:
        problems.append(
            f"Adam with betas={tuple(group['betas'])}, eps={group['eps']}; here they are "
            f"{BETAS} and {EPSILON}"
        )
    if "decoupled_weight_decay" not in group:  # before PyTorch 2.7
        if told is None and group["weight_decay"]:
            problems.append(
                f"weight_decay {group['weight_decay']} of Adam or of AdamW: say which with "
                "--optimizer"
            )
        return told or "adam"
    name = "adamw" if group["decoupled_weight_decay"] else "adam"
    if told and told != name:
        problems.append(f"the optimiser is {name}, not {told}")
    return name


def _schedule(schedule: Mapping[str, Any], problems: list[str]) -> tuple[Triangle, int]:
    if schedule["mode"] != "triangular" or schedule["cycle_momentum"]:
        problems.append("the schedule is not a plain triangular cycle")
    total, share = float(schedule["total_size"]), float(schedule["step_ratio"])
    up, down = round(total * share), round(total * (1 - share))
    if up < 1 or down < 1 or not math.isclose(up / total, share, rel_tol=1e-9):
        problems.append(f"a cycle of {total} steps that rises for {share} of them")
    (base,), (maximum,) = schedule["base_lrs"], schedule["max_lrs"]
    if not (math.isfinite(base) and math.isfinite(maximum)):
        problems.append(f"the learning rate goes from {base} to {maximum}")
    step = int(schedule["last_epoch"])
    if step < 0:
        problems.append(f"the schedule stands at step {step}")
    return Triangle(float(base), float(maximum), max(up, 1), max(down, 1)), step


def _moments(
    fields: Mapping[str, str],
    states: Mapping[Any, Mapping[str, Any]],
    wanted: Sequence[Rule | None],
    names: Sequence[str],
    shapes: Mapping[Path, Shape],
    problems: list[str],
) -> tuple[int, dict[str, dict[Path, np.ndarray]]]:
    """Steps counted by the optimiser, and its moments; `wanted` is None for what stays frozen."""
    if not states:
        return 0, {}
    moments: dict[str, dict[Path, np.ndarray]] = {ours: {} for ours in fields}
    counts, counts_steps = set[float](), "exp_avg" in fields.values()  # SGD does not
    for index in sorted(set(states) - set(range(len(wanted))), key=str):
        problems.append(f"moments of a parameter that does not exist: number {index}")
    for index, rule in enumerate(wanted):
        state = states.get(index)
        if rule is None or state is None:
            if rule is not None:
                problems.append(f"no moments of {rule.key}, which learns")
            elif state is not None:
                problems.append(f"moments of {names[index]}, which does not learn here")
            continue
        if counts_steps:
            counts.add(float(state["step"]))
        for ours, theirs in fields.items():
            value, expected = np.asarray(state[theirs]), rule.shape(shapes[rule.path])
            where = f"{theirs} of {rule.key}"
            if value.shape != expected:
                problems.append(f"shape of {where}: {value.shape}, expected {expected}")
            elif value.dtype != np.float32:
                problems.append(f"type of {where}: {value.dtype}, expected float32")
            elif not np.isfinite(value).all():
                problems.append(f"{where} holds values that are not finite")
            moments[ours][rule.path] = rule.convert(value)
    count, *others = counts or {0.0}
    if others:
        problems.append(f"the parameters have made different numbers of steps: {sorted(counts)}")
    elif counts and not (count >= 1 and count.is_integer()):
        problems.append(f"the parameters have moments after {count} steps")
    else:
        return int(count), moments
    return 0, moments


def from_config(options: Mapping[str, Any]) -> TrainingState:
    """The state before the first step.

    Args:
        options: `optim` of an experiment's configuration.
    """
    return TrainingState(
        optimizer=options["name"],
        weight_decay=options["weight_decay"],
        momentum=options["momentum"] if options["name"] == "sgd" else UNUSED_MOMENTUM,
        rate=Triangle(
            options["base_lr"], options["max_lr"], options["up_steps"], options["down_steps"]
        ),
        step=0,
        count=0,
        moments={},
        epochs=0,
        best=None,
    )


def optimizer_state(state: TrainingState, params: Mapping[str, Any]) -> Any:
    """Our optimiser's state, with NumPy arrays; moments that are not there are zero.

    Args:
        state: what to put in.
        params: parameter name -> array or shape of those that learn.
    """
    optimizer = make_optimizer(
        state.optimizer, weight_decay=state.weight_decay, momentum=state.momentum
    )
    abstract = jax.eval_shape(
        optimizer.init,
        {name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for name, leaf in params.items()},
    )
    empty = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), abstract)
    filled = {
        field: {name_of(path): value for path, value in arrays.items()}
        for field, arrays in state.moments.items()
    }
    if state.optimizer != "sgd":
        filled["count"] = np.asarray(state.count, np.int32)  # type: ignore[assignment]
    return optax.tree_utils.tree_set(empty, **filled)


def filled(state: TrainingState, stored: Any) -> TrainingState:
    """The training state with the moments of our optimiser's state."""
    sgd = state.optimizer == "sgd"
    count = 0 if sgd else int(optax.tree_utils.tree_get(stored, "count"))
    if not (state.step and state.momentum if sgd else count):  # without momentum it plays no part
        return state
    moments = {
        field: {
            path_of(name): np.asarray(value)
            for name, value in optax.tree_utils.tree_get(stored, field).items()
        }
        for field in MOMENTS[state.optimizer]
    }
    return dataclasses.replace(state, count=count, moments=moments)


def write(
    state: TrainingState, table: Sequence[Rule | Extra], learns: Callable[[Path], bool]
) -> dict[str, Any]:
    """The top level of a training file, without the network, as PyTorch 2.4 writes it.

    Later versions of PyTorch fill in what they have added since.
    """
    entries = parameters(table)
    lr = state.rate(state.step)
    group: dict[str, Any] = {"initial_lr": state.rate.base, "lr": lr}
    # In PyTorch's order, although nothing depends on it.
    if state.optimizer == "sgd":
        group |= {"momentum": state.momentum, "dampening": 0, "weight_decay": state.weight_decay}
        group |= {"nesterov": False, "maximize": False, "foreach": None}
    else:
        group |= {"betas": BETAS, "eps": EPSILON, "weight_decay": state.weight_decay}
        group |= {"amsgrad": False, "maximize": False, "foreach": None, "capturable": False}
    group |= {"differentiable": False, "fused": None}
    if state.optimizer == "adamw" or (state.optimizer == "adam" and state.weight_decay):
        # Later versions tell the two apart by this.
        group["decoupled_weight_decay"] = state.optimizer == "adamw"
    group["params"] = list(range(len(entries)))
    states: dict[int, dict[str, Any]] = {}
    for index, entry in enumerate(entries):
        if state.moments and isinstance(entry, Rule) and learns(entry.path):
            if state.optimizer != "sgd":
                states[index] = {"step": np.asarray(state.count, np.float32)}
            for ours, theirs in MOMENTS[state.optimizer].items():
                value = np.ascontiguousarray(entry.convert(state.moments[ours][entry.path]))
                states.setdefault(index, {})[theirs] = value
    total = float(state.rate.up + state.rate.down)
    schedule = {
        "max_lrs": [state.rate.maximum],
        "total_size": total,
        "step_ratio": state.rate.up / total,
        "mode": "triangular",
        "gamma": 1.0,
        "scale_mode": "cycle",
        "cycle_momentum": False,
        "base_lrs": [state.rate.base],
        "last_epoch": state.step,
        "verbose": False,
        "_step_count": state.step + 1,
        "_get_lr_called_within_step": False,
        "_last_lr": [lr],
        "_scale_fn_custom": None,
    }
    return {
        "epoch": state.epochs - 1,
        "optimizer_dict": {"state": states, "param_groups": [group]},
        "scheduler_dict": schedule,
        "loss": math.inf if state.best is None else state.best,
        "use_compile": False,
        "use_ddp": False,
    }
