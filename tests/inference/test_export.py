"""A network written for serving computes the same when it is read again."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import seismollm_jax as sj
from seismollm_jax.inference import export
from seismollm_jax.inference.predictor import Predictor
from tests import setups

WINDOW = 640


@pytest.fixture(scope="module")
def predictors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Predictor]:
    folder = tmp_path_factory.mktemp("checkpoints")
    for task in ("picking", "back_azimuth"):
        setups.save_random(folder / task, setups.config(task))
    return {task: sj.load(folder / task) for task in ("picking", "back_azimuth")}


def windows(count: int) -> np.ndarray:
    return np.random.default_rng(count).normal(size=(count, 3, WINDOW)).astype(np.float32)


@pytest.mark.parametrize("task", ["picking", "back_azimuth"])
def test_round_trip(task: str, predictors: dict[str, Predictor], tmp_path: Path) -> None:
    predictor, file = predictors[task], tmp_path / "deep" / "network.stablehlo"
    contract = predictor.export(file)
    assert contract == tmp_path / "deep" / "network.stablehlo.json"
    read = export.load_exported(file)
    for count in (1, 3):  # any number of windows
        found, expected = read.forward(windows(count)), predictor.forward(windows(count))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    stated = json.loads(contract.read_text())
    assert stated["task"] == task
    assert stated["input"]["shape"] == ["windows", 3, WINDOW]
    assert stated["input"]["component_order"] == "ZNE"
    assert stated["input"]["normalisation"] == predictor.experiment.sample_options.normalisation
    assert stated["output"]["shape"] == ["windows", *expected.shape[1:]]
    assert stated["output"]["channels"] == list(predictor.experiment.task.labels)
    assert stated["platforms"] == ["cpu", "cuda", "tpu"]


def test_a_fixed_batch_for_one_platform(predictors: dict[str, Predictor], tmp_path: Path) -> None:
    predictor, file = predictors["picking"], tmp_path / "two"
    predictor.export(file, batch=2, platforms=["cpu"])
    read = export.load_exported(file)
    np.testing.assert_allclose(
        read.forward(windows(2)), predictor.forward(windows(2)), rtol=1e-5, atol=1e-6
    )
    with pytest.raises(ValueError, match=r"\(3, 3, 640\); this file takes \(2, 3, 640\)"):
        read.forward(windows(3))
    with pytest.raises(ValueError, match=r"\(2, 3, 100\); this file takes"):
        read.forward(windows(2)[:, :, :100])
    with pytest.raises(ValueError, match="not finite"):
        read.forward(np.full((2, 3, WINDOW), np.nan))


def test_what_cannot_be(predictors: dict[str, Predictor], tmp_path: Path) -> None:
    predictor, file = predictors["picking"], tmp_path / "network"
    with pytest.raises(ValueError, match="abacus"):
        predictor.export(file, platforms=["cpu", "abacus"])
    with pytest.raises(ValueError, match="platforms: none"):
        predictor.export(file, platforms=[])
    with pytest.raises(ValueError, match="batch=0"):
        predictor.export(file, batch=0)
    assert not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError):
        export.load_exported(file)


def test_the_command_and_damage(predictors: dict[str, Predictor], tmp_path: Path) -> None:
    file, predictor = tmp_path / "network", predictors["back_azimuth"]
    command = [sys.executable, "-m", "seismollm_jax.inference.export", f"--output={file}"]
    command += [f"--checkpoint={predictor.path}", "--batch=1", "--platforms=cpu"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    contract = tmp_path / "network.json"
    assert f"{contract} says what goes in" in result.stdout
    found, expected = (n.forward(windows(1)) for n in (export.load_exported(file), predictor))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    with pytest.raises(ValueError, match="damaged"):
        export.load_exported(file)
    file.write_bytes(whole)
    contract.write_text(contract.read_text().replace('"format": 1', '"format": 9'))
    with pytest.raises(ValueError, match="format 9"):
        export.load_exported(file)
    contract.write_text("{}")
    with pytest.raises(ValueError, match="not the contract"):
        export.load_exported(file)
