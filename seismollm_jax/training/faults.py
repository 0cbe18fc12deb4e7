"""What may be wrong with a run: steps that are not finite, and traces that cannot be read."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from seismollm_jax import parallel
from seismollm_jax.data.sources import WaveformSource
from seismollm_jax.training.epoch import Epoch, Pending
from seismollm_jax.training.report import Reporter

FOLDER = "diagnostics"  # below the working directory
NAMED = 10  # traces, at most
OUTLYING = 1000.0  # times the median of a batch: an amplitude or loss that stands out
CHOICES = ("stop", "skip")  # what to do about a step that is not finite
MAX_UNREADABLE = 0.2  # share of a part's records; beyond it something is wrong with the files


class TrainingError(RuntimeError):
    """A run that cannot go on: losses that are not finite, or too many unreadable traces."""


def diagnose(
    pending: Pending,
    row_losses: Callable[[Mapping[str, jax.Array]], jax.Array],
    names: Sequence[str] | np.ndarray,
    workdir: Path,
    *,
    save: bool = True,
) -> str:
    """Says what is wrong with a step, and saves its batch as `diagnostics/step-N.npz`.

    The step has a loss or gradient that is not finite. In training, batch statistics carry what is
    wrong with one window to all of them. So the loss of each window is worked out on its own, in
    inference mode; windows with a much larger loss or amplitude than others are named.

    Args:
        pending: the step.
        row_losses: batch -> loss of each window, (batch,), in inference mode.
        names: of the dataset's traces.
        workdir: of the run.
        save: whether to save the batch.
    """
    with jax.transfer_guard("allow"):
        losses = parallel.gather(row_losses(pending.batch))
        host = parallel.gather(dict(pending.batch))
        figures = jax.device_get(pending.figures)
    text = f"the loss of step {pending.step} is {float(figures['loss'])}"
    if math.isfinite(figures["loss"]):
        text += f", but the norm of its gradient {float(figures['grad_norm'])}"
    rows, counts = host["row"], host["valid"] > 0
    peaks = np.abs(host["waveform"]).max(axis=(1, 2))
    usual = OUTLYING * np.median(peaks[counts]), OUTLYING * np.median(losses[counts])
    outlying = counts & ~((peaks <= usual[0]) & (losses <= usual[1]))  # so is what is not a number
    if not np.isfinite(losses[counts]).any():
        text += "; no window of its batch has a finite loss, so the network itself has gone astray"
    elif outlying.any():
        text += f"; {outlying.sum()} of its {len(rows)} windows stand out: " + ", ".join(
            f"{str(names[rows[i]])!r} (row {rows[i]}, amplitudes to {peaks[i]:.3g}, "
            f"loss of its own {losses[i]:.3g})"
            for i in np.flatnonzero(outlying)[:NAMED]
        )
    else:
        text += "; none of its windows stands out by its amplitudes or the loss of its own"
    if save:
        named_rows = {"trace_name": np.array([str(names[row]) for row in rows])}
        text += _saved(
            workdir / FOLDER / f"step-{pending.step}.npz", {**host, **named_rows, "loss": losses}
        )
    return text


def _saved(file: Path, arrays: Mapping[str, Any]) -> str:
    if not parallel.is_main():
        return ""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, **arrays)
    except OSError as error:
        return f"; its batch could not be saved as {file} ({error})"
    return f"; its batch is in {file}"


def remedy(epoch: Epoch, choice: str) -> str:
    """What to do about a step that is not finite, if `choice` of CHOICES was made."""
    try_this = "ower optim.max_lr, set optim.clip_norm, or look at those traces"
    if choice == "stop":
        return f"L{try_this}; train.nonfinite=skip leaves such steps out"
    return (
        f"{epoch.skipped} steps of this epoch were left out, the last {epoch.in_a_row} of them one "
        f"after the other, and these are too many: l{try_this}"
    )


def report_unread(source: WaveformSource, rows: set[int], reporter: Reporter) -> None:
    """Says how many traces of a pass could not be read and, for some of them, why.

    Raises:
        TrainingError: they are too many.
    """
    if not rows:
        return
    reasons = list(source.why_unreadable(sorted(rows)[:5]).values())
    text = f"{len(rows)} traces could not be read and were left out: " + "; ".join(reasons)
    reporter.say(text + ("; ..." if len(rows) > 5 else ""))
    if len(rows) > MAX_UNREADABLE * len(source):
        raise TrainingError(f"too many traces cannot be read. {text}")
