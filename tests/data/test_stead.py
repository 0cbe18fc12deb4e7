import json
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from seismollm_jax.data import stead
from seismollm_jax.data.records import TABLE_COLUMNS, select

GOLDEN = Path(__file__).parents[1] / "golden"
FIELDS = json.loads((GOLDEN / "labels.json").read_text())["fields"]
EARTHQUAKE = {
    "network_code": "TA",
    "receiver_code": "109C",
    "receiver_type": "BH",
    "receiver_latitude": 32.8889,
    "receiver_longitude": -117.1051,
    "receiver_elevation_m": 150.0,
    "p_arrival_sample": 700.0,
    "s_arrival_sample": 1894.0,
    "source_id": "8556349",
    "source_origin_time": "2006-07-23 15:58:50.88",
    "source_latitude": 33.7496,
    "source_longitude": -117.4938,
    "source_depth_km": "None",
    "source_magnitude": 3.6,
    "source_magnitude_type": "ML",
    "source_distance_km": 102.09,
    "back_azimuth_deg": 159.3,
    "snr_db": "[ 56.79999924  55.40000153  47.40000153]",
    "trace_start_time": "2006-07-23 15:59:00.960000",
    "trace_category": "earthquake_local",
}
NOISE = dict.fromkeys(EARTHQUAKE) | {
    "network_code": "NA",
    "receiver_code": "NAN",
    "trace_category": "noise",
    "trace_start_time": "2012-01-01 00:00:00",
}


def write(directory, rows, table="merge.csv", waveforms=None, n_samples=6000):
    """A table of `rows` and an HDF5 file with a trace for each; both as STEAD has them."""
    frame = pd.DataFrame(rows)
    if "trace_name" not in frame:
        frame["trace_name"] = [f"trace{i}" for i in range(len(frame))]
    frame.to_csv(directory / table, index=False)
    names = frame.groupby("file_idx") if "file_idx" in frame else [(None, frame)]
    for index, part in names:
        file = waveforms or Path(table).with_suffix(".hdf5").name
        with h5py.File(directory / (file if index is None else f"part_{index}.hdf5"), "w") as h5:
            for name in part["trace_name"]:
                h5[f"data/{name}"] = np.zeros((n_samples, 3), np.float32)
    return directory


def one(tmp_path, **changed):
    """The table's only row after reading, and the dataset."""
    dataset = stead.read(write(tmp_path, [EARTHQUAKE | changed]))
    assert len(dataset.table) == 1
    return dataset.table.iloc[0], dataset


def test_published_layout(tmp_path):
    dataset = stead.read(write(tmp_path, [EARTHQUAKE, NOISE]))
    table = dataset.table
    assert tuple(table.columns) == TABLE_COLUMNS
    assert isinstance(table.index, pd.RangeIndex)
    assert dataset.sampling_rate_hz == 100.0
    assert (table["component_order"] == "ENZ").all()
    assert (table["sampling_rate_hz"] == 100).all()
    assert table["split"].isna().all()
    quake, noise = table.iloc[0], table.iloc[1]
    assert quake["file"] == "merge.hdf5"
    assert quake["event_id"] == "8556349"
    assert quake["category"] == "earthquake"
    assert noise["category"] == "noise"
    assert (quake["p_sample"], quake["s_sample"]) == (700, 1894)
    assert quake["start_time"] == pd.Timestamp("2006-07-23 15:59:00.960000")
    assert quake["origin_time"] == pd.Timestamp("2006-07-23 15:58:50.88")
    assert quake["magnitude_type"] == "ml"
    snr = [quake[f"snr_{component}_db"] for component in "zne"]
    np.testing.assert_allclose(snr, [47.4, 55.4, 56.8], rtol=1e-6)
    assert np.isnan(quake["event_depth_km"])
    # NA is a network and NAN could be a station: codes are never read as missing numbers.
    assert (noise["network"], noise["station"]) == ("NA", "NAN")
    assert pd.isna(noise["event_id"])
    assert np.isnan(noise["p_sample"])
    assert dataset.report.counts == {"rows": 2, "noise rows": 1}


@pytest.mark.parametrize("row", FIELDS["stead"], ids=lambda row: str(row["changed"]))
def test_fields_golden(tmp_path, row):
    """Every value the PyTorch original reads; where it fails the value is missing instead."""
    base = {"file_idx": 0} | FIELDS["base_row"]
    ours = stead.read(write(tmp_path, [base | row["changed"]], "eq.csv")).table.iloc[0]
    whole = next(other for other in FIELDS["stead"] if not other["changed"])["event"]
    event = row.get("event") or whole
    failed = set(row["changed"]) if row["error"] else set()

    def expected(column, values):
        return np.nan if column in failed or not values else values[0]

    np.testing.assert_equal(ours["p_sample"], expected("p_arrival_sample", event["ppks"]))
    np.testing.assert_equal(ours["s_sample"], expected("s_arrival_sample", event["spks"]))
    for name, values in (("magnitude", "emg"), ("distance_km", "dis"), ("back_azimuth_deg", "baz")):
        np.testing.assert_equal(ours[name], expected(name, event[values]))
    snr = [np.nan] * 3 if "snr_db" in failed else [float(value) for value in event["snr"]]
    ours_snr = [ours[f"snr_{component}_db"] for component in "enz"]
    np.testing.assert_allclose(ours_snr, snr, rtol=1e-6)


def test_chunks_in_order_of_their_number(tmp_path):
    for number in (10, 2, 1):
        row = EARTHQUAKE | {"trace_name": f"from{number}"}
        write(tmp_path, [row], f"chunk{number}.csv")
    table = stead.read(tmp_path).table
    assert table["trace_name"].tolist() == ["from1", "from2", "from10"]
    assert table["file"].tolist() == ["chunk1.hdf5", "chunk2.hdf5", "chunk10.hdf5"]
    only = stead.read(tmp_path / "chunk2.csv").table
    assert only["trace_name"].tolist() == ["from2"]


def test_resliced_layout_and_choice_of_table(tmp_path):
    rows = [EARTHQUAKE | {"file_idx": index} for index in (3, 0, 3)]
    write(tmp_path, rows, "eq.csv")
    table = stead.read(tmp_path).table
    assert table["file"].tolist() == ["part_3.hdf5", "part_0.hdf5", "part_3.hdf5"]
    pd.read_csv(tmp_path / "eq.csv").iloc[:1].to_csv(tmp_path / "eq_MLmag.csv", index=False)
    with pytest.raises(ValueError, match=r"several tables: eq\.csv, eq_MLmag\.csv.*data\.table"):
        stead.read(tmp_path)
    assert len(stead.read(tmp_path, table="eq_MLmag.csv").table) == 1
    assert len(stead.read(tmp_path, table="eq.csv").table) == 3


def test_chunks_beside_a_merged_table(tmp_path):
    write(tmp_path, [EARTHQUAKE], "merge.csv")
    write(tmp_path, [EARTHQUAKE, EARTHQUAKE], "chunk1.csv")
    with pytest.raises(ValueError, match=r"merge\.csv, chunks"):
        stead.read(tmp_path)
    assert len(stead.read(tmp_path, table="chunks").table) == 2


def test_magnitude_type(tmp_path):
    rows = [EARTHQUAKE | {"source_magnitude_type": kind} for kind in ("ml", "mb", " ML ", None)]
    dataset = stead.read(write(tmp_path, rows), magnitude_type="ml")
    assert dataset.table["trace_name"].tolist() == ["trace0", "trace2"]
    assert list(dataset.table.index) == [0, 1]
    assert dataset.report.counts["rows of another magnitude type than ml, left out"] == 2
    with pytest.raises(ValueError, match=r"'mw'; it has: ml \(2\), mb \(1\)"):
        stead.read(tmp_path, magnitude_type="mw")


@pytest.mark.parametrize(
    ("changed", "column", "value", "counted"),
    [
        ({"p_arrival_sample": 700.9}, "p_sample", 700, None),
        ({"p_arrival_sample": -0.5}, "p_sample", 0, None),
        ({"p_arrival_sample": -2}, "p_sample", np.nan, "p_sample before the trace begins"),
        ({"s_arrival_sample": 6000}, "s_sample", 6000, None),  # seen when the trace is read
        ({"s_arrival_sample": "late"}, "s_sample", np.nan, "s_arrival_sample not a number"),
        ({"s_arrival_sample": "inf"}, "s_sample", np.nan, "s_arrival_sample infinite"),
        ({"s_arrival_sample": 600}, "s_sample", 600, "P arrival not before S"),
        ({"source_magnitude": "None"}, "magnitude", np.nan, None),
        ({"source_magnitude": " "}, "magnitude", np.nan, None),
        ({"source_magnitude": "  "}, "magnitude", np.nan, None),
        ({"source_magnitude": -0.5}, "magnitude", 0, "source_magnitude clipped"),
        ({"source_magnitude": "[3.6]"}, "magnitude", np.nan, "source_magnitude not a number"),
        ({"source_distance_km": -1}, "distance_km", np.nan, "source_distance_km negative"),
        ({"back_azimuth_deg": 720.5}, "back_azimuth_deg", 0.5, None),
        ({"back_azimuth_deg": -1e-9}, "back_azimuth_deg", 0, None),
        ({"snr_db": ""}, "snr_z_db", np.nan, None),
        ({"snr_db": "[1.5 2.5]"}, "snr_z_db", np.nan, "snr_db unreadable"),
        ({"snr_db": "[1.5]"}, "snr_z_db", np.nan, "snr_db unreadable"),
        ({"snr_db": "strong"}, "snr_z_db", np.nan, "snr_db unreadable"),
        ({"snr_db": "[1.5, 2.5, 3.5]"}, "snr_z_db", 3.5, None),
        ({"trace_start_time": "yesterday"}, "start_time", pd.NaT, "start_time unreadable"),
    ],
)
def test_odd_cells(tmp_path, changed, column, value, counted):
    row, dataset = one(tmp_path, **changed)
    if value is pd.NaT:
        assert row[column] is pd.NaT
    else:
        np.testing.assert_array_equal(float(row[column]), float(value))
    found = [text for text in dataset.report.counts if text != "rows"]
    assert len(found) == (0 if counted is None else 1)
    assert all(text.startswith(counted) for text in found)
    assert str(dataset.report).splitlines()[0] == "1  rows"


def test_one_odd_cell_leaves_the_other_rows_alone(tmp_path):
    rows = [EARTHQUAKE, EARTHQUAKE | {"source_magnitude": "?"}, EARTHQUAKE | NOISE]
    table = stead.read(write(tmp_path, rows)).table
    np.testing.assert_equal(table["magnitude"].to_numpy(), np.float32([3.6, np.nan, np.nan]))
    np.testing.assert_equal(table["p_sample"].to_numpy(), np.float32([700, 700, np.nan]))


@pytest.mark.parametrize("column", ["p_first_motion", "trace_p_polarity", "trace_polarity"])
def test_polarity(tmp_path, column):
    words = ["U", "c", " up", "positive", "Compression", "D", "r", "down", "negative", "dilatation"]
    words += ["n", None, "undecidable"]
    rows = [EARTHQUAKE | {column: word} for word in words]
    dataset = stead.read(write(tmp_path, rows))
    assert dataset.table["polarity"].tolist() == [0] * 5 + [1] * 5 + [-1] * 3
    assert dataset.report.counts["polarity not up or down, taken as missing"] == 2


def test_noise_row_with_an_arrival(tmp_path):
    dataset = stead.read(write(tmp_path, [EARTHQUAKE, NOISE | {"p_arrival_sample": 500}]))
    assert np.isnan(dataset.table["p_sample"][1])
    assert dataset.report.counts["p_sample in a noise row, ignored"] == 1


def test_absent_optional_columns_are_missing_and_reported(tmp_path):
    rows = [{"p_arrival_sample": 700, "s_arrival_sample": 900}]
    dataset = stead.read(write(tmp_path, rows))
    row = dataset.table.iloc[0]
    assert tuple(dataset.table.columns) == TABLE_COLUMNS
    assert row["category"] == "earthquake"
    assert row["polarity"] == -1
    assert np.isnan(row["magnitude"])
    assert pd.isna(row["event_id"])
    assert row["start_time"] is pd.NaT
    (text,) = [text for text in dataset.report.counts if text.startswith("rows without the")]
    assert "source_magnitude, " in text
    assert dataset.report.counts[text] == 1
    with pytest.raises(ValueError, match="it has: none"):
        stead.read(tmp_path, magnitude_type="ml")


def test_arrivals_of_longer_traces_are_kept(tmp_path):
    rows = [EARTHQUAKE | {"s_arrival_sample": 8999}, EARTHQUAKE | {"s_arrival_sample": 9000}]
    table = stead.read(write(tmp_path, rows, n_samples=9000)).table
    np.testing.assert_equal(table["s_sample"].to_numpy(), np.float32([8999, 9000]))


def test_row_without_a_name_is_left_out_and_counted(tmp_path):
    rows = [EARTHQUAKE | {"trace_name": name} for name in ("a", None, "b")]
    write(tmp_path, [row for row in rows if row["trace_name"]])
    pd.DataFrame(rows).to_csv(tmp_path / "merge.csv", index=False)
    dataset = stead.read(tmp_path)
    assert dataset.table["trace_name"].tolist() == ["a", "b"]
    assert dataset.report.counts["rows without trace_name, left out"] == 1


def test_errors_name_file_column_and_remedy(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no merge\.csv, chunk<n>\.csv, eq\.csv"):
        stead.read(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        stead.read(tmp_path / "nowhere")
    write(tmp_path, [EARTHQUAKE])
    with pytest.raises(
        FileNotFoundError, match=r"eq\.csv does not exist; tables there: merge\.csv"
    ):
        stead.read(tmp_path, table="eq.csv")
    (tmp_path / "merge.hdf5").rename(tmp_path / "kept.hdf5")
    with pytest.raises(
        FileNotFoundError, match=r"merge\.csv needs the waveform file .*merge\.hdf5"
    ):
        stead.read(tmp_path)
    (tmp_path / "merge.hdf5").write_bytes((tmp_path / "kept.hdf5").read_bytes()[:3000])
    with pytest.raises(ValueError, match=r"merge\.hdf5 cannot be opened.*download complete"):
        stead.read(tmp_path)
    with h5py.File(tmp_path / "merge.hdf5", "w") as h5:
        h5["data/other"] = np.zeros((6000, 3), np.float32)
    with pytest.raises(ValueError, match=r"has no trace data/trace0.*do not match"):
        stead.read(tmp_path)


def test_missing_column(tmp_path):
    row = {k: v for k, v in EARTHQUAKE.items() if k != "s_arrival_sample"}
    write(tmp_path, [row])
    with pytest.raises(ValueError, match=r"merge\.csv lacks the column s_arrival_sample; it has"):
        stead.read(tmp_path)


def test_duplicate_trace_name(tmp_path):
    write(tmp_path, [EARTHQUAKE] * 3)
    table = pd.read_csv(tmp_path / "merge.csv")
    table.loc[2, "trace_name"] = "trace0"
    table.to_csv(tmp_path / "merge.csv", index=False)
    with pytest.raises(
        ValueError, match=r"merge\.csv .*trace_name 'trace0' occurs in data rows 1, 3"
    ):
        stead.read(tmp_path)


@pytest.mark.parametrize("index", ["", "x", "0.5"])
def test_bad_file_index(tmp_path, index):
    write(tmp_path, [EARTHQUAKE | {"file_idx": 0}] * 2, "eq.csv")
    table = pd.read_csv(tmp_path / "eq.csv", dtype=str)
    table.loc[1, "file_idx"] = index
    table.to_csv(tmp_path / "eq.csv", index=False)
    with pytest.raises(ValueError, match=r"eq\.csv: file_idx is .* in data row 2"):
        stead.read(tmp_path)


def test_missing_part(tmp_path):
    write(tmp_path, [EARTHQUAKE | {"file_idx": index} for index in range(3)], "eq.csv")
    (tmp_path / "part_1.hdf5").unlink()
    with pytest.raises(FileNotFoundError, match=r"part_1\.hdf5.*1 of 3 files missing"):
        stead.read(tmp_path)


@pytest.mark.parametrize("content", [b"", b"trace_name\x00\xff\xfe,\n\xff", b'a,b\n"1,2\n3,4\n'])
def test_unreadable_table(tmp_path, content):
    write(tmp_path, [EARTHQUAKE])
    (tmp_path / "merge.csv").write_bytes(content)
    with pytest.raises(ValueError, match=r"merge\.csv"):
        stead.read(tmp_path)


def test_select(tmp_path):
    rows = [
        EARTHQUAKE,
        EARTHQUAKE | {"source_magnitude": None},
        NOISE,
        EARTHQUAKE | {"p_arrival_sample": None, "source_magnitude": None},
    ]
    table = stead.read(write(tmp_path, rows)).table
    kept, counts = select(table, ["p_sample", "magnitude"], noise_rows=False)
    assert kept.tolist() == [0]
    assert kept.dtype == np.int64
    assert counts == {"noise trace": 1, "no p_sample": 1, "no magnitude": 1}
    kept, counts = select(table, ["p_sample", "s_sample"], noise_rows=True)
    assert kept.tolist() == [0, 1, 2]
    assert counts == {"no p_sample": 1}
    kept, counts = select(table, ["polarity"], noise_rows=False)
    assert len(kept) == 0
    assert counts == {"noise trace": 1, "no polarity": 3}
    kept, counts = select(table, ["p_sample|magnitude"], noise_rows=False)
    assert kept.tolist() == [0, 1]
    assert counts == {"noise trace": 1, "no p_sample or magnitude": 1}
    with pytest.raises(ValueError, match="no such label: depth"):
        select(table, ["depth"], noise_rows=True)
    with pytest.raises(ValueError, match="no such label: depth"):
        select(table, ["p_sample|depth"], noise_rows=True)
