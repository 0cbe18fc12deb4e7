"""PyTorch's own files, where torch is installed and where it is not."""

import sys
from pathlib import Path

import numpy as np
import pytest

from seismollm_jax.conversion.torch_files import read_state_dict, write


def test_without_torch_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # as if it were not installed
    with pytest.raises(ImportError, match=r"a\.bin is a PyTorch file.*seismollm_jax\[torch\]"):
        read_state_dict(tmp_path / "a.bin")


def test_arrays_as_they_were_saved(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    values = {"a.weight": torch.arange(6.0).reshape(2, 3), "half": torch.ones(3).half()}
    torch.save(values, tmp_path / "a.bin")
    found = read_state_dict(tmp_path / "a.bin")
    np.testing.assert_array_equal(found["a.weight"], np.arange(6.0).reshape(2, 3))
    assert found["half"].dtype == np.float32


def test_damaged_file(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "a.bin").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=r"a\.bin is not a readable PyTorch state dict"):
        read_state_dict(tmp_path / "a.bin")


def test_torch_that_does_not_read_safely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"a": torch.ones(1)}, tmp_path / "a.bin")
    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")
    with pytest.raises(ImportError, match=r"a\.bin.*2\.9\.1.*pip install 'torch>=2\.10'"):
        read_state_dict(tmp_path / "a.bin")


def test_masks_of_older_files_are_read(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"h.0.attn.bias": torch.ones(1, 1, 2, 2).bool()}, tmp_path / "a.bin")
    assert read_state_dict(tmp_path / "a.bin")["h.0.attn.bias"].dtype == np.float32


def test_values_that_could_not_be_read_back_are_not_written(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    for value in (object(), np.array(["a"]), {1, 2}):
        with pytest.raises(TypeError, match="not written"):
            write(tmp_path / "a.pth", {"model_dict": {}, "x": [value]})
    assert list(tmp_path.iterdir()) == []
