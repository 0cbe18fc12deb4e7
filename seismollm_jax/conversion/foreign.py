"""Networks in PyTorch and safetensors files, whose description has to be put together."""

import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from seismollm_jax import experiment as experiments
from seismollm_jax import models, tasks
from seismollm_jax.conversion import originals, tensor_files, training_state
from seismollm_jax.conversion.network import Network, state_shapes
from seismollm_jax.conversion.original import Found, Original
from seismollm_jax.conversion.report import ConversionError
from seismollm_jax.conversion.tensor_files import Entry, TensorFile
from seismollm_jax.conversion.training_state import TrainingState, TrainingStateError
from seismollm_jax.experiment import Experiment
from seismollm_jax.models.seismollm.gpt2 import GPT2Config
from seismollm_jax.models.weights import Extra, Rule, mismatches
from seismollm_jax.tasks.base import Task
from seismollm_jax.training.provenance import provenance

ConfigFor = Callable[[str], dict[str, Any]]  # task name -> its configuration, as plain dictionaries
EXACT = ("float32", "float16", "bfloat16")  # what becomes float32 without loss


@dataclasses.dataclass(frozen=True)
class Given:
    """What the files of an original do not say; None takes the default, which is recorded.

    The sizes of a backbone, strides, adapters and tuning are SeisMoLLM's alone.

    Attributes:
        task: word or short name; needed where two tasks have the same shapes.
        gpt2: sizes of the backbone, of which heads, epsilon, activation and dropouts count.
        sampling_rate_hz, window (samples), normalisation: what the network was trained on.
        strides: of the embedder's blocks.
        lora_alpha, lora_dropout: of the adapters.
        tuning: what learns in a backbone without adapters, "full" or "frozen".
        optimizer: "adam" or "adamw", which older files do not tell apart.
        lossy_casts: whether float64 may be rounded to float32.
        weights_only: leave optimiser and schedule out.
    """

    task: str | None = None
    gpt2: GPT2Config | None = None
    sampling_rate_hz: float | None = None
    window: int | None = None
    normalisation: str | None = None
    strides: tuple[int, ...] | None = None
    lora_alpha: float | None = None
    lora_dropout: float | None = None
    tuning: str | None = None
    optimizer: str | None = None
    lossy_casts: bool = False
    weights_only: bool = False


def check_task(path: Path, given: str | None, task: Task) -> None:
    """Refuses a task that contradicts a network that describes itself.

    Raises:
        ConversionError: naming both.
    """
    if given and tasks.get(given).name != task.name:
        raise ConversionError(path, [f"it says itself that its task is {task.name}, not {given}"])


def open_file(path: Path, given: Given, config_for: ConfigFor) -> Network:
    """Opens a .pth, .pt or .safetensors file; arguments and errors as in `opening.open_network`."""
    file = tensor_files.open_file(path)
    told = {
        name: value
        for name, value in vars(given).items()
        if value is not None and name not in ("task", "lossy_casts", "weights_only")
    }
    assumed: dict[str, Any] = {}
    try:
        if "description" in file.notes:
            description = dict(file.notes["description"])
            experiment = experiments.make(description["config"], description["settings"])
            check_task(path, given.task, experiment.task)
            _check_told(path, told, experiment)
        else:
            experiment, assumed = _recognise(file, given.task, told, config_for)
            description = {}
    except ConversionError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reasons = getattr(error, "problems", [str(error)])
        problems = [reason.replace("data.window", "--window") for reason in reasons]
        raise ConversionError(path, problems) from error
    original = originals.of_family(experiment.family.name)
    table = tuple(original.table(experiment.settings, experiment.task.output))
    training = _checked(file, table, experiment, given)
    experiment = _with_optimizer(experiment, training)
    own = _describe(path, experiment, training)
    if description:  # what the file itself tells wins: it may have been trained on since
        told_by_file = ("task", "config", "settings", "contract")
        progress = dict(description.get("progress") or {})
        if training is None or progress.get("step") != training.step:
            progress = {}
        best_step = (
            {} if progress.get("best_step", 0) is None else {"best_step": own["progress"]["step"]}
        )
        progress = {**own["progress"], **progress, **best_step}
        description |= {name: own[name] for name in told_by_file} | {"progress": progress}
    else:
        description = own
    if training and training.optimizer == "adam" and _leaves_optimizer_open(file, given):
        assumed["optimizer"] = "adam"

    def read(key: str) -> np.ndarray:
        value = file.tensors[key].read()
        if file.tensors[key].dtype.startswith("int"):
            return value.astype(np.int64)
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused
            value = value.astype(np.float32, copy=False)
        if not np.isfinite(value).all():
            raise ConversionError(path, [f"{key} holds values that are not finite"])
        return value

    return Network(
        path,
        file.format,
        experiment,
        table,
        {entry.key: file.tensors[entry.key].dtype for entry in table},
        read,
        lambda: training,
        description,
        assumed,
        _recorded(given),
        _ignored(file, original, given),
    )


def _ignored(file: TensorFile, original: Original, given: Given) -> dict[str, str]:
    """What the file holds that plays no part, with the reason."""
    ignored = {key: original.ignored_reason for key in file.tensors if original.is_ignored(key)}
    if file.training and not original.continues and not given.weights_only:
        reason = f"training files of {original.title} do not hold the schedule"
        ignored |= {key: reason for key in file.training if key == "optimizer_dict"}
    return ignored


def _leaves_optimizer_open(file: TensorFile, given: Given) -> bool:
    """Whether nobody says if the optimiser is Adam or AdamW: older files do not."""
    groups = ((file.training or {}).get("optimizer_dict") or {}).get("param_groups") or [{}]
    told = given.optimizer is not None or bool(file.notes)
    return not told and "decoupled_weight_decay" not in groups[0]


def _recorded(given: Given) -> dict[str, Any]:
    """What was told, for provenance."""
    told = {k: v for k, v in vars(given).items() if v is not None and v is not False}
    return {k: dataclasses.asdict(v) if k == "gpt2" else v for k, v in told.items()}


def _check_told(path: Path, told: Mapping[str, Any], experiment: Experiment) -> None:
    """Refuses flags that contradict a file that describes itself."""
    original = originals.of_family(experiment.family.name)
    known = {
        **experiment.contract(),
        **original.visible(experiment.settings),
        "optimizer": experiment.config["optim"]["name"],
    }
    problems = [
        f"it says itself that {name} is {known[name]}, not {value}"
        if name in known
        else f"it says itself that it is a {original.title}, of which {name} says nothing"
        for name, value in told.items()
        if name not in known or known[name] != value
    ]
    if problems:
        raise ConversionError(path, problems)


def _recognise(
    file: TensorFile, task_name: str | None, told: Mapping[str, Any], config_for: ConfigFor
) -> tuple[Experiment, dict[str, Any]]:
    """The experiment behind a foreign file, and what of it was assumed."""
    original = originals.of_names(file.tensors)
    found = original.recognise({key: entry.shape for key, entry in file.tensors.items()}, told)
    candidates = tasks_with_head(found)
    names = " or ".join(f"{task.name} ({task.short_name})" for task in candidates)
    head = f"its head is that of {names or 'no task known here'}"
    if task_name:
        by_name = {task.name: task for task in candidates}
        word = tasks.get(task_name).name
        if word not in by_name:
            raise ValueError(f"{head}, not {word}")
        task = by_name[word]
    elif len(candidates) == 1:
        task = candidates[0]
    elif candidates:
        hint = _named(file.path, candidates)
        raise ValueError(f"{head}, which look the same: say which with --task{hint}")
    else:
        raise ValueError(f"no task has a head of {found.channels} outputs")

    settings = original.for_task(found.settings, task.name)
    config = config_for(task.name)
    config["model"] = found.family
    values = {**original.defaults, **told}
    data = {name: values[name] for name in ("sampling_rate_hz", "window", "normalisation")}
    for name, value in {**original.configure(settings), "data": data}.items():
        whole = isinstance(value, Mapping) and isinstance(config.get(name), Mapping)
        config[name] = {**config[name], **value} if whole else value
    experiment = experiments.make(config, settings)
    return experiment, dict(found.assumed) | original.assumed(experiment)


def _named(path: Path, candidates: list[Task]) -> str:
    """The task that the file's name speaks of, as a suggestion; nothing if of none or several."""
    words = f"_{re.sub('[^a-z0-9]+', '_', path.stem.lower())}_"
    named = [
        task.name
        for task in candidates
        if f"_{task.name}_" in words or f"_{task.short_name}_" in words
    ]
    return f" (by the file's name it could be --task={named[0]})" if len(named) == 1 else ""


def tasks_with_head(found: Found) -> list[Task]:
    """The tasks whose head has these shapes, in the forms that the family was published with.

    They are often two or three, since shapes do not show the activation.
    """
    forms = models.get(found.family).forms
    published = (tasks.get(name, forms.get(name, "")) for name in tasks.TASKS)
    return [
        task
        for task in published
        if (task.output.per_sample, task.output.channels) == (found.per_sample, found.channels)
    ]


def _checked(
    file: TensorFile, table: tuple[Rule | Extra, ...], experiment: Experiment, given: Given
) -> TrainingState | None:
    """Checks everything that can be checked without reading the weights.

    Returns the training state, if there is one and it is wanted.
    """
    original = originals.of_family(experiment.family.name)
    ours = state_shapes(experiment)
    shapes = {key: entry.shape for key, entry in file.tensors.items()}
    problems = mismatches(table, shapes, ours, ignore=original.is_ignored)
    for entry in table:
        if entry.key in file.tensors:
            problems += _dtype_problem(entry, file.tensors[entry.key], lossy=given.lossy_casts)
    training = None
    if file.training is not None and original.continues and not given.weights_only:
        try:
            training = training_state.read(
                file.training, table, ours, experiment.is_trainable, optimizer=given.optimizer
            )
        except TrainingStateError as error:
            remedy = "; --weights-only leaves optimiser and schedule out"
            problems += [line + remedy for line in error.problems]
    if problems:
        raise ConversionError(file.path, problems)
    return training


def _dtype_problem(entry: Rule | Extra, found: Entry, *, lossy: bool) -> list[str]:
    if isinstance(entry, Extra) and entry.dtype == "int64":
        return [] if found.dtype.startswith("int") else [f"type of {entry.key}: {found.dtype}"]
    if found.dtype in EXACT:
        return []
    if found.dtype == "float64":
        remedy = "rounding it to float32 needs --lossy-casts"
        return [] if lossy else [f"type of {entry.key}: float64; {remedy}"]
    return [f"type of {entry.key}: {found.dtype}, expected float32"]


def _with_optimizer(experiment: Experiment, training: TrainingState | None) -> Experiment:
    """The configuration continued: the optimiser and the cycle of the file."""
    if training is None:
        return experiment
    config = dict(experiment.config)
    config["optim"] = {
        **config["optim"],
        "name": training.optimizer,
        "weight_decay": training.weight_decay,
        "momentum": training.momentum,
        "base_lr": training.rate.base,
        "max_lr": training.rate.maximum,
        "up_steps": training.rate.up,
        "down_steps": training.rate.down,
    }
    return dataclasses.replace(experiment, config=config)


def _progress(training: TrainingState | None) -> dict[str, Any]:
    step = training.step if training else 0
    return {
        "step": step,
        "epoch": training.epochs if training else 0,
        "best": training.best if training else None,
        "best_step": step,
        "epochs_since_best": 0,
    }


def _describe(path: Path, experiment: Experiment, training: TrainingState | None) -> dict[str, Any]:
    """The description of a checkpoint for a network that was trained elsewhere."""
    return {
        "task": experiment.task.name,
        "config": experiment.config,
        "settings": experiment.settings,
        "contract": experiment.contract(),
        "split_hash": None,
        "dataset": None,
        "pretrained": {"source": f"PyTorch checkpoint {path.name}", "sha256": None},
        "progress": _progress(training),
        "validation": {},
        "provenance": provenance(),
    }
