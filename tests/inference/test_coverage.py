"""What is left out of continuous records, and the account of it."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from obspy import Stream, Trace, UTCDateTime

from seismollm_jax.inference.coverage import Coverage
from seismollm_jax.inference.pieces import constant_runs
from seismollm_jax.inference.streams import segments
from tests.inference.traces import START, masked, noise, trace, unaccounted


def test_masked_and_not_finite_samples_become_gaps():
    data = noise(1000).astype(np.float32)
    data[100:110] = np.nan
    data[500] = np.inf
    masked = np.ma.masked_array(noise(1000, 1), np.arange(1000) >= 900)
    (segment,), coverage = segments(Stream([trace("HHZ", data), trace("HHN", masked)]), 100.0)
    assert np.isfinite(segment.data).all()
    assert segment.valid.sum(0).tolist() == [989, 900, 0]
    assert not segment.data[~segment.valid].any()
    assert "11 samples are nan or inf" in coverage.notes[0]
    assert unaccounted([segment], coverage) == pytest.approx(0, abs=1e-6)


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
    found, coverage = segments(stream, 100.0)
    assert len(found) == 1
    assert coverage.traces_read == 5
    assert "HDF" in coverage.notes[0]
    assert "none of Z, N, E, 1, 2" in coverage.notes[0]
    assert len(coverage.notes) == 4
    assert masked(coverage, "unusable") == 6
    assert unaccounted(found, coverage) == pytest.approx(0, abs=1e-6)
    assert "5 traces of 3 instruments" in str(coverage)


def test_too_short_for_the_grid_is_accounted_for():
    piece = trace("HHZ", noise(1), UTCDateTime("2024-06-01T00:00:00.005"), 200.0)
    found, coverage = segments(Stream([piece]), 100.0)
    assert found == []
    assert masked(coverage, "too_short") == 1 / 200
    assert unaccounted([], coverage) == pytest.approx(0)


# --- edges, dead channels, components -----------------------------------------------------------


def test_no_answer_beside_ends_of_any_component():
    stream = Stream(
        [
            trace("HHZ", noise(3000)),
            trace("HHN", noise(1000)),
            trace("HHN", noise(1500), START + 15),
        ]
    )
    (segment,), coverage = segments(stream, 100.0)
    expected = np.ones(3000, bool)
    for place in (0, 1000, 1500, 3000):
        expected[max(0, place - 50) : place + 50] = False
    np.testing.assert_array_equal(segment.where, expected)
    assert masked(coverage, "edge") == pytest.approx(0.5 * (2 + 2 + 1 + 1 + 2 + 2))
    assert unaccounted([segment], coverage) == pytest.approx(0, abs=1e-6)
    (segment,), coverage = segments(stream, 100.0, edge_s=0)
    assert segment.where.all()
    assert masked(coverage, "edge") == 0


def test_stretches_that_are_nothing_but_edges_are_too_short():
    stream = Stream([trace("HHZ", noise(90)), trace("HHZ", noise(400), START + 5)])
    (segment,), coverage = segments(stream, 100.0)
    assert (masked(coverage, "too_short"), masked(coverage, "edge")) == (0.9, 1.0)
    assert segment.where.sum() == 300


def test_dead_stretches_are_gaps():
    data = noise(6000)
    data[1000:1400] = 7  # 4 s of one value happen
    data[3000:3700] = 0
    dead = np.full(6000, -3)
    stream = Stream([trace("HHZ", data), trace("HHN", noise(6000)), trace("HHE", dead)])
    (segment,), coverage = segments(stream, 100.0)
    assert np.flatnonzero(~segment.valid[:, 0]).tolist() == list(range(3000, 3700))
    assert segment.missing_components == (2,)
    assert masked(coverage, "dead") == 7 + 60
    assert unaccounted([segment], coverage) == pytest.approx(0, abs=1e-6)
    found, coverage = segments(Stream([trace("HHZ", dead)]), 100.0)
    assert found == []
    assert "dead 60.0" in str(coverage)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 40)), max_size=12), st.integers(2, 30))
def test_constant_runs(runs, least):
    values = np.repeat([value for value, _ in runs], [length for _, length in runs])
    expected, first = [], 0
    for _, group in itertools.groupby(values.tolist()):
        length = len(list(group))
        if length >= least:
            expected.append((first, first + length))
        first += length
    assert constant_runs(values, least) == expected


def test_strict_wants_all_components():
    stream = Stream([trace(f"HH{c}", noise(3000 if c != "E" else 2000)) for c in "ZNE"])
    (segment,), coverage = segments(stream, 100.0, strict=True)
    assert segment.where.sum() == 1900
    assert not segment.data[2000:].any()
    assert masked(coverage, "incomplete") == 20
    assert unaccounted([segment], coverage) == pytest.approx(0, abs=1e-6)
    (segment,), _ = segments(Stream(stream[:1]), 100.0, strict=True)
    assert not segment.where.any()


def test_horizontals_can_be_left_out():
    stream = Stream([trace("HHZ", noise(3000)), trace("HH1", noise(3000))])
    (segment,), coverage = segments(stream, 100.0, flexible_horizontals=False)
    assert segment.channels == ("HHZ", "", "")
    assert masked(coverage, "unusable") == 30
    assert "'1' is none of Z, N, E;" in coverage.notes[0]


def test_the_table_has_a_row_for_each_instrument():
    stream = Stream([trace("HHZ", noise(3000)), trace("HNZ", noise(2000), location="10")])
    _, coverage = segments(stream, 100.0)
    table = coverage.to_dataframe().set_index("trace_id")
    assert table["read"].to_dict() == {"XX.ABC..HH": 30, "XX.ABC.10.HN": 20}
    assert table["analysed"].to_dict() == {"XX.ABC..HH": 29, "XX.ABC.10.HN": 19}
    assert Coverage().to_dataframe().columns.tolist() == ["trace_id", *table.columns]
    with pytest.raises(KeyError):
        coverage.add("XX.ABC..HH", "whim", 1)
