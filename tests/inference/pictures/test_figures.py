"""The picture of a record shows what is in it, however long it is."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread
from obspy import UTCDateTime

from seismollm_jax.inference.pictures.figures import COLOURS, TRACE_COLOUR, plot_record
from seismollm_jax.inference.streams import Segment
from tests.inference.traces import pick

START = UTCDateTime("2024-03-01T23:59:00")


def record(samples):
    data = np.random.default_rng(0).normal(0, 1, (samples, 3)).astype(np.float32)
    return Segment(
        "XX.ABC..HH", START, 100.0, data, np.ones((samples, 3), bool), ("HHZ", "HHN", "HHE")
    )


def count(path, colour, tolerance=0.1):
    return int((np.abs(imread(path)[:, :, :3] - np.array(to_rgb(colour))).max(2) < tolerance).sum())


@pytest.mark.parametrize("samples", [2000, 200_000])
def test_picks_and_curves_are_drawn(tmp_path, samples):
    segment, curves = record(samples), np.zeros((samples, 3), np.float32)
    empty, full = tmp_path / "empty.png", tmp_path / "full.png"
    plot_record(segment, curves, [], empty)
    curves[samples // 2, 1] = 0.9  # one sample alone
    picks = [
        pick("P", START + samples / 200),
        pick("S", START - 5),  # before the record
    ]
    plot_record(segment, curves, picks, full)
    assert count(full, COLOURS["P"]) > count(empty, COLOURS["P"]) + 200
    assert abs(count(full, COLOURS["S"]) - count(empty, COLOURS["S"])) < 200


def test_a_single_spike_survives_thinning(tmp_path):
    segment = record(1_000_000)
    segment.data[:] = 0
    segment.data[::20_000, 0] = 50  # fifty single samples in a long record
    plot_record(segment, np.zeros((1_000_000, 3)), [], tmp_path / "spikes.png")
    segment.data[:] = 0
    plot_record(segment, np.zeros((1_000_000, 3)), [], tmp_path / "flat.png")
    spikes = [count(tmp_path / f"{name}.png", TRACE_COLOUR) for name in ("spikes", "flat")]
    assert spikes[0] > spikes[1] + 500


def test_gaps_and_missing_components_are_visible(tmp_path):
    segment = record(6000)
    curves = np.full((6000, 3), 0.1, np.float32)
    plot_record(segment, curves, [], tmp_path / "whole.png")
    segment.valid[2000:4000] = False
    segment.valid[:, 2] = False
    segment.data[~segment.valid] = 0
    segment.channels = ("HHZ", "HHN", "")
    curves[2000:4000] = np.nan
    plot_record(segment, curves, [], tmp_path / "gap.png")
    shaded = [count(tmp_path / f"{name}.png", "#dddddd", 0.01) for name in ("gap", "whole")]
    assert shaded[0] > shaded[1] + 10_000
    assert count(tmp_path / "gap.png", TRACE_COLOUR) < count(tmp_path / "whole.png", TRACE_COLOUR)


def test_one_sample_and_wrong_lengths(tmp_path):
    plot_record(record(1), np.zeros((1, 3)), [], tmp_path / "one.png")
    assert (tmp_path / "one.png").exists()
    with pytest.raises(ValueError, match="curves of 5 samples for a record of 10"):
        plot_record(record(10), np.zeros((5, 3)), [], tmp_path / "wrong.png")
