"""Formats found by looking."""

import importlib
import re
from pathlib import Path

import pytest

from seismollm_jax.data.__main__ import main
from seismollm_jax.data.detect import SETTINGS, detect_format, open_found
from tests.data.recordings import three, write


def test_options_of_a_format(data_folder, packed):
    name, dataset = open_found(data_folder, options=["magnitude_type=ml"])
    assert name == "stead"
    assert set(dataset.table["magnitude_type"]) == {"ml"}
    assert open_found(data_folder, "builtin")[0] == "stead"
    assert open_found(packed)[0] == "prepared"
    for wrong in ("magnitude", "folder.x=3", "nothing=1", "folder.before_s.x=2"):
        with pytest.raises(ValueError, match=r"is not NAME=VALUE .*folder\.before_s"):
            open_found(data_folder, options=[wrong])
    with pytest.raises(ValueError, match="format is 'xyz'; choose from"):
        open_found(data_folder, "xyz")
    assert SETTINGS["magnitude_type"] == ""  # options change nothing for later calls


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("window=abc", r"'window=abc' needs a whole number above 0"),
        ("window=6000.5", "needs a whole number above 0"),
        ("window=True", "needs a whole number above 0"),
        ("window=0", "needs a whole number above 0"),
        ("sampling_rate_hz=0", "'sampling_rate_hz=0' needs a number above 0"),
        ("sampling_rate_hz=None", "needs a number above 0"),
        ("folder.before_s=abc", r"'folder\.before_s=abc' needs a number above 0"),
        ("folder.before_s=", "needs a number above 0"),
        ("folder.after_s=nan", "needs a number above 0"),
        ("folder.after_s=1e999", "needs a number above 0"),
        ("folder=3", r"is not NAME=VALUE with a name out of folder\.after_s"),
        ("path=elsewhere", "is not NAME=VALUE"),
        ("format=stead", "is not NAME=VALUE"),
        ("magnitude_type=3", "no row .* has the magnitude type '3'"),
        ("folder.instruments={[]: 1}", "no instrument is left with instruments="),
        ("table=7.csv", r"7\.csv"),
    ],
)
@pytest.mark.parametrize("command", ["check", "prepare"])
def test_options_of_another_type(
    command: str,
    option: str,
    message: str,
    data_folder: Path,
    records: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    path = records if option.startswith("folder") else data_folder
    output = ["--output", str(records / "packed")] if command == "prepare" else []
    assert main([command, str(path), "--option", option, "--quiet", *output]) == 2
    captured = capsys.readouterr()
    assert re.search(f"^error: .*{message}", captured.err)
    assert captured.out == ""


def test_numbers_as_options(records: Path) -> None:
    def first(*options: str) -> str:
        return str(open_found(records, options=options)[1].table["start_time"].iloc[0])

    assert first() == first("folder.before_s=None") == first("folder.before_s=30")
    assert first("window=2000", "sampling_rate_hz=50") == first("folder.before_s=2e1")
    assert first() != first("folder.before_s=20")


def test_settings_are_those_of_a_configuration():
    config = importlib.import_module("configs.picking").get_config("stead").to_dict()["data"]
    assert {name: config[name] for name in SETTINGS} == SETTINGS


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["prepared.json", "index.npz"], "prepared"),
        (["merge.csv", "merge.hdf5"], "stead"),
        (["chunk2.csv"], "stead"),
        (["eq_MLmag.csv"], "stead"),
        (["metadata.csv", "waveforms.hdf5"], "seisbench"),
        (["metadata_2014.csv", "chunks"], "seisbench"),
        (["DiTing330km_part_0.csv"], "diting"),
        (["DiTing330km_light.csv"], "diting"),
        (["2020/XX/day.mseed", "picks.csv"], "folder"),
        (["a/b.SAC"], "folder"),
        (["my_picks.csv", "2020/day.mseed"], "folder"),
    ],
)
def test_formats_are_found_by_looking(tmp_path, files, expected):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert detect_format(tmp_path) == expected
    if "/" not in files[0]:
        assert detect_format(tmp_path / files[0]) == expected


def test_formats_that_cannot_be_told(tmp_path):
    with pytest.raises(ValueError, match="none of the files by which"):
        detect_format(tmp_path)
    (tmp_path / "merge.csv").touch()
    (tmp_path / "metadata.csv").touch()
    with pytest.raises(ValueError, match="tables of seisbench and stead; say which with --format"):
        detect_format(tmp_path)
    (tmp_path / "mine.csv").touch()
    assert detect_format(tmp_path / "mine.csv") == "stead"
    assert detect_format("gs://bucket/set") == "prepared"
    assert detect_format("seisbench:ETHZ") == "seisbench"
    with pytest.raises(FileNotFoundError, match="does not exist"):
        detect_format(tmp_path / "nothing")


def test_recordings_are_known_by_their_content_and_through_links(tmp_path):
    archive, mine = tmp_path / "archive", tmp_path / "mine"
    write(three(seconds=10), archive / "XX.ABC..HHZ.D.2021.063")
    (mine / "notes").mkdir(parents=True)
    (mine / "notes" / "read.me").write_text("nothing yet")
    with pytest.raises(ValueError, match="none of the files by which"):
        detect_format(mine)
    (mine / "2021").symlink_to(archive, target_is_directory=True)
    assert detect_format(mine) == "folder"
