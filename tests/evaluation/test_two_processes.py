"""An evaluation over two processes gives what one process gives, byte for byte."""

import json
import subprocess
import sys
from pathlib import Path

from seismollm_jax.data import catalogue
from tests import setups
from tests.training.runs import ROOT, environment, free_port
from tests.training.test_processes import finished


def evaluate(
    checkpoint: Path, output: Path, devices: int, batch_size: int, *flags: str
) -> subprocess.Popen:
    """The same number of windows a device makes the same program, whose rounding is the same."""
    command = [sys.executable, "eval.py", f"--checkpoint={checkpoint}", f"--output={output}"]
    return subprocess.Popen(
        [*command, "--split=all", "--allow_other_split", f"--batch_size={batch_size}", *flags],
        cwd=ROOT,
        env=environment(devices),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_two_processes_write_what_one_does(data_folder: Path, tmp_path: Path) -> None:
    low = {"options.p_threshold": 0.05, "options.s_threshold": 0.05}  # so that there are picks
    config = setups.config("picking", data_folder, {"data.format": "stead", **low})
    dataset = catalogue.open_dataset(config["data"])
    known = {"dataset": catalogue.fingerprint(dataset), "split_hash": None}
    checkpoint, one, two = tmp_path / "run", tmp_path / "one", tmp_path / "two"
    setups.save_random(checkpoint, config, known)
    cluster = f"--coordinator_address=localhost:{free_port()}", "--num_processes=2"
    outputs = finished(
        *(
            evaluate(checkpoint, two, 1, 10, *cluster, f"--process_id={number}")
            for number in range(2)
        )
    )
    finished(evaluate(checkpoint, one, 8, 40))
    table = (one / "predictions.csv").read_bytes()
    assert (two / "predictions.csv").read_bytes() == table
    assert table.count(b"\n") == 65
    found, expected = (json.loads((folder / "metrics.json").read_text()) for folder in (two, one))
    for name in ("scores", "intervals", "breakdown", "records"):
        assert found[name] == expected[name]
    assert expected["scores"]["p_sample/n"] > 30
    assert "p_sample" in outputs[0]
    assert "p_sample" not in outputs[1]  # only process 0 reports
