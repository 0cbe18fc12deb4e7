"""Rates between two lines of the log."""

import time

import pytest

from seismollm_jax.training import speed
from seismollm_jax.training.speed import Speed


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.now = 100.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)


def test_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    monkeypatch.setattr(speed, "memory_figure", lambda name: 3 << 29)
    # 4 devices of 100 TFLOP/s; steps of 800 TFLOP, of which 10 take 40 s: 200 TFLOP/s.
    meter = Speed(batch_size=32, devices=4, flops=800e12, peak_flops=100e12)
    clock.now = 1000.0
    meter.begin(5)
    with meter.waiting():
        clock.now += 10
    clock.now += 30
    found = meter.figures(15)
    assert found == pytest.approx(
        {
            "samples_per_s": 8.0,
            "samples_per_s_per_device": 2.0,
            "mfu": 0.5,
            "peak_memory_gib": 1.5,
            "input_wait": 0.25,
        }
    )
    clock.now += 4  # it has begun anew
    assert meter.figures(16)["samples_per_s"] == pytest.approx(8.0)
    clock.now += 1000  # a validation
    meter.begin(16)
    clock.now += 4
    assert meter.figures(17)["input_wait"] == 0.0


def test_what_is_not_known_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    meter = Speed(batch_size=32, devices=4, flops=800e12, peak_flops=None)
    clock.now += 1
    assert set(meter.figures(1)) == {"samples_per_s", "samples_per_s_per_device", "input_wait"}
