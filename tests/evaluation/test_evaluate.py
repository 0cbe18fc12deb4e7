"""Evaluation: each record once, whatever the batches and devices."""

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from seismollm_jax import experiment as experiments
from seismollm_jax.data import catalogue, pipeline
from seismollm_jax.data.records import Record
from seismollm_jax.data.sources import BadTrace, WaveformSource
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
def prepared(task: str, folder: Path) -> tuple[Experiment, Any, np.ndarray, np.ndarray]:
    """Experiment, random network on the host, rows, names."""
    experiment = experiments.make(setups.config(task, folder, TOLERANT.get(task)))
    data = experiment.config["data"]
    dataset = catalogue.open_dataset(data)
    found = experiment.task
    parts = catalogue.split_for(dataset, data, needs=found.needs, uses_noise=found.uses_noise)
    rows = np.sort(np.concatenate([parts.rows["val"], parts.rows["test"]]))
    arrays = setups.random_arrays(experiment)
    return experiment, arrays, rows, dataset.table["trace_name"].to_numpy()


def outcome(
    task: str,
    folder: Path,
    *,
    devices: int = 8,
    batch: int = 8,
    bad: tuple[int, ...] = (),
    without_s: tuple[int, ...] = (),
    table: bool = True,
) -> Evaluation:
    experiment, arrays, rows, names = prepared(task, folder)
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

    return evaluate(experiment, forward, laid_out(), names=names if table else None)


def assert_same(found: Evaluation, expected: Evaluation) -> None:
    assert found.records == expected.records
    assert found.unread == expected.unread
    one, two = found.scores(), expected.scores()
    assert one.keys() == two.keys()
    for name in two:
        assert one[name] == pytest.approx(two[name], rel=1e-5, abs=1e-6, nan_ok=True), name
    assert found.table is not None
    assert expected.table is not None
    keys = ["trace_name", "row", "window_start"]
    assert found.table[keys].equals(expected.table[keys])


@pytest.mark.parametrize("task", ["picking", "magnitude"])
def test_devices_and_batches_do_not_matter(task: str, data_folder: Path) -> None:
    reference = outcome(task, data_folder, devices=1, batch=len(prepared(task, data_folder)[2]))
    assert reference.records == len(prepared(task, data_folder)[2])
    for devices, batch in ((8, 8), (1, 3)):
        assert_same(outcome(task, data_folder, devices=devices, batch=batch), reference)


def test_loss_is_the_mean_over_records(data_folder: Path) -> None:
    """Batches of unequal size must not weigh equally."""
    found = outcome("magnitude", data_folder)
    assert found.table is not None
    difference = (found.table["pred_magnitude"] - found.table["true_magnitude"]).abs().to_numpy()
    losses = np.where(difference < 1, difference**2 / 2, difference - 0.5)
    assert found.loss == pytest.approx(losses.mean(), rel=1e-5)
    assert found.scores()["magnitude/mae"] == pytest.approx(difference.mean(), rel=1e-5)
    assert found.scores()["loss"] == found.loss


def test_bad_traces_are_counted_and_named(data_folder: Path) -> None:
    rows = prepared("magnitude", data_folder)[2]
    whole, found = (outcome("magnitude", data_folder, bad=bad) for bad in ((), (0, 3)))
    assert found.unread == [int(rows[0]), int(rows[3])]
    assert found.records == whole.records - 2
    assert whole.table is not None
    expected = whole.table[~whole.table["row"].isin(found.unread)].reset_index(drop=True)
    np.testing.assert_allclose(found.table["pred_magnitude"], expected["pred_magnitude"])
    assert found.targets["magnitude"].shape == found.answers["magnitude"].shape
    assert len(found.targets["magnitude"]) == found.records


@pytest.mark.parametrize("task", ["picking", "magnitude"])
def test_a_batch_in_which_nothing_can_be_read(task: str, data_folder: Path) -> None:
    found = outcome(task, data_folder, bad=tuple(range(8)))
    assert found.unread == prepared(task, data_folder)[2][:8].tolist()
    assert found.records == len(prepared(task, data_folder)[2]) - 8
    assert found.table is not None
    assert len(found.table) == found.records
    whole = outcome(task, data_folder).table
    assert whole is not None
    assert found.table.dtypes.to_dict() == whole.dtypes.to_dict()


def test_nothing_can_be_read_at_all(data_folder: Path) -> None:
    count = len(prepared("magnitude", data_folder)[2])
    found = outcome("magnitude", data_folder, bad=tuple(range(count)))
    assert found.records == 0
    assert np.isnan(found.loss)
    assert len(found.unread) == count
    assert found.table is None


def test_without_names_nothing_is_kept(data_folder: Path) -> None:
    found = outcome("magnitude", data_folder, table=False)
    assert found.table is None
    assert found.answers == {}
    assert found.scores() == outcome("magnitude", data_folder).scores()


def test_table_of_picks_agrees_with_the_scores(data_folder: Path) -> None:
    found = outcome("picking", data_folder)
    table = found.table
    assert table is not None
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
    assert found.table is not None
    s = found.metrics["s_sample"].sums
    predicted = found.table["pred_s_sample"] != ""
    assert predicted[list(lacking)].any()  # so that leaving them out makes a difference
    assert s["picks_predicted"] == predicted[labelled].sum()
    assert found.table["s_labelled"].tolist() == [n not in lacking for n in range(len(rows))]
    assert found.table["p_labelled"].all()
