"""Stopping when the cluster asks for it: it sends SIGTERM some time before it kills.

One process notes the signal itself. Of several, JAX watches for the signal on each and finds a step
that all of them have yet to reach, so that they stop together even if only one was told.
"""

import signal
import threading
from types import FrameType

import jax
from jax.experimental import multihost_utils


class Stopped(SystemExit):
    """Ends the program with the exit code of one that SIGTERM ended, so that it is run again."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


class Watch:
    """Notices that the run is to stop, while it is entered."""

    def __init__(self) -> None:
        self._asked = False
        # Python allows handlers in the main thread alone; JAX has its own for several processes.
        self._handles = (
            jax.process_count() == 1 and threading.current_thread() is threading.main_thread()
        )

    def __enter__(self) -> "Watch":
        if self._handles:
            self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._handles:
            signal.signal(signal.SIGTERM, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._asked = True

    def asked(self, step: int) -> bool:
        """Whether to stop after `step` steps; every process has to ask after each of its steps."""
        if jax.process_count() > 1:
            return multihost_utils.reached_preemption_sync_point(step)
        return self._asked
