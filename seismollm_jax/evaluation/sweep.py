"""Runs in sequence, compared at the end: python -m seismollm_jax.evaluation.sweep SWEEP.toml.

Each run is a training and an evaluation in processes of their own, so that one that fails, or that
the system kills for its memory, takes nothing with it. A sweep that was interrupted goes on where
it was: what is finished is left out, and a training continues from its last checkpoint.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seismollm_jax import command_line
from seismollm_jax.atomic_files import write
from seismollm_jax.evaluation import compare, comparison_text, prediction_tables, published
from seismollm_jax.metrics.bootstrap import RESAMPLES

EVALUATION = "evaluation"  # folder in that of a run
MARKER = "finished.json"
PREEMPTED = 143  # exit code of a training that was told to stop and has saved a checkpoint
PLACES = ("data.path", "data.workers", "data.threads")  # may change while a sweep is under way
FIELDS = {"config", "set", "split", "runs"}
RUN_FIELDS = {"config", "set"}


@dataclasses.dataclass(frozen=True)
class Run:
    """One training and its evaluation.

    Attributes:
        name: also of its folder.
        config: as `--config` of train.py.
        overrides: field of the configuration -> value.
    """

    name: str
    config: str
    overrides: Mapping[str, Any]

    def flags(self) -> list[str]:
        """What train.py is told of the experiment."""
        fields = (f"--config.{name}={as_flag(value)}" for name, value in self.overrides.items())
        return [f"--config={self.config}", *fields]


def as_flag(value: Any) -> str:
    """A value of TOML as the command line of a configuration takes it."""
    if isinstance(value, list):
        return "(" + "".join(f"{item!r}," for item in value) + ")"
    return str(value)


def read(path: str | Path, more: Mapping[str, Any] | None = None) -> tuple[list[Run], str]:
    """The runs of a sweep and the part of the data that they are evaluated on.

    Args:
        path: TOML file. `config` is that of all runs, or of each; the table `set` holds fields of
            all runs, `runs.NAME.set` those of one; `split` is "test" if it is not there.
        more: fields that go before those of the file for all runs.

    Raises:
        ValueError: what does not belong there, no runs, or a run without a configuration.
    """
    try:
        given = tomllib.loads(Path(path).read_text())
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is no TOML: {error}") from error
    _check(given, FIELDS, str(path))
    if not given.get("runs") or not isinstance(given["runs"], dict):
        raise ValueError(f"{path} has no runs; give each a table [runs.NAME]")
    runs = []
    for name, own in given["runs"].items():
        _check(own, RUN_FIELDS, f"{path}: runs.{name}")
        if not re.fullmatch(r"[\w.+-]+", name) or name.startswith("."):
            raise ValueError(
                f"{path}: a run is called {name!r}; its folder takes letters, digits, . _ + -"
            )
        config = own.get("config", given.get("config"))
        if not config:
            raise ValueError(f"{path}: run {name} has no config, such as configs/picking.py:stead")
        overrides = {**given.get("set", {}), **own.get("set", {}), **(more or {})}
        runs.append(Run(name, config, overrides))
    return runs, given.get("split", "test")


def _check(table: Any, known: set[str], where: str) -> None:
    if not isinstance(table, dict) or (unknown := set(table) - known):
        what = f"the field {sorted(unknown)[0]!r}" if isinstance(table, dict) else repr(table)
        raise ValueError(f"{where} has {what}; it can have {', '.join(sorted(known))}")
    fields = table.get("set", {})
    nested = [name for name, value in fields.items() if isinstance(value, dict)]
    if nested:
        raise ValueError(
            f"{where}: set.{nested[0]} is a table; write fields in quotation marks, such as "
            '"data.split.train" = 0.1'
        )


def run_all(runs: Sequence[Run], output: Path, *, split: str, scripts: Path) -> dict[str, str]:
    """Trains and evaluates one after the other; returns why those failed that did.

    Args:
        runs: in this order.
        output: their folders go there, with train.log and eval.log in each.
        split: part of the data to evaluate on.
        scripts: where train.py and eval.py are.

    Raises:
        FileNotFoundError: the scripts are not there.
        ValueError: a folder holds a run of that name with another configuration.
        SystemExit: the sweep was told to stop, and so was the training; it has saved a checkpoint.
    """
    for script in ("train.py", "eval.py"):
        if not (scripts / script).is_file():
            raise FileNotFoundError(
                f"{scripts} has no {script}; start a sweep from the folder of the repository"
            )
    for run in runs:
        _claim(run, output / run.name, split)
    failed: dict[str, str] = {}
    for number, run in enumerate(runs, 1):
        folder = output / run.name
        label = f"[{number}/{len(runs)}] {run.name}"
        if (folder / MARKER).is_file():
            print(f"{label}: finished before", flush=True)
            continue
        print(f"{label}: {' '.join(run.flags())}", flush=True)
        began = time.monotonic()
        training = ["train.py", *run.flags(), f"--workdir={folder}"]
        evaluation = ["eval.py", f"--checkpoint={folder}", f"--output={folder / EVALUATION}"]
        reason = _call(training, scripts, folder / "train.log")
        if not reason:
            evaluation.append(f"--split={split}")
            reason = _call(evaluation, scripts, folder / "eval.log")
        seconds = time.monotonic() - began
        if reason:
            failed[run.name] = reason
            print(f"{label}: FAILED after {seconds:.0f} s: {reason}", flush=True)
        else:
            write(folder / MARKER, json.dumps({"seconds": round(seconds, 1)}).encode())
            print(f"{label}: finished in {seconds:.0f} s", flush=True)
    return failed


def _claim(run: Run, folder: Path, split: str) -> None:
    """Notes what a folder is of, and refuses one of another run."""
    fields = {name: value for name, value in run.overrides.items() if name not in PLACES}
    own = {"flags": dataclasses.replace(run, overrides=fields).flags(), "split": split}
    note = folder / "sweep.json"
    if not note.is_file():
        write(note, json.dumps(own, indent=1).encode())
    elif (before := json.loads(note.read_text())) != own:
        here = set(map(str, [*own["flags"], split]))
        there = set(map(str, [*before["flags"], before["split"]]))
        raise ValueError(
            f"{folder} holds a run with {', '.join(sorted(there - here)) or 'less'} instead of "
            f"{', '.join(sorted(here - there)) or 'less'}; take another name or another --output, "
            "or remove the folder"
        )


def _call(command: Sequence[str], scripts: Path, log: Path) -> str:
    """Runs a script, its output into `log`; returns why it failed, empty if it did not."""
    with log.open("ab") as file:
        file.write(f"$ python {' '.join(command)}\n".encode())
        file.flush()
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=scripts,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        try:
            code = process.wait()
        except KeyboardInterrupt:
            process.wait()  # the terminal has interrupted it too
            raise
        finally:
            signal.signal(signal.SIGTERM, before)
    if code in (PREEMPTED, -signal.SIGTERM):
        print(f"stopped ({log}); the same command continues", flush=True)
        sys.exit(PREEMPTED)
    if not code:
        return ""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    last = [line for line in lines[-5:] if "SEISMOLLM_TRACEBACK" not in line]
    return f"{command[0]} ended with {code}: {last[-1].strip() if last else 'no output'} ({log})"


def tables(
    runs: Sequence[Run],
    output: Path,
    *,
    resamples: int = RESAMPLES,
    quoted_from: Path | None = None,
) -> str:
    """Compares the finished runs, task by task, and writes comparison.md, .tex and .csv.

    The first run of a task is the one that the others are compared with. Returns the Markdown.
    """
    by_task: dict[str, list[prediction_tables.Predictions]] = {}
    for run in runs:
        if (output / run.name / MARKER).is_file():
            found = prediction_tables.read(output / run.name / EVALUATION, run.name)
            by_task.setdefault(found.task.name, []).append(found)
    if not by_task:
        return ""
    quoted = published.read(quoted_from) if quoted_from else None
    comparisons = [compare.compare(several, resamples=resamples) for several in by_task.values()]
    files = {"markdown": "md", "latex": "tex", "csv": "csv"}
    places = {kind: output / f"comparison.{suffix}" for kind, suffix in files.items()}
    compare.save(comparisons, quoted, **places)
    return "\n".join(comparison_text.markdown(one, quoted) for one in comparisons)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the sweep that the command line names; exit code 1 if a run failed."""
    parser = argparse.ArgumentParser(
        prog="python -m seismollm_jax.evaluation.sweep",
        description="Trains and evaluates a list of configurations one after the other and "
        "compares them. Give the same command again to go on after an interruption.",
    )
    parser.add_argument("sweep", help="TOML file, such as configs/sweeps/fewshot.toml")
    parser.add_argument("--output", type=Path, required=True, help="folder of runs and tables")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="a field of the configuration for all runs, such as data.path=FOLDER; repeatable",
    )
    parser.add_argument("--published", type=Path, metavar="FILE", help="as of compare")
    parser.add_argument("--list", action="store_true", help="say what would be run, and end")
    given = parser.parse_args(arguments)
    more = {}
    for text in given.set:
        field, equals, value = text.partition("=")
        if not (field and equals):
            parser.error(f"--set={text} is not FIELD=VALUE")
        more[field] = value
    runs, split = read(given.sweep, more)
    if given.list:
        for run in runs:
            print(f"{run.name}: train.py {' '.join(run.flags())}")
        return
    output = given.output.absolute()
    failed = run_all(runs, output, split=split, scripts=Path.cwd())
    text = tables(runs, output, quoted_from=given.published)
    if text:
        print(f"\n{text}\nwritten: {output}/comparison.md, comparison.tex, comparison.csv")
    for name, reason in failed.items():
        print(f"FAILED: {name}: {reason}")
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    command_line.guarded(main)
