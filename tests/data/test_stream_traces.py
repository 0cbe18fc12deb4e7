"""Stretches read out of long files are those that ObsPy finds when it reads all of the file."""

import glob
import io
import random
from pathlib import Path
from typing import Any

import numpy as np
import obspy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obspy import Stream, Trace, UTCDateTime

from seismollm_jax.data import mseed_blocks
from seismollm_jax.data.mseed_blocks import BlockCache, find_blocks
from seismollm_jax.data.stream_traces import MSEED, SAC, read_traces

START = UTCDateTime(2020, 2, 28, 23, 59, 30)  # over midnight, in a leap year
STREAM = "XX.ABC.00.HH"


def trace(start_s: float, seconds: float, rate: float = 100.0, channel: str = "HHZ") -> Trace:
    header = {
        **{"network": "XX", "station": "ABC", "location": "00", "channel": channel},
        **{"sampling_rate": rate, "starttime": START + start_s},
    }
    numbers = np.random.default_rng(round(start_s * 10)).normal(0, 900, round(seconds * rate))
    return Trace(numbers.astype(np.int32), header)


def records(traces: list[Trace], **options: Any) -> list[bytes]:
    """miniSEED records of traces in their order."""
    buffer = io.BytesIO()
    options = {"encoding": "STEIM2", "reclen": 512, **options}
    Stream(traces).write(buffer, format="MSEED", **options)
    data, length = buffer.getvalue(), options["reclen"]
    return [data[i : i + length] for i in range(0, len(data), length)]


def samples(traces: list[Trace], first_ns: float, last_ns: float) -> dict[str, np.ndarray]:
    """Channel -> times in nanoseconds and numbers (2, samples) within a span, by time."""
    found: dict[str, list[np.ndarray]] = {}
    for part in traces:
        steps = np.arange(part.stats.npts) * 1e9 / part.stats.sampling_rate
        both = np.stack([part.stats.starttime.ns + np.round(steps), part.data.astype(np.float64)])
        inside = (both[0] > first_ns) & (both[0] < last_ns)
        if part.id.startswith(STREAM) and inside.any():
            found.setdefault(part.id, []).append(both[:, inside])
    joined = {name: np.concatenate(parts, axis=1) for name, parts in found.items()}
    return {name: both[:, np.argsort(both[0], kind="stable")] for name, both in joined.items()}


def assert_as_obspy(path: Path, kind: str, first_s: float, last_s: float) -> None:
    """With two samples to spare on either side, as windows are read."""
    whole = list(obspy.read(glob.escape(str(path)), format=kind))
    step_ns = 1e9 / whole[0].stats.sampling_rate
    # Between samples, since times differ by roundings: ObsPy counts from the first that it reads.
    span = [START.ns + time_s * 1e9 + 0.37 * step_ns for time_s in (first_s, last_s)]
    wide = round(span[0] - 2 * step_ns), round(span[1] + 2 * step_ns)
    expected = samples(whole, *span)
    found = samples(read_traces(path, kind, STREAM, *wide, BlockCache()), *span)
    assert found.keys() == expected.keys()
    for name, (times, numbers) in expected.items():
        np.testing.assert_allclose(found[name][0], times, rtol=0, atol=200_000)
        np.testing.assert_array_equal(found[name][1], numbers)


@settings(max_examples=40, deadline=None)
@given(
    pieces=st.lists(
        st.tuples(st.integers(0, 900), st.integers(1, 300), st.sampled_from(["HHZ", "HHN", "BHZ"])),
        min_size=1,
        max_size=4,
    ),
    rate=st.sampled_from([0.5, 1.0, 20.0, 31.25, 100.0, 250.0]),
    length=st.sampled_from([256, 512, 4096]),
    order=st.sampled_from("<>"),
    encoding=st.sampled_from(["STEIM1", "STEIM2", "INT32", "FLOAT32"]),
    shuffled=st.booleans(),
    span=st.tuples(st.integers(-50, 1200), st.integers(1, 300)),
)
def test_any_stretch_of_any_file(
    pieces: list[tuple[int, int, str]],
    rate: float,
    length: int,
    order: str,
    encoding: str,
    shuffled: bool,
    span: tuple[int, int],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Gaps, channels behind or among each other, records in any order."""
    parts = []
    for number, (start_s, seconds, channel) in enumerate(pieces):
        piece = trace(1500 * number + start_s, max(seconds, 4 / rate), rate, channel)
        if encoding == "FLOAT32":
            piece.data = piece.data.astype(np.float32)
        parts += records([piece], byteorder=order, reclen=length, encoding=encoding)
    if shuffled:
        random.Random(0).shuffle(parts)
    path = tmp_path_factory.mktemp("any") / "file"
    path.write_bytes(b"".join(parts))
    assert find_blocks(path) is not None
    for number in range(len(pieces)):
        first_s = 1500 * number + span[0]
        assert_as_obspy(path, MSEED, first_s, first_s + span[1])


def test_a_stretch_of_a_long_file_is_little_to_read(tmp_path: Path) -> None:
    path = tmp_path / "day"
    path.write_bytes(b"".join(records([trace(0, 7200), trace(0, 7200, channel="HHN")])))
    blocks = find_blocks(path)
    assert blocks is not None
    begin = START.ns + 3_600_000_000_000
    data = blocks.read(path, begin, begin + 90_000_000_000)
    assert 0 < len(data) <= 6 * mseed_blocks.BLOCK < path.stat().st_size / 8
    assert_as_obspy(path, MSEED, 3600, 3690)
    assert blocks.read(path, 0, 1) == b""
    assert read_traces(path, MSEED, STREAM, 0, 1, BlockCache()) == []


def test_more_blocks_than_are_looked_at_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "day"
    path.write_bytes(b"".join(records([trace(0, 3000)])))
    expected = find_blocks(path)
    monkeypatch.setattr(mseed_blocks, "AT_ONCE", 3)
    found = find_blocks(path)
    assert expected is not None
    assert found is not None
    assert len(found.start_ns) > 7
    np.testing.assert_array_equal(found.start_ns, expected.start_ns)
    np.testing.assert_array_equal(found.end_ns, expected.end_ns)


@pytest.mark.parametrize("order", "<>")
def test_start_times_of_single_microseconds(tmp_path: Path, order: str) -> None:
    """ObsPy puts blockette 1001 before blockette 1000 then, and not in other records."""
    parts = records([trace(0, 900)], byteorder=order)
    odd = records([trace(1000.000037, 900)], byteorder=order)
    kinds = [int.from_bytes(r[48:50], "big" if order == ">" else "little") for r in parts + odd]
    assert kinds == [1000] * len(parts) + [1001] * len(odd)
    path = tmp_path / "day"
    for content in (odd, parts + odd, odd + parts):
        path.write_bytes(b"".join(content))
        blocks = find_blocks(path)
        assert blocks is not None
        begin = START.ns + 1_300_000_000_000
        assert 0 < len(blocks.read(path, begin, begin + 10_000_000_000)) < path.stat().st_size
        for first_s in (990, 1200, 1890):
            assert_as_obspy(path, MSEED, first_s, first_s + 30)
    moved = bytearray(odd[0])
    moved[50:52] = bytes(2)  # the first blockette is said to be the last
    path.write_bytes(bytes(moved))
    assert find_blocks(path) is None


def late(record: bytes) -> bytes:
    """A time correction of 100 s that is not in the start time yet."""
    return record[:40] + (1_000_000).to_bytes(4, "big") + record[44:]


@pytest.mark.parametrize(
    ("name", "parts", "has_blocks"),
    [
        ("corrected", [late(r) for r in records([trace(0, 500)])], True),
        ("lengths", records([trace(0, 100)]) + records([trace(100, 400)], reclen=4096), False),
        ("orders", records([trace(0, 99)]) + records([trace(99, 9)], byteorder="<"), False),
        ("cut short", [b"".join(records([trace(0, 300)]))[:-100]], False),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.filterwarnings("ignore:.*:obspy.io.mseed.InternalMSEEDWarning")
def test_files_of_another_make(
    tmp_path: Path, name: str, parts: list[bytes], has_blocks: bool
) -> None:
    """Where the blocks cannot be told, all of the file is read."""
    path = tmp_path / "file"
    path.write_bytes(b"".join(parts))
    assert (find_blocks(path) is not None) == has_blocks
    for first_s in (0, 40, 95, 100, 130, 250, 420, 580):
        assert_as_obspy(path, MSEED, first_s, first_s + 30)


def test_files_that_are_none(tmp_path: Path) -> None:
    for content in (b"", b"short", bytes(512), records([trace(0, 9)])[0][:60]):
        (tmp_path / "x").write_bytes(content)
        assert find_blocks(tmp_path / "x") is None
        with pytest.raises(Exception, match=r".+"):
            read_traces(tmp_path / "x", MSEED, STREAM, 0, 1, BlockCache())


@pytest.mark.parametrize("order", ["<", ">"])
def test_stretches_of_sac_files(tmp_path: Path, order: str) -> None:
    path = tmp_path / "x[1].sac"
    whole = trace(0, 600)
    whole.data = whole.data.astype(np.float32)
    whole.write(str(path), format="SAC", byteorder=order)
    for first_s, last_s in ((100, 190.5), (-50, 20), (580.25, 700), (-20, 900)):
        assert_as_obspy(path, SAC, first_s, last_s)
        span_ns = (START + first_s).ns, (START + last_s).ns
        (found,) = read_traces(path, SAC, STREAM, *span_ns, BlockCache())
        assert len(found) <= 100 * (last_s - first_s) + 2  # no more than was asked
    assert read_traces(path, SAC, STREAM, 0, 1, BlockCache()) == []
    path.write_bytes(path.read_bytes()[:-4000])
    with pytest.raises(Exception, match="file size are inconsistent"):
        read_traces(path, SAC, STREAM, START.ns, (START + 600).ns, BlockCache())


def test_the_cache_knows_changes_and_has_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    original = mseed_blocks.find_blocks

    def counted(path: Path) -> Any:
        looked.append(path.name)
        return original(path)

    monkeypatch.setattr(mseed_blocks, "find_blocks", counted)
    for name in "abc":
        (tmp_path / name).write_bytes(b"".join(records([trace(0, 60)])))
    cache = BlockCache(limit_bytes=2200)  # for two of them
    for name in "aababcabc":
        cache.blocks(tmp_path / name)
    assert "".join(looked) == "abcabc"
    (tmp_path / "c").write_bytes(b"".join(records([trace(0, 90)])))
    found = cache.blocks(tmp_path / "c")
    assert "".join(looked) == "abcabcc"
    assert found is not None
    assert found.end_ns[-1] == pytest.approx((START + 90).ns, abs=1e6)
    large = BlockCache()
    assert [large.blocks(tmp_path / name) is large.blocks(tmp_path / name) for name in "abc"]
    assert len(looked) == 10
