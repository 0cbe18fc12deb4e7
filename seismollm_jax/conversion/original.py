"""What conversions need to know of a published PyTorch code, without knowing which one it is."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from seismollm_jax.experiment import Experiment
from seismollm_jax.models.output import Output
from seismollm_jax.models.weights import Extra, Rule, Shape

Settings = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Found:
    """What the names and shapes of a file tell.

    Attributes:
        family: name of the model family.
        settings: the family's own, complete.
        per_sample, channels: the last layer, as in `Output`.
        assumed: what was neither told nor visible, by name.
    """

    family: str
    settings: dict[str, Any]
    per_sample: bool
    channels: int
    assumed: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Original:
    """The files of one published code, and the network behind them.

    Attributes:
        title: its name in messages.
        families: names of the model families that it covers.
        version: of the table of names and layouts; goes up with every change of it.
        defaults: flag -> what is assumed where a file does not say it and nobody told.
        claims: names in a file -> whether they look like its own.
        recognise: (shapes by name, values of flags) -> what they tell; ValueError where there is no
            such network.
        config: settings -> typed configuration, which has at least the fields of the settings.
        table: (settings, output) -> every array under its PyTorch name, in PyTorch's order.
        is_ignored: whether a file may hold an array beyond the table.
        ignored_reason: why, for reports.
        for_task: (settings, task) -> the same with what depends on the task and shows in no shape.
        configure: settings -> fields of an experiment's configuration that follow from them.
        assumed: experiment -> more that no file says, by name.
        visible: settings -> the flags' values that they imply.
        unseen: (settings, output) -> settings that shape no output of a trained network.
        forward: (arrays by name, windows (batch, components, samples), settings, output) -> the
            network's output in plain PyTorch, as `comparison.in_jax` gives it.
        described: settings -> the sizes that matter, in a line.
        constructor: (settings, short name of the task) -> arguments that build the network in the
            original.
        loads: settings -> why the original itself cannot use the network; empty if it can.
        adapted: whether a network has adapters that can be folded.
        gpt2: whether a part of it is a GPT-2.
        continues: whether optimiser and schedule of its training files are carried over.
    """

    title: str
    families: tuple[str, ...]
    version: int
    defaults: Mapping[str, Any]
    claims: Callable[[Iterable[str]], bool]
    recognise: Callable[[Mapping[str, Shape], Mapping[str, Any]], Found]
    config: Callable[[Settings], Any]
    table: Callable[[Settings, Output], Iterator[Rule | Extra]]
    is_ignored: Callable[[str], bool]
    ignored_reason: str
    for_task: Callable[[Settings, str], dict[str, Any]]
    configure: Callable[[Settings], dict[str, Any]]
    assumed: Callable[[Experiment], dict[str, Any]]
    visible: Callable[[Settings], dict[str, Any]]
    unseen: Callable[[Settings, Output], set[str]]
    forward: Callable[[Mapping[str, np.ndarray], np.ndarray, Settings, Output], np.ndarray]
    described: Callable[[Settings], str]
    constructor: Callable[[Settings, str], dict[str, Any]]
    loads: Callable[[Settings], str]
    adapted: Callable[[Settings], bool]
    gpt2: bool
    continues: bool
