"""The synthetic dataset: layout of STEAD, labels that agree with records, determinism, refusals."""

import csv
import hashlib
import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import h5py
import numpy as np
import pytest

from seismollm_jax.data.synthetic import (
    dataset,
    write,
)
from seismollm_jax.data.synthetic.noise import SAMPLES
from seismollm_jax.data.synthetic.stead_rows import COLUMNS

SEED = 20
STEAD_COLUMNS = [
    "network_code",
    "receiver_code",
    "receiver_type",
    "receiver_latitude",
    "receiver_longitude",
    "receiver_elevation_m",
    "p_arrival_sample",
    "p_status",
    "p_weight",
    "p_travel_sec",
    "s_arrival_sample",
    "s_status",
    "s_weight",
    "source_id",
    "source_origin_time",
    "source_origin_uncertainty_sec",
    "source_latitude",
    "source_longitude",
    "source_error_sec",
    "source_gap_deg",
    "source_horizontal_uncertainty_km",
    "source_depth_km",
    "source_depth_uncertainty_km",
    "source_magnitude",
    "source_magnitude_type",
    "source_magnitude_author",
    "source_mechanism_strike_dip_rake",
    "source_distance_deg",
    "source_distance_km",
    "back_azimuth_deg",
    "snr_db",
    "coda_end_sample",
    "trace_start_time",
    "trace_category",
    "trace_name",
]


def digests(directory: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in directory.iterdir()}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    directory = tmp_path_factory.mktemp("synthetic") / "data"
    summary = write(directory, traces=80, seed=SEED, noise_share=0.15)
    with open(directory / "merge.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return directory, summary, rows


def test_columns_are_those_of_stead_plus_the_first_motion(written):
    directory, _, _ = written
    header = (directory / "merge.csv").read_text().splitlines()[0].split(",")
    assert header == [*STEAD_COLUMNS, "p_first_motion"]
    assert list(COLUMNS) == header


def test_text_forms_are_those_of_stead(written):
    earthquakes = [r for r in written[2] if r["trace_category"] == "earthquake_local"]
    for row in earthquakes:
        assert row["snr_db"][0] == "["
        assert row["snr_db"][-1] == "]"
        assert len(row["snr_db"][1:-1].split()) == 3
        assert row["coda_end_sample"].startswith("[[ ")
        assert row["coda_end_sample"].endswith(".]]")
        start = datetime.strptime(row["trace_start_time"], "%Y-%m-%d %H:%M:%S.%f")
        assert len(row["source_origin_time"].rsplit(".", 1)[1]) == 2
        station, stamp, kind = row["trace_name"].split("_")
        assert station == f"{row['receiver_code']}.{row['network_code']}"
        assert kind == "EV"
        lead = (start - datetime.strptime(stamp, "%Y%m%d%H%M%S")).total_seconds()
        assert 1.0 <= lead < 2.0
        assert row["source_mechanism_strike_dip_rake"] == "None"
        assert row["p_first_motion"] in ("U", "D", "")


def test_waveforms_and_attributes_match_the_table(written):
    directory, summary, rows = written
    with h5py.File(directory / "merge.hdf5") as file:
        assert list(file) == ["data"]
        assert set(file["data"]) == {r["trace_name"] for r in rows}
        assert len(rows) == summary.traces == 80
        for row in rows:
            stored = file["data"][row["trace_name"]]
            assert stored.shape == (6000, 3)
            assert stored.dtype == np.float32
            assert np.isfinite(stored[:]).all()
            assert (stored[:].std(0) > 0).all()
            assert set(stored.attrs) == set(COLUMNS)
            for column in COLUMNS:
                value = stored.attrs[column]
                if column == "snr_db" and row[column]:
                    cell = np.array(row[column].strip("[]").split(), float)
                    np.testing.assert_allclose(value, cell, atol=1e-6)
                elif column == "coda_end_sample" and row[column]:
                    assert value.shape == (1, 1)
                    assert value[0, 0] == float(row[column].strip("[ ]"))
                else:
                    assert str(value) == row[column], column


def test_labels_lie_inside_the_trace_and_agree_with_the_times(written):
    for row in (r for r in written[2] if r["trace_category"] == "earthquake_local"):
        p, s = float(row["p_arrival_sample"]), float(row["s_arrival_sample"])
        assert 250 <= p < s < SAMPLES
        assert p == int(p)
        assert s == int(s)
        assert s < float(row["coda_end_sample"].strip("[ ]")) < SAMPLES
        start = datetime.strptime(row["trace_start_time"], "%Y-%m-%d %H:%M:%S.%f")
        origin = datetime.strptime(row["source_origin_time"], "%Y-%m-%d %H:%M:%S.%f")
        travel_s = (start - origin).total_seconds() + p / 100.0
        assert travel_s == pytest.approx(float(row["p_travel_sec"]), abs=2e-4)


def test_noise_rows_carry_no_labels(written):
    _, summary, rows = written
    quiet = [r for r in rows if r["trace_category"] == "noise"]
    assert len(quiet) == summary.noise_traces == 12
    filled = {c for r in quiet for c in COLUMNS if r[c]}
    assert filled == {
        *STEAD_COLUMNS[:6],
        "trace_start_time",
        "trace_category",
        "trace_name",
    }
    assert all(r["trace_name"].endswith("_NO") for r in quiet)


def test_distance_and_back_azimuth_agree_with_the_coordinates(written):
    for row in (r for r in written[2] if r["trace_category"] == "earthquake_local"):
        station = np.radians([float(row["receiver_latitude"]), float(row["receiver_longitude"])])
        event = np.radians([float(row["source_latitude"]), float(row["source_longitude"])])

        def unit(position):
            lat, lon = position
            return np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])

        here, there = unit(station), unit(event)
        arc = np.arctan2(np.linalg.norm(np.cross(here, there)), here @ there)
        assert float(row["source_distance_km"]) == pytest.approx(6371.0 * arc, abs=0.006)
        assert float(row["source_distance_deg"]) == pytest.approx(np.degrees(arc), abs=6e-5)
        east = np.array([-np.sin(station[1]), np.cos(station[1]), 0.0])
        north = np.cross(here, east)
        azimuth = np.degrees(np.arctan2(there @ east, there @ north))
        error = (float(row["back_azimuth_deg"]) - azimuth + 180.0) % 360.0 - 180.0
        assert abs(error) < 0.06


def test_several_stations_record_one_event(written):
    _, summary, rows = written
    events = [r["source_id"] for r in rows if r["source_id"]]
    assert summary.events == len(set(events)) < summary.earthquake_traces == len(events)
    assert len({(r["receiver_code"], r["source_id"]) for r in rows if r["source_id"]}) == len(
        events
    )
    assert summary.stations == len({(r["network_code"], r["receiver_code"]) for r in rows})


def test_same_seed_same_bytes_and_another_seed_other_waveforms(written, tmp_path):
    directory = written[0]
    write(tmp_path / "again", traces=80, seed=SEED, noise_share=0.15)
    assert digests(tmp_path / "again") == digests(directory)
    write(tmp_path / "other", traces=3, seed=SEED + 1, noise_share=0.0)
    first = (tmp_path / "other" / "merge.csv").read_text().splitlines()[1]
    assert first not in (directory / "merge.csv").read_text()


def test_a_larger_request_begins_with_the_same_earthquakes(tmp_path):
    for events in (2, 4):
        write(tmp_path / str(events), events=events, seed=5, noise_share=0.0)
    small, large = ((tmp_path / n / "merge.csv").read_text().splitlines() for n in ("2", "4"))
    assert len(small) < len(large)
    assert large[: len(small)] == small


def test_first_motion_sign_agrees_with_the_vertical_at_p(written):
    directory, summary, rows = written
    agree = []
    with h5py.File(directory / "merge.hdf5") as file:
        for row in (r for r in rows if r["p_first_motion"]):
            if float(row["snr_db"].strip("[]").split()[2]) < 20.0:
                continue
            vertical = file["data"][row["trace_name"]][:, 2].astype(float)
            p = int(float(row["p_arrival_sample"]))
            # As an analyst reads it: the first sample that leaves the level just before P by
            # more than the noise does within the last half second.
            departure = vertical[p - 50 : p + 20] - vertical[p - 2 : p].mean()
            steps = np.abs(np.diff(vertical[p - 50 : p])).max()
            first = 49 + np.argmax(np.abs(departure[49:]) > 1.5 * steps)
            agree.append((departure[first] > 0) == (row["p_first_motion"] == "U"))
    assert summary.first_motions >= len(agree) > 20
    assert np.mean(agree) > 0.9


def test_the_same_request_is_reused_and_another_refused(tmp_path):
    directory = tmp_path / "data"
    first = write(directory, traces=4, seed=1)
    before = digests(directory)
    again = write(directory, traces=4, seed=1)
    assert again.reused
    assert not first.reused
    assert again.traces == first.traces == 4
    with pytest.raises(FileExistsError, match=r"another synthetic dataset.*--overwrite"):
        write(directory, traces=5, seed=1)
    assert digests(directory) == before
    assert not write(directory, traces=5, seed=1, overwrite=True).reused
    assert json.loads((directory / "synthetic.json").read_text())["request"]["traces"] == 5


def test_a_damaged_dataset_is_not_reused(tmp_path):
    write(tmp_path, traces=2, seed=1)
    with open(tmp_path / "merge.csv", "a") as file:
        file.write("more\n")
    with pytest.raises(FileExistsError, match="another size"):
        write(tmp_path, traces=2, seed=1)


def test_a_dataset_of_other_origin_is_never_replaced(tmp_path):
    (tmp_path / "merge.csv").write_text("the real STEAD\n")
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match=r"merge\.csv"):
            write(tmp_path, traces=2, seed=1, overwrite=overwrite)
    assert (tmp_path / "merge.csv").read_text() == "the real STEAD\n"


def test_other_peoples_records_keep_their_folder(tmp_path):
    """A typing error in data.path must not mix synthetic records with real ones."""
    (tmp_path / "BW.RJOB..EHZ.mseed").write_bytes(b"x")
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match=r"RJOB\.\.EHZ\.mseed.*a folder of its own"):
            write(tmp_path, traces=2, seed=1, overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["BW.RJOB..EHZ.mseed"]


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(dataset, "noise", fail)
    with pytest.raises(OSError, match="disk full"):
        write(tmp_path / "data", traces=4, seed=1, noise_share=0.5)
    assert list((tmp_path / "data").iterdir()) == []


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({}, "either events or traces"),
        ({"events": 1, "traces": 1}, "either events or traces"),
        ({"events": 0}, "at least one"),
        ({"traces": 3, "noise_share": 1.0}, "noise_share"),
        ({"traces": 3, "seed": -1}, "seed"),
        ({"traces": 3, "max_stations": 0}, "max_stations"),
    ],
)
def test_senseless_requests_are_refused(tmp_path, request_, message):
    with pytest.raises(ValueError, match=message):
        write(tmp_path / "data", **request_)
    assert not (tmp_path / "data").exists()


def test_command_line(tmp_path):
    command = [
        sys.executable,
        "-m",
        "seismollm_jax.data.synthetic",
        "--output",
        str(tmp_path / "d"),
    ]
    done = subprocess.run(
        [*command, "--events", "2", "--seed", "3"], capture_output=True, text=True, check=True
    )
    assert "events: 2" in done.stdout
    with open(tmp_path / "d" / "merge.csv", newline="") as file:
        assert len({r["source_id"] for r in csv.DictReader(file) if r["source_id"]}) == 2
    refused = subprocess.run(
        [*command, "--events", "3", "--seed", "3"], capture_output=True, text=True
    )
    assert refused.returncode == 2
    assert "--overwrite" in refused.stderr
