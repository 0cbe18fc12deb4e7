"""Users' own records: files as ObsPy writes them, cut around their events."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from obspy import Stream

from seismollm_jax.data import folder
from seismollm_jax.data.catalogue import open_dataset, split_for
from seismollm_jax.data.records import TABLE_COLUMNS
from tests import setups
from tests.data.recordings import (
    PICKS,
    START,
    assert_ramp,
    counted,
    picks_table,
    source_of,
    three,
    trace,
    write,
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
    assert counted(dataset, "whose S lies in a gap or outside") == 1
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
