"""Exact evaluation: every record once, on any number of devices and processes."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping

import jax
import numpy as np
import pandas as pd

from seismollm_jax import parallel
from seismollm_jax.experiment import Experiment
from seismollm_jax.tasks.base import Arrays, Metric

Forward = Callable[[Mapping[str, jax.Array]], tuple[jax.Array, jax.Array]]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The outcome of one pass.

    Attributes:
        loss: mean over the records that count, float64.
        metrics: the accumulators, full.
        records: records that count.
        unread: dataset rows whose trace could not be read.
        table: predictions in dataset order, if asked for and any record counts.
        targets, answers: arrays behind the table, (records, ...), if asked for.
    """

    loss: float
    metrics: dict[str, Metric]
    records: int
    unread: list[int]
    table: pd.DataFrame | None
    targets: Arrays
    answers: Arrays

    def scores(self) -> dict[str, float]:
        """Loss and all scores, flat: "loss", "p_sample/f1", ..."""
        return {"loss": self.loss, **_flat(self.metrics)}

    def scores_of(self, experiment: Experiment, chosen: np.ndarray) -> dict[str, float]:
        """The scores of some rows of the table, without the loss; `chosen` is a mask (records,)."""
        metrics = experiment.task.metrics(experiment.context)
        for name, metric in metrics.items():
            counts = chosen & labelled(self.targets, name)
            metric.update(self.answers[name], self.targets[name], counts)
        return _flat(metrics)


def evaluate(
    experiment: Experiment,
    forward: Forward,
    batches: Iterable[Mapping[str, jax.Array]],
    *,
    names: np.ndarray | None = None,
) -> Evaluation:
    """Runs `forward` over batches of `pipeline.eval_batches` laid out on the mesh.

    Args:
        experiment: the task and its context.
        forward: global batch -> (output, loss of each row), as `make_eval_step` gives.
        batches: global batches; their `mask` is 0 on rows that only fill up.
        names: trace name of each dataset row; with it the table of predictions is kept.
    """
    task, context = experiment.task, experiment.context
    metrics = task.metrics(context)
    total, count, unread, tables = 0.0, 0, [], []
    kept: list[tuple[Arrays, Arrays]] = []
    for batch in batches:
        output, losses = forward(batch)
        # The waveform and label curves stay on the devices; only what is compared comes back.
        wanted = {k: v for k, v in batch.items() if k in metrics or v.ndim == 1}
        host, output, losses = parallel.gather((wanted, output, losses))
        counts = host["mask"] * host["valid"] > 0
        unread += host["row"][(host["mask"] > 0) & (host["readable"] == 0)].tolist()
        total += float(np.sum(losses[counts], dtype=np.float64))
        count += int(counts.sum())
        answers = task.decode(np.asarray(output), context)
        for name, metric in metrics.items():
            metric.update(answers[name], host[name], counts & labelled(host, name))
        if names is not None and counts.any():
            targets = {
                name: host[name][counts]
                for metric in metrics
                for name in (metric, f"{metric}_labelled")
                if name in host
            }
            answers = {name: value[counts] for name, value in answers.items()}
            rows, starts = host["row"][counts], host["window_start"][counts]
            columns = task.columns(targets, answers, context)
            tables.append(
                pd.DataFrame(
                    {"trace_name": names[rows], "row": rows, "window_start": starts, **columns}
                )
            )
            kept.append((targets, answers))
    loss = total / count if count else float("nan")
    table = pd.concat(tables, ignore_index=True) if tables else None
    return Evaluation(
        loss,
        metrics,
        count,
        unread,
        table,
        _concatenate([targets for targets, _ in kept]),
        _concatenate([answers for _, answers in kept]),
    )


def _flat(metrics: Mapping[str, Metric]) -> dict[str, float]:
    return {
        f"{name}/{score}": value
        for name, metric in metrics.items()
        for score, value in metric.compute().items()
    }


def labelled(arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """Which rows have a label for an answer, bool; all of them unless the task says otherwise."""
    rows = arrays.get(f"{name}_labelled")
    return np.ones(len(arrays[name]), bool) if rows is None else rows > 0


def _concatenate(parts: list[Arrays]) -> Arrays:
    return (
        {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}
    )
