"""The catalogue of a folder of records: which files make it up, and what they say."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from seismollm_jax.data import catalogue_tables as tables
from seismollm_jax.data import catalogue_xml
from seismollm_jax.data.catalogue_tables import EVENTS, PICKS, STATIONS, listing
from seismollm_jax.data.stream_files import Index

TABLES = {"events.csv": "events", "stations.csv": "stations", "picks.csv": "picks"}


def kind_of(path: Path) -> str:
    """What a file holds by its name or root element: picks, events, stations, quakeml or ""."""
    if path.suffix.lower() == ".csv":
        return TABLES.get(path.name.lower(), "")
    with path.open("rb") as file:
        head = file.read(4096)
    if b"FDSNStationXML" in head:
        return "stations"
    return "quakeml" if b"quakeml" in head.lower() else ""


def read_catalogue(
    index: Index, table: str | None, counts: dict[str, int]
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Picks, events and stations of a folder: columns `PICKS`, `EVENTS` and `STATIONS`.

    `table` names the picks, or is a pattern; without it they are those of picks.csv, of all QuakeML
    files, or of the only other CSV table. events.csv, stations.csv and StationXML are found by
    looking. Each finding is added to `counts`.

    Raises FileNotFoundError if there are no picks, ValueError if there are several catalogues, or
    one that cannot be read.
    """
    root = index.root
    kinds = {name: kind_of(root / name) for name in index.catalogues()}
    found = {kind: [n for n in kinds if kinds[n] == kind] for kind in set(kinds.values())}
    chosen = _choose(root, table, found)
    picks, events, stations = [], [], []
    for file in chosen:
        if file.suffix.lower() == ".csv":
            picks.append(tables.read_picks_csv(file, counts))
            if "events" not in found:
                events.append(tables.read_events_csv(file, counts, among_picks=True))
        else:
            more_picks, more_events = catalogue_xml.read_quakeml(file, counts)
            picks.append(more_picks)
            events.append(more_events)
    events += [tables.read_events_csv(root / n, counts) for n in found.get("events", [])]
    for name in found.get("stations", []):
        if name.lower().endswith(".csv"):
            stations.append(tables.read_stations_csv(root / name, counts))
        else:
            stations.append(catalogue_xml.read_stations(root / name))
    all_picks = _joined(picks, PICKS)
    if all_picks.empty:
        raise ValueError(
            f"{', '.join(map(str, chosen[:3]))}: no pick of P or S is left"
            + "".join(f"; {n} {text}" for text, n in counts.items())
        )
    return (
        all_picks.sort_values("time_ns", kind="stable", ignore_index=True),
        _joined(events, EVENTS).drop_duplicates("event_id", ignore_index=True),
        _joined(stations, STATIONS).drop_duplicates(["network", "station"], ignore_index=True),
    )


def _joined(tables: list[pd.DataFrame], columns: tuple[str, ...]) -> pd.DataFrame:
    filled = [table for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=list(columns))


def _choose(root: Path, table: str | None, found: dict[str, list[str]]) -> list[Path]:
    """The files with picks: those named, or the table picks.csv, or all QuakeML, or one CSV."""
    if table:
        files = [root / table] if (root / table).is_file() else sorted(root.glob(table))
        if not files:
            known = [name for names in found.values() for name in names]
            raise FileNotFoundError(
                f"{root / table} does not exist; tables there: {listing(sorted(known)) or 'none'}"
            )
        return files
    csv, quakeml = found.get("picks", []), found.get("quakeml", [])
    if (csv and quakeml) or len(csv) > 1:
        raise ValueError(
            f"{root} has several catalogues with picks: {listing([*csv, *quakeml])}; choose one "
            "with data.table"
        )
    names = csv or quakeml or [n for n in found.get("", []) if n.lower().endswith(".csv")]
    if not names or (len(names) > 1 and names is not quakeml):
        raise FileNotFoundError(
            f"{root} has no picks.csv and no QuakeML file; "
            + (
                f"name the table with data.table (there are {listing(names)})"
                if names
                else "write one with the columns network, station, phase and time, or name one "
                "with data.table. docs/bring_your_own.md also makes it out of SAC headers"
            )
        )
    return [root / name for name in names]
