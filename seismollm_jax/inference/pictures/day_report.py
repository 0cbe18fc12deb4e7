"""A page of HTML on the record of a day, or a few: overview, events, what was analysed and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from obspy import UTCDateTime

from seismollm_jax.html_page import Card, Image, Section, Table, page
from seismollm_jax.inference.events.predictor import EventPredictor
from seismollm_jax.inference.events.table import Event, texts
from seismollm_jax.inference.picks import Pick
from seismollm_jax.inference.pictures import figures, helicorder
from seismollm_jax.inference.pictures.records import HOUR_NS, Sketches
from seismollm_jax.inference.predictor import Predictor
from seismollm_jax.tasks import thresholds

DAY_NS = 24 * HOUR_NS
MOST_PICTURES = 24
MOST_ROWS = 500  # of the table of events
LISTED = {
    "polarity": ("Polarity", ""),
    "magnitude": ("Magnitude", ""),
    "distance": ("Distance", " km"),
    "back_azimuth": ("Back-azimuth", "°"),
}
COLUMN = {"distance": "distance_km", "back_azimuth": "back_azimuth_deg"}


class About(NamedTuple):
    """What the picks were made with: name and value, for each network under a heading."""

    networks: list[tuple[str, list[tuple[str, str]]]]


def about(predictor: Predictor | EventPredictor, options: Mapping[str, Any]) -> About:
    """Which networks, of which training, with which thresholds and options."""
    if isinstance(predictor, EventPredictor):
        networks = [predictor.picking, *predictor.answers.values()]
    else:
        networks = [predictor]
    found = []
    for network in networks:
        description, task = network.description, network.experiment.task
        made, progress = description.get("provenance", {}), description["progress"]
        rows = [
            ("checkpoint", str(network.path)),
            ("model", network.name),
            ("window", f"{network.window} samples at {network.sampling_rate_hz:g} Hz"),
            ("training", f"step {progress['step']}, begun {made.get('created', 'unknown')}"),
            ("commit", made.get("commit") or "not known"),
        ]
        if network.thresholds:
            used = thresholds.line(network.thresholds).removeprefix("thresholds: ")
            rows.insert(2, ("thresholds", used))
        if task.output.per_sample:
            rows += [(name, str(value)) for name, value in options.items() if name != "inventory"]
        found.append((task.name, rows))
    return About(found)


def render(
    title: str,
    lines: Sequence[str],
    sketches: Sketches,
    events: Sequence[Event],
    coverage: Table,
    analysed: tuple[str, str],
    remarks: Sequence[str],
    made_with: About,
    *,
    day_ns: int | None = None,
) -> str:
    """The page.

    Args:
        title: heading.
        lines: below it.
        sketches: with overviews and events.
        events: with the answers of other networks, if there are any.
        coverage: what came in and what became of it.
        analysed: how much was analysed, and of how much, for the cards.
        remarks: on the data and what is missing.
        made_with: the networks.
        day_ns: begin of the day that overviews show as a whole, ns since 1970-01-01; None for
            as much of any days as there is.
    """
    counts = {phase: sum(p.phase == phase for p in sketches.picks) for phase in figures.COLOURS}
    pairs = sum(event.s is not None for event in events)
    cards = [
        *(Card(f"{phase} picks", f"{count:,}", "") for phase, count in counts.items()),
        Card("Events", f"{len(events):,}", f"{pairs:,} of them with S"),
        Card("Analysed", *analysed),
    ]
    sections = [
        Section("Overview", [_about_overview()], _overviews(sketches, day_ns)),
        Section(
            "Events",
            [
                "Each P pick, with the S that follows it on the same instrument before the next P. "
                "Probabilities are heights of the network's curves and not calibrated."
            ],
            [_events(events)] if events else [],
        ),
        Section("Pictures of events", _about_pictures(sketches), _pictures(sketches, events)),
        Section("Coverage", ["Seconds are those of components."], [coverage]),
        Section(
            "Remarks", [], [Table("", ["word:remark"], [[text] for text in remarks])] if remarks
            else [],
        ),
        Section(
            "How it was made", [],
            [Table(name, ["name:what", "code:value"], rows) for name, rows in made_with.networks],
        ),
    ]  # fmt: skip
    return page(title, lines, [], cards, sections, "Written by seismollm_jax.")


def _about_overview() -> str:
    return (
        f"The vertical above {helicorder.HIGH_PASS_HZ:g} Hz, all samples within each pixel. "
        "P picks are blue, above the line; S picks red, below it. Grey: no data."
    )


def _overviews(sketches: Sketches, day_ns: int | None) -> list[Image]:
    found = []
    for trace_id in sorted({item.trace_id for item in sketches.strips}):
        strips = [item for item in sketches.strips if item.trace_id == trace_id]
        begins = [item.start_time.ns for item in strips]
        ends = [item.end_time.ns for item in strips]
        for start, end in _spans(min(begins), max(ends), day_ns):
            wide, narrow = helicorder.png(strips, sketches.picks, start, end)
            date = UTCDateTime(ns=(start + end) // 2).strftime("%Y-%m-%d")
            words = f"{trace_id} on {date}"
            found.append(Image(wide, words, "", f"Overview of the record of {words}", narrow))
    return found


def _spans(start_ns: int, end_ns: int, day_ns: int | None) -> list[tuple[int, int]]:
    """Stretches of time, one overview each: days, or all together if that is less than one."""
    if day_ns is not None:  # and what the day's files hold beyond midnight
        return [(min(start_ns, day_ns), max(end_ns, day_ns + DAY_NS))]
    if end_ns - start_ns <= DAY_NS:
        return [(start_ns, end_ns)]
    first, last = start_ns // DAY_NS, (end_ns - 1) // DAY_NS
    return [
        (max(start_ns, day * DAY_NS), min(end_ns, (day + 1) * DAY_NS))
        for day in range(first, last + 1)
    ]


def _events(events: Sequence[Event]) -> Table:
    """The most probable events by time; columns without any value are left out."""
    best = sorted(events, key=lambda e: (-event_worth(e), e.p.peak_time.ns))[:MOST_ROWS]
    shown = sorted(best, key=lambda event: (event.p.peak_time.ns, event.p.trace_id))
    several = len({event.p.trace_id for event in events}) > 1
    days = len({event.p.peak_time.date for event in events}) > 1
    rows = [_cells(event, several=several, days=days) for event in shown]
    names = [name for name in rows[0] if any(row[name] for row in rows)]
    caption = f"{len(events):,} events"
    if len(shown) < len(events):
        caption += f", of which these are the {len(shown)} most probable ones"
    return Table(caption, names, [[row[name] for name in names] for row in rows])


def event_worth(event: Event) -> float:
    """The probabilities of P and S together."""
    return event.p.peak_value + (0.0 if event.s is None else event.s.peak_value)


def _cells(event: Event, *, several: bool, days: bool) -> dict[str, str]:
    """A row by heads, with the class of the column before a colon."""
    row, s = texts(event), event.s
    velocity = [x.peak_velocity_m_s for x in (event.p, s) if x and x.peak_velocity_m_s is not None]
    cells = {"name:Instrument": event.p.trace_id} if several else {}
    cells |= {
        "name:P (UTC)": _when(event.p, days),
        "name:S (UTC)": "" if s is None else _when(s, days),
        "number:S−P (s)": "" if s is None else f"{s.peak_time - event.p.peak_time:.2f}",
        "number:P prob.": f"{event.p.peak_value:.2f}",
        "number:S prob.": "" if s is None else f"{s.peak_value:.2f}",
        "number:S/N of P (dB)": "" if event.p.snr_db is None else f"{round(event.p.snr_db)}",
        "number:Distance by S−P (km)": row["sp_distance_km"],
        "number:Peak velocity (µm/s)": _number(1e6 * max(velocity)) if velocity else "",
    }
    for task, (head, unit) in LISTED.items():
        value = row[COLUMN.get(task, task)]
        flag = row[f"{task}_flag"]
        doubt = f" ({flag.replace('+', ', ').replace('_', ' ')})" if flag not in ("", "ok") else ""
        cells[f"name:{head}"] = f"{value}{unit}{doubt}" if value else ""
    if row["latitude"]:
        flag = row["epicentre_flag"]
        doubt = "" if flag == "ok" else f" ({flag.replace('+', ', ').replace('_', ' ')})"
        cells["name:Epicentre"] = (
            f"{float(row['latitude']):.2f}, {float(row['longitude']):.2f}{doubt}"
        )
    else:
        cells["name:Epicentre"] = ""
    return cells


def _number(value: float) -> str:
    """Three figures, without an exponent where it is large."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _when(pick: Pick, days: bool) -> str:
    date = f"{pick.peak_time.strftime('%m-%d')} " if days else ""
    return date + figures.clock(pick)


def _about_pictures(sketches: Sketches) -> list[str]:
    shown, total = min(MOST_PICTURES, len(sketches.panels)), len(sketches.events)
    return [f"The {shown} most probable of {total:,} events."] if shown < total else []


def _pictures(sketches: Sketches, events: Sequence[Event]) -> list[Image]:
    """The most probable events by time, drawn small."""
    answered = {event.event_id: event for event in events}
    best = sorted(sketches.drawn, key=lambda e: (-event_worth(e), e.p.peak_time.ns))
    found = []
    for event in sorted(best[:MOST_PICTURES], key=lambda e: e.p.peak_time.ns):
        panel = sketches.panels.get((event.p.trace_id, event.p.peak_time.ns))
        if panel is None:
            continue
        cells = _cells(answered.get(event.event_id, event), several=False, days=False)
        words = [
            _in_words(head.rpartition(":")[2], text)
            for head, text in cells.items()
            if text and "(UTC)" not in head and "prob." not in head
        ]
        alt = f"Three components, probabilities and picks of {event.event_id}"
        picks = f"P {figures.clock(event.p)} ({event.p.peak_value:.2f})"
        if event.s is not None:
            picks += f", S {figures.clock(event.s)} ({event.s.peak_value:.2f})"
        png = figures.png(panel, size=figures.SMALL)
        found.append(Image(png, picks, "; ".join(words), alt))
    return found


def _in_words(head: str, text: str) -> str:
    """A cell with its head: "S−P 1.15 s"."""
    name, _, unit = head.partition(" (")
    return f"{name} {text} {unit.rstrip(')')}".rstrip()
