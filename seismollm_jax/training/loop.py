"""The training run, to be read from top to bottom."""

import contextlib
import functools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from seismollm_jax import accelerators, parallel
from seismollm_jax.data import pipeline, split_files
from seismollm_jax.evaluation import operating, pictures
from seismollm_jax.evaluation.evaluate import Evaluation, evaluate
from seismollm_jax.training import backbone, optim, preemption, wandb_log
from seismollm_jax.training.checkpoint import Checkpoints
from seismollm_jax.training.cost import abstract_batch, compile_ahead
from seismollm_jax.training.epoch import Epoch, Pending
from seismollm_jax.training.faults import FOLDER as DIAGNOSTICS
from seismollm_jax.training.faults import TrainingError, diagnose, remedy, report_unread
from seismollm_jax.training.inputs import open_inputs
from seismollm_jax.training.profiling import Profiler
from seismollm_jax.training.progress import after_epoch, none_yet
from seismollm_jax.training.repair import newest, set_damaged_aside, steps_in, without_lost_best
from seismollm_jax.training.report import Reporter, draw_course
from seismollm_jax.training.saved import FOLDER, read_description
from seismollm_jax.training.speed import Speed
from seismollm_jax.training.start import (
    check_continues,
    check_numbers,
    description,
    first_weights,
    seen_before,
    write_split,
)
from seismollm_jax.training.step import (
    begin_average,
    evaluated,
    make_eval_step,
    make_init,
    make_train_step,
    warn_of_recompilation,
)
from seismollm_jax.training.summary import summary

CONSOLE_SCORES = ("loss", "f1", "accuracy", "mae", "r2")  # of a validation; files have them all


def run(
    config: Mapping[str, Any], workdir: Path, *, dry_run: bool = False, profile_steps: int = 0
) -> dict[str, float]:
    """Trains until the epochs are over or the validation figure stops improving.

    Running it again with the same arguments continues from the latest checkpoint. SIGTERM ends it
    after the step that is being made, with a checkpoint (see `preemption`).

    Args:
        config: a configuration of `configs/`, as plain dictionaries.
        workdir: gets `config.json`, `split.csv.gz`, `metrics.jsonl`, `tensorboard/` and
            `checkpoints/`.
        dry_run: end before the first step, and leave the working directory as it is.
        profile_steps: trace so many steps into `profile/`.

    Returns:
        The scores of the last validation, if there was one.

    Raises:
        ValueError, FileNotFoundError: a configuration or dataset that does not fit.
        ImportError: `train.wandb` without the package for it.
        TrainingError: losses are not finite, or too many traces cannot be read.
        CheckpointError: the checkpoints are damaged or cannot be written.
        Stopped: SIGTERM came; ends the program with exit code 143.
    """
    with jax.default_matmul_precision(config["precision"]["matmul"]):
        return _run(config, workdir, dry_run, profile_steps)


def _run(
    config: Mapping[str, Any], workdir: Path, dry_run: bool, profile_steps: int
) -> dict[str, float]:
    # -- data, experiment, devices ---------------------------------------------------------------
    check_numbers(config)
    data, settings = config["data"], config["train"]
    if settings["wandb"]:
        wandb_log.load()  # or say at once that it is missing

    def announce(line: str) -> None:
        if parallel.is_main():
            print(line, flush=True)

    if not dry_run:
        for line in parallel.main_first(
            lambda: set_damaged_aside(workdir) if parallel.is_main() else []
        ):
            announce(line)
    inputs = open_inputs(config, workdir)
    experiment, dataset, parts, layout = (
        *(inputs.experiment, inputs.dataset),
        *(inputs.parts, inputs.layout),
    )
    task, epochs, epoch_steps = experiment.task, inputs.epochs, inputs.epoch_steps

    # -- state: fresh, with pretrained weights laid over it, or the latest checkpoint ------------
    steps = epochs * epoch_steps
    optimizer = optim.configured(config["optim"])
    rate = optim.make_schedule(config["optim"], steps)
    key = layout.replicate(np.asarray(jax.random.key_data(jax.random.key(config["seed"]))))
    key = jax.random.wrap_key_data(key)
    state, frozen = make_init(experiment, optimizer, layout)(key)
    if settings["adapters_only"] and not frozen:
        raise ValueError(
            f"train.adapters_only: every array of this network (model={config['model']!r}) learns, "
            "so checkpoints can leave none out; set it to False"
        )
    standing = description(experiment, dataset, parts)
    latest = newest(workdir)
    earlier = None if latest is None else read_description(latest)
    scores: dict[str, float] = {}
    points: dict[str, dict[str, float]] = {}  # thresholds chosen at the last validation
    lost: list[str] = []
    epoch = Epoch()
    if earlier:
        check_continues(earlier, experiment, standing)
        progress, pretrained = earlier["progress"], earlier["pretrained"]
        scores = {k: math.nan if v is None else v for k, v in earlier["validation"].items()}
        points = earlier.get("operating_points", {})
        if earlier.get("unfinished_epoch"):
            epoch = Epoch.restored(earlier["unfinished_epoch"])
        progress, lost = without_lost_best(progress, steps_in(workdir / FOLDER))
    else:
        progress = none_yet()
        pretrained = first_weights(experiment, state, frozen)
        begin_average(state)
    # After all that may refuse the run, so that it leaves no folder then.
    checkpoints = None if dry_run else Checkpoints(workdir, maximise=task.maximise)
    if earlier and checkpoints is not None:
        state, frozen = checkpoints.restore(state, frozen)

    # -- first lines ---------------------------------------------------------------------------
    start = progress["step"]
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
    for line in (
        *lost,
        *summary(experiment, state, frozen, standing, dataset, parts, layout),
        *(seen_before(config, dataset, parts) if not earlier else ()),
        f"training: {epochs} epochs of {epoch_steps} steps of {settings['batch_size']} windows; "
        + (f"continuing at step {start}" if earlier else "from the beginning"),
    ):
        announce(line)
    train_step = make_train_step(experiment, optimizer, layout)
    element = inputs.train_maker(0, epoch=0, stream=pipeline.PLAIN)
    shapes = abstract_batch(element, settings["batch_size"], layout)
    first = layout.replicate(np.float32(0))
    cost = compile_ahead(
        train_step, (state, frozen, shapes, key, first), experiment, optimizer, layout
    )
    for line in cost.report():
        announce(line)
    if checkpoints is None:
        announce("dry run: nothing was trained or written")
        return scores

    # -- what the run leaves -------------------------------------------------------------------
    wandb, shown_rows, examples = None, None, None
    trace_names = dataset.table["trace_name"].to_numpy(object)
    if parallel.is_main():
        workdir.mkdir(parents=True, exist_ok=True)
        (workdir / "config.json").write_text(json.dumps(config, indent=1) + "\n")
        # A run that continues has the same split, and its first description of it stays.
        if not earlier or not (workdir / split_files.NAME).exists():
            write_split(workdir, dataset, standing["dataset"], parts, data["split"])
        if settings["pictures"]:
            shown_rows = pictures.evenly(inputs.val.rows, settings["pictures"])
            examples = pictures.examples_of(
                inputs.val_maker,
                shown_rows,
                trace_names,
                fixed_window=data["fixed_eval_window"],
            )
        if settings["wandb"]:
            wandb = wandb_log.WandbLog(workdir, settings["wandb"], config)
    if settings["adapters_only"]:
        standing[backbone.ENTRY] = backbone.entry(
            config, experiment.settings, config["backbone"]["weights"], state["params"], frozen
        )
    reporter = Reporter(workdir, steps=steps, start=start, active=parallel.is_main(), wandb=wandb)

    # -- the loop ------------------------------------------------------------------------------
    eval_step = make_eval_step(experiment, layout)
    loading = {
        "workers": data["workers"],
        "threads": data["threads"],
        "to_device": layout.to_global,
    }

    def save(monitor: float | None) -> None:
        shown = {k: v if math.isfinite(v) else None for k, v in scores.items()}
        now = {"progress": {**progress, "step": step}, "validation": shown}
        now["operating_points"] = points
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
            trace_names,
            workdir,
            save=stop or not (workdir / DIAGNOSTICS).exists(),
        )
        if stop:
            raise TrainingError(f"{said}. {remedy(epoch, settings['nonfinite'])}")
        reporter.say(f"WARNING: left out, {epoch.skipped} in this epoch: {said}")

    def validate() -> Evaluation:
        params, stats = evaluated(state)
        forward = functools.partial(eval_step, params, frozen, stats)
        with pipeline.Stream(inputs.val_batches, **loading) as batches:
            return evaluate(experiment, forward, batches, examples=shown_rows)

    def say_scores(when: str, best: str = "") -> None:
        shown = {k: v for k, v in scores.items() if k.rpartition("/")[2] in CONSOLE_SCORES}
        values = ", ".join(f"{name} {value:.4g}" for name, value in shown.items())
        reporter.say(f"{when}: validation {values}{best}")

    stopped = progress["epochs_since_best"] > settings["patience"]
    kind, precision = jax.devices()[0].device_kind, config["precision"]
    published = accelerators.peak_flops(kind, precision["compute"], precision["matmul"])
    peak = settings["peak_tflops"] * 1e12 or published
    speed = Speed(settings["batch_size"], layout.devices, cost.flops, peak)
    with (
        contextlib.closing(checkpoints),
        reporter,
        preemption.Watch() as watch,
        pipeline.Stream(inputs.batches, start=start, **loading) as stream,
        Profiler(
            *(workdir, profile_steps, start),
            *(reporter.say, parallel.is_main()),
        ) as profiler,
    ):
        step, pending = start, None
        if config["start_from"] and not earlier:
            scores = validate().scores()
            reporter.write(0, "val", scores)
            say_scores("before any training")
        speed.begin(step)
        while step < steps and not stopped:
            with speed.waiting():
                batch = next(stream)
            lr = rate(step)
            lr_there = layout.replicate(np.float32(lr))
            # What crosses over by accident costs time.
            with jax.transfer_guard("disallow"), profiler.step(step):
                state, figures = train_step(state, frozen, batch, key, lr_there)
                # The figures of a step are read after the next one was dispatched, so that the
                # device never waits for the host.
                settle(pending)
            profiler.done(step, figures)
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
                loss, norm = epoch.means(settings["log_every"])
                means = {"loss": loss, "grad_norm": norm, "lr": lr}
                reporter.write(step, "train", means | speed.figures(step))

            if end_of_epoch:  # validate, count, save
                inputs.report_unread(epoch, reporter)
                outcome = validate()
                scores = outcome.scores()
                points = operating.choose(outcome, dataset.table)
                report_unread(inputs.val, set(outcome.unread), reporter)
                progress = after_epoch(progress, task, outcome, step, step // epoch_steps)
                reporter.write(
                    step, "epoch", {"train_loss": epoch.means()[0], "skipped": epoch.skipped}
                )
                reporter.write(step, "val", scores)
                epoch = Epoch(in_a_row=epoch.in_a_row)
                best = " (best so far)" * (progress["best_step"] == step)
                say_scores(f"epoch {progress['epoch']}/{epochs}", best)
                save(scores[task.monitor])
                if parallel.is_main():
                    draw_course(workdir)
                    if examples is not None:
                        drawn = pictures.drawings(experiment, outcome, examples, zoom=False)
                        reporter.pictures(step, "val", drawn)
                stopped = progress["epochs_since_best"] > settings["patience"]
                if stopped:
                    since_best = progress["epochs_since_best"]
                    reporter.say(f"stopped: no improvement in {since_best} epochs")
                speed.begin(step)  # validation is not training time
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
