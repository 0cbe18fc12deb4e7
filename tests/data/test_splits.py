import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seismollm_jax.data.splits import PARTS, split, split_hash

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = json.loads((GOLDEN / "split.json").read_text())["cases"]


def catalogue(n, seed=0, events=40, stations=15, noise=0.2):
    rng = np.random.default_rng(seed)
    event = pd.Series([f"ev{i}" for i in rng.integers(0, events, n)], dtype=object)
    event[rng.random(n) < noise] = None
    return pd.DataFrame(
        {
            "trace_name": [f"trace{i}" for i in range(n)],
            "event_id": event.astype("category"),
            "network": pd.Categorical(rng.choice(["TA", "CI"], n)),
            "station": pd.Categorical([f"S{i}" for i in rng.integers(0, stations, n)]),
        }
    )


def groups(table, rows, by):
    rows = table.iloc[rows]
    if by == "event":
        return set(rows["event_id"].dropna())
    return set(zip(rows["network"], rows["station"], strict=True))


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["train_size"]))
def test_row_split_golden(case):
    sizes = (case["train_size"], case["val_size"])
    n = case["rows"]
    splits = split(np.arange(n), catalogue(n), "row", sizes, case["seed"])
    assert tuple(splits) == PARTS
    for part, (start, end) in case["boundaries"].items():
        assert splits[part].tolist() == case["order"][start:end]


@given(
    n=st.integers(60, 400),
    by=st.sampled_from(["row", "event", "station"]),
    seed=st.integers(0, 2**32 - 1),
    sizes=st.sampled_from([(0.8, 0.1), (0.5, 0.25), (0.6, 0.4), (1.0, 0.0), (0.0, 0.0)]),
    shuffle=st.booleans(),
)
def test_split_is_a_partition_that_keeps_groups_whole(n, by, seed, sizes, shuffle):
    table = catalogue(n, seed % 7)
    rows = np.random.default_rng(seed).permutation(n)[: n - 10]
    splits = split(rows, table, by, sizes, seed, shuffle)
    again = split(rows, table, by, sizes, seed, shuffle)
    joined = np.concatenate([splits[part] for part in PARTS])
    assert sorted(joined) == sorted(rows)
    assert all((splits[part] == again[part]).all() for part in PARTS)
    names = table["trace_name"]
    assert split_hash(splits, names) == split_hash(again, names)
    if sum(sizes) == 1:
        assert len(splits["test"]) == 0
    if by == "row":
        assert len(splits["train"]) == int(sizes[0] * len(rows))
        return
    members = [groups(table, splits[part], by) for part in PARTS]
    assert not (members[0] & members[1])
    assert not (members[0] & members[2])
    assert not (members[1] & members[2])
    columns = ["event_id"] if by == "event" else ["network", "station"]
    largest = table.iloc[rows].groupby(columns, observed=True).size().max()
    assert abs(len(splits["train"]) - sizes[0] * len(rows)) <= largest / 2 + 1e-6
    both = len(splits["train"]) + len(splits["val"])
    assert abs(both - sum(sizes) * len(rows)) <= largest / 2 + 1e-6


def test_order_of_groups_does_not_depend_on_the_rows_selected():
    table = catalogue(2000, events=300, noise=0.0)
    everything = split(np.arange(2000), table, "event", seed=3)
    some = split(np.arange(0, 2000, 2), table, "event", seed=3)
    # Parts of the two splits may differ by what lies at the moved boundaries only.
    moved = groups(table, some["test"], "event") & groups(table, everything["train"], "event")
    assert not moved
    assert len(np.intersect1d(some["train"], everything["test"])) == 0


def test_other_seed_other_split():
    table = catalogue(300)
    for by in ("row", "event", "station"):
        first = split(np.arange(300), table, by, seed=0)
        second = split(np.arange(300), table, by, seed=1)
        names = table["trace_name"]
        assert split_hash(first, names) != split_hash(second, names)


def test_traces_without_an_event_are_their_own_groups():
    table = catalogue(100, noise=1.0)
    splits = split(np.arange(100), table, "event")
    assert [len(splits[part]) for part in PARTS] == [80, 10, 10]


def test_event_named_like_a_trace_is_not_mixed_up():
    table = catalogue(4, noise=1.0)
    table["event_id"] = pd.Categorical(["trace3", None, "trace3", None])
    splits = split(np.arange(4), table, "event", (0.5, 0.25))
    whole = {part for part in PARTS if np.isin(splits[part], [0, 2]).any()}
    assert len(whole) == 1
    assert sum(len(splits[part]) for part in PARTS) == 4


def test_hash_depends_on_the_assignment_not_on_the_order():
    names = np.array(["a", "b", "c", "d"])
    first = split_hash({"train": np.array([0, 1]), "val": np.array([2]), "test": [3]}, names)
    assert len(first) == 16
    assert first == split_hash({"test": [3], "train": [1, 0], "val": [2]}, names)
    assert first != split_hash({"train": [0, 2], "val": [1], "test": [3]}, names)
    assert first != split_hash({"train": [0, 1, 2], "val": [], "test": [3]}, names)


@pytest.mark.parametrize("sizes", [(0.8, 0.3), (-0.1, 0.5), (1.2, 0.0), (float("nan"), 0.1)])
def test_sizes_out_of_range(sizes):
    with pytest.raises(ValueError, match="split sizes"):
        split(np.arange(10), catalogue(10), "row", sizes)


def test_unknown_grouping_and_empty_part():
    table = catalogue(10, stations=1)
    with pytest.raises(ValueError, match="'network'; choose from row, event, station"):
        split(np.arange(10), table, "network")
    with pytest.raises(ValueError, match="split of 5 rows by row leaves val empty"):
        split(np.arange(5), table, "row")
