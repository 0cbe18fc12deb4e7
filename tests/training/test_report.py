"""The files and the console lines of a run."""

import json
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

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
    assert not (tmp_path / "run").exists()
    assert capsys.readouterr().out == ""
