"""Scores of published networks on one's own traces, as their code prepares these and as ours does.

    python -m benchmarks.pretrained seist_s_dpk_diting.pth runs/seist_l --data STEAD_FOLDER

Of pickers:

"reference": resampled with scipy.signal.resample_poly, normalised over the data, then filled up
with zeros to the network's window, as the outputs were made that this project is compared with.
"eval.py": what `eval.py --split=all` says. Every trace is used; make sure that the network was not
trained on them. F1 of P and S, intervals of 95 % by resampling events.

Networks of other tasks are asked about the traces in the first way, and what they say is held
against S minus P and against first motions: see `pretrained_answers`.
"""

import argparse
import contextlib
import io
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

if not __package__:  # run as a file: the folder on Python's path is this one, not the one above
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pandas as pd
from scipy.signal import resample_poly

import seismollm_jax as sj
from benchmarks import pretrained_answers
from convert_weights import config_for
from seismollm_jax.conversion import from_torch
from seismollm_jax.conversion.foreign import Given
from seismollm_jax.conversion.report import Report
from seismollm_jax.data import catalogue, detect
from seismollm_jax.data.records import Dataset
from seismollm_jax.data.sources import WaveformSource
from seismollm_jax.evaluation import run
from seismollm_jax.evaluation.predictions import events
from seismollm_jax.metrics.bootstrap import Resampling, groups_of, interval
from seismollm_jax.metrics.phases import NO_PICK, PhaseMetrics

TOLERANCES_S = (0.1, 0.5)
PHASES = ("p", "s")
Picks = Mapping[str, np.ndarray]  # phase -> (traces,) samples, NO_PICK where there is none


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pretrained", description=__doc__.partition("\n")[0]
    )
    add = parser.add_argument
    add("networks", type=Path, nargs="+", help="PyTorch files or converted checkpoints")
    add("--data", type=Path, required=True, help="folder of a dataset")
    add("--picks", type=Path, help="JSON of recorded picks, to be compared with one by one")
    add("--batch-size", type=int, default=16)
    add("--json", type=Path, help="write the figures here as well")
    given = parser.parse_args(arguments)
    recorded = json.loads(given.picks.read_text())["models"] if given.picks else {}
    figures = {}
    for path in given.networks:
        with tempfile.TemporaryDirectory() as temporary:
            checkpoint = path if path.is_dir() else _converted(path, Path(temporary))
            figures[path.stem] = _measure(checkpoint, given.data, given.batch_size, recorded)
    print(table(figures))
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


def _converted(path: Path, folder: Path) -> Path:
    """The PyTorch file as a checkpoint; needs PyTorch."""
    output = folder / path.stem
    try:
        from_torch.convert(
            path, output, given=Given(), config_for=config_for, report=Report("from-torch")
        )
    except ValueError as error:
        raise ValueError(f"{error}; convert it with that, and give the checkpoint here") from error
    return output


def _measure(
    checkpoint: Path, data: Path, batch_size: int, recorded: Mapping[str, Any]
) -> dict[str, Any]:
    """Scores of a picker in both ways, how many of its picks are the recorded ones; or answers."""
    predictor = sj.load(checkpoint, batch_size=batch_size)
    settings = dict(predictor.experiment.config["data"]) | {"path": str(data), "table": ""}
    settings["format"] = detect.detect_format(str(data), "stead")
    dataset = catalogue.open_dataset(settings)
    if predictor.experiment.task.name != "picking":
        return _answers(predictor, dataset)
    chosen = dataset.table[["p_sample", "s_sample"]].notna().any(axis=1).to_numpy()
    rows = np.flatnonzero(chosen)
    found, true, rate = reference_picks(predictor, dataset, rows)
    groups = groups_of(events(dataset.table)[rows])
    report: dict[str, Any] = {
        "traces": len(rows),
        "events": int(groups.max()) + 1,
        "reference": scores(found, true, rate, groups),
    }
    with tempfile.TemporaryDirectory() as output:
        silent = io.StringIO()
        with contextlib.redirect_stdout(silent):
            run.run(
                checkpoint, Path(output), part="all", data_path=str(data), batch_size=batch_size
            )
        predictions = pd.read_csv(Path(output) / "predictions.csv")
    ours, catalogued = (
        {p: predictions[f"{kind}_{p}_sample"].fillna(NO_PICK).to_numpy(np.int64) for p in PHASES}
        for kind in ("pred", "true")
    )
    groups = groups_of(events(dataset.table)[predictions["row"].to_numpy()])
    report["eval.py"] = scores(ours, catalogued, predictor.sampling_rate_hz, groups)
    name = f"{predictor.experiment.family.name}_dpk"
    if name in recorded:
        names = dataset.table["trace_name"].iloc[rows].tolist()
        times = rate / predictor.sampling_rate_hz  # recorded at the network's rate
        report["picks_as_recorded"] = equal(found, names, recorded[name]["traces"], times)
    return report


def _answers(predictor: sj.Predictor, dataset: Dataset) -> dict[str, Any]:
    """What a network of another task says of the traces with P and S."""
    task, arrivals = predictor.experiment.task.name, dataset.table[["p_sample", "s_sample"]]
    rows = np.flatnonzero(arrivals.notna().all(axis=1).to_numpy())
    windows, rate = reference_windows(predictor, dataset, rows)
    p, s = arrivals.iloc[rows].to_numpy(np.float64).T
    source = WaveformSource(dataset, rows)
    motions = [
        pretrained_answers.first_motion(source.waveform(index)[:, 0], int(p[index]), rate)
        for index in range(len(rows) if task == "polarity" else 0)
    ]
    said = pretrained_answers.answers(predictor, windows)
    return {
        "task": task,
        "traces": len(rows),
        "events": int(groups_of(events(dataset.table)[rows]).max()) + 1,
        "answers": pretrained_answers.judged(task, said, (s - p) / rate, np.array(motions)),
    }


def reference_picks(
    predictor: sj.Predictor, dataset: Dataset, rows: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], float]:
    """Picks of the reference preparation and those of the catalogue, and the rate of both.

    The rate is that of the records, so that the catalogue's need not be rounded. Errors are those
    of `reference_windows`.
    """
    windows, rate = reference_windows(predictor, dataset, rows)
    times = round(rate / predictor.sampling_rate_hz)
    output = predictor.forward(windows.swapaxes(1, 2)).swapaxes(1, 2)
    context = predictor.experiment.context
    answers = predictor.experiment.task.decode(output, context)
    found = {p: answers[f"{p}_sample"][:, 0].astype(np.int64) for p in PHASES}
    found = {p: np.where(s == NO_PICK, NO_PICK, times * s) for p, s in found.items()}
    true = {
        p: dataset.table[f"{p}_sample"].iloc[rows].fillna(NO_PICK).to_numpy(np.float64)
        for p in PHASES
    }
    return found, {p: s.astype(np.int64) for p, s in true.items()}, rate


def reference_windows(
    predictor: sj.Predictor, dataset: Dataset, rows: np.ndarray
) -> tuple[np.ndarray, float]:
    """The traces as the reference prepares them, (rows, window, 3), and the rate of the records.

    Raises:
        ValueError: records of several rates, or of none that is a multiple of the network's.
    """
    rates = np.unique(dataset.table["sampling_rate_hz"].to_numpy(np.float64)[rows])
    times = rates[0] / predictor.sampling_rate_hz if len(rates) == 1 else 0.0
    if times < 1 or times != int(times):
        raise ValueError(
            f"{dataset.path}: records at {', '.join(f'{rate:g}' for rate in rates)} Hz; one rate, "
            f"a multiple of {predictor.sampling_rate_hz:g} Hz, is wanted"
        )
    source = WaveformSource(dataset, rows)
    windows = np.zeros((len(rows), predictor.window, 3), np.float32)
    for index in range(len(rows)):
        part = prepared(source.waveform(index), int(times))[: predictor.window]
        windows[index, : len(part)] = part
    return windows, float(rates[0])


def prepared(waveform: np.ndarray, times: int) -> np.ndarray:
    """Waveform (samples, 3) at a rate so many times lower, normalised over all of it."""
    made = resample_poly(waveform.astype(np.float64), 1, times, axis=0)
    made -= made.mean(0)
    spread = made.std(0)
    return np.asarray((made / np.where(spread == 0, 1, spread)).astype(np.float32))


def scores(
    found: Picks, true: Picks, rate_hz: float, groups: np.ndarray
) -> dict[str, dict[str, float]]:
    """F1 with its interval, by phase and tolerance: "p 0.1" -> f1, low, high, picks, hits."""
    made = {}
    for phase in PHASES:
        for tolerance in TOLERANCES_S:
            end = 1 + int(max(found[phase].max(), true[phase].max()))
            metric = PhaseMetrics(end, rate_hz, tolerance)
            parts = metric.parts(found[phase], true[phase])
            sums = Resampling(groups).sums(parts)
            low, high = interval(metric.scores(sums)["f1"])
            whole = {name: part.sum(0, dtype=np.float64) for name, part in parts.items()}
            made[f"{phase} {tolerance:g}"] = {
                "f1": float(metric.scores(whole)["f1"]),
                "low": float(low),
                "high": float(high),
                "picks": int(whole["picks_predicted"]),
                "hits": int(whole["hits"]),
            }
    return made


def equal(
    found: Picks, names: list[str], recorded: Mapping[str, Any], times: float
) -> dict[str, int]:
    """How many of the picks, or of their absences, are those recorded, to the sample."""
    pairs = [
        (int(found[phase][index]), recorded[name][phase])
        for index, name in enumerate(names)
        for phase in PHASES
    ]
    same = [ours == (NO_PICK if other is None else times * other) for ours, other in pairs]
    return {"equal": sum(same), "of": len(same)}


def shown(one: Mapping[str, float]) -> str:
    """A score with its interval."""
    return f"{one['f1']:.3f} ({one['low']:.3f} to {one['high']:.3f})"


def table(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """The figures as a table in Markdown."""
    columns = [f"{phase} {tolerance:g}" for phase in PHASES for tolerance in TOLERANCES_S]
    heads = [f"{name[0].upper()}{name[1:]} s" for name in columns]
    lines = [
        f"| network | preparation | {' | '.join(heads)} |",
        "|---" * (len(heads) + 2) + "|",
    ]
    pickers = {name: found for name, found in figures.items() if "reference" in found}
    lines = lines if pickers else []
    for name, found in pickers.items():
        for way in ("reference", "eval.py"):
            cells = " | ".join(shown(found[way][column]) for column in columns)
            lines.append(f"| {name} | {way} | {cells} |")
    for name, found in figures.items():
        if "answers" in found:
            lines.append(pretrained_answers.line(name, found))
        same = found.get("picks_as_recorded")
        if same:
            lines.append(f"{name}: {same['equal']} of {same['of']} picks as recorded")
        lines.append(f"{name}: {found['traces']} traces of {found['events']} events")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
