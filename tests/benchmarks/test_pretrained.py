"""What the tables of published networks, and of fine-tuning, say."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import fine_tuning, pretrained, pretrained_answers
from seismollm_jax.inference.events.crust import sp_distance_km
from seismollm_jax.metrics.phases import NO_PICK
from tests import setups


def test_preparation_of_the_reference() -> None:
    time = np.arange(600) / 100
    waveform = np.stack([5 + np.sin(time), np.ones(600), 3 * np.cos(2 * time)], axis=1)
    made = pretrained.prepared(waveform.astype(np.float32), 2)
    assert made.shape == (300, 3)
    assert made.dtype == np.float32
    inner = slice(20, -20)
    assert np.corrcoef(made[inner, 0], waveform[::2][inner, 0])[0, 1] > 0.9999
    assert made.mean(0) == pytest.approx(0, abs=1e-5)
    assert made.std(0)[[0, 2]] == pytest.approx(1, abs=1e-5)


def test_scores_with_intervals() -> None:
    true = {"p": np.array([100, 200, 300, 400]), "s": np.array([150, 250, 350, NO_PICK])}
    found = {"p": np.array([110, 211, 250, NO_PICK]), "s": np.array([150, 250, 350, 500])}
    made = pretrained.scores(found, true, 100.0, np.arange(4))
    assert (made["p 0.1"]["hits"], made["p 0.1"]["picks"]) == (1, 3)  # 10 samples are within
    assert made["p 0.5"]["hits"] == 3
    assert made["p 0.1"]["f1"] == pytest.approx(2 / 7, abs=1e-5)
    assert made["s 0.1"]["f1"] == pytest.approx(6 / 7, abs=1e-5)
    assert made["p 0.1"]["low"] <= made["p 0.1"]["f1"] <= made["p 0.1"]["high"]


def test_a_network_in_both_ways(
    tmp_path: Path,
    data_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def evaluated(directory: Path, output: Path, **options: object) -> None:
        """What eval.py would write, which has tests of its own."""
        columns = {f"{kind}_{phase}_sample": [50] for kind in ("pred", "true") for phase in "ps"}
        pd.DataFrame({"row": [0], **columns}).to_csv(output / "predictions.csv")

    monkeypatch.setattr(pretrained.run, "run", evaluated)
    checkpoint = tmp_path / "run"
    low = {"options.p_threshold": 0.0, "options.s_threshold": 0.0}
    config = setups.config("picking", data_folder, low)
    setups.save_random(checkpoint, config, {"dataset": None, "split_hash": None})
    files = {name: str(tmp_path / name) for name in ("picks.json", "figures.json")}
    setups.save_random(tmp_path / "km", setups.config("distance", data_folder))
    given = [str(checkpoint), str(tmp_path / "km"), "--data", str(data_folder)]
    assert pretrained.main([*given, "--json", files["figures.json"]]) == 0
    both = json.loads(Path(files["figures.json"]).read_text())
    figures = both["run"]
    assert figures["reference"]["p 0.1"]["picks"] > 0
    assert figures["eval.py"]["p 0.1"]["f1"] == pytest.approx(1, abs=1e-5)
    assert figures["events"] <= figures["traces"]
    said = capsys.readouterr().out
    assert "| run | reference | " in said
    assert "| km |" not in said
    assert f"km: distance {both['km']['answers']['low']:.2f} to " in said
    assert both["km"]["answers"]["within"] <= both["km"]["traces"] <= figures["traces"]


def test_first_motions() -> None:
    noise = np.random.default_rng(0).uniform(-1, 1, 400) + 20
    swing = np.zeros(400)
    swing[302:312] = 12
    assert pretrained_answers.first_motion(noise + swing, 300, 100.0) == 1
    assert pretrained_answers.first_motion(noise - swing, 300, 100.0) == -1
    assert pretrained_answers.first_motion(noise + swing / 6, 300, 100.0) == 0  # not clear
    early = swing - np.where(np.arange(400) == 300, 5, 0)  # the other way before
    assert pretrained_answers.first_motion(noise + early, 300, 100.0) == 0
    assert pretrained_answers.first_motion(noise + swing, 5, 100.0) == 0  # no noise to compare


def test_answers_beside_s_minus_p() -> None:
    sp_s = np.array([1.0, 1.5, 4.0, 9.0])
    known = np.array([sp_distance_km(one) for one in sp_s])
    found = pretrained_answers.judged("distance", known * [0.5, 0.5, 1, 2], sp_s, np.zeros(0))
    assert (found["near"], found["within"]) == (2, 3)  # 5 km are more than half of the near ones
    assert found["near_ratio"] == 0.5
    assert found["rank_correlation"] == pytest.approx(1)
    assert found["mean_difference_km"] == pytest.approx((known[:2].sum() / 2 + known[3]) / 4)
    said, motions = np.array([0.9, 0.4, 0.2, 0.8]), np.array([1, 0, 1, 1])
    found = pretrained_answers.judged("polarity", said, sp_s, motions)
    assert (found["clear"], found["right"], found["low"]) == (3, 2, 0.2)


def test_picks_are_compared_to_the_sample() -> None:
    found = {"p": np.array([20, NO_PICK]), "s": np.array([31, 40])}
    recorded = {"a": {"p": 10, "s": 15}, "b": {"p": None, "s": None}}
    assert pretrained.equal(found, ["a", "b"], recorded, 2.0) == {"equal": 2, "of": 4}


def test_every_station_is_left_out_once() -> None:
    stations = ["A", "B", "A", "C", "D", "B", "E"]
    names = [f"t{i}" for i in range(7)]
    table = pd.DataFrame({"network": "XX", "station": stations, "trace_name": names})
    made = fine_tuning.folds(table, 3)
    tested = pd.concat([fold[fold["split"] == "test"] for fold in made])["trace_name"]
    assert sorted(tested) == names
    for fold in made:
        assert set(fold["split"]) == {"train", "val", "test"}
        assert (fold.groupby(table["station"])["split"].nunique() == 1).all()
    with pytest.raises(ValueError, match="--folds=6 with 5 stations"):
        fine_tuning.folds(table, 6)


def test_before_and_after() -> None:
    names = list("abcdefgh")
    common = {"trace_name": names, "event_id": names, "window_start": 0}
    true = {"true_p_sample": 500.0, "true_s_sample": 800.0}
    before = pd.DataFrame({**common, **true, "pred_p_sample": 520.0, "pred_s_sample": 800.0})
    after = before.assign(pred_p_sample=[500.0] * 7 + [np.nan]).iloc[::-1]
    figures = fine_tuning.compare(before, {"seed 3": after}, 50.0)
    rows = figures["rows"]
    assert rows["before"]["p 0.1"]["f1"] == 0
    assert rows["seed 3"]["p 0.1"]["f1"] == pytest.approx(14 / 15, abs=1e-5)
    gain = rows["difference"]["p 0.1"]
    assert 0.5 < gain["low"] < gain["f1"] <= gain["high"] <= 1
    assert rows["difference"]["s 0.1"] == {"f1": 0.0, "low": 0.0, "high": 0.0}
    assert "| difference | 0.933 (" in fine_tuning.table(figures)


def test_the_difference_is_that_of_the_mean() -> None:
    names = list("abcdefgh")
    common = {"trace_name": names, "event_id": names, "window_start": 0}
    true = {"true_p_sample": 500.0, "true_s_sample": 800.0}
    before = pd.DataFrame({**common, **true, "pred_p_sample": 500.0, "pred_s_sample": 820.0})
    better = before.assign(pred_s_sample=800.0)
    rows = fine_tuning.compare(before, {"seed 0": better, "seed 1": before}, 50.0)["rows"]
    half = pytest.approx(0.5, abs=1e-5)
    assert rows["difference"]["s 0.1"] == {"f1": half, "low": half, "high": half}
    assert list(rows) == ["before", "seed 0", "seed 1", "difference"]
