"""The published SeisT weights against recordings of the PyTorch original.

Neither is part of this repository. The tests run where SEIST_WEIGHTS names a folder with the files
of the authors (seist_s_dpk_diting.pth, ...) and SEIST_GOLDEN one with the recordings.
"""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from seismollm_jax.conversion import comparison
from seismollm_jax.conversion.foreign import Given
from seismollm_jax.conversion.opening import open_network
from seismollm_jax.models.state import merge
from tests.conversion import originals
from tests.golden_files import relative_difference
from tests.models.seist_files import OUTPUTS, published

LENGTHS = (8192, 6000, 1001)


@pytest.mark.parametrize("task", OUTPUTS)
@pytest.mark.parametrize("size", ["s", "m", "l"])
def test_outputs_of_the_published_weights(size: str, task: str) -> None:
    source = published("SEIST_WEIGHTS") / f"seist_{size}_{task}_diting.pth"
    golden = published("SEIST_GOLDEN")
    pytest.importorskip("torch")
    if not source.is_file():
        pytest.skip(f"no {source.name}")
    network = open_network(source, Given(task=task), originals.config_for)
    graphdef = network.experiment.abstract().graphdef
    run: Any = jax.jit(lambda arrays, x: merge(graphdef, arrays)(x))  # type: ignore[operator]
    arrays = comparison.state(network)
    inputs, outputs = _load(golden / "inputs.npz"), _load(golden / f"io_{size}_{task}.npz")
    for length in LENGTHS:
        with jax.default_matmul_precision("highest"):
            found = np.asarray(run(arrays, inputs[f"L{length}/x"].swapaxes(1, 2)))
        found = found.swapaxes(1, 2) if found.ndim == 3 else found
        exact = length == 8192  # whose interpolations all double
        allowed = (5e-5 if exact else 1e-4) if task == "dpk" else 1e-5
        assert relative_difference(found, outputs[f"L{length}/out"]) < allowed


def _load(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.mark.parametrize("task", OUTPUTS)
def test_there_and_back(task: str, tmp_path: Path) -> None:
    source = published("SEIST_WEIGHTS") / f"seist_s_{task}_diting.pth"
    originals.import_file(source, tmp_path / "run", Given(task=task), outputs=True)
    originals.export(tmp_path / "run", tmp_path / "again.pth")
    found, expected = originals.load(tmp_path / "again.pth"), _state_dict(source)
    originals.assert_same(dict(found), expected)


def _state_dict(path: Path) -> dict[str, np.ndarray]:
    """As in the file; some of the published ones are plain dictionaries, not ordered ones."""
    torch = pytest.importorskip("torch")
    found = torch.load(path, map_location="cpu", weights_only=True)
    return {name: tensor.numpy().copy() for name, tensor in found.items()}
