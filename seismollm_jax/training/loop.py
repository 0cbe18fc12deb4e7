"""The training run, to be read from top to bottom."""

import contextlib
import functools
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from seismollm_jax import experiment as experiments
from seismollm_jax import parallel
from seismollm_jax.data import catalogue, donors, mixture, pipeline, split_files
from seismollm_jax.data.sources import WaveformSource
from seismollm_jax.evaluation import figures
from seismollm_jax.evaluation.evaluate import Evaluation, evaluate
from seismollm_jax.tasks.base import Task
from seismollm_jax.training import preemption
from seismollm_jax.training.checkpoint import Checkpoints
from seismollm_jax.training.epoch import Epoch, Pending
from seismollm_jax.training.faults import FOLDER as DIAGNOSTICS
from seismollm_jax.training.faults import TrainingError, diagnose, remedy, report_unread
from seismollm_jax.training.optim import make_optimizer, make_schedule
from seismollm_jax.training.repair import set_damaged_aside, without_lost_best
from seismollm_jax.training.report import Reporter
from seismollm_jax.training.start import (
    check_continues,
    check_numbers,
    check_parts,
    description,
    first_weights,
    known_settings,
    seen_before,
    summary,
    write_split,
)
from seismollm_jax.training.step import (
    make_eval_step,
    make_init,
    make_train_step,
    warn_of_recompilation,
)

CONSOLE_SCORES = ("loss", "f1", "accuracy", "mae", "r2")  # of a validation; files have them all


def run(config: Mapping[str, Any], workdir: Path) -> dict[str, float]:
    """Trains until the epochs are over or the validation figure stops improving.

    Running it again with the same arguments continues from the latest checkpoint. SIGTERM ends it
    after the step that is being made, with a checkpoint (see `preemption`).

    Args:
        config: a configuration of `configs/`, as plain dictionaries.
        workdir: gets `config.json`, `split.csv.gz`, `metrics.jsonl`, `tensorboard/` and
            `checkpoints/`.

    Returns:
        The scores of the last validation.

    Raises:
        ValueError, FileNotFoundError: a configuration or dataset that does not fit.
        TrainingError: losses are not finite, or too many traces cannot be read.
        CheckpointError: the checkpoints are damaged or cannot be written.
        Stopped: SIGTERM came; ends the program with exit code 143.
    """
    with jax.default_matmul_precision(config["precision"]["matmul"]):
        return _run(config, workdir)


def _run(config: Mapping[str, Any], workdir: Path) -> dict[str, float]:
    # -- data, experiment, devices ---------------------------------------------------------------
    check_numbers(config)
    data, settings = config["data"], config["train"]
    for line in parallel.main_first(
        lambda: set_damaged_aside(workdir) if parallel.is_main() else []
    ):
        print(line, flush=True)
    dataset = parallel.main_first(lambda: catalogue.open_dataset(data))
    experiment = experiments.make(config, known=known_settings(config, workdir))
    task = experiment.task
    parts = catalogue.split_for(dataset, data, needs=task.needs, uses_noise=task.uses_noise)
    check_parts(parts, dataset, data["split"])
    layout = parallel.make_layout()
    local_batch = layout.local_batch(settings["batch_size"], "train.batch_size")
    eval_batch = layout.local_batch(settings["eval_batch_size"], "train.eval_batch_size")
    sources = {name: WaveformSource(dataset, rows) for name, rows in parts.rows.items()}
    where = {"process": jax.process_index(), "processes": jax.process_count()}
    borrowed = donors.find(dataset, sources["train"], parts.split, data["split"], config["augment"])
    train, val = sources["train"], sources["val"]
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
    size = pipeline.epoch_size(len(parts.rows["train"]), augment=augmented)
    epoch_steps = math.ceil(size / settings["batch_size"])
    epochs = settings["epochs"]
    if settings["steps"] > 0:
        epochs = math.ceil(settings["steps"] / epoch_steps)

    # -- state: fresh, with pretrained weights laid over it, or the latest checkpoint ------------
    optim = config["optim"]
    optimizer = make_optimizer(
        optim["name"],
        weight_decay=optim["weight_decay"],
        momentum=optim["momentum"],
        clip_norm=optim["clip_norm"],
    )
    rate = make_schedule(optim)
    key = layout.replicate(np.asarray(jax.random.key_data(jax.random.key(config["seed"]))))
    key = jax.random.wrap_key_data(key)
    state, frozen = make_init(experiment, optimizer, layout)(key)
    checkpoints = Checkpoints(workdir, maximise=task.maximise)
    standing = description(experiment, dataset, parts)
    earlier = checkpoints.latest_description()
    scores: dict[str, float] = {}
    lost: list[str] = []
    epoch = Epoch()
    if earlier:
        check_continues(earlier, experiment, standing)
        state, frozen = checkpoints.restore(state, frozen)
        progress, pretrained = earlier["progress"], earlier["pretrained"]
        scores = {k: math.nan if v is None else v for k, v in earlier["validation"].items()}
        if earlier.get("unfinished_epoch"):
            epoch = Epoch.restored(earlier["unfinished_epoch"])
        progress, lost = without_lost_best(progress, checkpoints.steps())
    else:
        progress = {"step": 0, "epoch": 0, "best": None, "best_step": None, "epochs_since_best": 0}
        pretrained = first_weights(experiment, state, frozen, layout)

    # -- first lines ---------------------------------------------------------------------------
    start, steps = progress["step"], epochs * epoch_steps
    if earlier and earlier["split_hash"] is None and start >= steps:
        raise ValueError(
            f"the converted training stands at step {start}, and train.epochs={epochs} ends at "
            f"{steps} with this data and train.batch_size={settings['batch_size']}: raise "
            "train.epochs, or begin anew from its weights with start_from"
        )
    standing |= {
        "pretrained": pretrained,
        "conversion": earlier.get("conversion") if earlier else None,
    }
    reporter = Reporter(workdir, steps=steps, start=start, active=parallel.is_main())
    if parallel.is_main():
        (workdir / "config.json").write_text(json.dumps(config, indent=1) + "\n")
        # A run that continues has the same split, and its first description of it stays.
        if not earlier or not (workdir / split_files.NAME).exists():
            write_split(workdir, dataset, standing["dataset"], parts, data["split"])
    for line in (
        *lost,
        *summary(experiment, state, frozen, standing, dataset, parts, layout),
        *(seen_before(config, dataset, parts) if not earlier else ()),
    ):
        reporter.say(line)
    reporter.say(
        f"training: {epochs} epochs of {epoch_steps} steps of {settings['batch_size']} windows; "
        + (f"continuing at step {start}" if earlier else "from the beginning")
    )

    # -- the loop ------------------------------------------------------------------------------
    train_step = make_train_step(experiment, optimizer, layout)
    eval_step = make_eval_step(experiment, layout)
    loading = {
        "workers": data["workers"],
        "threads": data["threads"],
        "to_device": layout.to_global,
    }

    def save(monitor: float | None) -> None:
        shown = {k: v if math.isfinite(v) else None for k, v in scores.items()}
        now = {"progress": {**progress, "step": step}, "validation": shown}
        kept = {"unfinished_epoch": epoch.kept()}
        checkpoints.save(step, state, frozen, {**standing, **now, **kept}, monitor)

    def settle(pending: Pending | None) -> None:
        """Reads the figures of a step that was dispatched; stops if they cannot be accepted."""
        if pending is None or epoch.read(pending):
            return
        stop = settings["nonfinite"] == "stop" or epoch.too_many_skipped(epoch_steps)
        arrays = (state["params"], frozen, state["stats"])  # which that step did not change
        said = diagnose(
            pending,
            lambda batch: eval_step(*arrays, batch)[1],
            dataset.table["trace_name"].to_numpy(object),
            workdir,
            save=stop or not (workdir / DIAGNOSTICS).exists(),
        )
        if stop:
            raise TrainingError(f"{said}. {remedy(epoch, settings['nonfinite'])}")
        reporter.say(f"WARNING: left out, {epoch.skipped} in this epoch: {said}")

    stopped = progress["epochs_since_best"] > settings["patience"]
    streams = pipeline.Stream(batches, start=start, **loading)
    with contextlib.closing(checkpoints), reporter, preemption.Watch() as watch, streams as stream:
        step, pending, waited, since, since_step = start, None, 0.0, time.perf_counter(), start
        while step < steps and not stopped:
            asked = time.perf_counter()
            batch = next(stream)
            waited += time.perf_counter() - asked
            lr = rate(step)
            lr_there = layout.replicate(np.float32(lr))
            with jax.transfer_guard("disallow"):  # what crosses over by accident costs time
                state, figures = train_step(state, frozen, batch, key, lr_there)
                # The figures of a step are read after the next one was dispatched, so that the
                # device never waits for the host.
                settle(pending)
            pending = Pending(step, batch, figures)
            step += 1
            reporter.advance(step)
            stop = watch.asked(step)
            end_of_epoch = step % epoch_steps == 0
            if end_of_epoch:
                settle(pending)
                pending = None
                warn_of_recompilation(train_step, batch)
            if epoch.losses and (step % settings["log_every"] == 0 or end_of_epoch):
                elapsed = time.perf_counter() - since
                loss, norm = epoch.means(settings["log_every"])
                reporter.write(
                    step,
                    "train",
                    {
                        "loss": loss,
                        "grad_norm": norm,
                        "lr": lr,
                        "samples_per_s": settings["batch_size"] * (step - since_step) / elapsed,
                        "input_wait": waited / elapsed,
                    },
                )
                waited, since, since_step = 0.0, time.perf_counter(), step

            if end_of_epoch:  # validate, count, save
                lent = [d.source for d in borrowed.values() if d is not None]
                for source in (sources["train"], *lent):
                    assert isinstance(source, WaveformSource)  # as `donors.find` made it
                    mine = epoch.unread.intersection(source.rows.tolist()) if epoch.unread else ()
                    report_unread(source, set(mine), reporter)
                    epoch.unread -= set(mine)
                with pipeline.Stream(val_batches, **loading) as val_stream:
                    arrays = (state["params"], frozen, state["stats"])
                    outcome = evaluate(
                        experiment, functools.partial(eval_step, *arrays), val_stream
                    )
                scores = outcome.scores()
                report_unread(sources["val"], set(outcome.unread), reporter)
                progress = _count(progress, task, outcome, step, step // epoch_steps)
                reporter.write(
                    step, "epoch", {"train_loss": epoch.means()[0], "skipped": epoch.skipped}
                )
                reporter.write(step, "val", scores)
                epoch = Epoch(in_a_row=epoch.in_a_row)
                shown = {k: v for k, v in scores.items() if k.rpartition("/")[2] in CONSOLE_SCORES}
                reporter.say(
                    f"epoch {progress['epoch']}/{epochs}: validation "
                    + ", ".join(f"{name} {value:.4g}" for name, value in shown.items())
                    + (" (best so far)" if progress["best_step"] == step else "")
                )
                save(scores[task.monitor])
                if parallel.is_main():
                    _draw_course(workdir)
                stopped = progress["epochs_since_best"] > settings["patience"]
                if stopped:
                    since_best = progress["epochs_since_best"]
                    reporter.say(f"stopped: no improvement in {since_best} epochs")
                since, waited = time.perf_counter(), 0.0  # validation is not training time
            elif stop or (settings["save_every"] and step % settings["save_every"] == 0):
                settle(pending)
                pending = None
                save(None)
            if stop and step < steps and not stopped:
                reporter.say(f"stopped by SIGTERM at step {step}; the same command continues")
                raise preemption.Stopped
        reporter.say(
            f"best checkpoint: step {progress['best_step']} in {workdir / 'checkpoints'}"
            if progress["best_step"] is not None
            else "no epoch had a finite validation figure, so no checkpoint is the best"
        )
    return scores


def _count(
    progress: Mapping[str, Any], task: Task, outcome: Evaluation, step: int, epoch: int
) -> dict[str, Any]:
    """Progress after an epoch. A figure that is NaN is never an improvement."""
    value, best = outcome.scores()[task.monitor], progress["best"]
    better = math.isfinite(value) and (
        best is None or (value > best if task.maximise else value < best)
    )
    return {
        "step": step,
        "epoch": epoch,
        "best": value if better else best,
        "best_step": step if better else progress["best_step"],
        "epochs_since_best": 0 if better else progress["epochs_since_best"] + 1,
    }


def _draw_course(workdir: Path) -> None:
    """Draws the losses and the main scores of the run so far into `pictures/training.png`."""
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    names = {name for row in rows if row["part"] == "val" for name in row}
    shown = sorted(name for name in names if name.rpartition("/")[2] in ("f1", "r2", "accuracy"))
    (workdir / "pictures").mkdir(exist_ok=True)
    path = workdir / "pictures" / "training.png"
    figures.training_curve(rows, path, metrics=[f"val/{name}" for name in shown])
