"""Broken, dead, flat, clipped and doubled waveforms are found, and nothing in sound ones."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from seismollm_jax.data import check_waveforms, prepared, stead
from seismollm_jax.data.check import check
from seismollm_jax.data.check_findings import Finding
from seismollm_jax.data.records import Dataset
from tests.data.preparing import flip_a_bit, run

ROWS = [3, 17, 40]


def found(dataset: Dataset, wanted: int | None = None) -> dict[str, Finding]:
    read = check_waveforms.read(dataset, wanted)
    return {f.name: f for f in check_waveforms.waveform_findings(dataset, read)}


def rows(finding: Finding) -> list[int]:
    return [example["row"] for example in finding.examples]


@pytest.fixture
def change(data_folder: Path, tmp_path: Path) -> Callable[..., Dataset]:
    """A copy of the built-in dataset with some traces (samples, ENZ) changed."""

    def changed(edit: Callable[[np.ndarray], np.ndarray], these: list[int] = ROWS) -> Dataset:
        folder = shutil.copytree(data_folder, tmp_path / "set")
        dataset = stead.read(folder)
        with h5py.File(folder / "merge.hdf5", "a") as h5:
            for row in these:
                name = f"data/{dataset.table['trace_name'].iloc[row]}"
                data = h5[name][()]
                del h5[name]
                h5[name] = edit(data)
        return dataset

    return changed


def test_the_built_in_dataset_is_well(builtin: Dataset) -> None:
    assert set(found(builtin)) <= {"clipped"}  # which its instruments do


def with_(column: int, values: object) -> Callable[[np.ndarray], np.ndarray]:
    def edit(data: np.ndarray) -> np.ndarray:
        data[:, column] = values
        return data

    return edit


def nan(data: np.ndarray) -> np.ndarray:
    data[100, 1] = np.nan
    return data


def flat(first: int, last: int) -> Callable[[np.ndarray], np.ndarray]:
    def edit(data: np.ndarray) -> np.ndarray:
        data[first:last] = data[first]
        return data

    return edit


def clip(data: np.ndarray) -> np.ndarray:
    # A slow swing of large amplitude at a ceiling, beside noise of many values.
    data = np.random.default_rng(0).normal(0, 100, data.shape).astype(np.float32)
    data[2000:2400] += 5000 * np.sin(np.arange(400) / 400 * 2 * np.pi)[:, None]
    return data.clip(-3000, 3000)


@pytest.mark.parametrize(
    ("edit", "name", "level", "shown"),
    [
        (nan, "not_finite", "error", {"reason": "has 1 samples that are not finite, the first at"}),
        (lambda data: data[:, :2], "unreadable", "error", {"reason": "has the shape (6000, 2)"}),
        (lambda data: data[:1], "unreadable", "error", {"reason": "has 1 samples"}),
        (lambda data: data.astype("S8"), "unreadable", "error", {"reason": "holds |S8"}),
        (with_(2, 7), "dead_component", "warning", {"dead": "Z"}),
        (with_(slice(None), 0), "dead_component", "warning", {"dead": "ZNE"}),
        (
            lambda data: data[:, [0, 0, 2]], "equal_components", "warning",
            {"component_order": "ENZ"},
        ),
        (flat(1000, 1250), "flat_part", "warning", {"flat_s": 2.5, "from_sample": 1000}),
        (flat(5000, 6000), "padded", "note", {"flat_s": 10, "from_sample": 5000}),
        (flat(0, 150), "padded", "note", {"flat_s": 1.5, "from_sample": 0}),
        (clip, "clipped", "warning", {}),
    ],
)  # fmt: skip
def test_single_traces(
    edit: Callable,
    name: str,
    level: str,
    shown: dict,
    change: Callable[..., Dataset],
    builtin: Dataset,
) -> None:
    before = found(builtin).get(name)
    finding = found(change(edit))[name]
    assert finding.level == level
    assert finding.count == len(ROWS) + (before.count if before else 0)
    if before is None:
        assert rows(finding) == ROWS
        for key, value in shown.items():
            for example in finding.examples:
                text = str(example[key])
                assert text.startswith(str(value)), text


def test_short_flats_and_weak_noise_are_well(change: Callable[..., Dataset]) -> None:
    def edit(data: np.ndarray) -> np.ndarray:
        draw = np.random.default_rng(int(abs(data).sum()) % 1000)
        data = draw.integers(-2, 3, data.shape).astype(np.float32)  # a few counts
        data[500:590] = 1
        return data

    findings = found(change(edit))
    assert not {"flat_part", "padded"} & set(findings)
    assert not_clipped(findings)


def not_clipped(findings: dict[str, Finding]) -> bool:
    assert findings.get("clipped") is None or findings["clipped"].count < 5  # examples are all
    return "clipped" not in findings or not set(ROWS) & set(rows(findings["clipped"]))


def test_few_samples_at_the_ceiling_are_not_clipped(change: Callable[..., Dataset]) -> None:
    def edit(data: np.ndarray) -> np.ndarray:
        data = np.random.default_rng(0).normal(size=data.shape).astype(np.float32)
        data[1000:1040:4] = data[1001:1041:4] = 9  # in pairs
        return data

    assert not_clipped(found(change(edit)))


def test_padding_at_the_ceiling_is_not_clipped(change: Callable[..., Dataset]) -> None:
    def edit(data: np.ndarray) -> np.ndarray:
        data = np.random.default_rng(0).normal(size=data.shape).astype(np.float32)
        data[5900:] = 9
        return data

    findings = found(change(edit))
    assert rows(findings["padded"]) == ROWS
    assert not_clipped(findings)


def test_copies(change: Callable[..., Dataset]) -> None:
    def edit(data: np.ndarray) -> np.ndarray:
        return np.random.default_rng(0).normal(size=(6000, 3)).astype(np.float32)

    finding = found(change(edit))["same_waveform"]
    assert rows(finding) == ROWS
    assert finding.level == "warning"


def test_empty_traces_are_no_copies(change: Callable[..., Dataset]) -> None:
    assert "same_waveform" not in found(change(np.zeros_like))


def test_a_component_that_is_not_there_is_not_dead(change: Callable[..., Dataset]) -> None:
    dataset = change(lambda data: data[:, 2:], list(range(64)))
    order = pd.Categorical(["Z"] * 64)
    dataset = dataclasses.replace(
        dataset, table=dataset.table.assign(component_order=order), dimension_order="WC"
    )
    assert not {"dead_component", "equal_components", "unreadable"} & set(found(dataset))


def test_traces_that_are_not_there(change: Callable[..., Dataset]) -> None:
    dataset = change(lambda data: data)
    with h5py.File(dataset.path / "merge.hdf5", "a") as h5:
        for row in ROWS:
            del h5[f"data/{dataset.table['trace_name'].iloc[row]}"]
    finding = found(dataset)["unreadable"]
    assert (finding.level, finding.count, rows(finding)) == ("error", 3, ROWS)
    assert "out of 64 tried (is not in the group 'data': 3)" in finding.text


def test_a_file_that_is_gone(data_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(data_folder, tmp_path / "set")
    dataset = stead.read(folder)
    (folder / "merge.hdf5").unlink()
    finding = found(dataset)["unreadable"]
    assert finding.count == 64
    assert str(folder / "merge.hdf5") in finding.examples[0]["reason"]


def test_a_damaged_shard(builtin: Dataset, tmp_path: Path) -> None:
    run(builtin, tmp_path / "set")
    shard = sorted((tmp_path / "set").glob("shard-*"))[2]
    flip_a_bit(shard)
    findings = found(prepared.read(tmp_path / "set"))
    assert 1 <= findings["unreadable"].count <= 10
    assert set(rows(findings["unreadable"])) <= set(range(20, 30))


def test_arrivals_behind_the_trace(builtin: Dataset) -> None:
    table = builtin.table.copy()
    quakes = np.flatnonzero(table["p_sample"].notna())
    first, second, third = quakes[[4, 7, 9]].tolist()
    table.loc[first, "s_sample"] = 6000
    table.loc[second, ["p_sample", "s_sample"]] = [7000, 7100]
    table.loc[third, "s_sample"] = 5999  # the last one
    alone = quakes[11]
    table.loc[alone, ["p_sample", "s_sample"]] = [6000, np.nan]
    dataset = dataclasses.replace(builtin, table=table)
    finding = found(dataset)["arrival_behind_the_trace"]
    assert (finding.level, rows(finding)) == ("error", [first, second, alone])
    assert finding.examples[0]["samples"] == 6000
    # Of the traces that are not read the length is taken to be that of the others.
    unread = check_waveforms.read(dataset, 2)
    assert not {first, second} & set(unread.measures["row"].tolist())
    (finding,) = (
        f
        for f in check_waveforms.waveform_findings(dataset, unread)
        if f.name == "arrival_behind_the_trace"
    )
    assert rows(finding) == [first, second, alone]
    assert "arrival_behind_the_trace" not in found(builtin)


def test_which_traces_are_read(builtin: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    files = pd.Categorical(["a"] * 30 + ["b"] + ["a"] * 30 + ["c"] * 3)
    dataset = dataclasses.replace(builtin, table=builtin.table.assign(file=files))
    chosen, why = check_waveforms.chosen_rows(dataset, 8)
    assert why == ""
    assert len(chosen) == 8
    assert {0, 30, 61, 63} <= set(chosen.tolist())  # each file, both ends of the table
    assert np.diff(chosen).max() <= 16
    np.testing.assert_array_equal(chosen, check_waveforms.chosen_rows(dataset, 8)[0])
    assert len(check_waveforms.chosen_rows(dataset, 1)[0]) == 1
    assert len(check_waveforms.chosen_rows(dataset, 0)[0]) == 0
    assert check_waveforms.chosen_rows(dataset, 64)[0].tolist() == list(range(64))
    assert check_waveforms.chosen_rows(dataset, None)[0].tolist() == list(range(64))
    monkeypatch.setattr(check_waveforms, "COMMON_SAMPLE", 10)
    chosen, why = check_waveforms.chosen_rows(dataset, None)
    assert len(chosen) == 10
    assert "sample" in why
    remote = dataclasses.replace(dataset, storage="arrayrecord", inner_path="gs://bucket/set")
    chosen, why = check_waveforms.chosen_rows(remote, None)
    assert len(chosen) == 0
    assert "fetched" in why


def test_no_waveforms(builtin: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(check_waveforms, "WaveformSource", never)
    document = check(builtin, {}, waveforms=0)
    assert document["waveforms"]["read"] == 0
    assert document["waveforms"]["of"] == 64


def test_progress(builtin: Dataset) -> None:
    calls: list[tuple[int, int]] = []
    check_waveforms.read(builtin, 20, lambda *counts: calls.append(counts))
    assert calls[0] == (0, 20)
    assert calls[-1] == (20, 20)


def test_a_library_that_raises_anything(builtin: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise MemoryError("of a damaged header")

    monkeypatch.setattr(check_waveforms.WaveformSource, "waveform", broken)
    finding = found(builtin, 5)["unreadable"]
    assert finding.count == 5
    assert finding.examples[0]["reason"] == "MemoryError: of a damaged header"
