"""Training runs in processes of their own, and what they leave behind."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from seismollm_jax.training.saved import find, load

ROOT = Path(__file__).parents[2]
# As train.py, with the configuration from a file. The first argument is code to begin with.
PROGRAM = """
import json, sys
from pathlib import Path
from seismollm_jax import command_line, parallel
from seismollm_jax.training import loop

def main():
    exec(sys.argv[1], globals())
    if len(sys.argv) > 4:
        parallel.start(True, parallel.Cluster(sys.argv[4], 2, int(sys.argv[5])))
    loop.run(json.loads(Path(sys.argv[2]).read_text()), Path(sys.argv[3]))

command_line.guarded(main)
"""


def environment(devices: int | None = None) -> dict[str, str]:
    """Of a process with so many devices; None: as many as here."""
    found = dict(os.environ)
    if devices is not None:
        flags = [f for f in os.environ["XLA_FLAGS"].split() if "device_count" not in f]
        flags.append(f"--xla_force_host_platform_device_count={devices}")
        found["XLA_FLAGS"] = " ".join(flags)
    return found


class Run:
    """A training in a process of its own."""

    def __init__(
        self,
        config: Mapping[str, Any],
        workdir: Path,
        *cluster: str,
        first: str = "",
        devices: int | None = None,
    ):
        settings = workdir.parent / f"{workdir.name}.json"
        settings.write_text(json.dumps(config))
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, first, str(settings), str(workdir), *cluster],
            cwd=ROOT,
            env=environment(devices),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            self._lines.extend(iter(lines.readline, ""))

    def output(self) -> str:
        return "".join(self._lines)

    def wait_for(self, reached: Callable[[], bool], seconds: float = 240) -> None:
        """Returns as soon as `reached`, or when the run has ended."""
        deadline = time.monotonic() + seconds
        while not reached() and self.process.poll() is None:
            if time.monotonic() > deadline:
                self.process.kill()
                raise AssertionError(self.output())
            time.sleep(0.002)

    def ended(self, seconds: float = 240) -> int:
        """Its exit code."""
        try:
            code = self.process.wait(seconds)
            self._reader.join(5)
            return code
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(self.output()) from None


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return int(listener.getsockname()[1])


def latest(workdir: Path) -> Path:
    steps = [int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdigit()]
    return workdir / "checkpoints" / str(max(steps))


def rows(workdir: Path) -> list[dict[str, float]]:
    """Lines of metrics.jsonl without timings."""
    timings = ("samples_per_s", "samples_per_s_per_device", "input_wait")
    found = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in timings} for row in found]


def lines(workdir: Path, part: str) -> dict[int, dict[str, float]]:
    """Those of a part by step, the last one of a step."""
    return {int(row["step"]): row for row in rows(workdir) if row["part"] == part}


def assert_same_network(first: Path, second: Path) -> None:
    one, two = load(first), load(second)
    for part in ("params", "frozen", "stats"):
        found, expected = getattr(one, part), getattr(two, part)
        assert found.keys() == expected.keys()
        for name in found:
            np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def assert_same_run(first: Path, second: Path) -> None:
    """Bit for bit: all figures, and the latest and the best network."""
    assert rows(first) == rows(second)
    assert latest(first).name == latest(second).name
    assert find(first).name == find(second).name
    assert_same_network(latest(first), latest(second))
    assert_same_network(find(first), find(second))
