"""Evaluation: each record once, whatever the batches and devices."""

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seismollm_jax import experiment as experiments
from seismollm_jax import tasks
from seismollm_jax.data import catalogue, pipeline
from seismollm_jax.data.records import Record
from seismollm_jax.data.sources import BadTrace, WaveformSource
from seismollm_jax.evaluation import predictions
from seismollm_jax.evaluation.evaluate import Evaluation, evaluate
from seismollm_jax.experiment import Experiment
from seismollm_jax.training.step import make_eval_step
from tests import setups

TOLERANT = {"picking": {"options.p_threshold": 0.05, "options.s_threshold": 0.05}}


@dataclasses.dataclass(frozen=True)
class Fewer:
    """A source in which some positions cannot be read, and some have no label of S."""

    source: WaveformSource
    bad: tuple[int, ...]
    without_s: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, position: int) -> Record:
        if position in self.bad:
            raise BadTrace("f", str(position), "is damaged")
        record = self.source[position]
        return dataclasses.replace(record, s_samples=[]) if position in self.without_s else record


@functools.cache
def prepared(task: str, folder: Path) -> tuple[Experiment, Any, np.ndarray, pd.DataFrame]:
    """Experiment, random network on the host, rows, table of the dataset."""
    experiment = experiments.make(setups.config(task, folder, TOLERANT.get(task)))
    data = experiment.config["data"]
    dataset = catalogue.open_dataset(data)
    found = experiment.task
    parts = catalogue.split_for(dataset, data, needs=found.needs, uses_noise=found.uses_noise)
    rows = np.sort(np.concatenate([parts.rows["val"], parts.rows["test"]]))
    arrays = setups.random_arrays(experiment)
    return experiment, arrays, rows, dataset.table


def outcome(
    task: str,
    folder: Path,
    *,
    devices: int = 8,
    batch: int = 8,
    bad: tuple[int, ...] = (),
    without_s: tuple[int, ...] = (),
) -> Evaluation:
    experiment, arrays, rows, _ = prepared(task, folder)
    layout = setups.layout(devices)
    dataset = catalogue.open_dataset(experiment.config["data"])
    source = WaveformSource(dataset, rows)
    fewer = Fewer(source, bad, without_s)
    maker = experiment.samples(fewer, rows, source.keys, augment=False)
    batches = pipeline.eval_batches(maker, local_batch=layout.local_batch(batch))
    step = make_eval_step(experiment, layout)
    forward = functools.partial(step, *layout.replicate(arrays))

    def laid_out() -> Iterator[dict[str, jax.Array]]:
        for k in range(len(batches)):
            yield layout.to_global(batches[k])

    return evaluate(experiment, forward, laid_out())


def table_of(found: Evaluation, folder: Path) -> pd.DataFrame:
    task = found.experiment.task.name
    return predictions.table(found, prepared(task, folder)[3])


def assert_same(found: Evaluation, expected: Evaluation) -> None:
    assert found.records == expected.records
    assert found.unread == expected.unread
    one, two = found.scores(), expected.scores()
    assert one.keys() == two.keys()
    for name in two:
        assert one[name] == pytest.approx(two[name], rel=1e-5, abs=1e-6, nan_ok=True), name
    np.testing.assert_array_equal(found.rows, expected.rows)
    np.testing.assert_array_equal(found.window_starts, expected.window_starts)


@pytest.mark.parametrize("task", ["picking", "magnitude"])
def test_devices_and_batches_do_not_matter(task: str, data_folder: Path) -> None:
    reference = outcome(task, data_folder, devices=1, batch=len(prepared(task, data_folder)[2]))
    assert reference.records == len(prepared(task, data_folder)[2])
    for devices, batch in ((8, 8), (1, 3)):
        assert_same(outcome(task, data_folder, devices=devices, batch=batch), reference)


def test_loss_is_the_mean_over_records(data_folder: Path) -> None:
    """Batches of unequal size must not weigh equally."""
    found = outcome("magnitude", data_folder)
    table = table_of(found, data_folder)
    difference = (table["pred_magnitude"] - table["true_magnitude"]).abs().to_numpy()
    losses = np.where(difference < 1, difference**2 / 2, difference - 0.5)
    assert found.loss == pytest.approx(losses.mean(), rel=1e-5)
    assert found.scores()["magnitude/mae"] == pytest.approx(difference.mean(), rel=1e-5)
    assert found.scores()["loss"] == found.loss


def test_bad_traces_are_counted_and_named(data_folder: Path) -> None:
    rows = prepared("magnitude", data_folder)[2]
    whole, found = (outcome("magnitude", data_folder, bad=bad) for bad in ((), (0, 3)))
    assert found.unread == [int(rows[0]), int(rows[3])]
    assert found.records == whole.records - 2
    expected = whole.answers["magnitude"][~np.isin(whole.rows, found.unread)]
    np.testing.assert_allclose(found.answers["magnitude"], expected)
    assert found.targets["magnitude"].shape == found.answers["magnitude"].shape
    assert len(found.targets["magnitude"]) == found.records


@pytest.mark.parametrize("task", ["picking", "magnitude"])
def test_a_batch_in_which_nothing_can_be_read(task: str, data_folder: Path) -> None:
    found = outcome(task, data_folder, bad=tuple(range(8)))
    assert found.unread == prepared(task, data_folder)[2][:8].tolist()
    assert found.records == len(prepared(task, data_folder)[2]) - 8
    table, whole = (table_of(one, data_folder) for one in (found, outcome(task, data_folder)))
    assert len(table) == found.records
    assert table.dtypes.to_dict() == whole.dtypes.to_dict()


def test_nothing_can_be_read_at_all(data_folder: Path) -> None:
    count = len(prepared("magnitude", data_folder)[2])
    found = outcome("magnitude", data_folder, bad=tuple(range(count)))
    assert found.records == 0
    assert np.isnan(found.loss)
    assert len(found.unread) == count
    assert np.isnan(found.scores()["magnitude/mae"])


def test_table_of_picks_agrees_with_the_scores(data_folder: Path) -> None:
    found = outcome("picking", data_folder)
    table = table_of(found, data_folder)
    assert found.answers["p_sample"].shape == (found.records, 1)
    hits = (table["p_residual_s"].abs() <= 0.1).sum()
    predicted = (table["pred_p_sample"] != "").sum()
    assert predicted > 0
    assert found.scores()["p_sample/precision"] == pytest.approx(hits / predicted, abs=1e-6)


def test_a_phase_without_labels_is_not_scored(data_folder: Path) -> None:
    """The P picks of such records count, their S picks are neither right nor wrong."""
    rows = prepared("picking", data_folder)[2]
    lacking = (0, 2, 5)
    whole, found = (outcome("picking", data_folder, without_s=w) for w in ((), lacking))
    one, two = whole.scores(), found.scores()
    for name in one:
        if name.startswith("p_sample/"):
            assert two[name] == pytest.approx(one[name], nan_ok=True), name
    labelled = [position for position in range(len(rows)) if position not in lacking]
    assert two["s_sample/n"] == len(labelled)
    table = table_of(found, data_folder)
    s = found.metrics["s_sample"].sums
    predicted = table["pred_s_sample"] != ""
    assert predicted[list(lacking)].any()  # so that leaving them out makes a difference
    assert s["picks_predicted"] == predicted[labelled].sum()
    assert table["s_labelled"].tolist() == [n not in lacking for n in range(len(rows))]
    assert table["p_labelled"].all()


RECORDS, WINDOW = 23, 40
CURVES = np.random.default_rng(3).random((RECORDS, WINDOW, 3), np.float32)
ARRIVALS = np.random.default_rng(4).integers(0, WINDOW, (RECORDS, 2, 2))


@st.composite
def batches_of_records(draw: st.DrawFn) -> list[list[int]]:
    """Every record once, in any order, in batches of eight devices; -1 fills up."""
    order = draw(st.permutations(range(RECORDS)))
    filled = list(order)
    for _ in range(draw(st.integers(0, 9)) + (-RECORDS) % 8):
        filled.insert(draw(st.integers(0, len(filled))), -1)
    filled += [-1] * (-len(filled) % 8)
    sizes = []
    while sum(sizes) < len(filled):
        sizes.append(8 * draw(st.integers(1, (len(filled) - sum(sizes)) // 8)))
    ends = np.cumsum(sizes)
    return [filled[end - size : end] for size, end in zip(sizes, ends, strict=True)]


def exactly(batches: list[list[int]], devices: int, max_picks: int) -> Evaluation:
    """An evaluation in which the network's output of a record is the same whatever the batch."""
    task = tasks.get("picking")
    options = {"tolerance_s": 0.05, "min_peak_distance_s": 0.02, "max_picks": max_picks}
    context = task.context(window=WINDOW, sampling_rate_hz=100.0, options=options)
    experiment: Any = Stand(task, context)
    layout = setups.layout(devices)

    def laid_out() -> Iterator[dict[str, jax.Array]]:
        for batch in batches:
            rows = np.maximum(batch, 0)
            yield layout.to_global(
                {
                    "row": 100 + rows.astype(np.int32),
                    "mask": (np.array(batch) >= 0).astype(np.float32),
                    "valid": (rows % 7 != 3).astype(np.float32),
                    "readable": (rows % 7 != 3).astype(np.float32),
                    "window_start": rows.astype(np.int32),
                    "p_sample": ARRIVALS[rows, 0, :max_picks].astype(np.int32),
                    "s_sample": ARRIVALS[rows, 1, :max_picks].astype(np.int32),
                    "p_sample_labelled": (rows % 5 > 0).astype(np.float32),
                    "s_sample_labelled": np.ones(len(rows), np.float32),
                }
            )

    def forward(batch: Any) -> Any:
        rows = np.asarray(batch["row"]) - 100
        found = layout.to_global({"output": CURVES[rows], "losses": CURVES[rows, 0, 0]})
        return found["output"], found["losses"]

    return evaluate(experiment, forward, laid_out(), examples=[102, 104])


@dataclasses.dataclass(frozen=True)
class Stand:
    """What `evaluate` asks of an experiment."""

    task: Any
    context: Any


@settings(max_examples=25, deadline=None)
@given(batches_of_records(), st.sampled_from([1, 8]), st.sampled_from([1, 2]))
def test_nothing_depends_on_batches_their_order_or_the_devices(
    batches: list[list[int]], devices: int, max_picks: int
) -> None:
    """To the last digit."""
    everything = [[*range(RECORDS), -1]]
    found, expected = exactly(batches, devices, max_picks), exactly(everything, 1, max_picks)
    assert found.unread == expected.unread == [103, 110, 117]
    assert found.rows.tolist() == expected.rows.tolist() == sorted(found.rows)
    assert repr(found.scores()) == repr(expected.scores())
    assert found.scores()["p_sample/hits"] > 0
    assert found.scores()["p_sample/n"] < found.scores()["s_sample/n"] == RECORDS - 3
    for name in ("losses", "window_starts"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    for name, answer in expected.answers.items():
        np.testing.assert_array_equal(found.answers[name], answer)
    assert found.outputs.keys() == {102, 104}
    np.testing.assert_array_equal(found.outputs[104], CURVES[4])


@given(st.floats(0.05, 1), st.sampled_from([1, 2]))
def test_other_thresholds_need_no_other_pass(threshold: float, max_picks: int) -> None:
    found = exactly([[*range(RECORDS), -1]], 1, max_picks)
    context = found.experiment.context.with_options(p_threshold=threshold)
    expected = found.experiment.task.decode(CURVES[found.rows - 100], context)
    for name, answer in found.at(context).answers.items():
        np.testing.assert_array_equal(answer, expected[name])
