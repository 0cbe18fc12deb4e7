"""Station-days, and which of them are wanted."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from obspy import UTCDateTime

DAY_NS = 86_400 * 10**9
SPILL_NS = 3600 * 10**9  # how far the last records of a day's file may reach into the next day
SDS_CHANNELS = "[FGDCESHB][HLNP]?"
"""Of an SDS archive without other wishes: seismometers and accelerometers, 10 Hz and more."""

EPOCH = date(1970, 1, 1).toordinal()


class StationDay(NamedTuple):
    """The records of a station in one day of UTC.

    Attributes:
        station: "NET.STA".
        day: counted from 1970-01-01.
    """

    station: str
    day: int

    @property
    def start_ns(self) -> int:
        """Beginning of the day, since 1970-01-01."""
        return self.day * DAY_NS

    @property
    def date(self) -> date:
        """The day."""
        return date.fromordinal(EPOCH + self.day)

    @property
    def name(self) -> str:
        """Year and day of the year, such as "2024-001"."""
        return self.date.strftime("%Y-%j")


@dataclass(frozen=True)
class Selection:
    """What of an archive is wanted.

    Attributes:
        stations: patterns of "NET.STA" or "STA".
        channels: patterns of channel codes; none takes `SDS_CHANNELS` of an SDS archive, and
            everything otherwise.
        start_ns: earliest sample, since 1970-01-01.
        end_ns: end, exclusive.
    """

    stations: tuple[str, ...] = ("*",)
    channels: tuple[str, ...] = ()
    start_ns: int = -(2**62)
    end_ns: int = 2**62

    def has_station(self, network: str, station: str) -> bool:
        """Whether a station is wanted."""
        return any(
            fnmatch.fnmatchcase(name, pattern)
            for pattern in self.stations
            for name in (f"{network}.{station}", station)
        )

    def has_channel(self, channel: str, *, sds: bool = False) -> bool:
        """Whether a channel is wanted."""
        patterns = self.channels or ((SDS_CHANNELS,) if sds else ("*",))
        return any(fnmatch.fnmatchcase(channel, pattern) for pattern in patterns)

    def has_day(self, day: int) -> bool:
        """Whether some of a day is wanted."""
        return (day + 1) * DAY_NS > self.start_ns and day * DAY_NS < self.end_ns


def patterns(text: str | None) -> tuple[str, ...]:
    """The parts of a list with commas."""
    return tuple(part for part in re.split(r"[,\s]+", text or "") if part)


def time_ns(text: str | None, default: int) -> int:
    """A time of the command line, UTC; for a date alone its beginning.

    Raises:
        ValueError: it is none.
    """
    if not text:
        return default
    try:
        return UTCDateTime(text).ns
    except Exception as error:  # of several kinds
        raise ValueError(
            f"{text!r} is not a time such as 2024-01-31 or 2024-01-31T12:00"
        ) from error
