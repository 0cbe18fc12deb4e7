"""A row in SeisBench's columns, and datasets of such rows: shared by several tests."""

from pathlib import Path

import numpy as np
import pandas as pd

from seismollm_jax.data.seisbench_files import write

FORMAT = {"component_order": "ZNE", "sampling_rate": 100.0}
ROW = {
    "source_id": "ev1",
    "source_magnitude": 2.5,
    "source_magnitude_type": "ML",
    "source_latitude_deg": 47.0,
    "source_longitude_deg": 8.0,
    "source_depth_km": 6.5,
    "source_origin_time": "2020-03-01T00:00:00Z",
    "path_ep_distance_km": 30.5,
    "path_back_azimuth_deg": 120.0,
    "station_network_code": "NA",
    "station_code": "NAN",
    "station_latitude_deg": 46.5,
    "station_longitude_deg": 8.5,
    "station_elevation_m": 900.0,
    "trace_channel": "HHZ",
    "trace_start_time": "2020-03-01T00:00:01.50Z",
    "trace_p_arrival_sample": 20.7,
    "trace_s_arrival_sample": 40.2,
    "trace_polarity": "positive",
    "trace_snr_db": "[10.5 20.5 30.5]",
    "split": "dev",
}


def waves(rows: int, samples: int = 60, components: int = 3) -> list[np.ndarray]:
    draw = np.random.default_rng(rows)
    return [draw.normal(size=(components, samples)).astype(np.float32) for _ in range(rows)]


def make(directory: Path, rows: list[dict], **options: object) -> Path:
    """A dataset of these rows, traces random."""
    data_format = options.pop("data_format", FORMAT)
    write(directory, waves(len(rows)), pd.DataFrame(rows), data_format=data_format, **options)
    return directory
