"""An experiment configuration turned into the typed objects that everything else takes."""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import nnx

from seismollm_jax import models, tasks
from seismollm_jax.data.augment import Augmentation
from seismollm_jax.data.donors import Donors, Source
from seismollm_jax.data.pipeline import Batch, SampleMaker
from seismollm_jax.data.records import COMPONENTS, Sample
from seismollm_jax.data.sample import SampleOptions
from seismollm_jax.models.family import Family, Path
from seismollm_jax.models.state import Split, split
from seismollm_jax.tasks.base import Context, Task

SAMPLE_FIELDS = (
    "window",
    "sampling_rate_hz",
    "normalisation",
    "min_snr_db",
    "p_position_ratio",
    "coda_ratio",
    "min_event_gap_s",
    "noise_keeps_values",
)


@dataclasses.dataclass(frozen=True)
class Encoder:
    """The task's encoding with its context bound; picklable for loader workers."""

    task_name: str
    form: str
    context: Context

    def __call__(self, sample: Sample) -> Batch:
        """Sample -> targets."""
        return tasks.get(self.task_name, self.form).encode(sample, self.context)


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One task, one model, one preprocessing.

    Attributes:
        config: the configuration as plain dictionaries.
        task: what is learnt, in the form that the configuration asks for, else in the one that the
            family was published with.
        family: which architecture.
        settings: the architecture's own, complete; with them no other file is needed to rebuild it.
        context: what encoding and decoding need.
        sample_options: preprocessing of one sample.
    """

    config: Mapping[str, Any]
    task: Task
    family: Family
    settings: Mapping[str, Any]
    context: Context
    sample_options: SampleOptions

    def build(self, rngs: nnx.Rngs) -> nnx.Module:
        """A network with fresh random weights."""
        return self.family.build(self.settings, self.task.output, rngs)

    def is_trainable(self, path: Path) -> bool:
        """Whether the parameter at `path` learns."""
        return self.family.is_trainable(self.settings, path)

    def abstract(self) -> Split:
        """The network's parts as shapes, without any arithmetic."""
        return self._abstract

    @functools.cached_property
    def _abstract(self) -> Split:  # takes half a second
        return split(nnx.eval_shape(lambda: self.build(nnx.Rngs(0))), self.is_trainable)

    def samples(
        self,
        source: Source,
        rows: np.ndarray,
        keys: np.ndarray,
        *,
        augment: bool,
        events: Donors | None = None,
        noise: Donors | None = None,
    ) -> SampleMaker:
        """The sample maker over records of a source, of which `rows` and `keys` are given.

        `augment` is for training, as are `events` and `noise`: what `donors.find` gives.
        """
        rates = dict(self.config["augment"])
        enabled = rates.pop("enabled")
        return SampleMaker(
            source=source,
            rows=rows,
            keys=keys,
            options=self.sample_options,
            encode=Encoder(self.task.name, self.task.form, self.context),
            seed=self.config["seed"],
            augmentation=Augmentation(**rates) if augment and enabled else None,
            events=events,
            noise=noise,
        )

    def contract(self) -> dict[str, Any]:
        """What input the network expects and what its output means; kept in every checkpoint."""
        return {
            "sampling_rate_hz": self.context.sampling_rate_hz,
            "component_order": COMPONENTS,
            "normalisation": self.sample_options.normalisation,
            "window": self.context.window,
            "p_position_ratio": self.sample_options.p_position_ratio,
            "output": dataclasses.asdict(self.task.output),
            "labels": list(self.task.labels),
        }


def make(
    config: Mapping[str, Any],
    settings: Mapping[str, Any] | None = None,
    known: Mapping[str, Any] | None = None,
) -> Experiment:
    """Builds the experiment of a configuration (`ConfigDict.to_dict()`).

    Args:
        config: the configuration.
        settings: those of a checkpoint, to be used as they are. Without them the family works
            them out, for which it may read the configuration file of pretrained weights.
        known: settings of a checkpoint that spare it that file.

    Raises:
        ValueError: a value that does not fit; the message names the field and what it may be.
    """
    family, options = models.get(config["model"]), config["options"]
    task = tasks.get(config["task"])
    task = tasks.get(task.name, options.get("form") or family.forms.get(task.name, ""))
    settings = family.resolve(config, known) if settings is None else settings
    data = config["data"]
    family.check_window(settings, task.output, data["window"])
    context = task.context(
        window=data["window"],
        sampling_rate_hz=data["sampling_rate_hz"],
        options=options,
        coda_ratio=data["coda_ratio"],
    )
    fields = {name: data[name] for name in SAMPLE_FIELDS}
    if fields["min_snr_db"] is None:
        fields["min_snr_db"] = -math.inf
    return Experiment(config, task, family, settings, context, SampleOptions(**fields))
