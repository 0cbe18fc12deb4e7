"""The same small dataset in every format that is read, as its publisher or a user would have it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import obspy
import pandas as pd

from seismollm_jax.data import diting as diting_tables
from seismollm_jax.data import synthetic
from seismollm_jax.data.seisbench_files import write as write_seisbench

ROWS, EVENTS, SAMPLES = 24, 8, 1200
START = obspy.UTCDateTime(2021, 3, 4)
PARTS = ("train", "dev", "train", "test")  # of SeisBench's column, event by event


def _waveform(row: int, samples: int = SAMPLES, components: int = 3) -> np.ndarray:
    draw = np.random.default_rng(row)
    return draw.normal(0, 500, (samples, components)).astype(np.float32)


def _picks(row: int) -> tuple[int, int]:
    return 200 + 10 * row, 320 + 13 * row


def stead(folder: Path) -> dict[str, Any]:
    """Merged tables, noise among the rows."""
    synthetic.write(folder, traces=ROWS, seed=2)
    return {"format": "stead"}


def diting(folder: Path) -> dict[str, Any]:
    """Three parts of the full table at 50 Hz, and the light table made of them."""
    folder.mkdir()
    for part in range(3):
        rows = []
        with h5py.File(folder / f"DiTing330km_part_{part}.hdf5", "w") as h5:
            for row in range(part, ROWS, 3):
                p, s = _picks(row)
                rows.append(
                    {
                        **{"part": part, "key": f"{row % EVENTS + 1:06d}.{row // EVENTS + 1:04d}"},
                        **{"ev_id": row % EVENTS, "net": "AA", "sta_id": row % 5},
                        **{"evmag": f" {row / 8}", "mag_type": ("ml", "Ms", "mb")[row % 3]},
                        **{"p_pick": p, "s_pick": s, "p_motion": "ucrdn"[row % 5]},
                        **{"dis": 3.5 + row, "baz": 20.0 * row - 30},
                        **{"P_residual": "-" if row % 4 == 3 else 0.1, "S_residual": 0.2},
                        **{f"{c}_P_power_snr": 10.0 + row for c in "ZNE"},
                        **{f"{c}_S_power_snr": 12.5 for c in "ZNE"},
                    }
                )
                h5[f"earthquake/{rows[-1]['key']}"] = _waveform(row)
        pd.DataFrame(rows).to_csv(folder / f"DiTing330km_part_{part}.csv")
    diting_tables.make_light(folder)
    return {"format": "diting", "table": "full", "sampling_rate_hz": 50.0}


def diting_light(folder: Path) -> dict[str, Any]:
    """The light table of the same."""
    return {**diting(folder), "table": "light"}


def _seisbench_table() -> pd.DataFrame:
    rows = []
    for row in range(ROWS):
        p, s = _picks(row)
        event = row % EVENTS
        rows.append(
            {
                **{"source_id": f"event {event}", "source_magnitude": 1 + event / 4},
                **{"source_magnitude_type": "ML", "source_depth_km": 6.5},
                **{"source_latitude_deg": 47 + event / 10, "source_longitude_deg": 8.0},
                **{"source_origin_time": str(START + 100 * event)},
                **{"station_network_code": "NA", "station_code": f"S{row % 5}"},
                **{"station_latitude_deg": 46.5, "station_longitude_deg": 8 + row % 5 / 10},
                **{"trace_channel": "HH", "trace_start_time": str(START + 100 * event + 1)},
                **{"trace_p_arrival_sample": p + 0.4, "trace_s_arrival_sample": s + 0.7},
                **{"trace_polarity": ("positive", "negative", "undecidable")[row % 3]},
                **{"trace_snr_db": "[10.5 20.5 30.5]", "split": PARTS[event % 4]},
            }
        )
    return pd.DataFrame(rows)


def seisbench(folder: Path) -> dict[str, Any]:
    """One HDF5 dataset for each trace."""
    waveforms = [_waveform(row).T for row in range(ROWS)]
    data_format = {"component_order": "ZNE", "sampling_rate": 100.0}
    write_seisbench(folder, waveforms, _seisbench_table(), data_format=data_format)
    return {"format": "seisbench"}


def seisbench_mixed(folder: Path) -> dict[str, Any]:
    """Two chunks of buckets; component order and sampling rate differ from row to row."""
    table = _seisbench_table()
    table["trace_component_order"] = [("ZNE", "ENZ", "Z12", "Z")[row % 4] for row in range(ROWS)]
    rates = np.array([(100.0, 200.0, 40.0)[row % 3] for row in range(ROWS)])
    table["trace_sampling_rate_hz"] = rates
    for phase in "ps":
        table[f"trace_{phase}_arrival_sample"] *= rates / 100
    waveforms = [
        _waveform(row, int(12 * rate), len(order)).T
        for row, (rate, order) in enumerate(zip(rates, table["trace_component_order"], strict=True))
    ]
    half = ROWS // 2
    for chunk, part in (("_2020", slice(half)), ("_2021", slice(half, None))):
        write_seisbench(
            *(folder / chunk, waveforms[part], table[part]), data_format={}, bucket_traces=5
        )
        for file in list((folder / chunk).iterdir()):
            file.rename(folder / f"{file.stem}{chunk}{file.suffix}")
        (folder / chunk).rmdir()
    (folder / "chunks").write_text("_2020\n_2021\n")
    return {"format": "seisbench"}


def _own_catalogue(folder: Path, stations: tuple[str, ...]) -> list[float]:
    """Tables of picks, events and stations; P of each event in seconds after START."""
    arrivals = [100.0 + 60 * event for event in range(EVENTS)]
    picks, events = [], []
    for event, p in enumerate(arrivals):
        events.append(
            (f"e{event}", str(START + p - 2), 10 + event / 20, 20.0, 8.0, event / 3, "ML")
        )
        for number, station in enumerate(stations):
            picks += [
                (
                    f"e{event}",
                    "XX",
                    station,
                    "P",
                    str(START + p + number),
                    ("up", "down")[event % 2],
                ),
                (f"e{event}", "XX", station, "S", str(START + p + 2 * number + 2), ""),
            ]
    names = {
        "picks": ("event_id", "network", "station", "phase", "time", "polarity"),
        "events": ("event_id", "time", "latitude", "longitude", "depth_km", "magnitude", "type"),
        "stations": ("network", "station", "latitude", "longitude", "elevation_m"),
    }
    rows = {"picks": picks, "events": events}
    rows["stations"] = [("XX", code, 10.0, 20 + i / 10, 50) for i, code in enumerate(stations)]
    for name, columns in names.items():
        pd.DataFrame(rows[name], columns=list(columns)).to_csv(folder / f"{name}.csv", index=False)
    return arrivals


def _trace(station: str, channel: str, seed: int, start: float, seconds: float) -> obspy.Trace:
    rate = 50.0 if station == "BBB" else 100.0
    header = {
        **{"network": "XX", "station": station, "channel": channel, "sampling_rate": rate},
        "starttime": START + start,
    }
    return obspy.Trace(_waveform(seed, int(seconds * rate), 1)[:, 0], header)


def folder_mseed(folder: Path) -> dict[str, Any]:
    """Continuous records of three stations, in a file for each channel and half of the time."""
    folder.mkdir()
    stations = ("AAA", "BBB", "CCC")
    _own_catalogue(folder, stations)
    for number, station in enumerate(stations):
        for component in "Z" if station == "CCC" else "ZNE":
            for half, start in enumerate((0.0, 290.0)):
                trace = _trace(station, f"HH{component}", number, start, 290.0)
                trace.data = np.round(trace.data).astype(np.int32)
                path = folder / f"XX.{station}..HH{component}.D.{half}"
                trace.write(str(path), format="MSEED", encoding="STEIM2", reclen=512)
    return {"format": "folder"}


def folder_sac(folder: Path) -> dict[str, Any]:
    """A SAC file for each event, station and component."""
    folder.mkdir()
    stations = ("AAA", "BBB", "CCC")
    for event, p in enumerate(_own_catalogue(folder, stations)):
        for station in stations:
            (folder / f"{event}").mkdir(exist_ok=True)
            for component in "ZNE":
                trace = _trace(station, f"BH{component}", event, p - 15, 40)
                path = folder / f"{event}" / f"{station}.{component}.sac"
                trace.write(str(path), format="SAC")
    return {"format": "folder"}


FORMATS: dict[str, Callable[[Path], dict[str, Any]]] = {
    writer.__name__: writer
    for writer in (
        *(stead, diting, diting_light, seisbench, seisbench_mixed, folder_mseed, folder_sac),
    )
}
"""Name -> writes the dataset into a folder; returns the fields of `data` that it needs."""
