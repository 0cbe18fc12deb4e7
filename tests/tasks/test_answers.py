"""What tasks make of samples and of outputs; targets against those of the PyTorch original."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from seismollm_jax import tasks
from seismollm_jax.data.records import LABELS, Sample
from seismollm_jax.metrics.phases import NO_PICK
from tests import golden_files

CASES = golden_files.read_json("targets.json")
GOLDEN = golden_files.load("targets.npz")
VALUES = {"magnitude": "magnitude", "distance": "distance_km", "back_azimuth": "back_azimuth_deg"}
DATASET_VALUES = {"polarity": "polarity", **VALUES}


def sample(window: int = 300, **fields) -> Sample:
    missing = {
        "p_samples": [],
        "s_samples": [],
        "magnitude": np.nan,
        "distance_km": np.nan,
        "back_azimuth_deg": np.nan,
        "polarity": -1,
    }
    waveform = np.zeros((window, 3), np.float32)
    return Sample(waveform=waveform, window_start=0, **{**missing, **fields})


def context(name: str, *, window: int = 300, rate: float = 100.0, **options):
    return tasks.get(name).context(window=window, sampling_rate_hz=rate, options=options)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['task']}-{case['id']}")
def test_targets_golden(case) -> None:
    task = tasks.get(case["task"])
    labels = {DATASET_VALUES[name]: value for name, value in case["values"].items()}
    picks = {"p_samples": case["p_samples"], "s_samples": case["s_samples"]}
    rate = case["width"] / 0.5  # the original's label width is half a second
    settings = context(task.name, window=case["length"], rate=rate)
    found = task.encode(sample(**picks, **labels), settings)
    expected = GOLDEN[f"{case['id']}/loss"]
    if task.name == "picking":
        labelled = {"p_sample_labelled", "s_sample_labelled"}
        assert set(found) == {"labels", "p_sample", "s_sample"} | labelled
        assert all(found[name] == 1 for name in labelled)
        np.testing.assert_allclose(found["labels"].T, expected, rtol=0, atol=3e-6)
        for phase in ("p", "s"):
            recorded = GOLDEN[f"{case['id']}/metric_{phase}pk"]
            np.testing.assert_array_equal(found[f"{phase}_sample"], recorded)
            assert found[f"{phase}_sample"].dtype == recorded.dtype
    else:
        name = DATASET_VALUES[task.name]
        assert set(found) == {name}
        np.testing.assert_array_equal(found[name], expected)
        assert found[name].shape == expected.shape
        assert found[name].dtype == np.float32


def test_all_tasks_have_golden_targets() -> None:
    assert {case["task"] for case in CASES} == set(tasks.TASKS)


@pytest.mark.parametrize("name", ["polarity", *VALUES])
def test_missing_label_is_nan(name: str) -> None:
    (value,) = tasks.get(name).encode(sample(), context(name)).values()
    assert np.isnan(value).all()


def test_word_and_short_name_mean_the_same() -> None:
    words = {"dpk": "picking", "pmp": "polarity", "emg": "magnitude"}
    words |= {"baz": "back_azimuth", "dis": "distance"}
    assert {task.short_name: task.name for task in tasks.TASKS.values()} == words
    for short, word in words.items():
        assert tasks.get(short) is tasks.get(word)


def test_unknown_task_lists_all() -> None:
    with pytest.raises(ValueError, match=r"'pick' is not one of picking \(dpk\), polarity \(pmp\)"):
        tasks.get("pick")


FORMS = [task for forms in tasks.FORMS.values() for task in forms]
every_form = pytest.mark.parametrize("task", FORMS, ids=lambda task: f"{task.name} {task.form}")


@every_form
def test_description_holds_together(task) -> None:
    settings = context(task.name)
    metrics = task.metrics(settings)
    assert len(task.labels) == task.output.channels
    assert {name for need in task.needs for name in need.split("|")} <= set(LABELS)
    assert set(task.units) == set(metrics)
    assert metrics.keys() <= task.encode(sample(), settings).keys()
    assert (task.answer_columns is None) == task.output.per_sample


def test_unknown_option() -> None:
    with pytest.raises(ValueError, match=r"picking has no option \['threshold'\]; it has \['det"):
        context("picking", threshold=0.5)
    with pytest.raises(ValueError, match=r"magnitude has no option \['max_picks'\]; it has none"):
        context("magnitude", max_picks=3)


def curves(window: int, p: list[int], s: list[int]) -> np.ndarray:
    labels = tasks.get("picking").encode(
        sample(window, p_samples=p, s_samples=s), context("picking", window=window)
    )
    return labels["labels"][None]


@given(p=st.integers(1, 298), s=st.integers(1, 298))
def test_picks_of_perfect_curves_are_the_picks(p: int, s: int) -> None:
    answers = tasks.get("picking").decode(curves(300, [p], [s]), context("picking"))
    assert answers["p_sample"].tolist() == [[p]]
    assert answers["s_sample"].tolist() == [[s]]
    assert answers["p_probability"][0, 0] == pytest.approx(1)


def test_pick_options_count() -> None:
    output = curves(300, [50, 200], [120])
    output[0, :, 1] *= np.where(np.arange(300) < 100, 0.6, 0.9)
    task = tasks.get("picking")
    one = task.decode(output, context("picking"))
    assert one["p_sample"].tolist() == [[200]]
    two = task.decode(output, context("picking", max_picks=3))
    assert sorted(two["p_sample"][0].tolist()) == [NO_PICK, 50, 200]
    strict = task.decode(output, context("picking", max_picks=3, p_threshold=0.7))
    assert sorted(strict["p_sample"][0].tolist()) == [NO_PICK, NO_PICK, 200]
    assert strict["s_sample"].shape == (1, 3)
    none = task.decode(output, context("picking", p_threshold=0.95))
    assert none["p_sample"].tolist() == [[NO_PICK]]
    assert np.isnan(none["p_probability"]).all()
    assert none["s_sample"].tolist() == [[120]]


def test_columns_of_picking() -> None:
    task, settings = tasks.get("picking"), context("picking", max_picks=2)
    nothing = np.array([NO_PICK, NO_PICK])
    targets = {
        "p_sample": np.array([[100, NO_PICK], [100, 200], nothing]),
        "s_sample": np.array([[150, NO_PICK], nothing, nothing]),
        "p_sample_labelled": np.float32([1, 1, 1]),
        "s_sample_labelled": np.float32([1, 0, 1]),
    }
    answers = {
        "p_sample": np.array([[110, NO_PICK], [90, 210], [50, NO_PICK]]),
        "s_sample": np.array([nothing, nothing, nothing]),
        "p_probability": np.array([[0.5, np.nan], [0.9, 0.7], [0.4, np.nan]]),
        "s_probability": np.full((3, 2), np.nan),
    }
    table = task.columns(targets, answers, settings)
    assert table["true_p_sample"].tolist() == ["100", "100;200", ""]
    assert table["pred_p_sample"].tolist() == ["110", "90;210", "50"]
    assert table["pred_s_sample"].tolist() == ["", "", ""]
    np.testing.assert_array_equal(table["p_probability"], [0.5, 0.9, 0.4])
    np.testing.assert_array_equal(table["s_probability"], [np.nan] * 3)
    # Late picks are positive, in seconds at 100 Hz.
    np.testing.assert_array_equal(table["p_residual_s"], [0.1, -0.1, np.nan])
    np.testing.assert_array_equal(table["s_residual_s"], [np.nan] * 3)
    assert table["p_labelled"].tolist() == [True, True, True]
    assert table["s_labelled"].tolist() == [True, False, True]


def test_back_azimuth_of_a_vector_of_any_length() -> None:
    degrees = np.array([0.0, 45.0, 90.0, 180.0, 269.0, 359.5])
    length = np.array([1.0, 0.1, 2.0, 0.5, 1e-3, 1.0])[:, None]
    vector = np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], 1) * length
    found = tasks.get("back_azimuth").decode(vector.astype(np.float32), context("back_azimuth"))
    np.testing.assert_allclose(found["back_azimuth_deg"][:, 0], degrees, atol=2e-4)


@example(cosine=1.0, sine=-1e-9)  # rounds to 360 in float32
@given(cosine=st.floats(-1, 1, width=32), sine=st.floats(-1, 1, width=32))
def test_back_azimuth_lies_on_the_compass(cosine: float, sine: float) -> None:
    output = np.array([[cosine, sine]], np.float32)
    found = tasks.get("back_azimuth").decode(output, context("back_azimuth"))
    assert 0 <= found["back_azimuth_deg"][0, 0] < 360


@pytest.mark.parametrize("name", ["magnitude", "distance"])
def test_columns_of_values(name: str) -> None:
    task, column = tasks.get(name), VALUES[name]
    answers = task.decode(np.float32([[1.5], [2.5]]), context(name))
    targets = {column: np.float32([[1.0], [3.0]])}
    table = task.columns(targets, answers, context(name))
    assert {k: v.tolist() for k, v in table.items()} == {
        f"true_{column}": [1.0, 3.0],
        f"pred_{column}": [1.5, 2.5],
    }
    assert task.answer_columns(answers)[column].tolist() == [1.5, 2.5]


def test_columns_of_polarity() -> None:
    task = tasks.get("polarity")
    output = np.float32([[0.9, 0.1], [0.2, 0.8]])
    table = task.columns({"polarity": np.eye(2)}, task.decode(output, None), None)
    assert table["true_polarity"].tolist() == ["up", "down"]
    assert table["pred_polarity"].tolist() == ["up", "down"]
    np.testing.assert_array_equal(table["up_probability"], output[:, 0])


@every_form
def test_range_of_the_output(task) -> None:
    logits = jnp.asarray(np.random.default_rng(0).normal(0, 30, (50, task.output.channels)))
    output = np.asarray(task.output.activate(logits))
    low = -1 if task.output.activation == "tanh" else 0
    high = {"magnitude": 8, "distance": 500, "angle": 360}.get(task.form or task.name, 1)
    assert low <= output.min() < low + 0.1 * high
    assert 0.9 * high < output.max() <= high
    if task.name == "polarity":
        np.testing.assert_allclose(output.sum(1), 1, rtol=1e-6)


def test_output_description_is_plain_data() -> None:
    for task in FORMS:
        plain = json.loads(json.dumps(dataclasses.asdict(task.output)))
        assert type(task.output)(**plain) == task.output
