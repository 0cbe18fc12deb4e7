"""Preparing a dataset, and reading what comes out, from local and remote folders."""

import dataclasses
import importlib
import json
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import fsspec
import h5py
import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from seismollm_jax.data import catalogue, prepare, prepared, remote, shards, stead
from seismollm_jax.data.__main__ import main
from seismollm_jax.data.catalogue import fingerprint, open_dataset, split_for
from seismollm_jax.data.detect import SETTINGS, detect_format, open_found
from seismollm_jax.data.packing import Accuracy, UnusablePart, pack, unpack
from seismollm_jax.data.records import Dataset
from seismollm_jax.data.sources import BadTrace, WaveformSource
from seismollm_jax.data.table_files import read_table, write_table
from tests import setups

SHARD = 10  # traces in a shard of the 64 of the built-in dataset: 7 shards
BUCKET = "memory://bucket/set"


@pytest.fixture(scope="module")
def source(data_folder: Path) -> Dataset:
    return stead.read(data_folder)


@pytest.fixture(scope="module")
def folder(source: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in dataset, prepared in float32; not to be changed."""
    output = tmp_path_factory.mktemp("prepared") / "set"
    run(source, output)
    return output


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(folder, tmp_path / "copy")


def run(dataset: Dataset, output: Path, **options: Any) -> prepare.Summary:
    return prepare.prepare(
        dataset, output, **{"source_format": "stead", "shard_traces": SHARD, **options}
    )


def everything(dataset: Dataset) -> WaveformSource:
    return WaveformSource(dataset, np.arange(len(dataset.table)))


def assert_same_records(first: Dataset, second: Dataset) -> None:
    one, other = everything(first), everything(second)
    assert len(one) == len(other) > 0
    for i in range(len(one)):
        expected, found = dataclasses.asdict(one[i]), dataclasses.asdict(other[i])
        np.testing.assert_array_equal(found.pop("waveform"), expected.pop("waveform"))
        np.testing.assert_equal(found, expected)


def break_traces(data_folder: Path, folder: Path, rows: list[int]) -> Dataset:
    """A copy of the built-in dataset without the waveforms of some rows."""
    shutil.copytree(data_folder, folder)
    dataset = stead.read(folder)
    with h5py.File(folder / "merge.hdf5", "a") as h5:
        for row in rows:
            del h5[f"data/{dataset.table['trace_name'].iloc[row]}"]
    return dataset


# Packing

WAVEFORMS = hnp.arrays(
    np.float32,
    st.tuples(st.integers(2, 40), st.just(3)),
    elements=st.floats(-(2.0**120), 2.0**120, width=32),
)


@given(WAVEFORMS)
def test_float32_is_exact(waveform):
    found = unpack(pack(waveform, "float32"))
    np.testing.assert_array_equal(found.T.view(np.uint32), waveform.view(np.uint32))


@given(WAVEFORMS)
def test_int16_is_within_a_step_of_the_range(waveform):
    found = unpack(pack(waveform, "int16")).T.astype(np.float64)
    wide = waveform.astype(np.float64)
    step = np.maximum((wide.max(axis=0) - wide.min(axis=0)) / 65532, np.finfo(np.float32).tiny)
    rounding = np.spacing(np.abs(waveform).max(axis=0)).astype(np.float64)
    assert (np.abs(found - wide) <= 0.5001 * step + 1.5 * rounding).all()
    assert (found[waveform == 0] == 0).all()


@given(WAVEFORMS)
def test_float16_is_within_its_precision_of_the_median(waveform):
    found = unpack(pack(waveform, "float16")).T.astype(np.float64)
    wide = waveform.astype(np.float64)
    distance = np.abs(wide - np.median(wide, axis=0))
    finest = distance.max(axis=0) * 2.0**-37  # of numbers too small for all 11 bits
    rounding = np.spacing(np.abs(waveform).max(axis=0)).astype(np.float64)
    assert (np.abs(found - wide) <= distance * 2.0**-11 + finest + 2 * rounding).all()


@pytest.mark.parametrize("dtype", ["int16", "float16"])
@pytest.mark.parametrize("value", [0.0, 1e-30, -7.3, 3.4e38])
def test_constant_components_are_exact(dtype, value):
    waveform = np.full((50, 3), value, np.float32)
    np.testing.assert_array_equal(unpack(pack(waveform, dtype)).T, waveform)


@given(hnp.arrays(np.int32, (30, 3), elements=st.integers(-32766, 32766)), st.integers(-9999, 9999))
def test_int16_keeps_counts_exactly(counts, mean):
    waveform = (counts + mean).astype(np.float32)
    np.testing.assert_array_equal(unpack(pack(waveform, "int16")).T, waveform)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
@pytest.mark.parametrize("mean", [0.0, 1e4])
def test_neither_units_nor_a_mean_cost_precision(scale, mean):
    noise = np.random.default_rng(0).normal(size=(6000, 3))
    waveform = (scale * (noise + mean)).astype(np.float32)
    for dtype, wanted in (("int16", 85), ("float16", 70)):
        accuracy = Accuracy()
        accuracy.measure(waveform, pack(waveform, dtype), "x")
        # float32 itself has no more than 24 bits for mean and noise together: exact, or nearly.
        assert accuracy.exact or accuracy.worst_snr_db > wanted


def test_float16_keeps_a_weak_arrival():
    rng = np.random.default_rng(0)
    waveform = rng.normal(size=(2000, 3)).astype(np.float32)
    waveform[1000:] *= 1e5
    weak = waveform[:1000]
    for dtype, good in (("float16", True), ("int16", False)):
        error = unpack(pack(waveform, dtype)).T[:1000] - weak
        assert (np.std(error) < 0.02 * np.std(weak)) == good


def test_accuracy_is_measured_and_added():
    rng = np.random.default_rng(0)
    parts = [Accuracy(), Accuracy()]
    for i, part in enumerate(parts):
        waveform = rng.normal(size=(500, 3)).astype(np.float32)
        waveform[:, 1] = 4  # constant, exact
        waveform[100, 2] = 1000 * (i + 1)
        packed = pack(waveform, "int16")
        part.measure(waveform, packed, f"trace {i}")
        error = unpack(packed).T[:, [0, 2]].astype(float) - waveform[:, [0, 2]]
        deviation = waveform[:, [0, 2]].astype(float).std(0)
        snr = 20 * np.log10(deviation / np.sqrt((error**2).mean(0)))
        assert part.worst_snr_db == pytest.approx(snr.min())
        assert part.largest_error == pytest.approx((np.abs(error).max(0) / deviation).max())
    whole = Accuracy()
    whole.measure(np.ones((5, 3), np.float32), pack(np.ones((5, 3), np.float32), "int16"), "flat")
    assert "all 1 traces are kept exactly" in str(whole)
    for part in parts:
        whole.add(Accuracy(**part.as_dict()))
    assert (whole.traces, whole.exact) == (3, 1)
    worst = min(parts, key=lambda part: part.worst_snr_db)
    assert whole.worst_trace == worst.worst_trace
    assert whole.snr_sum_db == pytest.approx(sum(part.worst_snr_db for part in parts))
    assert f"at worst {worst.worst_snr_db:.1f} dB ({worst.worst_trace})" in str(whole)


@pytest.mark.parametrize("data", [b"", b"abc", bytes(40), b"\x09" * 68])
def test_other_bytes_are_refused(data):
    with pytest.raises(UnusablePart):
        unpack(data)


# Tables


def test_tables_come_back_as_they_were(source, tmp_path):
    table = source.table.copy()
    table["address"] = [None if i % 7 == 0 else f"bucket$é{i}" for i in range(len(table))]
    table["flag"] = np.arange(len(table)) % 2 == 0
    table.loc[3, "origin_time"] = pd.NaT
    write_table(tmp_path / "t.npz", table)
    found = read_table(tmp_path / "t.npz")
    pd.testing.assert_frame_equal(found, table)
    assert [p.name for p in tmp_path.iterdir()] == ["t.npz"]


def test_tables_that_cannot_be_kept_or_read(tmp_path):
    with pytest.raises(ValueError, match="column x mixes"):
        write_table(tmp_path / "t.npz", pd.DataFrame({"x": ["a", 1]}))
    for data in (b"", b"nothing", b"PK\x03\x04 and so on"):
        (tmp_path / "t.npz").write_bytes(data)
        with pytest.raises(ValueError, match=r"t\.npz is not a readable table"):
            read_table(tmp_path / "t.npz")


# Prepared datasets


def test_the_same_dataset_comes_out(source, folder):
    found = prepared.read(folder)
    assert (found.name, found.sampling_rate_hz) == (source.name, source.sampling_rate_hz)
    assert fingerprint(found) == fingerprint(source)
    assert found.report == source.report
    changed = ["file", "component_order", "address"]
    pd.testing.assert_frame_equal(
        found.table.drop(columns=changed), source.table.drop(columns=changed[:2])
    )
    assert_same_records(source, found)
    names = {p.name for p in folder.iterdir()}
    files = {prepare.shard_name(i, 7) for i in range(7)}
    assert names == files | {"prepared.json", "index.npz", "unreadable.csv"}
    assert json.loads((folder / "prepared.json").read_text())["fingerprint"] == fingerprint(source)


def test_splits_agree(source, folder):
    data = setups.config("picking", folder)["data"]
    found = open_dataset({**data, "format": "prepared"})
    for by in ("row", "event"):
        how = {**data, "split": {**data["split"], "by": by}}
        parts = [split_for(d, how, needs=("p_sample",), uses_noise=True) for d in (source, found)]
        assert parts[0].hash == parts[1].hash


@pytest.mark.parametrize(("dtype", "worst_db"), [("int16", 60), ("float16", 65)])
def test_half_the_size(source, folder, tmp_path, dtype, worst_db):
    summary = run(source, tmp_path / "out", dtype=dtype)
    whole, half = (
        sum(p.stat().st_size for p in place.glob("shard*")) for place in (folder, tmp_path / "out")
    )
    assert half < 0.6 * whole
    assert worst_db < summary.accuracy.worst_snr_db < 100
    assert summary.accuracy.largest_error < 0.05
    one, other = everything(source), everything(prepared.read(tmp_path / "out"))
    for i in range(len(one)):
        before, after = one[i].waveform, other[i].waveform
        off = np.abs(after - before).max(axis=0)
        assert (off <= 1.01 * summary.accuracy.largest_error * before.std(axis=0) + 1e-12).all()


def test_compressed(source, folder, tmp_path):
    summary = run(source, tmp_path / "out", compress=True)
    assert summary.bytes < 0.9 * sum(p.stat().st_size for p in folder.iterdir())
    assert_same_records(source, prepared.read(tmp_path / "out"))


def test_resampled_as_in_training(source, tmp_path):
    table = source.table.iloc[:6].copy()
    table["sampling_rate_hz"] = np.where(np.arange(len(table)) % 2, 200.0, 66.7).astype(np.float32)
    mixed = dataclasses.replace(source, table=table)
    run(mixed, tmp_path / "out", sampling_rate_hz=66.7)
    found = prepared.read(tmp_path / "out")
    assert found.sampling_rate_hz == 66.7
    assert "rows resampled from 200 to 66.7 Hz" in found.report.counts
    reopened = catalogue.at_rate(found, 66.7)
    assert reopened.report == found.report  # nothing more to do
    assert_same_records(catalogue.at_rate(mixed, 66.7), reopened)


def test_kept_at_their_own_rates(source, tmp_path):
    table = source.table.copy()
    table.loc[:20, "sampling_rate_hz"] = np.float32(50)
    mixed = dataclasses.replace(source, table=table)
    run(mixed, tmp_path / "out")
    found = prepared.read(tmp_path / "out")
    assert found.table["sampling_rate_hz"].tolist() == table["sampling_rate_hz"].tolist()
    assert not any("resampled" in text for text in found.report.counts)
    assert_same_records(catalogue.at_rate(mixed, 100), catalogue.at_rate(found, 100))


def test_one_component(source, tmp_path):
    """A trace that lacks components is kept as the record that it makes."""
    name = source.table["trace_name"].iloc[0]
    with h5py.File(tmp_path / "z.hdf5", "w") as h5:
        h5[f"data/{name}"] = np.arange(40, dtype=np.int32)[:, None]
    table = source.table.iloc[:1].copy()
    table["file"] = pd.Categorical(["z.hdf5"])
    table["component_order"] = pd.Categorical(["Z"])
    dataset = dataclasses.replace(source, table=table, path=tmp_path)
    run(dataset, tmp_path / "out", dtype="int16")
    waveform = everything(prepared.read(tmp_path / "out"))[0].waveform
    np.testing.assert_array_equal(waveform, np.arange(40)[:, None] * [1, 0, 0])


def test_a_prepared_dataset_can_be_prepared(source, folder, tmp_path):
    run(prepared.read(folder), tmp_path / "out", shard_traces=25)
    assert_same_records(source, prepared.read(tmp_path / "out"))


def test_processes_write_the_same(source, folder, tmp_path):
    told: list[int] = []
    run(source, tmp_path / "out", workers=2, progress=told.append)
    assert sorted(told) == [4, 10, 10, 10, 10, 10, 10]
    assert prepared.describe(tmp_path / "out") == prepared.describe(folder)
    assert prepared.verify(tmp_path / "out") == []


def test_unreadable_traces_stay_in_the_table(data_folder, source, tmp_path):
    dataset = break_traces(data_folder, tmp_path / "in", [0, 13])
    summary = run(dataset, tmp_path / "out", max_bad=2 / 64)
    assert summary.unreadable == 2
    found = prepared.read(tmp_path / "out")
    assert fingerprint(found) == fingerprint(source)
    assert found.report.counts["traces that could not be read when the dataset was prepared"] == 2
    one, other = everything(source), everything(found)
    for i in range(64):
        if i in (0, 13):
            with pytest.raises(BadTrace, match=r"could not be read when .* see unreadable\.csv"):
                other[i]
        else:
            np.testing.assert_array_equal(other[i].waveform, one[i].waveform)
    listed = pd.read_csv(tmp_path / "out" / "unreadable.csv")
    assert listed["row"].tolist() == [0, 13]
    assert listed["trace_name"].tolist() == source.table["trace_name"].iloc[[0, 13]].tolist()
    assert listed["reason"].str.contains("is not in the group 'data'").all()
    # Once they are there, the same call brings them in and leaves the other shards alone.
    shutil.copy(data_folder / "merge.hdf5", tmp_path / "in" / "merge.hdf5")
    again = run(dataset, tmp_path / "out")
    assert (again.kept, again.written, again.unreadable) == (5, 20, 0)
    assert_same_records(source, prepared.read(tmp_path / "out"))


@pytest.mark.parametrize("workers", [1, 2])
def test_too_many_unreadable_traces(data_folder, tmp_path, workers):
    dataset = break_traces(data_folder, tmp_path / "in", [1, 2, 12, 35])
    with pytest.raises(ValueError, match=r"more than 0\.05 of all 64: .*trace .*is not in"):
        run(dataset, tmp_path / "out", workers=workers)
    assert not (tmp_path / "out" / "prepared.json").exists()
    assert run(dataset, tmp_path / "out", max_bad=0.1).unreadable == 4


def test_goes_on_after_an_interruption(source, folder, tmp_path, monkeypatch):
    output = tmp_path / "out"
    written = []

    def killed(shard: shards.Shard) -> dict[str, Any]:
        if len(written) == 3:
            (output / f".{shard.path.name}.partial").write_bytes(b"half of it")
            raise KeyboardInterrupt
        written.append(shard.path.name)
        return shards.write_shard(shard)

    monkeypatch.setattr(prepare, "write_shard", killed)
    with pytest.raises(KeyboardInterrupt):
        run(source, output)
    monkeypatch.undo()
    assert not (output / "prepared.json").exists()
    with pytest.raises(ValueError, match="prepared with other dtype, compress; give another"):
        run(source, output, dtype="int16", compress=True)
    flip_a_bit(output / written[1])
    summary = run(source, output)
    assert (summary.kept, summary.shards, summary.written) == (2, 7, 44)
    assert prepared.describe(output) == prepared.describe(folder)
    assert {p.name for p in output.iterdir()} == {p.name for p in folder.iterdir()}


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_killed_process_leaves_what_is_whole(source, data_folder, tmp_path):
    """Killed for good, after some shards."""
    code = (
        "import os, sys; from seismollm_jax.data import prepare, stead\n"
        "def stop(n, seen=[]):\n"
        "    seen.append(n)\n"
        "    if len(seen) == 3: os.kill(os.getpid(), 9)\n"
        "prepare.prepare(stead.read(sys.argv[1]), sys.argv[2], source_format='stead',\n"
        f"    shard_traces={SHARD}, progress=stop)"
    )
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", code, str(data_folder), str(tmp_path / "out")]
    assert subprocess.run(command, cwd=root, capture_output=True).returncode == -9
    summary = run(source, tmp_path / "out")
    assert (summary.kept, summary.written) == (3, 34)
    assert_same_records(source, prepared.read(tmp_path / "out"))


def test_a_finished_dataset_is_mended(source, copy):
    assert (run(source, copy).kept, run(source, copy).written) == (7, 0)
    (copy / prepare.shard_name(2, 7)).unlink()
    flip_a_bit(copy / prepare.shard_name(4, 7))
    assert len(prepared.verify(copy)) == 2
    assert run(source, copy).kept == 5
    assert prepared.verify(copy) == []


def test_labels_can_be_corrected_without_writing_shards(source, copy):
    table = source.table.copy()
    table.loc[5, "magnitude"] = np.float32(4.25)
    summary = run(dataclasses.replace(source, table=table), copy)
    assert summary.written == 0
    assert prepared.read(copy).table["magnitude"].iloc[5] == 4.25
    assert prepared.verify(copy) == []


def test_other_waveforms_are_not_mixed_in(source, copy):
    shorter = dataclasses.replace(source, table=source.table.iloc[:50].reset_index(drop=True))
    with pytest.raises(ValueError, match="prepared with other waveforms; give another --output"):
        run(shorter, copy)


def test_one_at_a_time(source, copy):
    (copy / "progress").mkdir()
    with (
        FileLock(copy / "progress" / "lock"),
        pytest.raises(ValueError, match="another process is preparing"),
    ):
        run(source, copy)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "int8"}, "dtype is 'int8'; choose from float32, int16, float16"),
        ({"sampling_rate_hz": 0}, "sampling rate is 0 Hz; it must be positive"),
        ({"shard_traces": 0}, None),
        ({"shard_traces": -1}, "shard of -1 traces"),
        ({"max_bad": 1.5}, "max_bad is 1.5"),
    ],
)
def test_arguments_out_of_range(source, tmp_path, options, message):
    with pytest.raises(ValueError, match=message or "shard of 0 traces"):
        run(source, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_other_files_are_not_touched(source, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="holds other files"):
        run(source, tmp_path)
    with pytest.raises(ValueError, match="gcloud storage cp"):
        run(source, "gs://bucket/folder")


# Reading


def test_damage_is_a_bad_trace(copy):
    path = copy / prepare.shard_name(0, 7)
    data = path.read_bytes()
    flip_a_bit(path)
    readable = []
    source = everything(prepared.read(copy))
    for i in range(SHARD):
        try:
            readable.append(source[i])
        except BadTrace as error:
            assert "orrupt" in error.reason  # noqa: PT017
    assert len(readable) == SHARD - 1
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(BadTrace, match=r"verify|orrupt|not a readable"):
        everything(prepared.read(copy))[SHARD - 1]
    path.write_bytes(b"")
    with pytest.raises(BadTrace, match="is not a readable ArrayRecord file"):
        everything(prepared.read(copy))[0]


def test_files_that_do_not_belong_together(copy, source):
    description = json.loads((copy / "prepared.json").read_text())
    description["source"]["table"] = "merge.csv"
    (copy / "prepared.json").write_text(json.dumps(description))
    assert len(prepared.read(copy, table="merge.csv").table) == 64
    with pytest.raises(ValueError, match=r"prepared from the table 'merge\.csv'"):
        prepared.read(copy, table="chunks")
    (copy / prepare.shard_name(3, 7)).unlink()
    with pytest.raises(FileNotFoundError, match=r"00003.* \(1 of 7 shards missing\)"):
        prepared.read(copy)
    write_table(copy / "index.npz", source.table.iloc[:9])
    with pytest.raises(ValueError, match=r"index\.npz has 9 rows and prepared\.json says 64"):
        prepared.read(copy)
    for text in ("", "[]", '{"kind": "x"}'):
        (copy / "prepared.json").write_text(text)
        with pytest.raises(ValueError, match="does not describe a prepared dataset"):
            prepared.read(copy)
    (copy / "prepared.json").write_text(json.dumps({"kind": prepared.KIND, "version": 99}))
    with pytest.raises(ValueError, match="version 99; this release reads version 1"):
        prepared.read(copy)
    (copy / "prepared.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"prepared\.json"):
        prepared.read(copy)


def test_magnitude_types_as_for_stead(data_folder, folder):
    kinds = stead.read(data_folder).table["magnitude_type"].dropna().unique()
    for kind in kinds:
        expected = stead.read(data_folder, magnitude_type=kind.upper())
        found = prepared.read(folder, magnitude_type=kind.upper())
        assert fingerprint(found) == fingerprint(expected)
        assert_same_records(expected, found)
    with pytest.raises(ValueError, match=r"no row of .* has magnitude type 'zz'; it has: "):
        prepared.read(folder, magnitude_type="zz")


def test_sources_travel_and_forget_their_files(folder):
    source = everything(prepared.read(folder))
    expected = source[5].waveform
    again = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(again[5].waveform, expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*fork.*:RuntimeWarning")
def test_forked_processes_read(folder):
    source = everything(prepared.read(folder))
    expected = source[5].waveform
    receiver, sender = multiprocessing.get_context("fork").Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(
        target=lambda: sender.send(source[5].waveform)
    )
    process.start()
    assert receiver.poll(30)
    np.testing.assert_array_equal(receiver.recv(), expected)
    process.join(30)
    assert process.exitcode == 0


# Remote


@pytest.fixture
def bucket(folder, tmp_path, monkeypatch):
    """The prepared dataset in a file system that is not a disk."""
    monkeypatch.setenv(remote.CACHE, str(tmp_path / "cache"))
    monkeypatch.setattr(remote, "PAUSE_S", 0.0)
    system = fsspec.filesystem("memory")
    system.store.clear()
    for path in folder.iterdir():
        system.pipe_file(f"/bucket/set/{path.name}", path.read_bytes())
    yield system
    system.store.clear()


def test_remote_shards_are_fetched_when_wanted(bucket, source, tmp_path):
    settings = setups.config("picking", BUCKET)["data"]
    dataset = open_dataset({**settings, "format": "prepared"})
    assert fingerprint(dataset) == fingerprint(source)

    def cached() -> set[str]:
        return {p.name for p in (tmp_path / "cache").rglob("*.array_record")}

    assert cached() == set()
    records = pickle.loads(pickle.dumps(everything(dataset)))  # as in a worker
    np.testing.assert_array_equal(records[25].waveform, everything(source)[25].waveform)
    assert cached() == {prepare.shard_name(2, 7)}
    bucket.store.clear()  # all that follows comes from the cache
    np.testing.assert_array_equal(everything(dataset)[25].waveform, everything(source)[25].waveform)
    with pytest.raises(BadTrace, match=r"memory://bucket/set/shard-00003.* does not exist"):
        everything(dataset)[35]


def test_a_dataset_written_anew_is_not_taken_from_the_cache(bucket, source, tmp_path):
    assert prepared.read(BUCKET).table["magnitude"].iloc[5] != 4.25
    table = source.table.copy()
    table.loc[5, "magnitude"] = np.float32(4.25)
    run(dataclasses.replace(source, table=table), tmp_path / "new")
    for path in (tmp_path / "new").iterdir():
        bucket.pipe_file(f"/bucket/set/{path.name}", path.read_bytes())
    assert prepared.read(f"{BUCKET}/").table["magnitude"].iloc[5] == 4.25


def test_what_arrives_damaged_is_fetched_again_and_then_refused(bucket, tmp_path, monkeypatch):
    dataset = prepared.read(BUCKET)
    system_class, get_file = type(bucket), type(bucket).get_file
    calls: list[str] = []

    def unreliable(self, name, local, **options):
        calls.append(name)
        if len(calls) == 1:
            raise OSError("the connection was lost")
        get_file(self, name, local, **options)
        if len(calls) == 2:
            Path(local).write_bytes(b"half")

    monkeypatch.setattr(system_class, "get_file", unreliable)
    assert everything(dataset)[0].waveform.shape == (6000, 3)
    assert len(calls) == 3
    name = f"/bucket/set/{prepare.shard_name(1, 7)}"
    bucket.pipe_file(name, bucket.cat_file(name)[:-1])
    with pytest.raises(BadTrace, match=r"3 attempts\): its checksum is not that in prepared\.json"):
        everything(dataset)[12]
    names = {p.name for p in (tmp_path / "cache").rglob("shard*") if p.suffix != ".lock"}
    assert names == {prepare.shard_name(0, 7)}


def test_remote_datasets_are_verified(bucket, capsys):
    assert main(["verify", BUCKET, "--quiet"]) == 0
    assert "8 of 8 files are as they were written" in capsys.readouterr().out
    name = f"/bucket/set/{prepare.shard_name(1, 7)}"
    bucket.pipe_file(name, bytes(len(bucket.cat_file(name))))
    bucket.rm_file(f"/bucket/set/{prepare.shard_name(2, 7)}")
    bucket.pipe_file("/bucket/set/index.npz", b"x")
    assert main(["verify", BUCKET, "--quiet"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert "index.npz has 1 bytes instead of" in lines[0]
    assert lines[1].endswith(
        "shard-00001-of-00007.array_record has another checksum than when it was written"
    )
    assert lines[2] == f"{BUCKET}/shard-00002-of-00007.array_record does not exist"
    assert lines[3] == "5 of 8 files are as they were written"


def test_remote_folders_that_cannot_be_read(bucket, capsys):
    with pytest.raises(FileNotFoundError, match=r"memory://nothing/prepared\.json does not exist"):
        prepared.read("memory://nothing")
    with pytest.raises(ValueError, match="unknown kind of address"):
        prepared.read("nosuchkind://bucket/set")
    assert main(["verify", "memory://nothing"]) == 2
    assert "error: memory://nothing/prepared.json does not exist" in capsys.readouterr().err


def test_a_package_that_is_not_installed(monkeypatch):
    def missing(address: str):
        raise ImportError("Please install gcsfs to access Google Storage")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(ImportError, match=r"gs://b/set/prepared.json needs .*pip install gcsfs"):
        prepared.read("gs://b/set")


# The command line, and formats found by looking


def test_command_line(data_folder, source, tmp_path, capsys):
    output = tmp_path / "out"
    command = ["prepare", str(data_folder), "--output", str(output), "--quiet", "--workers", "1"]
    assert main([*command, "--dtype", "int16", "--shard-traces", "30"]) == 0
    text = capsys.readouterr().out
    assert f"{data_folder}: stead, 64 traces" in text
    assert "64 traces in 3 shards" in text
    assert "traces are kept exactly; the others have " in text
    assert f"--config.data.format=prepared --config.data.path={output}" in text
    assert main([*command, "--dtype", "int16", "--shard-traces", "30"]) == 0
    assert "3 shards were there already, and whole" in capsys.readouterr().out
    assert main(["verify", str(output), "--quiet"]) == 0
    assert main(command) == 2
    assert "error: " in capsys.readouterr().err
    assert main(["prepare", str(tmp_path / "no"), "--output", str(output)]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert main(["synthetic", "--output", str(tmp_path / "s"), "--traces", "8", "--quiet"]) == 0
    assert (tmp_path / "s" / "merge.hdf5").is_file()
    with pytest.raises(SystemExit) as status:
        main(["prepare", "--help"])
    assert status.value.code == 0
    assert "--max-bad" in capsys.readouterr().out


def test_options_of_a_format(data_folder, folder):
    name, dataset = open_found(data_folder, options=["magnitude_type=ml"])
    assert name == "stead"
    assert set(dataset.table["magnitude_type"]) == {"ml"}
    assert open_found(data_folder, "builtin")[0] == "stead"
    assert open_found(folder)[0] == "prepared"
    for wrong in ("magnitude", "folder.x=3", "nothing=1", "folder.before_s.x=2"):
        with pytest.raises(ValueError, match=r"is not NAME=VALUE .*folder\.before_s"):
            open_found(data_folder, options=[wrong])
    with pytest.raises(ValueError, match="format is 'xyz'; choose from"):
        open_found(data_folder, "xyz")
    assert SETTINGS["magnitude_type"] == ""  # options change nothing for later calls


def test_settings_are_those_of_a_configuration():
    config = importlib.import_module("configs.picking").get_config("stead").to_dict()["data"]
    assert {name: config[name] for name in SETTINGS} == SETTINGS


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["prepared.json", "index.npz"], "prepared"),
        (["merge.csv", "merge.hdf5"], "stead"),
        (["chunk2.csv"], "stead"),
        (["eq_MLmag.csv"], "stead"),
        (["metadata.csv", "waveforms.hdf5"], "seisbench"),
        (["metadata_2014.csv", "chunks"], "seisbench"),
        (["DiTing330km_part_0.csv"], "diting"),
        (["DiTing330km_light.csv"], "diting"),
        (["2020/XX/day.mseed", "picks.csv"], "folder"),
        (["a/b.SAC"], "folder"),
    ],
)
def test_formats_are_found_by_looking(tmp_path, files, expected):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert detect_format(tmp_path) == expected
    if "/" not in files[0]:
        assert detect_format(tmp_path / files[0]) == expected


def test_formats_that_cannot_be_told(tmp_path):
    with pytest.raises(ValueError, match="none of the files by which"):
        detect_format(tmp_path)
    (tmp_path / "merge.csv").touch()
    (tmp_path / "metadata.csv").touch()
    with pytest.raises(ValueError, match="tables of seisbench and stead; say which with --format"):
        detect_format(tmp_path)
    (tmp_path / "mine.csv").touch()
    assert detect_format(tmp_path / "mine.csv") == "stead"
    assert detect_format("gs://bucket/set") == "prepared"
    assert detect_format("seisbench:ETHZ") == "seisbench"
    with pytest.raises(FileNotFoundError, match="does not exist"):
        detect_format(tmp_path / "nothing")
