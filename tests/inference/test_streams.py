"""Reading, grouping, joining and resampling of continuous records."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obspy import Stream, Trace, UTCDateTime

from seismollm_jax.data.resampling import grid_index, grid_time_ns, resample
from seismollm_jax.inference.streams import Report, read, segments

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


def noise(samples, seed=0):
    return np.random.default_rng(seed).normal(0, 100, samples).astype(np.int32)


def balance(report):
    """Every second read is either used or left out, with a reason."""
    return report.component_seconds_read - (
        report.component_seconds_used + report.component_seconds_left_out
    )


def test_three_components_in_the_order_asked_for():
    data = {c: noise(500, i) for i, c in enumerate("ENZ")}
    stream = Stream([trace(f"HH{c}", x) for c, x in data.items()])
    for order in ("ZNE", "ENZ"):
        (segment,), report = segments(stream, 100.0, order)
        assert segment.trace_id == "XX.ABC..HH"
        assert segment.channels == tuple(f"HH{c}" for c in order)
        assert segment.start_time == START
        assert segment.data.dtype == np.float32
        assert segment.valid.all()
        assert segment.missing_components == ()
        np.testing.assert_array_equal(segment.data, np.stack([data[c] for c in order], 1))
        assert balance(report) == 0
        assert report.notes == []
    with pytest.raises(ValueError, match="'ZNX'"):
        segments(stream, 100.0, "ZNX")
    with pytest.raises(ValueError, match="sampling_rate_hz"):
        segments(stream, 0.0)


def test_instruments_and_sites_stay_apart():
    stream = Stream(
        [
            trace("HHZ", noise(400)),
            trace("HNZ", noise(400, 1)),
            trace("HHZ", noise(400, 2), station="B"),
            trace("HHZ", noise(400, 3), location="10"),
        ]
    )
    found, _ = segments(stream, 100.0)
    assert [s.trace_id for s in found] == [
        "XX.ABC..HH",
        "XX.ABC..HN",
        "XX.ABC.10.HH",
        "XX.B..HH",
    ]


def test_vertical_only_is_flagged_and_zero():
    (segment,), report = segments(Stream([trace("EHZ", noise(300))]), 100.0)
    assert segment.missing_components == (1, 2)
    assert segment.channels == ("EHZ", "", "")
    assert not segment.data[:, 1:].any()
    assert segment.valid[:, 0].all()
    assert balance(report) == 0


def test_horizontals_1_and_2_stand_in_only_where_n_and_e_are_absent():
    stream = Stream(
        [trace("BHZ", noise(1000)), trace("BH1", noise(1000, 1)), trace("BH2", noise(1000, 2))]
    )
    (segment,), report = segments(stream, 100.0)
    assert segment.channels == ("BHZ", "BH1", "BH2")
    assert segment.valid.all()
    assert report.notes == []
    stream.extend([trace("BHN", noise(1000, 3)), trace("BHE", noise(1000, 4))])
    (segment,), report = segments(stream, 100.0)
    assert segment.channels == ("BHZ", "BHN", "BHE")
    np.testing.assert_array_equal(segment.data[:, 1], noise(1000, 3))
    assert len(report.notes) == 2
    assert "BH1" in report.notes[0]
    assert balance(report) == 0


def test_a_change_from_1_2_to_n_e_keeps_both_parts():
    stream = Stream(
        [trace("BHZ", noise(1000)), trace("BH1", noise(500, 1)), trace("BH2", noise(500, 2))]
        + [trace(f"BH{c}", noise(500, 3), START + 5) for c in "NE"]
    )
    (segment,), report = segments(stream, 100.0)
    assert segment.channels == ("BHZ", "BH1+BHN", "BH2+BHE")
    assert segment.valid.all()
    assert balance(report) == 0


@pytest.mark.parametrize("offset_s", [0.0, 0.003, -0.004])
def test_contiguous_pieces_join_without_a_seam(offset_s):
    data = noise(3000)
    parts = [
        trace("HHZ", data[:1000]),
        trace("HHZ", data[1000:1700], START + 10 + offset_s),  # a clock off by less than half
        trace("HHZ", data[1700:], START + 17),
    ]
    for order in ([0, 1, 2], [2, 0, 1]):
        (segment,), report = segments(Stream([parts[i] for i in order]), 100.0)
        np.testing.assert_array_equal(segment.data[:, 0], data)
        assert balance(report) == 0


def test_short_gaps_are_masked_and_long_ones_divide():
    data = noise(9000)
    stream = Stream(
        [
            trace("HHZ", data[:1000]),
            trace("HHZ", data[1500:4000], START + 15),
            trace("HHZ", data[6000:], START + 60),
        ]
    )
    found, report = segments(stream, 100.0, max_gap_s=10)
    assert [(s.start_time, len(s.data)) for s in found] == [(START, 4000), (START + 60, 3000)]
    valid = found[0].valid[:, 0]
    assert not valid[1000:1500].any()
    assert valid[:1000].all()
    assert valid[1500:].all()
    assert not found[0].data[1000:1500].any()
    assert report.gap_seconds == 5
    assert report.segment_seconds == 70
    assert balance(report) == 0


def test_gap_on_one_component_does_not_divide():
    stream = Stream(
        [trace("HHZ", noise(6000)), trace("HHN", noise(100)), trace("HHN", noise(100), START + 59)]
    )
    (segment,), _ = segments(stream, 100.0)
    assert segment.valid.sum(0).tolist() == [6000, 200, 0]


def test_equal_overlaps_pass_and_others_are_reported():
    data = noise(2000)
    stream = Stream([trace("HHZ", data[:1200]), trace("HHZ", data[1000:], START + 10)])
    (segment,), report = segments(stream, 100.0)
    np.testing.assert_array_equal(segment.data[:, 0], data)
    assert report.notes == []
    assert report.component_seconds_left_out == 2
    assert balance(report) == 0
    stream[1].data = stream[1].data + 1
    (segment,), report = segments(stream, 100.0)
    np.testing.assert_array_equal(segment.data[:1200, 0], data[:1200])
    np.testing.assert_array_equal(segment.data[1200:, 0], data[1200:] + 1)
    assert "200 of 200 overlapping samples of HHZ" in report.notes[0]
    assert report.conflicting_seconds == 2
    assert balance(report) == 0


def test_masked_and_not_finite_samples_become_gaps():
    data = noise(1000).astype(np.float32)
    data[100:110] = np.nan
    data[500] = np.inf
    masked = np.ma.masked_array(noise(1000, 1), np.arange(1000) >= 900)
    (segment,), report = segments(Stream([trace("HHZ", data), trace("HHN", masked)]), 100.0)
    assert np.isfinite(segment.data).all()
    assert segment.valid.sum(0).tolist() == [989, 900, 0]
    assert not segment.data[~segment.valid].any()
    assert "11 samples are nan or inf" in report.notes[0]
    assert balance(report) == pytest.approx(0, abs=1e-9)


def test_unusable_traces_are_named_and_the_rest_goes_on():
    text = Trace(np.frombuffer(b"hello world", "S1"), {"channel": "LOG", "station": "ABC"})
    stream = Stream(
        [
            trace("HHZ", noise(300)),
            trace("HDF", noise(300)),
            trace("", noise(300)),
            text,
            trace("HHN", np.zeros(0, np.int32)),
        ]
    )
    found, report = segments(stream, 100.0)
    assert len(found) == 1
    assert (report.traces_read, report.traces_left_out) == (5, 4)
    assert "HDF" in report.notes[0]
    assert "none of Z, N, E, 1, 2" in report.notes[0]
    assert balance(report) == 0
    assert "5 traces read" in str(report)
    assert "4 traces left out" in str(report)


def test_pieces_off_a_common_grid_are_reported():
    stream = Stream([trace("HHZ", noise(300)), trace("HHN", noise(300), START + 0.004)])
    (segment,), report = segments(stream, 100.0)
    assert len(segment.data) == 300
    assert "0.40 sample" in report.notes[0]


def test_the_stream_is_not_changed():
    stream = Stream([trace("HH1", noise(600), rate=200.0), trace("HHZ", noise(600), rate=200.0)])
    before = stream.copy()
    segments(stream, 100.0)
    assert stream == before


# --- resampling ---------------------------------------------------------------------------------


def onset(time_s):
    """An onset at 20 s: 8 Hz, growing within a fifth of a second; nothing before it matters."""
    after = np.clip(time_s - 20, 0, None)
    return after**3 * np.exp(-after / 0.15) * np.sin(2 * np.pi * 8 * after) * 1e4


@pytest.mark.parametrize(
    "rate", [200.0, 250.0, 50.0, 62.5, 80.0, 120.0, 125.0, 99.98, 99.9998, 33.333333, 500.0]
)
@pytest.mark.parametrize("start_s", [0.0, 0.0013, 0.005])
def test_an_onset_keeps_its_time(rate, start_s):
    start = UTCDateTime("2024-06-01T00:00:00") + start_s
    data = onset(np.arange(int(40 * rate)) / rate + start_s) + 5e5  # with a digitiser's offset
    (segment,), _ = segments(Stream([trace("HHZ", data, start, rate)]), 100.0)
    time_s = segment.start_time - UTCDateTime("2024-06-01") + np.arange(len(segment.data)) / 100
    lags = np.linspace(-0.2, 0.2, 401)  # samples of 0.01 s
    got = segment.data[:, 0] - 5e5
    misfit = [np.square(got - onset(time_s + lag / 100)).sum() for lag in lags]
    assert abs(lags[np.argmin(misfit)]) < 0.02
    assert min(misfit) < 1e-4 * np.square(got).sum()


@pytest.mark.parametrize(("rate", "tone"), [(200.0, 55.0), (250.0, 70.0), (199.98, 55.0)])
def test_tones_above_nyquist_do_not_fold_back(rate, tone):
    data, _ = resample(np.sin(2 * np.pi * tone * np.arange(int(60 * rate)) / rate), 0, rate, 100.0)
    inner = data[100:-100]
    assert 20 * np.log10(np.sqrt(2) * inner.std()) < -70
    passed, _ = resample(np.sin(2 * np.pi * 42 * np.arange(int(60 * rate)) / rate), 0, rate, 100.0)
    assert 20 * np.log10(np.sqrt(2) * passed[100:-100].std()) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("rate", [200.0, 62.5, 50.0, 99.98])
def test_a_constant_stays_constant_to_the_ends(rate):
    data, _ = resample(np.full(2000, 123456.0), 7_000_000, rate, 100.0)
    np.testing.assert_allclose(data, 123456.0, rtol=1e-12)


@pytest.mark.parametrize("rate", [200.0, 150.0, 99.98])
def test_a_part_of_a_record_gives_a_part_of_the_result(rate):
    data = noise(20000).astype(float)
    whole, whole_ns = resample(data, 1_700_000_000_123_000_000, rate, 100.0)
    first = 7333
    begin = 1_700_000_000_123_000_000 + round(first * 1e9 / rate)
    part, part_ns = resample(data[first:15000], begin, rate, 100.0)
    shift = grid_index(part_ns, 100.0) - grid_index(whole_ns, 100.0)
    assert abs(part_ns - whole_ns - shift * 10_000_000) < 2
    inner = slice(80, len(part) - 80)
    # 99.98 Hz: table positions may round to either neighbour
    tolerance = 1e-6 if rate != 99.98 else 0.2
    np.testing.assert_allclose(part[inner], whole[shift:][inner], atol=tolerance)


def test_mixed_rates_of_one_channel_fill_each_other():
    fine, coarse = onset(np.arange(0, 30, 1 / 200)), onset(np.arange(30, 60, 1 / 50))
    stream = Stream([trace("HHZ", fine, START, 200.0), trace("HHZ", coarse, START + 30, 50.0)])
    (segment,), _ = segments(stream, 100.0)
    assert len(segment.data) == 5999
    assert segment.valid[:, 0].all()


def test_too_short_to_resample_is_reported():
    piece = trace("HHZ", noise(1), UTCDateTime("2024-06-01T00:00:00.005"), 200.0)
    found, report = segments(Stream([piece]), 100.0)
    assert found == []
    assert "too short" in report.notes[0]
    assert balance(report) == 0


@given(
    st.integers(-(10**12), 10**12), st.sampled_from([100.0, 50.0, 62.5, 99.98, 33.333333, 200.0])
)
def test_grid_index_is_exact(index, rate):
    time_ns = grid_time_ns(index, rate)
    assert grid_index(time_ns, rate) == index
    assert (
        abs(grid_time_ns(grid_index(time_ns + 1234567, rate), rate) - time_ns)
        <= 5e8 / rate + 1234568
    )


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_any_division_of_a_record_gives_the_same_segments(data):
    record = {c: noise(2000, i) for i, c in enumerate("ZNE")}
    whole, _ = segments(Stream([trace(f"HH{c}", x) for c, x in record.items()]), 100.0)
    pieces = Stream()
    for component, samples in record.items():
        cuts = data.draw(st.lists(st.integers(1, 1999), max_size=5, unique=True))
        bounds = [0, *sorted(cuts), 2000]
        for first, end in itertools.pairwise(bounds):
            end = min(2000, end + data.draw(st.integers(0, 30)))  # some overlap
            pieces.append(trace(f"HH{component}", samples[first:end], START + first / 100))
    order = data.draw(st.permutations(range(len(pieces))))
    (segment,), report = segments(Stream([pieces[i] for i in order]), 100.0)
    np.testing.assert_array_equal(segment.data, whole[0].data)
    assert segment.start_time == whole[0].start_time
    assert balance(report) == pytest.approx(0, abs=1e-6)


# --- files --------------------------------------------------------------------------------------


def test_files_patterns_and_lists(tmp_path):
    for i, name in enumerate(["a.mseed", "b[1].mseed"]):
        trace("HHZ", noise(500, i), START + 5 * i).write(str(tmp_path / name), format="MSEED")
    trace("HHN", noise(500)).write(str(tmp_path / "c.sac"), format="SAC")
    assert len(read(tmp_path / "a.mseed")) == 1
    assert len(read(str(tmp_path / "b[1].mseed"))) == 1
    report = Report()
    patterns = [tmp_path / "a.mseed", str(tmp_path / "*.mseed"), str(tmp_path / "c.sac")]
    stream = read(patterns, report)
    assert report.files_read == 3  # a.mseed once
    (segment,), same = segments(stream, 100.0, report=report)
    assert same is report
    assert segment.valid.sum(0).tolist() == [1000, 500, 0]


def test_unreadable_files_are_reported_and_the_others_read(tmp_path):
    trace("HHZ", noise(500)).write(str(tmp_path / "good.mseed"), format="MSEED")
    (tmp_path / "bad.mseed").write_bytes(b"not a waveform")
    (tmp_path / "empty.mseed").write_bytes(b"")
    report = Report()
    stream = read([str(tmp_path / "*.mseed"), str(tmp_path / "none*.sac")], report)
    assert len(stream) == 1
    assert (report.files_read, report.files_unreadable) == (1, 2)
    assert any("bad.mseed" in note for note in report.notes)
    assert any("none*.sac: matches no file" in note for note in report.notes)


def test_nothing_readable_is_an_error_that_names_the_files(tmp_path):
    (tmp_path / "bad.mseed").write_bytes(b"not a waveform")
    with pytest.raises(ValueError, match=r"bad\.mseed"):
        read(tmp_path / "bad.mseed")
    with pytest.raises(FileNotFoundError, match=r"nothing\*\.mseed"):
        read(str(tmp_path / "nothing*.mseed"))
