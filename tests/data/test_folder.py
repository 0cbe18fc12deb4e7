"""Users' own records: files as ObsPy writes them, and catalogues as people keep them."""

import gzip
import json
import math
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import obspy
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from obspy import Stream, Trace, UTCDateTime
from obspy.core import event as quakeml
from obspy.geodetics import gps2dist_azimuth

from seismollm_jax.data import folder, stream_files
from seismollm_jax.data.catalogue import open_dataset, split_for
from seismollm_jax.data.catalogue_tables import phase_of
from seismollm_jax.data.event_windows import NO_TIME, find_window, limits
from seismollm_jax.data.geodesy import distance_and_back_azimuth
from seismollm_jax.data.records import TABLE_COLUMNS, Dataset, Record
from seismollm_jax.data.sources import BadTrace, WaveformSource
from seismollm_jax.data.stream_files import INDEX_NAME, Piece, Pieces, open_index
from tests import setups

START = UTCDateTime(2021, 3, 4, 12)
OFFSET = {"Z": 7000, "N": -300, "E": 20, "1": -300, "2": 20}  # counts, of each component
PICKS = [("1", "P", 100.0), ("1", "S", 104.0), ("2", "P", 400.0), ("2", "S", 410.0)]


def ramp(component: str, first: int, samples: int) -> np.ndarray:
    """Counts that tell the component and which sample since START it is."""
    return (np.arange(first, first + samples) % 5000 + OFFSET[component]).astype(np.int32)


def trace(
    channel: str = "HHZ",
    start_s: float = 0.0,
    seconds: float = 600.0,
    rate: float = 100.0,
    station: str = "ABC",
    network: str = "XX",
    location: str = "",
) -> Trace:
    first, samples = round(start_s * rate), round(seconds * rate)
    header = {
        "network": network, "station": station, "location": location, "channel": channel,
        "sampling_rate": rate, "starttime": START + first / rate,
    }  # fmt: skip
    return Trace(ramp(channel[-1], first, samples), header)


def three(code: str = "HH", orientation: str = "ZNE", **options: Any) -> Stream:
    return Stream([trace(code + component, **options) for component in orientation])


def write(stream: Stream, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    stream.write(str(path), format="MSEED", encoding="STEIM2", reclen=512)


def picks_table(rows: list[tuple[str, str, float]], **columns: Any) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["event_id", "phase", "time"])
    table["time"] = [str(START + time) for time in table["time"]]
    return table.assign(**{"network": "XX", "station": "ABC", **columns})


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """One station, ten minutes, two events of its only table."""
    write(three(), tmp_path / "waveforms" / "day.mseed")
    picks_table(PICKS).to_csv(tmp_path / "picks.csv", index=False)
    return tmp_path


def source_of(dataset: Dataset) -> WaveformSource:
    return WaveformSource(dataset, np.arange(len(dataset.table)))


def counted(dataset: Dataset, text: str) -> int:
    return sum(n for finding, n in dataset.report.counts.items() if text in finding)


def assert_ramp(record: Record, start_s: float, components: str = "ZNE") -> None:
    """The samples are those from `start_s` on, without the mean, in the right columns."""
    for column, component in enumerate(components):
        expected = ramp(component, round(start_s * 100), len(record.waveform)).astype(float)
        np.testing.assert_allclose(
            record.waveform[:, column], expected - expected.mean(), atol=1e-2
        )


def test_rows_of_a_table_of_picks(records: Path) -> None:
    dataset = folder.read(records, before_s=30, after_s=60)
    table = dataset.table
    assert list(table.columns) == [*TABLE_COLUMNS, "address"]
    assert table["event_id"].tolist() == ["1", "2"]
    assert table["trace_name"].tolist() == ["XX.ABC..HH_1", "XX.ABC..HH_2"]
    assert table["p_sample"].tolist() == [3000, 3000]
    assert table["s_sample"].tolist() == [3400, 4000]
    assert (table["sampling_rate_hz"] == 100).all()
    assert (table["component_order"] == "ZNE").all()
    assert table["start_time"].tolist() == [
        pd.Timestamp("2021-03-04 12:01:10"), pd.Timestamp("2021-03-04 12:06:10"),
    ]  # fmt: skip
    assert (dataset.storage, dataset.sampling_rate_hz) == ("streams", 100)
    source = pickle.loads(pickle.dumps(source_of(dataset)))
    for record, start_s in zip((source[0], source[1]), (70, 370), strict=True):
        assert record.waveform.shape == (9000, 3)
        assert_ramp(record, start_s)
    assert (source[1].p_samples, source[1].s_samples) == ([3000], [4000])


def test_through_the_configuration(records: Path) -> None:
    settings = setups.config("picking", records)["data"]
    settings |= {"format": "folder", "window": 2000, "split": {**settings["split"], "by": "row"}}
    settings["split"] |= {"train": 0.5, "val": 0.0}
    dataset = open_dataset(settings)
    lengths = [len(source_of(dataset)[i].waveform) for i in range(2)]
    assert lengths == [3000, 3000]  # half a window before P, a window after it
    parts = split_for(dataset, settings, needs=("p_sample", "s_sample"), uses_noise=True)
    assert [len(rows) for rows in parts.rows.values()] == [1, 0, 1]
    settings["folder"] = {**settings["folder"], "before_s": 3.0, "after_s": 50.0}
    assert source_of(open_dataset(settings))[0].waveform.shape == (5300, 3)
    settings["folder"]["instruments"] = "EH"
    with pytest.raises(
        ValueError, match=r"no instrument is left with instruments='EH'.*there are HH"
    ):
        open_dataset(settings)
    settings |= {"magnitude_type": "ml", "folder": {**settings["folder"], "instruments": ""}}
    with pytest.raises(ValueError, match="magnitude type 'ml'; there are none"):
        open_dataset(settings)


def test_midnight_files_of_components_and_overlaps_are_joined(records: Path) -> None:
    (records / "waveforms" / "day.mseed").unlink()
    for channel in ("HHZ", "HHN", "HHE"):
        write(Stream([trace(channel, 0, 102)]), records / f"{channel}.063")
        write(Stream([trace(channel, 101, 499)]), records / f"{channel}.064")
    dataset = folder.read(records)
    assert not counted(dataset, "gap")
    assert len(dataset.table) == 2
    assert_ramp(source_of(dataset)[0], 70)


def test_of_overlapping_files_the_earlier_counts(records: Path) -> None:
    first, second = three(seconds=110), three(start_s=109, seconds=400)
    for found in second:
        found.data += 10_000
    write(first, records / "waveforms" / "day.mseed")
    write(second, records / "waveforms" / "a_later.mseed")
    waveform = source_of(folder.read(records))[0].waveform  # from 70 s on
    steps = np.flatnonzero(np.abs(np.diff(waveform[:, 0])) > 9000)
    assert steps.tolist() == [3999]


def test_late_s_and_different_rates(records: Path) -> None:
    rows = [("1", "P", 100.0), ("1", "S", 195.0), ("2", "P", 400.0), ("2", "S", 404.0)]
    picks_table(rows).to_csv(records / "picks.csv", index=False)
    dataset = folder.read(records)
    record = source_of(dataset)[0]
    assert (record.s_samples, len(record.waveform)) == ([12_500], 13_000)
    write(
        three(seconds=300) + three(start_s=300, rate=50, orientation="NE")
        + three(start_s=300, orientation="Z"),
        records / "waveforms" / "day.mseed",
    )  # fmt: skip
    dataset = folder.read(records)
    assert dataset.table["event_id"].tolist() == ["1"]
    assert counted(dataset, "left out: components, or parts, of different sampling rates") == 1


def test_gaps_are_zero_and_picks_in_them_missing(records: Path) -> None:
    (records / "waveforms" / "day.mseed").unlink()
    stream = three(start_s=0, seconds=120) + three(start_s=130, seconds=279.95)
    stream += three(start_s=411, seconds=100)  # the second S, at 410, is in the gap
    write(stream, records / "a.mseed")
    dataset = folder.read(records)
    assert counted(dataset, "rows with a gap") == 2
    assert counted(dataset, "whose S lies in a gap") == 1
    assert dataset.table["s_sample"].isna().tolist() == [False, True]
    waveform = source_of(dataset)[0].waveform
    assert len(waveform) == 9000
    assert not waveform[5000:6000].any()
    assert waveform[:5000].any(axis=1).mean() > 0.99
    assert abs(float(waveform[:, 0].mean())) < 0.01  # an offset of 7000 would leave a step


@pytest.mark.parametrize(
    ("file_format", "ending"), [("MSEED", "mseed"), ("SAC", "sac"), ("SAC", "SAC.big")]
)
def test_event_files_of_any_format(tmp_path: Path, file_format: str, ending: str) -> None:
    for channel in ("HHE", "HHN", "HHZ"):
        order = {"byteorder": ">"} if ending == "SAC.big" else {}
        found = trace(channel, 95, 40.5)
        found.write(str(tmp_path / f"ABC.{channel}.{ending}"), format=file_format, **order)
    picks_table(PICKS).to_csv(tmp_path / "picks.csv", index=False)
    dataset = folder.read(tmp_path)
    assert dataset.table["p_sample"].tolist() == [500]
    assert counted(dataset, "rows left out: no data at the time of the picks") == 1
    record = source_of(dataset)[0]
    assert record.waveform.shape == (4050, 3)  # all that is there
    assert_ramp(record, 95)


def test_horizontals_one_and_two_stand_for_north_and_east(tmp_path: Path) -> None:
    write(three(orientation="12Z"), tmp_path / "a")
    write(Stream([trace("BHZ", rate=40), trace("BH1", rate=40)]), tmp_path / "b")
    write(three("HN", location="10") + three("HN", "12", location="10"), tmp_path / "c")
    write(Stream([trace("HHZ", station="DEF")]) + three("LH", rate=1), tmp_path / "d")
    picks_table(PICKS).to_csv(tmp_path / "picks.csv", index=False)
    dataset = folder.read(tmp_path)
    first = dataset.table[dataset.table["event_id"] == "1"]
    orders = dict(zip(first["instrument"], first["component_order"], strict=True))
    assert orders == {"BH": "Z1", "HH": "Z12", "HN": "ZNE"}
    assert first["sampling_rate_hz"].tolist() == [40, 100, 100]
    assert first["p_sample"].tolist() == [1200, 3000, 3000]
    assert counted(dataset, "instruments sampled below 10 Hz, left out (XX.ABC..LH)") == 1
    assert counted(dataset, "instruments with waveforms but no picks (XX.DEF..HH)") == 1
    source = source_of(dataset)
    bh, hh, hn = (int(first.index[i]) for i in range(3))
    assert_ramp(source[hh], 70)
    assert_ramp(source[hn], 70)
    resampled = source[bh]
    assert len(resampled.waveform) == 8998  # the last of 3600 at 40 Hz
    assert not resampled.waveform[:, 2].any()
    assert resampled.p_samples == [3000]


def test_a_pick_with_a_location_is_of_that_sensor_alone(tmp_path: Path) -> None:
    write(three(location="00") + three(location="10"), tmp_path / "a")
    rows = [("1", "P", 100.0), ("1", "P", 100.5), ("1", "S", 104.0)]
    table = picks_table(rows, location=["00", "10", ""])
    table.to_csv(tmp_path / "picks.csv", index=False)
    found = folder.read(tmp_path).table
    assert found["trace_name"].tolist() == ["XX.ABC.00.HH_1", "XX.ABC.10.HH_1"]
    assert found["p_sample"].tolist() == [3000, 3000]
    assert found["s_sample"].tolist() == [3400, 3350]


def test_windows_hold_no_arrival_of_another_event(tmp_path: Path) -> None:
    write(three(), tmp_path / "a")
    rows = [
        *(("a", "P", 100.0), ("a", "S", 102.0), ("b", "P", 125.0), ("b", "S", 127.0)),
        *(("c", "P", 130.0), ("c", "S", 131.0)),  # begins in the coda of b
        *(("d", "P", 300.0), ("d", "S", 310.0), ("e", "P", 305.0), ("e", "S", 306.0)),
    ]
    picks_table(rows).to_csv(tmp_path / "picks.csv", index=False)
    dataset = folder.read(tmp_path)
    assert dataset.table["event_id"].tolist() == ["a", "b", "c"]
    assert counted(dataset, "rows left out: arrivals of another event") == 2
    assert counted(dataset, "rows cut short") == 3
    source = source_of(dataset)
    begin = dataset.table["p_sample"] / 100
    assert begin.tolist() == [30, 25 - 6, 2.5]  # behind the coda of a; behind the S of b
    assert [len(source[i].waveform) for i in range(3)] == [5450, 2350, 6250]


def test_picks_that_name_no_event_or_station(tmp_path: Path) -> None:
    """As our own predict.py, PhaseNet and others write them."""
    write(three(), tmp_path / "a")
    rows = [("", "P", 100.0), ("", "P", 100.2), ("", "S", 104.0), ("", "S", 104.3)]
    rows += [("", "P", 200.0), ("", "S", 330.0), ("", "S", 500.0), ("", "P", 501.0)]
    table = picks_table(rows).drop(columns=["event_id", "network", "station"])
    table.to_csv(tmp_path / "my.csv", index=False)
    dataset = folder.read(tmp_path)
    p, s = dataset.table["p_sample"], dataset.table["s_sample"]
    assert p.isna().tolist() == [False, False, True, True, False]
    assert s.isna().tolist() == [False, True, False, False, True]
    assert counted(dataset, "picks that name no event") == 8
    assert counted(dataset, "further picks of a phase of an event") == 2
    assert dataset.table["event_id"].iloc[0] == "XX.ABC 2021-03-04T12:01:40.000"
    assert (p[0], s[0]) == (3000, 3400)
    write(three(station="DEF"), tmp_path / "b")
    with pytest.raises(ValueError, match=r"8 picks name no station.*are of 2 \(XX.ABC, XX.DEF\)"):
        folder.read(tmp_path)


@pytest.mark.parametrize(
    "columns",
    [
        {"station_id": "XX.ABC..HH", "phase_type": ["P", "S"], "phase_time": "TIME",
         "phase_score": 0.9, "event_index": "7"},
        {"trace_id": "XX.ABC..HH", "phase": ["P", "S"], "time": "TIME", "probability": 0.5},
        {"station": "XX.ABC.", "time": "TIME", "phase": ["P", "S"], "probability": 0.5},
        {"Station": "ABC", "Phase Hint": ["iP", "Sg"], "Time": "TIME", "Event ID": "7.0"},
        {"network": "XX", "station": "ABC ", "location": "--", "phase": [" p", "S1 "],
         "time": "TIME", "event_idx": 7},
    ],
    ids=["PhaseNet", "predict.py", "SeisBench", "short", "PyOcto"],
)  # fmt: skip
def test_columns_by_other_names(tmp_path: Path, columns: dict[str, Any]) -> None:
    write(three(), tmp_path / "a")
    times = [str(START + 100).replace("T", " ").rstrip("Z"), str(START + 104)]
    filled = {name: times if value == "TIME" else value for name, value in columns.items()}
    pd.DataFrame(filled, index=range(2)).to_csv(tmp_path / "picks.csv", index=False)
    table = folder.read(tmp_path).table
    assert (table["p_sample"].tolist(), table["s_sample"].tolist()) == ([3000], [3400])
    named = any("ev" in name.lower() for name in columns)
    assert table["event_id"].tolist() == ["7" if named else "XX.ABC 2021-03-04T12:01:40.000"]


def test_one_row_a_trace(tmp_path: Path) -> None:
    write(three(), tmp_path / "a")
    table = pd.DataFrame(
        {
            "network": "XX",
            "station": "ABC",
            "p_arrival_time": [str(START + 100), str(START + 400)],
            "s_arrival_time": [str(START + 104), ""],
            "p_first_motion": ["U", "x"],
            "source_magnitude": ["2.5", "much"],
        }
    )
    table.to_csv(tmp_path / "traces.csv", index=False)
    dataset = folder.read(tmp_path)
    assert dataset.table["event_id"].tolist() == ["traces 1", "traces 2"]
    assert dataset.table["polarity"].tolist() == [0, -1]
    assert dataset.table["s_sample"].tolist()[0] == 3400
    assert counted(dataset, "rows without S") == 1
    assert dataset.table["magnitude"].tolist()[0] == 2.5
    assert counted(dataset, "magnitude not a number, taken as missing") == 1


def test_events_and_stations(records: Path) -> None:
    events = pd.DataFrame(
        {"id": ["2", "1", "1"], "time": [str(START + 390), str(START + 90), ""],
         "latitude": [10.5, 10.0, 0.0], "longitude": [20.0, 20.5, 0.0], "depth": [5.0, 8.0, 0.0],
         "mag": [3.5, 9.1, 1.0], "magType": ["ML", "Mw", ""]}
    )  # fmt: skip
    events.to_csv(records / "events.csv", index=False)
    stations = pd.DataFrame(
        {"network": ["XX", "XX"], "station": ["ABC", "DEF"], "latitude": [10.0, 0.0],
         "longitude": [20.0, 0.0], "elevation_m": [120, 0]}
    )  # fmt: skip
    stations.to_csv(records / "stations.csv", index=False)
    dataset = folder.read(records)
    first, second = (dataset.table.iloc[i] for i in range(2))
    metres, back_azimuth, _ = gps2dist_azimuth(10.0, 20.0, 10.0, 20.5)
    assert first["distance_km"] == pytest.approx(metres / 1000, abs=1e-3)
    assert first["back_azimuth_deg"] == pytest.approx(back_azimuth, abs=1e-3)
    assert second["back_azimuth_deg"] == pytest.approx(0, abs=1e-6)
    assert (first["magnitude"], first["magnitude_type"]) == (8.0, "mw")
    assert (second["magnitude"], second["magnitude_type"]) == (3.5, "ml")
    assert first["origin_time"] == pd.Timestamp("2021-03-04 12:01:30")
    assert (first["event_depth_km"], first["station_elevation_m"]) == (8, 120)
    assert counted(dataset, "magnitude clipped to 0 to 8") == 1
    assert counted(dataset, "events listed twice, the first kept") == 1
    assert len(folder.read(records, magnitude_type="ML").table) == 1


def quakeml_catalogue() -> quakeml.Catalog:
    """One event with two origins and magnitudes, and picks of many kinds."""

    def pick(phase: str, time: float, **more: Any) -> quakeml.Pick:
        where = quakeml.WaveformStreamID("XX", "ABC", channel_code="HHZ")
        return quakeml.Pick(time=START + time, phase_hint=phase, waveform_id=where, **more)

    picks = [
        *(pick("P", 100, polarity="negative"), pick("S", 104), pick("AML", 106)),
        *(pick("P", 90, evaluation_status="rejected"), pick("", 103.5)),
    ]
    automatic = quakeml.Origin(time=START + 91, latitude=0, longitude=0, depth=1000)
    manual = quakeml.Origin(time=START + 92, latitude=10, longitude=20.5, depth=8000)
    manual.arrivals = [quakeml.Arrival(pick_id=picks[4].resource_id, phase="Sn")]
    magnitudes = [quakeml.Magnitude(mag=1.0), quakeml.Magnitude(mag=2.25, magnitude_type="MLv")]
    event = quakeml.Event(picks=picks, origins=[automatic, manual], magnitudes=magnitudes)
    event.preferred_origin_id = manual.resource_id
    event.preferred_magnitude_id = magnitudes[1].resource_id
    event.resource_id = quakeml.ResourceIdentifier("smi:local/event/1")
    return quakeml.Catalog([event])


def test_quakeml_and_stationxml(tmp_path: Path) -> None:
    write(three(), tmp_path / "2021" / "a")
    quakeml_catalogue().write(str(tmp_path / "catalogue.xml"), format="QUAKEML")
    station = obspy.core.inventory.Station("ABC", 10.0, 20.0, 300.0)
    network = obspy.core.inventory.Network("XX", stations=[station])
    obspy.Inventory([network]).write(str(tmp_path / "stations.xml"), format="STATIONXML")
    dataset = folder.read(tmp_path)
    row = dataset.table.iloc[0]
    assert (len(dataset.table), row["event_id"]) == (1, "smi:local/event/1")
    assert (row["p_sample"], row["s_sample"], row["polarity"]) == (3000, 3350, 1)
    assert (row["magnitude"], row["magnitude_type"]) == (2.25, "mlv")
    assert (row["event_depth_km"], row["station_elevation_m"]) == (8, 300)
    assert row["distance_km"] == pytest.approx(gps2dist_azimuth(10, 20, 10, 20.5)[0] / 1000)
    assert counted(dataset, "rejected picks, left out") == 1
    assert counted(dataset, "other phases than P and S, left out (AML)") == 1
    assert counted(dataset, "the earliest kept") == 1
    assert not counted(dataset, "without coordinates")


@pytest.mark.parametrize(
    ("name", "phase"),
    [
        *(("P", "P"), ("Pg", "P"), ("PN", "P"), ("p", "P"), ("iP", "P"), ("P*", "P"), ("P1", "P")),
        *(("S", "S"), ("Sb", "S"), ("eS", "S"), ("PP", ""), ("pP", ""), ("PKP", ""), ("Lg", "")),
        *(("SKS", ""), ("", ""), ("noise", ""), ("sP", "")),
    ],
)
def test_phases(name: str, phase: str) -> None:
    assert phase_of(name) == phase


def test_findings_are_counted(records: Path) -> None:
    rows = [("1", "P", 100.0), ("1", "S", 100.0), ("1", "P", 101.0), ("1", "Lg", 105.0)]
    rows += [("2", "P", 400.0), ("2", "S", 410.0), ("3", "P", 4000.0)]
    table = picks_table(rows, polarity=["up", "up", "", "", "odd", "", "N"])
    table.loc[len(table)] = ["4", "P", "soon", "XX", "ABC", ""]
    table.loc[len(table)] = ["2", "P", str(START + 400), "XX", "GONE", ""]
    table.to_csv(records / "picks.csv", index=False)
    (records / "waveforms" / "broken.mseed").write_bytes(b"000001D " + bytes(600))
    (records / "waveforms" / "new.mseed").write_bytes(b"MS\x03" + bytes(600))
    (records / "notes.txt").write_text("to be done")
    dataset = folder.read(records)
    assert dataset.table["event_id"].tolist() == ["1", "2"]
    expected = {
        "rows": 2,
        "files neither miniSEED nor SAC, ignored (notes.txt)": 1,
        "picks without a readable time, left out": 1,
        "picks of other phases than P and S, left out (Lg)": 1,
        "polarity not up or down, taken as missing": 1,
        "polarity of an S pick, ignored": 1,
        "picks of stations without waveforms, left out (XX.GONE)": 1,
        "further picks of a phase of an event at a station, the earliest kept": 1,
        "rows with S not after P, S taken as missing": 1,
        "rows left out: no data at the time of the picks": 1,
        "rows without S": 1,
    }
    counts = dataset.report.counts
    assert {text: counts.get(text) for text in expected} == expected
    broken = next(text for text in counts if "cannot be read" in text)
    assert counts[broken] == 2
    assert "waveforms/broken.mseed" in broken
    assert "miniSEED 3, which ObsPy cannot read" in broken


def remove(name: str) -> Any:
    return lambda path: (path / name).unlink()


def text(name: str, content: str) -> Any:
    return lambda path: (path / name).write_text(content)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (remove("picks.csv"), FileNotFoundError, "has no picks.csv and no QuakeML.*data.table"),
        (remove("waveforms/day.mseed"), ValueError, "holds no miniSEED or SAC file"),
        (text("picks.csv", "phase,when\nP,1\n"), ValueError, "needs the columns phase and time"),
        (text("picks.csv", "phase,time\nP,1614859300.5\n"), ValueError,
         r"picks\.csv, column time: '1614859300\.5' in data row 1 is no time; write times as"),
        (text("picks.csv", "phase,time\nLg,2021-03-04T12:00:00\n"), ValueError,
         r"no pick of P or S is left; 1 picks of other phases than P and S, left out \(Lg\)"),
        (text("picks.csv", "station,phase,time\nQ,P,2021-03-04T12:00:00\n"), ValueError,
         r"no station with picks has waveforms\. The picks are of \.Q, the waveforms of XX\.ABC"),
        (text("picks.csv", "phase,time\nP,2022-03-04T12:00:00\n"), ValueError,
         r"no pick has a waveform at its time; it has picks from 2022-03-04T12:00:00"),
        (text("picks.csv", ""), ValueError, "not a readable CSV table"),
        (text("events.csv", "magnitude\n1\n"), ValueError, "needs a column event_id"),
        (text("a.xml", "<q:quakeml>"), ValueError, r"several catalogues.*picks\.csv, a\.xml"),
        (text("stations.xml", "<FDSNStationXML"), ValueError, r"stations\.xml cannot be read as"),
    ],
)  # fmt: skip
def test_what_is_refused(records: Path, change: Any, error: type[Exception], message: str) -> None:
    change(records)
    with pytest.raises(error, match=message):
        folder.read(records)


def test_tables_by_name(records: Path) -> None:
    (records / "picks.csv").rename(records / "first.csv")
    rows = [("3", "P", 200.0), ("1", "P", 99.0)]
    picks_table(rows).to_csv(records / "second.csv", index=False)
    with pytest.raises(FileNotFoundError, match=r"there are first\.csv, second\.csv"):
        folder.read(records)
    assert len(folder.read(records, table="first.csv").table) == 2
    assert len(folder.read(records / "second.csv").table) == 2
    both = folder.read(records, table="*.csv").table.set_index("event_id")
    assert both["s_sample"].dropna().to_dict() == {"1": 3500, "2": 4000}  # P is at 99 s
    assert len(both) == 3
    with pytest.raises(FileNotFoundError, match=r"third\.csv does not exist; tables there: first"):
        folder.read(records, table="third.csv")
    with pytest.raises(FileNotFoundError, match="give the folder that holds the records"):
        folder.read(records / "nowhere")


def test_index_is_kept_and_renewed(records: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    original = stream_files._read_headers
    monkeypatch.setattr(
        stream_files, "_read_headers", lambda path: (looked.append(path.name), original(path))[1]
    )
    seen: list[tuple[int, int]] = []
    folder.read(records, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]
    written = (records / INDEX_NAME).stat().st_mtime_ns
    looked.clear()
    folder.read(records)
    assert looked == []
    assert (records / INDEX_NAME).stat().st_mtime_ns == written
    write(three(seconds=200), records / "waveforms" / "day.mseed")
    assert len(folder.read(records).table) == 1
    assert looked == ["day.mseed"]
    for content in (b"no gzip", gzip.compress(b"{"), gzip.compress(b'{"version": 0}')):
        (records / INDEX_NAME).write_bytes(content)
        assert len(folder.read(records).table) == 1
    (records / "waveforms" / "day.mseed").rename(records / "day.mseed")
    assert len(folder.read(records).table) == 1
    with gzip.open(records / INDEX_NAME) as file:
        assert set(json.load(file)["files"]) == {"day.mseed", "picks.csv"}


def test_index_of_a_folder_that_cannot_be_written_to(
    records: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    original = stream_files._write_index

    def refuse(path: Path, *rest: Any) -> Any:
        if path.parent == records.resolve():
            raise PermissionError(path)
        return original(path, *rest)

    monkeypatch.setattr(stream_files, "_write_index", refuse)
    dataset = folder.read(records)
    assert not (records / INDEX_NAME).exists()
    assert_ramp(source_of(dataset)[0], 70)
    first = Path(dataset.table["file"].iloc[0])
    assert first.is_file()
    written = first.stat().st_mtime_ns
    assert folder.read(records).table["file"].iloc[0] == str(first)
    assert first.stat().st_mtime_ns == written


def test_files_lost_or_damaged_later_are_bad_traces(records: Path) -> None:
    dataset = folder.read(records)
    path = records / "waveforms" / "day.mseed"
    content = path.read_bytes()
    path.write_bytes(b"000001D " + bytes(3000))
    with pytest.raises(BadTrace, match=r"XX\.ABC\.\.HH_1.*cannot be read from .*day\.mseed"):
        source_of(dataset)[0]
    path.unlink()
    with pytest.raises(BadTrace, match="cannot be read from"):
        source_of(dataset)[0]
    path.write_bytes(content)
    assert_ramp(source_of(dataset)[0], 70)
    write(three(station="DEF"), path)
    with pytest.raises(BadTrace, match=r"has no samples in its files.*did they change"):
        source_of(dataset)[0]


def test_numbers_that_are_not_finite_are_refused(records: Path) -> None:
    stream = three()
    for found in stream:
        found.data = found.data.astype(np.float32)
    stream[1].data[10500] = np.nan
    stream.write(str(records / "waveforms" / "day.mseed"), format="MSEED", encoding="FLOAT32")
    source = source_of(folder.read(records))
    with pytest.raises(BadTrace, match="1 samples that are not finite, the first at 3500"):
        source[0]
    assert np.isfinite(source[1].waveform).all()


def test_formats_by_their_first_bytes() -> None:
    assert stream_files.file_format(b"000001D " + bytes(50)) == "MSEED"
    assert stream_files.file_format(b"000001X " + bytes(50)) == ""
    assert stream_files.file_format(pickle.dumps([1]) + bytes(700)) == ""
    assert stream_files.file_format(b"") == ""
    assert stream_files.snap_rate(99.9999997) == 100
    assert stream_files.snap_rate(99.99) == 99.99
    assert stream_files.snap_rate(100.001) == 100.001


latitudes = st.integers(-8_990_000, 8_990_000).map(lambda steps: steps / 1e5)
longitudes = st.integers(-18_000_000, 18_000_000).map(lambda steps: steps / 1e5)


@given(latitudes, longitudes, latitudes, longitudes)
def test_distances_agree_with_obspy(a: float, b: float, c: float, d: float) -> None:
    distance, azimuth = distance_and_back_azimuth(*(np.array([v]) for v in (a, b, c, d)))
    with warnings.catch_warnings():  # about points that are almost antipodal, left out below
        warnings.simplefilter("ignore")
        metres, expected, _ = gps2dist_azimuth(a, b, c, d)
    if distance[0] < 19_900:
        assert distance[0] == pytest.approx(metres / 1000, abs=1e-3)
        if metres > 100:
            assert abs((azimuth[0] - expected + 180) % 360 - 180) < 0.01
    assert not azimuth[0] >= 360


def test_distances_of_impossible_coordinates_are_missing() -> None:
    found = distance_and_back_azimuth(*np.array([[0, 91, np.nan, 5], [0] * 4, [0] * 4, [0] * 4]))
    assert found[0][0] == 0
    assert np.isnan(found[0][1:3]).all()
    assert np.isnan(found[1][:3]).all()
    assert found[1][3] == pytest.approx(180)


second = 1_000_000_000
arrivals = st.lists(
    st.tuples(st.integers(0, 3600), st.integers(1, 60), st.sampled_from(["PS", "P", "S"])),
    min_size=1, max_size=12,
)  # fmt: skip


@given(arrivals)
def test_no_window_holds_a_foreign_arrival(events: list[tuple[int, int, str]]) -> None:
    base = 10**18
    p = np.array([base + t * second if "P" in which else NO_TIME for t, _, which in events])
    s = np.array([base + (t + d) * second if "S" in which else NO_TIME for t, d, which in events])
    low, high, interleaved = limits(p, s)
    for i in np.flatnonzero(~interleaved):
        mine = [time for time in (p[i], s[i]) if time != NO_TIME]
        assert low[i] < min(mine)
        assert high[i] > max(mine)
        for j in range(len(events)):
            others = [time for time in (p[j], s[j]) if time != NO_TIME]
            assert j == i or all(not low[i] <= time <= high[i] for time in others)


@given(
    st.lists(st.tuples(st.integers(0, 900), st.integers(1, 300)), min_size=1, max_size=6),
    st.sampled_from([20.0, 100.0, 125.0]),
    st.integers(10, 990),
    st.floats(0, 1),
)
def test_windows_count_samples_from_their_first(
    spans: list[tuple[int, int]], rate: float, p_s: int, shift: float
) -> None:
    base = 10**18 + round(shift * 1e9 / rate)
    pieces = Pieces([Piece(base + a * second, round(n * rate), rate, "f") for a, n in spans])
    pieces.sort()
    span = (10**18 + (p_s - 30) * second, 10**18 + (p_s + 60) * second)
    p_ns = 10**18 + p_s * second
    found = find_window({"Z": pieces}, p_ns, NO_TIME, span_ns=span)
    near = any(a + 0.3 < p_s < a + n - 0.3 for a, n in spans)
    inside = any(a - 0.3 < p_s < a + n + 0.3 for a, n in spans)
    if isinstance(found, str):
        assert not near
        return
    assert inside
    assert math.isnan(found.s_sample)
    assert abs(found.start_ns + found.p_sample * 1e9 / rate - p_ns) <= 0.51e9 / rate
    assert 0 <= found.p_sample < found.samples
    assert found.start_ns >= span[0] - 0.51e9 / rate
    assert found.start_ns + found.samples * 1e9 / rate <= span[1] + 1.01e9 / rate
    covered = np.zeros(found.samples, bool)
    for piece in pieces.pieces:
        first = round((piece.start_ns - found.start_ns) * rate / 1e9)
        covered[max(first, 0) : max(first + piece.samples, 0)] = True
    assert found.gaps == (not covered.all())
    assert covered.any()  # it may begin in a gap, where a piece ends within a sample of it


def test_open_index_ignores_hidden_files_and_loops(records: Path) -> None:
    (records / ".hidden.mseed").write_bytes(b"000001D ")
    (records / "waveforms" / "loop").symlink_to(records, target_is_directory=True)
    assert sorted(open_index(records).files) == ["picks.csv", "waveforms/day.mseed"]
