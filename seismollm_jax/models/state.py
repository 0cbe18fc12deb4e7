"""A module as flat dictionaries of arrays, and back.

Steps are pure functions of plain dictionaries: `jax.jit` handles a few hundred flat leaves in half
a millisecond, where module objects take tens. Keys are paths joined by slashes, such as
"backbone/blocks/0/attn/c_attn/lora_a".
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
from flax import nnx, traverse_util

from seismollm_jax.models.family import Path

Arrays = dict[str, jax.Array]


class Split(NamedTuple):
    """A module taken apart."""

    graphdef: nnx.GraphDef
    params: Arrays  # what the optimiser moves
    frozen: Arrays  # parameters that stay
    stats: Arrays  # running statistics


def key(path: Path) -> str:
    """Dictionary key of a parameter path."""
    return "/".join(map(str, path))


def path(name: str) -> Path:
    """Parameter path of a dictionary key."""
    return tuple(int(part) if part.isdigit() else part for part in name.split("/"))


def _flat(state: nnx.State) -> Arrays:
    nested = nnx.to_pure_dict(state)
    return {key(p): leaf for p, leaf in traverse_util.flatten_dict(nested).items()}


def split(module: nnx.Module, is_trainable: Callable[[Path], bool]) -> Split:
    """Takes a module apart; state of any other kind is an error."""

    def trainable(where: Path, variable: nnx.Variable) -> bool:
        return isinstance(variable, nnx.Param) and is_trainable(where)

    filters: tuple[Any, ...] = (trainable, nnx.Param, nnx.BatchStat)
    graphdef, *states = nnx.split(module, *filters)
    params, frozen, stats = map(_flat, states)
    return Split(graphdef, params, frozen, stats)


def merge(graphdef: nnx.GraphDef, *parts: Mapping[str, jax.Array]) -> nnx.Module:
    """Puts a module together from all its arrays; changes to it do not reach the dictionaries."""
    arrays = {path(name): leaf for part in parts for name, leaf in part.items()}
    return nnx.merge(graphdef, traverse_util.unflatten_dict(arrays))


def batch_stats(module: nnx.Module) -> Arrays:
    """The running statistics of a module, after a pass in training mode."""
    return _flat(nnx.state(module, nnx.BatchStat))
