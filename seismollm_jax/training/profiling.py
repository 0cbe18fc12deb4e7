"""A trace of some training steps, for the viewers of TensorBoard and Perfetto."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

FOLDER = "profile"  # in the working directory
SKIPPED = 3  # steps before the trace: the first ones wait for data and fill caches


class Profiler:
    """Traces steps of process 0 into `profile/` of the working directory.

    Args:
        workdir: of the run.
        steps: how many; 0 for none.
        start: the step at which the run begins or continues.
        say: prints a line.
        active: whether this process traces.
    """

    def __init__(
        self,
        workdir: Path,
        steps: int,
        start: int,
        say: Callable[[str], None],
        active: bool = True,
    ):
        self._folder, self._steps, self._say = workdir / FOLDER, steps if active else 0, say
        self._first = start + SKIPPED
        self._running = False

    def __enter__(self) -> "Profiler":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._running:  # the run ends before its last step
            self._end("fewer steps than asked for")
        elif self._steps:
            self._say(
                f"nothing was traced: the run had no step after the first {SKIPPED}, which "
                "--profile leaves out"
            )

    def step(self, step: int) -> contextlib.AbstractContextManager:
        """To be entered around step number `step`, counted from 0; names it in the trace."""
        if self._steps and step == self._first:
            # Python's own calls would fill the trace before the device's operations are in it.
            options = jax.profiler.ProfileOptions()
            options.python_tracer_level = 0
            jax.profiler.start_trace(str(self._folder), profiler_options=options)
            self._running = True
        if not self._running:
            return contextlib.nullcontext()
        return jax.profiler.StepTraceAnnotation("train", step_num=step)

    def done(self, step: int, results: Any) -> None:
        """To be called after each step with something it computes; ends the trace in time."""
        if self._running and step == self._first + self._steps - 1:
            jax.block_until_ready(results)
            self._end(f"steps {self._first} to {step}")

    def _end(self, what: str) -> None:
        jax.profiler.stop_trace()
        self._running, self._steps = False, 0
        newest = max(self._folder.rglob("*.trace.json.gz"), key=lambda path: path.stat().st_mtime)
        self._say(
            f"profile of {what} in {newest}: open that at https://ui.perfetto.dev, or the folder "
            f"with tensorboard --logdir={self._folder} (needs pip install xprof)"
        )
