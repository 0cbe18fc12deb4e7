"""What several tests of evaluations share."""

from pathlib import Path

import pytest

from tests.evaluation import checkpoints


@pytest.fixture(scope="session")
def made() -> dict[str, Path]:
    """Checkpoints by task, as far as tests have asked for them."""
    return {}


@pytest.fixture
def trained(
    request: pytest.FixtureRequest,
    made: dict[str, Path],
    data_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A checkpoint of a task, see `checkpoints.make`; tests leave it as it is."""
    task = getattr(request, "param", "magnitude")
    if task not in made:
        made[task] = checkpoints.make(task, data_folder, tmp_path_factory.mktemp(task))
    return made[task]
