"""Picks of continuous records against a catalogue's."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seismollm_jax.evaluation.score_picks import main, match, read, score

TIMES = st.lists(st.integers(0, 60), max_size=12).map(lambda x: np.array(x, float))


@given(TIMES, TIMES, st.integers(0, 5))
def test_pairs_are_one_to_one_and_no_more_can_be_made(found, true, tolerance):
    i, j = match(found, true, tolerance)
    assert len(set(i.tolist())) == len(i) == len(set(j.tolist()))
    assert np.all(np.abs(found[i] - true[j]) <= tolerance)
    assert np.all(np.diff(j) > 0)
    left = np.setdiff1d(np.arange(len(found)), i), np.setdiff1d(np.arange(len(true)), j)
    distance = np.abs(found[left[0]][:, None] - true[left[1]])
    assert not (distance <= tolerance).any()


def test_the_closest_pair_comes_first():
    i, j = match(np.array([10.0, 10.3]), np.array([10.2, 10.31]), 1.0)
    assert dict(zip(j.tolist(), i.tolist(), strict=True)) == {0: 0, 1: 1}
    assert match(np.array([1.1]), np.array([1.0]), 0.1)[0].tolist() == [0]  # inclusive


def table(rows):
    return pd.DataFrame(rows, columns=["phase", "time_s", "station"])


def test_scores_by_phase():
    true = table([("P", 10, ""), ("P", 20, ""), ("S", 12, "")])
    found = table([("P", 10.05, ""), ("P", 15, ""), ("P", 10.08, ""), ("S", 19.99, "")])
    scores = score(found, true, 0.1)
    assert scores["P"]["true"] == 2
    assert (scores["P"]["picks"], scores["P"]["matched"]) == (3, 1)
    assert scores["P"]["precision"] == pytest.approx(1 / 3)
    assert (scores["P"]["recall"], scores["P"]["f1"]) == (0.5, 0.4)
    assert scores["P"]["residual_mean_s"] == pytest.approx(0.05)
    assert (scores["S"]["precision"], scores["S"]["recall"]) == (0, 0)
    assert math.isnan(scores["S"]["residual_mean_s"])
    assert math.isnan(score(found[:3], true, 0.1)["S"]["precision"])


def test_stations_are_told_apart_where_both_tables_do():
    true = table([("P", 10, "XX.A"), ("P", 10, "XX.B")])
    found = table([("P", 10, "XX.A"), ("P", 10, "XX.C")])
    assert score(found, true, 0.1)["P"]["matched"] == 1
    assert score(found, true.assign(station=""), 0.1)["P"]["matched"] == 2


def test_files(tmp_path, capsys):
    picks, true = tmp_path / "picks.csv", tmp_path / "true.csv"
    picks.write_text(
        "trace_id,phase,time,probability\n"
        "XX.A..HH,P,2024-01-01T00:00:00.120000Z,0.9\nXX.A..HH,S,2024-01-01T00:00:05Z,0.9\n"
    )
    true.write_text("phase,time\nPg,2024-01-01 00:00:00\nS,2024-01-01T00:00:05.05\n")
    main([str(picks), str(true), "--output", str(tmp_path / "scores.json")])
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["tolerance_s"] == 0.1
    assert (scores["P"]["matched"], scores["S"]["matched"]) == (0, 1)
    assert scores["P"]["residual_mean_s"] is None
    assert "precision" in capsys.readouterr().out
    assert read(picks)["station"].tolist() == ["XX.A", "XX.A"]
    true.write_text("phase,time\nP,2024-01-01T00:00:00Z\nS,noon\n")
    with pytest.raises(ValueError, match=r"true\.csv, row 3: time 'noon'"):
        main([str(picks), str(true)])
    true.write_text("phase,when\n")
    with pytest.raises(ValueError, match=r"no column time; it has phase, when"):
        main([str(picks), str(true)])
    true.write_text("phase,time\n")
    with pytest.raises(ValueError, match="holds no picks"):
        main([str(picks), str(true)])
