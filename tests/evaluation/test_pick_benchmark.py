"""The picking benchmark's protocol: windows, tables, scores."""

import itertools
import json
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seismollm_jax as sj
from seismollm_jax.data import catalogue, detect
from seismollm_jax.data.records import Dataset
from seismollm_jax.data.sources import WaveformSource
from seismollm_jax.data.waveform import cut, normalise
from seismollm_jax.evaluation import benchmark_scores, benchmark_targets, pick_benchmark
from tests import formats, setups

WINDOW = setups.TINY["data.window"]  # at 100 Hz
DETECTION = {"options.form": "detection"}  # with a curve of events in progress


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_windows_see_the_whole_part(data: st.DataObject) -> None:
    window, samples = data.draw(st.integers(1, 50)), data.draw(st.integers(1, 200))
    start = data.draw(st.integers(0, samples - 1))
    end = data.draw(st.integers(start + 1, samples + 20))  # may go beyond the trace
    looks = benchmark_targets.looks(start, end, window, samples)
    seen = [
        sample for look in looks for sample in range(look.start + look.first, look.start + look.end)
    ]
    assert set(seen) == set(range(start, min(end, samples)))
    assert all(0 <= look.first < look.end <= window for look in looks)
    assert len(looks) == -(-(min(end, samples) - start) // window)
    if samples >= window:
        assert all(0 <= look.start <= samples - window for look in looks)
    else:
        assert [look.start for look in looks] == [0]


def test_context_is_the_same_on_both_sides() -> None:
    (look,) = benchmark_targets.looks(500, 600, 300, 10_000)
    assert (look.start, look.first, look.end) == (400, 100, 200)
    assert benchmark_targets.looks(50, 60, 30, 40) == []


def dataset_of(names: list[str], files: list[str]) -> Dataset:
    table = pd.DataFrame({"trace_name": [*map("/".join, zip(files, names, strict=True))]})
    return Dataset("set", Path("set"), table.assign(address=names))


def test_names_that_several_files_have() -> None:
    """The number of the trace decides, if the trace of that number has the name."""
    dataset = dataset_of(["a", "b", "a", "c"], ["1", "1", "2", "2"])
    targets = pd.DataFrame({"trace_name": ["a", "a", "b", "c", "d", "a"]})
    rows = benchmark_targets.rows_of(targets, dataset)
    assert rows.tolist() == [-1, -1, 1, 3, -1, -1]
    rows = benchmark_targets.rows_of(targets.assign(trace_idx=[2, 0, 3, 0, 9, 1]), dataset)
    assert rows.tolist() == [2, 0, 1, 3, -1, -1]


def targets_of(**changes: object) -> pd.DataFrame:
    row = {"trace_name": "a", "trace_split": "dev", "sampling_rate": 100.0, "start_sample": 0}
    row |= {"end_sample": 100, "phase_label": "P", "phase_onset": 50.0}
    return pd.DataFrame([{**row, **changes}])


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (targets_of().drop(columns="phase_onset"), "lacks trace_type or phase_label"),
        (targets_of().drop(columns="end_sample"), "lacks end_sample"),
        (targets_of(end_sample=0), "row 2 makes no target"),
        (targets_of(phase_label="Pn"), "row 2 makes no target"),
        (targets_of(sampling_rate=0), "row 2 makes no target"),
        (targets_of(start_sample="x"), "row 2 makes no target"),
        (targets_of(trace_split="train"), "no row of the sets dev, test; .*'train'"),
    ],
)
def test_tables_that_are_no_targets(tmp_path: Path, table: pd.DataFrame, reason: str) -> None:
    table.to_csv(tmp_path / "any.csv", index=False)
    with pytest.raises(ValueError, match=reason):
        benchmark_targets.read(tmp_path / "any.csv", ("dev", "test"))
    with pytest.raises(FileNotFoundError, match=r"holds no task1\.csv or task23\.csv"):
        benchmark_targets.read(tmp_path, ("dev", "test"))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=12))
@settings(deadline=None)
def test_thresholds_by_trying_all(rows: list[tuple[bool, int]]) -> None:
    truth = np.array([true for true, _ in rows])
    score = np.array([score for _, score in rows], float)
    if not truth.any():
        return
    found = benchmark_scores.best_f1_threshold(truth, score)

    def f1(threshold: float) -> float:
        accepted = score >= threshold
        return 2 * (truth & accepted).sum() / (truth.sum() + accepted.sum())

    best = max(map(f1, score))
    assert found == min(one for one in score if f1(one) == best)
    for threshold in score:  # Matthews' coefficient is the correlation of two indicators
        accepted = score > threshold
        expected = 0.0
        if truth.any() and not truth.all() and accepted.any() and not accepted.all():
            expected = np.corrcoef(truth, accepted)[0, 1]
        assert benchmark_scores.matthews(truth, accepted) == pytest.approx(expected)


def test_scores_by_hand() -> None:
    detection = pd.DataFrame(
        {"trace_type": ["earthquake", "noise"] * 2, "score_detection": [0.9, 0.1, 0.4, 0.5]}
    )
    phases = pd.DataFrame(
        {
            "phase_label": ["P", "P", "S", "S"],
            "phase_onset": [100.0, 200, 300, 400],
            "sampling_rate": [100.0, 50, 100, 100],
            "score_p_or_s": [9.0, np.inf, 0.1, 2.0],
            "p_sample_pred": [110.0, 195, 0, 0],
            "s_sample_pred": [0.0, 0, 300, 500],
        }
    )
    unread = phases.iloc[:1].assign(score_p_or_s=np.nan, p_sample_pred=np.nan)
    tables = {
        ("dev", "task1"): detection,
        ("test", "task1"): detection.assign(score_detection=[0.9, 0.1, 0.4, 0.3]),
        ("dev", "task23"): phases,
        ("test", "task23"): pd.concat([phases, unread]),
    }
    scores = benchmark_scores.summarise(tables)
    assert scores["dev_det_auc"] == 0.75
    assert scores["det_threshold"] == 0.4
    assert scores["dev_det_f1"] == pytest.approx(0.8)
    assert scores["test_det_recall"] == 0.5  # 0.4 itself does not lie above the threshold
    assert (scores["dev_phase_auc"], scores["dev_phase_mcc"]) == (1, 1)
    assert scores["phase_threshold"] == 9.0
    assert scores["test_P_mean_s"] == pytest.approx((0.1 - 0.1) / 2)
    assert scores["test_P_std_s"] == pytest.approx(0.1)
    assert scores["test_S_mae_s"] == pytest.approx(0.5)
    assert scores["test_S_std_s"] == pytest.approx(np.sqrt(0.5))
    assert (scores["test_S_beyond_0.45_s"], scores["test_S_beyond_1.5_s"]) == (0.5, 0)
    shown = benchmark_scores.lines(scores, ["dev", "test"])
    assert shown[0].split() == ["dev", "test"]
    assert ["S_mae_s", "0.5000", "0.5000"] in [line.split() for line in shown]
    assert ["det_threshold", "0.4"] in [line.split() for line in shown]
    only_test = benchmark_scores.summarise({("test", "task1"): detection})
    assert set(only_test) == {"test_det_auc"}


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of two chunks at several rates, a random picker, targets at 100 Hz."""
    folder = tmp_path_factory.mktemp("benchmark")
    formats.FORMATS["seisbench_mixed"](folder / "data")
    setups.save_random(folder / "run", setups.config("picking"))
    names = pd.concat(
        [pd.read_csv(folder / f"data/metadata_{year}.csv")["trace_name"] for year in (2020, 2021)]
    )
    parts = itertools.cycle(["dev", "test", "test", "train"])
    common = [
        {"trace_name": name, "trace_idx": row, "trace_split": part, "sampling_rate": 100.0}
        for row, (name, part) in enumerate(zip(names, parts, strict=False))
    ]
    (folder / "targets").mkdir()
    types = itertools.cycle(["earthquake", "earthquake", "noise"])
    task1 = [  # longer than the network's window
        {**row, "start_sample": 100, "end_sample": 1100, "trace_type": kind}
        for row, kind in zip(common, types, strict=False)
    ]
    task1.append({**task1[0], "trace_name": "bucket9$0,:3,:1200"})
    pd.DataFrame(task1).to_csv(folder / "targets/task1.csv", index=False)
    task23 = [
        {
            **{**row, "start_sample": 200 + 5 * number, "end_sample": 500 + 5 * number},
            **{"phase_label": "PS"[number // 4 % 2], "phase_onset": 250.5 + 5 * number},
        }
        for number, row in enumerate(common)
    ]
    pd.DataFrame(task23).to_csv(folder / "targets/task23.csv", index=False)
    with h5py.File(folder / "data/waveforms_2020.hdf5", "r+") as file:
        file["data/bucket0"][1] = np.nan
    return folder


def test_predictions_of_all_targets(benchmark: Path, tmp_path: Path) -> None:
    scores = pick_benchmark.run(
        *(benchmark / "run", str(benchmark / "data"), benchmark / "targets", tmp_path / "out"),
        batch_size=8,
    )
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert {"dev_det_auc", "test_phase_mcc", "test_S_mae_s", "phase_threshold"} <= set(scores)
    files = {path.stem: pd.read_csv(path) for path in (tmp_path / "out").glob("*.csv")}
    assert {name: len(table) for name, table in files.items()} == {
        **{"dev_task1": 7, "test_task1": 12, "dev_task23": 6, "test_task23": 12}
    }
    assert summary["counts"]["dev_task1"] == {"targets": 7, "predicted": 6}
    assert summary["counts"]["test_task23"] == {"targets": 12, "predicted": 11}
    assert len(summary["left_out"]) == 2
    assert any("not finite" in reason for reason in summary["left_out"].values())
    columns = list(pd.read_csv(benchmark / "targets/task23.csv").columns)
    assert list(files["dev_task23"].columns) == [*columns, *pick_benchmark.OUTPUTS]

    # The same by hand: the trace at the network's rate, the window around the target.
    predictor = sj.load(benchmark / "run")
    _, dataset = detect.open_found(benchmark / "data")
    source = WaveformSource(catalogue.at_rate(dataset, 100.0), np.arange(24))
    for kind, row in (("test_task23", 5), ("dev_task23", 2), ("dev_task1", 4)):
        target = files[kind].iloc[row]
        trace = source[int(target["trace_idx"])].waveform
        start, end = int(target["start_sample"]), int(target["end_sample"])
        best = {}
        for first in (start - (WINDOW - 300) // 2,) if kind != "dev_task1" else (100, 460):
            first = min(max(first, 0), 1200 - WINDOW)
            x = normalise(cut(trace, first, WINDOW)).T[None]
            curves = predictor.forward(x)[0]  # (3, WINDOW)
            for phase in (1, 2):
                part = curves[phase, max(start - first, 0) : end - first]
                found = (part.max(), max(start, first) + int(part.argmax()))
                best[phase] = max(best.get(phase, found), found, key=lambda one: one[0])
        assert target["score_detection"] == pytest.approx(max(best[1][0], best[2][0]), rel=1e-5)
        assert target["score_p_or_s"] == pytest.approx(best[1][0] / best[2][0], rel=1e-5)
        assert (target["p_sample_pred"], target["s_sample_pred"]) == (best[1][1], best[2][1])


def test_sample_numbers_are_those_of_the_targets(benchmark: Path, tmp_path: Path) -> None:
    """Targets at 50 Hz are the same windows, and answers count at 50 Hz."""
    table = pd.read_csv(benchmark / "targets/task23.csv")
    table["start_sample"] = 2 * (table["start_sample"] // 2)
    table["end_sample"] = table["start_sample"] + 300
    half = table.assign(sampling_rate=50.0)
    for column in ("start_sample", "end_sample", "phase_onset"):
        half[column] = half[column] / 2
    found = []
    setups.save_random(tmp_path / "run", setups.config("picking", "", DETECTION))
    for name, targets in (("a", table), ("b", half)):
        targets.to_csv(tmp_path / f"{name}.csv", index=False)
        pick_benchmark.run(
            *(tmp_path / "run", str(benchmark / "data"), tmp_path / f"{name}.csv"),
            *(tmp_path / name,),
            batch_size=8,
            sets=["dev"],
        )
        found.append(pd.read_csv(tmp_path / name / "dev_task23.csv"))
    for column in ("p_sample_pred", "s_sample_pred"):
        np.testing.assert_allclose(found[1][column] * 2, found[0][column])
    for column in ("score_p_or_s", "score_detection"):
        np.testing.assert_allclose(found[1][column], found[0][column])

    # The curve of events, in the part of the window that is the target's.
    _, dataset = detect.open_found(benchmark / "data")
    source = WaveformSource(catalogue.at_rate(dataset, 100.0), np.arange(24))
    target = found[0].iloc[2]
    trace, start = source[int(target["trace_idx"])].waveform, int(target["start_sample"])
    first = start - (WINDOW - 300) // 2
    x = normalise(cut(trace, first, WINDOW)).T[None]
    curve = sj.load(tmp_path / "run").forward(x)[0, 0, start - first :][:300]
    assert target["score_detection"] == pytest.approx(float(curve.max()), rel=1e-5)


def test_refusals(benchmark: Path, tmp_path: Path) -> None:
    setups.save_random(tmp_path / "other", setups.config("magnitude"))
    data, targets = str(benchmark / "data"), benchmark / "targets"
    with pytest.raises(ValueError, match=r"task magnitude; the benchmark is about picking"):
        pick_benchmark.run(tmp_path / "other", data, targets, tmp_path / "out")
    targets_of(trace_name="nobody").to_csv(tmp_path / "targets.csv", index=False)
    with pytest.raises(ValueError, match=r"no target could be evaluated; .*nobody is not in"):
        pick_benchmark.run(
            benchmark / "run", data, tmp_path / "targets.csv", tmp_path / "out", batch_size=8
        )
    assert not (tmp_path / "out").exists()
