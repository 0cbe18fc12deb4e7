"""A checkpoint against a part of a dataset: metrics.json, tables of predictions and pictures."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from seismollm_jax import experiment as experiments
from seismollm_jax import parallel
from seismollm_jax.data import catalogue, detect, pipeline
from seismollm_jax.data.sources import WaveformSource
from seismollm_jax.evaluation import (
    exposure,
    operating,
    pictures,
    predictions,
    report,
    report_cases,
    summary,
)
from seismollm_jax.evaluation.evaluate import Evaluation, evaluate
from seismollm_jax.experiment import Experiment
from seismollm_jax.tasks import thresholds
from seismollm_jax.training import saved
from seismollm_jax.training.step import make_eval_step

EXAMPLES = 6  # windows that are drawn


def run(
    directory: str | Path,
    output: Path,
    *,
    part: str = "test",
    data_path: str | None = None,
    split_file: str | None = None,
    allow_other_split: bool = False,
    batch_size: int | None = None,
    operating_point: str | None = None,
    given: Mapping[str, float | None] | None = None,
    choose_thresholds: bool = False,
    make_report: bool = False,
) -> dict[str, float]:
    """Evaluates the checkpoint at `directory` and writes everything into `output`.

    Args:
        directory: as for `saved.find`.
        output: directory for `metrics.json`, `predictions.csv` and `.parquet`, `pictures/`.
        part: "train", "val", "test" or "all" (every row the task can use).
        data_path: where the dataset lies, if not where it was in training. A part of a catalogue
            other than the training's is refused: it is not the training's part, so traces of the
            training could be in it.
        split_file: decides which trace is in which part, instead of the training's `data.split`;
            with the file that the training wrote, parts of any catalogue are the training's.
        allow_other_split: evaluates a part although it is not the training's.
        batch_size: over all devices; None takes the training's.
        operating_point: which thresholds to use, see `thresholds.decide`.
        given: thresholds by short name, instead.
        choose_thresholds: choose operating points on this part, which must be "val", store them in
            the checkpoint in place of those that it has, and use them here.
        make_report: write `report.html` too.

    Returns:
        The scores, flat.

    Raises:
        CheckpointError, ValueError, FileNotFoundError: no checkpoint, no data, or no usable row.
    """
    if choose_thresholds and part != "val":
        raise ValueError(
            f"thresholds are chosen on the validation part, not on {part}, whose scores would "
            "come out too good: --split=val --choose_thresholds"
        )
    stored = saved.load(directory)
    description = stored.description
    experiment = experiments.make(description["config"], description["settings"])
    task, config = experiment.task, dict(experiment.config)
    if choose_thresholds and not task.thresholds:
        raise ValueError(f"--choose_thresholds is for picking; this network is for {task.name}")
    asked = (None if choose_thresholds else operating_point, given)
    context, used = thresholds.decide(task, experiment.context, description, *asked)
    experiment = dataclasses.replace(experiment, context=context)
    data = dict(config["data"])
    if data_path is not None:
        data |= _found_at(data_path, data)
    if split_file is not None:
        data["split"] = {**data["split"], "by": "file", "path": split_file}
    dataset = catalogue.open_dataset(data)
    divide = catalogue.all_usable if part == "all" else catalogue.split_for
    parts = divide(dataset, data, needs=task.needs, uses_noise=task.uses_noise)
    exposed = exposure.exposure(description, dataset, parts, part)
    if exposed == "possible" and part != "all" and not allow_other_split:
        raise ValueError(exposure.refusal(description, dataset, parts, part))
    rows = np.sort(parts.rows[part])
    if not len(rows):
        raise ValueError(f"the {part} split of {dataset.path} is empty")
    layout = parallel.make_layout()
    say = print if parallel.is_main() else (lambda text: None)
    say(f"{stored.path}: {task.name}, {len(rows)} traces of {dataset.path}, split {part}")
    if exposure.EXPOSURES[exposed]:
        say(f"  {exposure.EXPOSURES[exposed]}")
    for line in catalogue.lacking_labels(description.get("labelled") or {}):
        say(f"  {line}")
    for line in parts.report():
        say(f"  {line}")

    source = WaveformSource(dataset, rows)
    maker = experiment.samples(source, rows, source.keys, augment=False)
    shown = pictures.evenly(rows, EXAMPLES)
    evaluated = _passes(experiment, stored, data, layout, batch_size)
    outcome = evaluated(maker, shown, data["workers"])
    if not outcome.records:
        unlabelled = f"trace {source.trace_name(0)!r} has no label for this task"
        first = [*source.why_unreadable(rows[:1].tolist()).values(), unlabelled][0]
        raise ValueError(
            f"none of the {len(rows)} records in the {part} split of {dataset.path} can be used; "
            f"the first: {first}"
        )
    if choose_thresholds:
        points = operating.choose(outcome, dataset.table)
        if not points:
            raise ValueError(
                f"no pick in the {part} split of {dataset.path} is a hit, so no thresholds can be "
                "chosen; the checkpoint stays as it is"
            )
        parallel.main_first(
            lambda: (
                saved.amend(stored.path, operating_points=points) if parallel.is_main() else None
            )
        )
        say(f"  operating points stored in {stored.path}: {points}")
        now = {**description, "operating_points": points}
        context, used = thresholds.decide(task, experiment.context, now, operating_point, given)
        outcome = outcome.at(context)
    if used:
        say(f"  {thresholds.line(used)}")
    cases = report_cases.choose(outcome) if make_report else []
    if cases:  # which they are is known only now, so their curves are made once more
        rows = np.sort(outcome.rows[[case.place for case in cases]])
        few = WaveformSource(dataset, rows)
        again = experiment.samples(few, rows, few.keys, augment=False)
        outputs = evaluated(again, rows.tolist(), 0).outputs
        outcome = dataclasses.replace(outcome, outputs=outcome.outputs | outputs)
    found = summary.make(outcome, dataset, source)
    found |= summary.origin(stored, dataset, parts, data["split"], part, exposed)
    if used:
        found["thresholds"] = used
    if parallel.is_main():
        output.mkdir(parents=True, exist_ok=True)
        predictions.write(predictions.table(outcome, dataset.table), output)
        summary.write(found, output)
        fixed, names = data["fixed_eval_window"], dataset.table["trace_name"].to_numpy()
        examples = pictures.examples_of(maker, shown, names, fixed_window=fixed)
        drawn = pictures.draw(outcome.experiment, outcome, examples, output / "pictures")
        for line in summary.lines(found):
            say(f"  {line}")
        files = f"metrics.json, {', '.join(predictions.NAMES)}, pictures/ ({len(drawn)})"
        if make_report:
            rows = outcome.rows[[case.place for case in cases]]
            examples = pictures.examples_of(maker, rows.tolist(), names, fixed_window=fixed)
            report.write(outcome, found, dataset.table, cases, examples, output)
            files += f", {report.NAME}"
        say(f"written: {output}/{files}")
    return {k: float("nan") if v is None else v for k, v in found["scores"].items()}


def _passes(
    experiment: Experiment,
    stored: saved.Stored,
    data: Mapping[str, Any],
    layout: parallel.Layout,
    batch_size: int | None,
) -> Callable[[pipeline.SampleMaker, list[int], int], Evaluation]:
    """(maker, rows whose outputs are kept, workers) -> the pass over all records of the maker."""
    config = experiment.config
    local_batch = layout.local_batch(batch_size or config["train"]["eval_batch_size"])
    params, frozen, stats = map(layout.replicate, (stored.params, stored.frozen, stored.stats))
    forward = functools.partial(make_eval_step(experiment, layout), params, frozen, stats)

    def evaluated(maker: pipeline.SampleMaker, shown: list[int], workers: int) -> Evaluation:
        batches = pipeline.eval_batches(
            maker,
            local_batch=local_batch,
            fixed_window=data["fixed_eval_window"],
            process=jax.process_index(),
            processes=jax.process_count(),
        )
        with (
            jax.default_matmul_precision(config["precision"]["matmul"]),
            pipeline.Stream(
                batches, workers=workers, threads=data["threads"], to_device=layout.to_global
            ) as stream,
        ):
            return evaluate(experiment, forward, stream, examples=shown)

    return evaluated


def _found_at(path: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `data` that change for the dataset at `path`, whose format is looked for.

    Where its files do not tell, the format is that of the training.
    """
    # The built-in dataset is in STEAD's layout; what is given by path is never written.
    trained_on = "stead" if data["format"] == "builtin" else data["format"]
    try:
        tables = trained_on in detect.TABLES
        found = detect.detect_format(path, trained_on if tables else "stead")
    except ValueError:
        found = trained_on
    kept = found == trained_on and not Path(path).is_file()
    return {"path": path, "format": found, "table": data["table"] if kept else ""}
