"""Weights & Biases, played by a module that notes what it is told."""

import json
import math
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from seismollm_jax.evaluation.canvas import new_figure
from seismollm_jax.training import loop, wandb_log
from seismollm_jax.training.report import Reporter
from seismollm_jax.training.wandb_log import WandbLog
from tests import setups


class Run:
    def __init__(self, **options: Any):
        self.options, self.logged, self.metrics = options, [], []
        self.id = options["id"] or "abc123"
        self.exit_code: int | None = None

    def define_metric(self, name: str, **options: Any) -> None:
        self.metrics.append((name, options))

    def log(self, figures: dict[str, Any]) -> None:
        self.logged.append(figures)

    def finish(self, exit_code: int) -> None:
        self.exit_code = exit_code


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    begun: list[Run] = []

    def init(**options: Any) -> Run:
        begun.append(Run(**options))
        return begun[-1]

    fake = types.ModuleType("wandb")
    fake.init, fake.Image = init, lambda image: ("image", image.size)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return begun


def test_figures_and_pictures(runs: list[Run], tmp_path: Path) -> None:
    workdir = tmp_path / "picking"
    workdir.mkdir()
    log = WandbLog(workdir, "us/quakes", {"seed": 0})
    with Reporter(workdir, steps=9, start=0, active=True, wandb=log) as reporter:
        reporter.write(2, "train", {"loss": 0.5, "mfu": math.nan})
        reporter.pictures(3, "val", {"examples": lambda file: new_figure(2, 1).savefig(file)})
    (run,) = runs
    assert run.options == {
        "entity": "us", "project": "quakes", "name": "picking", "id": None, "resume": "allow",
        "dir": str(workdir), "config": {"seed": 0},
    }  # fmt: skip
    assert run.metrics == [("step", {}), ("*", {"step_metric": "step"})]
    assert run.logged == [
        {"step": 2, "train/loss": 0.5},
        {"step": 3, "val/examples": ("image", (240, 120))},
    ]
    assert run.exit_code == 0


def test_the_same_run_goes_on(runs: list[Run], tmp_path: Path) -> None:
    WandbLog(tmp_path, "quakes", {}).close(failed=True)
    WandbLog(tmp_path, "quakes", {}).close(failed=False)
    assert [run.options["id"] for run in runs] == [None, "abc123"]
    assert [run.exit_code for run in runs] == [1, 0]
    assert runs[0].options["entity"] is None


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run says so before it does anything else."""
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ImportError, match=r"pip install -e '\.\[wandb\]', or leave train\.wandb"):
        wandb_log.load()
    config = json.loads(json.dumps(setups.config("picking", "nowhere", {"train.wandb": "quakes"})))
    with pytest.raises(ImportError, match=r"pip install"):
        loop.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
