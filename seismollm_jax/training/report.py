"""What a run says: console, metrics.jsonl, TensorBoard (without TensorFlow), pictures."""

import io
import json
import math
import struct
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tqdm import tqdm

from seismollm_jax.evaluation import figures as drawing
from seismollm_jax.evaluation.canvas import Target
from seismollm_jax.training.wandb_log import WandbLog

FEW_FIGURES = ("loss", "lr", "samples_per_s", "mfu", "input_wait")  # beside a progress bar


class Reporter:
    """Writes figures of a run; on processes other than the main one it does nothing.

    Args:
        directory: gets `metrics.jsonl` and `tensorboard/`.
        steps: length of the run, for the progress bar.
        start: step at which it begins.
        active: whether this process reports.
        wandb: gets figures and pictures as well.
    """

    def __init__(
        self,
        directory: Path,
        *,
        steps: int,
        start: int,
        active: bool,
        wandb: WandbLog | None = None,
    ):
        self._active, self._wandb = active, wandb
        if not active:
            return
        directory.mkdir(parents=True, exist_ok=True)
        lines = directory / "metrics.jsonl"
        if lines.exists():  # steps after the checkpoint will come again
            found = lines.read_text().splitlines(True) if start else []
            kept = [x for x in found if _step(x) <= start]
            draft = lines.with_suffix(".tmp")
            draft.write_text("".join(kept))
            draft.replace(lines)  # whole at any moment
        self._lines = lines.open("a", buffering=1)
        self._events = EventFileWriter(str(directory / "tensorboard"))
        # Makes TensorBoard forget steps that a killed run logged after its last checkpoint.
        began = SessionLog(status=SessionLog.START)
        self._events.add_event(Event(wall_time=time.time(), step=start, session_log=began))
        # Off a terminal the bar would fill the log with copies of itself; `say` prints there.
        # Without smoothing its time left has validations in it, as that of the lines.
        self._bar = tqdm(total=steps, initial=start, unit="step", disable=None, smoothing=0)
        self._start, self._steps, self._begun = start, steps, time.monotonic()

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
            if self._wandb is not None:
                self._wandb.close(failed=kind is not None)

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
        if self._wandb is not None:
            self._wandb.figures(step, part, figures)
        if part != "train":
            return
        if self._bar.disable:
            shown = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
            tqdm.write(f"step {step:>6}/{self._steps}  {shown}  eta {self._left(step)}")
        else:
            few = {k: f"{v:.4g}" for k, v in figures.items() if k in FEW_FIGURES}
            self._bar.set_postfix(few, refresh=False)

    def pictures(
        self, step: int, part: str, drawings: Mapping[str, Callable[[Target], None]]
    ) -> None:
        """Draws pictures of a part of the data and records them at a step."""
        for name, draw in drawings.items():
            file = io.BytesIO()
            draw(file)
            self.picture(step, f"{part}/{name}", file.getvalue())

    def picture(self, step: int, name: str, png: bytes) -> None:
        """Records a picture, a PNG file of four channels, at a step."""
        if not self._active:
            return
        width, height = struct.unpack(">II", png[16:24])  # of the first chunk, IHDR
        image = Summary.Image(height=height, width=width, colorspace=4, encoded_image_string=png)
        summary = Summary(value=[Summary.Value(tag=name, image=image)])
        self._events.add_event(Event(wall_time=time.time(), step=step, summary=summary))
        if self._wandb is not None:
            self._wandb.picture(step, name, png)

    def _left(self, step: int) -> str:
        """Time until the last step, as h:mm:ss, at the pace since this process began."""
        if step == self._start:
            return "?"
        pace = (time.monotonic() - self._begun) / (step - self._start)
        seconds = round(pace * (self._steps - step))
        return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def draw_course(workdir: Path) -> None:
    """Draws the losses and the main scores of a run so far into `pictures/training.png`."""
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    names = {name for row in rows if row["part"] == "val" for name in row}
    shown = sorted(name for name in names if name.rpartition("/")[2] in ("f1", "r2", "accuracy"))
    (workdir / "pictures").mkdir(exist_ok=True)
    path = workdir / "pictures" / "training.png"
    drawing.training_curve(rows, path, metrics=[f"val/{name}" for name in shown])


def _step(line: str) -> float:
    """Step of a line of metrics.jsonl; infinite for one that a kill cut off."""
    try:
        return json.loads(line)["step"]
    except ValueError:
        return math.inf
