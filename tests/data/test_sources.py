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
from hypothesis import given
from hypothesis import strategies as st

from seismollm_jax.data import stead
from seismollm_jax.data.records import Record
from seismollm_jax.data.resampling import resample_trace
from seismollm_jax.data.sources import BadTrace, WaveformSource, to_zne
from seismollm_jax.data.storage import parse_index

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
    assert record.waveform.flags.f_contiguous
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


def with_column(dataset, **columns):
    """The dataset with other values in columns of its table."""
    return replace(dataset, table=dataset.table.assign(**columns))


@pytest.mark.parametrize("order", ["ZZN", "XYZ", ""])
def test_component_order_that_is_none(dataset, order):
    wrong = with_column(dataset, component_order=pd.Categorical([order] * N))
    with pytest.raises(BadTrace, match=f"component order '{order}'" if order else "shape"):
        WaveformSource(wrong, np.arange(N))[0]


def test_every_row_has_its_own_component_order(dataset):
    orders = pd.Categorical(["ENZ", "ZNE", "z12", "ENZ", *["ENZ"] * (N - 4)])
    source = WaveformSource(with_column(dataset, component_order=orders), np.arange(N))
    plain = WaveformSource(dataset, np.arange(N))
    np.testing.assert_array_equal(source[0].waveform, plain[0].waveform)
    for i in (1, 2):  # as stored: E, N, Z
        np.testing.assert_array_equal(source[i].waveform, plain[i].waveform[:, ::-1])


@pytest.mark.parametrize(("order", "places"), [("Z", [0]), ("NZ", [1, 0]), ("12", [1, 2])])
def test_components_that_are_missing_are_zero(order, places):
    data = np.random.default_rng(0).normal(size=(9, len(order))).astype(np.float32)
    found = to_zne(data, order)
    np.testing.assert_array_equal(found[:, places], data)
    assert not found[:, [i for i in range(3) if i not in places]].any()
    np.testing.assert_array_equal(to_zne(data.T, order, "CW"), found)


def test_square_arrays_need_the_order_of_dimensions():
    data = np.arange(9.0).reshape(3, 3)
    with pytest.raises(ValueError, match=r"\(3, 3\), which does not tell"):
        to_zne(data, "ZNE")
    np.testing.assert_array_equal(to_zne(data, "ZNE", "CW"), to_zne(data, "ZNE", "WC").T)


def test_records_are_resampled_and_their_picks_with_them(dataset):
    slow = replace(with_column(dataset, sampling_rate_hz=np.float32(50)), sampling_rate_hz=100.0)
    before, after = (WaveformSource(d, np.arange(N))[0] for d in (dataset, slow))
    assert after.waveform.dtype == np.float32
    assert len(after.waveform) in (2 * len(before.waveform), 2 * len(before.waveform) - 1)
    assert after.p_samples == [2 * p for p in before.p_samples]
    assert after.s_samples == [2 * s for s in before.s_samples]


def test_nothing_folds_back_when_records_are_resampled():
    time = np.arange(4000) / 200
    tones = np.stack([np.sin(2 * np.pi * f * time) for f in (5, 55, 20)], axis=1)
    found = resample_trace(tones, 200, 100)[200:-200]
    expected = tones[::2][200:-200]
    assert np.abs(found[:, [0, 2]] - expected[:, [0, 2]]).max() < 1e-3
    assert np.abs(found[:, 1]).max() < 1e-3  # above the new Nyquist frequency


def test_unknown_storage(dataset):
    with pytest.raises(ValueError, match=r"stored as 'tape'; known: hdf5"):
        WaveformSource(replace(dataset, storage="tape"), np.arange(N))


# -- addresses -----------------------------------------------------------------------------------


@given(st.lists(st.one_of(st.integers(0, 5), st.slices(6)), min_size=1, max_size=3))
def test_addresses_index_as_they_are_written(index):
    def written(part):
        if isinstance(part, int):
            return str(part)
        return ":".join("" if x is None else str(x) for x in (part.start, part.stop, part.step))

    assert parse_index(",".join(map(written, index))) == tuple(index)


@pytest.mark.parametrize("text", ["x", "1,", "__import__('os')", "1:2:3:4", "..."])
def test_other_addresses_are_refused(text):
    with pytest.raises(ValueError, match="numbers and slices"):
        parse_index(text)


def test_traces_in_buckets(tmp_path, dataset):
    bucket = np.random.default_rng(1).normal(size=(4, 3, 50)).astype(np.float32)
    with h5py.File(tmp_path / "w.hdf5", "w") as file:
        file["data/bucket0"] = bucket
    table = dataset.table.assign(
        address="bucket0$2,:3,:40",
        file=pd.Categorical(["w.hdf5"] * N),
        component_order=pd.Categorical(["ZNE"] * N),
    )
    buckets = replace(dataset, table=table, path=tmp_path)
    found = WaveformSource(buckets, np.arange(N)).waveform(0)
    np.testing.assert_array_equal(found, bucket[2, :, :40].T)
