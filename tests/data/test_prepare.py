"""Preparing a dataset: what comes out is the same one."""

import dataclasses
import json

import h5py
import numpy as np
import pandas as pd
import pytest

from seismollm_jax.data import catalogue, prepare, prepared
from seismollm_jax.data.__main__ import main
from seismollm_jax.data.catalogue import fingerprint, open_dataset, split_for
from tests import setups
from tests.data.preparing import (
    assert_same_records,
    everything,
    run,
)


def test_the_same_dataset_comes_out(builtin, packed):
    found = prepared.read(packed)
    assert (found.name, found.sampling_rate_hz) == (builtin.name, builtin.sampling_rate_hz)
    assert fingerprint(found) == fingerprint(builtin)
    assert found.report == builtin.report
    changed = ["file", "component_order", "address"]
    pd.testing.assert_frame_equal(
        found.table.drop(columns=changed), builtin.table.drop(columns=changed[:2])
    )
    assert_same_records(builtin, found)
    names = {p.name for p in packed.iterdir()}
    files = {prepare.shard_name(i, 7) for i in range(7)}
    assert names == files | {"prepared.json", "index.npz", "unreadable.csv"}
    assert json.loads((packed / "prepared.json").read_text())["fingerprint"] == fingerprint(builtin)


def test_splits_agree(builtin, packed):
    data = setups.config("picking", packed)["data"]
    found = open_dataset({**data, "format": "prepared"})
    for by in ("row", "event"):
        how = {**data, "split": {**data["split"], "by": by}}
        parts = [split_for(d, how, needs=("p_sample",), uses_noise=True) for d in (builtin, found)]
        assert parts[0].hash == parts[1].hash


@pytest.mark.parametrize(("dtype", "worst_db"), [("int16", 60), ("float16", 65)])
def test_half_the_size(builtin, packed, tmp_path, dtype, worst_db):
    summary = run(builtin, tmp_path / "out", dtype=dtype)
    whole, half = (
        sum(p.stat().st_size for p in place.glob("shard*")) for place in (packed, tmp_path / "out")
    )
    assert half < 0.6 * whole
    assert worst_db < summary.accuracy.worst_snr_db < 100
    assert summary.accuracy.largest_error < 0.05
    one, other = everything(builtin), everything(prepared.read(tmp_path / "out"))
    for i in range(len(one)):
        before, after = one[i].waveform, other[i].waveform
        off = np.abs(after - before).max(axis=0)
        assert (off <= 1.01 * summary.accuracy.largest_error * before.std(axis=0) + 1e-12).all()


def test_compressed(builtin, packed, tmp_path):
    summary = run(builtin, tmp_path / "out", compress=True)
    assert summary.bytes < 0.9 * sum(p.stat().st_size for p in packed.iterdir())
    assert_same_records(builtin, prepared.read(tmp_path / "out"))


def test_resampled_as_in_training(builtin, tmp_path):
    table = builtin.table.iloc[:6].copy()
    table["sampling_rate_hz"] = np.where(np.arange(len(table)) % 2, 200.0, 66.7).astype(np.float32)
    mixed = dataclasses.replace(builtin, table=table)
    run(mixed, tmp_path / "out", sampling_rate_hz=66.7)
    found = prepared.read(tmp_path / "out")
    assert found.sampling_rate_hz == 66.7
    assert "rows resampled from 200 to 66.7 Hz" in found.report.counts
    reopened = catalogue.at_rate(found, 66.7)
    assert reopened.report == found.report  # nothing more to do
    assert_same_records(catalogue.at_rate(mixed, 66.7), reopened)


def test_kept_at_their_own_rates(builtin, tmp_path):
    table = builtin.table.copy()
    table.loc[:20, "sampling_rate_hz"] = np.float32(50)
    mixed = dataclasses.replace(builtin, table=table)
    run(mixed, tmp_path / "out")
    found = prepared.read(tmp_path / "out")
    assert found.table["sampling_rate_hz"].tolist() == table["sampling_rate_hz"].tolist()
    assert not any("resampled" in text for text in found.report.counts)
    assert_same_records(catalogue.at_rate(mixed, 100), catalogue.at_rate(found, 100))


def test_one_component(builtin, tmp_path):
    """A trace that lacks components is kept as the record that it makes."""
    name = builtin.table["trace_name"].iloc[0]
    with h5py.File(tmp_path / "z.hdf5", "w") as h5:
        h5[f"data/{name}"] = np.arange(40, dtype=np.int32)[:, None]
    table = builtin.table.iloc[:1].copy()
    table["file"] = pd.Categorical(["z.hdf5"])
    table["component_order"] = pd.Categorical(["Z"])
    dataset = dataclasses.replace(builtin, table=table, path=tmp_path)
    run(dataset, tmp_path / "out", dtype="int16")
    waveform = everything(prepared.read(tmp_path / "out"))[0].waveform
    np.testing.assert_array_equal(waveform, np.arange(40)[:, None] * [1, 0, 0])


def test_a_prepared_dataset_can_be_prepared(builtin, packed, tmp_path):
    run(prepared.read(packed), tmp_path / "out", shard_traces=25)
    assert_same_records(builtin, prepared.read(tmp_path / "out"))


def test_processes_write_the_same(builtin, packed, tmp_path):
    told: list[int] = []
    run(builtin, tmp_path / "out", workers=2, progress=told.append)
    assert sorted(told) == [4, 10, 10, 10, 10, 10, 10]
    assert prepared.describe(tmp_path / "out") == prepared.describe(packed)
    assert prepared.verify(tmp_path / "out") == []


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
def test_arguments_out_of_range(builtin, tmp_path, options, message):
    with pytest.raises(ValueError, match=message or "shard of 0 traces"):
        run(builtin, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_other_files_are_not_touched(builtin, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="holds other files"):
        run(builtin, tmp_path)
    with pytest.raises(ValueError, match="gcloud storage cp"):
        run(builtin, "gs://bucket/folder")


def test_command_line(data_folder, builtin, tmp_path, capsys):
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
