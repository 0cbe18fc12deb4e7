"""Events as QuakeML: with their picks, magnitudes and origins of a single station.

Only what has the flag "ok" is written; the table has everything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from obspy import UTCDateTime
from obspy.core.event import (
    Arrival,
    Catalog,
    Comment,
    CreationInfo,
    Magnitude,
    Origin,
    OriginQuality,
    QuantityError,
    ResourceIdentifier,
    StationMagnitude,
    StationMagnitudeContribution,
)
from obspy.core.event import Event as QuakeMLEvent
from obspy.core.event import Pick as QuakeMLPick
from obspy.geodetics import kilometers2degrees

from seismollm_jax.inference.events.answers import KINDS, Answer
from seismollm_jax.inference.events.table import Event
from seismollm_jax.inference.pick_output import quakeml_pick


def to_catalog(events: Iterable[Event], creator: str) -> Catalog:
    """An ObsPy catalogue, an event for each row of the table.

    Picks carry polarity and back-azimuth, with the spread of the shifted windows as its
    uncertainty. Origins are without depth.
    """
    made = CreationInfo(author=creator, creation_time=UTCDateTime())
    return Catalog([_event(event, made) for event in events], creation_info=made)


def _event(event: Event, made: CreationInfo) -> QuakeMLEvent:
    answers, name = event.answers, re.sub(r"[^\w.~-]", "_", event.event_id)
    picks = [quakeml_pick(pick, made) for pick in (event.p, event.s) if pick is not None]
    azimuth = answers.get("back_azimuth")
    if azimuth is not None and azimuth.is_ok:
        picks[0].backazimuth = float(azimuth.value)
        picks[0].backazimuth_errors = QuantityError(uncertainty=azimuth.spread)
    found = QuakeMLEvent(
        resource_id=ResourceIdentifier(f"smi:local/event/{name}"),
        picks=picks,
        creation_info=made,
        comments=[Comment(text=text) for text in _remarks(event)],
    )
    if (origin := _origin(event, picks, made)) is not None:
        found.origins.append(origin)
        found.preferred_origin_id = origin.resource_id
    size = answers.get("magnitude")
    if size is not None and size.is_ok:
        _add_magnitude(found, size, made)
    return found


def _add_magnitude(event: QuakeMLEvent, answer: Answer, made: CreationInfo) -> None:
    """A magnitude; where there is an origin, which QuakeML wants for it, also of the station."""
    remarks = [Comment(text=f"single station; shift_spread={answer.spread:.2f}")]
    whole = Magnitude(
        mag=float(answer.value),
        magnitude_type="M",
        station_count=1,
        origin_id=event.preferred_origin_id,
        evaluation_mode="automatic",
        evaluation_status="preliminary",
        creation_info=made,
        comments=remarks,
    )
    event.magnitudes.append(whole)
    event.preferred_magnitude_id = whole.resource_id
    if event.preferred_origin_id is None:
        return
    single = StationMagnitude(
        origin_id=event.preferred_origin_id,
        mag=float(answer.value),
        station_magnitude_type="M",
        waveform_id=event.picks[0].waveform_id,
        creation_info=made,
    )
    event.station_magnitudes.append(single)
    whole.station_magnitude_contributions.append(
        StationMagnitudeContribution(station_magnitude_id=single.resource_id)
    )


def _origin(event: Event, picks: list[QuakeMLPick], made: CreationInfo) -> Origin | None:
    """The epicentre with the picks as arrivals; None where it is not to be believed."""
    place = event.epicentre
    if place is None or place.flag != "ok":
        return None
    degrees = kilometers2degrees(float(event.answers["distance"].value))
    return Origin(
        time=place.origin_time,
        latitude=place.latitude,
        longitude=place.longitude,
        evaluation_mode="automatic",
        evaluation_status="preliminary",
        quality=OriginQuality(used_station_count=1, used_phase_count=len(picks)),
        arrivals=[
            Arrival(pick_id=pick.resource_id, phase=pick.phase_hint, distance=degrees)
            for pick in picks
        ],
        creation_info=made,
        comments=[Comment(text=f"single station; shift_spread_km={place.spread_km:.1f}")],
    )


def _remarks(event: Event) -> list[str]:
    """The answers in words, with their flags."""
    found = []
    for task, made in event.answers.items():
        value = made.value if isinstance(made.value, str) else f"{made.value:.2f}"
        found.append(f"{KINDS[task].column}={value} flag={made.flag}")
    return found
