"""verify: the same network in two formats, and every way of not being the same."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seismollm_jax.conversion import comparison, verify
from seismollm_jax.conversion.report import ConversionError, Report
from tests.conversion import originals
from tests.models import tiny

KERNEL = "convs.1.convs.2.conv.weight"


def run(a: Path, b: Path, **told: Any) -> dict[str, Any]:
    report = Report("verify")
    verify.verify(
        a, b, given=originals.Given(**told), config_for=originals.config_for, report=report
    )
    return report.facts


def differences(a: Path, b: Path, **told: Any) -> list[str]:
    with pytest.raises(ConversionError, match=f"(?s){a.name} and .*{b.name} differ") as caught:
        run(a, b, **told)
    return caught.value.problems


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recorded network of distance in every format; not to be changed."""
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("formats")
    source = originals.original(folder / "original.pth", "distance")
    originals.import_file(source, folder / "run", originals.given("distance"))
    originals.export(folder / "run", folder / "full.pth")
    originals.export(folder / "run", folder / "weights.pth", weights_only=True)
    originals.export(folder / "run", folder / "a.safetensors", file_format="safetensors")
    originals.export(folder / "run", folder / "merged.pth", merge_lora=True)
    return folder


def counts(facts: dict[str, Any]) -> tuple[int, int]:
    return facts["compared"]["equal"], facts["compared"]["folded"]


@pytest.fixture
def no_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without comparing outputs, which takes longest."""
    monkeypatch.setattr(verify, "_outputs", lambda *given: [])


@pytest.mark.usefixtures("no_outputs")
@pytest.mark.parametrize(
    ("a", "b", "training"),
    [
        ("run", "full.pth", "equal"),
        ("original.pth", "full.pth", "equal"),  # what the former does not say the latter does
        ("weights.pth", "run", "not in both"),
        ("full.pth", "a.safetensors", "not in both"),
    ],
)
def test_formats_agree(folder: Path, a: str, b: str, training: str) -> None:
    facts = run(folder / a, folder / b)
    assert counts(facts) == (len(tiny.file_layout("distance")), 0)
    assert facts["training"] == training


def test_outputs_agree(folder: Path) -> None:
    outputs = dict(run(folder / "run", folder / "original.pth")["outputs"])
    assert outputs.pop("allowed") == comparison.TOLERANCE
    assert outputs.pop("windows") == [2, originals.WINDOW, 3]
    assert {*outputs} == {
        "a in JAX - a in PyTorch",
        "a in JAX - b in JAX",
        "a in JAX - b in PyTorch",
    }
    assert outputs["a in JAX - b in JAX"] == 0
    assert all(value < comparison.TOLERANCE for value in outputs.values())


def test_outputs_that_differ(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = comparison.in_torch
    monkeypatch.setattr(comparison, "in_torch", lambda *given: real(*given) * 1.001)
    problems = differences(folder / "run", folder / "a.safetensors")
    assert problems == [
        f"outputs a in JAX - {name} in PyTorch: 1.0e-03 of their size" for name in "ab"
    ]


@pytest.mark.usefixtures("no_outputs")
def test_files_that_say_nothing_about_themselves(folder: Path) -> None:
    told = {"task": "dis", "gpt2": originals.GPT2, "window": 1024}
    assert run(folder / "original.pth", folder / "weights.pth", **told)["task"] == "distance"


def test_adapters_folded_on_one_side(folder: Path) -> None:
    facts = run(folder / "merged.pth", folder / "full.pth")
    equal, folded = counts(facts)
    assert equal + folded == len(tiny.file_layout("distance")) - 2 * 12
    assert facts["compared"]["largest_difference"] <= facts["compared"]["allowed"] == 1e-6
    assert "training" not in facts


def test_folding_excuses_no_other_tensor(folder: Path, tmp_path: Path) -> None:
    content = originals.load(folder / "merged.pth")
    bias = content["llm_blocks.llm.h.1.attn.c_attn.bias"]
    bias[3] = np.nextafter(bias[3], np.float32(9))
    weight = content["llm_blocks.llm.h.2.mlp.c_fc.weight"]
    weight[3, 3] += 1e-3
    path = originals.save(tmp_path / "b.pth", content)
    one, other = differences(folder / "run", path)
    assert one.startswith("llm_blocks.llm.h.1.attn.c_attn.bias: differs")
    assert other.startswith("llm_blocks.llm.h.2.mlp.c_fc.weight: differs")


def changed(folder: Path, path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The training file with something changed in it."""
    content = originals.load(folder / "full.pth")
    change(content)
    return originals.save(path, content)


def test_one_bit_of_one_tensor(folder: Path, tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        value = content["model_dict"][KERNEL]
        value[0, 0, 0] = np.nextafter(value[0, 0, 0], np.float32(9))

    path = changed(folder, tmp_path / "b.pth", change)
    (problem,) = differences(folder / "run", path)
    assert problem.startswith(f"{KERNEL}: differs by ")
    assert 0 < float(problem.split()[3]) < 1e-6


def test_values_that_are_equal_but_not_the_same_bits(folder: Path, tmp_path: Path) -> None:
    def zeros(sign: float) -> Callable[[dict[str, Any]], None]:
        return lambda content: content["model_dict"].update(
            {"out_head.lin.bias": np.full(1, sign * 0.0, np.float32)}
        )

    a = changed(folder, tmp_path / "a.pth", zeros(1.0))
    b = changed(folder, tmp_path / "b.pth", zeros(-1.0))
    (problem,) = differences(a, b)
    assert problem.startswith("out_head.lin.bias: differs")


def other_moment(content: dict[str, Any]) -> None:
    value = content["optimizer_dict"]["state"][0]["exp_avg_sq"]
    value[0, 0, 0] = np.nextafter(value[0, 0, 0], np.float32(9))


def other_steps(content: dict[str, Any]) -> None:
    for state in content["optimizer_dict"]["state"].values():
        state["step"] = np.asarray(3, np.float32)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (other_moment, "training: nu of convs.0.convs.0.in_proj.weight differs"),
        (other_steps, "training: count 2 and 3"),
        (lambda content: content.update(loss=0.5), "training: best 112.34597396850586 and 0.5"),
        (lambda content: content.update(epoch=1), "training: epochs 8 and 2"),
        (
            lambda content: content["optimizer_dict"]["param_groups"][0].update(
                weight_decay=0.1, decoupled_weight_decay=False
            ),
            "training: weight_decay 0.0 and 0.1",
        ),
    ],
)
def test_training_that_differs(
    folder: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], problem: str
) -> None:
    path = changed(folder, tmp_path / "b.pth", change)
    assert differences(folder / "full.pth", path) == [problem]


def redescribed(folder: Path, path: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """The training file with another description."""

    def within(content: dict[str, Any]) -> None:
        notes = json.loads(content["seismollm_jax"])
        change(notes["description"])
        content["seismollm_jax"] = json.dumps(notes)

    return changed(folder, path, within)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            lambda d: d["config"]["data"].update(sampling_rate_hz=50.0),
            "sampling_rate_hz: 100.0 and 50.0",
        ),
        (lambda d: d["config"]["data"].update(normalisation="max"), "normalisation: std and max"),
        (lambda d: d["settings"]["lora"].update(alpha=8.0), "setting lora: "),
        (lambda d: d["settings"]["gpt2"].update(n_head=2), "setting gpt2: "),
        (lambda d: d["settings"]["embedder"].update(strides=[2, 1, 2, 1]), "setting embedder: "),
    ],
)
def test_settings_that_differ(
    folder: Path, tmp_path: Path, change: Callable[[dict[str, Any]], Any], problem: str
) -> None:
    found = differences(folder / "run", redescribed(folder, tmp_path / "b.pth", change))
    assert len(found) == 1
    assert found[0].startswith(problem)


@pytest.mark.usefixtures("no_outputs")
def test_settings_without_consequence(folder: Path, tmp_path: Path) -> None:
    """Where GPT-2's layers were taken from, and widths of a head that the task does not have."""

    def change(description: dict[str, Any]) -> None:
        settings, config = description["settings"], description["config"]
        config["backbone"]["start_layer"] = settings["start_layer"] = 1
        config["head"]["channels"] = settings["head_channels"] = [1, 2, 3, 4]

    run(folder / "run", redescribed(folder, tmp_path / "b.pth", change), weights_only=True)


def test_another_task(folder: Path, tmp_path: Path) -> None:
    """Of the same shapes, so that only what is said about them differs."""
    path = originals.original(tmp_path / "emg.pth", "magnitude")
    originals.import_file(path, tmp_path / "emg", originals.given("emg"))
    problems = differences(folder / "run", tmp_path / "emg")
    assert any(problem.startswith("labels: ") for problem in problems)
    assert any(problem.startswith("out_head.lin.weight: differs") for problem in problems)


def test_what_is_not_there_or_damaged(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        run(folder / "run", tmp_path / "nowhere")
    whole = (folder / "full.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cut\.pth"):
        run(folder / "run", tmp_path / "cut.pth")
