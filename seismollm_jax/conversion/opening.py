"""Opens a trained network: a checkpoint of this project, or a PyTorch or safetensors file."""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from seismollm_jax import experiment as experiments
from seismollm_jax.conversion import originals, training_state
from seismollm_jax.conversion.foreign import ConfigFor, Given, check_task, open_file
from seismollm_jax.conversion.network import Network, counter, state_shapes
from seismollm_jax.conversion.report import ConversionError
from seismollm_jax.conversion.training_state import TrainingState
from seismollm_jax.experiment import Experiment
from seismollm_jax.models.state import key as name_of
from seismollm_jax.models.weights import COUNTER, Rule
from seismollm_jax.training import saved


def open_network(path: Path, given: Given, config_for: ConfigFor) -> Network:
    """Opens a checkpoint directory of this project, or a .pth, .pt or .safetensors file.

    Args:
        path: what to open.
        given: what a foreign file does not say; of a directory it can only confirm the task.
        config_for: the configuration that a foreign file gets, changed where the file tells more.

    Raises:
        ConversionError: the arrays do not make a network; all problems.
        FileError, CheckpointError: damaged, or something else.
        FileNotFoundError: nothing there.
    """
    if path.is_dir():
        return _open_checkpoint(path, given)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    return open_file(path, given, config_for)


def _open_checkpoint(directory: Path, given: Given) -> Network:
    path = saved.find(directory)
    description = saved.read_description(path)
    experiment = experiments.make(description["config"], description["settings"])
    try:
        original = originals.of_family(experiment.family.name)
    except ValueError as error:
        raise ConversionError(path, [str(error)]) from error
    check_task(path, given.task, experiment.task)
    table = tuple(original.table(experiment.settings, experiment.task.output))
    by_key = {entry.key: entry for entry in table}

    @functools.cache
    def arrays() -> dict[str, Any]:
        stored = saved.load(path)
        found = {**stored.params, **stored.frozen, **stored.stats}
        ours = {name_of(p): shape for p, shape in state_shapes(experiment).items()}
        if {name: tuple(leaf.shape) for name, leaf in found.items()} != ours:
            raise saved.CheckpointError(
                f"{path}: its arrays are not those of its own settings; the checkpoint is damaged"
            )
        return found

    def read(key: str) -> np.ndarray:
        entry = by_key[key]
        if isinstance(entry, Rule):
            return entry.convert(np.asarray(arrays()[name_of(entry.path)]))
        if key.endswith(COUNTER):
            return np.asarray(counter(description, key), np.int64)
        return np.zeros(entry.shape, entry.dtype)

    @functools.cache
    def training() -> TrainingState | None:
        if given.weights_only or not original.continues or not saved.has_training(description):
            return None
        return _stored_training(path, description, experiment)

    dtypes = {e.key: "float32" if isinstance(e, Rule) else e.dtype for e in table}
    return Network(
        path, "orbax", experiment, table, dtypes, read, training, description, loaded=arrays
    )


def _stored_training(
    path: Path, description: Mapping[str, Any], experiment: Experiment
) -> TrainingState:
    progress = description["progress"]
    blank = dataclasses.replace(
        training_state.from_config(description["config"]["optim"]),
        step=progress["step"],
        epochs=progress["epoch"],
        best=progress["best"],
    )
    empty = training_state.optimizer_state(blank, experiment.abstract().params)
    return training_state.filled(blank, saved.read_optimizer(path, empty))
