import json
import multiprocessing
import os
import pickle
import threading
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from seismollm_jax.data import stead
from seismollm_jax.data.records import Record
from seismollm_jax.data.sources import BadTrace, WaveformSource, to_zne

GOLDEN = Path(__file__).parents[1] / "golden"
INPUTS = [
    case
    for case in json.loads((GOLDEN / "labels.json").read_text())["cases"]
    if case["group"] == "inputs"
]
N = 12


def trace(index, n_samples=50):
    """What the file holds: columns E, N, Z with values 10 * index + column in every sample."""
    return np.full((n_samples, 3), 10 * index, np.float32) + np.arange(3, dtype=np.float32)


@pytest.fixture
def dataset(tmp_path):
    """Twelve traces in six files."""
    rows = pd.DataFrame(
        {
            "file_idx": np.arange(N) // 2,
            "trace_name": [f"TA.{i}_ä" for i in range(N)],
            "p_arrival_sample": np.arange(N) + 5.0,
            "s_arrival_sample": np.arange(N) + 15.0,
            "source_magnitude": np.linspace(1, 4, N),
            "back_azimuth_deg": np.arange(N) * 30.0,
            "source_distance_km": np.arange(N) + 1.0,
            "p_first_motion": ["U", "D", ""] * 4,
            "snr_db": ["[1 2 3]"] * N,
            "trace_category": ["earthquake_local"] * (N - 1) + ["noise"],
        }
    )
    rows.to_csv(tmp_path / "eq.csv", index=False)
    for i, name in enumerate(rows["trace_name"]):
        with h5py.File(tmp_path / f"part_{i // 2}.hdf5", "a") as h5:
            h5[f"data/{name}"] = trace(i)
    return stead.read(tmp_path)


def change(dataset, index, data):
    """Replace a trace in its file, or delete it."""
    row = dataset.table.iloc[index]
    with h5py.File(dataset.path / row["file"], "a") as h5:
        del h5[f"data/{row['trace_name']}"]
        if data is not None:
            h5[f"data/{row['trace_name']}"] = data


@pytest.mark.parametrize("case", INPUTS, ids=lambda case: "".join(case["file_order"]))
def test_component_order_golden(case):
    data = np.load(GOLDEN / "labels.npz")[f"{case['id']}/in_data"].T
    expected = np.load(GOLDEN / "labels.npz")[f"{case['id']}/out_item"].T
    ours = to_zne(data, "".join(case["file_order"]).upper())
    np.testing.assert_array_equal(ours, expected.astype(np.float32))


def test_records(dataset):
    rows = np.array([7, 0, 11])
    source = WaveformSource(dataset, rows)
    assert len(source) == 3
    assert source.rows.tolist() == [7, 0, 11]
    record = source[0]
    assert isinstance(record, Record)
    assert record.waveform.shape == (50, 3)
    assert record.waveform.dtype == np.float32
    assert record.waveform.flags.c_contiguous
    np.testing.assert_array_equal(record.waveform, np.tile([72.0, 71.0, 70.0], (50, 1)))
    assert (record.p_samples, record.s_samples) == ([12], [22])
    assert type(record.p_samples[0]) is int
    assert (record.back_azimuth_deg, record.distance_km, record.polarity) == (210.0, 8.0, 1)
    assert record.magnitude == pytest.approx(np.linspace(1, 4, N)[7])
    assert record.snr_db == (3.0, 2.0, 1.0)  # stored E, N, Z
    noise = source[np.int64(2)]
    assert noise.p_samples == noise.s_samples == []
    assert source.trace_name(1) == "TA.0_ä"


def test_files_opened_stay_bounded(dataset):
    source = WaveformSource(dataset, np.arange(N), max_open_files=2)
    for _ in range(2):
        for i in range(N):
            assert source[i].waveform[0, 2] == 10 * i
            assert len(source._open) <= 2


def test_pickled_source_is_small_and_reads_again(dataset):
    source = WaveformSource(dataset, np.arange(N))
    expected = source[3]
    data = pickle.dumps(source)
    assert b"pandas" not in data
    again = pickle.loads(data)
    assert len(again._open) == 0
    np.testing.assert_array_equal(again[3].waveform, expected.waveform)


def _first_values(source):
    return [float(source[i].waveform[0, 2]) for i in range(len(source))]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*fork.*:RuntimeWarning")
def test_forked_process_opens_its_own_files(dataset):
    source = WaveformSource(dataset, np.arange(N))
    values = _first_values(source)
    handles = source._open
    receiver, sender = multiprocessing.get_context("fork").Pipe(duplex=False)

    def child():
        sender.send((_first_values(source), source._open is handles))

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    assert receiver.poll(30)
    assert receiver.recv() == (values, False)
    process.join(30)
    assert process.exitcode == 0
    assert source._open is handles
    assert _first_values(source) == values


def test_threads_share_a_source(dataset):
    source = WaveformSource(dataset, np.arange(N), max_open_files=1)
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(_first_values(source))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert results == [[10.0 * i for i in range(N)]] * 4


def test_transposed_trace(dataset):
    change(dataset, 4, trace(4).T)
    waveform = WaveformSource(dataset, np.arange(N)).waveform(4)
    np.testing.assert_array_equal(waveform, trace(4)[:, ::-1])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (None, "not in the group 'data'"),
        (np.zeros((50, 2), np.float32), r"shape \(50, 2\)"),
        (np.zeros(150, np.float32), r"shape \(150,\)"),
        (np.zeros((3, 3), np.float32), "does not tell samples from components"),
        (np.zeros((0, 3), np.float32), "has 0 samples"),
        (np.full((50, 3), np.nan, np.float32), "50 samples that are not finite, the first at 0"),
        (np.where(np.arange(150).reshape(50, 3) == 10, np.inf, 0.0), "1 samples .* first at 3"),
        (np.full((50, 3), 1e300), "not finite"),
        (np.full((50, 3), b"text"), "not numbers"),
        (np.full((50, 3), 1j), "not numbers"),
    ],
)
def test_bad_trace(dataset, data, reason):
    change(dataset, 5, data)
    source = WaveformSource(dataset, np.arange(N))
    with pytest.raises(BadTrace, match=reason) as raised:
        source[5]
    error = pickle.loads(pickle.dumps(raised.value))
    assert error.file.endswith("part_2.hdf5")
    assert error.trace_name == "TA.5_ä"
    assert str(error) == str(raised.value)
    assert "TA.5_ä" in str(error)
    assert source[4].waveform[0, 2] == 40  # the others are not affected


def test_missing_and_damaged_file(dataset):
    (dataset.path / "part_0.hdf5").unlink()
    (dataset.path / "part_1.hdf5").write_bytes(b"not an HDF5 file")
    source = WaveformSource(dataset, np.arange(N))
    for index in (0, 2):
        with pytest.raises(BadTrace, match=rf"part_{index // 2}\.hdf5"):
            source[index]
    assert source[4].waveform[0, 2] == 40


def test_damaged_compressed_trace(dataset):
    path = dataset.path / "part_3.hdf5"
    name = dataset.table["trace_name"][6]
    with h5py.File(path, "a") as h5:
        del h5[f"data/{name}"]
        noise = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
        stored = h5.create_dataset(f"data/{name}", data=noise, compression="gzip")
        place = stored.id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[place.byte_offset : place.byte_offset + place.size] = b"\xff" * place.size
    path.write_bytes(content)
    with pytest.raises(BadTrace, match=r"TA\.6_ä"):
        WaveformSource(dataset, np.arange(N))[6]


def test_component_order_must_be_complete(dataset):
    with pytest.raises(ValueError, match="'ZZN'"):
        WaveformSource(replace(dataset, component_order="ZZN"), np.arange(N))
