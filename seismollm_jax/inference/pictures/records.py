"""Pictures of events and of hours, sketched while a record is picked and drawn afterwards."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from seismollm_jax import atomic_files
from seismollm_jax.inference.events.pairs import pair
from seismollm_jax.inference.events.table import Event
from seismollm_jax.inference.picks import Pick, PickList
from seismollm_jax.inference.pictures import figures
from seismollm_jax.inference.pictures.helicorder import Strip, strip
from seismollm_jax.inference.pictures.panels import Panel, of_span
from seismollm_jax.inference.streams import Segment

KINDS = ("event", "hour")
MOST_EVENTS = 100  # files of pictures of a station-day
BEFORE_S, AFTER_S = 5.0, 12.0  # in pictures of events; S minus P is added to it once and twice
HOUR_NS = 3600 * 10**9


class Sketches:
    """What is kept of a record to draw it: little, so that the record itself can be let go.

    Attributes:
        span: begin and end, exclusive, of the time that is drawn, ns since 1970-01-01.
        picks: within the span.
        events: within the span, by time.
        panels: what to draw of the most probable of them, by trace_id and ns of P.
        hours: stretches of an hour, by trace_id and ns of the full hour.
        strips: verticals, for overviews.
        most_events: that are drawn.
    """

    def __init__(
        self,
        span: tuple[int, int],
        phases: Mapping[str, int],
        longest_sp_s: float,
        *,
        most_events: int = 0,
        hours: bool = False,
        overview: bool = False,
    ):
        self.span, self.phases, self.longest_sp_s = span, phases, longest_sp_s
        self.most_events, self._hours, self._overview = most_events, hours, overview
        self.picks = PickList()
        self.events: list[Event] = []
        self.panels: dict[tuple[str, int], Panel] = {}
        self.hours: dict[tuple[str, int], Panel] = {}
        self.strips: list[Strip] = []

    def add(self, segment: Segment, curves: np.ndarray, picks: Sequence[Pick]) -> None:
        """Take what is needed of a segment, its curves (samples, k) and its picks."""
        start, end = self.span
        self.picks += [pick for pick in picks if start <= pick.peak_time.ns < end]
        pairs = pair(picks, self.longest_sp_s)
        found = [Event(p, s) for p, s in pairs if start <= p.peak_time.ns < end]
        self.events = sorted(self.events + found, key=lambda event: event.p.peak_time)
        if self.most_events:
            self._keep_events(segment, curves, picks, found)
        if self._hours:
            self._keep_hours(segment, curves, picks)
        if self._overview and (made := strip(segment, start, end)) is not None:
            self.strips.append(made)

    @property
    def drawn(self) -> list[Event]:
        """The most probable events, by time."""
        best = sorted(self.events, key=lambda e: (-_worth(e), e.p.peak_time.ns, e.p.trace_id))
        return sorted(best[: self.most_events], key=lambda event: event.p.peak_time)

    def _keep_events(
        self, segment: Segment, curves: np.ndarray, picks: Sequence[Pick], found: Sequence[Event]
    ) -> None:
        keys = {_key(event) for event in self.drawn}
        self.panels = {key: panel for key, panel in self.panels.items() if key in keys}
        for event in found:
            if _key(event) in keys:
                apart = 0.0 if event.s is None else event.s.peak_time - event.p.peak_time
                first = event.p.peak_time.ns - round((BEFORE_S + apart) * 1e9)
                last = event.p.peak_time.ns + round((AFTER_S + 3 * apart) * 1e9)
                self.panels[_key(event)] = of_span(segment, curves, picks, self.phases, first, last)

    def _keep_hours(self, segment: Segment, curves: np.ndarray, picks: Sequence[Pick]) -> None:
        start = max(segment.start_time.ns, self.span[0])
        end = min(segment.time(len(segment.data)).ns, self.span[1])
        for hour in range(start // HOUR_NS * HOUR_NS, end, HOUR_NS):
            made = of_span(
                segment, curves, picks, self.phases, hour, hour + HOUR_NS,
                into=self.hours.get((segment.trace_id, hour)),
            )  # fmt: skip
            self.hours[segment.trace_id, hour] = made


def write(sketches: Sketches, folder: Path, kind: str) -> list[str]:
    """Draw events or hours into a folder, which is whole or not there; what was in it before goes.

    Events are in EVENT_ID.png, hours in NET.STA.LOC.HH_YYYYMMDDTHH.png. Without a picture there is
    no folder.

    Args:
        sketches: of the record.
        folder: see above.
        kind: "event" or "hour".

    Returns:
        A remark on the events left out, if there are some.
    """
    remove(folder)
    panels = dict(_events(sketches) if kind == "event" else _hours(sketches))
    if panels:
        with atomic_files.whole(folder) as temporary:
            temporary.mkdir()
            for name, panel in panels.items():
                (temporary / f"{name}.png").write_bytes(figures.png(panel))
    left = len(sketches.events) - len(panels)
    if kind != "event" or left <= 0:
        return []
    return [f"pictures of the {len(panels)} most probable events; {left} more are not drawn"]


def remove(folder: Path) -> None:
    """Remove the pictures of a station-day, and what a killed process left of them."""
    for old in [folder, *folder.parent.glob(f".{folder.name}.*.partial")]:
        if old.exists():
            shutil.rmtree(old)


def _events(sketches: Sketches) -> Iterator[tuple[str, Panel]]:
    for event in sketches.drawn:
        if (panel := sketches.panels.get(_key(event))) is not None:
            yield event.event_id, panel


def _hours(sketches: Sketches) -> Iterator[tuple[str, Panel]]:
    for (trace_id, _), panel in sorted(sketches.hours.items()):
        yield f"{trace_id}_{panel.start_time.strftime('%Y%m%dT%H')}", panel


def _worth(event: Event) -> float:
    """The probabilities together."""
    return event.p.peak_value + (0.0 if event.s is None else event.s.peak_value)


def _key(event: Event) -> tuple[str, int]:
    return event.p.trace_id, event.p.peak_time.ns
