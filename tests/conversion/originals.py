"""Training files as the PyTorch original leaves them, put together from the recordings."""

import contextlib
import functools
import importlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from seismollm_jax.conversion import comparison, from_torch, to_torch
from seismollm_jax.conversion.foreign import Given
from seismollm_jax.conversion.report import Report
from tests.models import tiny

WINDOW = 1024
GPT2 = tiny.CONFIG.gpt2  # has heads that are not 64 wide, so that it has to be told
Change = Callable[[dict[str, Any]], None]


def config_for(task: str) -> dict[str, Any]:
    return importlib.import_module(f"configs.{task}").get_config("stead").to_dict()


def given(task: str | None, **changes: Any) -> Given:
    """What has to be told about the recorded networks."""
    return Given(**{"task": task, "gpt2": GPT2, "window": WINDOW, **changes})


@functools.cache
def moments(task: str) -> dict[str, dict[str, np.ndarray]]:
    """Adam's moments by name and key: the recorded ones of distance, random ones elsewhere."""
    if task == "distance":
        return tiny.moments()
    draw, layout = np.random.default_rng(5), tiny.file_layout(task)
    order = tiny.parameter_order(task)
    keys = [order[i] for i in tiny.training(task)["state_indices"]]
    first = {k: draw.normal(size=layout[k][0]).astype(np.float32) for k in keys}
    second = {k: draw.exponential(size=layout[k][0]).astype(np.float32) for k in keys}
    return {"exp_avg": first, "exp_avg_sq": second}


def content(task: str) -> dict[str, Any]:
    """A whole training file, NumPy arrays for tensors; tables may be changed, arrays not."""
    return _copied(_content(task))


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _copied(v) for k, v in value.items()}
    return [_copied(v) for v in value] if isinstance(value, list) else value


@functools.cache
def _content(task: str) -> dict[str, Any]:
    recorded, order, known = tiny.training(task), tiny.parameter_order(task), moments(task)
    states = {
        i: {
            "step": np.asarray(recorded["step"], np.float32),
            **{name: arrays[order[i]] for name, arrays in known.items()},
        }
        for i in recorded["state_indices"]
    }
    return {
        "epoch": recorded["epoch"],
        "model_dict": tiny.full_state_dict(task),
        "optimizer_dict": {"state": states, "param_groups": recorded["param_groups"]},
        "scheduler_dict": recorded["scheduler_dict"],
        "loss": recorded["loss"],
        "use_compile": recorded["use_compile"],
        "use_ddp": recorded["use_ddp"],
    }


def tensors(value: Any, torch: Any) -> Any:
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy())
    if isinstance(value, dict):
        return type(value)((k, tensors(v, torch)) for k, v in value.items())
    return value


def save(path: Path, content: Mapping[str, Any], *, prefix: str = "") -> Path:
    """Writes with PyTorch alone, as the original does."""
    torch = pytest.importorskip("torch")
    plain = tensors(dict(content), torch)
    state = plain.get("model_dict", plain)
    state = OrderedDict((prefix + name, value) for name, value in state.items())
    # Modules leave an attribute with their versions on the mapping, and it is saved.
    state._metadata = OrderedDict({"": {"version": 1}})  # type: ignore[attr-defined]
    torch.save({**plain, "model_dict": state} if "model_dict" in plain else state, path)
    return path


def original(path: Path, task: str, change: Change = lambda content: None) -> Path:
    """Writes a task's training file, changed before."""
    made = content(task)
    change(made)
    return save(path, made)


def bare(path: Path, arrays: Mapping[str, np.ndarray]) -> Path:
    """Writes a state dict as safetensors, as others do."""
    save_file({name: np.asarray(value, order="C") for name, value in arrays.items()}, path)
    return path


def arrays(value: Any, torch: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.numpy().copy()
    if isinstance(value, dict):
        return {k: arrays(v, torch) for k, v in value.items()}
    return value


def load(path: Path) -> dict[str, Any]:
    """Reads with PyTorch alone: NumPy arrays for tensors."""
    torch = pytest.importorskip("torch")
    found = torch.load(path, map_location="cpu", weights_only=True)
    assert type(found.get("model_dict", found)) is OrderedDict
    return arrays(found, torch)


def assert_same(found: Any, expected: Any, where: str = "file") -> None:
    """Equal in types, keys with their order, shapes and every bit."""
    assert type(found) is type(expected), where
    if isinstance(expected, dict):
        assert list(found) == list(expected), where
        for key in expected:
            assert_same(found[key], expected[key], f"{where}[{key!r}]")
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected), where
        for i, (one, two) in enumerate(zip(found, expected, strict=True)):
            assert_same(one, two, f"{where}[{i}]")
    elif isinstance(expected, np.ndarray):
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype), where
        assert found.tobytes() == expected.tobytes(), where
    else:
        assert found == expected, where


@contextlib.contextmanager
def _comparing(outputs: bool) -> Iterator[None]:
    """Without comparing outputs, which takes longest, where it plays no part in a test."""
    with pytest.MonkeyPatch.context() as patch:
        if not outputs:
            result = {"passed": None, "reason": "left out in this test"}
            patch.setattr(comparison, "verified", lambda *given: result)
        yield


def import_file(
    source: Path, output: Path, told: Given, *, outputs: bool = False, **options: Any
) -> Report:
    """from-torch."""
    report = Report("from-torch")
    options |= {"given": told, "config_for": config_for, "report": report}
    with _comparing(outputs):
        from_torch.convert(source, output, **options)
    return report


def export(
    checkpoint: Path, output: Path | None, *, outputs: bool = False, **options: Any
) -> Report:
    """to-torch."""
    report = Report("to-torch")
    options |= {"output": output, "config_for": config_for, "report": report}
    with _comparing(outputs):
        to_torch.convert(checkpoint, **options)
    return report


def refused(source: Path, told: Given) -> str:
    """The error of from-torch, in which the file is named and after which nothing is there."""
    before = sorted(source.parent.rglob("*"))
    with pytest.raises(ValueError, match=source.name) as caught:
        import_file(source, source.parent / "new" / "run", told)
    assert sorted(source.parent.rglob("*")) == before
    return str(caught.value)
