"""A made-up archive: noise with bursts, three components at 100 Hz, day files in SDS layout."""

import itertools
from pathlib import Path

import numpy as np
from obspy import Stream, Trace, UTCDateTime

RATE_HZ = 100.0
START = UTCDateTime(2020, 1, 1)
DAY_S = 86400
BURSTS = 100  # a day
CHANNELS = ("HHZ", "HHN", "HHE")


def day(station: str, number: int, gaps: int = 0) -> Stream:
    """One station-day; with gaps, half a second is missing at so many places of each channel."""
    draw = np.random.default_rng([number, *station.encode()])
    samples, begin = round(DAY_S * RATE_HZ), START + DAY_S * number
    gain, burst = np.ones(samples, np.float32), np.linspace(20, 1, 3000, dtype=np.float32)
    for onset in draw.integers(0, samples - len(burst), BURSTS):
        gain[onset : onset + len(burst)] = burst
    cuts = np.linspace(0, samples, gaps + 2).astype(int)
    stream = Stream()
    for channel in CHANNELS:
        counts = (draw.standard_normal(samples, np.float32) * 20 * gain).astype(np.int32)
        header = {"network": "XX", "station": station, "channel": channel}
        header["sampling_rate"] = RATE_HZ
        for first, end in itertools.pairwise(cuts):
            end = end - 50 if end < samples else end
            start = {"starttime": begin + float(first) / RATE_HZ}
            stream.append(Trace(counts[first:end], {**header, **start}))
    return stream


def write(root: Path, stations: int, days: int) -> list[list[Path]]:
    """Writes station-days that are not there yet; returns the three files of each."""
    found = []
    for name in (f"S{number:03}" for number in range(stations)):
        for number in range(days):
            when = START + DAY_S * number
            paths = [
                root
                / f"{when.year}/XX/{name}/{channel}.D"
                / f"XX.{name}..{channel}.D.{when.year}.{when.julday:03}"
                for channel in CHANNELS
            ]
            found.append(paths)
            if all(path.exists() for path in paths):
                continue
            for trace, path in zip(day(name, number), paths, strict=True):
                path.parent.mkdir(parents=True, exist_ok=True)
                trace.write(str(path), format="MSEED")
    return found
