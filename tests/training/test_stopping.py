"""Runs that are killed, stopped, or find the disk full, and what the same command makes of them.

Set SEISMOLLM_KILLS to a number for so many trials of random kills, instead of two.
"""

import json
import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seismollm_jax.training import loop, saved
from seismollm_jax.training.saved import find, read_description
from tests import setups
from tests.training.runs import Run, assert_same_run, free_port, latest, rows

TRIALS = int(os.environ.get("SEISMOLLM_KILLS", "2"))
EPOCHS, EPOCH_STEPS = 4, 6  # as in test_loop
STEPS = EPOCHS * EPOCH_STEPS
CHANGES = {
    **{"augment.enabled": True, "train.epochs": EPOCHS, "optim.up_steps": 5},
    **{"train.save_every": 4, "optim.clip_norm": 1.0, "optim.average": 0.5},
}
# Time to hit a moment: a step takes milliseconds.
SLOW = """
import time
from seismollm_jax.training import preemption
ask = preemption.Watch.asked
preemption.Watch.asked = lambda self, step: time.sleep(0.1) or ask(self, step)
"""
# However small the network, all its arrays are split.
SPLIT = """
import dataclasses
whole = parallel.layout_over
parallel.layout_over = lambda *over: dataclasses.replace(whole(*over), split_from=1)
"""


def config(folder: Path, **changes: Any) -> dict[str, Any]:
    return setups.config("magnitude", folder, {**CHANGES, **changes})


@pytest.fixture(scope="module")
def straight(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole run in one go; not to be changed."""
    workdir = tmp_path_factory.mktemp("straight")
    loop.run(config(data_folder), workdir)
    return workdir


def logged(workdir: Path, step: int, part: str = "train") -> Callable[[], bool]:
    """Whether the run has logged a step by now."""
    file, text = workdir / "metrics.jsonl", f'{{"step": {step}, "part": "{part}"'
    return lambda: file.exists() and text in file.read_text()


def test_checkpoints_within_an_epoch_change_nothing(
    straight: Path, data_folder: Path, tmp_path: Path
) -> None:
    loop.run(config(data_folder, **{"train.save_every": 0}), tmp_path / "run")
    assert_same_run(tmp_path / "run", straight)


def moments(workdir: Path, draw: random.Random) -> dict[str, Callable[[], bool]]:
    """Moments to be killed at."""
    end = draw.choice([EPOCH_STEPS * epoch for epoch in range(1, EPOCHS + 1)])
    there = {path.name for path in workdir.glob("checkpoints/*")}
    saves = draw.randint(1, 3)
    seen: set[str] = set()

    def saving() -> bool:
        """The so many-th save of the run is under way."""
        now = {p.name for p in workdir.glob("checkpoints/*.orbax-checkpoint-tmp*")} - there
        seen.update(now)
        return len(seen) >= saves and bool(now)

    return {
        "step": logged(workdir, draw.choice(range(2, STEPS, 2))),
        "save": saving,
        "validation": logged(workdir, end),
        "after validation": logged(workdir, end, "val"),
        "start": lambda: (workdir / "config.json").exists(),
    }


@pytest.mark.parametrize("trial", range(TRIALS))
def test_killed_at_any_moment(
    straight: Path, data_folder: Path, tmp_path: Path, trial: int
) -> None:
    """Three times in a row, then left alone."""
    draw, workdir = random.Random(trial), tmp_path / "run"
    for _ in range(3):
        choices = moments(workdir, draw)
        moment = draw.choice(sorted(choices))
        run = Run(config(data_folder), workdir, first=SLOW)
        run.wait_for(choices[moment])
        run.process.send_signal(signal.SIGKILL)
        assert run.ended() in (0, -signal.SIGKILL), run.output()
        print(f"killed at {moment}:", sorted(p.name for p in workdir.glob("checkpoints/*")))
    loop.run(config(data_folder), workdir)
    assert_same_run(workdir, straight)
    assert not list(workdir.glob("checkpoints/*tmp*"))
    assert not list(workdir.glob("checkpoints/damaged*"))


def test_sigterm_saves_and_ends(
    straight: Path, data_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the middle of an epoch, between two checkpoints; continued with a loader process."""
    workdir = tmp_path / "run"
    run = Run(config(data_folder, **{"train.save_every": 0}), workdir, first=SLOW)
    run.wait_for(logged(workdir, EPOCH_STEPS + 2))
    run.process.send_signal(signal.SIGTERM)
    assert run.ended() == 128 + signal.SIGTERM, run.output()
    step = int(latest(workdir).name)
    assert EPOCH_STEPS + 2 <= step < 2 * EPOCH_STEPS
    last = run.output().strip().splitlines()[-1]
    assert last == f"stopped by SIGTERM at step {step}; the same command continues"
    description = read_description(latest(workdir))
    assert description["progress"]["step"] == step
    assert len(description["unfinished_epoch"]["losses"]) == step - EPOCH_STEPS
    assert find(workdir).name == str(EPOCH_STEPS)
    loop.run(config(data_folder, **{"data.workers": 1}), workdir)
    assert f"continuing at step {step}" in capsys.readouterr().out
    assert_same_run(workdir, straight)


def test_sigterm_to_one_of_two_processes(straight: Path, data_folder: Path, tmp_path: Path) -> None:
    """Both stop at the same step. One process with eight devices goes on with the same samples.

    The two hold a half of the network each; the one holds it whole.
    """
    workdir, coordinator = tmp_path / "run", f"localhost:{free_port()}"
    runs = [
        Run(
            *(config(data_folder, **{"mesh.fsdp": 2}), workdir, coordinator, str(number)),
            first=SPLIT + SLOW.replace("0.1", "0.3"),
            devices=1,
        )
        for number in range(2)
    ]
    runs[0].wait_for(logged(workdir, 2))
    runs[1].process.send_signal(signal.SIGTERM)
    codes = [run.ended() for run in runs]
    assert codes == [128 + signal.SIGTERM] * 2, "\n".join(run.output() for run in runs)
    step = int(latest(workdir).name)
    assert 2 <= step < STEPS
    assert f"stopped by SIGTERM at step {step}; the same command" in runs[0].output()
    saved.verify(latest(workdir))
    loop.run(config(data_folder), workdir)
    found, expected = rows(workdir), rows(straight)
    assert [(row["step"], row["part"]) for row in found] == [
        (row["step"], row["part"]) for row in expected
    ]
    losses = [
        [row["loss"] for row in these if row["part"] == "train"] for these in (found, expected)
    ]
    np.testing.assert_allclose(*losses, rtol=1e-4)


FULL = """
import resource
from seismollm_jax.training.checkpoint import Checkpoints
save = Checkpoints.save
def save_to_full_disk(self, step, *rest):
    if step > 12:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    save(self, step, *rest)
Checkpoints.save = save_to_full_disk
"""


def test_disk_is_full_while_saving(straight: Path, data_folder: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    run = Run(config(data_folder), workdir, first=FULL)
    assert run.ended() == 1, run.output()
    # Orbax's threads write tracebacks of their own, mostly before it.
    said = run.output()[run.output().rindex("CheckpointError") :]
    assert f"the checkpoint of step 16 could not be written to {workdir / 'checkpoints'} (" in said
    assert "File too large" in said
    assert "step 12 is intact. Once there is room on the disk, the same command continues" in said
    assert latest(workdir).name == "12"
    loop.run(config(data_folder), workdir)
    assert_same_run(workdir, straight)


def test_damaged_checkpoint_gives_way_to_the_one_before(
    straight: Path, data_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workdir = shutil.copytree(straight, tmp_path / "run")
    file = latest(workdir) / "description/metadata"
    file.write_text(file.read_text()[:99])
    loop.run(config(data_folder), workdir)
    console = capsys.readouterr().out
    assert f"step {STEPS} is damaged and was set aside as {workdir / 'checkpoints'}" in console
    assert f"continuing at step {STEPS - 4}" in console
    assert_same_run(workdir, straight)


def test_a_whole_checkpoint_of_another_configuration_stays(
    straight: Path, data_folder: Path, tmp_path: Path
) -> None:
    """Without clipping the optimiser's state has another structure."""
    workdir = shutil.copytree(straight, tmp_path / "run")
    before = sorted(path.name for path in (workdir / "checkpoints").iterdir())
    with pytest.raises(ValueError, match=rf"checkpoint {STEPS} in .* does not fit this config"):
        loop.run(config(data_folder, **{"optim.clip_norm": 0.0}), workdir)
    assert sorted(path.name for path in (workdir / "checkpoints").iterdir()) == before


def test_the_best_checkpoint_is_gone(
    straight: Path, data_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workdir = shutil.copytree(straight, tmp_path / "run")
    best = find(workdir)
    description = read_description(latest(workdir))
    description["progress"]["best_step"] = 7
    (latest(workdir) / "description/metadata").write_text(json.dumps(description))
    loop.run(config(data_folder, **{"train.epochs": EPOCHS + 1}), workdir)
    assert "WARNING: the best checkpoint, step 7, is gone" in capsys.readouterr().out
    assert best.name != str(STEPS + EPOCH_STEPS)
    assert find(workdir).name == str(STEPS + EPOCH_STEPS)
