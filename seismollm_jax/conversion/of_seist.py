"""The files of SeisT's published code, and of the weights that its authors published."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from seismollm_jax.conversion import torch_seist
from seismollm_jax.conversion.original import Found, Original, Settings
from seismollm_jax.experiment import Experiment
from seismollm_jax.models.output import Output
from seismollm_jax.models.seist import FAMILY_OF_SIZE, PREFIX, from_settings, published
from seismollm_jax.models.seist.names import VERSION, checkpoint_table
from seismollm_jax.models.seist.recognise import claims, recognise
from seismollm_jax.models.weights import Extra, Rule, Shape

# What the weights were trained on that the authors published for DiTing.
DEFAULTS: dict[str, Any] = {"sampling_rate_hz": 50.0, "window": 8192, "normalisation": "std"}

UNSEEN = {"compute_dtype", "drop"}  # how it is run; how it was trained


def _recognise(shapes: Mapping[str, Shape], told: Mapping[str, Any]) -> Found:
    strange = told.keys() - {*DEFAULTS, "optimizer"}
    if strange:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(strange))
        raise ValueError(f"a SeisT, of which {flags} can say nothing: leave it out")
    found = recognise(shapes)
    settings = dataclasses.asdict(published(found.size, ""))
    assumed = {name: value for name, value in DEFAULTS.items() if name not in told}
    return Found(PREFIX + found.size, settings, found.per_sample, found.channels, assumed)


def _for_task(settings: Settings, task: str) -> dict[str, Any]:
    """With the rates of dropout that the task was published with."""
    size = _size(settings)
    assert size is not None  # only published ones are recognised
    return dataclasses.asdict(published(size, task))


def _table(settings: Settings, output: Output) -> Iterator[Rule | Extra]:
    return checkpoint_table(from_settings(settings), output)


def _assumed(experiment: Experiment) -> dict[str, Any]:
    options = experiment.config["options"]
    thresholds = {name: value for name, value in options.items() if name.endswith("threshold")}
    channels = ", ".join(experiment.task.labels)
    return {"channels": channels, **thresholds, **experiment.settings["drop"]}


def _unseen(settings: Settings, output: Output) -> set[str]:
    del settings, output
    return UNSEEN


def _forward(
    arrays: Mapping[str, np.ndarray], x: np.ndarray, settings: Settings, output: Output
) -> np.ndarray:
    config = from_settings(settings)
    return torch_seist.forward(
        arrays,
        x,
        strides=config.stem.strides,
        pooling=[stage.pooling for stage in config.stages],
        attention_pooling=[stage.attention_pooling for stage in config.stages],
        head_widths=[stage.head_width for stage in config.stages],
        output=output,
    )


def _size(settings: Settings) -> str | None:
    """The published size that has these settings, rates and type of numbers aside."""
    sizes = {name: value for name, value in settings.items() if name not in UNSEEN}
    for size in FAMILY_OF_SIZE:
        known = dataclasses.asdict(published(size, ""))
        if from_settings({**known, **sizes}) == from_settings(known):
            return size
    return None


def _described(settings: Settings) -> str:
    stages = settings["stages"]
    blocks, widths = ([str(stage[name]) for stage in stages] for name in ("blocks", "channels"))
    return (
        f"SeisT of size {_size(settings) or 'unknown'}: stages of {', '.join(blocks)} blocks and "
        f"{', '.join(widths)} channels"
    )


def _constructor(settings: Settings, task: str) -> dict[str, Any]:
    return {"model-name": f"seist_{_size(settings)}_{task}"}


def _loads(settings: Settings) -> str:
    return "" if _size(settings) else "its sizes are none of the published ones"


ORIGINAL = Original(
    title="SeisT",
    families=tuple(family.name for family in FAMILY_OF_SIZE.values()),
    version=VERSION,
    defaults=DEFAULTS,
    claims=claims,
    recognise=_recognise,
    config=from_settings,
    table=_table,
    is_ignored=lambda key: False,
    ignored_reason="",
    for_task=_for_task,
    configure=lambda settings: {},
    assumed=_assumed,
    visible=lambda settings: {},
    unseen=_unseen,
    forward=_forward,
    described=_described,
    constructor=_constructor,
    loads=_loads,
    adapted=lambda settings: False,
    gpt2=False,
    continues=False,
)
