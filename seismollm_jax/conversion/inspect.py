"""Says what a file or directory with weights holds, from its headers alone."""

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seismollm_jax import tasks
from seismollm_jax.conversion import tensor_files
from seismollm_jax.conversion.foreign import DEFAULTS, tasks_with_head
from seismollm_jax.conversion.network import Tensor
from seismollm_jax.conversion.report import Report
from seismollm_jax.conversion.tensor_files import TensorFile
from seismollm_jax.models.seismollm import pretrained
from seismollm_jax.models.seismollm.names import checkpoint_table
from seismollm_jax.models.seismollm.recognise import RecognitionError, recognise
from seismollm_jax.models.state import key as name_of
from seismollm_jax.models.weights import Rule
from seismollm_jax.training import checkpoint


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
    return file.is_file() and not (directory / checkpoint.FOLDER).is_dir()


def _add(report: Report, tensors: list[Tensor]) -> None:
    for tensor in tensors:
        report.add(tensor.theirs, tensor.ours, tensor.transform, tensor)
    report.facts["arrays"] = len(tensors)
    report.facts["numbers"] = sum(math.prod(tensor.shape) for tensor in tensors)


# -- checkpoints of this project -----------------------------------------------------------------


def _inspect_checkpoint(directory: Path, report: Report) -> None:
    path = checkpoint.find(directory)
    description = checkpoint.read_description(path)
    report.facts |= {"format": "checkpoint", "path": str(path)}
    report.facts |= _described(description)
    parts = checkpoint.read_shapes(path)
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


def _described(description: Mapping[str, Any]) -> dict[str, Any]:
    names = ("task", "settings", "contract", "progress", "pretrained", "provenance", "conversion")
    return {name: description[name] for name in names if description.get(name)}


# -- files of PyTorch ----------------------------------------------------------------------------


def _inspect_file(file: TensorFile, report: Report) -> None:
    shapes = {key: entry.shape for key, entry in file.tensors.items()}
    report.facts |= {"format": file.format, "wrappers": file.prefix or "none"}
    places: dict[str, Rule] = {}
    description = file.notes.get("description")
    try:
        found = recognise(
            shapes,
            strides=DEFAULTS["strides"],
            lora_alpha=DEFAULTS["lora_alpha"],
            lora_dropout=DEFAULTS["lora_dropout"],
            tuning="full",
            gpt2=None,
        )
        candidates = tasks_with_head(found)
        if description:
            candidates = [tasks.get(description["task"])]
        report.facts["task"] = " or ".join(task.name for task in candidates) or "unknown"
        report.facts["settings"] = (
            description["settings"] if description else dataclasses.asdict(found.config)
        )
        if not description:
            report.facts["assumed"] = {**DEFAULTS, **found.assumed}
        if candidates:
            table = checkpoint_table(found.config, candidates[0].output)
            places = {entry.key: entry for entry in table if isinstance(entry, Rule)}
    except (RecognitionError, ValueError) as error:
        report.facts["task"] = f"not recognised: {error}"
    if file.training is not None:
        report.facts["training"] = _training(file.training)
    if description:
        report.facts |= {k: v for k, v in _described(description).items() if k != "settings"}
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


def _training(training: Mapping[str, Any]) -> dict[str, Any]:
    scalars = (int, float, str, bool)
    plain: dict[str, Any] = {k: v for k, v in training.items() if isinstance(v, scalars)}
    optimizer = training.get("optimizer_dict") or {}
    groups = optimizer.get("param_groups") or [{}]
    plain["optimizer"] = {k: v for k, v in groups[0].items() if k != "params"}
    plain["parameters with moments"] = len(optimizer.get("state") or {})
    plain["schedule"] = training.get("scheduler_dict")
    return plain


# -- GPT-2 ---------------------------------------------------------------------------------------


def _inspect_gpt2(directory: Path, report: Report) -> None:
    report.facts |= {"format": "GPT-2"}
    description = directory / pretrained.DESCRIPTION
    if description.is_file():
        report.facts["description"] = json.loads(description.read_text())
    else:
        report.facts["sizes"] = dataclasses.asdict(pretrained.read_config(str(directory)))
    tensors = []
    for path in sorted(directory.glob("*.safetensors")) + sorted(directory.glob("*.bin")):
        file = tensor_files.open_file(path)
        tensors += [Tensor(k, "", path.name, e.shape, e.dtype) for k, e in file.tensors.items()]
    _add(report, tensors)
