"""Reading, grouping, joining and resampling of continuous records."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obspy import Stream

from seismollm_jax.inference.coverage import Coverage
from seismollm_jax.inference.streams import read, segments
from tests.inference.traces import START, masked, noise, trace, unaccounted


def test_three_components_in_the_order_asked_for():
    data = {c: noise(500, i) for i, c in enumerate("ENZ")}
    stream = Stream([trace(f"HH{c}", x) for c, x in data.items()])
    for order in ("ZNE", "ENZ"):
        (segment,), coverage = segments(stream, 100.0, order)
        assert segment.trace_id == "XX.ABC..HH"
        assert segment.channels == tuple(f"HH{c}" for c in order)
        assert segment.start_time == START
        assert segment.data.dtype == np.float32
        assert segment.valid.all()
        assert segment.missing_components == ()
        np.testing.assert_array_equal(segment.data, np.stack([data[c] for c in order], 1))
        assert unaccounted([segment], coverage) == pytest.approx(0, abs=1e-6)
        assert coverage.notes == []
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
    (segment,), coverage = segments(Stream([trace("EHZ", noise(300))]), 100.0)
    assert segment.missing_components == (1, 2)
    assert segment.channels == ("EHZ", "", "")
    assert not segment.data[:, 1:].any()
    assert segment.valid[:, 0].all()
    assert unaccounted([segment], coverage) == pytest.approx(0, abs=1e-6)


def test_horizontals_1_and_2_stand_in_only_where_n_and_e_are_absent():
    stream = Stream(
        [trace("BHZ", noise(1000)), trace("BH1", noise(1000, 1)), trace("BH2", noise(1000, 2))]
    )
    (segment,), coverage = segments(stream, 100.0)
    assert segment.channels == ("BHZ", "BH1", "BH2")
    assert segment.valid.all()
    assert coverage.notes == []
    stream.extend([trace("BHN", noise(1000, 3)), trace("BHE", noise(1000, 4))])
    (segment,), coverage = segments(stream, 100.0)
    assert segment.channels == ("BHZ", "BHN", "BHE")
    np.testing.assert_array_equal(segment.data[:, 1], noise(1000, 3))
    assert len(coverage.notes) == 2
    assert "BH1" in coverage.notes[0]
    assert unaccounted([segment], coverage) == pytest.approx(0, abs=1e-6)


def test_a_change_from_1_2_to_n_e_keeps_both_parts():
    stream = Stream(
        [trace("BHZ", noise(1000)), trace("BH1", noise(500, 1)), trace("BH2", noise(500, 2))]
        + [trace(f"BH{c}", noise(500, 3), START + 5) for c in "NE"]
    )
    (segment,), coverage = segments(stream, 100.0)
    assert segment.channels == ("BHZ", "BH1+BHN", "BH2+BHE")
    assert segment.valid.all()
    assert unaccounted([segment], coverage) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("offset_s", [0.0, 0.0004, -0.0004])
def test_contiguous_pieces_join_without_a_seam(offset_s):
    data = noise(3000)
    parts = [
        trace("HHZ", data[:1000]),
        trace("HHZ", data[1000:1700], START + 10 + offset_s),  # a clock off by less than 1/20
        trace("HHZ", data[1700:], START + 17),
    ]
    for order in ([0, 1, 2], [2, 0, 1]):
        (segment,), coverage = segments(Stream([parts[i] for i in order]), 100.0)
        np.testing.assert_array_equal(segment.data[:, 0], data)
        assert unaccounted([segment], coverage) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("offset_s", [0.0, 0.003, 0.005, -0.004])
def test_pieces_of_another_rhythm_are_shifted_into_place(offset_s):
    """Each sample is where its own header says, to 1/64 of an interval, and none is missing."""

    def wave(time_s):
        return np.round(1e4 * np.sin(2 * np.pi * 3 * time_s)).astype(np.int32)

    time_s = np.arange(1000) / 100
    stream = Stream(
        [
            trace("HHZ", wave(time_s)),
            trace("HHZ", wave(time_s + 10 + offset_s), START + 10 + offset_s),
            trace("HHN", wave(np.arange(2000) / 100 + offset_s), START + offset_s),
        ]
    )
    (segment,), _ = segments(stream, 100.0)
    assert segment.start_time == START
    whole = wave(np.arange(2000) / 100)
    for column in (0, 1):
        inner = np.setdiff1d(np.arange(50, 1950), np.arange(950, 1050) if column == 0 else [])
        assert segment.valid[inner, column].all()
        np.testing.assert_allclose(segment.data[inner, column], whole[inner], atol=40)
    assert segment.valid[:1999, 0].all()


def test_short_gaps_are_masked_and_long_ones_divide():
    data = noise(9000)
    stream = Stream(
        [
            trace("HHZ", data[:1000]),
            trace("HHZ", data[1500:4000], START + 15),
            trace("HHZ", data[6000:], START + 60),
        ]
    )
    found, coverage = segments(stream, 100.0, max_gap_s=10)
    assert [(s.start_time, len(s.data)) for s in found] == [(START, 4000), (START + 60, 3000)]
    valid = found[0].valid[:, 0]
    assert not valid[1000:1500].any()
    assert valid[:1000].all()
    assert valid[1500:].all()
    assert not found[0].data[1000:1500].any()
    assert coverage.seconds["XX.ABC..HH"]["gap"] == 25
    assert masked(coverage, "edge") == 6 * 0.5
    assert unaccounted(found, coverage) == pytest.approx(0, abs=1e-6)


def test_gap_on_one_component_does_not_divide():
    stream = Stream(
        [trace("HHZ", noise(6000)), trace("HHN", noise(100)), trace("HHN", noise(100), START + 59)]
    )
    (segment,), _ = segments(stream, 100.0)
    assert segment.valid.sum(0).tolist() == [6000, 200, 0]


def test_equal_overlaps_pass_and_others_are_reported():
    data = noise(2000)
    stream = Stream([trace("HHZ", data[:1200]), trace("HHZ", data[1000:], START + 10)])
    (segment,), coverage = segments(stream, 100.0)
    np.testing.assert_array_equal(segment.data[:, 0], data)
    assert coverage.notes == []
    assert masked(coverage, "overlap") == 2
    assert unaccounted([segment], coverage) == pytest.approx(0, abs=1e-6)
    stream[1].data = stream[1].data + 1
    (segment,), coverage = segments(stream, 100.0)
    np.testing.assert_array_equal(segment.data[:1200, 0], data[:1200])
    np.testing.assert_array_equal(segment.data[1200:, 0], data[1200:] + 1)
    assert "200 of 200 overlapping samples of HHZ" in coverage.notes[0]
    assert coverage.conflicting_seconds == 2
    assert "2.0 in overlaps that disagree" in str(coverage)
    assert unaccounted([segment], coverage) == pytest.approx(0, abs=1e-6)


def test_the_stream_is_not_changed():
    stream = Stream([trace("HH1", noise(600), rate=200.0), trace("HHZ", noise(600), rate=200.0)])
    before = stream.copy()
    segments(stream, 100.0)
    assert stream == before


def test_mixed_rates_of_one_channel_fill_each_other():
    fine, coarse = noise(6000), noise(1500)
    stream = Stream([trace("HHZ", fine, START, 200.0), trace("HHZ", coarse, START + 30, 50.0)])
    (segment,), coverage = segments(stream, 100.0)
    assert len(segment.data) == 5999  # each sample stands for half an interval on either side
    assert segment.valid[:, 0].all()
    assert unaccounted([segment], coverage) == pytest.approx(0, abs=0.011)


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
    (segment,), coverage = segments(Stream([pieces[i] for i in order]), 100.0)
    np.testing.assert_array_equal(segment.data, whole[0].data)
    assert segment.start_time == whole[0].start_time
    assert unaccounted([segment], coverage) == pytest.approx(0, abs=1e-6)


# --- files --------------------------------------------------------------------------------------


def test_files_patterns_and_lists(tmp_path):
    for i, name in enumerate(["a.mseed", "b[1].mseed"]):
        trace("HHZ", noise(500, i), START + 5 * i).write(str(tmp_path / name), format="MSEED")
    trace("HHN", noise(500)).write(str(tmp_path / "c.sac"), format="SAC")
    assert len(read(tmp_path / "a.mseed")) == 1
    assert len(read(str(tmp_path / "b[1].mseed"))) == 1
    coverage = Coverage()
    patterns = [tmp_path / "a.mseed", str(tmp_path / "*.mseed"), str(tmp_path / "c.sac")]
    stream = read(patterns, coverage)
    assert coverage.files_read == 3  # a.mseed once
    (segment,), same = segments(stream, 100.0, coverage=coverage)
    assert same is coverage
    assert segment.valid.sum(0).tolist() == [1000, 500, 0]


def test_unreadable_files_are_reported_and_the_others_read(tmp_path):
    trace("HHZ", noise(500)).write(str(tmp_path / "good.mseed"), format="MSEED")
    (tmp_path / "bad.mseed").write_bytes(b"not a waveform")
    (tmp_path / "empty.mseed").write_bytes(b"")
    coverage = Coverage()
    stream = read([str(tmp_path / "*.mseed"), str(tmp_path / "none*.sac")], coverage)
    assert len(stream) == 1
    assert (coverage.files_read, coverage.files_unreadable) == (1, 2)
    assert any("bad.mseed" in note for note in coverage.notes)
    assert any("none*.sac: matches no file" in note for note in coverage.notes)


def test_nothing_readable_is_an_error_that_names_the_files(tmp_path):
    (tmp_path / "bad.mseed").write_bytes(b"not a waveform")
    with pytest.raises(ValueError, match=r"bad\.mseed"):
        read(tmp_path / "bad.mseed")
    with pytest.raises(FileNotFoundError, match=r"nothing\*\.mseed"):
        read(str(tmp_path / "nothing*.mseed"))
