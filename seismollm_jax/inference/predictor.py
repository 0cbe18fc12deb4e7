"""A trained network ready for use, on windows and on continuous records."""

import dataclasses
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
from obspy import Stream, Trace

from seismollm_jax import experiment as experiments
from seismollm_jax.data.waveform import normalise
from seismollm_jax.experiment import Experiment
from seismollm_jax.inference import options as settings
from seismollm_jax.inference import streams
from seismollm_jax.inference.annotate import annotate_segments, normalised_window, to_stream
from seismollm_jax.inference.coverage import Coverage
from seismollm_jax.inference.detections import (
    DetectionList,
    detect_segment,
    detects,
    merged_detections,
)
from seismollm_jax.inference.network import Network
from seismollm_jax.inference.picks import ClassifyOutput, PickList, merged, pick_segment
from seismollm_jax.inference.streams import Segment
from seismollm_jax.inference.windows import channels_last, inner_starts
from seismollm_jax.parallel import layout_over
from seismollm_jax.tasks import thresholds
from seismollm_jax.tasks.base import Arrays
from seismollm_jax.training import saved


class Predictor:
    """A network with its task and its preprocessing contract; see `load`.

    Attributes:
        name: of the model family, for the names of traces.
        experiment: task, model settings, preprocessing; its context has the thresholds in use.
        thresholds: these and where they are from, see `tasks.thresholds.decide`; empty for tasks
            without.
        description: the whole description stored in the checkpoint.
        path: where it was read from.
        batch_size: windows in a pass, at most. Fewer are filled up to a power of two, so that a few
            compilations serve all calls.
        devices: among which the windows of a pass are divided.
        network: its inference graph on them.
    """

    def __init__(
        self,
        stored: saved.Stored,
        *,
        batch_size: int = 64,
        operating_point: str | None = None,
        given: Mapping[str, float | None] | None = None,
        devices: int | None = None,
    ):
        description = stored.description
        made = experiments.make(description["config"], description["settings"])
        context, self.thresholds = thresholds.decide(
            made.task, made.context, description, operating_point, given
        )
        self.experiment: Experiment = dataclasses.replace(made, context=context)
        self.name = self.experiment.family.title
        self.description, self.path, self.batch_size = description, stored.path, batch_size
        layout = layout_over(jax.local_devices()[:devices])
        self.devices = layout.devices
        self.network = Network(self.experiment, stored, layout)
        self._run = self.network.run

    @property
    def window(self) -> int:
        """Samples of the window the network was trained on."""
        return self.experiment.context.window

    @property
    def sampling_rate_hz(self) -> float:
        """Sampling rate the network was trained on."""
        return self.experiment.context.sampling_rate_hz

    def _forward(self, x: np.ndarray, run: Callable[[np.ndarray], Any] | None = None) -> Any:
        """What a program gives, by default the output, for normalised (windows, samples, 3)."""
        outputs = []
        for start in range(0, len(x), self.batch_size):
            batch = x[start : start + self.batch_size]
            size = min(self.batch_size, 1 << (len(batch) - 1).bit_length())
            size = -(-size // self.devices) * self.devices
            filled = np.zeros((size, *x.shape[1:]), np.float32)
            filled[: len(batch)] = batch
            found = jax.device_get((run or self._run)(filled))
            outputs.append(jax.tree.map(operator.itemgetter(slice(len(batch))), found))
        return jax.tree.map(lambda *parts: np.concatenate(parts), *outputs)

    def forward(self, x: np.ndarray) -> np.ndarray:
        """The network's output for normalised windows.

        Args:
            x: float32 (windows, 3, samples), components in the order Z, N, E, at
                `sampling_rate_hz`, each normalised as in training. Any number of samples that the
                network takes.

        Returns:
            float32: picking (windows, 3, samples): neither or, in its form "detection", event, then
            P, S; polarity (windows, 2): up, down; magnitude (windows, 1); back_azimuth (windows,
            2): cosine, sine or, in its form "angle", (windows, 1) in degrees; distance (windows, 1)
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
            int64, -10000000 where there is none, p_probability and s_probability; in its form
            "detection" also detection (windows, 2 * events), first and last samples, [1, 0] where
            there is none, and detection_probability (windows, events). polarity: polarity
            (windows, 2), probabilities of up and down. magnitude, distance_km, back_azimuth_deg:
            (windows, 1).

        Raises:
            ValueError: another shape, or samples that are not finite.
        """
        windows = self._checked(x)
        normalised = np.stack([self.normalise(window) for window in windows])
        task, context, decode = self.experiment.task, self.experiment.context, self.network.decode
        if decode is None:
            return task.decode(self._forward(normalised), context)
        answers = self._forward(normalised, lambda batch: decode(batch, context))
        return {
            name: found.astype(np.int64) if found.dtype == np.int32 else found
            for name, found in answers.items()
        }

    def annotate(self, stream: Iterable[Trace], **options: Any) -> Stream:
        """Probability curves of continuous records.

        Args:
            stream: an ObsPy stream of any channels, rates, gaps and order; it is not changed.
            **options: see :class:`seismollm_jax.inference.options.Options`.

        Returns:
            Traces at `sampling_rate_hz` with the channels "SeisMoLLM_P_HH", "SeisMoLLM_S_HH" and
            "SeisMoLLM_N_HH" (neither) or "SeisT_D_HH" (event in progress), as the model and its
            form are, the last part being band and instrument code. There is a trace for each
            stretch with an answer, so gaps divide them.

        Raises:
            TypeError: an option that does not exist.
            ValueError: a value that cannot be, or the task gives one answer a window.
        """
        labels = [name[:1].upper() for name in self.experiment.task.labels]
        found = Stream()
        segments, _ = self.segments(stream, **options)
        for segment, curves in self.curves(segments, **options):
            found += to_stream(segment, curves, labels, self.name)
        return found

    def classify(self, stream: Iterable[Trace], **options: Any) -> ClassifyOutput:
        """Picks and detections on continuous records, and the account of what was analysed.

        Args:
            stream: as of `annotate`.
            **options: the same.

        Raises:
            TypeError: an option that does not exist.
            ValueError: a value that cannot be, or the task gives one answer a window.
        """
        segments, coverage = self.segments(stream, **options)
        picks, events = [], []
        for segment, curves in self.curves(segments, **options):
            picks.append(self.picks(segment, curves, **options))
            events.append(self.detections(segment, curves, **options))
        return ClassifyOutput(self.name, merged(picks), coverage, merged_detections(events))

    def segments(
        self, stream: Iterable[Trace], *, coverage: Coverage | None = None, **options: Any
    ) -> tuple[list[Segment], Coverage]:
        """The records as `annotate` sees them: on the network's grid of time, by instrument.

        Args:
            stream: as of `annotate`.
            coverage: continue this one.
            **options: as of `annotate`.
        """
        chosen = settings.parse(options, self.window, self.sampling_rate_hz)
        return streams.segments(
            stream,
            self.sampling_rate_hz,
            max_gap_s=self.window / self.sampling_rate_hz,  # no window reaches over a longer one
            edge_s=chosen.edge_s,
            strict=chosen.strict,
            flexible_horizontals=chosen.flexible_horizontal_components,
            inventory=chosen.inventory,
            coverage=coverage,
        )

    def curves(
        self, segments: Iterable[Segment], **options: Any
    ) -> Iterator[tuple[Segment, np.ndarray]]:
        """Probability curves (samples, channels) of segments, for per-sample tasks.

        Raises:
            TypeError: an option that does not exist.
            ValueError: the task gives one answer a window.
        """
        self._require_per_sample(True)
        chosen = settings.parse(options, self.window, self.sampling_rate_hz)
        return annotate_segments(
            self._run,
            segments,
            window=self.window,
            overlap=chosen.overlap,
            batch_size=chosen.batch_size or self.batch_size,
            normalise=self.normalise,
            blinding=chosen.blinding,
            stacking=chosen.stacking,
            multiple=self.devices,
        )

    def picks(self, segment: Segment, curves: np.ndarray, **options: Any) -> PickList:
        """Picks on the curves of a segment.

        Args:
            segment: the record.
            curves: as `curves` gives.
            **options: as of `annotate`; thresholds and inventory are used.
        """
        own, labels = self.experiment.context.options, self.experiment.task.labels
        thresholds = {"P": own.p_threshold, "S": own.s_threshold}
        chosen = settings.parse(options, self.window, self.sampling_rate_hz)
        return pick_segment(
            curves,
            segment,
            {"P": labels.index("p"), "S": labels.index("s")},
            thresholds | chosen.thresholds,
            own.min_peak_distance_s,
            inventory=chosen.inventory,
        )

    def detections(self, segment: Segment, curves: np.ndarray, **options: Any) -> DetectionList:
        """Events in progress on the curves of a segment, with arguments as of `picks`.

        None of a network that does not detect events.
        """
        own, task = self.experiment.context.options, self.experiment.task
        if not detects(task):
            return DetectionList()
        chosen = settings.parse(options, self.window, self.sampling_rate_hz)
        threshold = chosen.detection_threshold
        threshold = own.detection_threshold if threshold is None else threshold
        return detect_segment(curves[:, task.labels.index("detection")], segment, threshold)

    def windows(self, segment: Segment, *, overlap: float = 0.5) -> pd.DataFrame:
        """Answers of a task with one answer a window: one row for each window of the segment.

        Columns: trace_id, start_time, end_time (ISO 8601, UTC), then the answers.

        Raises:
            ValueError: the task answers per sample.
        """
        self._require_per_sample(False)
        columns = self.experiment.task.answer_columns
        assert columns is not None  # every task with one answer a window has it
        starts = inner_starts(len(segment.data), self.window, overlap, segment.anchor)
        windows = [
            normalised_window(segment, int(start), self.window, self.normalise) for start in starts
        ]
        task, context = self.experiment.task, self.experiment.context
        answers = task.decode(self._forward(np.stack(windows)), context)
        return pd.DataFrame(
            {
                "trace_id": segment.trace_id,
                "start_time": [str(segment.time(int(s))) for s in starts],
                "end_time": [str(segment.time(int(s) + self.window)) for s in starts],
                **columns(answers),
            }
        )

    def export(self, path: str | Path, **how: Any) -> Path:
        """Writes the network for serving: see :func:`seismollm_jax.inference.export.write`."""
        from seismollm_jax.inference import export  # which imports this module

        return export.write(self, path, **how)

    def _checked(self, x: np.ndarray) -> np.ndarray:
        windows = channels_last(x)
        own = self.experiment
        own.family.check_window(own.settings, own.task.output, windows.shape[1])
        return windows

    def normalise(self, data: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
        """A window (samples, 3) normalised as in training, over its valid samples alone."""
        return normalise(data, self.experiment.sample_options.normalisation, valid)

    def _require_per_sample(self, wanted: bool) -> None:
        task = self.experiment.task
        if task.output.per_sample != wanted:
            raise ValueError(
                f"{task.name} answers per {'sample' if task.output.per_sample else 'window'}: use "
                f"`{'annotate' if task.output.per_sample else 'windows'}`"
            )


def load(
    directory: str | Path,
    *,
    batch_size: int = 64,
    operating_point: str | None = None,
    p_threshold: float | None = None,
    s_threshold: float | None = None,
    devices: int | None = None,
) -> Predictor:
    """Loads a trained network.

    Args:
        directory: the working directory of a training run (its best checkpoint is taken), one
            checkpoint in it, or a converted checkpoint.
        batch_size: windows in a pass.
        operating_point: of picking: "f1", the thresholds of the best F1 of the validation;
            "false_picks", those of few false picks on noise; "config", those of the configuration.
            None takes the first of them that the checkpoint has, leaving out "false_picks".
        p_threshold: of picking, instead of the operating point's.
        s_threshold: the same.
        devices: how many of this process's to use; None takes all.

    Raises:
        CheckpointError: no checkpoint there, or a damaged one.
        ValueError: no such operating point is stored, or the task has no thresholds.
    """
    return Predictor(
        saved.load(directory),
        batch_size=batch_size,
        operating_point=operating_point,
        given={"p": p_threshold, "s": s_threshold},
        devices=devices,
    )
