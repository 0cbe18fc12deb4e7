"""Command line: `python -m seismollm_jax.data COMMAND ...`."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from tqdm import tqdm

from seismollm_jax.data import catalogue, check_report, check_splits, prepared
from seismollm_jax.data.check import check, found_problems
from seismollm_jax.data.detect import open_found
from seismollm_jax.data.packing import DTYPES
from seismollm_jax.data.prepare import Summary, prepare
from seismollm_jax.data.synthetic.__main__ import main as synthetic_main

PROGRAM = "python -m seismollm_jax.data"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0, 1 for something found, 2 for an error."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Datasets: check one, prepare it for fast reading, verify that, or make a "
        "synthetic one.",
        epilog=f"{PROGRAM} COMMAND --help says more.",
    )
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="of the command")
    given = parser.parse_args(arguments)
    try:
        return COMMANDS[given.command](given.arguments)
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def check_command(arguments: Sequence[str]) -> int:
    """`check PATH`: the dataset doctor."""
    from seismollm_jax.tasks import TASKS  # brings JAX, which no other command needs

    parser = argparse.ArgumentParser(
        prog=f"{PROGRAM} check",
        description="Look for what is wrong with a dataset before training on it; changes none of "
        "its files. The exit status is 0 if there is no error, 1 if there is one, 2 if the dataset "
        "cannot be opened.",
    )
    _add_dataset(parser)
    parser.add_argument(
        "--waveforms",
        type=_number_of_traces,
        metavar="N|all",
        help="traces to read, spread over the table (default: as many as take about a minute)",
    )
    parser.add_argument(
        "--split",
        choices=check_splits.WAYS,
        default="",
        help="look at this way of splitting as well as at the dataset's own",
    )
    parser.add_argument("--strict", action="store_true", help="exit with 1 for warnings too")
    parser.add_argument("--json", action="store_true", help="write one JSON document")
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error")
    given = parser.parse_args(arguments)
    document: dict[str, Any] = {"path": given.path, "format": given.format or None}
    try:
        document["format"], dataset = open_found(
            given.path, given.format, given.table, given.option
        )
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        if given.json:
            print(check_report.as_json({**document, "exit": 2, "error": str(error)}))
        raise
    with tqdm(unit=" traces", disable=given.quiet or None) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        needs = {task.name: (task.needs, task.uses_noise) for task in TASKS.values()}
        found = check(
            dataset, needs, waveforms=given.waveforms, split_by=given.split, progress=show
        )
    status = 1 if found_problems(found["findings"], given.strict) else 0
    if given.json:
        print(check_report.as_json({**document, "exit": status, **found}))
    else:
        print(f"{given.path}: {document['format']}\n\n{check_report.as_text(found)}")
    return status


def _number_of_traces(text: str) -> int:
    """Of `--waveforms`."""
    if text == "all":
        return sys.maxsize
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number of traces nor all")
    return int(text)


def _add_dataset(parser: argparse.ArgumentParser) -> None:
    """The options that say which dataset is meant."""
    parser.add_argument("path", metavar="PATH", help="the dataset")
    parser.add_argument(
        "--format",
        default="",
        metavar="NAME",
        help=f"of the dataset: {', '.join(catalogue.FORMATS)} (default: found by looking)",
    )
    parser.add_argument("--table", default="", help="as data.table: which of several tables")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another field of data that its reader takes, such as folder.before_s=60; "
        "may be repeated",
    )


def prepare_command(arguments: Sequence[str]) -> int:
    """`prepare PATH --output DIR`: any dataset into sharded ArrayRecord files."""
    parser = argparse.ArgumentParser(
        prog=f"{PROGRAM} prepare",
        description="Write a dataset into sharded ArrayRecord files with an index and checksums. "
        "The same command goes on where it was interrupted.",
    )
    _add_dataset(parser)
    parser.add_argument("--output", required=True, metavar="DIR", help="folder to write into")
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        default="float32",
        help="of the samples: float32 is exact; int16 and float16 halve the size (default float32)",
    )
    parser.add_argument(
        "--sampling-rate",
        type=float,
        metavar="HZ",
        help="resample to this rate (default: every trace as sampled)",
    )
    parser.add_argument("--compress", action="store_true", help="smaller, slower to read")
    parser.add_argument(
        "--workers", type=int, default=_cores(), help="processes (default: one for each core)"
    )
    parser.add_argument(
        "--shard-traces", type=int, metavar="N", help="traces in a file (default: for 128 files)"
    )
    parser.add_argument(
        "--max-bad",
        type=float,
        default=0.05,
        metavar="SHARE",
        help="give up if more traces than this share cannot be read (default 0.05)",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error")
    given = parser.parse_args(arguments)
    format_name, dataset = open_found(given.path, given.format, given.table, given.option)
    print(f"{given.path}: {format_name}, {len(dataset.table)} traces\n{dataset.report}")
    with tqdm(total=len(dataset.table), unit=" traces", disable=given.quiet or None) as bar:
        summary = prepare(
            dataset,
            given.output,
            source_format=format_name,
            table=given.table,
            dtype=given.dtype,
            sampling_rate_hz=given.sampling_rate,
            compress=given.compress,
            shard_traces=given.shard_traces,
            workers=given.workers,
            max_bad=given.max_bad,
            progress=bar.update,
        )
    print(describe(summary, given.output))
    return 0


def verify_command(arguments: Sequence[str]) -> int:
    """`verify DIR`: compares a prepared dataset with its checksums."""
    parser = argparse.ArgumentParser(
        prog=f"{PROGRAM} verify",
        description="Compare every file of a prepared dataset with its checksum.",
    )
    parser.add_argument("path", metavar="DIR", help="its folder, or an address such as gs://...")
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error")
    given = parser.parse_args(arguments)
    found = prepared.describe(given.path)
    files = [found["index"], *found["shards"]]
    size = sum(file["bytes"] for file in files)
    with tqdm(total=size, unit="B", unit_scale=True, disable=given.quiet or None) as bar:
        problems = prepared.verify(given.path, bar.update)
    for problem in problems:
        print(problem)
    print(f"{len(files) - len(problems)} of {len(files)} files are as they were written")
    if problems:
        print("Copy these again, or prepare the dataset again into the same folder")
    return 1 if problems else 0


def describe(summary: Summary, output: str) -> str:
    """The summary of a preparation as text."""
    lines = [
        f"{summary.traces} traces in {summary.shards} shards, {summary.bytes / 1e6:.1f} MB"
        + _share(summary)
    ]
    if summary.kept:
        lines.append(f"{summary.kept} shards were there already, and whole")
    if summary.written:
        lines.append(
            f"{summary.written} traces written in {summary.seconds:.1f} s, "
            f"{summary.written / summary.seconds:.0f} traces/s"
        )
    if summary.unreadable:
        lines.append(
            f"{summary.unreadable} traces could not be read; {prepared.UNREADABLE} says why"
        )
    lines += [
        str(summary.accuracy),
        f"To use it: --config.data.format=prepared --config.data.path={output}",
    ]
    return "\n".join(lines)


def _share(summary: Summary) -> str:
    if not summary.source_bytes:
        return ""
    percent = 100 * summary.bytes / summary.source_bytes
    return f" ({percent:.0f} % of the files that they were read from)"


def _cores() -> int:
    # Those that this process may use: a cluster's batch system gives it a part of the machine.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "check": check_command,
    "prepare": prepare_command,
    "verify": verify_command,
    "synthetic": synthetic_main,
}


if __name__ == "__main__":
    sys.exit(main())
