"""What a task is. One module beside this one per task, and nothing about it anywhere else."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from seismollm_jax.data.records import Sample
from seismollm_jax.metrics.peaks import at_threshold
from seismollm_jax.models.output import Output

EPSILON = 1e-6  # floor inside the logarithms of the PyTorch original's losses

Arrays = dict[str, np.ndarray]


class Metric(Protocol):
    """An accumulator: sums of batches, mergeable across processes, scores at the end.

    The same scores for parts and resamples of the records come in two ways: most from sums of what
    each record adds, the others from how often each record counts.
    """

    headline: ClassVar[tuple[str, ...]]
    """The scores, out of those of `scores`, that tables of parts of the records show."""

    def update(self, predicted: np.ndarray, target: np.ndarray, mask: np.ndarray) -> None:
        """Adds a batch, leaving out rows where `mask` is false."""

    def merge(self, other: Any) -> None:
        """Adds the sums of another part of the same evaluation."""

    def compute(self) -> dict[str, float]:
        """Scores by name."""

    def parts(self, predicted: np.ndarray, target: np.ndarray) -> Arrays:
        """What each row adds to the sums, (rows,) or (rows, k)."""

    def scores(self, sums: Arrays) -> Arrays:
        """Scores by name, (...), of summed parts (...) or (..., k)."""

    def weighted(
        self, predicted: np.ndarray, target: np.ndarray
    ) -> Callable[[np.ndarray], dict[str, float]] | None:
        """The other scores, as a function of how often each row counts, (rows,), if any are."""


class Threshold(NamedTuple):
    """The smallest probability at which an answer is given.

    Attributes:
        option: field of the task's `Options`.
        probability: the answer that holds the probabilities.
    """

    option: str
    probability: str

    @property
    def short(self) -> str:
        """What reports and stored operating points call it: "p" for p_threshold."""
        return self.option.removesuffix("_threshold")


@dataclasses.dataclass(frozen=True)
class Context:
    """What encoding and decoding need to know of the input, and the task's own options.

    Attributes:
        window: samples in a window.
        sampling_rate_hz: of the window.
        options: an instance of the task's `Options`.
        coda_ratio: an event ends so many S minus P times after S.
    """

    window: int
    sampling_rate_hz: float
    options: Any
    coda_ratio: float = 2.0

    def with_options(self, **changes: Any) -> "Context":
        """The same with other options."""
        return dataclasses.replace(self, options=dataclasses.replace(self.options, **changes))


@dataclasses.dataclass(frozen=True)
class NoOptions:
    """Options of a task that has none."""


@dataclasses.dataclass(frozen=True)
class OnDevice:
    """Decoding within the network's program, which then has less to compute and to copy.

    Attributes:
        channels: of the output, those that `decode` takes.
        decode: output of these channels -> the answers of `Task.decode`, JAX; integers are int32.
    """

    channels: tuple[int, ...]
    decode: Callable[[jax.Array, Context], dict[str, jax.Array]]


@dataclasses.dataclass(frozen=True)
class Task:
    """Everything that makes a task.

    Attributes:
        name: the word that files and code use.
        short_name: what the PyTorch original calls it; accepted wherever a name is.
        title: a few words for reports.
        form: which of the forms of the task this is, empty for a task with a single one. Forms have
            the name and the labels in common, but are learnt from other targets or outputs.
        needs: label columns that an earthquake row must have to be used; one of those joined by |.
        uses_noise: whether noise traces are samples of this task.
        output: shape and range of the network's output.
        encode: sample -> targets, NumPy; runs in loader workers. Keys become arrays of the batch;
            NaN marks a missing label and takes the sample out of the loss. Where a target T has a
            companion T_labelled, 0 there takes the sample out of the metric of T.
        loss: (output, targets) -> (batch,), JAX.
        decode: output -> answers by name, NumPy. Names that are targets too are compared with
            them; the others are extra columns.
        metrics: one accumulator per compared answer.
        columns: (targets, answers, context) -> columns of the table of predictions, (batch,) each.
        answer_columns: answers -> columns of a table of windows without labels; None for tasks that
            answer per sample.
        labels: names of the output's channels, in order.
        units: unit of each answer, for tables and pictures.
        monitor: validation figure that decides which checkpoint is best ("loss" or
            "<answer>/<score>").
        maximise: whether more of it is better.
        options: dataclass of the task's own settings; `config.options` fills it.
        thresholds: of answers that are only given at some probability, (batch, slots) as
            `peaks.pick_batch` gives them.
        on_device: another way to the answers of `decode`; None where outputs are small.
    """

    name: str
    short_name: str
    title: str
    needs: tuple[str, ...]
    output: Output
    encode: Callable[[Sample, Context], Arrays]
    loss: Callable[[jax.Array, Mapping[str, jax.Array]], jax.Array]
    decode: Callable[[np.ndarray, Context], Arrays]
    metrics: Callable[[Context], dict[str, Metric]]
    columns: Callable[[Arrays, Arrays, Context], Arrays]
    labels: tuple[str, ...]
    units: Mapping[str, str]
    form: str = ""
    answer_columns: Callable[[Arrays], Arrays] | None = None
    uses_noise: bool = False
    monitor: str = "loss"
    maximise: bool = False
    options: type = NoOptions
    thresholds: Mapping[str, Threshold] = dataclasses.field(default_factory=dict)
    on_device: OnDevice | None = None

    def context(
        self,
        *,
        window: int,
        sampling_rate_hz: float,
        options: Mapping[str, Any],
        coda_ratio: float = Context.coda_ratio,
    ) -> Context:
        """The context of this task, its options checked.

        Raises:
            ValueError: an option that the task does not have.
        """
        known = {field.name for field in dataclasses.fields(self.options)}
        if unknown := set(options) - known:
            raise ValueError(
                f"task {self.name} has no option {sorted(unknown)}; "
                f"it has {sorted(known) or 'none'}"
            )
        return Context(window, sampling_rate_hz, self.options(**options), coda_ratio)

    def lenient(self, context: Context, floor: float) -> Context:
        """The context with thresholds of at most `floor`, for answers at any higher ones."""
        options = [threshold.option for threshold in self.thresholds.values()]
        lowered = {name: min(floor, getattr(context.options, name)) for name in options}
        return context.with_options(**lowered) if lowered else context

    def restrict(self, answers: Arrays, context: Context) -> Arrays:
        """Answers as `decode` gives them with this context, out of those of lower thresholds."""
        found = dict(answers)
        for name, threshold in self.thresholds.items() if answers else ():
            found[name], found[threshold.probability] = at_threshold(
                answers[name],
                answers[threshold.probability],
                getattr(context.options, threshold.option),
            )
        return found


def huber(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Huber loss with delta 1: quadratic up to a difference of 1, linear beyond. Elementwise."""
    difference = jnp.abs(prediction - target)
    return jnp.where(difference < 1, 0.5 * difference**2, difference - 0.5)


def one_minus(probability: jax.Array) -> jax.Array:
    """1 - p, shielded so that a compiler does not merge it with a constant added afterwards.

    Folded, 1 - p + 1e-6 becomes 1.00000095 - p, which moves the logarithm at p = 1 by 0.05.
    """
    return jax.lax.optimization_barrier(1 - probability)
