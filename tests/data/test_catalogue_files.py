"""Catalogues as people keep them: tables of picks, QuakeML, StationXML."""

import re
from pathlib import Path
from typing import Any

import obspy
import pandas as pd
import pytest
from obspy.core import event as quakeml
from obspy.geodetics import gps2dist_azimuth

from seismollm_jax.data import folder
from seismollm_jax.data.catalogue_tables import phase_of
from tests.data.recordings import START, counted, picks_table, three, trace, write


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


def test_tables_out_of_sac_headers_as_the_manual_makes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recipe of docs/bring_your_own.md, word for word."""
    folder_ = tmp_path / "mydata" / "2021"
    folder_.mkdir(parents=True)
    for event in range(2):
        for component in "ZNE":
            found = trace(f"HH{component}", 300 * event, 100)
            found.stats.sac = {
                **{"b": 2.0, "o": 20.0, "a": 32.0, "evla": 10.0, "evlo": 20.5, "evdp": 8.0},
                **{"mag": 2.5, "stla": 10.0, "stlo": 20.0, "stel": 120.0, "lovrok": 1},
                **({"t0": 36.0} if event else {}),
            }
            found.write(str(folder_ / f"{event}.ABC.HH{component}.SAC"), format="SAC")
    monkeypatch.chdir(tmp_path)
    manual = (Path(__file__).parents[2] / "docs" / "bring_your_own.md").read_text()
    (recipe,) = re.findall(r"```python\n(.*?)```", manual, flags=re.DOTALL)
    exec(compile(recipe, "bring_your_own.md", "exec"), {})
    dataset = folder.read(tmp_path / "mydata")
    table = dataset.table
    assert table["event_id"].tolist() == ["0", "1"]
    assert table["p_sample"].tolist() == [3000, 3000]
    assert table["s_sample"].isna().tolist() == [True, False]
    assert table["s_sample"].iloc[1] == 3400
    assert table["magnitude"].tolist() == [2.5, 2.5]
    assert table["station_elevation_m"].tolist() == [120, 120]
    metres = gps2dist_azimuth(10, 20, 10, 20.5)[0]
    assert table["distance_km"].tolist() == pytest.approx([metres / 1000] * 2, abs=0.01)
    assert table["origin_time"].iloc[0] == pd.Timestamp("2021-03-04 12:00:18")
    assert not counted(dataset, "cannot be read")
