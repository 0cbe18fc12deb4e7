"""A trained network in any file format, seen through PyTorch's names."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seismollm_jax.conversion import originals
from seismollm_jax.conversion.original import Original
from seismollm_jax.conversion.training_state import MOMENTS, TrainingState
from seismollm_jax.experiment import Experiment
from seismollm_jax.models.family import Path as StatePath
from seismollm_jax.models.state import key as name_of
from seismollm_jax.models.state import path as path_of
from seismollm_jax.models.weights import COUNTER, Extra, Rule, Shape


class Tensor(NamedTuple):
    """One array of a conversion, for reports."""

    theirs: str  # name in PyTorch
    ours: str  # name here, "" for one without a counterpart
    transform: str
    shape: Shape  # PyTorch's
    dtype: str


@dataclasses.dataclass(frozen=True)
class Network:
    """One network; opening has checked its names, shapes and types against the table of rules.

    Attributes:
        path: of its file or directory.
        format: "pth", "safetensors" or "orbax".
        experiment: task, settings, preprocessing.
        table: every array under its PyTorch name, in PyTorch's order.
        dtypes: of the arrays as they are stored, by PyTorch name.
        read: PyTorch name -> array in PyTorch's layout; float32, counters int64.
        training: gives optimiser and schedule; None where there are none, or none were asked for.
        description: as in a checkpoint of this project.
        assumed: what the file does not say and nobody told.
        given: what the file does not say and somebody told.
        ignored: names in the file that play no part, with the reason.
        loaded: gives all arrays by our names, for a checkpoint, which is read as a whole.
    """

    path: Path
    format: str
    experiment: Experiment
    table: tuple[Rule | Extra, ...]
    dtypes: Mapping[str, str]
    read: Callable[[str], np.ndarray]
    training: Callable[[], TrainingState | None]
    description: dict[str, Any]
    assumed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    given: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    ignored: Mapping[str, str] = dataclasses.field(default_factory=dict)
    loaded: Callable[[], dict[str, Any]] | None = None

    @property
    def original(self) -> Original:
        """The published code whose files hold such networks."""
        return originals.of_family(self.experiment.family.name)

    @property
    def config(self) -> Any:
        """Sizes of the network, in the type of its family."""
        return self.original.config(self.experiment.settings)

    @property
    def rules(self) -> list[Rule]:
        """The part of the table that has a counterpart here."""
        return [entry for entry in self.table if isinstance(entry, Rule)]

    def tensors(self) -> list[Tensor]:
        """Everything that a conversion carries over, the optimiser's moments too."""
        shapes, training = self.shapes(), self.training()
        found = [
            Tensor(entry.key, "", entry.reason, shapes[entry.key], self.dtypes[entry.key])
            if isinstance(entry, Extra)
            else Tensor(
                entry.key,
                name_of(entry.path),
                entry.layout,
                shapes[entry.key],
                self.dtypes[entry.key],
            )
            for entry in self.table
        ]
        if training is None:
            return found
        for ours, moments in training.moments.items():
            theirs = MOMENTS[training.optimizer][ours]
            found += [
                Tensor(
                    f"{theirs} of {rule.key}",
                    f"opt/{ours}/{name_of(rule.path)}",
                    rule.layout,
                    shapes[rule.key],
                    "float32",
                )
                for rule in self.rules
                if rule.path in moments
            ]
        return found

    def shapes(self) -> dict[str, Shape]:
        """PyTorch's shapes by PyTorch's names."""
        ours = state_shapes(self.experiment)
        return {
            entry.key: entry.shape if isinstance(entry, Extra) else entry.shape(ours[entry.path])
            for entry in self.table
        }


def state_shapes(experiment: Experiment) -> dict[StatePath, Shape]:
    """Shape of every array of the network, by path, ours."""
    parts = experiment.abstract()
    return {
        path_of(name): tuple(leaf.shape)
        for part in (parts.params, parts.frozen, parts.stats)
        for name, leaf in part.items()
    }


def counter(description: Mapping[str, Any], key: str) -> int:
    """Training passes that a batch norm has seen.

    One for each step here, on top of those that a converted network had seen before.
    """
    steps = description["progress"]["step"]
    before = (description.get("conversion") or {}).get("counters")
    if before is None:
        return steps
    values = before["values"]
    return steps - before["step"] + (values[key] if isinstance(values, Mapping) else values)


def identical(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays agree bit for bit, in shape and type too."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    one, two = (np.ascontiguousarray(x).reshape(-1).view(np.uint8) for x in (a, b))
    return np.array_equal(one, two)


def counters(network: Network) -> int | dict[str, int]:
    """Values of all counters of a network: one number where they agree, which is the rule."""
    values = {e.key: int(network.read(e.key)) for e in network.table if e.key.endswith(COUNTER)}
    return values if len(set(values.values())) > 1 else next(iter(values.values()))
