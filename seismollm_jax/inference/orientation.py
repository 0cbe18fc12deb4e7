"""Turning components of any orientation, known from an inventory, to up, north and east."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from obspy import Inventory, UTCDateTime

from seismollm_jax.inference.coverage import Coverage

if TYPE_CHECKING:
    from seismollm_jax.inference.streams import Segment

SMALLEST_TURN_DEG = 0.5  # deviations below it are left alone
SMALLEST_SINE = 0.5  # horizontals closer than 30 degrees to one line cannot be told apart


@dataclass
class Span:
    """Which channel fills a component of a segment from sample `first` to `end`, exclusive."""

    first: int
    end: int
    column: int
    channel: str
    alias: bool


def orient(
    segment: Segment,
    spans: list[Span],
    component_order: str,
    inventory: Inventory,
    coverage: Coverage,
) -> None:
    """Turn a segment's components to up, north and east, in place.

    Horizontals are turned where both have data and the inventory has both azimuths; a vertical that
    points down is turned over. What cannot be turned stays as it is, with a note.
    """
    columns = [component_order.index(component) for component in "ZNE"]
    bounds = sorted({place for span in spans for place in (span.first, span.end)})
    said: set[str] = set()

    def angles(column: int, first: int, end: int) -> tuple[float, float] | None:
        """Azimuth and dip of whatever fills the column, None if unknown or nothing does."""
        for span in spans:
            if span.column == column and span.first <= first and end <= span.end:
                found = orientation_of(inventory, segment, span.channel, segment.time(first))
                if found is None and span.channel not in said:
                    said.add(span.channel)
                    coverage.note(
                        f"{segment.trace_id}: the inventory has no orientation of {span.channel} "
                        f"at {segment.time(first)}; it is used as it is"
                    )
                return found
        return None

    for first, end in pairwise(bounds):
        part = slice(first, end)
        vertical, north, east = (angles(column, first, end) for column in columns)
        if vertical is not None and vertical[1] > 45:  # the positive direction is down
            segment.data[part, columns[0]] *= -1
        if north is None and east is None:
            continue
        if north is None or east is None:
            known, usual = (north, 0.0) if north is not None else (east, 90.0)
            if known is not None and _deviation(known[0], usual) > SMALLEST_TURN_DEG:
                coverage.note(
                    f"{segment.trace_id} from {segment.time(first)}: a horizontal at "
                    f"{known[0]:g} degrees cannot be turned without the other one"
                )
            continue
        if max(_deviation(north[0], 0), _deviation(east[0], 90)) < SMALLEST_TURN_DEG:
            continue
        a, b = np.radians(north[0]), np.radians(east[0])
        sine = float(np.sin(b - a))
        if abs(sine) < SMALLEST_SINE:
            coverage.note(
                f"{segment.trace_id} from {segment.time(first)}: the inventory has horizontals at "
                f"{north[0]:g} and {east[0]:g} degrees, not across each other; not turned"
            )
            continue
        both = segment.valid[part][:, columns[1:]].all(1)
        # The two measure n cos(azimuth) + e sin(azimuth) each.
        u, v = (segment.data[part, column].astype(np.float64) for column in columns[1:])
        turned = (u * np.sin(b) - v * np.sin(a)) / sine, (v * np.cos(a) - u * np.cos(b)) / sine
        for column, values in zip(columns[1:], turned, strict=True):
            segment.data[part, column][both] = values[both]


def orientation_of(
    inventory: Inventory, segment: Segment, channel: str, time: UTCDateTime
) -> tuple[float, float] | None:
    """Azimuth and dip of a segment's channel at a time, degrees; None if they are not known."""
    network, station, location, _ = segment.trace_id.split(".")
    try:
        found = inventory.get_orientation(f"{network}.{station}.{location}.{channel}", time)
    except Exception as error:  # ObsPy raises plain Exceptions where the channel is not there
        if "No matching" in str(error):
            return None
        raise
    if found["azimuth"] is None:
        return None
    return float(found["azimuth"]), float(found["dip"] or 0.0)


def _deviation(azimuth: float, usual: float) -> float:
    """Angle between two azimuths, degrees."""
    return abs((azimuth - usual + 180) % 360 - 180)
