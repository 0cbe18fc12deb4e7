"""Prepared datasets in a file system that is not a disk."""

import dataclasses
import pickle
from pathlib import Path

import fsspec
import numpy as np
import pytest

from seismollm_jax.data import prepare, prepared, remote
from seismollm_jax.data.__main__ import main
from seismollm_jax.data.catalogue import fingerprint, open_dataset
from seismollm_jax.data.pipeline import Batch, SampleMaker, Stream, eval_batches
from seismollm_jax.data.records import Dataset, Sample
from seismollm_jax.data.sample import SampleOptions
from seismollm_jax.data.sources import BadTrace
from tests import setups
from tests.data.preparing import assert_same_records, everything, run

BUCKET = "memory://bucket/set"


@pytest.fixture
def bucket(packed, tmp_path, monkeypatch):
    """The prepared dataset in a file system that is not a disk."""
    monkeypatch.setenv(remote.CACHE, str(tmp_path / "cache"))
    monkeypatch.setattr(remote, "PAUSE_S", 0.0)
    monkeypatch.setattr(remote, "_lost", {})
    system = fsspec.filesystem("memory")
    system.store.clear()
    for path in packed.iterdir():
        system.pipe_file(f"/bucket/set/{path.name}", path.read_bytes())
    yield system
    system.store.clear()


def test_remote_shards_are_fetched_when_wanted(bucket, builtin, tmp_path):
    settings = setups.config("picking", BUCKET)["data"]
    dataset = open_dataset({**settings, "format": "prepared"})
    assert fingerprint(dataset) == fingerprint(builtin)

    def cached() -> set[str]:
        return {p.name for p in (tmp_path / "cache").rglob("*.array_record")}

    assert cached() == set()
    records = pickle.loads(pickle.dumps(everything(dataset)))  # as in a worker
    np.testing.assert_array_equal(records[25].waveform, everything(builtin)[25].waveform)
    assert cached() == {prepare.shard_name(2, 7)}
    bucket.store.clear()  # all that follows comes from the cache
    np.testing.assert_array_equal(
        everything(dataset)[25].waveform, everything(builtin)[25].waveform
    )
    with pytest.raises(BadTrace, match=r"memory://bucket/set/shard-00003.* does not exist"):
        everything(dataset)[35]


def test_a_dataset_written_anew_is_not_taken_from_the_cache(bucket, builtin, tmp_path):
    assert prepared.read(BUCKET).table["magnitude"].iloc[5] != 4.25
    table = builtin.table.copy()
    table.loc[5, "magnitude"] = np.float32(4.25)
    run(dataclasses.replace(builtin, table=table), tmp_path / "new")
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


class StoreError(Exception):
    """No OSError, as the libraries of object stores raise them."""


def refuse(monkeypatch, bucket, *methods: str, text: str = "401, Invalid Credentials") -> list[str]:
    """Lets methods of the store fail; the names of the files that are asked for."""
    asked: list[str] = []

    def fail(self, name, *arguments, **options):
        asked.append(name)
        raise StoreError(text)

    for method in methods:
        monkeypatch.setattr(type(bucket), method, fail)
    return asked


def test_a_store_that_cannot_be_reached(bucket, monkeypatch, capsys):
    refuse(monkeypatch, bucket, "open", "size", "get_file")
    message = (
        r"memory://bucket/set/prepared\.json cannot be read "
        r"\(StoreError: 401, Invalid Credentials\); check the address, the network, and your access"
    )
    with pytest.raises(OSError, match=message):
        open_dataset({**setups.config("picking", BUCKET)["data"], "format": "prepared"})
    assert main(["verify", BUCKET, "--quiet"]) == 2
    assert "error: memory://bucket/set/prepared.json cannot be read" in capsys.readouterr().err


def test_a_damaged_description_is_no_trouble_of_the_store(bucket, capsys):
    bucket.pipe_file("/bucket/set/prepared.json", b'{"kind": ')
    message = r"memory://bucket/set/prepared\.json does not describe a prepared dataset"
    for read in (prepared.describe, prepared.verify, prepared.read):
        with pytest.raises(ValueError, match=message):
            read(BUCKET)
    assert main(["verify", BUCKET, "--quiet"]) == 2
    assert "network" not in capsys.readouterr().err


def test_an_index_or_a_file_system_that_cannot_be_had(bucket, monkeypatch):
    asked = refuse(monkeypatch, bucket, "get_file")
    with pytest.raises(
        OSError, match=r"index\.npz cannot be fetched .*\(3 attempts\): StoreError: 401"
    ):
        prepared.read(BUCKET)
    assert len(asked) == 3

    def no_credentials(address: str):
        raise StoreError("no default credentials were found")

    monkeypatch.setattr(fsspec.core, "url_to_fs", no_credentials)
    message = r"gs://b/set/prepared\.json cannot be reached \(StoreError: no default credentials"
    with pytest.raises(OSError, match=message):
        prepared.read("gs://b/set")


def test_a_store_that_goes_away_does_not_hold_up_every_trace(bucket, builtin, monkeypatch):
    """Three attempts for a shard, not for each of its traces; after a while it is tried again."""
    records = everything(prepared.read(BUCKET))
    get_file = type(bucket).get_file
    asked = refuse(monkeypatch, bucket, "get_file", text="503, the service is gone")
    for i in range(20):
        with pytest.raises(BadTrace, match=r"shard-0000\d.* \(3 attempts\): StoreError: 503"):
            records[i]
    assert len(asked) == 2 * 3
    monkeypatch.setattr(type(bucket), "get_file", get_file)
    with pytest.raises(BadTrace, match="503"):
        records[0]
    monkeypatch.setattr(remote, "AGAIN_S", 0.0)
    np.testing.assert_array_equal(records[0].waveform, everything(builtin)[0].waveform)


def batches(dataset: Dataset, workers: int) -> list[Batch]:
    """All windows, as an evaluation reads them."""
    source = everything(dataset)
    options = SampleOptions(window=1000, sampling_rate_hz=100.0)
    maker = SampleMaker(source, source.rows, source.keys, options, no_targets, seed=0)
    with Stream(eval_batches(maker, local_batch=16), workers=workers, threads=1) as stream:
        return list(stream)


def no_targets(sample: Sample) -> Batch:
    return {}


def test_addresses_are_read_by_loader_processes(builtin, packed, tmp_path, monkeypatch):
    """A file system that other processes see too; the environment tells them the cache."""
    monkeypatch.setenv(remote.CACHE, str(tmp_path / "cache"))
    dataset = prepared.read(f"file://{packed}")
    assert dataset.path.parent == tmp_path / "cache"
    found, expected = batches(dataset, workers=1), batches(builtin, workers=0)
    assert len(found) == len(expected) == 4
    for one, other in zip(found, expected, strict=True):
        assert one["readable"].all()
        np.testing.assert_array_equal(one["waveform"], other["waveform"])
    assert len(list((tmp_path / "cache").rglob("*.array_record"))) == 7
    assert_same_records(builtin, dataset)
