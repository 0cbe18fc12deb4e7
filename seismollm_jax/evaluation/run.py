"""A checkpoint against a part of a dataset: metrics.json, predictions.csv and pictures."""

import functools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from seismollm_jax import experiment as experiments
from seismollm_jax import parallel
from seismollm_jax.data import catalogue, detect, pipeline, split_files, splits
from seismollm_jax.data.records import Dataset
from seismollm_jax.data.sources import WaveformSource
from seismollm_jax.evaluation import pictures
from seismollm_jax.evaluation.evaluate import Evaluation, evaluate
from seismollm_jax.training import checkpoint
from seismollm_jax.training.step import make_eval_step

EXPOSURES = {
    "none": "",
    "included": "",
    "possible": (
        "not the split of the training, or another catalogue than that of the training: traces of "
        "the training may be among these, which would flatter the scores"
    ),
    "unknown": (
        "a converted checkpoint does not say what it was trained on: make sure that no trace "
        "of this part was among that"
    ),
}
"""Whether traces of the training are among those evaluated, and what to say about it."""


def run(
    directory: str | Path,
    output: Path,
    *,
    part: str = "test",
    data_path: str | None = None,
    split_file: str | None = None,
    allow_other_split: bool = False,
    batch_size: int | None = None,
) -> dict[str, float]:
    """Evaluates the checkpoint at `directory` and writes everything into `output`.

    Args:
        directory: as for `checkpoint.find`.
        output: directory for `metrics.json`, `predictions.csv`, `pictures/`.
        part: "train", "val", "test" or "all" (every row the task can use).
        data_path: where the dataset lies, if not where it was in training. A part of a catalogue
            other than the training's is refused: it is not the training's part, so traces of the
            training could be in it.
        split_file: decides which trace is in which part, instead of the training's `data.split`;
            with the file that the training wrote, parts of any catalogue are the training's.
        allow_other_split: evaluates a part although it is not the training's.
        batch_size: over all devices; None takes the training's.

    Returns:
        The scores, flat.

    Raises:
        CheckpointError, ValueError, FileNotFoundError: no checkpoint, no data, or no usable row.
    """
    stored = checkpoint.load(directory)
    description = stored.description
    experiment = experiments.make(description["config"], description["settings"])
    task, config = experiment.task, dict(experiment.config)
    data = dict(config["data"])
    if data_path is not None:
        data |= _found_at(data_path, data)
    if split_file is not None:
        data["split"] = {**data["split"], "by": "file", "path": split_file}
    dataset = catalogue.open_dataset(data)
    divide = catalogue.all_usable if part == "all" else catalogue.split_for
    parts = divide(dataset, data, needs=task.needs, uses_noise=task.uses_noise)
    exposure = _exposure(description, dataset, parts, part)
    if exposure == "possible" and part != "all" and not allow_other_split:
        raise ValueError(_refusal(description, dataset, parts, part))
    rows = np.sort(parts.rows[part])
    if not len(rows):
        raise ValueError(f"the {part} split of {dataset.path} is empty")
    layout = parallel.make_layout()
    say = print if parallel.is_main() else (lambda text: None)
    say(f"{stored.path}: {task.name}, {len(rows)} traces of {dataset.path}, split {part}")
    if EXPOSURES[exposure]:
        say(f"  {EXPOSURES[exposure]}")
    for line in catalogue.lacking_labels(description.get("labelled") or {}):
        say(f"  {line}")
    for line in parts.report():
        say(f"  {line}")

    source = WaveformSource(dataset, rows)
    maker = experiment.samples(source, rows, source.keys, augment=False)
    batches = pipeline.eval_batches(
        maker,
        local_batch=layout.local_batch(batch_size or config["train"]["eval_batch_size"]),
        fixed_window=data["fixed_eval_window"],
        process=jax.process_index(),
        processes=jax.process_count(),
    )
    params, frozen, stats = map(layout.replicate, (stored.params, stored.frozen, stored.stats))
    eval_step = make_eval_step(experiment, layout)
    names = dataset.table["trace_name"].to_numpy()
    with (
        jax.default_matmul_precision(config["precision"]["matmul"]),
        pipeline.Stream(
            batches,
            workers=data["workers"],
            threads=data["threads"],
            to_device=layout.to_global,
        ) as stream,
    ):
        outcome = evaluate(
            experiment,
            functools.partial(eval_step, params, frozen, stats),
            stream,
            names=names,
        )
    if not outcome.records:
        unlabelled = f"trace {source.trace_name(0)!r} has no label for this task"
        first = [*source.why_unreadable(rows[:1].tolist()).values(), unlabelled][0]
        raise ValueError(
            f"none of the {len(rows)} records in the {part} split of {dataset.path} can be used; "
            f"the first: {first}"
        )
    scores = outcome.scores()
    if parallel.is_main():
        about = {
            "split": part,
            "split_by": None if part == "all" else splits.how_made(data["split"]),
            "split_hash": parts.hash,
            "training_traces": exposure,
            "data": str(dataset.path),
        }
        if dataset.members:
            about["sources"] = _scores_by_source(experiment, outcome, dataset)
        _write(outcome, scores, output, about, stored, source)
        with jax.default_matmul_precision(config["precision"]["matmul"]):
            drawn = pictures.draw(experiment, outcome, maker, stored, output / "pictures")
        for name, value in scores.items():
            say(f"  {name:<24} {value:.5g}")
        say(f"written: {output}/metrics.json, predictions.csv, pictures/ ({len(drawn)})")
    return scores


def _scores_by_source(
    experiment: experiments.Experiment, outcome: Evaluation, dataset: Dataset
) -> dict[str, dict[str, float | None]]:
    """Scores of each member of a mixture that has a record here."""
    assert outcome.table is not None
    sources = dataset.table["source"].to_numpy(object)[outcome.table["row"]]
    return {
        member.name: _as_json(outcome.scores_of(experiment, sources == member.name))
        for member in dataset.members
        if (sources == member.name).any()
    }


def _as_json(scores: Mapping[str, float]) -> dict[str, float | None]:
    """JSON has no NaN; a score that does not exist is null."""
    return {k: v if math.isfinite(v) else None for k, v in scores.items()}


def _exposure(
    description: dict[str, Any], dataset: Dataset, parts: catalogue.Parts, part: str
) -> str:
    """Whether traces of the training are in the part; one of `EXPOSURES`."""
    if description["dataset"] is None:  # trained by another program
        return "unknown"
    same_split = description["split_hash"] in (parts.hash, parts.file_hash)
    if same_split and part in ("val", "test"):
        return "none"
    same_catalogue = catalogue.fingerprint(dataset) == description["dataset"]
    if same_split or (part == "all" and same_catalogue):
        return "included"
    return "possible"


def _refusal(
    description: dict[str, Any], dataset: Dataset, parts: catalogue.Parts, part: str
) -> str:
    """Why a part is not evaluated, and what to do."""
    ways = (
        f"give the split file of the training (--split_file=WORKDIR/{split_files.NAME}), or "
        "evaluate all the same with --allow_other_split"
    )
    if catalogue.fingerprint(dataset) != description["dataset"]:
        return (
            f"{dataset.path} is another catalogue than the one this checkpoint was trained on, so "
            f"it has no {part} part that is known to be free of training traces; evaluate "
            f"--split=all and make sure that the two have no traces in common, {ways}"
        )
    return (
        f"the {part} split of {dataset.path} (hash {parts.hash}) is not the one of the "
        f"training ({description['split_hash']}), so training data may be in it; evaluate "
        f"--split=all, restore the table as it was, {ways}"
    )


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


def _write(
    outcome: Evaluation,
    scores: dict[str, float],
    output: Path,
    about: dict[str, Any],
    stored: checkpoint.Stored,
    source: WaveformSource,
) -> None:
    output.mkdir(parents=True, exist_ok=True)
    assert outcome.table is not None  # asked for, and there are records
    outcome.table.to_csv(output / "predictions.csv", index=False)
    summary = {
        "scores": _as_json(scores),
        "records": outcome.records,
        "unreadable": source.why_unreadable(outcome.unread),
        **about,
        "checkpoint": str(stored.path),
        "step": stored.description["progress"]["step"],
        "task": stored.description["task"],
        "provenance": checkpoint.provenance(),
    }
    (output / "metrics.json").write_text(json.dumps(summary, indent=1) + "\n")
    if outcome.unread:
        print(f"  {len(outcome.unread)} traces could not be read; metrics.json says why")
