"""The files and the console lines of a run."""

import io
import json
import sys
import time
from pathlib import Path

import pytest
from matplotlib.image import imread
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from seismollm_jax.evaluation.canvas import new_figure
from seismollm_jax.training.report import Reporter


def test_files_and_console(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Reporter(tmp_path, steps=10, start=0, active=True) as reporter:
        reporter.say("hello")
        reporter.advance(5)
        reporter.write(5, "train", {"loss": 0.5, "lr": 1e-3})
        reporter.write(5, "val", {"loss": 0.75, "f1": float("nan")})
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [
        {"step": 5, "part": "train", "loss": 0.5, "lr": 1e-3},
        {"step": 5, "part": "val", "loss": 0.75, "f1": None},
    ]
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert sorted(events.Tags()["scalars"]) == ["train/loss", "train/lr", "val/f1", "val/loss"]
    (event,) = events.Scalars("val/loss")
    assert (event.step, event.value) == (5, 0.75)
    console = capsys.readouterr().out
    assert "hello" in console
    assert "loss 0.5" in console
    assert "eta 0:00:00" in console


def test_time_left_after_continuing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The pace is that of this process: earlier steps took none of its time."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with Reporter(tmp_path, steps=2000, start=1000, active=True) as reporter:
        now[0] = 100.0
        reporter.write(1010, "train", {"loss": 1.0})  # 10 s a step, 990 to go
    assert capsys.readouterr().out.endswith("eta 2:45:00\n")


def test_time_left_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, terminal = [0.0], io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", terminal)
    with Reporter(tmp_path, steps=2000, start=1000, active=True) as reporter:
        reporter._bar._time = lambda: now[0]
        reporter._bar.start_t = 0.0
        now[0] = 100.0
        reporter.advance(1010)
        reporter.write(1010, "train", {"loss": 1.0, "grad_norm": 2.0})
        reporter._bar.refresh()
    last = terminal.getvalue().replace("\n", "\r").split("\r")[-2]
    assert "1010/2000" in last
    assert "2:45:00" in last
    assert "loss=1" in last
    assert "grad_norm" not in last


def test_pictures(tmp_path: Path) -> None:
    with Reporter(tmp_path, steps=10, start=0, active=True) as reporter:
        reporter.pictures(4, "val", {"one": lambda file: new_figure(3, 2).savefig(file)})
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    (picture,) = events.Images("val/one")
    assert (picture.step, picture.width, picture.height) == (4, 360, 240)
    assert imread(io.BytesIO(picture.encoded_image_string)).shape == (240, 360, 4)


def test_a_second_run_adds_to_the_first(tmp_path: Path) -> None:
    for step in (1, 2):
        with Reporter(tmp_path, steps=2, start=step - 1, active=True) as reporter:
            reporter.write(step, "train", {"loss": 1.0})
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2


def test_other_processes_are_silent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Reporter(tmp_path / "run", steps=1, start=0, active=False) as reporter:
        reporter.say("hello")
        reporter.advance(1)
        reporter.write(1, "train", {"loss": 1.0})
        reporter.picture(1, "val/one", b"")
    assert not (tmp_path / "run").exists()
    assert capsys.readouterr().out == ""
