"""When a trace begins and ends."""

from pathlib import Path

import jax.numpy as jnp
import pytest

from seismollm_jax.training.profiling import Profiler


def test_a_run_that_ends_early(tmp_path: Path) -> None:
    said: list[str] = []
    with Profiler(tmp_path, 50, 7, said.append) as profiler:
        for step in range(7, 12):
            with profiler.step(step):
                result = jnp.ones(3) + step
            profiler.done(step, result)
    assert len(said) == 1
    assert "profile of fewer steps than asked for" in said[0]
    assert list((tmp_path / "profile").rglob("*.trace.json.gz"))


@pytest.mark.parametrize(("steps", "active"), [(0, True), (2, False)])
def test_no_trace(tmp_path: Path, steps: int, active: bool) -> None:
    said: list[str] = []
    with Profiler(tmp_path, steps, 0, said.append, active) as profiler:
        for step in range(9):
            with profiler.step(step):
                pass
            profiler.done(step, None)
    assert said == []
    assert not (tmp_path / "profile").exists()


def test_a_run_without_enough_steps(tmp_path: Path) -> None:
    said: list[str] = []
    with Profiler(tmp_path, 2, 0, said.append) as profiler, profiler.step(0):
        pass
    assert "nothing was traced" in said[0]
