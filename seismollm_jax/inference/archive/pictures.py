"""Pictures and pages of an archive's station-days, drawn beside the network's work.

In pictures/NET.STA/YYYY-DDD/ lie those of the events or hours of a station-day, in
report/NET.STA/YYYY-DDD.html a page on it, in report/index.html one on all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seismollm_jax import atomic_files
from seismollm_jax.html_page import Card, Link, Section, Table, page
from seismollm_jax.inference.archive.days import StationDay
from seismollm_jax.inference.archive.reading import Prepared
from seismollm_jax.inference.events.table import Event
from seismollm_jax.inference.pictures import day_report, records
from seismollm_jax.inference.pictures.day_report import About
from seismollm_jax.inference.pictures.records import Sketches

REPORT = "report"


@dataclass(frozen=True)
class Pictures:
    """What is drawn of each station-day.

    Attributes:
        kind: "event", "hour" or None.
        report: whether there is a page.
        about: what the picks are made with, for the page.
    """

    kind: str | None
    report: bool
    about: About

    @property
    def outputs(self) -> tuple[str, ...]:
        """Their names in the manifest."""
        return (*([f"pictures of {self.kind}s"] if self.kind else []), *[REPORT] * self.report)

    def write(
        self,
        root: Path,
        found: Prepared,
        sketches: Sketches | None,
        events: Iterable[Event] | None = None,
    ) -> list[str]:
        """Draw a station-day; what an earlier run drew of it is replaced, or removed.

        Args:
            root: of the output.
            found: the station-day.
            sketches: of it; None where nothing is drawn.
            events: with the answers of other networks; None takes the pairs of picks.

        Returns:
            Remarks, for the manifest.
        """
        day, said = found.day, []
        folder, html = picture_folder(root, day), page_path(root, day)
        records.remove(folder)
        for old in [html, *html.parent.glob(f".{html.name}.*.partial")]:
            old.unlink(missing_ok=True)
        if sketches is None:
            return []
        if self.kind:
            said += records.write(sketches, folder, self.kind)
        if self.report:
            text = self._page(found, sketches, list(sketches.events if events is None else events))
            atomic_files.write(html, text.encode())
        return said

    def _page(self, found: Prepared, sketches: Sketches, events: Sequence[Event]) -> str:
        day, rows = found.day, found.coverage
        names = ("read", "analysed", "edge", "left_out")
        table = Table(
            "Of the day, by instrument",
            ["name:instrument", "name:channels", *(f"number:{n.replace('_', ' ')}" for n in names)],
            [[r["trace_id"], r["channels"], *(f"{r[n]:,.1f}" for n in names)] for r in rows],
        )
        unreadable = [f"{bad['file']}: {bad['reason']}" for bad in found.unreadable]
        lines = [f"Day {day.date:%j} of {day.date:%Y}, UTC. {_hours(rows)}."]
        return day_report.render(
            f"{day.station}, {day.date}",
            lines,
            sketches,
            events,
            table,
            _analysed(rows),
            [*unreadable, *found.notes],
            self.about,
            day_ns=day.start_ns,
        )


def picture_folder(root: Path, day: StationDay) -> Path:
    """Of a station-day."""
    return root / "pictures" / day.station / day.name


def page_path(root: Path, day: StationDay) -> Path:
    """Of a station-day."""
    return root / REPORT / day.station / f"{day.name}.html"


def write_index(root: Path, lines: Iterable[Mapping[str, Any]], about: About) -> Path:
    """The page of all station-days that have one.

    Args:
        root: of the output.
        lines: of the manifest, of each station-day the last one.
        about: what the picks are made with.
    """
    by_station: dict[str, list[Mapping[str, Any]]] = {}
    for line in sorted(lines, key=lambda line: (line["station"], line["day"])):
        by_station.setdefault(line["station"], []).append(line)
    everything = [line for some in by_station.values() for line in some]
    days = sorted(line["date"] for line in everything)
    picks = sum(line["picks"] for line in everything)
    sections = [
        Section(station, [], [_days_table(root, some)]) for station, some in by_station.items()
    ]
    tables = [Table(name, ["name:what", "code:value"], rows) for name, rows in about.networks]
    sections.append(Section("How it was made", [], tables))
    cards = [
        Card("Station-days", f"{len(everything):,}", _several(len(by_station), "station")),
        Card("Picks", f"{picks:,}", ""),
        Card("Analysed", *_analysed([row for line in everything for row in line["coverage"]])),
    ]
    path = root / REPORT / "index.html"
    title = f"Picks of {days[0]} to {days[-1]}" if days[0] != days[-1] else f"Picks of {days[0]}"
    text = page(title, [], [], cards, sections, "Written by seismollm_jax.")
    atomic_files.write(path, text.encode())
    return path


def _days_table(root: Path, lines: Sequence[Mapping[str, Any]]) -> Table:
    rows = []
    for line in lines:
        day = StationDay(line["station"], line["day"])
        there = page_path(root, day).exists()
        link = page_path(root, day).relative_to(root / REPORT).as_posix()
        phases = line.get("phases", {})
        rows.append(
            [
                Link(line["date"], link) if there else line["date"],
                str(phases.get("P", 0)),
                str(phases.get("S", 0)),
                str(line["events"]) if "events" in line["outputs"] else "",
                _analysed(line["coverage"])[0],
                "" if not line["unreadable"] else str(len(line["unreadable"])),
                "" if not line["notes"] else str(len(line["notes"])),
            ]
        )
    heads = ["name:day", *(f"number:{n}" for n in ("P", "S", "events", "analysed"))]
    heads += ["number:files unreadable", "number:remarks"]
    wanted = [i for i in range(len(heads)) if any(row[i] for row in rows)]
    return Table(
        _several(len(rows), "day"),
        [heads[i] for i in wanted],
        [[row[i] for i in wanted] for row in rows],
        folded=len(rows) > 400,
    )


def _analysed(rows: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Hours of components that were analysed, and of how many."""
    read, analysed = (sum(row[name] for row in rows) / 3600 for name in ("read", "analysed"))
    share = f"{100 * analysed / read:.1f} % of what was read" if read else "nothing was read"
    return f"{analysed:,.1f} h", f"{share}, all components"


def _hours(rows: Sequence[Mapping[str, Any]]) -> str:
    channels = " ".join(sorted({name for row in rows for name in row["channels"].split()}))
    return f"Channels {channels}" if channels else "No data"


def _several(count: int, name: str) -> str:
    return f"{count:,} {name}{'s' * (count != 1)}"
