"""What several tests of continuous records share."""

from pathlib import Path

import pytest

import seismollm_jax as sj
from tests.inference import event_networks


@pytest.fixture(scope="session")
def event_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of tiny networks for all tasks; see `event_networks.folders`."""
    return tmp_path_factory.mktemp("event-networks")


@pytest.fixture(scope="session")
def networks(event_root: Path) -> sj.EventPredictor:
    """All of them; tests leave them as they are."""
    return event_networks.load(event_root)
