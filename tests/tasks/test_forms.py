"""The forms in which a task can be learnt: what differs between them, and what must not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seismollm_jax import experiment as experiments
from seismollm_jax import models, tasks
from seismollm_jax.data.labels import pick_labels
from tests import setups
from tests.tasks.test_answers import context, sample

WINDOW = 600
DETECTION = tasks.get("picking", "detection")


def encoded(p: list[int], s: list[int], **fields):
    settings = context("picking", window=WINDOW)
    return DETECTION.encode(sample(WINDOW, p_samples=p, s_samples=s, **fields), settings)


def test_names() -> None:
    assert {name: [task.form for task in forms] for name, forms in tasks.FORMS.items()} == {
        "picking": ["phases", "detection"],
        "polarity": [""],
        "magnitude": [""],
        "back_azimuth": ["vector", "angle"],
        "distance": [""],
    }
    for name, forms in tasks.FORMS.items():
        assert tasks.get(name) is forms[0]
        for task in forms:
            assert tasks.get(task.short_name, task.form) is task
            assert (task.name, task.needs) == (name, forms[0].needs)
            known = task.options.__dataclass_fields__
            assert ("form" in known) == (len(forms) > 1)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dpk", "options.form='curve': the task picking has phases, detection"),
        ("magnitude", "options.form='curve': the task magnitude has a single form without a name"),
    ],
)
def test_unknown_form_lists_all(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tasks.get(name, "curve")


@pytest.mark.parametrize("model", models.FAMILIES)
@pytest.mark.parametrize("form", ["", "phases", "detection"])
def test_every_family_learns_every_form(model: str, form: str) -> None:
    """The configuration says which; without a word of it the family does."""
    config = setups.config("picking", changes={"model": model, "options.form": form})
    experiment = experiments.make(config)
    wanted = form or models.get(model).forms.get("picking", "phases")
    assert experiment.task is tasks.get("picking", wanted)
    first = {"phases": "neither", "detection": "detection"}[wanted]
    assert experiment.contract()["labels"] == [first, "p", "s"]
    encode = experiment.samples(None, np.arange(1), np.arange(1), augment=False).encode
    targets = encode(sample(640, p_samples=[100], s_samples=[150]))
    assert ("detection" in targets) == (wanted == "detection")


def test_a_configuration_from_before_forms_is_the_first_form() -> None:
    for name in ("picking", "back_azimuth"):
        config = setups.config(name)
        del config["options"]["form"]
        config["options"].pop("detection_threshold", None)
        assert experiments.make(config).task is tasks.get(name)


@given(p=st.integers(0, 300), length=st.integers(20, 150))
def test_the_found_range_of_perfect_curves_is_the_event(p: int, length: int) -> None:
    """Labels fall to a half 11 samples from either end (a Gaussian of 10 samples)."""
    targets = encoded([p], [p + length])
    end = p + 3 * length  # two S minus P times after S
    assert targets["detection"].tolist() == [p, end]
    settings = context("picking", window=WINDOW)
    answers = DETECTION.decode(targets["labels"][None], settings)
    wanted = [max(p - 11, 0), min(end + 11 if end < WINDOW else end, WINDOW - 1)]
    assert answers["detection"].tolist() == [wanted]
    np.testing.assert_array_equal(answers["detection_probability"], [[1]])
    metric = DETECTION.metrics(settings)["detection"]
    metric.update(answers["detection"], targets["detection"][None], np.ones(1, bool))
    assert metric.compute()["recall"] == pytest.approx(1)
    assert metric.compute()["precision"] > 0.6


def test_the_coda_ratio_of_the_data_is_that_of_the_labels() -> None:
    changes = {"options.form": "detection", "data.coda_ratio": 0.5}
    experiment = experiments.make(setups.config("picking", changes=changes))
    targets = experiment.task.encode(
        sample(640, p_samples=[100], s_samples=[200]), experiment.context
    )
    assert targets["detection"].tolist() == [100, 250]
    expected = pick_labels(
        [100], [200], length=640, width=50, coda_ratio=0.5, curves=("detection", "p", "s")
    )
    np.testing.assert_array_equal(targets["labels"], expected)


def test_noise_is_no_event_and_a_lone_phase_says_nothing_of_events() -> None:
    noise = encoded([], [])
    assert noise["detection"].tolist() == [1, 0]
    assert noise["detection_labelled"] == 1
    assert not noise["labels"].any()
    for labelled in ({"p_labelled": False}, {"s_labelled": False}):
        assert encoded([100], [150], **labelled)["detection_labelled"] == 0


def test_thresholds_of_detection() -> None:
    output = np.zeros((2, WINDOW, 3), np.float32)
    output[0, 100:200, 0], output[0, 300:320, 0] = 0.6, 0.9
    settings = context("picking", window=WINDOW, max_picks=2)
    found = DETECTION.decode(output, settings)
    assert found["detection"].tolist() == [[100, 199, 300, 319], [1, 0, 1, 0]]
    np.testing.assert_array_equal(
        found["detection_probability"], np.float32([[0.6, 0.9], [np.nan, np.nan]])
    )
    strict = settings.with_options(detection_threshold=0.7)
    assert DETECTION.decode(output, strict)["detection"][0].tolist() == [300, 319, 1, 0]
    targets = [
        encoded([100], [130]),
        encoded([], []),
    ]
    targets = {name: np.stack([one[name] for one in targets]) for name in targets[0]}
    targets["detection"] = np.concatenate([targets["detection"], [[1, 0]] * 2], 1)
    targets |= {f"{p}_sample": targets[f"{p}_sample"].repeat(2, 1) for p in "ps"}
    table = DETECTION.columns(targets, found, settings)
    assert table["true_detection_start_sample"].tolist() == ["100", ""]
    assert table["true_detection_end_sample"].tolist() == ["190", ""]
    assert table["pred_detection_start_sample"].tolist() == ["100;300", ""]
    assert table["pred_detection_end_sample"].tolist() == ["199;319", ""]
    np.testing.assert_array_equal(table["detection_probability"], np.float32([0.9, np.nan]))
    assert table["detection_labelled"].tolist() == [True, True]
    assert {"true_p_sample", "s_residual_s"} <= table.keys()


def test_loss_of_detection() -> None:
    """Mean over samples and curves, detection with half the weight, where both phases are known."""
    draw = np.random.default_rng(0)
    output, labels = draw.uniform(0.01, 0.99, (2, 2, 50, 3)).astype(np.float32)
    known = np.float32([1, 0])
    targets = {"labels": labels, "p_sample_labelled": np.ones(2), "s_sample_labelled": known}
    entropy = -(labels * np.log(output) + (1 - labels) * np.log(1 - output)).mean(1)
    expected = [
        (0.5 * entropy[0, 0] + entropy[0, 1] + entropy[0, 2]) / 3,
        entropy[1, 1] / 3,
    ]
    found = DETECTION.loss(jnp.asarray(output), jax.tree.map(jnp.asarray, targets))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_back_azimuth_as_an_angle() -> None:
    angle, vector = tasks.get("back_azimuth", "angle"), tasks.get("back_azimuth")
    record = sample(back_azimuth_deg=359.0)
    target = angle.encode(record, context("back_azimuth"))
    assert target == vector.encode(record, context("back_azimuth"))
    output = np.float32([[359.5], [1.0], [360.0]])
    targets = {"back_azimuth_deg": jnp.full((3, 1), 359.0)}
    np.testing.assert_allclose(angle.loss(jnp.asarray(output), targets), [0.125, 357.5, 0.5])
    answers = angle.decode(output, context("back_azimuth"))
    np.testing.assert_array_equal(answers["back_azimuth_deg"], np.float32([[359.5], [1.0], [0.0]]))
    logits = jnp.asarray([[-200.0], [0.0], [200.0]])
    np.testing.assert_allclose(angle.output.activate(logits), [[0], [180], [360]], atol=1e-3)
