"""A trained network ready for use, on windows and on continuous records."""

import functools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd

from seismollm_jax import experiment as experiments
from seismollm_jax.data.waveform import normalise
from seismollm_jax.experiment import Experiment
from seismollm_jax.inference.picks import Pick, annotate_stream, normalised_window, pick_segment
from seismollm_jax.inference.streams import Segment
from seismollm_jax.inference.windows import window_starts
from seismollm_jax.models.state import merge
from seismollm_jax.tasks.base import Arrays
from seismollm_jax.training import checkpoint


class Predictor:
    """A network with its task and its preprocessing contract; see `load`.

    Attributes:
        experiment: task, model settings, preprocessing.
        description: the whole description stored in the checkpoint.
        path: where it was read from.
        batch_size: windows in a pass, at most. Fewer are filled up to a power of two, so that a few
        compilations serve all calls.
    """

    def __init__(self, stored: checkpoint.Stored, *, batch_size: int = 64):
        description = stored.description
        self.experiment: Experiment = experiments.make(
            description["config"], description["settings"]
        )
        self.description, self.path, self.batch_size = description, stored.path, batch_size
        self._arrays = (stored.params, stored.frozen, stored.stats)
        graphdef = self.experiment.abstract().graphdef
        precision = description["config"]["precision"]["matmul"]

        @jax.jit
        def run(arrays: Any, x: jax.Array) -> jax.Array:
            model: Any = merge(graphdef, *arrays)
            with jax.default_matmul_precision(precision):
                return model(x)

        self._run = functools.partial(run, self._arrays)

    @property
    def window(self) -> int:
        """Samples of the window the network was trained on."""
        return self.experiment.context.window

    @property
    def sampling_rate_hz(self) -> float:
        """Sampling rate the network was trained on."""
        return self.experiment.context.sampling_rate_hz

    def _forward(self, x: np.ndarray) -> np.ndarray:
        """(windows, samples, 3) normalised -> output, channels last, any number of windows."""
        outputs = []
        for start in range(0, len(x), self.batch_size):
            batch = x[start : start + self.batch_size]
            size = min(self.batch_size, 1 << (len(batch) - 1).bit_length())
            filled = np.zeros((size, *x.shape[1:]), np.float32)
            filled[: len(batch)] = batch
            outputs.append(np.asarray(self._run(filled))[: len(batch)])
        return np.concatenate(outputs)

    def forward(self, x: np.ndarray) -> np.ndarray:
        """The network's output for normalised windows.

        Args:
            x: float32 (windows, 3, samples), components in the order Z, N, E, at
                `sampling_rate_hz`, each normalised as in training. Any number of samples that the
                network takes.

        Returns:
            float32: picking (windows, 3, samples): neither, P, S; polarity (windows, 2): up, down;
            magnitude (windows, 1); back_azimuth (windows, 2): cosine, sine; distance (windows, 1)
            in km.

        Raises:
            ValueError: another shape, a length that the network cannot take, or samples that are
                not finite.
        """
        output = self._forward(self._checked(x))
        return output.swapaxes(1, 2) if output.ndim == 3 else output

    def predict(self, x: np.ndarray) -> Arrays:
        """Decoded answers for raw windows.

        Args:
            x: (windows, 3, samples), Z, N, E, at `sampling_rate_hz`, in any unit of ground motion.

        Returns:
            Answers by name, one row a window. picking: p_sample and s_sample (windows, picks)
            int64, -10000000 where there is none, p_probability and s_probability. polarity:
            polarity (windows, 2), probabilities of up and down. magnitude, distance_km,
            back_azimuth_deg: (windows, 1).

        Raises:
            ValueError: another shape, or samples that are not finite.
        """
        windows = self._checked(x)
        normalised = np.stack([self._normalise(window) for window in windows])
        return self.experiment.task.decode(self._forward(normalised), self.experiment.context)

    def curves(
        self, segments: Iterable[Segment], *, overlap: float = 0.5
    ) -> Iterator[tuple[Segment, np.ndarray]]:
        """Probability curves (samples, channels) of continuous records, for per-sample tasks.

        Raises:
            ValueError: the task gives one answer a window.
        """
        self._require_per_sample(True)
        return annotate_stream(
            lambda x: np.asarray(self._run(x)),
            segments,
            window=self.window,
            overlap=overlap,
            batch_size=self.batch_size,
            normalise=self._normalise,
        )

    def picks(self, segment: Segment, curves: np.ndarray, **thresholds: float | None) -> list[Pick]:
        """Picks on the curves of a segment.

        Args:
            segment: the record.
            curves: as `curves` gives.
            **thresholds: smallest probability by phase, such as P=0.5; None or absent takes the
                checkpoint's.
        """
        options = self.experiment.context.options
        own = {"P": options.p_threshold, "S": options.s_threshold}
        own |= {phase: value for phase, value in thresholds.items() if value is not None}
        labels = self.experiment.task.labels
        return pick_segment(
            curves,
            segment,
            {"P": labels.index("p"), "S": labels.index("s")},
            own,
            options.min_peak_distance_s,
        )

    def windows(self, segment: Segment, *, overlap: float = 0.5) -> pd.DataFrame:
        """Answers of a task with one answer a window: one row for each window of the segment.

        Columns: trace_id, start_time, end_time (ISO 8601, UTC), then the answers.

        Raises:
            ValueError: the task answers per sample.
        """
        self._require_per_sample(False)
        columns = self.experiment.task.answer_columns
        assert columns is not None  # every task with one answer a window has it
        starts = window_starts(len(segment.data), self.window, overlap, segment.anchor)
        windows = [
            normalised_window(segment, int(start), self.window, self._normalise) for start in starts
        ]
        task, context = self.experiment.task, self.experiment.context
        answers = task.decode(self._forward(np.stack(windows)), context)
        rate = segment.sampling_rate_hz
        return pd.DataFrame(
            {
                "trace_id": segment.trace_id,
                "start_time": [str(segment.start_time + float(s) / rate) for s in starts],
                "end_time": [
                    str(segment.start_time + float(s + self.window) / rate) for s in starts
                ],
                **columns(answers),
            }
        )

    def _checked(self, x: np.ndarray) -> np.ndarray:
        windows = _channels_last(x)
        experiment = self.experiment
        experiment.family.check_window(
            experiment.settings, experiment.task.output, windows.shape[1]
        )
        return windows

    def _normalise(self, data: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
        return normalise(data, self.experiment.sample_options.normalisation, valid)

    def _require_per_sample(self, wanted: bool) -> None:
        task = self.experiment.task
        if task.output.per_sample != wanted:
            raise ValueError(
                f"{task.name} answers per {'sample' if task.output.per_sample else 'window'}: use "
                f"`{'curves' if task.output.per_sample else 'windows'}`"
            )


def _channels_last(x: np.ndarray) -> np.ndarray:
    """Checks (windows, 3, samples) and turns it into (windows, samples, 3) float32."""
    x = np.asarray(x)
    if x.ndim != 3 or x.shape[1] != 3 or not len(x):
        raise ValueError(
            f"windows have shape {x.shape}; (windows, 3, samples) is needed, components Z, N, E"
        )
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
        x = np.asarray(x, np.float32)
    if not np.isfinite(x).all():
        bad = np.flatnonzero(~np.isfinite(x).all((1, 2))).tolist()
        raise ValueError(
            f"windows {bad[:10]} hold samples that are not finite; fill the gaps first"
        )
    return np.ascontiguousarray(x.swapaxes(1, 2), np.float32)


def load(directory: str | Path, *, batch_size: int = 64) -> Predictor:
    """Loads a trained network.

    Args:
        directory: the working directory of a training run (its best checkpoint is taken), one
            checkpoint in it, or a converted checkpoint.
        batch_size: windows in a pass.

    Raises:
        CheckpointError: no checkpoint there, or a damaged one.
    """
    return Predictor(checkpoint.load(directory), batch_size=batch_size)
