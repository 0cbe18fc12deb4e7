"""Evaluating a checkpoint: files, thresholds, data of other kinds, damaged traces."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

import seismollm_jax as sj
from seismollm_jax.data.seisbench_files import write as write_seisbench
from seismollm_jax.evaluation import intervals
from seismollm_jax.evaluation.run import run
from seismollm_jax.training import loop, saved
from tests import formats, setups
from tests.evaluation.checkpoints import TRAINED, summary_of

PICTURES = {
    "picking": {"residuals.png", "examples.png"},
    "polarity": {"polarity.png", "examples.png"},
    "magnitude": {"magnitude.png", "examples.png"},
    "back_azimuth": {"back_azimuth_deg.png", "examples.png"},
    "distance": {"distance_km.png", "examples.png"},
}
CURVE_FIGURES = ("pr_area", "calibration_error", "false_picks_per_hour")
COLUMNS = {
    "picking": [
        *("true_p_sample", "pred_p_sample", "p_probability", "p_residual_s", "p_labelled"),
        *("true_s_sample", "pred_s_sample", "s_probability", "s_residual_s", "s_labelled"),
    ],
    "polarity": ["true_polarity", "pred_polarity", "up_probability"],
    "magnitude": ["true_magnitude", "pred_magnitude"],
    "back_azimuth": ["true_back_azimuth_deg", "pred_back_azimuth_deg"],
    "distance": ["true_distance_km", "pred_distance_km"],
}


@pytest.mark.parametrize("trained", setups.TASKS, indirect=True)
def test_files_of_an_evaluation(trained: Path, data_folder: Path, tmp_path: Path) -> None:
    stored = saved.load(trained)
    task = stored.description["task"]
    picking = {"operating_point": "config"} if task == "picking" else {}
    scores = run(trained, tmp_path / "out", part="val", **picking)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "metrics.json",
        "predictions.csv",
        "predictions.parquet",
        "pictures",
    }
    pictures = list((tmp_path / "out/pictures").iterdir())
    assert {path.name for path in pictures} == PICTURES[task]
    assert all(path.stat().st_size > 3000 for path in pictures)
    summary = json.loads((tmp_path / "out/metrics.json").read_text())
    assert summary["scores"] == {k: v if np.isfinite(v) else None for k, v in scores.items()}
    assert (summary["task"], summary["split"], summary["unreadable"]) == (task, "val", {})
    assert (summary["data"], summary["checkpoint"]) == (str(data_folder), str(stored.path))
    assert summary["step"] == int(stored.path.name)
    table = pd.read_csv(tmp_path / "out/predictions.csv")
    known = ["trace_name", "row", "event_id", "station", "window_start"]
    assert list(table.columns) == [*known, *COLUMNS[task]]
    assert len(table) == summary["records"] > 0
    same = pd.read_parquet(tmp_path / "out/predictions.parquet")
    same.to_csv(tmp_path / "again.csv", index=False)
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "out/predictions.csv").read_bytes()
    counts = {name for name in scores if name.rpartition("/")[2] in intervals.COUNTS}
    assert summary["intervals"].keys() == scores.keys() - counts
    for name, (low, high) in summary["intervals"].items():
        if low is not None and "circular" not in name:
            assert low <= high
    assert summary["bootstrap"]["events"] == len(table.groupby("event_id", dropna=False)) or (
        table["event_id"].isna().any()
    )
    assert set(summary["breakdown"]) <= {"snr_db", "distance_km", "magnitude", "station"}
    for name in ("distance_km", "magnitude"):
        bins = summary["breakdown"][name]
        assert sum(entry["records"] for entry in bins) == table["event_id"].notna().sum()
        assert all(entry["scores"] for entry in bins)
    assert summary.get("thresholds", {}).get("p_from") == ("config" if picking else None)
    assert table["row"].is_unique
    names = pd.read_csv(data_folder / "merge.csv", low_memory=False)["trace_name"]
    assert table["trace_name"].tolist() == names[table["row"]].tolist()
    if task not in TRAINED:
        return
    # The validation of the training run saw the same records, windows and network.
    logged = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    (last,) = [line for line in logged if line["part"] == "val"]
    assert last.keys() <= scores.keys() | {"step", "part"}
    for name, value in scores.items():
        if name.rpartition("/")[2] in CURVE_FIGURES:
            continue
        assert (last[name] is None) == (not np.isfinite(value))
        if last[name] is not None:
            assert value == pytest.approx(last[name], rel=1e-5, abs=1e-6), name


def test_a_report_shows_the_worst_records(trained: Path, tmp_path: Path) -> None:
    run(trained, tmp_path / "out", part="val", make_report=True)
    table = pd.read_csv(tmp_path / "out/predictions.csv")
    error = (table["pred_magnitude"] - table["true_magnitude"]).abs()
    text = (tmp_path / "out/report.html").read_text()
    worst, best = (table["trace_name"][place] for place in (error.idxmax(), error.idxmin()))
    assert f"Worst: {worst}</p>" in text
    assert f"Best: {best}</p>" in text
    summary = summary_of(tmp_path / "out")
    for words in (summary["network_sha256"], summary["split_hash"], summary["checkpoint"]):
        assert words in text
    assert (tmp_path / "out/pictures/case_01_best.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("trained", ["picking"], indirect=True)
def test_operating_points_of_a_checkpoint(
    trained: Path, data_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The training stores what the evaluation would choose; all programs then use it."""
    out, copy = tmp_path / "out", shutil.copytree(trained, tmp_path / "run")
    stored = saved.find(copy)
    points = saved.read_description(stored)["operating_points"]
    assert {"p", "p_f1"} <= points["f1"].keys()
    assert 0.05 <= points["f1"]["p"] <= 0.99
    saved.amend(stored, operating_points={})
    run(copy, out, part="val")
    assert summary_of(out)["thresholds"]["p_from"] == "config"
    with pytest.raises(ValueError, match=r"no operating point 'f1': eval\.py --split=val --choose"):
        run(copy, out, part="val", operating_point="f1")
    with pytest.raises(ValueError, match="on the validation part, not on test"):
        run(copy, out, part="test", choose_thresholds=True)
    capsys.readouterr()
    scores = run(copy, out, part="val", choose_thresholds=True)
    assert saved.read_description(stored)["operating_points"] == points
    saved.verify(stored)
    said = f"thresholds: P {points['f1']['p']:g} (best F1 of the validation), S "
    assert said in capsys.readouterr().out
    assert scores["p_sample/f1"] == pytest.approx(points["f1"]["p_f1"])
    assert run(copy, out, part="val") == pytest.approx(scores, nan_ok=True)
    assert summary_of(out)["thresholds"]["p"] == points["f1"]["p"] == sj.load(copy).thresholds["p"]
    run(copy, out, part="val", given={"p": 0.9})
    assert (
        summary_of(out)["thresholds"] | {"p": 0.9, "p_from": "given"}
        == (summary_of(out)["thresholds"])
    )


def slow_and_fast(folder: Path) -> dict[str, Path]:
    """The same slow motions of the ground at 50 Hz as Z, N, E and at 100 Hz as E, N, Z."""
    found = {}
    for name, rate, order in (("slow", 50, "ZNE"), ("fast", 100, "ENZ")):
        draw, waveforms, rows = np.random.default_rng(0), [], []
        time = np.arange(20 * rate) / rate
        for row in range(12):
            p_s, s_s = 4 + row / 2, 8 + row / 2  # whole samples at either rate
            waves = {c: draw.uniform((1, 0), (9, 6.3), (8, 2)) for c in "ZNE"}
            grown = 1 / (1 + np.exp(-5 * (time - p_s)))
            motion = {c: grown * np.sin(6.3 * w[:, :1] * time + w[:, 1:]).sum(0)
                      for c, w in waves.items()}  # fmt: skip
            waveforms.append(np.stack([motion[c] for c in order]).astype(np.float32))
            arrivals = {"trace_p_arrival_sample": p_s * rate, "trace_s_arrival_sample": s_s * rate}
            rows.append({"source_id": f"e{row}", "trace_name": f"t{row}", **arrivals})
        found[name] = folder / name
        data_format = {"component_order": order, "sampling_rate": float(rate)}
        write_seisbench(found[name], waveforms, pd.DataFrame(rows), data_format=data_format)
    return found


def test_another_rate_and_order_of_components(tmp_path: Path) -> None:
    """A network for 100 Hz in Z, N, E sees the same windows, and residuals are true seconds."""
    low = {"options.p_threshold": 0.01, "options.s_threshold": 0.01}
    config = setups.config("picking", "nowhere", {**low, "data.format": "seisbench"})
    setups.save_random(tmp_path / "run", config, {"dataset": None, "split_hash": None})
    tables = {}
    for name, path in slow_and_fast(tmp_path).items():
        run(tmp_path / "run", tmp_path / name / "out", part="all", data_path=str(path))
        tables[name] = pd.read_parquet(tmp_path / name / "out/predictions.parquet")
    slow, fast = tables["slow"], tables["fast"]
    known = ["row", "event_id", "window_start", "true_p_sample", "true_s_sample"]
    assert slow[known].equals(fast[known])
    for phase, first_s in (("p", 4), ("s", 8)):
        true = pd.to_numeric(slow[f"true_{phase}_sample"])
        expected = 100 * first_s + 50 * slow["row"]
        inside = true.notna()
        assert inside.sum() > 3
        assert (true + slow["window_start"])[inside].tolist() == expected[inside].tolist()
        residual = (pd.to_numeric(slow[f"pred_{phase}_sample"]) - true) / 100
        assert residual.notna().sum() > 3
        np.testing.assert_allclose(slow[f"{phase}_residual_s"], residual, atol=1e-12)
        heights = slow[f"{phase}_probability"], fast[f"{phase}_probability"]
        np.testing.assert_allclose(*heights, atol=0.01)


def test_batch_size_does_not_matter(trained: Path, tmp_path: Path) -> None:
    first = run(trained, tmp_path / "a", part="all")
    second = run(trained, tmp_path / "b", part="all", batch_size=16)
    assert first.keys() == second.keys()
    for name in first:
        assert first[name] == pytest.approx(second[name], rel=1e-5, nan_ok=True)
    one, two = (pd.read_csv(tmp_path / name / "predictions.csv") for name in "ab")
    pd.testing.assert_frame_equal(one, two, rtol=1e-5)
    assert len(one) == 58


@pytest.mark.parametrize("form", ["seisbench_mixed", "diting", "mixture"])
def test_data_of_another_format(
    trained: Path, data_folder: Path, tmp_path: Path, form: str
) -> None:
    """It is found by looking, and resampled to the rate of the training."""
    path = tmp_path / "other"
    if form == "mixture":
        path = tmp_path / "mix.toml"
        path.write_text(f"[one]\nformat = 'stead'\npath = '{data_folder}'")
    else:
        formats.FORMATS[form](path)
        path = path / "DiTing330km_light.csv" if form == "diting" else path
    run(trained, tmp_path / "out", part="all", data_path=str(path))
    table = pd.read_csv(tmp_path / "out/predictions.csv")
    assert len(table) >= 15
    assert table["pred_magnitude"].notna().all()
    summary = json.loads((tmp_path / "out/metrics.json").read_text())
    assert summary["split_by"] is None
    assert ("sources" in summary) == (form == "mixture")
    if form == "mixture":
        overall = {k: v for k, v in summary["scores"].items() if k != "loss"}
        assert summary["sources"] == {"one": pytest.approx(overall)}


def test_all_needs_no_way_of_splitting(trained: Path, tmp_path: Path) -> None:
    """Not even if the training's way is impossible with these data."""
    formats.FORMATS["seisbench"](tmp_path / "other")
    table = pd.read_csv(tmp_path / "other" / "metadata.csv").drop(columns="split")
    table.to_csv(tmp_path / "other" / "metadata.csv", index=False)
    copy = shutil.copytree(trained, tmp_path / "run")
    for file in copy.rglob("description/metadata"):
        description = json.loads(file.read_text())
        description["config"]["data"]["split"]["by"] = "column"
        file.write_text(json.dumps(description))
    run(copy, tmp_path / "out", part="all", data_path=str(tmp_path / "other"))
    assert len(pd.read_csv(tmp_path / "out/predictions.csv")) > 15
    with pytest.raises(ValueError, match=r"data\.split\.by=column is impossible"):
        run(copy, tmp_path / "out", data_path=str(tmp_path / "other"))


def test_moved_data(trained: Path, data_folder: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(data_folder, tmp_path / "moved")
    expected = run(trained, tmp_path / "a", part="val")
    assert run(trained, tmp_path / "b", part="val", data_path=str(moved)) == expected
    assert json.loads((tmp_path / "b/metrics.json").read_text())["data"] == str(moved)


def test_builtin_data_are_not_made_anew_where_they_moved_to(
    data_folder: Path, tmp_path: Path
) -> None:
    config = setups.config("magnitude", data_folder)
    loop.run(config, tmp_path / "run")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        run(tmp_path / "run", tmp_path / "out", data_path=str(tmp_path / "nowhere"))
    assert not (tmp_path / "nowhere").exists()
    moved = shutil.copytree(data_folder, tmp_path / "moved")
    assert run(tmp_path / "run", tmp_path / "out", data_path=str(moved))


def damage(folder: Path, names: list[str]) -> None:
    with h5py.File(folder / "merge.hdf5", "a") as file:
        for name in names:
            file["data"][name][5:10] = np.nan


def test_damaged_traces_are_counted_and_listed(
    trained: Path,
    data_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(trained, tmp_path / "whole", part="val")
    table = pd.read_csv(tmp_path / "whole/predictions.csv")
    copy = shutil.copytree(data_folder, tmp_path / "copy")
    bad = table["trace_name"].iloc[[0, 2]].tolist()
    damage(copy, bad)
    run(trained, tmp_path / "out", part="val", data_path=str(copy))
    summary = json.loads((tmp_path / "out/metrics.json").read_text())
    assert sorted(summary["unreadable"]) == sorted(bad)
    for name, reason in summary["unreadable"].items():
        assert f"trace {name!r} has 5 samples that are not finite" in reason
    assert summary["records"] == len(table) - 2
    rest = pd.read_csv(tmp_path / "out/predictions.csv")
    assert rest["trace_name"].tolist() == table.drop([0, 2])["trace_name"].tolist()
    assert "2 traces could not be read; metrics.json says why" in capsys.readouterr().out


@pytest.mark.parametrize("trained", ["picking", "magnitude"], indirect=True)
def test_a_split_without_a_readable_trace(trained: Path, data_folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(data_folder, tmp_path / "copy")
    damage(copy, pd.read_csv(copy / "merge.csv", low_memory=False)["trace_name"].tolist())
    message = r"none of the \d+ records in the val split of .* can be used; the first: .*finite"
    with pytest.raises(ValueError, match=message):
        run(trained, tmp_path / "out", part="val", data_path=str(copy))
    assert not (tmp_path / "out/metrics.json").exists()
