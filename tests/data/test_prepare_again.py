"""Preparing what is partly there: after interruptions, damage, and for traces that are lost."""

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock

from seismollm_jax.data import prepare, prepared, shards
from seismollm_jax.data.catalogue import fingerprint
from seismollm_jax.data.sources import BadTrace
from tests.data.preparing import (
    SHARD,
    assert_same_records,
    break_traces,
    everything,
    flip_a_bit,
    run,
)


def test_unreadable_traces_stay_in_the_table(data_folder, builtin, tmp_path):
    dataset = break_traces(data_folder, tmp_path / "in", [0, 13])
    summary = run(dataset, tmp_path / "out", max_bad=2 / 64)
    assert summary.unreadable == 2
    found = prepared.read(tmp_path / "out")
    assert fingerprint(found) == fingerprint(builtin)
    assert found.report.counts["traces that could not be read when the dataset was prepared"] == 2
    one, other = everything(builtin), everything(found)
    for i in range(64):
        if i in (0, 13):
            with pytest.raises(BadTrace, match=r"could not be read when .* see unreadable\.csv"):
                other[i]
        else:
            np.testing.assert_array_equal(other[i].waveform, one[i].waveform)
    listed = pd.read_csv(tmp_path / "out" / "unreadable.csv")
    assert listed["row"].tolist() == [0, 13]
    assert listed["trace_name"].tolist() == builtin.table["trace_name"].iloc[[0, 13]].tolist()
    assert listed["reason"].str.contains("is not in the group 'data'").all()
    # Once they are there, the same call brings them in and leaves the other shards alone.
    shutil.copy(data_folder / "merge.hdf5", tmp_path / "in" / "merge.hdf5")
    again = run(dataset, tmp_path / "out")
    assert (again.kept, again.written, again.unreadable) == (5, 20, 0)
    assert_same_records(builtin, prepared.read(tmp_path / "out"))


@pytest.mark.parametrize("workers", [1, 2])
def test_too_many_unreadable_traces(data_folder, tmp_path, workers):
    dataset = break_traces(data_folder, tmp_path / "in", [1, 2, 12, 35])
    with pytest.raises(ValueError, match=r"more than 0\.05 of all 64: .*trace .*is not in"):
        run(dataset, tmp_path / "out", workers=workers)
    assert not (tmp_path / "out" / "prepared.json").exists()
    assert run(dataset, tmp_path / "out", max_bad=0.1).unreadable == 4


def test_goes_on_after_an_interruption(builtin, packed, tmp_path, monkeypatch):
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
        run(builtin, output)
    monkeypatch.undo()
    assert not (output / "prepared.json").exists()
    with pytest.raises(ValueError, match="prepared with other dtype, compress; give another"):
        run(builtin, output, dtype="int16", compress=True)
    flip_a_bit(output / written[1])
    summary = run(builtin, output)
    assert (summary.kept, summary.shards, summary.written) == (2, 7, 44)
    assert prepared.describe(output) == prepared.describe(packed)
    assert {p.name for p in output.iterdir()} == {p.name for p in packed.iterdir()}


def test_a_killed_process_leaves_what_is_whole(builtin, data_folder, tmp_path):
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
    summary = run(builtin, tmp_path / "out")
    assert (summary.kept, summary.written) == (3, 34)
    assert_same_records(builtin, prepared.read(tmp_path / "out"))


def test_a_finished_dataset_is_mended(builtin, packed_copy):
    assert (run(builtin, packed_copy).kept, run(builtin, packed_copy).written) == (7, 0)
    (packed_copy / prepare.shard_name(2, 7)).unlink()
    flip_a_bit(packed_copy / prepare.shard_name(4, 7))
    assert len(prepared.verify(packed_copy)) == 2
    assert run(builtin, packed_copy).kept == 5
    assert prepared.verify(packed_copy) == []


def test_labels_can_be_corrected_without_writing_shards(builtin, packed_copy):
    table = builtin.table.copy()
    table.loc[5, "magnitude"] = np.float32(4.25)
    summary = run(dataclasses.replace(builtin, table=table), packed_copy)
    assert summary.written == 0
    assert prepared.read(packed_copy).table["magnitude"].iloc[5] == 4.25
    assert prepared.verify(packed_copy) == []


def test_other_waveforms_are_not_mixed_in(builtin, packed_copy):
    shorter = dataclasses.replace(builtin, table=builtin.table.iloc[:50].reset_index(drop=True))
    with pytest.raises(ValueError, match="prepared with other waveforms; give another --output"):
        run(shorter, packed_copy)


def test_one_at_a_time(builtin, packed_copy):
    (packed_copy / "progress").mkdir()
    with (
        FileLock(packed_copy / "progress" / "lock"),
        pytest.raises(ValueError, match="another process is preparing"),
    ):
        run(builtin, packed_copy)
