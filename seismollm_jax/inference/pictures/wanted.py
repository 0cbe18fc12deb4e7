"""Which sketches are taken of what a predictor picks."""

from __future__ import annotations

from seismollm_jax.inference.events import crust
from seismollm_jax.inference.events.predictor import EventPredictor
from seismollm_jax.inference.pictures import day_report, records
from seismollm_jax.inference.pictures.records import Sketches
from seismollm_jax.inference.predictor import Predictor


def sketches(
    predictor: Predictor | EventPredictor, span: tuple[int, int], kind: str | None, *, report: bool
) -> Sketches | None:
    """What takes the records of a stretch of time as they are picked; None if nothing is drawn."""
    if not kind and not report:
        return None
    picker = predictor.picking if isinstance(predictor, EventPredictor) else predictor
    if isinstance(predictor, EventPredictor):
        longest = predictor.longest_sp_s
    else:
        longest = min(crust.LONGEST_SP_S, picker.window / picker.sampling_rate_hz)
    most = records.MOST_EVENTS if kind == "event" else day_report.MOST_PICTURES * report
    return Sketches(
        span,
        phases(predictor),
        longest,
        most_events=most,
        hours=kind == "hour",
        overview=report,
    )


def phases(predictor: Predictor | EventPredictor) -> dict[str, int]:
    """Channels of the picking network's curves; none if it is for another task."""
    picker = predictor.picking if isinstance(predictor, EventPredictor) else predictor
    labels = picker.experiment.task.labels
    return {name: labels.index(name.lower()) for name in "PS" if name.lower() in labels}
