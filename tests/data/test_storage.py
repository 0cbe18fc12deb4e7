"""HDF5 files as users have them: any type of number, any way of storing it, links, odd objects."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from seismollm_jax.data.storage import Hdf5File

WAVEFORM = np.random.default_rng(0).normal(0, 100, (500, 3))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "other.hdf5", "w") as h5:
        h5["data/trace"] = WAVEFORM.astype("<f4")
    with h5py.File(tmp_path / "file.hdf5", "w") as h5:
        data = h5.create_group("data")
        data["inner/trace"] = WAVEFORM.astype("<f4")
        options = {"chunks": (100, 2), "compression": "gzip", "shuffle": True}
        data.create_dataset("compressed", data=WAVEFORM.astype("<f4"), **options)
        data["Ünit"] = WAVEFORM.astype("<f4")
        data["soft"] = h5py.SoftLink("/data/compressed")
        data["external"] = h5py.ExternalLink("other.hdf5", "/data/trace")
        data["dangling"] = h5py.SoftLink("/data/nowhere")
        data["lost file"] = h5py.ExternalLink("lost.hdf5", "/data/trace")
        data["type"] = np.dtype("f8")
        data["scalar"] = 3.0
        data["empty"] = h5py.Empty("f4")
        data["line"] = np.zeros(5)
        data["cube"] = np.zeros((2, 3, 4))
        data["words"] = np.full((5, 3), b"abc")
        data["flags"] = np.zeros((5, 3), bool)
        data["huge"] = np.full((5, 3), 1e300)
    return tmp_path / "file.hdf5"


@pytest.mark.parametrize(
    "dtype", ["<f4", ">f4", "<f8", ">f8", "<f2", "i1", "u1", ">i2", "<i4", "<i8", "<u8"]
)
def test_any_type_of_number_comes_as_float32(dtype: str, tmp_path: Path) -> None:
    stored = np.abs(WAVEFORM).astype(dtype) if "u" in dtype else WAVEFORM.astype(dtype)
    with h5py.File(tmp_path / "file.hdf5", "w") as h5:
        h5["data/trace"] = stored
    read = Hdf5File(tmp_path / "file.hdf5", "data").read("trace")
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, stored.astype(np.float32))


@pytest.mark.parametrize("name", ["inner/trace", "compressed", "Ünit", "soft", "external"])
def test_any_way_of_storing(path: Path, name: str) -> None:
    read = Hdf5File(path, "data").read(name)
    np.testing.assert_array_equal(read, WAVEFORM.astype(np.float32))


@pytest.mark.parametrize(
    "name", ["missing", "dangling", "lost file", "inner", "type", "", "line/x"]
)
def test_what_is_no_trace(path: Path, name: str) -> None:
    with pytest.raises(KeyError, match="is not in the group 'data'"):
        Hdf5File(path, "data").read(name)


@pytest.mark.parametrize("name", ["scalar", "empty", "line", "cube"])
def test_a_wrong_shape(path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="has the shape"):
        Hdf5File(path, "data").read(name)


def test_what_is_no_number_is_left_to_the_caller(path: Path) -> None:
    file = Hdf5File(path, "data")
    assert file.read("words").dtype.kind == "S"
    assert file.read("flags").dtype.kind == "b"
    assert np.isinf(file.read("huge")).all()


def test_truncated(path: Path, tmp_path: Path) -> None:
    """The samples of the last trace are gone, its header is not."""
    with h5py.File(path, "a") as h5:
        last = h5.create_dataset("data/last", data=np.zeros((5000, 3), np.float32))
        end = last.id.get_offset() + 100
    (tmp_path / "cut.hdf5").write_bytes(path.read_bytes()[:end])
    with pytest.raises(OSError, match="truncated"):
        Hdf5File(tmp_path / "cut.hdf5", "data")
