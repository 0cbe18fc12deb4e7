"""Traces of noise, picks, and what became of them: shared by several tests."""

import numpy as np
import pytest
from obspy import Trace, UTCDateTime

from seismollm_jax.inference.coverage import REASONS
from seismollm_jax.inference.picks import Pick

START = UTCDateTime("2024-02-29T23:59:50")


def trace(channel, data, start=START, rate=100.0, station="ABC", location=""):
    header = {
        "network": "XX",
        "station": station,
        "location": location,
        "channel": channel,
        "starttime": start,
        "sampling_rate": rate,
    }
    return Trace(np.asanyarray(data), header)


def pick(phase, time, trace_id="XX.A..HH"):
    """One whose beginning, end and peak are at a time."""
    return Pick(
        trace_id=trace_id,
        start_time=time,
        end_time=time,
        peak_time=time,
        peak_value=0.9,
        phase=phase,
    )


def noise(samples, seed=0):
    return np.random.default_rng(seed).normal(0, 100, samples).astype(np.int32)


def unaccounted(found, coverage):
    """Component seconds that were read and neither come out nor were masked for a reason."""
    out = sum(float((s.valid & s.where[:, None]).sum()) / s.sampling_rate_hz for s in found)
    table = coverage.to_dataframe()
    masked = table[list(REASONS)].sum().sum()
    assert masked == pytest.approx(table["masked"].sum())
    assert table["read"].sum() == pytest.approx(table["analysed"].sum() + masked)
    return table["read"].sum() - masked - out


def masked(coverage, reason):
    return sum(row.get(reason, 0.0) for row in coverage.seconds.values())
