import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seismollm_jax.data.splits import (
    PARTS,
    WAYS,
    by_column,
    hash_of_names,
    how_made,
    shared_events,
    split,
    split_hash,
)

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = json.loads((GOLDEN / "split.json").read_text())["cases"]


def catalogue(n, seed=0, events=40, stations=15, noise=0.2):
    rng = np.random.default_rng(seed)
    number = rng.integers(0, events, n)
    event = pd.Series([f"ev{i}" for i in number], dtype=object)
    none = rng.random(n) < noise
    event[none] = None
    # Whole minutes, so that some events have the same time.
    origin = pd.Timestamp("2006-11-03") + pd.to_timedelta(rng.integers(0, 30, events)[number], "m")
    start = origin + pd.to_timedelta(rng.uniform(1, 90, n), "s")
    return pd.DataFrame(
        {
            "trace_name": [f"trace{i}" for i in range(n)],
            "event_id": event.astype("category"),
            "network": pd.Categorical(rng.choice(["TA", "CI"], n)),
            "station": pd.Categorical([f"S{i}" for i in rng.integers(0, stations, n)]),
            "start_time": start.as_unit("us"),
            "origin_time": pd.Series(origin.as_unit("us")).mask(none | (number % 5 == 0)),
        }
    )


def groups(table, rows, by):
    rows = table.iloc[rows]
    if by in ("event", "time"):
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
    by=st.sampled_from(["row", "event", "station", "time"]),
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
    columns = ["network", "station"] if by == "station" else ["event_id"]
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


@given(
    n=st.integers(60, 300),
    by=st.sampled_from(["event", "station", "time"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_membership_does_not_depend_on_the_order_of_rows(n, by, seed):
    table = catalogue(n, seed % 7)
    other = table.sample(frac=1, random_state=seed).reset_index(drop=True)
    first, second = (split(np.arange(n), t, by, (0.5, 0.3), seed) for t in (table, other))
    hashes = {split_hash(s, t["trace_name"]) for s, t in ((first, table), (second, other))}
    assert len(hashes) == 1


def time_of(table):
    """Of each trace that of its event: when it began, or when its first trace did."""
    times = table["origin_time"].fillna(table["start_time"])
    events = table["event_id"].astype(object).fillna(table["trace_name"])
    return times.groupby(events).transform("min")


@given(n=st.integers(60, 300), seed=st.integers(0, 2**32 - 1))
def test_split_by_time_is_ordered(n, seed):
    table = catalogue(n, seed % 11)
    splits = split(np.arange(n), table, "time", (0.5, 0.3))
    times = time_of(table)
    for before, after in (("train", "val"), ("val", "test")):
        assert times[splits[before]].max() <= times[splits[after]].min()
    again = split(np.arange(n), table, "time", (0.5, 0.3), seed, shuffle=False)
    assert all((splits[part] == again[part]).all() for part in PARTS)


def test_split_by_time_needs_times():
    table = catalogue(60, noise=0.3)
    lost = table.index[table["event_id"].isna()][:3]
    table.loc[lost, "start_time"] = pd.NaT
    name = table.loc[lost[0], "trace_name"]
    message = rf"3 of 60 traces, the first of them '{name}', have neither .*by=event"
    with pytest.raises(ValueError, match=message):
        split(np.arange(60), table, "time")
    # A trace whose event is known by others needs none.
    table = catalogue(60, noise=0.0)
    table.loc[0, ["start_time", "origin_time"]] = pd.NaT
    assert sum(map(len, split(np.arange(60), table, "time").values())) == 60


@given(n=st.integers(1, 60), seed=st.integers(0, 2**32 - 1))
def test_column_of_the_dataset(n, seed):
    words = ["train", "val", "dev", "test", "Test ", "blind", "", None]
    table = catalogue(n).assign(split=np.random.default_rng(seed).choice(words, n))
    rows = np.arange(n)[::2]
    parts = by_column(rows, table)
    assert tuple(parts) == PARTS
    for part, meant in zip(PARTS, (["train"], ["val", "dev"], ["test", "Test "]), strict=True):
        assert parts[part].tolist() == [r for r in rows if table["split"][r] in meant]
    categorical = table.assign(split=table["split"].astype("category"))
    assert all((by_column(rows, categorical)[part] == parts[part]).all() for part in PARTS)
    assert not any(map(len, by_column(rows, catalogue(n)).values()))


@given(n=st.integers(3, 200), seed=st.integers(0, 2**32 - 1))
def test_shared_events(n, seed):
    table = catalogue(n, seed % 7, events=20)
    rng = np.random.default_rng(seed)
    side = rng.integers(0, 4, n)  # 3: in no part
    parts = {part: np.flatnonzero(side == number) for number, part in enumerate(PARTS)}
    placed = table[side < 3].assign(side=side[side < 3]).dropna(subset="event_id")
    sides = placed.groupby("event_id", observed=True)["side"].agg(["nunique", "size"])
    shared = sides[sides["nunique"] > 1]
    assert shared_events(parts, table) == (len(shared), shared["size"].sum())
    for by in ("event", "time"):
        whole = split(np.arange(n), table, by, (0.4, 0.6))
        assert shared_events(whole, table) == (0, 0)


def test_nothing_to_train_on():
    """The test set of the few-shot protocol on DiTing is a whole table."""
    table = catalogue(100)
    for by in ("row", "event", "station", "time"):
        parts = split(np.arange(100), table, by, (0, 0))
        assert [len(parts[part]) for part in PARTS] == [0, 0, 100]


def test_what_a_split_depends_on():
    settings = {"by": "row", "train": 0.8, "val": 0.1, "seed": 3, "shuffle": True, "path": ""}
    assert how_made(settings) == {n: v for n, v in settings.items() if n != "path"}
    assert how_made({**settings, "by": "time"}) == {"by": "time", "train": 0.8, "val": 0.1}
    assert how_made({**settings, "by": "file", "path": "x"}) == {"by": "file", "path": "x"}
    for by in WAYS:
        assert how_made({**settings, "by": by})["by"] == by


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


NAMES = st.lists(
    st.sampled_from(["a", "b", "ab", "train", "test", "1", "", "\n", "[val]"]), unique=True
)


@given(NAMES, NAMES, st.data())
def test_hash_is_equal_if_and_only_if_membership_is(first, second, data):
    def assign(names):
        sides = data.draw(
            st.lists(st.sampled_from(PARTS), min_size=len(names), max_size=len(names))
        )
        pairs = data.draw(st.permutations(list(zip(names, sides, strict=True))))
        return {part: [name for name, side in pairs if side == part] for part in PARTS}

    one, two = assign(first), assign(second)
    same = all(set(one[part]) == set(two[part]) for part in PARTS)
    assert (hash_of_names(one) == hash_of_names(two)) == same


@pytest.mark.parametrize("sizes", [(0.8, 0.3), (-0.1, 0.5), (1.2, 0.0), (float("nan"), 0.1)])
def test_sizes_out_of_range(sizes):
    with pytest.raises(ValueError, match="split sizes"):
        split(np.arange(10), catalogue(10), "row", sizes)


def test_unknown_grouping_and_empty_part():
    table = catalogue(10, stations=1)
    with pytest.raises(ValueError, match=r"'network'; choose from row, .*, time, column, file"):
        split(np.arange(10), table, "network")
    with pytest.raises(ValueError, match="split of 5 rows by row leaves val empty"):
        split(np.arange(5), table, "row")
