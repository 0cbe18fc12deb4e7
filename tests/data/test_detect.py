"""Formats found by looking."""

import importlib

import pytest

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
