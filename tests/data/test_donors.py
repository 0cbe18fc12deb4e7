"""Which records may be borrowed from: never the host, never validation or test."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seismollm_jax.data import split_files, stead, synthetic
from seismollm_jax.data.donors import Donors, find, noise_rows
from seismollm_jax.data.records import Record
from seismollm_jax.data.sources import WaveformSource


def everything(rows: list[int]) -> Donors:
    source = [Record(np.zeros((2, 3), np.float32), [], []) for _ in rows]
    return Donors.of(source, np.asarray(rows), np.asarray(rows), np.ones(len(rows), bool))


@given(
    rows=st.lists(st.integers(0, 50), min_size=1, max_size=8, unique=True), host=st.integers(0, 50)
)
def test_any_donor_but_the_host_itself_in_any_order(rows: list[int], host: int) -> None:
    donors, mirrored = everything(rows), everything(rows[::-1])
    others = set(rows) - {host}
    drawn = []
    for seed in range(60):
        index = donors.draw(np.random.default_rng(seed), host)
        assert (index is None) == (not others)
        if index is None:
            return
        drawn.append(int(donors.rows[index]))
        assert rows[donors.positions[index]] == drawn[-1]
        again = mirrored.draw(np.random.default_rng(seed), host)
        assert int(mirrored.rows[again]) == drawn[-1]
    assert set(drawn) <= others
    assert len(set(drawn)) > len(others) / 2


TABLE = pd.DataFrame(
    {
        "trace_name": [f"t{i}" for i in range(10)],
        "category": ["earthquake"] * 4 + ["noise"] * 6,
        "network": ["A"] * 10,
        "station": ["X", "X", "Y", "Z", "X", "X", "Y", "Z", "W", None],
        "start_time": pd.to_datetime(
            [f"2020-01-{day:02}" for day in (1, 4, 6, 8, 2, 5, 3, 7, 9)]
        ).append(pd.DatetimeIndex([pd.NaT])),
        "split": ["train", "train", "dev", "test", "train", "dev", "test", None, " Train", "val"],
    }
)


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("row", [4, 5, 6, 7, 8, 9]),
        ("event", [4, 5, 6, 7, 8, 9]),
        ("station", [4, 5, 8, 9]),
        ("time", [4, 6]),
        ("column", [4, 7, 8]),
    ],
)
def test_no_noise_from_validation_or_test(by: str, expected: list[int]) -> None:
    split = {"train": np.array([0, 1]), "val": np.array([2]), "test": np.array([3])}
    assert noise_rows(TABLE, split, {"by": by}).tolist() == expected
    with_noise = {**split, "test": np.array([3, expected[0]])}
    found = noise_rows(TABLE, with_noise, {"by": by}).tolist()
    # Row 4 and row 5 are of one station.
    assert found == [row for row in expected[1:] if by != "station" or row != 5]


def test_no_noise_that_a_split_file_puts_elsewhere(tmp_path: Path) -> None:
    file = tmp_path / "split.csv.gz"
    parts = {"train": np.array([0, 4]), "val": np.array([2, 5]), "test": np.array([3, 6, 9])}
    split_files.write(file, parts, TABLE["trace_name"].to_numpy(), {})
    split = {"train": np.array([0]), "val": np.array([2]), "test": np.array([3])}
    how = {"by": "file", "path": str(file)}
    assert noise_rows(TABLE, split, how).tolist() == [4, 7, 8]


def test_donors_of_a_dataset(tmp_path: Path) -> None:
    synthetic.write(tmp_path / "data", traces=40, seed=1, noise_share=0.3)
    dataset = stead.read(tmp_path / "data")
    rows = np.random.default_rng(0).permutation(40)
    split = {"train": rows[:30], "val": rows[30:35], "test": rows[35:]}
    train, how = WaveformSource(dataset, split["train"]), {"by": "row"}
    off = {"enabled": True, "superpose_rate": 0.0, "real_noise_rate": 0.0}
    on = {"enabled": True, "superpose_rate": 0.1, "real_noise_rate": 0.1}
    assert find(dataset, train, split, how, off) == {"events": None, "noise": None}
    disabled = on | {"enabled": False}
    assert find(dataset, train, split, how, disabled) == {"events": None, "noise": None}
    donors = find(dataset, train, split, how, on)
    events, noise = donors["events"], donors["noise"]
    assert events is not None
    assert noise is not None
    is_noise = (dataset.table["category"] == "noise").to_numpy()
    assert sorted(events.rows) == sorted(row for row in split["train"] if not is_noise[row])
    assert sorted(noise.rows) == sorted(row for row in split["train"] if is_noise[row])
    for given_out in (events, noise):
        assert (np.diff(given_out.keys.astype(object)) > 0).all()
        for position, row in zip(given_out.positions, given_out.rows, strict=True):
            record = given_out.source[position]
            again = WaveformSource(dataset, np.array([row]))[0]
            np.testing.assert_array_equal(record.waveform, again.waveform)
            assert bool(record.p_samples) == (not is_noise[row])
