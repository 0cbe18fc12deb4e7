"""How fast the training goes, between two lines of the log."""

import contextlib
import time
from collections.abc import Iterator

from seismollm_jax.training.cost import GIB, memory_figure


class Speed:
    """A clock that is read every so many steps.

    Args:
        batch_size: windows of a step.
        devices: that share it.
        flops: of a step, over all devices.
        peak_flops: of one device, a second; None if not known, and then there is no utilisation.
    """

    def __init__(self, batch_size: int, devices: int, flops: float, peak_flops: float | None):
        self._batch_size, self._devices = batch_size, devices
        self._flops, self._peak = flops, peak_flops
        self.begin(0)

    def begin(self, step: int) -> None:
        """Starts anew after `step` steps, as after something that is no training."""
        self._step, self._since, self._waited = step, time.perf_counter(), 0.0

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Counts what it encloses as waiting for data."""
        asked = time.perf_counter()
        yield
        self._waited += time.perf_counter() - asked

    def figures(self, step: int) -> dict[str, float]:
        """Of the steps since it began, up to `step`; then it starts anew."""
        now = time.perf_counter()
        elapsed, steps = now - self._since, step - self._step
        rate = self._batch_size * steps / elapsed
        found = {"samples_per_s": rate, "samples_per_s_per_device": rate / self._devices}
        if self._peak:
            found["mfu"] = self._flops * steps / elapsed / self._devices / self._peak
        if (used := memory_figure("peak_bytes_in_use")) is not None:
            found["peak_memory_gib"] = used / GIB
        found["input_wait"] = self._waited / elapsed
        self.begin(step)
        return found
