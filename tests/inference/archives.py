"""Small SDS archives of minutes around midnight, and a network that picks them."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from obspy import Stream, Trace, UTCDateTime

import seismollm_jax as sj
from seismollm_jax.inference.predictor import Predictor
from tests import setups

RATE = 100.0
MIDNIGHT = UTCDateTime(2020, 1, 1)
STATIONS = ("XX.ONE", "YY.TWO")


def predictor(folder: Path) -> Predictor:
    """A network of 640 samples with thresholds that its noise passes now and then."""
    if not (folder / "checkpoints").exists():
        setups.save_random(
            folder, setups.config("picking", changes={"precision.matmul": "highest"})
        )
    return sj.load(folder, batch_size=16, p_threshold=0.5, s_threshold=0.5)


def record(station: str, start: UTCDateTime, seconds: float, seed: int) -> Stream:
    """Three components of noise with swells."""
    draw = np.random.default_rng(seed)
    network, code = station.split(".")
    samples = round(seconds * RATE)
    size = 1 + 5 * np.abs(np.sin(np.arange(samples) / 700)) ** 8
    header = {"network": network, "station": code, "sampling_rate": RATE, "starttime": start}
    return Stream(
        Trace(
            (draw.standard_normal(samples) * size * 1000).astype(np.int32),
            {**header, "channel": f"HH{component}"},
        )
        for component in "ZNE"
    )


def write_sds(root: Path, records: Iterable[Stream]) -> None:
    """Cut at midnight, a file for each channel and day."""
    for stream in records:
        for trace in stream:
            day = UTCDateTime(trace.stats.starttime.date)
            while day <= trace.stats.endtime:
                part = trace.slice(day, day + 86400 - 0.5 / RATE, nearest_sample=False)
                stats = part.stats
                folder = root / str(day.year) / stats.network / stats.station / f"{stats.channel}.D"
                folder.mkdir(parents=True, exist_ok=True)
                name = f"{part.id}.D.{day.year}.{day.julday:03}"
                part.write(str(folder / name), format="MSEED", reclen=512)
                day += 86400
