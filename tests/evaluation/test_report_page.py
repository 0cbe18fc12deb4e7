"""The report: one page with everything in it, for every kind of answer."""

import base64
import dataclasses
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from seismollm_jax import html_page, tasks
from seismollm_jax.evaluation import report, report_cases, summary, wording
from seismollm_jax.evaluation.evaluate import Evaluation
from seismollm_jax.evaluation.pictures import Examples
from seismollm_jax.metrics.phases import NO_PICK, PhaseMetrics
from seismollm_jax.tasks import thresholds

RECORDS, NOISE, WINDOW = 60, 6, 400
NAME = """<b>&"it's"</b>_"""  # in front of all trace names
VOID = ("meta", "link", "img", "br")


@dataclasses.dataclass(frozen=True)
class Stand:
    """What an evaluation asks of an experiment."""

    task: Any
    context: Any


def catalogue() -> pd.DataFrame:
    draw, row = np.random.default_rng(0), np.arange(RECORDS)
    return pd.DataFrame(
        {
            "trace_name": [f"{NAME}{n}" for n in row],
            "category": pd.Categorical(np.where(row < NOISE, "noise", "earthquake")),
            "event_id": [f"e{n // 3}" for n in row],
            "network": "NA",
            "station": ["S<1>" if n % 2 else "S2" for n in row],
            **{f"snr_{c}_db": draw.uniform(-5, 30, RECORDS) for c in "zne"},
            "distance_km": draw.uniform(0, 40, RECORDS),
            "magnitude": draw.uniform(0, 3, RECORDS),
        }
    )


def outcome(name: str, form: str = "") -> Evaluation:
    """Answers of a task near the truth; the first records of picking are noise."""
    task, draw = tasks.get(name, form), np.random.default_rng(1)
    context = task.context(window=WINDOW, sampling_rate_hz=100.0, options={})
    targets: dict[str, np.ndarray] = {}
    answers: dict[str, np.ndarray] = {}
    rows = np.arange(RECORDS)
    for answer, metric in task.metrics(context).items():
        if isinstance(metric, PhaseMetrics):
            noise = (rows < NOISE)[:, None]
            targets[answer] = np.where(noise, NO_PICK, draw.integers(100, 300, (RECORDS, 1)))
            error = np.round(draw.normal(0, 5, (RECORDS, 1))).astype(int)
            answers[answer] = np.where(noise, NO_PICK, targets[answer] + error)
            heights = draw.uniform(0.3, 1, (RECORDS, 1)).astype(np.float32)
            answers[answer.replace("sample", "probability")] = np.where(noise, np.nan, heights)
            targets[f"{answer}_labelled"] = np.ones(RECORDS, np.float32)
        elif answer == "detection":
            first = targets["p_sample"].clip(0)
            ranges = [np.concatenate([first, first + length], 1) for length in (60, 50)]
            targets[answer], answers[answer] = np.where(rows[:, None] < NOISE, [1, 0], ranges)
            targets[f"{answer}_labelled"] = np.ones(RECORDS, np.float32)
        elif answer == "polarity":
            up = draw.random(RECORDS).astype(np.float32)
            answers[answer] = np.stack([up, 1 - up], 1)
            targets[answer] = np.eye(2, dtype=np.float32)[(draw.random(RECORDS) > up).astype(int)]
        else:
            targets[answer] = draw.uniform(0, 8, (RECORDS, 1)).astype(np.float32)
            answers[answer] = targets[answer] + draw.normal(0, 1, (RECORDS, 1)).astype(np.float32)
    losses = draw.random(RECORDS).astype(np.float32)
    experiment: Any = Stand(task, context)
    shape = (WINDOW, 3) if task.thresholds else (len(task.labels),)
    outputs = {int(row): np.full(shape, 0.5, np.float32) for row in rows}
    return Evaluation(experiment, rows, rows, losses, targets, answers, [], outputs)


def content(found: Evaluation) -> dict[str, Any]:
    """What metrics.json would have."""
    bad = {f"{NAME}bad": "is <damaged>"}
    dataset: Any = SimpleNamespace(table=catalogue(), members=())
    source: Any = SimpleNamespace(why_unreadable=lambda rows: bad)
    task, context = found.experiment.task, found.experiment.context
    about = {
        "split": "test",
        "split_by": {"by": "event", "seed": 0},
        "split_hash": "0123456789abcdef",
        "left_out": {"P missing": 1234},
        "training_traces": "possible",
        "data": "some/where & else",
        "checkpoint": "run/checkpoints/12",
        "step": 12,
        "network_sha256": "f00d",
        "thresholds": thresholds.decide(task, context, {})[1],
        "provenance": {
            "created": "2000-01-01T00:00:00Z",
            "versions": {"jax": "1.2.3"},
            "commit": "",
            "command": "eval.py --report",
            "devices": "1 cpu",
        },
    }
    made = {**summary.make(found, dataset, source), **about}
    return json.loads(json.dumps(made))


class Page(HTMLParser):
    """Tags that are closed as they should be, their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, Any]]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.mark.parametrize("task", ["picking detection", "polarity", "back_azimuth", "distance"])
def test_a_page_with_everything_in_it(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_cases, "EACH", 1)  # drawing takes most of the time
    found = outcome(*task.split())
    cases = report_cases.choose(found)
    rows = [case.place for case in cases]
    waves = [np.random.default_rng(row).normal(size=(WINDOW, 3)) for row in rows]
    examples = Examples(rows, [f"{NAME}{row}" for row in rows], waves)
    metrics = content(found)
    for quantity in ("snr_db", "magnitude"):  # drawn like distances
        assert metrics["breakdown"].pop(quantity)
    path = report.write(found, metrics, catalogue(), cases, examples, tmp_path)
    page = Page(path.read_text())
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all(
        "meta"
    )
    assert not page.all("script")
    # Nothing is fetched: links lead to places on the page, pictures are in it.
    anchors = {attributes.get("id") for _, attributes in page.found}
    for attributes in [attributes for _, attributes in page.found]:
        for name in ("href", "src", "srcset", "data", "action", "style"):
            link = attributes.get(name) or "data:"
            assert link.startswith("data:") or link[1:] in anchors
    assert "url(" not in path.read_text()
    assert "@import" not in path.read_text()
    files = [file.read_bytes() for file in (tmp_path / "pictures").iterdir()]
    images = page.all("img")
    assert len(images) == len(files) > 8
    for image in images:
        assert len(image["alt"]) > 20
        assert "nan" not in image["alt"].replace("nance", "")
        png = base64.b64decode(image["src"].removeprefix("data:image/png;base64,"))
        assert png in files
        pixels = imread(io.BytesIO(png))
        assert pixels.shape[:2] == (int(image["height"]), int(image["width"]))
        assert 0.002 < np.mean(pixels[:, :, :3].min(2) < 0.9) < 0.9  # neither empty nor full
    assert all(f"{NAME}{row}" in page.text for row in rows)
    assert f"{NAME}bad" in page.text
    assert "NA.S<1>" in page.text
    cards = [attributes for attributes in page.all("div") if attributes["class"] == "card"]
    assert len(page.all("b")) == len(cards) > 0  # none out of a name
    for words in ("is <damaged>", "1,234", "may be among these", "some/where & else", "f00d"):
        assert words in page.text
    for name, value in metrics["scores"].items():
        if value is not None and "/n" not in name:
            assert report._number(value, whole=name.endswith("/hits")) in page.text
    used = "P 0.3 (configuration), S 0.3 (configuration)"
    assert (used in page.text) == task.startswith("picking")
    assert (", found " in page.text) == task.endswith("detection")


def test_rows_have_as_many_cells_as_heads() -> None:
    table = html_page.Table("a < b", ["x", "number:y", "word:z"], [["1", "2", "<"]])
    text = html_page._table(table)
    assert re.findall(r"<t[hd]\b[^>]*>[^<]*", text) == [
        *(
            '<th scope="col">x',
            '<th class="number" scope="col">y',
            '<th class="word" scope="col">z',
        ),
        *("<td>1", '<td class="number">2', '<td class="word">&lt;'),
    ]
    assert 'class="told"' in text
    with pytest.raises(ValueError, match="zip"):
        html_page._table(table._replace(rows=[["1", "2"]]))


@pytest.mark.parametrize("task", [*sorted(tasks.TASKS), "picking detection"])
def test_every_score_has_words(task: str) -> None:
    """Those of new metrics too: name, unit, meaning."""
    found = outcome(*task.split())
    for key in content(found)["scores"]:
        name, _, score = key.partition("/")
        if key != "loss":
            metric = found.metrics[name]
            kind = wording.kind(metric)
            word = kind.words[score]
            assert word.label
            assert wording.unit(word, found.experiment.task.units[name])
            assert "{" not in wording.meaning(word, metric)
    for metric in found.metrics.values():
        kind = wording.kind(metric)
        assert set(kind.first) <= set(kind.words) >= set(metric.headline) >= set(kind.drawn)


def test_best_and_worst_values() -> None:
    found = outcome("back_azimuth")
    found.targets["back_azimuth_deg"][:] = 359
    found.answers["back_azimuth_deg"][:, 0] = (359 + 2 * np.arange(RECORDS)) % 360
    assert report_cases.errors(found).tolist() == pytest.approx(2.0 * np.arange(RECORDS))
    cases = report_cases.choose(found)
    assert [case.kind for case in cases] == ["best"] * 4 + ["median"] * 4 + ["worst"] * 4
    assert [case.place for case in cases] == [0, 1, 2, 3, 28, 29, 30, 31, 59, 58, 57, 56]
    assert cases[1].words == ["back azimuth 359.0°, predicted 1.0° (error +2.0°)"]


def test_missed_and_false_picks_are_worst() -> None:
    found = outcome("picking")
    found.losses[:] = 0.1
    target, answer = found.targets["p_sample"], found.answers["p_sample"]
    answer[:], found.answers["s_sample"][:] = target, found.targets["s_sample"]
    answer[20] = NO_PICK  # missed
    answer[0], found.answers["p_probability"][0] = 150, 0.5  # false, on noise
    answer[30] = target[30] + 90
    found.losses[0] = 0.2
    cases = report_cases.choose(found)
    worst = [case for case in cases if case.kind == "worst"]
    assert [case.place for case in worst[:3]] == [0, 20, 30]
    assert worst[0].words == ["P false, at 1.50 s (0.50)", "S none, and none picked"]
    assert worst[1].words[0] == "P missed"
    assert worst[2].words[0].startswith("P 0.90 s late (")
    assert not {1, 2, 3, 4, 5} & {case.place for case in cases}  # noise, rightly without a pick


def test_few_records_are_shown_once() -> None:
    found = outcome("distance")
    for number in (1, 2, 5):
        few = dataclasses.replace(
            found,
            rows=found.rows[:number],
            losses=found.losses[:number],
            targets={name: value[:number] for name, value in found.targets.items()},
            candidates={name: value[:number] for name, value in found.candidates.items()},
        )
        places = [case.place for case in report_cases.choose(few)]
        assert len(places) == len(set(places))
        assert set(places) <= set(range(number))
        assert places
