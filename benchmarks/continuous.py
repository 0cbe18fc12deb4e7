"""Station-days a minute, seconds by stage and memory of picking continuous records.

    python -m benchmarks.continuous --checkpoint DIR --json figures.json

The task is SeisBench's own: ten stations, one day, three components at 100 Hz, from miniSEED files
to a table of picks. Beside it runs SeisBench's PhaseNet with its defaults, where SeisBench is
installed (pip install -e '.[seisbench]'), on the same files and with one process each. Then the
host's share alone: the networks are replaced by zeros, and one station-day in memory is annotated
and picked, whole and with a thousand gaps of half a second.

Each measurement has a process of its own; rounds go through all of them one after the other, so
that other load on the machine meets all.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

if not __package__:  # run as a file: the folder on Python's path is this one, not the one above
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks import archive_data, machine

ROOT = Path(__file__).resolve().parents[1]


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.continuous", description=__doc__.partition("\n")[0]
    )
    add = parser.add_argument
    add("--checkpoint", type=Path, required=True, help="of a picking network")
    add("--stations", type=int, default=10)
    add("--days", type=int, default=1)
    add("--batch-size", type=int, default=64, help="of this project's network")
    add("--gaps", type=int, default=1000, help="of the record with gaps")
    add("--rounds", type=int, default=3)
    add("--folder", type=Path, help="keep the archive here, and use what is there")
    add("--host-only", action="store_true", help="leave the archive out")
    add("--json", type=Path, help="write the figures here as well")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        figures = _run(given, given.folder or Path(temporary))
    print(table(figures))
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


def _run(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All measurements, in rounds."""
    systems = ["ours"] + ["seisbench"] * (importlib.util.find_spec("seisbench") is not None)
    variants = {}
    for system in systems:
        for gaps in (0, given.gaps):
            variants[system, f"host, {gaps} gaps"] = ["host", "--gaps", str(gaps)]
        if not given.host_only:
            size = ["--stations", str(given.stations), "--days", str(given.days)]
            variants[system, "archive"] = ["archive", "--folder", str(folder), *size]
    if not given.host_only:
        _say(f"writing {given.stations * given.days} station-days")
        for paths in archive_data.write(folder, given.stations, given.days):
            for path in paths:
                path.read_bytes()  # so that the files are cached for all alike
    own = ["--checkpoint", str(given.checkpoint), "--batch-size", str(given.batch_size)]
    found: dict[tuple[str, str], list[dict[str, Any]]] = {key: [] for key in variants}
    load_begin = os.getloadavg()
    for number in range(given.rounds):
        for (system, work), flags in variants.items():
            _say(f"round {number + 1} of {given.rounds}: {system}, {work}")
            command = [sys.executable, "-m", "benchmarks.continuous_systems", system, *flags]
            result = subprocess.run(
                command + (own if system == "ours" else []),
                cwd=ROOT,
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            found[system, work].append(json.loads(result.stdout.splitlines()[-1]))
    return {
        "machine": {
            "cpu": machine.processor(),
            "cores": os.cpu_count(),
            "load_average_begin": load_begin,
            "load_average_end": os.getloadavg(),
        },
        "checkpoint": str(given.checkpoint),
        "rounds": given.rounds,
        "systems": {
            system: {work: _summary(found[system, work]) for s, work in variants if s == system}
            for system in systems
        },
    }


def _say(text: str) -> None:
    print(f"... {text}", file=sys.stderr, flush=True)


def _summary(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians and bounds of times; stages and memory of the middle round."""
    middle = sorted(rounds, key=lambda one: one["seconds"])[len(rounds) // 2]
    found = dict(middle)
    for name in ("seconds", "cpu_s"):
        low, median, high = np.percentile([one[name] for one in rounds], [0, 50, 100]).tolist()
        found[name] = {"median": median, "lowest": low, "highest": high}
    if "station_days" in middle:
        rate = 60 * middle["station_days"] / found["seconds"]["median"]
        found["station_days_per_minute"] = rate
    return found


def table(figures: dict[str, Any]) -> str:
    """For people."""
    host = figures["machine"]
    lines = [
        f"{host['cpu']}, {host['cores']} cores; load average at the beginning "
        f"{host['load_average_begin'][0]:.1f}, at the end {host['load_average_end'][0]:.1f}; "
        f"median (lowest to highest) of {figures['rounds']} rounds"
    ]
    for system, works in figures["systems"].items():
        for work, found in works.items():
            text = f"{_spread(found['seconds'])} s, of the CPU {_spread(found['cpu_s'])} s"
            if "station_days" in found:
                stages = ", ".join(f"{k} {v:.1f} s" for k, v in found["stages_s"].items())
                text += (
                    f", {found['station_days_per_minute']:.1f} station-days a minute; {stages}; "
                    f"{found['picks']} picks"
                )
            lines.append(
                f"{system:10} {work:16} window {found['window']:5}: {text}; "
                f"peak memory {found['peak_memory_mb']} MB"
            )
    return "\n".join(lines + _ratios(figures["systems"]))


def _spread(values: dict[str, float]) -> str:
    return f"{values['median']:.2f} ({values['lowest']:.2f}-{values['highest']:.2f})"


def _ratios(systems: dict[str, Any]) -> list[str]:
    """Of CPU time, on which other load of the machine has little influence."""

    def median(system: str, work: str) -> float:
        return systems[system][work]["cpu_s"]["median"]

    hosts = [work for work in systems["ours"] if work.startswith("host")]
    lines = []
    for system in systems:
        ratio = median(system, hosts[-1]) / median(system, hosts[0])
        lines.append(f"{system}: the gaps make the host's CPU time {ratio:.2f} times as long")
    if "seisbench" in systems:
        for work in hosts:
            ratio = median("ours", work) / median("seisbench", work)
            lines.append(f"{work}: ours takes {ratio:.2f} of SeisBench's CPU time")
    return lines


if __name__ == "__main__":
    sys.exit(main())
