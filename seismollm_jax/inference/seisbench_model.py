"""A trained picker as a SeisBench model, for tools that are built on those.

Needs `pip install 'seismollm_jax[seisbench]'`. Everything but the network is SeisBench's own code:
its resampling, its windows, its stacking and its picks.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np

from seismollm_jax.inference import options as settings
from seismollm_jax.inference import predictor as predictors
from seismollm_jax.inference.windows import overlap_samples

CITATION = "{}, a network for seismic monitoring, in the JAX implementation seismollm_jax"
DETECTION = "Detection"  # what SeisBench calls that curve; the others are called by a letter


def from_checkpoint(directory: str | Path, **options: Any) -> Any:
    """A `seisbench.models.WaveformModel` around a trained picker.

    Its `annotate` and `classify` take SeisBench's options; by default overlap and stacking are
    those of :class:`seismollm_jax.inference.options.Options`, and the thresholds the checkpoint's.
    It stays on the devices of JAX: `to("cuda")` has no effect on the network. It cannot be trained,
    or saved with `model.save`.

    Args:
        directory: as of `seismollm_jax.load`.
        **options: of `seismollm_jax.load`, such as operating_point.

    Raises:
        ImportError: SeisBench is not installed.
        CheckpointError: no checkpoint there, or a damaged one.
        ValueError: the network is not a picker.
    """
    try:
        make = _model_class()
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{error}: install SeisBench with pip install 'seismollm_jax[seisbench]'"
        ) from error
    found = predictors.load(directory, **options)
    if found.experiment.task.name != "picking":
        raise ValueError(
            f"{found.path} is for {found.experiment.task.name}; SeisBench's annotate and classify "
            "need a network for picking"
        )
    return type(found.name, (make,), {})(found)  # SeisBench names models after their class


@functools.cache
def _model_class() -> type:
    """The class, made when it is first needed, as SeisBench and PyTorch take seconds to import."""
    import torch
    from seisbench.models import WaveformModel
    from seisbench.util import ClassifyOutput, PickList

    class Picker(WaveformModel):
        """A trained picker behind SeisBench's interface.

        Attributes:
            predictor: what runs it.
        """

        _annotate_args = {  # noqa: RUF012 - SeisBench's way
            **WaveformModel._annotate_args,
            "blinding": ("Samples at the beginning and end of each window without answer", (0, 0)),
            "*_threshold": ("Smallest probability of a pick", 0.3),
            "detection_threshold": ("Of networks that detect events: their probability", 0.5),
        }

        def __init__(self, predictor: predictors.Predictor) -> None:
            window, context = predictor.window, predictor.experiment.context
            used = settings.parse({}, window, predictor.sampling_rate_hz)
            super().__init__(
                citation=CITATION.format(predictor.name),
                component_order="ZNE",
                sampling_rate=predictor.sampling_rate_hz,
                output_type="array",
                in_samples=window,
                pred_sample=(0, window),
                labels=[
                    DETECTION if name == "detection" else name[:1].upper()
                    for name in predictor.experiment.task.labels
                ],
                default_args={
                    "overlap": overlap_samples(window, used.overlap),
                    "stacking": used.stacking,
                    "batch_size": predictor.batch_size,
                    "P_threshold": context.options.p_threshold,
                    "S_threshold": context.options.s_threshold,
                    "detection_threshold": context.options.detection_threshold,
                },
            )
            self.predictor = predictor
            self._weights_docstring = f"{predictor.path}"

        def forward(self, x: Any) -> Any:
            """Probabilities (windows, 3, samples) of normalised windows of that shape."""
            found = self.predictor.forward(x.detach().cpu().numpy())
            return torch.from_numpy(np.array(found)).to(x.device)

        def annotate_batch_pre(self, batch: Any, argdict: dict[str, Any]) -> Any:
            """Normalises windows as in training."""
            windows = batch.detach().cpu().numpy()
            ready = np.stack([self.predictor.normalise(window.T).T for window in windows])
            return torch.from_numpy(ready).to(batch.device)

        def annotate_batch_post(self, batch: Any, piggyback: Any, argdict: dict[str, Any]) -> Any:
            """Samples before channels, and nan where windows are blind."""
            batch = batch.transpose(-1, -2).clone()
            before, after = argdict.get("blinding", (0, 0))
            batch[:, :before] = np.nan
            batch[:, batch.shape[1] - after :] = np.nan
            return batch

        def classify_aggregate(self, annotations: Any, argdict: dict[str, Any]) -> Any:
            """Picks of P and S on the annotations, and detections if there is a curve of them."""
            picks = PickList()
            for phase in "PS":
                picks += self.picks_from_annotations(
                    annotations.select(channel=f"{self.name}_{phase}"),
                    argdict[f"{phase}_threshold"],
                    phase,
                )
            found = {"picks": PickList(sorted(picks))}
            if DETECTION in self.labels:
                found["detections"] = self.detections_from_annotations(
                    annotations.select(channel=f"{self.name}_{DETECTION}"),
                    argdict["detection_threshold"],
                )
            return ClassifyOutput(self.name, **found)

        def save(self, *arguments: Any, **options: Any) -> None:
            """Not possible: the network is none of PyTorch's.

            Raises:
                NotImplementedError: always, with the way to do it.
            """
            raise NotImplementedError(
                "this model runs in JAX; keep its checkpoint, or convert it with "
                "python convert_weights.py to-torch"
            )

    return Picker
