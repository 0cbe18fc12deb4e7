"""Errors planted in the table of the built-in dataset are found, in the right rows."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from seismollm_jax.data import check_splits
from seismollm_jax.data.check import check, found_problems
from seismollm_jax.data.check_findings import EXAMPLES, Finding, listed, plain
from seismollm_jax.data.check_places import apart, coordinates, measured
from seismollm_jax.data.records import Dataset, Report

NEEDS = {
    "picking": (("p_sample|s_sample",), True),
    "polarity": (("p_sample", "polarity"), False),
    "magnitude": (("p_sample", "magnitude"), False),
}


def found(dataset: Dataset, table: pd.DataFrame | None = None) -> dict[str, Finding]:
    """Findings by name, without reading waveforms."""
    if table is not None:
        dataset = dataclasses.replace(dataset, table=table)
    findings = check(dataset, NEEDS, waveforms=0)["findings"]
    assert len({finding.name for finding in findings}) == len(findings)
    return {finding.name: finding for finding in findings}


def rows(finding: Finding) -> list[int]:
    return [example["row"] for example in finding.examples]


@pytest.fixture
def table(builtin: Dataset) -> pd.DataFrame:
    return builtin.table.copy()


@pytest.fixture
def quakes(table: pd.DataFrame) -> np.ndarray:
    """Rows of earthquakes, the far ones first."""
    return np.argsort(-table["distance_km"].to_numpy(np.float64))[: table["p_sample"].count()]


def test_the_built_in_dataset_is_well(builtin: Dataset) -> None:
    assert set(found(builtin)) <= {"mixed_magnitude_types"}
    assert not found_problems([*found(builtin).values()], strict=False)


# Columns that change -> the finding and its level.
PLANTED = {
    "s_not_after_p": ({"s_sample": lambda t: t["p_sample"]}, "error"),
    "s_long_after_p": ({"s_sample": lambda t: t["p_sample"] + 30_000}, "warning"),
    "distance_disagrees": ({"distance_km": lambda t: t["distance_km"] * 1.1 + 2}, "error"),
    "back_azimuth_disagrees": (
        {"back_azimuth_deg": lambda t: (t["back_azimuth_deg"] + 20) % 360},
        "error",
    ),
    "station_off_the_globe": ({"station_latitude_deg": lambda t: 91.0}, "error"),
    "event_off_the_globe": ({"event_longitude_deg": lambda t: -361.0}, "error"),
    "station_at_zero": (
        {"station_latitude_deg": lambda t: 0.0, "station_longitude_deg": lambda t: 0.0},
        "error",
    ),
    "event_at_zero": (
        {"event_latitude_deg": lambda t: 0.0, "event_longitude_deg": lambda t: 0.0},
        "error",
    ),
    "event_depth_km_impossible": ({"event_depth_km": lambda t: 8000.0}, "warning"),
    "station_elevation_m_impossible": ({"station_elevation_m": lambda t: 30_000.0}, "warning"),
    "s_minus_p_and_distance": ({"s_sample": lambda t: t["p_sample"] + 9000}, "warning"),
    "p_before_origin": (
        {"origin_time": lambda t: t["origin_time"] + pd.Timedelta(300, "s")},
        "error",
    ),
    "travel_time": (
        {"origin_time": lambda t: t["origin_time"] - pd.Timedelta(300, "s")},
        "warning",
    ),
    "start_time_impossible": ({"start_time": lambda t: pd.Timestamp("1800-01-01")}, "warning"),
    "origin_time_impossible": ({"origin_time": lambda t: pd.Timestamp("2101-01-01")}, "warning"),
    "no_event_id": ({"event_id": lambda t: None}, "warning"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_single_rows(name: str, builtin: Dataset, table: pd.DataFrame, quakes: np.ndarray) -> None:
    changes, level = PLANTED[name]
    wrong = np.sort(quakes[:4])
    for column, change in changes.items():
        table.loc[wrong, column] = change(table.loc[wrong])
    finding = found(builtin, table)[name]
    assert (finding.level, finding.count) == (level, 4)
    if finding.examples:
        assert rows(finding) == wrong.tolist()
        example = finding.examples[0]
        assert example["trace"] == table["trace_name"].iloc[wrong[0]]
        assert example["file"] == "merge.hdf5"
    assert name not in found(builtin)


MISTAKES = {
    "the numbers are degrees": ("distance_km", lambda t: t["distance_km"] / 111.19),
    "the numbers are metres": ("distance_km", lambda t: t["distance_km"] * 1000),
    "the numbers are miles": ("distance_km", lambda t: t["distance_km"] / 1.609344),
    "azimuths from the earthquake": ("back_azimuth_deg", lambda t: t["back_azimuth_deg"] + 180),
    "anticlockwise from north": ("back_azimuth_deg", lambda t: -t["back_azimuth_deg"] % 360),
    "anticlockwise from east": ("back_azimuth_deg", lambda t: (90 - t["back_azimuth_deg"]) % 360),
    "are radians": ("back_azimuth_deg", lambda t: np.radians(t["back_azimuth_deg"])),
}


@pytest.mark.parametrize("why", MISTAKES)
def test_the_usual_mistakes_are_named(why: str, builtin: Dataset, table: pd.DataFrame) -> None:
    column, change = MISTAKES[why]
    table[column] = change(table)
    name = "distance_disagrees" if column == "distance_km" else "back_azimuth_disagrees"
    finding = found(builtin, table)[name]
    assert finding.count > 0.7 * table[column].count()
    assert why in finding.text
    percent = float(finding.text.partition(" % of them would")[0].rpartition(" ")[2])
    assert percent >= 90


def test_distances_from_the_hypocentre(builtin: Dataset, table: pd.DataFrame) -> None:
    table["distance_km"] = np.hypot(table["distance_km"], table["event_depth_km"])
    assert "from the hypocentre" in found(builtin, table)["distance_disagrees"].text


@pytest.mark.parametrize("place", ["station", "event"])
def test_exchanged_coordinates(place: str, builtin: Dataset, table: pd.DataFrame) -> None:
    names = [f"{place}_latitude_deg", f"{place}_longitude_deg"]
    small = table[names[1]].abs() < 90  # others are off the globe, which shows by itself
    table.loc[small, names] = table.loc[small, names[::-1]].to_numpy()
    for name in ("distance_disagrees", "back_azimuth_disagrees"):
        why = f"latitude and longitude of the {place} are exchanged"
        assert why in found(builtin, table)[name].text


def test_nothing_is_explained_that_is_random(builtin: Dataset, table: pd.DataFrame) -> None:
    table["back_azimuth_deg"] = np.random.default_rng(0).uniform(0, 360, len(table))
    assert "would agree" not in found(builtin, table)["back_azimuth_disagrees"].text


@pytest.mark.parametrize(("kilometres", "error_deg", "wrong"), [
    (3.0, 10, False), (3.0, 14, True), (60.0, 2, False), (60.0, 4, True), (0.5, 180, False),
])  # fmt: skip
def test_half_a_kilometre_turns_close_events(
    kilometres: float,
    error_deg: float,
    wrong: bool,
    builtin: Dataset,
    table: pd.DataFrame,
    quakes: np.ndarray,
) -> None:
    row = quakes[0]
    table.loc[row, "event_longitude_deg"] = table.loc[row, "station_longitude_deg"]
    north = table.loc[row, "station_latitude_deg"] + kilometres / 111.1
    table.loc[row, "event_latitude_deg"] = north
    table.loc[row, "back_azimuth_deg"] = error_deg
    assert ("back_azimuth_disagrees" in found(builtin, table)) == wrong


def test_angles_between_directions() -> None:
    angles = apart(np.array([350.0, 10.0, 90.0]), np.array([10.0, 190.0, 90.0]))
    assert angles.tolist() == [20, 180, 0]


def test_coordinates_that_cannot_be_are_not_compared(table: pd.DataFrame) -> None:
    table.loc[0, "station_latitude_deg"] = 91
    distance, azimuth = measured(coordinates(table))
    assert np.isnan(distance[0])
    assert np.isnan(azimuth[0])


def test_local_time(builtin: Dataset, table: pd.DataFrame) -> None:
    table["start_time"] += pd.Timedelta(9, "h")
    assert "+9 h, as if in local time" in found(builtin, table)["travel_time"].text
    table["start_time"] -= pd.Timedelta(17, "h")
    assert "-8 h, as if in local time" in found(builtin, table)["p_before_origin"].text


def test_rate_twice_too_high_shows_in_s_minus_p(builtin: Dataset, table: pd.DataFrame) -> None:
    for column in ("p_sample", "s_sample"):
        table[column] *= 4
    text = found(builtin, table)["s_minus_p_and_distance"].text
    assert float(text.rpartition("is ")[2].rstrip(")")) < 3


def test_s_too_soon_after_p(builtin: Dataset, table: pd.DataFrame, quakes: np.ndarray) -> None:
    table.loc[quakes[0], "distance_km"] = 100
    table.loc[quakes[0], "s_sample"] = table.loc[quakes[0], "p_sample"] + 400
    assert rows(found(builtin, table)["s_minus_p_and_distance"]) == [quakes[0]]


def test_an_event_of_unknown_depth_may_be_deep(
    builtin: Dataset, table: pd.DataFrame, quakes: np.ndarray
) -> None:
    row = quakes[-1]
    table.loc[row, "s_sample"] = table.loc[row, "p_sample"] + 1000
    table.loc[row, "event_depth_km"] = 2
    assert rows(found(builtin, table)["s_minus_p_and_distance"]) == [row]
    table.loc[row, "event_depth_km"] = np.nan
    assert "s_minus_p_and_distance" not in found(builtin, table)


def test_magnitudes(builtin: Dataset, table: pd.DataFrame, quakes: np.ndarray) -> None:
    table["magnitude_type"] = pd.Categorical(["ml", "mw"] * (len(table) // 2))
    table.loc[quakes[:6], "magnitude"] = 0
    table.loc[quakes[6:9], "magnitude_type"] = None
    findings = found(builtin, table)
    assert findings["mixed_magnitude_types"].count == 2
    assert findings["mixed_magnitude_types"].level == "warning"
    assert findings["magnitude_zero"].count == 6
    assert findings["magnitude_without_type"].count == 3
    table["magnitude_type"] = pd.Categorical(["ml"] * len(table))
    table["magnitude"] = table["magnitude"].where(table["magnitude"] > 0, 0.1)
    assert not {name for name in found(builtin, table) if "magnitude" in name}


def test_converted_magnitudes_may_be_mixed(builtin: Dataset, table: pd.DataFrame) -> None:
    table["magnitude_type"] = pd.Categorical(["ml", "ms"] * (len(table) // 2))
    counts = {"evmag converted from ms to local magnitude": 32}
    dataset = dataclasses.replace(builtin, report=Report(counts))
    assert found(dataset, table)["mixed_magnitude_types"].level == "note"


def test_two_sensors_of_a_station_are_no_duplicates(
    builtin: Dataset, table: pd.DataFrame, quakes: np.ndarray
) -> None:
    first, second = quakes[:2].tolist()
    same = ["network", "station", "instrument", "start_time", "p_sample"]
    table.loc[second, same] = table.loc[first, same].to_numpy()
    table["address"] = "XX.ABC.00.HH|ZNE|0|6000|100.0"
    dataset = dataclasses.replace(builtin, storage="streams")
    assert rows(found(dataset, table)["same_start"]) == sorted([first, second])
    table.loc[second, "address"] = "XX.ABC.10.HH|ZNE|0|6000|100.0"
    assert not {"same_start", "same_arrival"} & set(found(dataset, table))


def test_duplicates(builtin: Dataset, table: pd.DataFrame, quakes: np.ndarray) -> None:
    first, second, third, fourth = quakes[:4].tolist()
    same = ["network", "station", "instrument", "start_time", "p_sample"]
    table.loc[second, same] = table.loc[first, same].to_numpy()
    table.loc[fourth, same] = table.loc[third, same].to_numpy()
    table.loc[fourth, "start_time"] += pd.Timedelta(2, "s")
    table.loc[fourth, "p_sample"] -= 203  # 0.03 s off
    findings = found(builtin, table)
    assert rows(findings["same_start"]) == sorted([first, second])
    assert set(rows(findings["same_arrival"])) == {third, fourth}
    table.loc[[second, fourth], "instrument"] = "BH"
    table.loc[[first, third], "instrument"] = "HH"
    assert not {"same_start", "same_arrival"} & set(found(builtin, table))
    table.loc[[first, second], "station"] = None  # two that are not known are not the same
    table.loc[[first, second], "instrument"] = "BH"
    assert "same_start" not in found(builtin, table)


def test_events(builtin: Dataset, table: pd.DataFrame) -> None:
    names = table["event_id"].dropna().unique()
    first, second = ((table["event_id"] == name).to_numpy() for name in names[:2])
    table.loc[second, "event_id"] = names[0]
    findings = found(builtin, table)
    assert findings["event_id_reused"].examples == [{"event_id": names[0]}]
    table["event_id"] = table["event_id"].cat.add_categories("other")
    table.loc[second, "event_id"] = "other"
    where = ["origin_time", "event_latitude_deg", "event_longitude_deg"]
    table.loc[second, where] = table.loc[first, where].iloc[0].to_numpy()
    twin = found(builtin, table)["same_event"].examples[0]
    assert {twin["event_id"], twin["other_event_id"]} == {names[0], "other"}
    table.loc[second, "event_longitude_deg"] += 0.1  # at the same time elsewhere
    assert "same_event" not in found(builtin, table)


def test_station_in_several_places(builtin: Dataset, table: pd.DataFrame) -> None:
    row = table.index[table["station"].duplicated(keep=False)][0]
    table.loc[row, "station_latitude_deg"] += 0.2
    finding = found(builtin, table)["station_moved"]
    assert finding.examples == [
        {"station": f"{table['network'].iloc[row]}.{table['station'].iloc[row]}"}
    ]


def test_what_the_reader_could_not_use(builtin: Dataset) -> None:
    counts = {
        "rows": 64,
        "noise rows": 6,
        "s_arrival_sample not a number, taken as missing": 3,
        "p_sample before the trace begins, taken as missing": 2,
        "rows of another magnitude type than ml, left out": 9,
    }
    finding = found(dataclasses.replace(builtin, report=Report(counts)))["unusable_cells"]
    assert (finding.level, finding.count) == ("warning", 5)
    assert "3 s_arrival_sample not a number" in finding.text


def test_tasks(builtin: Dataset, table: pd.DataFrame) -> None:
    table["polarity"] = np.int8(-1)
    document = check(dataclasses.replace(builtin, table=table), NEEDS, waveforms=0)
    noise = int((table["category"] == "noise").sum())
    assert document["tasks"]["picking"]["earthquake_traces"] == 64 - noise
    assert document["tasks"]["picking"]["noise_traces"] == noise
    assert document["tasks"]["polarity"]["earthquake_traces"] == 0
    assert document["tasks"]["polarity"]["left_out"] == {
        "noise trace": noise,
        "no polarity": 64 - noise,
    }
    assert document["labels"]["magnitude"]["traces"] == 64 - noise
    (finding,) = [f for f in document["findings"] if f.name == "task_without_traces"]
    assert (finding.level, finding.count) == ("note", 1)
    for column in ("p_sample", "s_sample"):
        table[column] = np.nan
    finding = found(builtin, table)["task_without_traces"]
    assert (finding.level, finding.count) == ("error", 3)


@pytest.mark.parametrize("by", check_splits.WAYS)
def test_splits(by: str, builtin: Dataset, table: pd.DataFrame) -> None:
    table["split"] = pd.Categorical((["train"] * 6 + ["val", "test"]) * 8)
    findings, figures = check_splits.split_findings(dataclasses.replace(builtin, table=table), by)
    names = {f.name: f for f in findings}
    assert set(figures) == {"column", by}
    assert sum(figures[by]["traces"].values()) == len(table)
    shared = {"event": 0, "time": 0}.get(by)
    if shared is not None:
        assert figures[by]["shared_events"] == 0
    if by == "station":
        assert figures[by]["shared_stations"] == 0
    assert figures["column"]["shared_events"] > 0
    assert names["shared_events"].level == "warning"


def test_splits_that_are_not_there(builtin: Dataset, table: pd.DataFrame) -> None:
    assert check_splits.split_findings(dataclasses.replace(builtin, table=table)) == ([], {})
    (finding,), _ = check_splits.split_findings(dataclasses.replace(builtin, table=table), "column")
    assert finding.name == "no_split_column"
    table["start_time"] = table["origin_time"] = pd.NaT
    (finding,), _ = check_splits.split_findings(dataclasses.replace(builtin, table=table), "time")
    assert finding.name == "split_impossible"
    assert "neither an origin time nor a start time" in finding.text


def test_rows_in_no_part(builtin: Dataset, table: pd.DataFrame) -> None:
    table["split"] = pd.Categorical(["train"] * 40 + [None] * 24)
    findings, figures = check_splits.split_findings(dataclasses.replace(builtin, table=table))
    assert figures["column"]["in_no_part"] == 24
    assert {f.name for f in findings} == {"in_no_part"}


def test_an_empty_table(builtin: Dataset) -> None:
    empty = dataclasses.replace(builtin, table=builtin.table.iloc[:0])
    document = check(empty, NEEDS, split_by="event")
    assert document["contents"]["traces"] == 0
    assert found_problems(document["findings"], strict=False)


def test_a_table_without_anything_but_names(builtin: Dataset, table: pd.DataFrame) -> None:
    for column in table.columns:
        if isinstance(table[column].dtype, pd.CategoricalDtype):
            if column not in ("file", "category", "component_order"):
                table[column] = pd.Categorical([None] * len(table))
        elif column == "polarity":
            table[column] = np.int8(-1)
        elif column not in ("trace_name", "sampling_rate_hz"):
            table[column] = pd.NaT if "time" in column else np.float32(np.nan)
    document = check(dataclasses.replace(builtin, table=table), NEEDS, waveforms=5, split_by="row")
    assert document["contents"]["events"] == document["contents"]["stations"] == 0
    assert document["contents"]["first_start"] is None


def test_examples_are_few_and_plain() -> None:
    assert EXAMPLES == 5
    assert plain(np.float32(0.1)) == 0.1
    assert plain(np.float32(700)) == 700
    assert isinstance(plain(np.float32(700)), int)
    assert plain(np.float64("nan")) is plain(None) is plain(pd.NaT) is None
    assert plain(float("inf")) is None
    assert plain(pd.Timestamp("2020-01-02 03:04:05.678")) == "2020-01-02T03:04:05.678"
    assert (plain(np.int8(3)), plain("x"), plain(np.bool_(True))) == (3, "x", True)
    assert listed({"a": 3, "b": 2, "c": 1}, 2) == "a 3, b 2 and 1 more"


def test_strict() -> None:
    def of(level: str) -> Finding:
        return Finding(level, "x", 1, "traces", "", "")

    assert found_problems([of("error")], strict=False)
    assert not found_problems([of("warning"), of("note")], strict=False)
    assert found_problems([of("warning")], strict=True)
    assert not found_problems([of("note")], strict=True)
