"""Reading prepared datasets, whole and damaged, in any process."""

import json
import multiprocessing
import os
import pickle

import numpy as np
import pytest

from seismollm_jax.data import prepare, prepared, stead
from seismollm_jax.data.catalogue import fingerprint
from seismollm_jax.data.sources import BadTrace
from seismollm_jax.data.table_files import write_table
from tests.data.preparing import SHARD, assert_same_records, everything, flip_a_bit


def test_damage_is_a_bad_trace(packed_copy):
    path = packed_copy / prepare.shard_name(0, 7)
    data = path.read_bytes()
    flip_a_bit(path)
    readable = []
    source = everything(prepared.read(packed_copy))
    for i in range(SHARD):
        try:
            readable.append(source[i])
        except BadTrace as error:
            assert "orrupt" in error.reason  # noqa: PT017
    assert len(readable) == SHARD - 1
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(BadTrace, match=r"verify|orrupt|not a readable"):
        everything(prepared.read(packed_copy))[SHARD - 1]
    path.write_bytes(b"")
    with pytest.raises(BadTrace, match="is not a readable ArrayRecord file"):
        everything(prepared.read(packed_copy))[0]


def test_files_that_do_not_belong_together(packed_copy, builtin):
    description = json.loads((packed_copy / "prepared.json").read_text())
    description["source"]["table"] = "merge.csv"
    (packed_copy / "prepared.json").write_text(json.dumps(description))
    assert len(prepared.read(packed_copy, table="merge.csv").table) == 64
    with pytest.raises(ValueError, match=r"prepared from the table 'merge\.csv'"):
        prepared.read(packed_copy, table="chunks")
    (packed_copy / prepare.shard_name(3, 7)).unlink()
    with pytest.raises(FileNotFoundError, match=r"00003.* \(1 of 7 shards missing\)"):
        prepared.read(packed_copy)
    write_table(packed_copy / "index.npz", builtin.table.iloc[:9])
    with pytest.raises(ValueError, match=r"index\.npz has 9 rows and prepared\.json says 64"):
        prepared.read(packed_copy)
    for text in ("", "[]", '{"kind": "x"}'):
        (packed_copy / "prepared.json").write_text(text)
        with pytest.raises(ValueError, match="does not describe a prepared dataset"):
            prepared.read(packed_copy)
    (packed_copy / "prepared.json").write_text(json.dumps({"kind": prepared.KIND, "version": 99}))
    with pytest.raises(ValueError, match="version 99; this release reads version 1"):
        prepared.read(packed_copy)
    (packed_copy / "prepared.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"prepared\.json"):
        prepared.read(packed_copy)


def test_magnitude_types_as_for_stead(data_folder, packed):
    kinds = stead.read(data_folder).table["magnitude_type"].dropna().unique()
    for kind in kinds:
        expected = stead.read(data_folder, magnitude_type=kind.upper())
        found = prepared.read(packed, magnitude_type=kind.upper())
        assert fingerprint(found) == fingerprint(expected)
        assert_same_records(expected, found)
    with pytest.raises(ValueError, match=r"no row of .* has magnitude type 'zz'; it has: "):
        prepared.read(packed, magnitude_type="zz")


def test_sources_travel_and_forget_their_files(packed):
    source = everything(prepared.read(packed))
    expected = source[5].waveform
    again = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(again[5].waveform, expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*fork.*:RuntimeWarning")
def test_forked_processes_read(packed):
    source = everything(prepared.read(packed))
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
