"""The protocol of the picking benchmark: python -m seismollm_jax.evaluation.pick_benchmark.

What the benchmark is, `benchmark_targets` says; what is computed, `benchmark_scores`.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from tqdm import tqdm

from seismollm_jax import command_line, parallel
from seismollm_jax import experiment as experiments
from seismollm_jax.atomic_files import write
from seismollm_jax.data import catalogue, detect
from seismollm_jax.data.sources import BadTrace, WaveformSource
from seismollm_jax.data.waveform import cut, normalise
from seismollm_jax.evaluation import benchmark_scores, benchmark_targets
from seismollm_jax.experiment import Experiment
from seismollm_jax.models.state import merge
from seismollm_jax.training import saved
from seismollm_jax.training.provenance import provenance

SETS = ("dev", "test")
CURVES = ("p", "s", "detection")  # what is looked at, where the network has it
OUTPUTS = ("score_detection", "score_p_or_s", "p_sample_pred", "s_sample_pred")
TINY = float(np.finfo(np.float32).tiny)  # keeps the ratio of probabilities finite


class Window(NamedTuple):
    """A window for the network: which target it is of, its place, the part that counts."""

    target: int
    start: int
    first: int
    end: int
    waveform: np.ndarray  # (window, 3), normalised


def run(
    directory: str | Path,
    data: str,
    targets: str | Path,
    output: Path,
    *,
    sets: Sequence[str] = SETS,
    data_format: str = "",
    batch_size: int = 256,
    threads: int = 4,
) -> dict[str, float]:
    """Predicts all targets and writes the benchmark's tables and `summary.json` into `output`.

    `output/SET_KIND.csv`, such as test_task1.csv, are the targets with four more columns, sample
    numbers counting as those of the targets do. Without a prediction stay targets whose trace is
    not in the dataset, cannot be read, or ends before the window begins; they are counted.

    Args:
        directory: a checkpoint of picking, as for `saved.find`.
        data: a dataset in any format that is read.
        targets: as for `benchmark_targets.read`.
        output: directory.
        sets: values of `trace_split` to evaluate.
        data_format: of the dataset, if its files do not tell.
        batch_size: windows, over all devices.
        threads: that read.

    Returns:
        The scores.

    Raises:
        CheckpointError, ValueError, FileNotFoundError: no checkpoint of picking, no data or
            targets, or not one target that could be evaluated.
    """
    stored = saved.load(directory)
    experiment = experiments.make(stored.description["config"], stored.description["settings"])
    if experiment.task.name != "picking":
        raise ValueError(
            f"{stored.path} is of the task {experiment.task.name}; the benchmark is about picking"
        )
    tables = benchmark_targets.read(targets, sets)
    rate = experiment.context.sampling_rate_hz
    found_format, dataset = detect.open_found(data, data_format)
    dataset = catalogue.at_rate(dataset, rate)
    print(f"{stored.path}: {found_format} {dataset.path} at {rate:g} Hz", flush=True)
    layout = parallel.make_layout()
    size = layout.local_batch(batch_size)
    forward = _forward(experiment, stored, layout)
    lacking: dict[str, str] = {}
    done: dict[tuple[str, str], pd.DataFrame] = {}
    for kind, table in tables.items():
        rows = benchmark_targets.rows_of(table, dataset)
        absent = table["trace_name"][rows < 0]
        lacking |= dict.fromkeys(absent, f"is not in {dataset.path}")
        source = WaveformSource(dataset, rows[rows >= 0])
        places = np.flatnonzero(rows >= 0)
        with tqdm(total=len(places), desc=kind, unit="target", disable=None) as bar:
            windows = _windows(experiment, table, source, places, threads, lacking, bar.update)
            answers = _answers(forward, windows, len(table), size, experiment)
        predicted = _columns(table, answers, rate)
        for part, chosen in predicted.groupby("trace_split", sort=False):
            done[str(part), kind] = chosen
    predicted_any = any(table[OUTPUTS[0]].notna().any() for table in done.values())
    for name, reason in list(lacking.items())[: None if not predicted_any else 3]:
        print(f"  left out: {name} {reason}")
        if not predicted_any:
            raise ValueError(f"no target could be evaluated; the first: {name} {reason}")
    if len(lacking) > 3:
        print(f"  left out: {len(lacking)} traces in all; summary.json has the reasons")
    for (part, kind), table in done.items():
        write(output / f"{part}_{kind}.csv", table.to_csv(index=False).encode())
    scores = benchmark_scores.summarise(done)
    counts = {
        f"{part}_{kind}": {"targets": len(t), "predicted": int(t[OUTPUTS[0]].notna().sum())}
        for (part, kind), t in done.items()
    }
    about = {
        "scores": {name: v if math.isfinite(v) else None for name, v in scores.items()},
        "counts": counts,
        "left_out": lacking,
        "checkpoint": str(stored.path),
        "step": stored.description["progress"]["step"],
        "data": str(dataset.path),
        "targets": str(targets),
        "provenance": provenance(),
    }
    write(output / "summary.json", (json.dumps(about, indent=1) + "\n").encode())
    for line in benchmark_scores.lines(scores, sorted({part for part, _ in done})):
        print(f"  {line}")
    print(f"written: {output}/summary.json, {', '.join(f'{p}_{k}.csv' for p, k in done)}")
    return scores


def _curves(experiment: Experiment) -> list[str]:
    """Those of `CURVES` that the network has."""
    return [curve for curve in CURVES if curve in experiment.task.labels]


def _forward(
    experiment: Experiment, stored: saved.Stored, layout: parallel.Layout
) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    """waveform, first, end -> (batch, 2 * curves): largest values in the part, where they are.

    One shape, so one compilation; curves stay on the devices.
    """
    graphdef, labels = experiment.abstract().graphdef, experiment.task.labels
    wanted = np.array([labels.index(curve) for curve in _curves(experiment)])
    arrays = layout.replicate((stored.params, stored.frozen, stored.stats))

    @jax.jit
    def step(arrays: Any, batch: dict[str, jax.Array]) -> jax.Array:
        model: Any = merge(graphdef, *arrays)
        curves = model(batch["waveform"])[..., wanted]  # (batch, window, curves)
        place = jnp.arange(curves.shape[1])[None, :, None]
        inside = (place >= batch["first"][:, None, None]) & (place < batch["end"][:, None, None])
        curves = jnp.where(inside, curves, -1.0)
        largest = jnp.concatenate([curves.max(1), curves.argmax(1).astype(jnp.float32)], 1)
        return jax.lax.with_sharding_constraint(largest, layout.batched)

    precision = experiment.config["precision"]["matmul"]

    def forward(batch: dict[str, np.ndarray]) -> np.ndarray:
        with jax.default_matmul_precision(precision):
            return np.asarray(step(arrays, layout.to_global(batch)), np.float64)

    return forward


def _windows(
    experiment: Experiment,
    table: pd.DataFrame,
    source: WaveformSource,
    places: np.ndarray,
    threads: int,
    lacking: dict[str, str],
    progress: Callable[[int], Any],
) -> Iterator[Window]:
    """The windows of the targets, read ahead by threads; enters into `lacking` what fails."""
    window, rate = experiment.context.window, experiment.context.sampling_rate_hz
    mode = experiment.sample_options.normalisation
    factor = rate / table["sampling_rate"].to_numpy(np.float64)
    starts = np.round(table["start_sample"].to_numpy(np.float64) * factor).astype(np.int64)
    ends = np.round(table["end_sample"].to_numpy(np.float64) * factor).astype(np.int64)
    names = table["trace_name"].to_numpy()

    def read(position: int) -> list[Window] | str:
        target = int(places[position])
        try:
            trace = source[position].waveform
        except BadTrace as error:
            return str(error)
        looks = benchmark_targets.looks(int(starts[target]), int(ends[target]), window, len(trace))
        if not looks:
            return f"has {len(trace)} samples; the window begins at {starts[target]}"
        return [
            Window(target, *look_of, normalise(cut(trace, look_of[0], window), mode))
            for look_of in ((look.start, look.first, look.end) for look in looks)
        ]

    ahead: deque[tuple[int, Future[list[Window] | str]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for position in range(len(places) + 1):
            if position < len(places):
                ahead.append((position, pool.submit(read, position)))
            while ahead and (len(ahead) > 64 or position == len(places)):
                number, future = ahead.popleft()
                found = future.result()
                progress(1)
                if isinstance(found, str):
                    lacking[str(names[places[number]])] = found
                else:
                    yield from found


def _answers(
    forward: Callable[[dict[str, np.ndarray]], np.ndarray],
    windows: Iterator[Window],
    targets: int,
    size: int,
    experiment: Experiment,
) -> np.ndarray:
    """(targets, 2 * curves): largest values, their samples at the network's rate; nan if none.

    Of several windows of a target the one with the larger probability counts.
    """
    length, curves = experiment.context.window, len(_curves(experiment))
    answers = np.full((targets, 2 * curves), np.nan)

    def flush(batch: list[Window]) -> None:
        filled = {
            "waveform": np.zeros((size, length, 3), np.float32),
            "first": np.zeros(size, np.int32),
            "end": np.ones(size, np.int32),
        }
        for row, one in enumerate(batch):
            filled["waveform"][row] = one.waveform
            filled["first"][row], filled["end"][row] = one.first, one.end
        for one, found in zip(batch, forward(filled), strict=False):
            best = answers[one.target]
            for curve in range(curves):
                if not found[curve] <= best[curve]:
                    best[curve], best[curves + curve] = (
                        found[curve],
                        one.start + found[curves + curve],
                    )

    batch: list[Window] = []
    for one in windows:
        batch.append(one)
        if len(batch) == size:
            flush(batch)
            batch = []
    if batch:
        flush(batch)
    return answers


def _columns(table: pd.DataFrame, answers: np.ndarray, rate: float) -> pd.DataFrame:
    """The targets with the benchmark's four columns.

    Detection is the probability of an event in progress, from networks that have it; from the
    others the larger one of P and S: their curve of neither phase, one minus which the benchmark
    takes of some networks, is not trained here.
    """
    largest, places = np.split(answers, 2, axis=1)
    p, s = largest[:, :2].T
    detection = largest[:, 2] if largest.shape[1] > 2 else np.maximum(p, s)
    samples = places[:, :2] * (table["sampling_rate"].to_numpy(np.float64) / rate)[:, None]
    values = (detection, p / np.maximum(s, TINY), *samples.T)
    return table.assign(**dict(zip(OUTPUTS, values, strict=True)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark as the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m seismollm_jax.evaluation.pick_benchmark",
        description="Evaluates a picking checkpoint on published targets of the picking benchmark "
        "(Muenchmeyer et al., 2022) and writes predictions in its format.",
    )
    parser.add_argument("--checkpoint", required=True, help="working directory or checkpoint")
    parser.add_argument("--data", required=True, help="dataset that the targets are of")
    parser.add_argument("--format", default="", help="of the dataset (default: found by looking)")
    parser.add_argument(
        "--targets", required=True, help="folder with task1.csv and task23.csv, or one of them"
    )
    parser.add_argument("--output", required=True, type=Path, help="tables and summary.json")
    parser.add_argument("--sets", default=",".join(SETS), help="default: %(default)s")
    parser.add_argument("--batch_size", type=int, default=256, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=4, help="that read (default: %(default)s)")
    given = parser.parse_args(arguments)
    run(
        given.checkpoint,
        given.data,
        given.targets,
        given.output,
        sets=[part for part in given.sets.split(",") if part],
        data_format=given.format,
        batch_size=given.batch_size,
        threads=given.threads,
    )


if __name__ == "__main__":
    command_line.guarded(main)
