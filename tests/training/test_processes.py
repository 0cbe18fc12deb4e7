"""Training over real processes, as on a cluster: what one process learns, two learn together."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from seismollm_jax import parallel
from seismollm_jax.training.saved import load
from tests import setups
from tests.training.runs import ROOT, environment, free_port

CHANGES = {"augment.enabled": True, "train.epochs": 2}
FLAGS = [f"--config.{name}={value}" for name, value in {**setups.TINY, **CHANGES}.items()]
FIGURES = ("loss", "train_loss", "magnitude/mae", "magnitude/r2", "magnitude/n")


def train(
    data: Path, workdir: Path, *flags: str, devices: int = 1, **variables: str
) -> subprocess.Popen:
    command = [sys.executable, "train.py", "--config=configs/magnitude.py:smoke", *FLAGS, *flags]
    return subprocess.Popen(
        [*command, f"--config.data.path={data}", f"--workdir={workdir}"],
        cwd=ROOT,
        env=environment(devices) | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finished(*runs: subprocess.Popen) -> list[str]:
    outputs = [run.communicate(timeout=280)[0] for run in runs]
    assert [run.returncode for run in runs] == [0] * len(runs), "\n".join(outputs)
    return outputs


def figures(workdir: Path) -> list[tuple[int, str, float]]:
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [(row["step"], name, row[name]) for row in rows for name in FIGURES if name in row]


def test_two_processes_learn_what_one_does(data_folder: Path, tmp_path: Path) -> None:
    port = free_port()
    together = [
        train(
            *(data_folder, tmp_path / "two"),
            *(f"--coordinator_address=localhost:{port}", "--num_processes=2"),
            f"--process_id={number}",
        )
        for number in range(2)
    ]
    first, second = finished(*together)
    finished(train(data_folder, tmp_path / "one", devices=2))
    assert "2 process(es)" in first
    assert "step" not in second.replace("Step", "")  # only process 0 reports
    two, one = figures(tmp_path / "two"), figures(tmp_path / "one")
    assert [row[:2] for row in two] == [row[:2] for row in one]
    assert len({step for step, *_ in two}) > 5
    np.testing.assert_allclose([row[2] for row in two], [row[2] for row in one], rtol=5e-4)
    found, expected = load(tmp_path / "two"), load(tmp_path / "one")
    for name, value in expected.params.items():
        np.testing.assert_allclose(found.params[name], value, atol=2e-4, err_msg=name)


def test_a_process_among_several_says_so_or_is_told(data_folder: Path, tmp_path: Path) -> None:
    """Eight lone trainings in one working directory are the classical accident with srun."""
    run = train(data_folder, tmp_path, SLURM_STEP_NUM_TASKS="8")
    output = run.communicate(timeout=100)[0]
    assert run.returncode == 1
    assert "srun started 8 processes: give --distributed for one run over all" in output


@pytest.mark.parametrize(
    ("cluster", "message"),
    [
        (parallel.Cluster(coordinator_address="localhost:1"), "belong together; give all three"),
        (parallel.Cluster(num_processes=2, process_id=0), "belong together"),
    ],
)
def test_half_a_description(cluster: parallel.Cluster, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parallel.start(None, cluster)


def test_alone_there_is_nothing_to_join(monkeypatch: pytest.MonkeyPatch) -> None:
    parallel.start(None)
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "1")
    parallel.start(None)
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "4")
    with pytest.raises(ValueError, match=r"mpirun started 4 processes: .*--nodistributed"):
        parallel.start(None)
    parallel.start(False)


def test_what_process_0_does_first() -> None:
    assert parallel.main_first(lambda: 3) == 3
