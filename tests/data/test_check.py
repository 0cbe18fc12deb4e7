"""The dataset doctor from the command line: every format, reports, exit status, broken input."""

import json
import shutil
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seismollm_jax.data import remote
from seismollm_jax.data.__main__ import main
from seismollm_jax.data.check_findings import LEVELS
from seismollm_jax.tasks import TASKS
from tests.data import seisbench_rows, test_diting


def checked(path: Path | str, *arguments: str, status: int | None = None) -> int:
    found = main(["check", str(path), "--quiet", *arguments])
    assert found in ((0, 1, 2) if status is None else (status,))
    return found


def document(capsys: pytest.CaptureFixture, path: Path | str, *arguments: str) -> dict:
    capsys.readouterr()
    status = checked(path, "--json", *arguments)
    found = json.loads(capsys.readouterr().out)  # one document and nothing else
    assert found["exit"] == status
    return found


def names(found: dict) -> set[str]:
    return {finding["name"] for finding in found["findings"]}


@pytest.fixture
def table(data_folder: Path, tmp_path: Path) -> Path:
    """The table of a copy of the built-in dataset."""
    return shutil.copytree(data_folder, tmp_path / "set") / "merge.csv"


def change(csv: Path, **columns: object) -> Path:
    frame = pd.read_csv(csv, keep_default_na=False)
    for name, values in columns.items():
        frame[name] = values(frame) if callable(values) else values
    frame.to_csv(csv, index=False)
    return csv.parent


def test_a_sound_dataset(data_folder: Path, capsys: pytest.CaptureFixture) -> None:
    checked(data_folder, status=0)
    text = capsys.readouterr().out
    assert f"{data_folder}: stead\n" in text
    assert "traces         64: 58 of earthquakes, 6 of noise" in text
    assert "sampling       100 Hz" in text
    assert "picking             58 and 6 of noise" in text
    assert "ERROR" not in text
    assert max(map(len, text.splitlines()[1:])) <= 96


def test_json(data_folder: Path, capsys: pytest.CaptureFixture) -> None:
    found = document(capsys, data_folder, "--split", "row", "--waveforms", "all")
    assert (found["path"], found["format"], found["exit"]) == (str(data_folder), "stead", 0)
    assert found["contents"]["traces"] == 64
    assert found["contents"]["component_orders"] == {"ENZ": 64}
    assert found["contents"]["sampling_rates_hz"] == {"100": 64}
    assert found["waveforms"] == {
        "read": 64,
        "of": 64,
        "unreadable": 0,
        "why_not_all": "",
        "samples": {"min": 6000, "median": 6000, "max": 6000},
        "different_lengths": 1,
    }
    assert set(found["tasks"]) == set(TASKS)
    assert found["splits"]["row"]["shared_events"] > 0
    assert "shared_events" in names(found)


def test_findings_in_text_and_json(table: Path, capsys: pytest.CaptureFixture) -> None:
    folder = change(
        table,
        back_azimuth_deg=lambda t: (pd.to_numeric(t["back_azimuth_deg"], "coerce") + 180) % 360,
        receiver_latitude=lambda t: pd.to_numeric(t["receiver_latitude"], "coerce").where(
            t.index != 2, 95
        ),
    )
    found = document(capsys, folder)
    assert found["exit"] == 1
    levels = [finding["level"] for finding in found["findings"]]
    assert levels == sorted(levels, key=LEVELS.index)
    (finding,) = [f for f in found["findings"] if f["name"] == "station_off_the_globe"]
    example = finding["examples"][0]
    assert (example["row"], example["file"]) == (2, "merge.hdf5")
    assert example["station_latitude_deg"] == 95
    checked(folder, status=1)
    text = capsys.readouterr().out
    assert "ERROR  1 trace: the station's coordinates are not on the globe" in text
    assert f"row 2, merge.hdf5, {example['trace']}: station_latitude_deg 95, " in text
    assert "-> Correct the coordinates" in text
    assert "azimuths from the earthquake to the station" in " ".join(text.split())
    assert max(map(len, text.splitlines()[1:])) <= 96


def test_strict(table: Path, capsys: pytest.CaptureFixture) -> None:
    folder = change(table, source_magnitude_type=lambda t: ["ml", "mb"] * (len(t) // 2))
    found = document(capsys, folder)
    assert "mixed_magnitude_types" in names(found)
    assert found["exit"] == 0
    checked(folder, "--strict", status=1)


def test_options_of_the_reader(table: Path, capsys: pytest.CaptureFixture) -> None:
    folder = change(table, source_magnitude_type=lambda t: ["ml", "mb"] * (len(t) // 2))
    shutil.copy(table, folder / "eq.csv")
    arguments = ("--table", "merge.csv", "--option", "magnitude_type=mb", "--format", "stead")
    found = document(capsys, folder, *arguments, "--waveforms", "0")
    assert found["contents"]["traces"] == 32
    assert found["waveforms"]["read"] == 0
    checked(folder, status=2)
    assert "choose one with data.table" in capsys.readouterr().err


def test_seisbench_format(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    rows = [seisbench_rows.ROW | {"source_id": f"ev{i}"} for i in range(4)]
    rows[1]["trace_s_arrival_sample"] = 70  # behind the end: 60 samples
    rows[2]["path_back_azimuth_deg"] = 302
    found = document(capsys, seisbench_rows.make(tmp_path / "set", rows))
    assert (found["format"], found["exit"]) == ("seisbench", 1)
    assert {"arrival_behind_the_trace", "back_azimuth_disagrees"} <= names(found)
    assert found["splits"]["column"]["traces"] == {"train": 0, "val": 4, "test": 0}


def test_diting_format(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    rows = [test_diting.ROW | {"key": key} for key in test_diting.KEYS]
    folder = test_diting.write(tmp_path, rows)
    found = document(capsys, folder)
    assert found["format"] == "diting"
    assert found["contents"]["sampling_rates_hz"] == {"50": 2}
    assert "arrival_behind_the_trace" in names(found)  # of 9 samples


def test_folder(records: Path, capsys: pytest.CaptureFixture) -> None:
    found = document(capsys, records, "--option", "folder.before_s=20")
    assert found["format"] == "folder"
    assert found["contents"]["storage"] == "streams"
    assert found["waveforms"]["read"] == 2
    assert "no_event_id" not in names(found)
    assert found["tasks"]["distance"]["earthquake_traces"] == 0


def test_prepared(packed: Path, data_folder: Path, capsys: pytest.CaptureFixture) -> None:
    found = document(capsys, packed)
    original = document(capsys, data_folder)
    assert found["format"] == "prepared"
    assert names(found) == names(original)
    assert found["labels"] == original["labels"]
    assert found["onsets"]["p_onset"] == original["onsets"]["p_onset"]


def test_nothing_is_fetched_unasked(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv(remote.CACHE, str(tmp_path))
    system = fsspec.filesystem("memory")
    for path in packed.iterdir():
        system.pipe_file(f"/doctor/set/{path.name}", path.read_bytes())
    found = document(capsys, "memory://doctor/set")
    assert (found["format"], found["waveforms"]["read"]) == ("prepared", 0)
    assert "fetched" in found["waveforms"]["why_not_all"]
    assert not list(tmp_path.rglob("shard-*"))
    assert document(capsys, "memory://doctor/set", "--waveforms", "3")["waveforms"]["read"] == 3
    system.store.clear()


def test_what_cannot_be_opened(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    found = document(capsys, tmp_path / "nowhere")
    assert found["exit"] == 2
    assert "does not exist" in found["error"]
    table.with_suffix(".hdf5").unlink()
    checked(table.parent, status=2)
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert "merge.hdf5, which does not exist" in captured.err
    assert captured.out == ""
    table.with_suffix(".hdf5").write_bytes(b"not HDF5")
    assert "cannot be opened as HDF5" in document(capsys, table.parent)["error"]
    table.write_text(table.read_text().partition("\n")[0] + "\n")
    assert "has no rows" in document(capsys, table.parent)["error"]
    table.write_text("")
    assert "not a readable CSV" in document(capsys, table.parent)["error"]


@pytest.mark.parametrize("wrong", ["-1", "some", "1.5", "+3"])
def test_numbers_of_waveforms(wrong: str, data_folder: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        checked(data_folder, f"--waveforms={wrong}")
    assert "neither a number of traces nor all" in capsys.readouterr().err


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_broken_files_never_crash_it(
    data: st.DataObject, data_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Bytes of the table or the waveforms overwritten, or the end cut off."""
    folder = shutil.copytree(data_folder, tmp_path_factory.mktemp("broken") / "set")
    path = folder / data.draw(st.sampled_from(["merge.csv", "merge.hdf5"]))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        # The beginning of an HDF5 file holds what finds the rest.
        limit = data.draw(st.sampled_from([2000, 100_000, len(content)]))
        at = data.draw(st.integers(0, min(limit, len(content)) - 1))
        junk = data.draw(st.binary(min_size=1, max_size=64))
        content[at : at + len(junk)] = junk
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(1, len(content))) :]
    path.write_bytes(content)
    checked(folder, "--json", "--split", "event")
    shutil.rmtree(folder.parent)


CELLS = ("", "nan", "inf", "-1", "0", "1e30", "-999", "x", "9" * 30, "2020-02-30", "None", "U")


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_odd_cells_never_crash_it(
    data: st.DataObject, data_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("cells")
    frame = pd.read_csv(data_folder / "merge.csv", keep_default_na=False, dtype=str)
    (folder / "merge.hdf5").symlink_to(data_folder / "merge.hdf5")
    columns = data.draw(st.lists(st.sampled_from(list(frame.columns)), min_size=1, max_size=8))
    for column in columns:
        if column != "trace_name":
            rows = data.draw(st.sampled_from([1, 3, 64]))
            cells = data.draw(st.lists(st.sampled_from(CELLS), min_size=1, max_size=4))
            frame.loc[: rows - 1, column] = np.resize(cells, rows)
    frame.to_csv(folder / "merge.csv", index=False)
    by = data.draw(st.sampled_from(["event", "station", "time", "row", "column"]))
    assert checked(folder, "--json", "--split", by, "--waveforms", "6") in (0, 1)
    shutil.rmtree(folder)
