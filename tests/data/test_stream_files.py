"""The index of a folder of records, and files that change or break."""

import gzip
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seismollm_jax.data import folder, stream_files
from seismollm_jax.data.sources import BadTrace
from seismollm_jax.data.stream_files import INDEX_NAME, open_index
from tests.data.recordings import (
    assert_ramp,
    source_of,
    three,
    write,
)


def test_index_is_kept_and_renewed(records: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    original = stream_files._read_headers
    monkeypatch.setattr(
        stream_files, "_read_headers", lambda path: (looked.append(path.name), original(path))[1]
    )
    seen: list[tuple[int, int]] = []
    folder.read(records, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]
    written = (records / INDEX_NAME).stat().st_mtime_ns
    looked.clear()
    folder.read(records)
    assert looked == []
    assert (records / INDEX_NAME).stat().st_mtime_ns == written
    write(three(seconds=200), records / "waveforms" / "day.mseed")
    assert len(folder.read(records).table) == 1
    assert looked == ["day.mseed"]
    for content in (b"no gzip", gzip.compress(b"{"), gzip.compress(b'{"version": 0}')):
        (records / INDEX_NAME).write_bytes(content)
        assert len(folder.read(records).table) == 1
    (records / "waveforms" / "day.mseed").rename(records / "day.mseed")
    assert len(folder.read(records).table) == 1
    with gzip.open(records / INDEX_NAME) as file:
        assert set(json.load(file)["files"]) == {"day.mseed", "picks.csv"}


def test_index_of_a_folder_that_cannot_be_written_to(
    records: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    original = stream_files._write_index

    def refuse(path: Path, *rest: Any) -> Any:
        if path.parent == records.resolve():
            raise PermissionError(path)
        return original(path, *rest)

    monkeypatch.setattr(stream_files, "_write_index", refuse)
    dataset = folder.read(records)
    assert not (records / INDEX_NAME).exists()
    assert_ramp(source_of(dataset)[0], 70)
    first = Path(dataset.table["file"].iloc[0])
    assert first.is_file()
    written = first.stat().st_mtime_ns
    assert folder.read(records).table["file"].iloc[0] == str(first)
    assert first.stat().st_mtime_ns == written


def test_files_lost_or_damaged_later_are_bad_traces(records: Path) -> None:
    dataset = folder.read(records)
    path = records / "waveforms" / "day.mseed"
    content = path.read_bytes()
    path.write_bytes(b"000001D " + bytes(3000))
    with pytest.raises(BadTrace, match=r"XX\.ABC\.\.HH_1.*cannot be read from .*day\.mseed"):
        source_of(dataset)[0]
    path.unlink()
    with pytest.raises(BadTrace, match="cannot be read from"):
        source_of(dataset)[0]
    path.write_bytes(content)
    assert_ramp(source_of(dataset)[0], 70)
    write(three(station="DEF"), path)
    with pytest.raises(BadTrace, match=r"has no samples in its files.*did they change"):
        source_of(dataset)[0]


def test_numbers_that_are_not_finite_are_refused(records: Path) -> None:
    stream = three()
    for found in stream:
        found.data = found.data.astype(np.float32)
    stream[1].data[10500] = np.nan
    stream.write(str(records / "waveforms" / "day.mseed"), format="MSEED", encoding="FLOAT32")
    source = source_of(folder.read(records))
    with pytest.raises(BadTrace, match="1 samples that are not finite, the first at 3500"):
        source[0]
    assert np.isfinite(source[1].waveform).all()


def test_formats_by_their_first_bytes() -> None:
    assert stream_files.file_format(b"000001D " + bytes(50)) == "MSEED"
    assert stream_files.file_format(b"000001X " + bytes(50)) == ""
    assert stream_files.file_format(pickle.dumps([1]) + bytes(700)) == ""
    assert stream_files.file_format(b"") == ""
    assert stream_files.snap_rate(99.9999997) == 100
    assert stream_files.snap_rate(99.99) == 99.99
    assert stream_files.snap_rate(100.001) == 100.001


def test_open_index_ignores_hidden_files_and_loops(records: Path) -> None:
    (records / ".hidden.mseed").write_bytes(b"000001D ")
    (records / "waveforms" / "loop").symlink_to(records, target_is_directory=True)
    assert sorted(open_index(records).files) == ["picks.csv", "waveforms/day.mseed"]
