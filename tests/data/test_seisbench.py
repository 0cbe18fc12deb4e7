import json
import sys
import types
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seismollm_jax.data import seisbench
from seismollm_jax.data.catalogue import open_dataset, split_for
from seismollm_jax.data.records import TABLE_COLUMNS, select
from seismollm_jax.data.seisbench_files import from_seisbench, write
from seismollm_jax.data.sources import BadTrace, WaveformSource, to_zne
from tests.test_configs import get

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


def one(directory: Path, **changed: object) -> tuple[pd.Series, dict[str, int]]:
    """The only row, and the report; a column that is None is not there."""
    rows = [{k: v for k, v in (ROW | changed).items() if v is not None}]
    dataset = seisbench.read(make(directory, rows))
    counts = dict(dataset.report.counts)
    assert counts.pop("rows") == 1
    return dataset.table.iloc[0], counts


def test_columns(tmp_path: Path) -> None:
    dataset = seisbench.read(make(tmp_path / "ETHZ", [ROW]))
    assert tuple(dataset.table.columns) == TABLE_COLUMNS
    assert isinstance(dataset.table.index, pd.RangeIndex)
    assert (dataset.name, dataset.sampling_rate_hz, dataset.dimension_order) == ("ETHZ", 100, "CW")
    row = dataset.table.iloc[0]
    assert (row["trace_name"], row["file"]) == ("0", "waveforms.hdf5")
    assert (row["network"], row["station"], row["instrument"]) == ("NA", "NAN", "HH")
    assert (row["event_id"], row["category"], row["split"]) == ("ev1", "earthquake", "val")
    assert (row["p_sample"], row["s_sample"], row["polarity"]) == (20, 40, 0)
    assert (row["magnitude"], row["magnitude_type"]) == (2.5, "ml")
    assert (row["distance_km"], row["back_azimuth_deg"]) == (30.5, 120)
    assert (row["event_depth_km"], row["station_elevation_m"]) == (6.5, 900)
    assert row["start_time"] == pd.Timestamp("2020-03-01T00:00:01.50")
    assert row["origin_time"] == pd.Timestamp("2020-03-01")
    assert [row[f"snr_{c}_db"] for c in "zne"] == [10.5, 20.5, 30.5]
    assert dataset.report.counts == {"rows": 1}


@pytest.mark.parametrize(
    ("changed", "expected", "counted"),
    [
        # Arrivals: the earliest of each kind, whatever the case; depth phases are none of them.
        ({"trace_p_arrival_sample": None, "trace_P_arrival_sample": 7}, {"p_sample": 7}, []),
        ({"trace_Pg_arrival_sample": 9, "trace_Pn_arrival_sample": 5.5}, {"p_sample": 5}, []),
        ({"trace_P1_arrival_sample": "", "trace_Sg_arrival_sample": 33}, {"s_sample": 33}, []),
        ({"trace_Pn_arrival_sample": -4}, {"p_sample": 20}, []),
        (
            {"trace_pP_arrival_sample": 3},
            {"p_sample": 20},
            ["arrivals of other phases, not used (trace_pP_arrival_sample)"],
        ),
        (
            {"trace_p_arrival_sample": None},
            {"p_sample": np.nan},
            ["rows without a column for p_sample (trace_p_arrival_sample)"],
        ),
        ({"trace_p_arrival_sample": "?"}, {"p_sample": np.nan}, ["trace_p_arrival_sample not a n"]),
        ({"trace_p_arrival_sample": -1}, {"p_sample": np.nan}, ["p_sample before the trace"]),
        # Polarity: that of the arrival that counts.
        ({"trace_polarity": None, "trace_p_polarity": "D"}, {"polarity": 1}, []),
        (
            {
                "trace_polarity": None,
                "trace_Pg_arrival_sample": 9,
                "trace_Pg_polarity": "negative",
                "trace_Pn_arrival_sample": 12,
                "trace_Pn_polarity": "positive",
            },
            {"polarity": 1},
            [],
        ),
        ({"trace_P_polarity": "down"}, {"polarity": 1}, []),
        ({"trace_P_polarity": ""}, {"polarity": 0}, []),
        ({"trace_polarity": -1}, {"polarity": 1}, []),
        ({"trace_polarity": "1.0"}, {"polarity": 0}, []),
        ({"trace_polarity": "undecidable"}, {"polarity": -1}, ["polarity not up or down"]),
        (
            {"trace_polarity": None},
            {"polarity": -1},
            ["rows without a column for polarity (trace_polarity"],
        ),
        # Names that some datasets have.
        (
            {"source_magnitude": None, "preferred_source_magnitude": 3.5},
            {"magnitude": 3.5},
            [],
        ),
        ({"path_ep_distance_km": None, "source_distance_km": 9}, {"distance_km": 9}, []),
        (
            {"path_back_azimuth_deg": None, "path_backazimuth_deg": -10},
            {"back_azimuth_deg": 350},
            [],
        ),
        ({"trace_snr_db": 12.5}, {"snr_z_db": 12.5, "snr_e_db": 12.5}, []),
        ({"trace_snr_db": None, "trace_N_snr_db": 3}, {"snr_n_db": 3, "snr_z_db": np.nan}, []),
        ({"trace_snr_db": "[1 2]"}, {"snr_z_db": np.nan}, ["trace_snr_db unreadable"]),
        # Categories and splits.
        ({"source_type": "Quarry blast"}, {"category": "earthquake"}, []),
        (
            {"trace_category": "Noise", "trace_s_arrival_sample": ""},
            {"category": "noise", "p_sample": np.nan},
            ["noise rows", "p_sample in a noise row, ignored"],
        ),
        ({"split": "train"}, {"split": "train"}, []),
        ({"split": "TEST"}, {"split": "test"}, []),
        ({"split": ""}, {"split": np.nan}, []),
        ({"split": "fold3"}, {"split": np.nan}, ["split none of train, dev and test"]),
        # Events.
        (
            {"source_id": None},
            {"event_id": "2020-03-01T00:00:00Z"},
            ["rows of an event without source_id, its origin time taken"],
        ),
        ({"source_id": None, "source_origin_time": None}, {"event_id": np.nan}, []),
        ({"source_magnitude": 9.5}, {"magnitude": 8}, ["source_magnitude clipped"]),
        ({"trace_start_time": "soon"}, {"start_time": pd.NaT}, ["start_time unreadable"]),
    ],
)
def test_cells_and_aliases(
    tmp_path: Path, changed: dict, expected: dict, counted: list[str]
) -> None:
    row, counts = one(tmp_path, **changed)
    for column, value in expected.items():
        if value is pd.NaT or (isinstance(value, float) and np.isnan(value)):
            assert pd.isna(row[column]), column
        else:
            assert row[column] == value, column
    assert len(counts) == len(counted), counts
    assert all(text.startswith(start) for text, start in zip(counts, counted, strict=True)), counts


def test_distance_and_back_azimuth_from_the_coordinates(tmp_path: Path) -> None:
    row, counts = one(tmp_path, path_ep_distance_km=None, path_back_azimuth_deg="")
    assert row["distance_km"] == pytest.approx(67.4, abs=0.3)
    assert row["back_azimuth_deg"] == pytest.approx(325.7, abs=0.5)  # to the north-west
    assert counts == {
        "rows without a column for distance_km (path_ep_distance_km, source_distance_km)": 1,
        "distance_km computed from the coordinates": 1,
        "back_azimuth_deg computed from the coordinates": 1,
    }
    row, counts = one(tmp_path / "b", path_ep_distance_km="", source_latitude_deg=99)
    assert np.isnan(row["distance_km"])
    assert row["back_azimuth_deg"] == 120
    assert counts == {"event_latitude_deg impossible, taken as missing": 1}


def test_a_dataset_without_labels_says_so(tmp_path: Path) -> None:
    """What a task needs and no column gives is missing in every row, and named."""
    dataset = seisbench.read(make(tmp_path, [{"station_code": "A"}]))
    labels = [text for text in dataset.report.counts if text.startswith("rows without a column")]
    assert len(labels) == 6
    assert len(select(dataset.table, ["polarity"], noise_rows=False)[0]) == 0


def test_records(tmp_path: Path) -> None:
    traces = waves(3)
    rows = [
        ROW | {"trace_name": f"group/trace_{i}", "trace_component_order": order}
        | {"trace_sampling_rate_hz": rate}
        for i, (order, rate) in enumerate([("ZNE", 100), ("e1z", ""), ("", 50)])
    ]  # fmt: skip
    write(tmp_path, traces, pd.DataFrame(rows), data_format=FORMAT)
    dataset = seisbench.read(tmp_path)
    source = WaveformSource(dataset, np.arange(3))
    np.testing.assert_array_equal(source[0].waveform, traces[0].T)
    np.testing.assert_array_equal(source[1].waveform, traces[1].T[:, ::-1])
    assert dataset.table["sampling_rate_hz"].tolist() == [100, 100, 50]
    assert dataset.table["component_order"].tolist() == ["ZNE", "E1Z", "ZNE"]
    assert source[0].p_samples == [20]
    assert source[2].p_samples == [40]
    assert len(source[2].waveform) in (119, 120)
    # Signal-to-noise ratios are in the order of the row's components.
    np.testing.assert_array_equal(dataset.table["snr_z_db"], [10.5, 30.5, 10.5])
    assert dataset.report.counts == {
        "rows": 3,
        "rows with a sampling rate other than their file's, the row's taken": 1,
    }


def test_samples_first_and_interval(tmp_path: Path) -> None:
    traces = [wave.T for wave in waves(2)]
    rows = [ROW | {"trace_dt_s": 0.02}, ROW | {"trace_dt_s": ""}]
    data_format = {"dimension_order": "WC", "component_order": np.array([b"E", b"N", b"Z"])}
    write(tmp_path, traces, pd.DataFrame(rows), data_format=data_format)
    dataset = seisbench.read(tmp_path)
    assert dataset.table["sampling_rate_hz"].tolist() == [50]
    assert dataset.report.counts["rows without sampling_rate_hz, left out"] == 1
    assert dataset.dimension_order == "WC"
    waveform = WaveformSource(dataset, np.arange(1))[0].waveform
    np.testing.assert_array_equal(waveform, traces[0][:, ::-1])


@pytest.mark.parametrize("order", ["Z12H", "HZNE"])
def test_pressure_of_ocean_bottom_stations_is_passed_over(tmp_path: Path, order: str) -> None:
    traces = waves(1, components=4)
    data_format = FORMAT | {"component_order": order}
    write(tmp_path, traces, pd.DataFrame([ROW]), data_format=data_format)
    waveform = WaveformSource(seisbench.read(tmp_path), np.arange(1))[0].waveform
    np.testing.assert_array_equal(waveform, traces[0][[i for i in range(4) if order[i] != "H"]].T)


TRACES = st.lists(
    st.tuples(st.integers(8, 40), st.sampled_from(["ZNE", "ENZ", "Z12", "NZ", "Z"])),
    min_size=1,
    max_size=7,
)


@settings(max_examples=25, deadline=None)
@given(TRACES, st.integers(0, 4), st.integers(1, 3))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    traces: list[tuple[int, str]],
    bucket_traces: int,
    chunks: int,
) -> None:
    """Any lengths and component orders, in buckets or not, in chunks or not."""
    path = tmp_path_factory.mktemp("sb")
    draw = np.random.default_rng(0)
    arrays = [draw.normal(size=(len(order), n)).astype(np.float32) for n, order in traces]
    table = pd.DataFrame({"trace_component_order": [order for _, order in traces]})
    table["trace_p_arrival_sample"] = [n - 1 for n, _ in traces]
    parts = [part for part in np.array_split(np.arange(len(traces)), chunks) if len(part)]
    names = [""] if chunks == 1 else [f"_{i}" for i in range(len(parts))]
    for chunk, part in zip(names, parts, strict=True):
        write(
            path,
            [arrays[i] for i in part],
            table.iloc[part].reset_index(drop=True),
            data_format={"sampling_rate": 100.0},
            chunk=chunk,
            bucket_traces=bucket_traces,
        )
    dataset = seisbench.read(path)
    assert len(dataset.table) == len(traces)
    assert dataset.table["trace_name"].is_unique
    source = WaveformSource(dataset, np.arange(len(traces)))
    for i, array in enumerate(arrays):
        np.testing.assert_array_equal(source[i].waveform, to_zne(array, traces[i][1], "CW"))
        assert source[i].p_samples == [array.shape[1] - 1]


def test_chunks(tmp_path: Path) -> None:
    for year in (2019, 2020, 2021):
        make(tmp_path, [ROW | {"trace_name": "same"}, ROW | {"trace_name": year}], chunk=f"_{year}")
    dataset = seisbench.read(tmp_path)
    assert dataset.table["trace_name"].tolist()[:3] == ["waveforms_2019/same", "2019",
                                                        "waveforms_2020/same"]  # fmt: skip
    assert dataset.table["file"].tolist()[::2] == [
        f"waveforms_{y}.hdf5" for y in (2019, 2020, 2021)
    ]
    source = WaveformSource(dataset, np.arange(6))
    assert np.isfinite([source[i].waveform for i in range(6)]).all()
    for table in ("_2020,_2019", "metadata_2020.csv, metadata_2019.csv"):
        assert len(seisbench.read(tmp_path, table=table).table) == 4
    assert len(seisbench.read(tmp_path / "metadata_2021.csv").table) == 2
    with pytest.raises(FileNotFoundError, match=r"no metadata_2022\.csv; its chunks are: _2019, "):
        seisbench.read(tmp_path, table="_2022")
    (tmp_path / "chunks").write_text("_2019\n_2020\n")
    dataset = seisbench.read(tmp_path)
    assert len(dataset.table) == 4
    text = "chunks not in use, half of them is missing or not listed (_2021)"
    assert dataset.report.counts[text] == 1
    (tmp_path / "waveforms_2020.hdf5").unlink()
    with pytest.raises(FileNotFoundError, match=r"waveforms_2020\.hdf5 does not exist.*data\.tab"):
        seisbench.read(tmp_path)
    assert len(seisbench.read(tmp_path, table="_2019").table) == 2


def test_chunks_that_disagree(tmp_path: Path) -> None:
    make(tmp_path, [ROW], chunk="a")
    make(tmp_path, [ROW], chunk="b", data_format=FORMAT | {"dimension_order": "WC"})
    with pytest.raises(ValueError, match="dimension_order of the waveform files is 'CW' and 'WC'"):
        seisbench.read(tmp_path)


def test_errors_name_file_and_remedy(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no metadata\.csv with a waveforms\.hdf5.*none"):
        seisbench.read(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        seisbench.read(tmp_path / "nowhere")
    path = make(tmp_path / "a", [ROW], data_format={"sampling_rate": 100.0})
    with pytest.raises(ValueError, match=r"says the component_order; add a column trace_comp"):
        seisbench.read(path)
    path = make(tmp_path / "b", [ROW], data_format={"component_order": "ZNE"})
    with pytest.raises(ValueError, match=r"says the sampling_rate_hz; add a column trace_samp"):
        seisbench.read(path)
    path = make(tmp_path / "c", [ROW])
    pd.DataFrame([ROW]).to_csv(path / "metadata.csv", index=False)
    with pytest.raises(ValueError, match=r"metadata\.csv lacks the column trace_name; it has"):
        seisbench.read(path)
    pd.DataFrame([ROW | {"trace_name": "other"}]).to_csv(path / "metadata.csv", index=False)
    with pytest.raises(ValueError, match=r"no trace data/other.*do not match"):
        seisbench.read(path)
    (path / "metadata.csv").write_bytes(b'a,b\n"1')
    with pytest.raises(ValueError, match=r"metadata\.csv"):
        seisbench.read(path)
    path = make(tmp_path / "d", [ROW])
    (path / "waveforms.hdf5").write_bytes(b"not HDF5")
    with pytest.raises(ValueError, match=r"waveforms\.hdf5 cannot be opened as HDF5.*download"):
        seisbench.read(path)
    path = make(tmp_path / "e", [ROW])
    with pytest.raises(ValueError, match=r"magnitude type 'mw'; it has: ml \(1\)"):
        seisbench.read(path, magnitude_type="mw")


def test_a_trace_that_is_not_there_leaves_the_others_alone(tmp_path: Path) -> None:
    path = make(tmp_path, [ROW] * 3, bucket_traces=2)
    table = pd.read_csv(path / "metadata.csv")
    table.loc[0, "trace_name"] = "bucket0$7,:3,:60"
    table.loc[1, "trace_name"] = "bucket0$open(1),:3"
    table.to_csv(path / "metadata.csv", index=False)
    source = WaveformSource(seisbench.read(path), np.arange(3))
    for bad in (0, 1):
        with pytest.raises(BadTrace, match=r"waveforms\.hdf5: trace 'bucket0"):
            source[bad]
    assert source[2].waveform.shape == (60, 3)


def test_rows_that_name_a_trace_twice_or_none(tmp_path: Path) -> None:
    path = make(tmp_path, [ROW | {"trace_name": name} for name in "abc"])
    table = pd.read_csv(path / "metadata.csv")
    table["trace_name"] = ["a", "", "a"]
    table.to_csv(path / "metadata.csv", index=False)
    dataset = seisbench.read(path)
    assert dataset.table["trace_name"].tolist() == ["a"]
    assert dataset.report.counts == {
        "rows": 1,
        "rows without trace_name, left out": 1,
        "rows with a trace that an earlier row has, left out": 1,
    }


def test_writer_refuses(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 waveforms and 2 rows"):
        write(tmp_path, waves(1), pd.DataFrame([ROW, ROW]), data_format=FORMAT)
    for names in (["a", "a"], ["a", "b$1"]):
        with pytest.raises(ValueError, match=r"unique and without \$"):
            make(tmp_path, [ROW | {"trace_name": name} for name in names])
    with pytest.raises(ValueError, match="names of traces in buckets are made"):
        make(tmp_path, [ROW | {"trace_name": "a"}], bucket_traces=2)
    make(tmp_path, [ROW])
    with pytest.raises(FileExistsError, match=r"metadata\.csv or waveforms\.hdf5 exists"):
        make(tmp_path, [ROW])


# -- through a configuration ---------------------------------------------------------------------


def test_protocol_takes_the_parts_of_the_dataset(tmp_path: Path) -> None:
    parts = ["train"] * 4 + ["dev"] * 2 + ["test"] * 3
    make(tmp_path, [ROW | {"split": part} for part in parts])
    config = get("magnitude", "seisbench")
    config.data.path = str(tmp_path)
    data = config.data.to_dict()
    found = split_for(open_dataset(data), data, needs=["magnitude"], uses_noise=False)
    assert found.sizes() == {"train": 4, "val": 2, "test": 3}


@pytest.fixture
def fake_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    """A stand-in for the seisbench package with one dataset; how it was asked for it."""
    asked: dict = {}

    class WaveformDataset:
        pass

    WaveformDataset.__module__ = "seisbench.data.base"

    class ETHZ(WaveformDataset):
        def __init__(self, **options: object) -> None:
            asked.update(options)
            self.path = make(tmp_path / "cache", [ROW])

    package, data = types.ModuleType("seisbench"), types.ModuleType("seisbench.data")
    data.WaveformDataset, data.ETHZ, package.data = WaveformDataset, ETHZ, data
    monkeypatch.setitem(sys.modules, "seisbench", package)
    monkeypatch.setitem(sys.modules, "seisbench.data", data)
    return asked


def test_a_dataset_by_its_name(fake_package: dict, tmp_path: Path) -> None:
    config = get("magnitude", "seisbench")
    config.data.path = "seisbench:ethz"
    dataset = open_dataset(config.data.to_dict())
    assert dataset.path == tmp_path / "cache"
    assert fake_package == {}
    with pytest.raises(ValueError, match="seisbench has no dataset 'Nowhere'; it has ETHZ"):
        from_seisbench("Nowhere")


def test_chunks_of_a_dataset_by_its_name(fake_package: dict) -> None:
    assert (from_seisbench("ETHZ", "_2019, _2020") / "metadata.csv").exists()
    assert fake_package == {"chunks": ["_2019", "_2020"]}


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "seisbench", None)
    with pytest.raises(ImportError, match=r"pip install 'seismollm_jax\[seisbench\]', or give the"):
        seisbench.read("seisbench:ETHZ")


# -- against the seisbench package ---------------------------------------------------------------


@pytest.mark.parametrize("bucket_traces", [0, 3])
@pytest.mark.filterwarnings("ignore")  # of that package's dependencies
def test_as_the_seisbench_package_reads_it(tmp_path: Path, bucket_traces: int) -> None:
    package = pytest.importorskip("seisbench.data")
    rows = [
        ROW | {"trace_component_order": order, "trace_sampling_rate_hz": 100, "split": part}
        for order, part in zip(
            ["ZNE", "ENZ", "EZN", "ZNE", "NZE"], ["train", "dev", "test", "train", "dev"],
            strict=True,
        )
    ]  # fmt: skip
    make(tmp_path, rows, bucket_traces=bucket_traces)
    theirs = package.WaveformDataset(tmp_path, component_order="ZNE", dimension_order="NWC")
    ours = seisbench.read(tmp_path)
    assert ours.table["trace_name"].tolist() == theirs.metadata["trace_name"].astype(str).tolist()
    source = WaveformSource(ours, np.arange(5))
    for i in range(5):
        np.testing.assert_array_equal(source[i].waveform, theirs.get_waveforms(i))
    for part, subset in zip(("train", "val", "test"), theirs.train_dev_test(), strict=True):
        assert (ours.table["split"] == part).sum() == len(subset)


@pytest.mark.filterwarnings("ignore")
def test_what_the_seisbench_package_writes(tmp_path: Path) -> None:
    """Its own writer: buckets by length, paddings, splits, component orders."""
    package = pytest.importorskip("seisbench.data")
    draw = np.random.default_rng(0)
    traces = [draw.normal(size=(3, n)) for n in draw.integers(100, 400, 30)]
    with package.WaveformDataWriter(tmp_path / "metadata.csv", tmp_path / "waveforms.hdf5") as out:
        out.data_format = {"dimension_order": "CW", **FORMAT}
        out.bucket_size = 8
        for i, trace in enumerate(traces):
            part = ["train", "dev", "test"][i % 3]
            out.add_trace(ROW | {"split": part, "trace_p_arrival_sample": i}, trace)
    with h5py.File(tmp_path / "waveforms.hdf5") as h5:
        assert 1 < len(h5["data"]) < 30
    ours = seisbench.read(tmp_path)
    assert json.dumps(ours.report.counts) == '{"rows": 30}'
    source = WaveformSource(ours, np.arange(30))
    for row in range(30):
        record = source[row]
        i = record.p_samples[0]
        np.testing.assert_array_equal(record.waveform, traces[i].T.astype(np.float32))
        assert ours.table["split"][row] == ["train", "val", "test"][i % 3]


def test_magnitude_types_that_nobody_wrote_down(tmp_path: Path) -> None:
    rows = [{k: v for k, v in ROW.items() if k != "source_magnitude_type"}]
    with pytest.raises(ValueError, match=r"no column of magnitude types.*set data.magnitude_"):
        seisbench.read(make(tmp_path, rows), magnitude_type="ml")
