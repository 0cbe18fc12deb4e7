"""Datasets of the seisbench package: by their names, read and written as it does."""

import json
import sys
import types
from pathlib import Path

import h5py
import numpy as np
import pytest

from seismollm_jax.data import seisbench
from seismollm_jax.data.catalogue import open_dataset
from seismollm_jax.data.seisbench_files import from_seisbench
from seismollm_jax.data.sources import WaveformSource
from tests.data.seisbench_rows import FORMAT, ROW, make
from tests.test_configs import get


@pytest.fixture
def fake_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    """A stand-in for the seisbench package with one dataset; how it was asked for it."""
    asked: dict = {}

    class WaveformDataset:
        pass

    WaveformDataset.__module__ = "seisbench.data.base"

    class ETHZ(WaveformDataset):
        def __init__(self, **options: object) -> None:
            asked.update(options)
            self.path = make(tmp_path / "cache", [ROW])

    package, data = types.ModuleType("seisbench"), types.ModuleType("seisbench.data")
    data.WaveformDataset, data.ETHZ, package.data = WaveformDataset, ETHZ, data
    monkeypatch.setitem(sys.modules, "seisbench", package)
    monkeypatch.setitem(sys.modules, "seisbench.data", data)
    return asked


def test_a_dataset_by_its_name(fake_package: dict, tmp_path: Path) -> None:
    config = get("magnitude", "seisbench")
    config.data.path = "seisbench:ethz"
    dataset = open_dataset(config.data.to_dict())
    assert dataset.path == tmp_path / "cache"
    assert fake_package == {}
    with pytest.raises(ValueError, match="seisbench has no dataset 'Nowhere'; it has ETHZ"):
        from_seisbench("Nowhere")


def test_chunks_of_a_dataset_by_its_name(fake_package: dict) -> None:
    assert (from_seisbench("ETHZ", "_2019, _2020") / "metadata.csv").exists()
    assert fake_package == {"chunks": ["_2019", "_2020"]}


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "seisbench", None)
    with pytest.raises(ImportError, match=r"pip install 'seismollm_jax\[seisbench\]', or give the"):
        seisbench.read("seisbench:ETHZ")


# -- against the seisbench package ---------------------------------------------------------------


@pytest.mark.parametrize("bucket_traces", [0, 3])
@pytest.mark.filterwarnings("ignore")  # of that package's dependencies
def test_as_the_seisbench_package_reads_it(tmp_path: Path, bucket_traces: int) -> None:
    package = pytest.importorskip("seisbench.data")
    rows = [
        ROW | {"trace_component_order": order, "trace_sampling_rate_hz": 100, "split": part}
        for order, part in zip(
            ["ZNE", "ENZ", "EZN", "ZNE", "NZE"], ["train", "dev", "test", "train", "dev"],
            strict=True,
        )
    ]  # fmt: skip
    make(tmp_path, rows, bucket_traces=bucket_traces)
    theirs = package.WaveformDataset(tmp_path, component_order="ZNE", dimension_order="NWC")
    ours = seisbench.read(tmp_path)
    assert ours.table["trace_name"].tolist() == theirs.metadata["trace_name"].astype(str).tolist()
    source = WaveformSource(ours, np.arange(5))
    for i in range(5):
        np.testing.assert_array_equal(source[i].waveform, theirs.get_waveforms(i))
    for part, subset in zip(("train", "val", "test"), theirs.train_dev_test(), strict=True):
        assert (ours.table["split"] == part).sum() == len(subset)


@pytest.mark.filterwarnings("ignore")
def test_what_the_seisbench_package_writes(tmp_path: Path) -> None:
    """Its own writer: buckets by length, paddings, splits, component orders."""
    package = pytest.importorskip("seisbench.data")
    draw = np.random.default_rng(0)
    traces = [draw.normal(size=(3, n)) for n in draw.integers(100, 400, 30)]
    with package.WaveformDataWriter(tmp_path / "metadata.csv", tmp_path / "waveforms.hdf5") as out:
        out.data_format = {"dimension_order": "CW", **FORMAT}
        out.bucket_size = 8
        for i, trace in enumerate(traces):
            part = ["train", "dev", "test"][i % 3]
            out.add_trace(ROW | {"split": part, "trace_p_arrival_sample": i}, trace)
    with h5py.File(tmp_path / "waveforms.hdf5") as h5:
        assert 1 < len(h5["data"]) < 30
    ours = seisbench.read(tmp_path)
    assert json.dumps(ours.report.counts) == '{"rows": 30}'
    source = WaveformSource(ours, np.arange(30))
    for row in range(30):
        record = source[row]
        i = record.p_samples[0]
        np.testing.assert_array_equal(record.waveform, traces[i].T.astype(np.float32))
        assert ours.table["split"][row] == ["train", "val", "test"][i % 3]
