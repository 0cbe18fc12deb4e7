"""Exact evaluation: every record once, the same numbers on any number of devices and processes.

What the network says of each record is collected first. Everything else is made of that, in the
order of the dataset, so that neither batches nor their order have a part in it.
"""

import dataclasses
import functools
from collections.abc import Callable, Collection, Iterable, Mapping

import jax
import numpy as np

from seismollm_jax import parallel
from seismollm_jax.experiment import Experiment
from seismollm_jax.metrics.pick_curves import FLOOR
from seismollm_jax.tasks.base import Arrays, Context, Metric

Forward = Callable[[Mapping[str, jax.Array]], tuple[jax.Array, jax.Array]]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The outcome of one pass; arrays are in the order of the dataset.

    Attributes:
        experiment: the task and its context, whose thresholds decide what counts as an answer.
        rows: (records,) dataset rows of the records that count.
        window_starts: (records,) sample of each trace at which its window begins.
        losses: (records,) float32.
        targets: (records, ...) by name, and which of them are labelled.
        candidates: (records, ...) answers at low thresholds.
        unread: dataset rows whose trace could not be read.
        outputs: dataset row -> output of the network, for those rows asked for that count.
    """

    experiment: Experiment
    rows: np.ndarray
    window_starts: np.ndarray
    losses: np.ndarray
    targets: Arrays
    candidates: Arrays
    unread: list[int]
    outputs: dict[int, np.ndarray]

    @property
    def records(self) -> int:
        """Number of records that count."""
        return len(self.rows)

    @property
    def loss(self) -> float:
        """Mean over the records that count, float64."""
        return float(np.mean(self.losses, dtype=np.float64)) if self.records else float("nan")

    @functools.cached_property
    def answers(self) -> Arrays:
        """(records, ...) by name, at the thresholds of the context."""
        return self.experiment.task.restrict(self.candidates, self.experiment.context)

    @functools.cached_property
    def metrics(self) -> dict[str, Metric]:
        """The accumulators, full."""
        return self._metrics(np.ones(self.records, bool))

    def at(self, context: Context) -> "Evaluation":
        """The same outcome with other thresholds, at least as high as those it was made with."""
        return dataclasses.replace(
            self, experiment=dataclasses.replace(self.experiment, context=context)
        )

    def scores(self) -> dict[str, float]:
        """Loss and all scores, flat: "loss", "p_sample/f1", ..."""
        return {"loss": self.loss, **_flat(self.metrics)}

    def scores_of(self, chosen: np.ndarray) -> dict[str, float]:
        """The scores of some records, without the loss; `chosen` is a mask (records,)."""
        return _flat(self._metrics(chosen))

    def _metrics(self, chosen: np.ndarray) -> dict[str, Metric]:
        metrics = self.experiment.task.metrics(self.experiment.context)
        for name, metric in metrics.items() if self.records else ():
            counts = chosen & labelled(self.targets, name)
            metric.update(self.answers[name], self.targets[name], counts)
        return metrics


def evaluate(
    experiment: Experiment,
    forward: Forward,
    batches: Iterable[Mapping[str, jax.Array]],
    *,
    examples: Collection[int] | None = None,
) -> Evaluation:
    """Runs `forward` over batches of `pipeline.eval_batches` laid out on the mesh.

    Args:
        experiment: the task and its context.
        forward: global batch -> (output, loss of each row), as `make_eval_step` gives.
        batches: global batches; their `mask` is 0 on rows that only fill up.
        examples: dataset rows whose outputs are kept.
    """
    task = experiment.task
    lenient = task.lenient(experiment.context, FLOOR)
    compared = set(task.metrics(experiment.context))
    compared |= {f"{name}_labelled" for name in compared}
    unread: list[int] = []
    kept: list[Arrays] = []
    outputs: dict[int, np.ndarray] = {}
    for batch in batches:
        on_devices = forward(batch)
        # The waveform and label curves stay on the devices; only what is compared comes back.
        wanted = {k: v for k, v in batch.items() if k in compared or v.ndim == 1}
        host, (output, losses) = parallel.gather((wanted, on_devices))
        counts = host["mask"] * host["valid"] > 0
        unread += host["row"][(host["mask"] > 0) & (host["readable"] == 0)].tolist()
        answers = task.decode(output, lenient)
        found = {
            "row": host["row"],
            "window_start": host["window_start"],
            "loss": losses,
            **{f"target/{name}": host[name] for name in compared & host.keys()},
            **{f"answer/{name}": value for name, value in answers.items()},
        }
        if counts.any():
            kept.append({name: value[counts] for name, value in found.items()})
        if examples:
            for place in np.flatnonzero(counts & np.isin(host["row"], list(examples))):
                outputs[int(host["row"][place])] = output[place]
    arrays = _in_order(kept)
    nothing = np.zeros(0, np.int32)
    return Evaluation(
        experiment,
        arrays.get("row", nothing),
        arrays.get("window_start", nothing),
        arrays.get("loss", nothing.astype(np.float32)),
        _named(arrays, "target/"),
        _named(arrays, "answer/"),
        sorted(unread),
        outputs,
    )


def labelled(arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """Which rows have a label for an answer, bool; all of them unless the task says otherwise."""
    rows = arrays.get(f"{name}_labelled")
    return np.ones(len(arrays[name]), bool) if rows is None else rows > 0


def _flat(metrics: Mapping[str, Metric]) -> dict[str, float]:
    return {
        f"{name}/{score}": value
        for name, metric in metrics.items()
        for score, value in metric.compute().items()
    }


def _in_order(parts: list[Arrays]) -> Arrays:
    """The parts one after the other, by row number."""
    if not parts:
        return {}
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.argsort(joined["row"], kind="stable")
    return {name: value[order] for name, value in joined.items()}


def _named(arrays: Arrays, prefix: str) -> Arrays:
    return {
        name.removeprefix(prefix): value
        for name, value in arrays.items()
        if name.startswith(prefix)
    }
