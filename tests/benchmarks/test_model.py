"""The benchmark of the network: its figures add up; speed is not judged."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import model, model_jax, scaling
from tests import setups

SMALL = {**setups.TINY, "backbone.layers": 1}
SMALL = {
    name: value for name, value in SMALL.items() if name.split(".")[0] not in ("data", "train")
}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every network of the benchmark is a tiny one."""
    full = model_jax.experiment_of

    def tiny(task: str, length: int, precision: str, changes=None):
        return full(task, length, precision, {**SMALL, **(changes or {})})

    monkeypatch.setattr(model_jax, "experiment_of", tiny)


@pytest.mark.usefixtures("small")
def test_form_of_the_figures(tmp_path: Path, capsys) -> None:
    output = tmp_path / "figures.json"
    arguments = ["--tasks", "magnitude", "--batches", "2", "--length", "640", "--rounds", "2"]
    assert model.main([*arguments, "--seconds", "0.001", "--output", str(output)]) == 0
    figures = json.loads(output.read_text())
    assert [case["mode"] for case in figures["cases"]] == ["training", "inference"]
    for case in figures["cases"]:
        found = case["variants"]["jax"]
        assert found["fastest_s"] <= found["quarter_s"] <= found["median_s"]
        assert found["samples_per_s"] == pytest.approx(2 / found["median_s"])
        assert 0 < found["flops"] < found["flops_compiler"]
        assert found["share_of_matmul"] > 0
        assert found["memory_bytes"] > 0
        assert case["ratios"] == {}
    table = capsys.readouterr().out
    assert table.count("| magnitude |") == 2


def test_ratios_are_taken_round_by_round() -> None:
    ours, others = [[1.0, 1.0], [4.0]], [[3.0], [8.0, 8.0, 8.0]]
    assert model.ratios(others, ours) == {"lowest": 2.0, "median": 2.5, "highest": 3.0}


def test_rounds_go_through_all_variants() -> None:
    order: list[str] = []
    calls = {name: (lambda name=name: order.append(name)) for name in "ab"}
    times = model.interleaved(calls, rounds=2, seconds=0.0)
    assert order[:2] == ["a", "b"]  # once before the clock
    assert {name: len(rounds) for name, rounds in times.items()} == {"a": 2, "b": 2}


def test_exponents_of_powers() -> None:
    sizes = np.array([1024, 2048, 4096, 8192])
    assert scaling.exponent(sizes, 3e-4 * sizes**1.2) == pytest.approx(1.2)


@pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="needs PyTorch")
def test_the_tasks_are_the_same() -> None:
    from benchmarks import model_torch, torch_model
    from seismollm_jax import tasks

    assert set(tasks.TASKS) >= set(torch_model.TASKS) == set(model_torch.TARGETS)


def test_bad_arguments(capsys) -> None:
    with pytest.raises(SystemExit):
        model.main(["--precision", "float16"])
    assert "not float32 or bfloat16" in capsys.readouterr().err
