"""Evaluations side by side: pairs of records, intervals of differences, tables for papers."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seismollm_jax import tasks
from seismollm_jax.evaluation import compare, comparison_text, prediction_tables, published
from seismollm_jax.evaluation.prediction_tables import Predictions
from seismollm_jax.metrics.detections import DetectionMetrics
from seismollm_jax.metrics.phases import NO_PICK

WINDOW = 3000
DETECTING = tasks.get("picking", "detection")


def answers_of(task_name: str, rows: int, seed: int, slots: int = 1) -> tuple[dict, dict]:
    """Random targets and answers as evaluation has them."""
    draw = np.random.default_rng(seed)
    if task_name == "picking":
        targets: dict[str, Any] = {}
        answers: dict[str, Any] = {}
        for phase in "ps":
            true = np.sort(draw.integers(100, WINDOW - 100, (rows, slots)), 1)
            true[draw.random((rows, slots)) < 0.2] = NO_PICK
            found = true + draw.integers(-15, 16, (rows, slots))
            found[(true < 0) | (draw.random((rows, slots)) < 0.2)] = NO_PICK
            targets |= {
                f"{phase}_sample": true,
                f"{phase}_sample_labelled": draw.integers(0, 2, rows),
            }
            answers |= {f"{phase}_sample": found}
            answers[f"{phase}_probability"] = np.where(
                found >= 0, draw.random((rows, slots)), np.nan
            )
        return targets, answers
    if task_name == "polarity":
        up = draw.random(rows)
        return {"polarity": np.eye(2)[draw.integers(0, 2, rows)]}, {
            "polarity": np.stack([up, 1 - up], 1)
        }
    (name,) = tasks.get(task_name).metrics(
        tasks.get(task_name).context(window=1, sampling_rate_hz=1.0, options={})
    )
    true = draw.uniform(0, 8, (rows, 1)) * (45 if task_name == "back_azimuth" else 1)
    return {name: true}, {name: (true + draw.normal(0, 1, (rows, 1))) % 360}


def table_of(
    task_name: str, targets: dict, answers: dict, rate: float = 100.0, per_event: int = 1
) -> pd.DataFrame:
    task = tasks.get(task_name)
    context = task.context(window=WINDOW, sampling_rate_hz=rate, options={})
    columns = task.columns(targets, answers, context)
    rows = len(next(iter(columns.values())))
    about = {
        "trace_name": [f"trace {row}" for row in range(rows)],
        "row": np.arange(rows),
        "event_id": [f"event {row // per_event}" for row in range(rows)],
        "window_start": 0,
    }
    return pd.DataFrame({**about, **columns})


def written(folder: Path, table: pd.DataFrame) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "predictions.csv", index=False)
    return folder


def predictions(name: str, table: pd.DataFrame, task: str = "magnitude") -> Predictions:
    return Predictions(name, Path(name), tasks.get(task), table.set_index("trace_name"))


def magnitudes(true: np.ndarray, predicted: np.ndarray, per_event: int = 1) -> pd.DataFrame:
    both = {"magnitude": true[:, None]}, {"magnitude": predicted[:, None]}
    return table_of("magnitude", *both, per_event=per_event)


@given(st.sampled_from(sorted(tasks.TASKS)), st.integers(1, 3), st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_a_table_gives_the_scores_back(
    tmp_path_factory: pytest.TempPathFactory, task_name: str, slots: int, seed: int
) -> None:
    """What went into a table comes out of it, for each task, by each of the two kinds of file."""
    task = tasks.get(task_name)
    targets, answers = answers_of(task_name, 40, seed, slots)
    context = task.context(window=WINDOW, sampling_rate_hz=100.0, options={})
    table = table_of(task_name, targets, answers)
    folder = written(tmp_path_factory.mktemp("table"), table)
    one = prediction_tables.read(folder, "one")
    assert one.task is task
    largest, most = prediction_tables.extent([one])
    again = prediction_tables.context(one, largest + 1, 0.1)
    found = prediction_tables.arrays(one, one.table.index, max(most, slots))
    for name, metric in task.metrics(context).items():
        mask = np.asarray(targets.get(f"{name}_labelled", np.ones(40)), bool)
        metric.update(answers[name], targets[name], mask)
        other = task.metrics(again)[name]
        other.update(found[name].predicted, found[name].target, found[name].mask)
        expected, scores = metric.compute(), other.compute()
        for score in (c.score for c in comparison_text.columns(task) if c.answer == name):
            assert scores[score] == pytest.approx(expected[score], rel=1e-9, nan_ok=True), score


def detections(rows: int, seed: int) -> tuple[pd.DataFrame, DetectionMetrics]:
    """The table of a network that detects events, and its scores from what the table is made of."""
    draw = np.random.default_rng(seed)
    targets, answers = answers_of("picking", rows, seed, slots=2)
    for side in (targets, answers):
        begin = draw.integers(0, WINDOW, (rows, 2))
        ends = begin + draw.integers(-100, 900, (rows, 2))  # some are empty, some end behind it
        side["detection"] = np.stack([begin, ends], -1).reshape(rows, 4)
    answers["detection"] = np.minimum(answers["detection"], WINDOW - 1)
    targets["detection_labelled"] = draw.integers(0, 2, rows)
    answers["detection_probability"] = draw.random((rows, 2))
    metric = DetectionMetrics(WINDOW)
    metric.update(answers["detection"], targets["detection"], targets["detection_labelled"])
    context = DETECTING.context(window=WINDOW, sampling_rate_hz=100.0, options={})
    table = pd.DataFrame(DETECTING.columns(targets, answers, context))
    about = {"trace_name": [f"trace {row}" for row in range(rows)], "window_start": 0}
    return table.assign(**about), metric


def test_events_in_progress_are_compared(tmp_path: Path) -> None:
    made = [detections(50, seed) for seed in (1, 2)]
    several = [
        prediction_tables.read(written(tmp_path / name, table), name)
        for name, (table, _) in zip("ab", made, strict=True)
    ]
    assert [one.task for one in several] == [DETECTING, DETECTING]
    found = compare.compare(several, resamples=20)
    scores = found.scores.set_index(["model", "answer", "score"])["value"]
    for name, (_, metric) in zip("ab", made, strict=True):
        for score, value in metric.compute().items():
            if score != "n":
                assert scores[name, "detection", score] == pytest.approx(value), score
    assert "| detection | a | 0." in comparison_text.markdown(found)


def test_only_what_all_networks_tell_is_compared() -> None:
    table, _ = detections(50, 1)
    a, b = (
        Predictions(name, Path(name), DETECTING, table.set_index("trace_name")) for name in "ab"
    )
    b = dataclasses.replace(b, task=tasks.get("picking"))  # as one without the curve of events
    found = compare.compare([a, b], resamples=20)
    assert set(found.scores["answer"]) == {"p_sample", "s_sample"}
    assert "a is a network for event detection and P and S arrival picking" in found.notes[0]
    assert not any(note.startswith("b is") for note in found.notes)


def test_csv_and_parquet_are_the_same(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    table = table_of("picking", *answers_of("picking", 30, 1, slots=2))
    csv = prediction_tables.read(written(tmp_path / "csv", table), "one")
    (tmp_path / "parquet").mkdir()
    table.to_parquet(tmp_path / "parquet/predictions.parquet", index=False)
    parquet = prediction_tables.read(tmp_path / "parquet", "one")
    first, second = (prediction_tables.arrays(one, one.table.index, 2) for one in (csv, parquet))
    for name in first:
        np.testing.assert_array_equal(first[name].predicted, second[name].predicted)
        np.testing.assert_array_equal(first[name].target, second[name].target)
        np.testing.assert_array_equal(first[name].mask, second[name].mask)


def test_pairs_show_what_intervals_of_each_hide() -> None:
    """Errors that both make cancel in the difference; the order of rows does not matter."""
    draw = np.random.default_rng(0)
    true, error = draw.uniform(1, 6, 300), draw.normal(0, 0.5, 300)
    first = magnitudes(true, true + error)
    second = magnitudes(true, true + 1.1 * error).sample(frac=1, random_state=0)
    found = compare.compare([predictions("a", first), predictions("b", second)], resamples=200)
    assert (found.records, found.events) == (300, 300)
    scores = found.scores.set_index(["model", "score"])
    a, b = scores.loc[("a", "mae")], scores.loc[("b", "mae")]
    assert a["value"] == pytest.approx(np.abs(error).mean())
    assert b["difference"] == pytest.approx(0.1 * np.abs(error).mean())
    assert a["low"] < a["value"] < a["high"]
    assert b["low"] < a["high"]  # alone they could be equal
    assert 0 < b["difference_low"] < b["difference"] < b["difference_high"]
    assert np.isnan(a["difference"])


def test_nothing_differs_from_itself() -> None:
    table = table_of("picking", *answers_of("picking", 60, 3))
    several = [predictions(name, table, "picking") for name in "ab"]
    scores = compare.compare(several, resamples=50).scores
    own = scores[scores["model"] == "b"]
    assert (own[["difference", "difference_low", "difference_high"]] == 0).all(axis=None)
    assert (own["low"] < own["high"]).all()


def test_records_of_an_event_are_no_independent_draws() -> None:
    """Each record four times in its event says no more than once."""
    draw = np.random.default_rng(1)
    true = draw.uniform(1, 6, 100)
    predicted = true + draw.normal(0, 0.5, 100)
    once = compare.compare([predictions("a", magnitudes(true, predicted))])
    often = magnitudes(np.repeat(true, 4), np.repeat(predicted, 4), per_event=4)
    by_event = compare.compare([predictions("a", often)])
    alone = compare.compare([predictions("a", often.drop(columns="event_id"))])
    assert (by_event.records, by_event.events, alone.events) == (400, 100, None)
    assert any("no event_id" in note for note in alone.notes)
    widths = [
        one.scores.set_index("score").loc["mae", ["low", "high"]].diff().iloc[1]
        for one in (once, by_event, alone)
    ]
    assert widths[1] == pytest.approx(widths[0])
    assert widths[2] < 0.7 * widths[0]


def test_only_common_records_count() -> None:
    true = np.arange(10) / 2
    first, second = magnitudes(true, true + 1), magnitudes(true, true + 2)
    second["trace_name"] = [f"trace {row + 6}" for row in range(10)]
    second["true_magnitude"] += 3
    found = compare.compare([predictions("a", first), predictions("b", second)], resamples=20)
    assert found.records == 4
    assert sum("10 records" in note for note in found.notes) == 2
    assert not any("another true" in note for note in found.notes)
    second["true_magnitude"] += 0.1
    found = compare.compare([predictions("a", first), predictions("b", second)], resamples=20)
    assert any("4 records have another true magnitude in b" in note for note in found.notes)


def test_one_event_has_no_interval() -> None:
    table = magnitudes(np.arange(4.0), np.arange(4.0) + 1, per_event=4)
    found = compare.compare([predictions(name, table) for name in "ab"], resamples=20)
    assert found.scores[["low", "high", "difference_low"]].isna().all(axis=None)
    assert "| magnitude | a | 1.000 | " in comparison_text.markdown(found)


def test_sampling_rates_may_differ() -> None:
    """Residuals are compared in seconds, and so is the tolerance."""
    targets, answers = answers_of("picking", 80, 5)
    half = [
        {k: np.where(v > 0, v * 2, v) if k.endswith("_sample") else v for k, v in a.items()}
        for a in (targets, answers)
    ]
    several = [
        predictions("50 Hz", table_of("picking", targets, answers, 50.0), "picking"),
        predictions("100 Hz", table_of("picking", *half, 100.0), "picking"),
    ]
    found = compare.compare(several, tolerance_s=0.2, resamples=20)
    assert found.notes == ()
    own = found.scores[found.scores["model"] == "100 Hz"]
    np.testing.assert_allclose(own["difference"], 0, atol=1e-12)
    assert 0.2 < own.set_index(["answer", "score"]).loc[("p_sample", "f1"), "value"] < 0.99


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    true = np.arange(4.0)
    table = magnitudes(true, true)
    other = table.assign(trace_name=[f"other {row}" for row in range(4)])
    with pytest.raises(ValueError, match=r"no trace is in all of"):
        compare.compare([predictions("a", table), predictions("b", other)])
    picks = table_of("picking", *answers_of("picking", 4, 0))
    with pytest.raises(ValueError, match=r"of the task picking, a of magnitude"):
        compare.compare([predictions("a", table), predictions("b", picks, "picking")])
    with pytest.raises(ValueError, match=r"two evaluations have one name"):
        compare.compare([predictions("a", table), predictions("a", table)])
    twice = written(tmp_path / "twice", pd.concat([table, table]))
    with pytest.raises(ValueError, match=r"has the trace 'trace 0' twice"):
        prediction_tables.read(twice, "a")
    less = written(tmp_path / "less", table.drop(columns="pred_magnitude"))
    with pytest.raises(ValueError, match=r"magnitude: pred_magnitude; back_azimuth"):
        prediction_tables.read(less, "a")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"has no predictions\.csv.*python eval\.py"):
        prediction_tables.read(tmp_path / "empty", "a")
    with pytest.raises(FileNotFoundError, match=r"does not exist"):
        prediction_tables.read(tmp_path / "nowhere", "a")


def test_the_folder_of_a_run_will_do(tmp_path: Path) -> None:
    table = magnitudes(np.arange(3.0), np.arange(3.0))
    written(tmp_path / "run/test", table)
    assert prediction_tables.find(tmp_path / "run") == tmp_path / "run/test/predictions.csv"
    written(tmp_path / "run/val", table)
    with pytest.raises(ValueError, match=r"more than once; give one of .*run/test, .*run/val"):
        prediction_tables.find(tmp_path / "run")


def test_names() -> None:
    assert compare.named(["runs/a/test", "runs/b/test"]) == {
        "a/test": "runs/a/test",
        "b/test": "runs/b/test",
    }
    assert compare.named(["old=runs/a", "runs/b"]) == {"old": "runs/a", "b": "runs/b"}
    with pytest.raises(ValueError, match=r"one name"):
        compare.named(["runs/a", "runs/a"])


def test_tables_for_papers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command: Markdown printed, files written, published figures marked as such."""
    draw = np.random.default_rng(2)
    true = draw.uniform(1, 6, 50)
    paths = [
        str(written(tmp_path / name, magnitudes(true, true + draw.normal(0, spread, 50))))
        for name, spread in (("big_net", 0.1), ("50%", 0.5))
    ]
    quoted = tmp_path / "published.csv"
    quoted.write_text(
        "model,answer,score,value,source\n"
        "Net & Co,magnitude,mae,0.2,table 2\nNet & Co,p_sample,f1,0.9,table 3\n"
    )
    files = [tmp_path / f"out/table.{suffix}" for suffix in ("md", "tex", "csv")]
    compare.main(
        [*paths, f"--published={quoted}", "--resamples=50"]
        + [f"--{k}={file}" for k, file in zip(("markdown", "latex", "csv"), files, strict=True)]
    )
    markdown, latex = (file.read_text() for file in files[:2])
    assert capsys.readouterr().out == markdown + "\n"
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    assert lines[0] == "| answer | model | MAE | R2 | mean | std |"
    assert lines[4] == "| magnitude | Net & Co (published, not measured) | 0.200 | - | - | - |"
    assert "- Net & Co: published, not measured; from table 2." in markdown
    assert {line.count("|") for line in lines} == {7}
    assert r"\*" in lines[-1]
    assert r"Net \& Co (published, not measured)" in latex
    assert r"big\_net" in latex
    assert r"50\%" in latex
    assert {line.count(" & ") for line in latex.splitlines() if line.endswith(r"\\")} == {5}
    numbers = pd.read_csv(files[2])
    assert len(numbers) == 8
    assert set(numbers["model"]) == {"big_net", "50%"}
    assert set(numbers["task"]) == {"magnitude"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("model,answer,score,value\nA,magnitude,mae,1\n", "lacks the columns source"),
        ("model,answer,score,value,source\nA,magnitude,mae,much,t\n", "row 2 has no usable value"),
        ("model,answer,score,value,source\nA,magnitude,,1,t\n", "row 2 has no usable score"),
        ("model,answer,score,value,source\n" + 2 * "A,magnitude,mae,1,t\n", "of A twice"),
    ],
)
def test_bad_published_figures(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "figures.csv").write_text(text)
    with pytest.raises(ValueError, match=reason):
        published.read(tmp_path / "figures.csv")
