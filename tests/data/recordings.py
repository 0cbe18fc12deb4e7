"""Records whose samples tell where they are from, and picks: shared by several tests."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from obspy import Stream, Trace, UTCDateTime

from seismollm_jax.data.records import Dataset, Record
from seismollm_jax.data.sources import WaveformSource

START = UTCDateTime(2021, 3, 4, 12)


OFFSET = {"Z": 7000, "N": -300, "E": 20, "1": -300, "2": 20}  # counts, of each component


PICKS = [("1", "P", 100.0), ("1", "S", 104.0), ("2", "P", 400.0), ("2", "S", 410.0)]


def ramp(component: str, first: int, samples: int) -> np.ndarray:
    """Counts that tell the component and which sample since START it is."""
    return (np.arange(first, first + samples) % 5000 + OFFSET[component]).astype(np.int32)


def trace(
    channel: str = "HHZ",
    start_s: float = 0.0,
    seconds: float = 600.0,
    rate: float = 100.0,
    station: str = "ABC",
    network: str = "XX",
    location: str = "",
) -> Trace:
    first, samples = round(start_s * rate), round(seconds * rate)
    header = {
        "network": network, "station": station, "location": location, "channel": channel,
        "sampling_rate": rate, "starttime": START + first / rate,
    }  # fmt: skip
    return Trace(ramp(channel[-1], first, samples), header)


def three(code: str = "HH", orientation: str = "ZNE", **options: Any) -> Stream:
    return Stream([trace(code + component, **options) for component in orientation])


def write(stream: Stream, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    stream.write(str(path), format="MSEED", encoding="STEIM2", reclen=512)


def picks_table(rows: list[tuple[str, str, float]], **columns: Any) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["event_id", "phase", "time"])
    table["time"] = [str(START + time) for time in table["time"]]
    return table.assign(**{"network": "XX", "station": "ABC", **columns})


def source_of(dataset: Dataset) -> WaveformSource:
    return WaveformSource(dataset, np.arange(len(dataset.table)))


def counted(dataset: Dataset, text: str) -> int:
    return sum(n for finding, n in dataset.report.counts.items() if text in finding)


def assert_ramp(record: Record, start_s: float, components: str = "ZNE") -> None:
    """The samples are those from `start_s` on, without the mean, in the right columns."""
    for column, component in enumerate(components):
        expected = ramp(component, round(start_s * 100), len(record.waveform)).astype(float)
        np.testing.assert_allclose(
            record.waveform[:, column], expected - expected.mean(), atol=1e-2
        )
