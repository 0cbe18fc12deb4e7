"""Split files: written, read on other copies of a dataset, refused when damaged."""

import gzip
import re
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seismollm_jax.data import split_files
from seismollm_jax.data.splits import PARTS, split_hash

NAMES = np.array(["109C.TA_1_EV", "a,b", 'a"b', "#c", " d", "NA", "7", "é"], object)
SPLIT = {"train": np.array([4, 0, 6]), "val": np.array([2, 7]), "test": np.array([5, 1])}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / split_files.NAME
    split_files.write(path, SPLIT, NAMES, {"made": {"by": "row", "seed": 0}})
    return path


def test_what_is_in_the_file(file: Path) -> None:
    found = split_files.read(file)
    assert {part: names.tolist() for part, names in found.names.items()} == {
        part: NAMES[rows].tolist() for part, rows in SPLIT.items()
    }
    assert found.hash == split_hash(SPLIT, NAMES)
    assert found.about == {
        "made": {"by": "row", "seed": 0},
        "traces": {"train": 3, "val": 2, "test": 2},
        "hash": found.hash,
    }
    # With other programs, and byte for byte the same when written again.
    text = gzip.decompress(file.read_bytes()).decode()
    assert text.startswith("# Which trace is in which part")
    assert "\n109C.TA_1_EV,train\n" in text
    first = file.read_bytes()
    split_files.write(file, SPLIT, NAMES, {"made": {"by": "row", "seed": 0}})
    assert file.read_bytes() == first
    assert [path.name for path in file.parent.iterdir()] == [split_files.NAME]


@given(
    names=st.lists(
        st.text(st.characters(exclude_characters="\0\r\n", exclude_categories=("Cs",)), min_size=1),
        min_size=1,
        max_size=30,
        unique=True,
    ),
    seed=st.integers(0, 2**32 - 1),
)
def test_round_trip_on_a_shuffled_copy(names: list[str], seed: int) -> None:
    rng = np.random.default_rng(seed)
    here = np.array(names, object)
    side, order = rng.integers(0, 4, len(here)), rng.permutation(len(here))  # 3: in no part
    side[0] = 0
    parts = {part: order[side[order] == number] for number, part in enumerate(PARTS)}
    there = pd.DataFrame({"trace_name": rng.permutation([*names, "one more\n"])})
    with tempfile.TemporaryDirectory() as folder:
        split_files.write(Path(folder, "split.csv.gz"), parts, here, {})
        file = split_files.read(Path(folder, "split.csv.gz"))
    rows, lacking = split_files.rows_of(file, there)
    assert lacking == 0
    for part in PARTS:  # in the same order too
        assert there["trace_name"].to_numpy()[rows[part]].tolist() == here[parts[part]].tolist()
    assert split_hash(rows, there["trace_name"]) == split_hash(parts, here) == file.hash


def test_a_dataset_with_fewer_and_other_traces(file: Path) -> None:
    table = pd.DataFrame({"trace_name": ["new", "#c", "7", "NA"]})
    rows, lacking = split_files.rows_of(split_files.read(file), table)
    assert {part: found.tolist() for part, found in rows.items()} == {
        "train": [2],
        "val": [],
        "test": [3],
    }
    assert lacking == 5


def test_tables_of_seisbench(tmp_path: Path) -> None:
    """Its metadata as they are, and the targets of its benchmark, which repeat traces."""
    metadata = tmp_path / "metadata.csv"
    metadata.write_text(
        'index,trace_name,source_id,split\n0,"bucket0$0,:3,:6001",x,train\n'
        '1,"bucket0$1,:3,:6001",y,dev\n2,c,z,test\n3,d,z,\n'
    )
    found = split_files.read(metadata)
    assert found.about == {}
    assert {part: names.tolist() for part, names in found.names.items()} == {
        "train": ["bucket0$0,:3,:6001"],
        "val": ["bucket0$1,:3,:6001"],
        "test": ["c"],
    }
    targets = tmp_path / "task1.csv"
    targets.write_text(
        "trace_split,trace_name,start_sample\r\nTEST,a,0\r\nTEST,a,30\r\ndev,b,1\r\n"
    )
    names = split_files.read(targets).names
    assert (names["test"].tolist(), names["val"].tolist()) == (["a"], ["b"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"needs the columns trace_name and split or trace_split; it has none"),
        ("trace_name,part\na,train\n", r"it has trace_name, part"),
        ("trace_name,split\na,\n", "puts no trace into any part"),
        ("trace_name,split\na,train\nb,tset\n", r"puts 'b' into 'tset', and 1 traces"),
        ("trace_name,split\na,train\na,test\n", r"puts 'a', and 1 traces in all, into several"),
        ('trace_name,split\na,train\n"b,test\n', "is damaged, or no CSV table"),
        ('# hash: "0123456789abcdef"\ntrace_name,split\na,train\n', "has been changed since it"),
        ("# hash: 0x\ntrace_name,split\na,train\n", "has an unreadable line: '# hash: 0x"),
        (b"\xff\xfe\x00", "is damaged, or no CSV table"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=message) as error:
        split_files.read(path)
    assert str(path) in str(error.value)


def test_changes_and_damage_are_noticed(file: Path) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    with pytest.raises(ValueError, match="is damaged, or no CSV table"):
        split_files.read(file)
    text = gzip.decompress(whole).decode()
    moved = text.replace("NA,test", "NA,train")
    file.write_text(moved)  # unpacked, whatever its name
    with pytest.raises(ValueError, match=r"has been changed .*remove that line if the change is m"):
        split_files.read(file)
    file.write_text(re.sub("# hash.*\n", "", moved))
    assert "NA" in split_files.read(file).names["train"]


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"--config\.data\.split\.path=FILE .*--split_file"):
        split_files.read(tmp_path / "split.csv.gz")
