"""What the rest of the project may ask of a model family, without knowing which one it runs."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

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


@dataclasses.dataclass(frozen=True)
class Family:
    """One architecture.

    Attributes:
        name: the value of `config.model` that selects it.
        resolve: (experiment configuration, settings of a checkpoint or None) -> settings: plain,
            JSON-able, complete. May read configuration files of pretrained weights, never the
            weights themselves, and not even those where a checkpoint's settings tell the same.
        build: (settings, output, rngs) -> module called as module(x, train=..., rngs=...,
            run_block=...), the last a `layers.RunBlock` that calls its parts.
        check_window: (settings, output, window) raises ValueError on a window it cannot take.
        is_trainable: (settings, parameter path) -> whether the optimiser moves it.
        read_pretrained: experiment configuration and settings -> weights to start from.
        kind: parameter path -> the part of the network it belongs to, for reports.
    """

    name: str
    resolve: Callable[[Mapping[str, Any], Mapping[str, Any] | None], dict[str, Any]]
    build: Callable[[Mapping[str, Any], Output, nnx.Rngs], nnx.Module]
    check_window: Callable[[Mapping[str, Any], Output, int], None]
    is_trainable: Callable[[Mapping[str, Any], Path], bool]
    read_pretrained: Callable[[Mapping[str, Any], Mapping[str, Any]], Pretrained]
    kind: Callable[[Path], str]
