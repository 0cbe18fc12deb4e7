"""Fine-tuning of a picker on a few records: scores before and after, every station left out once.

    python -m benchmarks.fine_tuning --checkpoint CHECKPOINT --data FOLDER --workdir DIR -- FLAGS

The stations are dealt into folds. Each is the test part of one run of train.py, the next one its
validation part, and the others are trained on. FLAGS go to train.py as they are. The records of all
test parts together then have picks of networks that know nothing of their stations, which are
compared with those of the network as it was, in its own window. F1 of P and S, intervals of 95 % by
resampling events; so of the difference. Thresholds are the configuration's. With few records chance
in training moves F1 as much as the training does, so with several --seeds everything is trained so
many times, and the difference is that of the mean.
"""

import argparse
import itertools
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

if not __package__:  # run as a file: the folder on Python's path is this one, not the one above
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pandas as pd

from benchmarks.pretrained import PHASES, TOLERANCES_S, scores, shown
from seismollm_jax.data import catalogue
from seismollm_jax.metrics.bootstrap import Resampling, groups_of, interval
from seismollm_jax.metrics.phases import NO_PICK, PhaseMetrics
from seismollm_jax.training import saved

ROOT = Path(__file__).resolve().parents[1]


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    end = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fine_tuning", description=__doc__.partition("\n")[0]
    )
    add = parser.add_argument
    add("--checkpoint", type=Path, required=True, help="of a picking network")
    add("--data", type=Path, required=True, help="folder of a dataset in STEAD's layout")
    add("--workdir", type=Path, required=True, help="split files, runs and tables go here")
    add("--folds", type=int, default=5)
    add("--seeds", type=int, nargs="+", default=[0], help="a training of all folds for each")
    add("--json", type=Path, help="write the figures here as well")
    given = parser.parse_args(arguments[:end])
    given.workdir.mkdir(parents=True, exist_ok=True)
    config = saved.read_description(saved.find(given.checkpoint))["config"]
    dataset = catalogue.open_dataset({**config["data"], "format": "stead", "path": given.data})
    before = given.workdir / "before"
    if not before.exists():
        evaluate(given.checkpoint, before, "all", given.data)
    after: dict[int, list[pd.DataFrame]] = {seed: [] for seed in given.seeds}
    dealt = enumerate(folds(dataset.table, given.folds))
    for (number, fold), seed in itertools.product(dealt, given.seeds):
        run = given.workdir / f"fold{number}-seed{seed}"
        run.mkdir(exist_ok=True)
        fold.to_csv(run / "folds.csv", index=False)
        if not (run / "test").exists():
            flags = {
                "config": "configs/picking.py",
                "config.seed": seed,
                "config.model": config["model"],
                "config.start_from": given.checkpoint.resolve(),
                "config.data.path": given.data.resolve(),
                "config.data.sampling_rate_hz": config["data"]["sampling_rate_hz"],
                "config.data.split.by": "file",
                "config.data.split.path": (run / "folds.csv").resolve(),
                "workdir": run.resolve(),
            }
            call("train.py", *(f"--{k}={v}" for k, v in flags.items()), *arguments[end + 1 :])
            evaluate(run, run / "test", "test", None)
        after[seed].append(pd.read_csv(run / "test" / "predictions.csv"))
    rate = config["data"]["sampling_rate_hz"]
    together = {f"seed {seed}": pd.concat(parts) for seed, parts in after.items()}
    figures = compare(pd.read_csv(before / "predictions.csv"), together, rate)
    print(table(figures))
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


def call(script: str, *flags: str) -> None:
    """Runs a script; its output is this one's."""
    subprocess.run([sys.executable, script, *flags], cwd=ROOT, check=True)


def evaluate(checkpoint: Path, output: Path, part: str, data: Path | None) -> None:
    """`eval.py` on a part."""
    flags: dict[str, Any] = {
        "checkpoint": checkpoint.resolve(),
        "output": output.resolve(),
        "split": part,
    }
    if data is not None:
        flags["data"] = data.resolve()
    # Thresholds of the best F1 on a validation part this small are chance.
    flags |= {"operating_point": "config", "batch_size": 16}
    call("eval.py", *(f"--{name}={value}" for name, value in flags.items()))


def folds(catalogue_table: pd.DataFrame, number: int) -> list[pd.DataFrame]:
    """Split files: `trace_name` and `split`; stations are dealt by turns, in alphabetical order.

    Raises:
        ValueError: fewer than three folds, or fewer stations than folds.
    """
    codes = catalogue_table["network"].astype(str) + "." + catalogue_table["station"].astype(str)
    station = np.unique(codes, return_inverse=True)[1]
    if not 3 <= number <= station.max() + 1:
        raise ValueError(f"--folds={number} with {station.max() + 1} stations: 3 to that many")
    found = []
    for test in range(number):
        turn = (station - test) % number
        split = np.where(turn == 0, "test", np.where(turn == 1, "val", "train"))
        found.append(pd.DataFrame({"trace_name": catalogue_table["trace_name"], "split": split}))
    return found


def compare(
    before: pd.DataFrame, after: Mapping[str, pd.DataFrame], rate_hz: float
) -> dict[str, Any]:
    """Scores of tables of predictions of the same traces, and what the trainings change on average.

    Args:
        before: of the network as it was.
        after: of each training, by its name.
        rate_hz: of the samples in them.
    """
    groups = groups_of(before["event_id"].to_numpy(object))
    names = before["trace_name"]
    sides = {"before": before} | {
        name: table.set_index("trace_name").loc[names].reset_index()
        for name, table in after.items()
    }
    picks = {
        name: [_samples(side, kind) for kind in ("pred", "true")] for name, side in sides.items()
    }
    rows = {name: scores(found, true, rate_hz, groups) for name, (found, true) in picks.items()}
    rows["difference"] = {}
    for phase, tolerance in itertools.product(PHASES, TOLERANCES_S):
        f1 = {}
        for name, (found, true) in picks.items():
            metric = PhaseMetrics(10**6, rate_hz, tolerance)
            parts = metric.parts(found[phase], true[phase])
            f1[name] = metric.scores(Resampling(groups).sums(parts))["f1"]
        key = f"{phase} {tolerance:g}"
        low, high = interval(np.mean([f1[name] - f1["before"] for name in after], 0))
        changes = [rows[name][key]["f1"] - rows["before"][key]["f1"] for name in after]
        rows["difference"][key] = {
            "f1": float(np.mean(changes)),
            "low": float(low),
            "high": float(high),
        }
    return {"traces": len(before), "rows": rows}


def _samples(predictions: pd.DataFrame, kind: str) -> dict[str, np.ndarray]:
    """Picks of `predictions.csv` by phase, since the beginning of the trace."""
    found = {}
    for phase in PHASES:
        column = predictions[f"{kind}_{phase}_sample"] + predictions["window_start"]
        found[phase] = column.fillna(NO_PICK).to_numpy(np.int64)
    return found


def table(figures: Mapping[str, Any]) -> str:
    """The figures as a table in Markdown."""
    rows = figures["rows"]
    columns = list(rows["before"])
    lines = [
        f"| | {' | '.join(f'{name[0].upper()}{name[1:]} s' for name in columns)} |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for name, row in rows.items():
        lines.append(f"| {name} | {' | '.join(shown(row[column]) for column in columns)} |")
    return "\n".join([*lines, f"{figures['traces']} traces"])


if __name__ == "__main__":
    raise SystemExit(main())
