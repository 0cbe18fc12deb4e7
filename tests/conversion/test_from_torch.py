"""from-torch: what it leaves when all goes well, and that nothing is left otherwise."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seismollm_jax as sj
from seismollm_jax.conversion import comparison, from_torch
from seismollm_jax.conversion.report import ConversionError
from seismollm_jax.training import checkpoint, saved
from tests.conversion import originals
from tests.golden_files import relative_difference, thin
from tests.models import tiny


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recorded network of distance as safetensors, which needs no PyTorch."""
    folder = tmp_path_factory.mktemp("source")
    return originals.bare(folder / "dis.safetensors", tiny.full_state_dict("distance"))


def run(source: Path, output: Path, **options: Any) -> dict[str, Any]:
    return originals.import_file(source, output, originals.given("distance"), **options).facts


def test_without_pytorch(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # as if it were not installed
    assert not comparison.has_torch()
    facts = run(source, tmp_path / "new folder" / "run", outputs=True)
    assert facts["verification"] == {
        "passed": None,
        "reason": "PyTorch is not installed, outputs were not compared",
    }
    description = saved.read_description(saved.find(tmp_path / "new folder/run"))
    assert description["conversion"]["verification"] == facts["verification"]
    assert sorted(path.name for path in (tmp_path / "new folder").iterdir()) == ["run"]
    golden = tiny.golden("distance")
    found = sj.load(tmp_path / "new folder/run").forward(golden["io/L1024/x"])
    assert relative_difference(thin(found, 500), golden["io/L1024/out"].ravel()) < 1e-5


def test_pytorch_files_need_pytorch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = originals.save(tmp_path / "dis.pth", tiny.full_state_dict("distance"))
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"dis\.pth is a PyTorch file.*seismollm_jax\[torch\]"):
        run(path, tmp_path / "run")
    assert list(tmp_path.iterdir()) == [path]


def test_dry_run_writes_nothing(source: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()  # which would be refused otherwise
    report = originals.import_file(
        source, tmp_path / "run", originals.given("distance"), dry_run=True
    )
    assert len(report.rows) == len(tiny.file_layout("distance"))
    assert report.facts["task"] == "distance"
    assert "verification" not in report.facts
    assert list(tmp_path.rglob("*")) == [tmp_path / "run"]


def test_casts_are_in_the_report(tmp_path: Path) -> None:
    arrays = tiny.full_state_dict("distance")
    arrays["convs.0.norm.bias"] = arrays["convs.0.norm.bias"].astype(np.float16)
    arrays["convs.0.out_proj.weight"] = arrays["convs.0.out_proj.weight"].astype(np.float64)
    source = originals.bare(tmp_path / "a.safetensors", arrays)
    told = originals.given("distance", lossy_casts=True)
    report = originals.import_file(source, tmp_path / "run", told, dry_run=True)
    rows = {row[0]: row[2:] for row in report.rows}
    assert rows["convs.0.norm.bias"] == ("same, float16 to float32", "(8,)", "float16")
    assert rows["convs.0.out_proj.weight"][0] == "transpose, float64 to float32"
    assert rows["convs.0.norm.weight"] == ("same", "(8,)", "float32")


def test_existing_output_stays(source: Path, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(FileExistsError, match="choose another --output or remove it"):
        run(source, tmp_path / "run")
    assert (tmp_path / "run").read_text() == "mine"


def test_directories_are_no_files(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"from-torch reads \.pth, \.pt and \.safetensors"):
        run(source.parent, tmp_path / "run")
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        run(source.parent / "nowhere", tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def wrong_output(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    real = comparison.in_torch
    monkeypatch.setattr(comparison, "in_torch", lambda *given: real(*given) * 1.001)


def wrong_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """One bit of one array does not come back from the disk."""
    real = saved.read_some

    def read(path: Path, names: list[str]) -> dict[str, np.ndarray]:
        found = real(path, names)
        if "head/linear/bias" in found:
            bits = found["head/linear/bias"].view(np.int32) ^ 1
            found["head/linear/bias"] = bits.view(np.float32)
        return found

    monkeypatch.setattr(saved, "read_some", read)


def interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(from_torch, "_compare", stop)


def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def save(self: Any, *arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.Checkpoints, "save", save)


@pytest.mark.parametrize(
    ("failure", "error", "message"),
    [
        (wrong_output, ConversionError, r"outputs differ from PyTorch's by 1\.0e-03 of their size"),
        (wrong_bits, ConversionError, "head/linear/bias was not written as it is"),
        (interrupted, KeyboardInterrupt, "^$"),
        (full_disk, OSError, "No space left"),
    ],
)
def test_failures_leave_nothing(
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failure: Callable[[pytest.MonkeyPatch], None],
    error: type[BaseException],
    message: str,
) -> None:
    failure(monkeypatch)
    with pytest.raises(error, match=message):
        run(source, tmp_path / "run", outputs=True)
    assert list(tmp_path.iterdir()) == []


def test_checkpoint_alone_is_enough(tmp_path: Path) -> None:
    """What evaluation, prediction and conversion need is inside, and the file may go."""
    arrays = {f"module.{k}": v for k, v in tiny.full_state_dict("distance").items()}
    file = originals.bare(tmp_path / "gone.safetensors", arrays)
    run(file, tmp_path / "run")
    file.unlink()
    alone = shutil.move(tmp_path / "run/checkpoints/0", tmp_path / "my model")
    shutil.rmtree(tmp_path / "run")
    found = sj.load(alone)
    assert (found.window, found.sampling_rate_hz) == (originals.WINDOW, 100.0)
    assert found.description["pretrained"]["source"] == "PyTorch checkpoint gone.safetensors"
    assert len(found.description["pretrained"]["sha256"]) == 64
    assert found.description["conversion"]["wrappers"] == "module."
