"""None"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from seismollm_jax.data import seisbench
from seismollm_jax.data.catalogue import open_dataset, split_for
from seismollm_jax.data.records import TABLE_COLUMNS, select
from seismollm_jax.data.seisbench_files import write
from seismollm_jax.data.sources import WaveformSource
from tests.data.seisbench_rows import FORMAT, ROW, make, waves
from tests.test_configs import get


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


# -- through a configuration ---------------------------------------------------------------------


def test_protocol_takes_the_parts_of_the_dataset(tmp_path: Path) -> None:
    parts = ["train"] * 4 + ["dev"] * 2 + ["test"] * 3
    make(tmp_path, [ROW | {"split": part} for part in parts])
    config = get("magnitude", "seisbench")
    config.data.path = str(tmp_path)
    data = config.data.to_dict()
    found = split_for(open_dataset(data), data, needs=["magnitude"], uses_noise=False)
    assert found.sizes() == {"train": 4, "val": 2, "test": 3}


def test_magnitude_types_that_nobody_wrote_down(tmp_path: Path) -> None:
    rows = [{k: v for k, v in ROW.items() if k != "source_magnitude_type"}]
    with pytest.raises(ValueError, match=r"no column of magnitude types.*set data.magnitude_"):
        seisbench.read(make(tmp_path, rows), magnitude_type="ml")
