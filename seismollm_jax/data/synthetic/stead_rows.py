"""A trace as a row of STEAD's table and as attributes of its waveform.

Column order and text forms are those of the published merge.csv (Mousavi et al. 2019), plus one
column at the end, `p_first_motion` (U, D or empty).
"""

from datetime import datetime, timedelta

import numpy as np

from seismollm_jax.data.synthetic.catalogue import Trace
from seismollm_jax.data.synthetic.earth import KM_PER_DEGREE

COLUMNS = (
    "network_code",
    "receiver_code",
    "receiver_type",
    "receiver_latitude",
    "receiver_longitude",
    "receiver_elevation_m",
    "p_arrival_sample",
    "p_status",
    "p_weight",
    "p_travel_sec",
    "s_arrival_sample",
    "s_status",
    "s_weight",
    "source_id",
    "source_origin_time",
    "source_origin_uncertainty_sec",
    "source_latitude",
    "source_longitude",
    "source_error_sec",
    "source_gap_deg",
    "source_horizontal_uncertainty_km",
    "source_depth_km",
    "source_depth_uncertainty_km",
    "source_magnitude",
    "source_magnitude_type",
    "source_magnitude_author",
    "source_mechanism_strike_dip_rake",
    "source_distance_deg",
    "source_distance_km",
    "back_azimuth_deg",
    "snr_db",
    "coda_end_sample",
    "trace_start_time",
    "trace_category",
    "trace_name",
    "p_first_motion",
)


def trace_name(trace: Trace) -> str:
    """`STATION.NETWORK_time_EV` or `..._NO`, unique within a dataset.

    STEAD names earthquake records after the second before their first sample, and noise records
    after their minute.
    """
    station = f"{trace.station.code}.{trace.station.network}"
    if trace.reading is None:
        return f"{station}_{trace.start_time:%Y%m%d%H%M}_NO"
    return f"{station}_{trace.start_time - timedelta(seconds=1):%Y%m%d%H%M%S}_EV"


def attributes(trace: Trace) -> dict[str, object]:
    """Return the row as text, floats, and arrays for snr_db (3,) and coda_end_sample (1, 1).

    Columns that do not apply to noise are empty text.
    """
    station, reading = trace.station, trace.reading
    row: dict[str, object] = dict.fromkeys(COLUMNS, "")
    row |= {
        "network_code": station.network,
        "receiver_code": station.code,
        "receiver_type": station.sensor,
        "receiver_latitude": station.latitude_deg,
        "receiver_longitude": station.longitude_deg,
        "receiver_elevation_m": station.elevation_m,
        "trace_start_time": trace.start_time.strftime("%Y-%m-%d %H:%M:%S.%f"),
        "trace_category": "noise",
        "trace_name": trace_name(trace),
    }
    if reading is None:
        row["trace_start_time"] = trace.start_time.strftime("%Y-%m-%d %H:%M:%S")
        return row
    event = reading.event
    return row | {
        "p_arrival_sample": float(reading.p_sample),
        "p_status": "manual",
        "p_weight": 1.0,
        "p_travel_sec": reading.p_travel_s,
        "s_arrival_sample": float(reading.s_sample),
        "s_status": "manual",
        "s_weight": 1.0,
        "source_id": f"syn{event.index:07d}",
        "source_origin_time": _centiseconds(event.origin_time),
        "source_origin_uncertainty_sec": "None",
        "source_latitude": event.latitude_deg,
        "source_longitude": event.longitude_deg,
        "source_error_sec": "None",
        "source_gap_deg": "None",
        "source_horizontal_uncertainty_km": "None",
        "source_depth_km": event.depth_km,
        "source_depth_uncertainty_km": "None",
        "source_magnitude": event.magnitude,
        # One moment-based scale throughout; named as networks name it, local below 4.
        "source_magnitude_type": "ml" if event.magnitude < 4.0 else "mw",
        "source_magnitude_author": "None",
        "source_mechanism_strike_dip_rake": "None",
        "source_distance_deg": round(reading.distance_km / KM_PER_DEGREE, 4),
        "source_distance_km": round(reading.distance_km, 2),
        "back_azimuth_deg": round(reading.back_azimuth_deg, 1) % 360.0,
        # File order E, N, Z; single precision, as the digits of STEAD's text show.
        "snr_db": np.round(np.array(reading.snr_db[::-1]), 1).astype(np.float32),
        "coda_end_sample": np.array([[float(reading.coda_end_sample)]]),
        "trace_category": "earthquake_local",
        "p_first_motion": reading.first_motion,
    }


def cells(trace: Trace) -> list[str]:
    """Return the row as the text of merge.csv."""
    row = attributes(trace)
    return [
        np.array2string(value.astype(np.float64), legacy="1.13")
        if isinstance(value, np.ndarray)
        else str(value)
        for value in (row[column] for column in COLUMNS)
    ]


def _centiseconds(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")[:-4]
