"""SDS archives (SeisComP Data Structure), understood by the names of their files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from seismollm_jax.inference.archive.days import DAY_NS, EPOCH, SPILL_NS, Selection, StationDay

_FILE = re.compile(
    r"(?P<network>[^.]*)\.(?P<station>[^.]+)\.(?P<location>[^.]*)\.(?P<channel>[^.]+)\.D"
    r"\.(?P<year>\d{4})\.(?P<day>\d{3})"
)


def is_sds(root: Path) -> bool:
    """Whether a folder is laid out like an SDS archive."""
    years = [entry for entry in root.iterdir() if re.fullmatch(r"\d{4}", entry.name)]
    return any(_FILE.fullmatch(file.name) for year in years for file in year.glob("*/*/*.D/*.D.*"))


class Sds:
    """An SDS archive; kept are the streams of each year and station, not the files."""

    def __init__(self, root: Path, selection: Selection):
        self.root, self.selection = root, selection
        self.streams: dict[tuple[int, str], set[tuple[str, str]]] = {}

    def scan(self, days: set[StationDay], left_out: dict[str, int]) -> None:
        """Enter all station-days by the names of files."""
        for year in sorted(self.root.iterdir()):
            if not re.fullmatch(r"\d{4}", year.name):
                continue
            first = date(int(year.name), 1, 1).toordinal() - EPOCH
            # Neighbours of the first and last day asked for may lie in other years.
            if not any(self.selection.has_day(day) for day in range(first - 1, first + 367)):
                continue
            for folder in sorted(year.glob("*/*/*.D")):
                network, station, channel = (*folder.parts[-3:-1], folder.name[:-2])
                if self.selection.has_station(network, station):
                    self._scan_channel(folder, channel, first, days, left_out)

    def _scan_channel(
        self,
        folder: Path,
        channel: str,
        first: int,
        days: set[StationDay],
        left_out: dict[str, int],
    ) -> None:
        wanted = self.selection.has_channel(channel, sds=True)
        for name in os.listdir(folder):
            found = _FILE.fullmatch(name)
            if not found:
                continue
            if not wanted:
                left_out[channel] = left_out.get(channel, 0) + 1
                continue
            station = f"{found['network']}.{found['station']}"
            streams = self.streams.setdefault((int(found["year"]), station), set())
            streams.add((found["location"], found["channel"]))
            day = first + int(found["day"]) - 1
            if self.selection.has_day(day):
                days.add(StationDay(station, day))

    def files(self, station: str, start_ns: int, end_ns: int) -> Iterator[Path]:
        """Files that may hold data of a station in a span; some of them may not exist."""
        network, code = station.split(".")
        # Records at the end of a day's file reach into the next day.
        for day in range((start_ns - SPILL_NS) // DAY_NS, (end_ns - 1) // DAY_NS + 1):
            when = date.fromordinal(EPOCH + day)
            for location, channel in sorted(self.streams.get((when.year, station), ())):
                yield self.root.joinpath(
                    str(when.year),
                    network,
                    code,
                    f"{channel}.D",
                    f"{station}.{location}.{channel}.D.{when:%Y.%j}",
                )
