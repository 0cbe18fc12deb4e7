"""What the rest of the project may ask of a model family, without knowing which one it runs."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx

from seismollm_jax.models.output import Output

Path = tuple[str | int, ...]


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """Weights read from files, to be laid over a fresh model.

    Attributes:
        arrays: parameter path -> value.
        source: where they come from, for the log and for provenance; random weights say so.
        sha256: of the file contents, None for random weights.
    """

    arrays: Mapping[Path, np.ndarray]
    source: str
    sha256: str | None


class InferenceGraph(NamedTuple):
    """A trained network for use alone.

    Attributes:
        function: (arrays, x, channels) -> output: of normalised windows (batch, samples,
            components), those channels of the output, in this order; None for all. Traceable.
        arrays: any tree of arrays, on the host or on a device.
    """

    function: Callable[[Any, jax.Array, Sequence[int] | None], jax.Array]
    arrays: Any


@dataclasses.dataclass(frozen=True)
class Family:
    """One architecture.

    Attributes:
        name: the value of `config.model` that selects it.
        title: what it is called where its answers are shown, such as in the names of traces.
        resolve: (experiment configuration, settings of a checkpoint or None) -> settings: plain,
            JSON-able, complete. May read configuration files of pretrained weights, never the
            weights themselves, and not even those where a checkpoint's settings tell the same.
        build: (settings, output, rngs) -> module called as module(x, train=..., rngs=...,
            run_block=...), the last a `layers.RunBlock` that calls its parts.
        check_window: (settings, output, window) raises ValueError on a window it cannot take.
        is_trainable: (settings, parameter path) -> whether the optimiser moves it.
        read_pretrained: experiment configuration and settings -> weights to start from.
        kind: parameter path -> the part of the network it belongs to, for reports.
        forms: task -> the form in which the family was published to learn it, where that is not
            the task's first one.
        for_inference: (settings, output, all arrays of the network by name) -> a graph that
            computes the same with fewer operations; None: there is none, see `models.inference`.
    """

    name: str
    title: str
    resolve: Callable[[Mapping[str, Any], Mapping[str, Any] | None], dict[str, Any]]
    build: Callable[[Mapping[str, Any], Output, nnx.Rngs], nnx.Module]
    check_window: Callable[[Mapping[str, Any], Output, int], None]
    is_trainable: Callable[[Mapping[str, Any], Path], bool]
    read_pretrained: Callable[[Mapping[str, Any], Mapping[str, Any]], Pretrained]
    kind: Callable[[Path], str]
    forms: Mapping[str, str] = dataclasses.field(default_factory=dict)
    for_inference: (
        Callable[[Mapping[str, Any], Output, Mapping[str, Any]], InferenceGraph] | None
    ) = None
