"""The scripts from the shell: train, evaluate, predict."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from obspy import Stream, Trace, UTCDateTime
from safetensors.numpy import save_file

from seismollm_jax.training import saved
from tests.models.test_pretrained import CONFIG, weights

ROOT = Path(__file__).parents[1]
SMALL = ("--config.embedder.scales=1", "--config.data.window=640", "--config.train.epochs=1")
THRESHOLD = "0.02"  # of a network that has learnt nothing


def script(name: str, *arguments: str, fails: bool = False) -> str:
    result = subprocess.run(
        [sys.executable, name, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONWARNINGS": "default"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert (result.returncode != 0) == fails, result.stdout
    return result.stdout


@pytest.fixture(scope="module")
def workdir(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training run with a space in its name."""
    workdir = tmp_path_factory.mktemp("runs") / "my run"
    console = script(
        "train.py",
        "--config=configs/picking.py:smoke",
        f"--config.data.path={data_folder}",
        *SMALL,
        f"--workdir={workdir}",
    )
    assert "epoch 1/1: validation" in console
    assert "training: 1 epochs" in console
    return workdir


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute of three components at 100 Hz in miniSEED, with a gap of a second."""
    draw, stream = np.random.default_rng(0), Stream()
    start = UTCDateTime(2021, 2, 3, 4, 5, 6)
    for component in "ZNE":
        data = (1e4 * draw.standard_normal(6000)).astype(np.int32)
        header = {"network": "XX", "station": "STA", "channel": f"HH{component}"}
        header |= {"sampling_rate": 100.0, "starttime": start}
        whole = Trace(data, header)
        stream += whole.slice(endtime=start + 40)
        stream += whole.slice(starttime=start + 41)
    path = tmp_path_factory.mktemp("record") / "day 1.mseed"
    stream.write(str(path), format="MSEED")
    return path


def test_training_leaves_its_files(workdir: Path) -> None:
    found = {path.name for path in workdir.iterdir()}
    assert {"checkpoints", "config.json", "metrics.jsonl", "tensorboard"} <= found
    assert json.loads((workdir / "config.json").read_text())["train"]["epochs"] == 1


def test_evaluation(workdir: Path, tmp_path: Path) -> None:
    console = script("eval.py", f"--checkpoint={workdir}", f"--output={tmp_path}", "--split=val")
    summary = json.loads((tmp_path / "metrics.json").read_text())
    assert summary["provenance"]["command"].startswith("eval.py --checkpoint=")
    assert len(pd.read_csv(tmp_path / "predictions.csv")) == summary["records"] > 0
    assert (tmp_path / "pictures/examples.png").stat().st_size > 3000
    assert "p_sample/f1" in console


def test_prediction(workdir: Path, record: Path, tmp_path: Path) -> None:
    console = script(
        "predict.py",
        f"--checkpoint={workdir}",
        f"--input={record}",
        f"--output={tmp_path / 'out' / 'picks.csv'}",
        f"--plot={tmp_path / 'out' / 'record.png'}",
        f"--p_threshold={THRESHOLD}",
        f"--s_threshold={THRESHOLD}",
        "--batch_size=8",
    )
    picks = pd.read_csv(tmp_path / "out/picks.csv")
    assert list(picks.columns[:4]) == ["trace_id", "phase", "time", "probability"]
    assert f"{len(picks)} picks in" in console
    assert set(picks["trace_id"]) <= {"XX.STA..HH"}
    assert (picks["probability"] >= float(THRESHOLD)).all()
    assert (tmp_path / "out/record.png").stat().st_size > 3000
    assert "gap" in console


def test_conversion_and_training_on_it(data_folder: Path, tmp_path: Path) -> None:
    """From a GPT-2 directory to a network that starts from it."""
    source = tmp_path / "gpt2"
    source.mkdir()
    (source / "config.json").write_text(json.dumps(CONFIG))
    save_file(weights(), source / "model.safetensors")
    console = script(
        "convert_weights.py", "gpt2", f"--source={source}", f"--output={tmp_path / 'flax'}"
    )
    digest = json.loads((tmp_path / "flax/gpt2.json").read_text())["sha256"]
    assert digest in console
    console = script(
        "train.py",
        "--config=configs/magnitude.py:smoke",
        f"--config.data.path={data_folder}",
        *SMALL,
        f"--config.backbone.weights={tmp_path / 'flax'}",
        "--config.backbone.tuning=lora",
        "--config.train.adapters_only",
        f"--workdir={tmp_path / 'run'}",
    )
    assert f"weights: GPT-2 layers 0 to 0 of {tmp_path / 'flax'}" in console
    arguments = ["adapters", f"--checkpoint={tmp_path / 'run'}", f"--output={tmp_path / 'small'}"]
    console = script("convert_weights.py", *arguments)
    assert f"equal bit for bit to those of '{tmp_path / 'flax'}'\nsha256 " in console
    assert saved.read_shapes(saved.find(tmp_path / "run")).get("frozen", {}) == {}
    assert len(saved.load(tmp_path / "small").frozen) == 8


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("eval.py", ["--checkpoint=nowhere", "--output=x"], "nowhere holds no checkpoint"),
        ("predict.py", ["--checkpoint=nowhere", "--input=x"], "nowhere holds no checkpoint"),
        ("predict.py", ["--input=x"], "--checkpoint"),
        ("convert_weights.py", ["gpt3", "--source=x", "--output=y"], "invalid choice: 'gpt3'"),
        ("convert_weights.py", ["gpt2", "--source=./x", "--output=y"], "'./x' is not a directory"),
    ],
)
def test_refusals_are_short(name: str, arguments: list[str], message: str) -> None:
    console = script(name, *arguments, fails=True)
    assert message in console
    assert "Traceback" not in console


def test_help_shows_the_flags_that_scripts_share() -> None:
    shown = script("eval.py", "--help", fails=True)
    for name in ("split", "operating_point", "p_threshold", "s_threshold", "process_id"):
        assert f"\n  --{name}: " in shown


def test_no_waveform_file(workdir: Path, tmp_path: Path) -> None:
    arguments = [f"--checkpoint={workdir}", f"--input={tmp_path}/*.mseed"]
    console = script("predict.py", *arguments, fails=True)
    assert f"no file matches {tmp_path}/*.mseed" in console
    assert "Traceback" not in console
