"""What a run learns from: dataset, split, batches, epochs."""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from seismollm_jax import experiment as experiments
from seismollm_jax import parallel
from seismollm_jax.data import catalogue, donors, mixture, pipeline
from seismollm_jax.data.records import Dataset
from seismollm_jax.data.sources import WaveformSource
from seismollm_jax.experiment import Experiment
from seismollm_jax.training.epoch import Epoch
from seismollm_jax.training.faults import report_unread
from seismollm_jax.training.report import Reporter
from seismollm_jax.training.start import check_parts, known_settings


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Everything that goes into a run but the network's state.

    Attributes:
        experiment: task, network, preprocessing.
        dataset: all records.
        parts: its split.
        layout: devices, and how arrays lie on them.
        train_maker, val_maker: make samples of the two parts.
        train, val: their waveforms.
        lenders: those of records that augmentation borrows from.
        batches: of the training, endless; of `pipeline`, as are those below.
        val_batches: of a validation.
        epoch_steps: steps that an epoch fills.
        epochs: how many there are to be.
    """

    experiment: Experiment
    dataset: Dataset
    parts: catalogue.Parts
    layout: parallel.Layout
    train_maker: pipeline.SampleMaker
    val_maker: pipeline.SampleMaker
    train: WaveformSource
    val: WaveformSource
    lenders: list[WaveformSource]
    batches: Any
    val_batches: Any
    epoch_steps: int
    epochs: int

    def report_unread(self, epoch: Epoch, reporter: Reporter) -> None:
        """Says which traces of an epoch could not be read, each once, and forgets them.

        Raises:
            TrainingError: they are too many.
        """
        for source in (self.train, *self.lenders):
            mine = epoch.unread.intersection(source.rows.tolist()) if epoch.unread else set()
            report_unread(source, mine, reporter)
            epoch.unread -= mine


def open_inputs(config: Mapping[str, Any], workdir: Path) -> Inputs:
    """Opens, splits and prepares what a configuration asks for; every process takes part.

    Args:
        config: a configuration of `configs/`, as plain dictionaries.
        workdir: its checkpoints, if there are any, tell the sizes of the network.

    Raises:
        ValueError, FileNotFoundError: a configuration or dataset that does not fit.
    """
    data, settings = config["data"], config["train"]
    dataset = parallel.main_first(lambda: catalogue.open_dataset(data))
    experiment = experiments.make(config, known=known_settings(config, workdir))
    task = experiment.task
    parts = catalogue.split_for(dataset, data, needs=task.needs, uses_noise=task.uses_noise)
    check_parts(parts, dataset, data["split"])
    layout = parallel.make_layout(config["mesh"]["fsdp"])
    local_batch = layout.local_batch(
        settings["batch_size"], "train.batch_size", micro=settings["accumulate"]
    )
    eval_batch = layout.local_batch(settings["eval_batch_size"], "train.eval_batch_size")
    where = {"process": jax.process_index(), "processes": jax.process_count()}
    train, val = (WaveformSource(dataset, parts.rows[name]) for name in ("train", "val"))
    borrowed = donors.find(dataset, train, parts.split, data["split"], config["augment"])
    train_maker = experiment.samples(train, train.rows, train.keys, augment=True, **borrowed)
    batches = pipeline.train_batches(
        train_maker,
        shuffle=settings["shuffle"],
        local_batch=local_batch,
        shares=mixture.shares(dataset, train.rows),
        **where,
    )
    val_maker = experiment.samples(val, val.rows, val.keys, augment=False)
    val_batches = pipeline.eval_batches(
        val_maker, local_batch=eval_batch, fixed_window=data["fixed_eval_window"], **where
    )
    augmented = train_maker.augmentation is not None
    size = pipeline.epoch_size(len(train.rows), augment=augmented)
    epoch_steps = math.ceil(size / settings["batch_size"])
    epochs = settings["epochs"]
    if settings["steps"] > 0:
        epochs = math.ceil(settings["steps"] / epoch_steps)
    lenders = [lent.source for lent in borrowed.values() if lent is not None]
    return Inputs(
        experiment=experiment,
        dataset=dataset,
        parts=parts,
        layout=layout,
        train_maker=train_maker,
        val_maker=val_maker,
        train=train,
        val=val,
        lenders=[source for source in lenders if isinstance(source, WaveformSource)],
        batches=batches,
        val_batches=val_batches,
        epoch_steps=epoch_steps,
        epochs=epochs,
    )
