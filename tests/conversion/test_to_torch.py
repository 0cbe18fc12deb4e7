"""to-torch: files that PyTorch and transformers accept, in every format, or nothing."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seismollm_jax.conversion import comparison, tensor_files
from seismollm_jax.conversion.opening import open_network
from seismollm_jax.conversion.report import ConversionError
from seismollm_jax.training.saved import CheckpointError
from tests import setups
from tests.conversion import originals
from tests.models import tiny


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recorded network of distance with its training, converted; not to be changed."""
    folder = tmp_path_factory.mktemp("dis")
    source = originals.original(folder / "dis.pth", "distance")
    originals.import_file(source, folder / "run", originals.given("distance"))
    return folder / "run"


def module_like(layout: dict[str, tuple[tuple[int, ...], str]]) -> Any:
    """A PyTorch module with these parameters and buffers, registered in this order."""
    torch = pytest.importorskip("torch")
    whole = torch.nn.Module()
    for name, (shape, dtype) in layout.items():
        *parts, last = name.split(".")
        place = whole
        for part in parts:
            if not hasattr(place, part):
                place.add_module(part, torch.nn.Module())
            place = getattr(place, part)
        value = torch.zeros(shape, dtype=getattr(torch, dtype))
        if last in ("running_mean", "running_var", "num_batches_tracked"):
            place.register_buffer(last, value)
        else:
            place.register_parameter(last, torch.nn.Parameter(value))
    return whole


def test_pytorch_resumes_from_it(workdir: Path, tmp_path: Path) -> None:
    """As the original resumes: strict loading, Adam and its state, then the schedule and its."""
    torch = pytest.importorskip("torch")
    originals.export(workdir, tmp_path / "back.pth")
    content = torch.load(tmp_path / "back.pth", map_location="cpu", weights_only=True)
    module = module_like(tiny.file_layout("distance"))
    names = [name for name, _ in module.named_parameters()]
    assert names == tiny.parameter_order("distance")
    assert list(module.state_dict()) == list(content["model_dict"])
    module.load_state_dict(content["model_dict"], strict=True)
    expected = tiny.full_state_dict("distance")
    for name, value in module.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), expected[name])

    optimizer = torch.optim.Adam(module.parameters(), lr=0.5)
    optimizer.load_state_dict(content["optimizer_dict"])
    for name, parameter in module.named_parameters():
        state = optimizer.state[parameter]
        for moment, arrays in tiny.moments().items():
            assert (moment in state) == (name in arrays)
            if name in arrays:
                np.testing.assert_array_equal(state[moment].numpy(), arrays[name])
    schedule = torch.optim.lr_scheduler.CyclicLR(
        optimizer, 9.0, 99.0, step_size_up=1, step_size_down=1, cycle_momentum=False
    )
    schedule.load_state_dict(content["scheduler_dict"])
    rates = []
    for _ in range(6):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.zero_grad()
        sum(parameter.sum() for parameter in module.parameters()).backward()
        optimizer.step()
        schedule.step()
    golden = tiny.golden("distance_training")["resume/lr"]
    np.testing.assert_allclose(rates, golden, rtol=0, atol=1e-12)


def test_converted_twice(workdir: Path, tmp_path: Path) -> None:
    """The second time as the first, with the history of both."""
    originals.export(workdir, tmp_path / "a.pth")
    originals.import_file(tmp_path / "a.pth", tmp_path / "run", originals.Given())
    originals.export(tmp_path / "run", tmp_path / "b.pth")
    first, second = (originals.load(tmp_path / f"{name}.pth") for name in "ab")
    notes = [json.loads(content.pop("seismollm_jax")) for content in (first, second)]
    originals.assert_same(second, first)
    sources = []
    for place in (notes[0]["conversion"], notes[1]["conversion"]):
        sources.append([])
        while place:
            sources[-1].append(place["source"])
            place = place["earlier"]
    assert sources[0] == ["run/checkpoints/2", "dis.pth"]
    assert sources[1] == ["run/checkpoints/2", "a.pth", "run/checkpoints/2", "dis.pth"]
    before, after = (one["description"] for one in notes)
    for name in ("config", "settings", "contract", "progress", "pretrained", "task"):
        assert after[name] == before[name]


# -- formats -------------------------------------------------------------------------------------


def test_weights_alone(workdir: Path, tmp_path: Path) -> None:
    report = originals.export(workdir, tmp_path / "a.pth", weights_only=True)
    originals.assert_same(originals.load(tmp_path / "a.pth"), tiny.full_state_dict("distance"))
    assert report.facts["training"] is False
    assert len(report.rows) == len(tiny.file_layout("distance"))


def test_safetensors(workdir: Path, tmp_path: Path) -> None:
    originals.export(workdir, tmp_path / "a.safetensors", file_format="safetensors")
    file, arrays = (
        tensor_files.open_file(tmp_path / "a.safetensors"),
        tiny.full_state_dict("distance"),
    )
    assert file.tensors.keys() == arrays.keys()
    for name, value in arrays.items():
        originals.assert_same(np.asarray(file.tensors[name].read()), value, name)
    assert file.notes["conversion"]["merged"] is False
    assert file.notes["description"]["task"] == "distance"
    assert file.notes["conversion"]["earlier"]["source"] == "dis.pth"


def test_without_pytorch(workdir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # as if it were not installed
    report = originals.export(
        workdir, tmp_path / "a.safetensors", file_format="safetensors", outputs=True
    )
    assert report.facts["verification"]["passed"] is None
    (tmp_path / "a.safetensors").unlink()
    with pytest.raises(ImportError, match=r"a\.pth.*pip install 'seismollm_jax\[torch\]"):
        originals.export(workdir, tmp_path / "a.pth")
    assert list(tmp_path.iterdir()) == []


# -- refusals ------------------------------------------------------------------------------------


def test_existing_outputs_stay(workdir: Path, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("mine")
    for output in ({"output": tmp_path / "a"}, {"output": None, "gpt2_output": tmp_path / "a"}):
        with pytest.raises(FileExistsError, match="choose another name or remove it"):
            originals.export(workdir, **output)
    assert (tmp_path / "a").read_text() == "mine"
    report = originals.export(workdir, tmp_path / "a", dry_run=True)
    assert len(report.rows) == len(tiny.file_layout("distance")) + 2 * 121
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_no_checkpoint_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="empty holds no checkpoint"):
        originals.export(tmp_path / "empty", tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="nowhere is not a directory with a checkpoint"):
        originals.export(tmp_path / "nowhere", tmp_path / "a.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def wrong_output(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    real = comparison.in_torch
    monkeypatch.setattr(comparison, "in_torch", lambda *given: real(*given) * 1.001)


def wrong_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read again has another first tensor."""
    real = tensor_files.open_file

    def opened(path: Path) -> tensor_files.TensorFile:
        file = real(path)
        name, entry = next(iter(file.tensors.items()))
        other = tensor_files.Entry(entry.shape, entry.dtype, lambda: entry.read() + np.float32(1))
        file.tensors[name] = other
        return file

    monkeypatch.setattr(tensor_files, "open_file", opened)


def interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(file: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tensor_files, "check", stop)


@pytest.mark.parametrize(
    ("failure", "error", "message"),
    [
        (wrong_output, ConversionError, r"outputs differ from PyTorch's by 1\.0e-03 of their size"),
        (wrong_bits, ConversionError, "was not written as it is"),
        (interrupted, KeyboardInterrupt, "^$"),
    ],
)
def test_failures_leave_nothing(
    workdir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failure: Callable[[pytest.MonkeyPatch], None],
    error: type[BaseException],
    message: str,
) -> None:
    failure(monkeypatch)
    with pytest.raises(error, match=message):
        originals.export(workdir, tmp_path / "a", file_format="safetensors", outputs=True)
    assert list(tmp_path.iterdir()) == []


# -- other networks ------------------------------------------------------------------------------


def test_networks_computed_in_bfloat16(tmp_path: Path) -> None:
    """Their parameters are float32, and the comparison is made in it."""
    pytest.importorskip("torch")
    config = setups.config("distance", changes={"precision.compute": "bfloat16"})
    progress = {"step": 1, "epoch": 1, "best": 0.5, "best_step": 1, "epochs_since_best": 0}
    setups.save_random(tmp_path / "run", config, {"progress": progress})
    report = originals.export(tmp_path / "run", tmp_path / "a.pth", outputs=True)
    assert report.facts["verification"]["passed"] is True
    notes = json.loads(originals.load(tmp_path / "a.pth")["seismollm_jax"])
    assert notes["description"]["settings"]["compute_dtype"] == "bfloat16"
    told = originals.Given()
    network = open_network(tmp_path / "a.pth", told, originals.config_for)
    assert network.config.compute_dtype == "bfloat16"
