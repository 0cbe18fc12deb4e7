"""Training runs that read a prepared dataset, whatever it was made of."""

import math
from pathlib import Path
from typing import Any

import fsspec
import pytest

from seismollm_jax.data import remote
from seismollm_jax.data.detect import open_found
from seismollm_jax.data.prepare import prepare
from seismollm_jax.data.shards import shard_name
from seismollm_jax.training import loop
from tests import setups
from tests.formats import FORMATS
from tests.training.runs import rows

CHANGES = {
    "train.batch_size": 8,
    "augment.enabled": True,
    "data.split.by": "event",
    "data.split.train": 0.5,
    "data.split.val": 0.25,
}


@pytest.mark.parametrize("name", ["diting", "seisbench_mixed", "folder_mseed"])
def test_training_goes_as_on_the_original(name: str, tmp_path: Path) -> None:
    settings = FORMATS[name](tmp_path / "original")
    table = settings.get("table", "")
    found, dataset = open_found(tmp_path / "original", table=table)
    prepare(dataset, tmp_path / "prepared", source_format=found, table=table, shard_traces=7)
    fields = {f"data.{field}": value for field, value in settings.items()} | CHANGES
    if found == "folder":  # the stretches that `prepare` cuts unless told otherwise
        fields |= {"data.folder.before_s": 30.0, "data.folder.after_s": 60.0}
    for folder, changes in (("original", {}), ("prepared", {"data.format": "prepared"})):
        config = setups.config("picking", tmp_path / folder, fields | changes)
        scores = loop.run(config, tmp_path / f"run_{folder}")
        assert math.isfinite(scores["loss"])
    assert rows(tmp_path / "run_prepared") == rows(tmp_path / "run_original")
    train = [line for line in rows(tmp_path / "run_prepared") if line["part"] == "train"]
    assert len(train) >= 1


def test_training_from_a_store(
    data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From an address, as gs:// is one: each shard is fetched once, and the run is the same."""
    monkeypatch.setenv(remote.CACHE, str(tmp_path / "cache"))
    _, dataset = open_found(data_folder)
    prepare(dataset, tmp_path / "prepared", source_format="stead", shard_traces=10)
    system = fsspec.filesystem("memory")
    for path in (tmp_path / "prepared").iterdir():
        system.pipe_file(f"/runs/set/{path.name}", path.read_bytes())
    asked: list[str] = []
    get_file = type(system).get_file

    def counted(self: Any, name: str, local: str, **options: Any) -> None:
        asked.append(Path(name).name)
        get_file(self, name, local, **options)

    monkeypatch.setattr(type(system), "get_file", counted)
    for name, path in (("local", str(tmp_path / "prepared")), ("store", "memory://runs/set")):
        config = setups.config("magnitude", path, CHANGES | {"data.format": "prepared"})
        loop.run(config, tmp_path / name)
    assert rows(tmp_path / "store") == rows(tmp_path / "local")
    assert len(set(asked)) == len(asked)
    assert {"index.npz"} < set(asked) <= {"index.npz", *(shard_name(i, 7) for i in range(7))}
    system.rm("/runs/set", recursive=True)
    with pytest.raises(FileNotFoundError, match=r"memory://runs/set/prepared\.json does not exist"):
        loop.run(config, tmp_path / "again")
