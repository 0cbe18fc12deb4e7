"""What a run says: console, metrics.jsonl and TensorBoard event files (without TensorFlow)."""

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tqdm import tqdm


class Reporter:
    """Writes figures of a run; on processes other than the main one it does nothing.

    Args:
        directory: gets `metrics.jsonl` and `tensorboard/`.
        steps: length of the run, for the progress bar.
        start: step at which it begins.
        active: whether this process reports.
    """

    def __init__(self, directory: Path, *, steps: int, start: int, active: bool):
        self._active = active
        if not active:
            return
        directory.mkdir(parents=True, exist_ok=True)
        lines = directory / "metrics.jsonl"
        if lines.exists():  # steps after the checkpoint will come again
            kept = [x for x in lines.read_text().splitlines(True) if _step(x) <= start]
            draft = lines.with_suffix(".tmp")
            draft.write_text("".join(kept))
            draft.replace(lines)  # whole at any moment
        self._lines = lines.open("a", buffering=1)
        self._events = EventFileWriter(str(directory / "tensorboard"))
        # Makes TensorBoard forget steps that a killed run logged after its last checkpoint.
        began = SessionLog(status=SessionLog.START)
        self._events.add_event(Event(wall_time=time.time(), step=start, session_log=began))
        # Off a terminal the bar would fill the log with copies of itself; `say` prints there.
        self._bar = tqdm(total=steps, initial=start, unit="step", disable=None, smoothing=0.05)

    def __enter__(self) -> "Reporter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._active:
            self._bar.close()
            self._lines.close()
            self._events.close()

    def say(self, text: str) -> None:
        """Prints a line above the progress bar."""
        if self._active:
            tqdm.write(text)

    def advance(self, step: int) -> None:
        """Moves the progress bar."""
        if self._active:
            self._bar.update(step - self._bar.n)

    def write(self, step: int, part: str, figures: Mapping[str, float]) -> None:
        """Records the figures of a part of the data ("train", "val") at a step.

        Training figures also go to the console: beside the progress bar, or as a line without one.
        """
        if not self._active:
            return
        # JSON has no NaN; a figure that does not exist is null.
        clean = {k: v if math.isfinite(v) else None for k, v in figures.items()}
        try:
            self._lines.write(json.dumps({"step": step, "part": part, **clean}) + "\n")
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._lines.name) from error
        values = [Summary.Value(tag=f"{part}/{k}", simple_value=v) for k, v in figures.items()]
        self._events.add_event(
            Event(wall_time=time.time(), step=step, summary=Summary(value=values))
        )
        if part != "train":
            return
        if self._bar.disable:
            shown = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
            tqdm.write(f"step {step:>6}/{self._bar.total}  {shown}")
        else:
            self._bar.set_postfix({k: f"{v:.4g}" for k, v in figures.items()}, refresh=False)


def _step(line: str) -> float:
    """Step of a line of metrics.jsonl; infinite for one that a kill cut off."""
    try:
        return json.loads(line)["step"]
    except ValueError:
        return math.inf
