"""Ground motion put through an instrument's response comes out again."""

import numpy as np
import pytest
from obspy import Inventory, UTCDateTime, read_inventory

from seismollm_jax.inference import amplitudes
from seismollm_jax.inference.picks import Pick, PickList
from seismollm_jax.inference.streams import Segment
from tests.inference import traces

RATE, SECONDS = 100.0, 200
START = UTCDateTime(2012, 3, 1)


@pytest.fixture(scope="module")
def inventory() -> Inventory:
    """ObsPy's own: a broadband (GR.FUR) and a short-period seismometer (BW.RJOB)."""
    return read_inventory()


def burst(time_s: float, frequency_hz: float, size_m_s: float) -> np.ndarray:
    """Ground velocity: a wave with an envelope, its largest swing `size_m_s`, beginning at 0."""
    t = np.arange(round(SECONDS * RATE)) / RATE - time_s
    wave = np.sin(2 * np.pi * frequency_hz * t) * np.where(t > 0, t**2 * np.exp(-2 * t), 0)
    return wave / np.abs(wave).max() * size_m_s


def recorded(velocity: np.ndarray, inventory: Inventory, name: str) -> np.ndarray:
    """Counts, by the response at each frequency."""
    response = inventory.get_response(name, START)
    size = 2 * len(velocity)
    frequencies = np.fft.rfftfreq(size, 1 / RATE)
    gain = response.get_evalresp_response_for_frequencies(frequencies, output="VEL")
    return np.fft.irfft(np.fft.rfft(velocity, size) * gain, size)[: len(velocity)]


def segment(columns: dict[str, np.ndarray], site: str = "GR.FUR.") -> Segment:
    data = np.zeros((round(SECONDS * RATE), 3), np.float32)
    valid, channels = np.zeros(data.shape, bool), ["", "", ""]
    for code, values in columns.items():
        column = "ZNE".index(code[-1])
        data[:, column], valid[:, column], channels[column] = values, True, code
    return Segment(f"{site}.{next(iter(columns))[:2]}", START, RATE, data, valid, tuple(channels))


def pick(phase: str, time_s: float) -> Pick:
    return traces.pick(phase, START + time_s, "GR.FUR..HH")


@pytest.mark.parametrize("frequency_hz", [1.0, 4.0, 12.0])
@pytest.mark.parametrize(("site", "instrument"), [("GR.FUR.", "HH"), ("BW.RJOB.", "EH")])
def test_velocity_is_recovered(
    inventory: Inventory, site: str, instrument: str, frequency_hz: float
) -> None:
    size = 3e-6
    ground = {"Z": burst(60, frequency_hz, size) + burst(70, frequency_hz, 4 * size)}
    ground["N"] = 0.5 * burst(60, frequency_hz, size) + burst(70, frequency_hz, 6 * size)
    counts = {}
    for letter, velocity in ground.items():
        code = f"{instrument}{letter}"
        counts[code] = 1000 + recorded(velocity, inventory, f"{site}.{code}")
    record = segment(counts, site)
    picks = [pick("P", 60), pick("S", 70)]
    amplitudes.measure(picks, record, inventory)
    for one, expected in zip(picks, (size, 6 * size), strict=True):
        assert one.peak_velocity_m_s == pytest.approx(expected, rel=0.03)
        assert one.peak_period_s == pytest.approx(1 / frequency_hz, rel=0.15)
        assert one.no_amplitude == ""
    assert amplitudes.remarks(picks) == []


def test_windows_end_where_the_next_arrival_begins(inventory: Inventory) -> None:
    quiet, loud = 1e-6, 1e-4
    ground = burst(60, 3, quiet) + burst(63, 3, loud) + burst(66, 3, 10 * loud)
    record = segment({"HHZ": recorded(ground, inventory, "GR.FUR..HHZ")})
    alone, followed = [pick("P", 60)], [pick("P", 60), pick("S", 63), pick("P", 66)]
    for picks in (alone, followed):
        amplitudes.measure(picks, record, inventory)
    assert alone[0].peak_velocity_m_s == pytest.approx(loud, rel=0.05)
    assert [p.peak_velocity_m_s for p in followed] == pytest.approx(
        [quiet, loud, 10 * loud], rel=0.05
    )


def test_missing_responses_and_data_are_counted(inventory: Inventory) -> None:
    record = segment({"HHZ": recorded(burst(60, 3, 1e-6), inventory, "GR.FUR..HHZ")})
    record.valid[6020:6100] = False
    gap = [pick("P", 60), pick("S", 62)]
    amplitudes.measure(gap, record, inventory)
    assert gap[0].peak_velocity_m_s is None
    why = "no data of GR.FUR..HHZ after the pick"
    assert amplitudes.remarks(gap) == [f"no amplitude of 1 pick: {why}"]
    assert gap[1].peak_velocity_m_s is not None  # data come back in time for it
    unknown = segment({"HHZ": np.ones(20000), "HHN": np.ones(20000)}, "GR.NONE.")
    picks = [pick("P", 60), pick("P", 80)]
    amplitudes.measure(picks, unknown, inventory)
    assert [p.peak_velocity_m_s for p in picks] == [None, None]
    why = "the inventory has no response of GR.NONE..HH"
    assert amplitudes.remarks(picks) == [f"no amplitude of 2 picks: {why}Z; {why}N"]


def test_a_response_that_makes_no_sense_is_told(inventory: Inventory) -> None:
    odd = inventory.copy()
    for channel in odd.select(station="FUR", channel="HHZ")[0][0]:
        channel.response.response_stages[0].input_units = "V"
        channel.response.instrument_sensitivity.input_units = "V"
    record = segment({"HHZ": burst(60, 3, 1e3)})
    picks = [pick("P", 60), pick("S", 61)]
    amplitudes.measure(picks, record, odd)
    assert [p.peak_velocity_m_s for p in picks] == [None, None]
    (text,) = amplitudes.remarks(picks)
    assert text.startswith("no amplitude of 2 picks: the response of GR.FUR..HHZ cannot be used (")


def test_tables_have_the_columns(inventory: Inventory, tmp_path) -> None:
    made = pick("P", 60)
    made.peak_velocity_m_s, made.peak_period_s = 1.23456e-7, 0.1234
    picks = PickList([made, pick("S", 61)])
    assert picks.write_csv(str(tmp_path / "picks.csv")) == 2
    head, first, second = (tmp_path / "picks.csv").read_text().splitlines()
    assert head.endswith(",channel,peak_velocity_m_s,peak_period_s")
    assert first.endswith(",1.235e-07,0.123")
    assert second.endswith(",,")
    assert picks.to_dataframe()["peak_velocity_m_s"].tolist()[0] == 1.23456e-7
