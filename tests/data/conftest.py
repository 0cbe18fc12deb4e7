"""The built-in dataset as it is, and prepared."""

import shutil
from pathlib import Path

import pytest

from seismollm_jax.data import stead
from seismollm_jax.data.records import Dataset
from tests.data.preparing import run
from tests.data.recordings import PICKS, picks_table, three, write


@pytest.fixture(scope="module")
def builtin(data_folder: Path) -> Dataset:
    return stead.read(data_folder)


@pytest.fixture(scope="module")
def packed(builtin: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in dataset, prepared in float32; not to be changed."""
    output = tmp_path_factory.mktemp("prepared") / "set"
    run(builtin, output)
    return output


@pytest.fixture
def packed_copy(packed: Path, tmp_path: Path) -> Path:
    return shutil.copytree(packed, tmp_path / "copy")


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """One station, ten minutes, two events of its only table."""
    write(three(), tmp_path / "waveforms" / "day.mseed")
    picks_table(PICKS).to_csv(tmp_path / "picks.csv", index=False)
    return tmp_path
