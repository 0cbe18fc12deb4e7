"""A PyTorch or safetensors file of the original becomes a checkpoint of this project."""

import json
import math
from pathlib import Path
from typing import Any

import jax
import numpy as np

from seismollm_jax import atomic_files
from seismollm_jax.conversion import comparison, tensor_files, training_state
from seismollm_jax.conversion.foreign import ConfigFor, Given
from seismollm_jax.conversion.network import Network, counters, identical
from seismollm_jax.conversion.opening import open_network
from seismollm_jax.conversion.report import ConversionError, Report
from seismollm_jax.models.seismollm import pretrained
from seismollm_jax.models.state import path as path_of
from seismollm_jax.training import checkpoint, saved
from seismollm_jax.training.provenance import provenance

READ_BACK_BYTES = 64 << 20  # of the written checkpoint, compared at a time


def convert(
    source: Path,
    output: Path,
    *,
    given: Given,
    config_for: ConfigFor,
    report: Report,
    dry_run: bool = False,
) -> None:
    """Writes the checkpoint directory `output`, a working directory that training can continue.

    The tensors are compared after they were written, and the network's output with PyTorch's
    before, where PyTorch is installed. `output` only comes into being when all is well.

    Args:
        source: the file.
        output: must not exist.
        given: what the file does not say.
        config_for: task name -> the configuration to start from.
        report: gets tensors and facts.
        dry_run: write nothing.

    Raises:
        ConversionError: arrays, optimiser or outputs do not fit; all problems.
        FileError: damaged, unsafe or something else.
        FileExistsError: `output` is there.
    """
    report.facts["source"] = str(source)
    if output.exists() and not dry_run:
        raise FileExistsError(f"{output} exists; choose another --output or remove it")
    if source.is_dir():
        raise ConversionError(source, ["a directory; from-torch reads .pth, .pt and .safetensors"])
    network = open_network(source, given, config_for)
    _fill(report, network)
    if dry_run:
        return
    file = tensor_files.open_file(source)
    tensor_files.check(file)
    experiment, sha256 = network.experiment, tensor_files.sha256(source)
    arrays = comparison.state(network)
    verification = comparison.verified(network, experiment, arrays)
    report.facts["verification"] = verification
    comparison.require(verification, source)
    description = dict(network.description)
    earlier = file.notes.get("conversion") or {}
    if earlier and not earlier.get("merged"):
        digest = pretrained.sha256({path_of(name): np.asarray(v) for name, v in arrays.items()})
        if digest != earlier.get("sha256"):  # trained on since: no longer the network described
            description |= {"split_hash": None, "dataset": None, "validation": {}}
            report.facts["changed"] = "its arrays are not those that its notes describe"
    description["conversion"] = {
        "source": source.name,
        "sha256": sha256,
        "format": network.format,
        "wrappers": file.prefix,
        "rules": network.original.version,
        "assumed": dict(network.assumed),
        "given": dict(network.given),
        "ignored": dict(network.ignored),
        "counters": {"step": description["progress"]["step"], "values": counters(network)},
        "verification": verification,
        "provenance": provenance(),
        "earlier": file.notes.get("conversion"),
    }
    if not file.notes:
        description["pretrained"] = {**description["pretrained"], "sha256": sha256}
    state = _training(network, arrays)
    frozen = {name: arrays[name] for name in experiment.abstract().frozen}
    del network, file  # their memory maps, before Orbax takes memory of its own
    with atomic_files.whole(output) as folder:
        folder.mkdir()
        _write(folder, state, frozen, description, maximise=experiment.task.maximise)
        _compare(folder, arrays)
    report.facts["output"] = str(output)


def _fill(report: Report, network: Network) -> None:
    report.facts |= {
        "source": str(network.path),
        "format": network.format,
        "family": network.experiment.family.name,
        "task": network.experiment.task.name,
        "settings": network.experiment.settings,
        "config": network.experiment.config,
        "contract": network.experiment.contract(),
        "assumed": dict(network.assumed),
        "given": dict(network.given),
        "ignored": dict(network.ignored),
        "progress": network.description["progress"],
        "training": network.training() is not None,
    }
    for tensor in network.tensors():
        casts = "" if tensor.dtype in ("float32", "int64") else f", {tensor.dtype} to float32"
        report.add(tensor.theirs, tensor.ours, tensor.transform + casts, tensor)
    for key, reason in network.ignored.items():
        report.rows.append((key, "-", reason, "", ""))


def _training(network: Network, arrays: dict[str, jax.Array]) -> dict[str, Any]:
    """The training state; a fresh optimiser where the file has none."""
    parts = network.experiment.abstract()
    params = {name: arrays[name] for name in parts.params}
    training = network.training()
    if training is None:
        training = training_state.from_config(network.experiment.config["optim"])
    step = network.description["progress"]["step"]
    return {
        "step": np.asarray(step, np.int32),
        "params": params,
        "stats": {name: arrays[name] for name in parts.stats},
        "opt": training_state.optimizer_state(training, parts.params),
    }


def _write(
    folder: Path,
    state: dict[str, Any],
    frozen: dict[str, Any],
    description: dict[str, Any],
    *,
    maximise: bool,
) -> None:
    (folder / "config.json").write_text(json.dumps(description["config"], indent=1) + "\n")
    best = description["progress"]["best"]
    worst = -math.inf if maximise else math.inf
    checkpoints = checkpoint.Checkpoints(folder, maximise=maximise)
    try:
        checkpoints.save(
            description["progress"]["step"],
            state,
            frozen,
            description,
            worst if best is None else best,
        )
    finally:
        checkpoints.close()


def _compare(folder: Path, arrays: dict[str, jax.Array]) -> None:
    """Reads the checkpoint again, a part at a time, and compares it bit for bit."""
    path, group, size = saved.find(folder), [], 0
    names = list(arrays)
    for i, name in enumerate(names):
        group.append(name)
        size += arrays[name].nbytes
        if size > READ_BACK_BYTES or i == len(names) - 1:
            again = saved.read_some(path, group)
            for one in group:
                if not identical(np.asarray(arrays[one]), again[one]):
                    raise ConversionError(path, [f"{one} was not written as it is; disk failing?"])
            group, size = [], 0
