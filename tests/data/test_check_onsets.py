"""Wrong component orders, shifted arrivals and turned directions show in the motion itself."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from seismollm_jax.data import check_onsets, check_waveforms, stead, synthetic
from seismollm_jax.data.check_findings import Finding
from seismollm_jax.data.records import Dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """150 synthetic traces of another world than the other tests'."""
    folder: Path = tmp_path_factory.mktemp("onsets") / "set"
    synthetic.write(folder, traces=150, seed=11)
    return stead.read(folder)


def judged(
    dataset: Dataset, rows: slice = slice(None), **columns: Any
) -> tuple[dict[str, Finding], dict]:
    """Findings by name and the figures, with columns of the table changed."""
    table = dataset.table.assign(**columns)[rows].reset_index(drop=True)
    dataset = dataclasses.replace(dataset, table=table)
    measures = check_waveforms.read(dataset, None).measures
    findings, figures = check_onsets.onset_findings(dataset, measures)
    return {finding.name: finding for finding in findings}, figures


def shifted(dataset: Dataset, samples: float) -> dict[str, pd.Series]:
    return {name: dataset.table[name] + samples for name in ("p_sample", "s_sample")}


def test_a_sound_dataset(dataset: Dataset) -> None:
    findings, figures = judged(dataset)
    assert findings == {}
    assert figures["component_order ENZ"]["s_over_p_smallest"]["Z"] > 0.8
    assert figures["component_order ENZ"]["p_relative_db"]["Z"] > 0
    low, middle, high = figures["p_onset"]["offset_quartiles_s"]
    assert -0.03 <= low <= middle <= high <= 0.03
    assert middle == 0  # the labels are exact to the sample
    assert figures["p_onset"]["median_step_db"] > 10
    assert figures["first_motion"]["agree"]["as it is"] > 0.6


@pytest.mark.parametrize(
    ("order", "vertical"), [("EZN", "N"), ("NZE", "E"), ("ZEN", "N"), ("ZNE", "E")]
)
def test_a_wrong_component_order(dataset: Dataset, order: str, vertical: str) -> None:
    findings, _ = judged(dataset, component_order=pd.Categorical([order] * 150))
    assert set(findings) == {"component_order"}
    assert findings["component_order"].level == "error"
    assert f"what is taken for {vertical} behaves like the vertical" in (
        findings["component_order"].text
    )


def test_each_order_is_judged_by_itself(dataset: Dataset) -> None:
    orders = pd.Categorical(["ENZ"] * 75 + ["ZNE"] * 75)
    findings, figures = judged(dataset, component_order=orders)
    assert set(findings) == {"component_order"}
    assert "with the component order ZNE" in findings["component_order"].text
    assert {"component_order ENZ", "component_order ZNE"} <= set(figures)


def test_gains_do_not_matter(dataset: Dataset) -> None:
    read = check_waveforms.read(dataset, None).measures
    loud = read.copy()
    for name in ("p_db", "s_db"):
        loud[name][:, 1] += 40  # N a hundred times as sensitive
    assert check_onsets.onset_findings(dataset, loud)[0] == []


def test_components_that_do_not_differ(dataset: Dataset) -> None:
    measures = check_waveforms.read(dataset, None).measures
    draw = np.random.default_rng(0)
    measures["s_db"] = measures["p_db"] + draw.normal(size=(len(measures), 3))
    (finding,) = check_onsets.onset_findings(dataset, measures)[0]
    assert (finding.name, finding.level) == ("component_order", "warning")
    assert "Z is not clearly the vertical" in finding.text


@pytest.mark.parametrize(
    ("samples", "level", "word"),
    [(-60, "error", "early by about 0.60 s"), (60, "error", "late by about 0.60 s"),
     (-30, "warning", "early by about 0.30 s"), (30, "warning", "late by about 0.30 s"),
     (100, "error", "late by about 1.00 s"), (-100, "error", "early by about 1.00 s")],
)  # fmt: skip
def test_shifted_arrivals(dataset: Dataset, samples: int, level: str, word: str) -> None:
    finding = judged(dataset, **shifted(dataset, samples))[0]["p_shifted"]
    assert finding.level == level
    assert word in finding.text


@pytest.mark.parametrize("samples", [-10, 10])
def test_small_shifts_are_left_alone(dataset: Dataset, samples: int) -> None:
    """Emergent onsets are picked a tenth of a second late, and nobody is wrong."""
    assert judged(dataset, **shifted(dataset, samples))[0] == {}


def test_arrivals_from_nowhere(dataset: Dataset) -> None:
    draw = np.random.default_rng(0).integers(500, 4500, 150)
    findings, _ = judged(dataset, p_sample=draw.astype(float), s_sample=draw + 300.0)
    assert findings["no_onset"].level == "warning"
    assert "p_shifted" not in findings


@pytest.fixture
def measures(dataset: Dataset) -> np.ndarray:
    return check_waveforms.read(dataset, None).measures


def test_scattered_arrivals_are_not_shifted(dataset: Dataset, measures: np.ndarray) -> None:
    measures["offset_s"] = np.random.default_rng(0).normal(0.4, 1.0, len(measures))
    assert check_onsets.onset_findings(dataset, measures)[0] == []


def test_a_shift_of_few_traces_is_none(dataset: Dataset, measures: np.ndarray) -> None:
    measures["offset_s"] = 1.0
    assert [f.name for f in check_onsets.onset_findings(dataset, measures)[0]] == ["p_shifted"]
    measures["offset_s"][30:] = np.nan  # the others show no onset
    assert check_onsets.onset_findings(dataset, measures)[0] == []


def test_a_wrong_order_explains_wrong_directions(dataset: Dataset, measures: np.ndarray) -> None:
    given = dataset.table["back_azimuth_deg"].to_numpy()[measures["row"]]
    measures["azimuth_deg"] = (given + 180) % 360
    names = [f.name for f in check_onsets.onset_findings(dataset, measures)[0]]
    assert names == ["first_motion_direction"]
    for name in ("p_db", "s_db"):
        measures[name] = measures[name][:, [1, 0, 2]]
    names = [f.name for f in check_onsets.onset_findings(dataset, measures)[0]]
    assert names == ["component_order"]


def test_a_change_outside_is_not_taken_for_one_at_the_edge() -> None:
    power = np.ones(400)
    power[:200] = 1e-3
    assert check_onsets._change(power, 0, 400, 150) == 51
    power[20:200] = 1
    assert np.isnan(check_onsets._change(power, 0, 400, 150))
    assert np.isnan(check_onsets._change(np.ones(400), 0, 400, 150))


def test_noise_is_subtracted() -> None:
    """N is noisy and P weak on it, so that its power at P is mostly noise."""
    draw = np.random.default_rng(0)
    waveform = draw.normal(size=(6000, 3)) * [0.1, 10, 0.1]
    waveform[1000:1100] += draw.normal(size=(100, 3)) * [50, 0, 50]
    entry = np.zeros(1, check_waveforms.MEASURES)[0]
    check_onsets.measure_onsets(entry, waveform.astype(np.float32), 100, 1000, 4000, 0)
    assert entry["p_db"][0] > 30
    assert entry["p_db"][1] < 20  # the noise alone has 23


@pytest.mark.parametrize(
    ("column", "change", "why"),
    [
        ("component_order", lambda t: pd.Categorical(["NEZ"] * 150), "if N and E were exchanged"),
        ("back_azimuth_deg", lambda t: (t["back_azimuth_deg"] + 180) % 360, "turned by 180"),
        ("back_azimuth_deg", lambda t: -t["back_azimuth_deg"] % 360, "if E were upside down"),
        (
            "back_azimuth_deg",
            lambda t: (180 - t["back_azimuth_deg"]) % 360,
            "if N were upside down",
        ),
    ],
)
def test_directions(dataset: Dataset, column: str, change: Any, why: str) -> None:
    findings, _ = judged(dataset, **{column: change(dataset.table)})
    assert set(findings) == {"first_motion_direction"}
    assert findings["first_motion_direction"].level == "warning"
    assert why in findings["first_motion_direction"].text


def test_directions_that_nothing_explains(dataset: Dataset) -> None:
    draw = np.random.default_rng(0).uniform(0, 360, 150)
    assert judged(dataset, back_azimuth_deg=draw)[0] == {}


def test_horizontals_of_unknown_orientation_have_no_direction(dataset: Dataset) -> None:
    turned = (dataset.table["back_azimuth_deg"] + 180) % 360
    order = pd.Categorical(["21Z"] * 150)
    findings, figures = judged(dataset, back_azimuth_deg=turned, component_order=order)
    assert findings == {}
    assert figures["first_motion"] == {"traces": 0}


def test_too_few_for_a_judgement(dataset: Dataset) -> None:
    order = pd.Categorical(["ZNE"] * 150)
    findings, figures = judged(dataset, slice(0, 15), component_order=order)
    assert findings == {}
    assert figures["p_onset"]["traces"] < 20


@pytest.mark.parametrize("rate", [1.0, 10.0, 50.0, 250.0])
@pytest.mark.parametrize("samples", [2, 40, 6000])
def test_any_trace_can_be_measured(rate: float, samples: int) -> None:
    draw = np.random.default_rng(int(samples + rate))
    entry = np.zeros((), check_waveforms.MEASURES)[()]
    for scale in (0.0, 1e-30, 1.0, 1e30):
        waveform = (scale * draw.normal(size=(samples, 3))).astype(np.float32)
        for p, s in ((np.nan, np.nan), (0, 1), (samples - 1, samples), (samples / 2, samples / 3),
                     (3 * rate, 3.5 * rate), (samples / 2, samples * 0.6), (1e9, 2e9)):  # fmt: skip
            entry = np.zeros(1, check_waveforms.MEASURES)[0]
            check_waveforms.measure(entry, waveform, np.ones(3, bool), rate)
            check_onsets.measure_onsets(entry, waveform, rate, p, s, 45.0)
            assert entry["samples"] == samples
            assert entry["dead"].all() == (scale == 0)
