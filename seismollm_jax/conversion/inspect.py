"""Says what a file or directory with weights holds, from its headers alone."""

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp

from seismollm_jax import experiment as experiments
from seismollm_jax.conversion import originals, tensor_files
from seismollm_jax.conversion.foreign import tasks_with_head
from seismollm_jax.conversion.network import Tensor
from seismollm_jax.conversion.original import Settings
from seismollm_jax.conversion.report import Report
from seismollm_jax.conversion.tensor_files import TensorFile
from seismollm_jax.models.seismollm import pretrained
from seismollm_jax.models.state import key as name_of
from seismollm_jax.models.weights import Rule
from seismollm_jax.tasks.base import Task
from seismollm_jax.training import backbone, saved


def inspect(source: Path, report: Report) -> None:
    """Fills a report with what `source` is: task, sizes, training, tensors, provenance.

    Args:
        source: a checkpoint or working directory, a .pth, .pt or .safetensors file, or a GPT-2
            directory (Hugging Face's or converted).
        report: gets one row for each tensor.

    Raises:
        FileError, CheckpointError, SourceError: damaged, or none of these.
        FileNotFoundError: nothing there.
    """
    if not source.exists():
        raise FileNotFoundError(f"{source} does not exist")
    report.facts["source"] = str(source)
    if source.is_file():
        _inspect_file(tensor_files.open_file(source), report)
    elif (source / pretrained.DESCRIPTION).is_file() or _is_gpt2(source):
        _inspect_gpt2(source, report)
    else:
        _inspect_checkpoint(source, report)


def _is_gpt2(directory: Path) -> bool:
    """Whether it is a Hugging Face directory; a working directory has a config.json too."""
    file = directory / "config.json"
    if not file.is_file() or (directory / saved.FOLDER).is_dir():
        return False
    try:
        return "backbone" not in json.loads(file.read_text())
    except ValueError:  # what is wrong with it is said when it is read
        return True


def _add(report: Report, tensors: list[Tensor]) -> None:
    for tensor in tensors:
        report.add(tensor.theirs, tensor.ours, tensor.transform, tensor)
    report.facts["arrays"] = len(tensors)
    report.facts["numbers"] = sum(math.prod(tensor.shape) for tensor in tensors)


# -- checkpoints of this project -----------------------------------------------------------------


def _inspect_checkpoint(directory: Path, report: Report) -> None:
    path = saved.find(directory)
    description = saved.read_description(path)
    report.facts |= {"format": "checkpoint", "path": str(path)}
    report.facts |= _described(description)
    parts = saved.read_shapes(path)
    tensors = [
        Tensor("", name, what, shape, dtype)
        for part, what in (("params", "learns"), ("frozen", "frozen"), ("stats", "statistic"))
        for name, (shape, dtype) in parts[part].items()
    ]
    _add(report, tensors)
    report.facts["parameters"] = {
        what: sum(math.prod(tensor.shape) for tensor in tensors if tensor.transform == what)
        for what in ("learns", "frozen")
    }
    if backbone.ENTRY in description:
        report.facts["left out"] = description[backbone.ENTRY]


def _described(description: Mapping[str, Any]) -> dict[str, Any]:
    names = ("task", "settings", "contract", "progress", "pretrained", "provenance", "conversion")
    return {name: description[name] for name in names if description.get(name)}


# -- files of PyTorch ----------------------------------------------------------------------------


def _inspect_file(file: TensorFile, report: Report) -> None:
    report.facts |= {"format": file.format, "wrappers": file.prefix or "none"}
    description = file.notes.get("description")
    places: dict[str, Rule] = {}
    try:
        found = _known(description) if description else _recognised(file, report)
        family, settings, candidates = found
        report.facts["model"] = family
        if candidates:
            table = originals.of_family(family).table(settings, candidates[0].output)
            places = {entry.key: entry for entry in table if isinstance(entry, Rule)}
        report.facts["task"] = " or ".join(task.name for task in candidates) or "unknown"
        report.facts["settings"] = dict(settings)
    except (ValueError, KeyError, TypeError) as error:
        report.facts["task"] = f"not recognised: {error}"
    if file.training is not None:
        report.facts["training"] = _training(file.training)
    if description:
        report.facts |= _described(description)
    if "conversion" in file.notes:
        report.facts["conversion"] = file.notes["conversion"]
    tensors = [
        Tensor(
            key,
            name_of(places[key].path) if key in places else "",
            places[key].layout if key in places else "",
            entry.shape,
            entry.dtype,
        )
        for key, entry in file.tensors.items()
    ]
    _add(report, tensors)


def _known(description: Mapping[str, Any]) -> tuple[str, Settings, list[Task]]:
    """Family, sizes and task of a file that describes itself."""
    experiment = experiments.make(description["config"], description["settings"])
    return experiment.family.name, experiment.settings, [experiment.task]


def _recognised(file: TensorFile, report: Report) -> tuple[str, Settings, list[Task]]:
    """Family and sizes told from names and shapes, and the tasks that have such a head."""
    original = originals.of_names(file.tensors)
    found = original.recognise({key: entry.shape for key, entry in file.tensors.items()}, {})
    report.facts["assumed"] = {**original.defaults, **found.assumed}
    return found.family, found.settings, tasks_with_head(found)


def _training(training: Mapping[str, Any]) -> dict[str, Any]:
    """What a training file says besides tensors, as far as it is what it should be."""
    scalars = (int, float, str, bool)
    plain: dict[str, Any] = {k: v for k, v in training.items() if isinstance(v, scalars)}
    match training.get("optimizer_dict"):
        case {"param_groups": [{**options}, *_], "state": {**states}}:
            plain["optimizer"] = {k: v for k, v in options.items() if k != "params"}
            plain["parameters with moments"] = len(states)
        case None:
            plain["optimizer"] = None
        case other:
            plain["optimizer"] = f"not understood: {type(other).__name__}"
    plain["schedule"] = training.get("scheduler_dict")
    return plain


# -- GPT-2 ---------------------------------------------------------------------------------------


def _inspect_gpt2(directory: Path, report: Report) -> None:
    report.facts |= {"format": "GPT-2"}
    report.facts["sizes"] = dataclasses.asdict(pretrained.read_config(str(directory)))
    if (directory / pretrained.DESCRIPTION).is_file():
        description = json.loads((directory / pretrained.DESCRIPTION).read_text())
        report.facts["description"] = description
        path = directory / pretrained.ARRAYS
        try:
            stored = dict(ocp.PyTreeCheckpointHandler().metadata(path.absolute()))
        except (OSError, ValueError, KeyError) as error:
            raise pretrained.SourceError(f"{path} is damaged ({error}); convert again") from error
        tensors = [
            Tensor(name, "", path.name, tuple(leaf.shape), str(leaf.dtype))
            for name, leaf in stored.items()
        ]
    else:
        files = [*sorted(directory.glob("*.safetensors")), *sorted(directory.glob("*.bin"))]
        opened = {path.name: tensor_files.open_file(path).tensors for path in files}
        tensors = [
            Tensor(key, "", name, entry.shape, entry.dtype)
            for name, entries in opened.items()
            for key, entry in entries.items()
        ]
    _add(report, tensors)
