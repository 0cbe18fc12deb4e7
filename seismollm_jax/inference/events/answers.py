"""What networks say of events: values, how firm they are, and whether to believe them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from obspy import Inventory, UTCDateTime

from seismollm_jax.inference.annotate import normalised_window
from seismollm_jax.inference.events import crust
from seismollm_jax.inference.events import windows as event_windows
from seismollm_jax.inference.picks import Pick
from seismollm_jax.inference.predictor import Predictor
from seismollm_jax.inference.streams import Segment

SHIFTS_S = (-0.2, -0.1, 0.1, 0.2)  # of the window, for the spread
P_POSITION = 0.125
"""Share of the window ahead of P, for networks that were trained on drawn windows: those of STEAD
begin 5 to 10 s ahead of P and last a minute, and S should be inside."""

LEAST_SNR_DB = 3.0  # of P
LEAST_PROBABILITY = 0.7  # of a polarity
LEAST_LENGTH = 0.5  # of the vector of a back-azimuth; 67 degrees of circular standard deviation
AT_BOUNDS = 0.002  # of the range, from either end

SNR = "snr"
UNDECIDED = "undecided"
UNSTABLE = "unstable"
BOUNDS = "bounds"
S_MINUS_P = "s_minus_p"
OK = "ok"


@dataclass(frozen=True)
class Kind:
    """What is special about an answer.

    Attributes:
        column: of the task's table.
        unit: suffix of the columns' names.
        needs: components.
        oriented: whether the horizontals must point to north and east.
        alone: whether another event in the window spoils it.
        steady: largest spread of a value that is believed; None where no spread is asked for.
        ranged: whether values near the ends of the range are suspicious.
    """

    column: str
    unit: str = ""
    needs: str = ""
    oriented: bool = False
    alone: bool = True
    steady: Callable[[float], float] | None = None
    ranged: bool = False


KINDS: Mapping[str, Kind] = {
    "polarity": Kind("polarity", needs="Z", alone=False),
    "magnitude": Kind("magnitude", steady=lambda value: 0.5, ranged=True),
    "distance": Kind("distance_km", "_km", steady=lambda value: 5 + 0.25 * value, ranged=True),
    "back_azimuth": Kind(
        "back_azimuth_deg", "_deg", needs="ZNE", oriented=True, steady=lambda value: 30.0
    ),
}
"""The tasks that say something of an event, in the order of the table."""


@dataclass
class Answer:
    """Of one network on one event.

    Attributes:
        value: in the unit of the task; "up" or "down" for polarities.
        flag: "ok", or why not to believe it, with "+" between several reasons.
        missing_s: seconds of the window in which a component lacks data.
        spread: root mean square change of the value when the window is shifted by `SHIFTS_S`.
        probability: of a polarity.
        length: of the vector of cosine and sine that a back-azimuth is the angle of, where the
            network gives one: near 1 if it is sure, 0 if any direction would do.
    """

    value: float | str
    flag: str
    missing_s: float
    spread: float | None = None
    probability: float | None = None
    length: float | None = None

    @property
    def is_ok(self) -> bool:
        """Whether nothing speaks against it."""
        return self.flag == OK


@dataclass
class Subject:
    """An event as the networks see it.

    Attributes:
        p: its P.
        s: its S, if there is one.
        segment: of its record, at the network's sampling rate.
        others: P times of other events of the record, those with an S.
    """

    p: Pick
    s: Pick | None
    segment: Segment
    others: Sequence[UTCDateTime] = field(default_factory=list)


def position(predictor: Predictor, drawn: float = P_POSITION) -> float:
    """Where a network expects P in its window, as a share of it; `drawn` if anywhere."""
    ratio = predictor.description["contract"]["p_position_ratio"]
    return drawn if ratio is None else float(ratio)


def answer(
    predictor: Predictor,
    subjects: Sequence[Subject],
    *,
    inventory: Inventory | None = None,
    p_position: float = P_POSITION,
    batch_size: int | None = None,
) -> list[Answer]:
    """A network's answer to each event.

    Args:
        predictor: of a task with one answer a window.
        subjects: segments have the predictor's sampling rate.
        inventory: tells whether horizontals are oriented.
        p_position: for networks trained on drawn windows, see `position`.
        batch_size: windows in a pass; None takes the predictor's.
    """
    kind, window = KINDS[predictor.experiment.task.name], predictor.window
    ratio, rate = position(predictor, p_position), predictor.sampling_rate_hz
    shifts = [0, *(round(s * rate) for s in (SHIFTS_S if kind.steady else ()))]
    starts = [
        event_windows.window_start(item.segment, item.p.peak_time, window, ratio)
        for item in subjects
    ]
    windows = (
        normalised_window(item.segment, start + shift, window, predictor.normalise)
        for item, start in zip(subjects, starts, strict=True)
        for shift in shifts
    )
    said = list(_run(predictor, windows, batch_size or predictor.batch_size))
    found = []
    for i, (item, start) in enumerate(zip(subjects, starts, strict=True)):
        mine = said[i * len(shifts) : (i + 1) * len(shifts)]
        arrivals = [pick.peak_time for pick in (item.p, item.s) if pick is not None]
        missing_s, reasons = event_windows.lacking(item.segment, start, window, arrivals)
        reasons += event_windows.components(item.segment, start, window, kind.needs)
        if kind.oriented:
            reasons += event_windows.orientation(item.segment, inventory, item.p.peak_time)
        if kind.alone and _has_other(item, start, window):
            reasons.append(event_windows.OTHER_EVENT)
        if item.p.snr_db is not None and item.p.snr_db < LEAST_SNR_DB:
            reasons.append(SNR)
        made = _judged(kind, mine, _largest(predictor) if kind.ranged else None, reasons)
        if kind.column == "distance_km" and item.s is not None:
            low, high = crust.distance_range_km(item.s.peak_time - item.p.peak_time)
            if not low <= float(made.value) <= high:
                reasons.append(S_MINUS_P)
        made.flag, made.missing_s = "+".join(reasons) or OK, missing_s
        found.append(made)
    return found


def _run(
    predictor: Predictor, windows: Iterable[np.ndarray], batch_size: int
) -> Iterator[dict[str, Any]]:
    """The columns of the task's table for each window, and the length of the vector if any."""
    task, context = predictor.experiment.task, predictor.experiment.context
    columns = task.answer_columns
    assert columns is not None  # every task with one answer a window has it
    windows = iter(windows)
    while some := list(islice(windows, batch_size)):
        output = predictor.forward(np.stack(some).swapaxes(1, 2))
        table = dict(columns(task.decode(output, context)))
        if {"cosine", "sine"} <= set(task.labels):
            both = [output[:, task.labels.index(name)] for name in ("cosine", "sine")]
            table["length"] = np.hypot(*both)
        for i in range(len(some)):
            yield {name: values[i] for name, values in table.items()}


def _judged(
    kind: Kind, said: Sequence[Mapping[str, Any]], largest: float | None, reasons: list[str]
) -> Answer:
    """The answer to the window itself and its change with the shifts; adds to `reasons`."""
    value = said[0][kind.column]
    if isinstance(value, str):
        up = float(said[0]["up_probability"])
        made = Answer(str(value), OK, 0.0, probability=max(up, 1 - up))
        if max(up, 1 - up) < LEAST_PROBABILITY:
            reasons.append(UNDECIDED)
        return made
    made = Answer(float(value), OK, 0.0)
    if "length" in said[0]:
        made.length = float(said[0]["length"])
        if made.length < LEAST_LENGTH:
            reasons.append(UNDECIDED)
    if kind.steady is not None:
        changes = np.array([float(other[kind.column]) - float(value) for other in said[1:]])
        if kind.unit == "_deg":
            changes = (changes + 180) % 360 - 180
        made.spread = float(np.sqrt(np.square(changes).mean()))
        if made.spread > kind.steady(float(value)):
            reasons.append(UNSTABLE)
    if largest is not None and not AT_BOUNDS < float(value) / largest < 1 - AT_BOUNDS:
        reasons.append(BOUNDS)
    return made


def _largest(predictor: Predictor) -> float | None:
    """Upper end of the network's range, None where it has none; the lower one is 0."""
    output = predictor.experiment.task.output
    return float(output.scale) if output.activation == "sigmoid" else None


def _has_other(item: Subject, start: int, window: int) -> bool:
    """Whether another event's P lies in the window."""
    segment = item.segment
    first, end = segment.time(start), segment.time(start + window)
    return any(first <= time < end and time != item.p.peak_time for time in item.others)
