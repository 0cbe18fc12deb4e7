"""From continuous records to events: picks, and at each P the answers of the other tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from obspy import Inventory, Trace, UTCDateTime

from seismollm_jax.data.geodesy import destination
from seismollm_jax.inference import options as settings
from seismollm_jax.inference import stations, streams
from seismollm_jax.inference.coverage import Coverage
from seismollm_jax.inference.events import crust
from seismollm_jax.inference.events.answers import (
    KINDS,
    OK,
    P_POSITION,
    SHIFTS_S,
    Answer,
    Subject,
    answer,
)
from seismollm_jax.inference.events.pairs import pair
from seismollm_jax.inference.events.table import Epicentre, Event, EventTable
from seismollm_jax.inference.events.windows import covering
from seismollm_jax.inference.picks import Pick, PickList, merged
from seismollm_jax.inference.predictor import Predictor, load
from seismollm_jax.inference.streams import Segment

POLARITY_LETTERS = {"up": "U", "down": "D"}  # SeisBench's

Records = Mapping[float, list[Segment]]
"""The records once for each sampling rate of a network."""


class EventPredictor:
    """A picking network and any of the others, on continuous records; see `load_events`.

    Attributes:
        picking: gives the picks.
        answers: the others by task, in the order of the table.
        p_position: where P is put in the windows of networks trained on drawn ones, a share.
    """

    def __init__(
        self,
        picking: Predictor,
        answers: Mapping[str, Predictor],
        p_position: float = P_POSITION,
    ):
        for name, predictor in {"picking": picking, **answers}.items():
            found = predictor.experiment.task.name
            if found != name:
                raise ValueError(f"{predictor.path} is a network for {found}, not for {name}")
            if name != "picking" and name not in KINDS:
                raise ValueError(f"events have no {name}; they have {', '.join(KINDS)}")
        if not 0 <= p_position < 1:
            raise ValueError(f"p_position is {p_position}; it must be a share of the window")
        self.picking, self.p_position = picking, p_position
        self.answers = {name: answers[name] for name in KINDS if name in answers}

    @property
    def name(self) -> str:
        """Of the picking network's family."""
        return self.picking.name

    @property
    def longest_sp_s(self) -> float:
        """Largest S minus P of a pair: that of 500 km, but no more than the picking window."""
        return min(crust.LONGEST_SP_S, _length_s(self.picking))

    @property
    def reach_s(self) -> float:
        """How far from its P an event depends on the records, but for filters and the like.

        A window may hold another P, whose S makes it an event, and picks depend on the records
        within a picking window.
        """
        windows = [_length_s(predictor) + max(SHIFTS_S) for predictor in self.answers.values()]
        return max([0.0, *windows]) + self.longest_sp_s + _length_s(self.picking)

    def segments(
        self, stream: Iterable[Trace], *, coverage: Coverage | None = None, **options: Any
    ) -> tuple[dict[float, list[Segment]], Coverage]:
        """The records on the grid of time of each network's sampling rate.

        Args:
            stream: an ObsPy stream; it is not changed.
            coverage: continue this one.
            **options: see :class:`seismollm_jax.inference.options.Options`.
        """
        networks = [self.picking, *self.answers.values()]
        chosen = settings.parse(options, self.picking.window, self.picking.sampling_rate_hz)
        coverage = Coverage() if coverage is None else coverage
        found: dict[float, list[Segment]] = {}
        traces = list(stream)
        for rate in dict.fromkeys(network.sampling_rate_hz for network in networks):
            found[rate], _ = streams.segments(
                traces,
                rate,
                # No window of any network reaches over a longer gap.
                max_gap_s=max(_length_s(network) for network in networks) + 2 * max(SHIFTS_S),
                edge_s=chosen.edge_s,
                strict=chosen.strict,
                flexible_horizontals=chosen.flexible_horizontal_components,
                inventory=chosen.inventory,
                coverage=coverage if not found else Coverage(),  # once is enough
            )
        return found, coverage

    def picks(self, records: Records, **options: Any) -> PickList:
        """All picks by time."""
        segments = records[self.picking.sampling_rate_hz]
        return merged(
            self.picking.picks(segment, curves, **options)
            for segment, curves in self.picking.curves(segments, **options)
        )

    def events(
        self,
        records: Records,
        picks: PickList,
        *,
        within_ns: tuple[int, int] = (-(2**62), 2**62),
        **options: Any,
    ) -> list[Event]:
        """The events of records; their P picks get the polarities that are believed.

        Args:
            records: as of `segments`.
            picks: of these records.
            within_ns: earliest and latest P, exclusive, nanoseconds since 1970-01-01.
            **options: as of `segments`.
        """
        chosen = settings.parse(options, self.picking.window, self.picking.sampling_rate_hz)
        pairs = pair(picks, self.longest_sp_s)
        complete: dict[str, list[UTCDateTime]] = {}
        for p, s in pairs:
            if s is not None:
                complete.setdefault(p.trace_id, []).append(p.peak_time)
        first, end = within_ns
        found = [Event(p, s) for p, s in pairs if first <= p.peak_time.ns < end]
        if not found:
            return []
        for task, predictor in self.answers.items():
            made = answer(
                predictor,
                [
                    self._subject(event, records[predictor.sampling_rate_hz], complete)
                    for event in found
                ],
                inventory=chosen.inventory,
                p_position=self.p_position,
                batch_size=chosen.batch_size,
            )
            for event, one in zip(found, made, strict=True):
                event.answers[task] = one
                if task == "polarity" and one.is_ok:
                    _set_polarity(event.p, one)
        if chosen.inventory is not None and {"distance", "back_azimuth"} <= set(self.answers):
            for event in found:
                event.epicentre = epicentre(event, chosen.inventory)
        return found

    def catalogue(self, stream: Iterable[Trace], **options: Any) -> EventTable:
        """Events and picks of continuous records.

        Args:
            stream: an ObsPy stream of any stations, channels, rates, gaps and order; it is not
                changed.
            **options: see :class:`seismollm_jax.inference.options.Options`. With `inventory`,
                components are turned, and epicentres worked out.

        Raises:
            TypeError: an option that does not exist.
            ValueError: a value that cannot be.
        """
        records, coverage = self.segments(stream, **options)
        picks = self.picks(records, **options)
        return EventTable(self.name, self.events(records, picks, **options), picks, coverage)

    def _subject(
        self,
        event: Event,
        segments: Sequence[Segment],
        complete: Mapping[str, list[UTCDateTime]],
    ) -> Subject:
        p = event.p
        segment = covering(segments, p.trace_id, p.peak_time)
        assert segment is not None, "a pick lies on data"
        return Subject(p, event.s, segment, complete.get(p.trace_id, []))


def epicentre(event: Event, inventory: Inventory) -> Epicentre:
    """Where a station sees an event: at a distance, in a direction.

    Args:
        event: with answers for distance and back-azimuth.
        inventory: with the station's coordinates.
    """
    distance, azimuth = event.answers["distance"], event.answers["back_azimuth"]
    reasons = [name for name in ("distance", "back_azimuth") if not event.answers[name].is_ok]
    site = stations.place(inventory, event.p.trace_id, event.p.peak_time)
    if site is None:
        return Epicentre(None, None, None, None, "+".join(["no_station", *reasons]))
    km = float(distance.value)
    values = [np.float64(value) for value in (*site, azimuth.value, km)]
    latitude, longitude = destination(*map(np.asarray, values))
    sp_s = None if event.s is None else event.s.peak_time - event.p.peak_time
    across = km * np.radians(azimuth.spread or 0.0)
    return Epicentre(
        latitude=float(latitude),
        longitude=float(longitude),
        spread_km=float(np.hypot(distance.spread or 0.0, across)),
        origin_time=event.p.peak_time - crust.p_travel_time_s(km, sp_s),
        flag="+".join(reasons) or OK,
    )


def load_events(
    picking: str | Path,
    *,
    polarity: str | Path | None = None,
    magnitude: str | Path | None = None,
    distance: str | Path | None = None,
    back_azimuth: str | Path | None = None,
    p_position: float = P_POSITION,
    batch_size: int = 64,
    operating_point: str | None = None,
    p_threshold: float | None = None,
    s_threshold: float | None = None,
    devices: int | None = None,
) -> EventPredictor:
    """Loads a picking network and any of the others.

    Args:
        picking: working directory or checkpoint of a network for picking.
        polarity: of one for first motions.
        magnitude: for magnitudes.
        distance: for epicentral distances.
        back_azimuth: for back-azimuths.
        p_position: where P is put in the windows of those trained on drawn windows, a share.
        batch_size: windows in a pass.
        operating_point: of picking, see `load`.
        p_threshold: of picking, instead of the operating point's.
        s_threshold: the same.
        devices: how many of this process's to use; None takes all.

    Raises:
        CheckpointError: no checkpoint there, or a damaged one.
        ValueError: a network for another task.
    """
    picker = load(
        picking,
        batch_size=batch_size,
        operating_point=operating_point,
        p_threshold=p_threshold,
        s_threshold=s_threshold,
        devices=devices,
    )
    given = {
        "polarity": polarity,
        "magnitude": magnitude,
        "distance": distance,
        "back_azimuth": back_azimuth,
    }
    others = {
        name: load(path, batch_size=batch_size, devices=devices)
        for name, path in given.items()
        if path is not None
    }
    return EventPredictor(picker, others, p_position)


def _length_s(predictor: Predictor) -> float:
    return predictor.window / predictor.sampling_rate_hz


def _set_polarity(pick: Pick, made: Answer) -> None:
    pick.polarity = POLARITY_LETTERS[str(made.value)]
    pick.polarity_value = made.probability
    if made.probability is not None:
        is_up = made.value == "up"
        pick.up_probability = made.probability if is_up else 1 - made.probability
