"""The benchmark runs, and its figures have the form that is promised; speed is not judged."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import input_pipeline, pipeline_data, process_tree

ROOT = Path(__file__).parents[2]
TRACES = 6

pytestmark = pytest.mark.skipif(not process_tree.available(), reason="reads Linux's /proc")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmark") / "files"
    input_pipeline.main(arguments(folder, folder.with_name("first.json"), sources=["stead"]))
    return folder


def arguments(folder: Path, output: Path, *, sources: list[str]) -> list[str]:
    return [
        *("--folder", str(folder), "--json", str(output), "--sources", *sources),
        *("--traces", str(TRACES), "--batch", "2", "--batches", "2", "--loader-batches", "2"),
        *("--rounds", "2", "--workers", "0", "--memory-samples", "40"),
    ]


def test_the_same_records_in_every_source(folder: Path) -> None:
    found = {}
    for name in pipeline_data.SOURCES:
        config = pipeline_data.config_of(name, folder)
        source, rows = pipeline_data.records(config)
        assert len(source) == len(rows) == TRACES
        waveforms = [source[i].waveform for i in range(TRACES)]
        # DiTing's rows are in the order of its parts.
        found[name] = sorted(waveforms, key=lambda waveform: float(waveform[0, 0]))
        samples = pipeline_data.DITING_SAMPLES if name == "diting" else 6000
        assert {waveform.shape for waveform in waveforms} == {(samples, 3)}
    for name, waveforms in found.items():
        for waveform, original in zip(waveforms, found["stead"], strict=True):
            same = np.abs(waveform[:6000] - original).max()
            assert same <= (np.ptp(original) / 60_000 if name.endswith("int16") else 0), name


def test_form_of_the_figures(folder: Path, tmp_path: Path, capsys) -> None:
    sources = list(pipeline_data.SOURCES)
    assert input_pipeline.main(arguments(folder, tmp_path / "out.json", sources=sources)) == 0
    figures = json.loads((tmp_path / "out.json").read_text())
    names = set(sources)
    if importlib.util.find_spec("torch"):
        assert figures["pytorch_missing"] is None
        names |= set(input_pipeline.TORCH)
    else:
        assert "torch" in figures["pytorch_missing"]
    assert set(figures["one_thread"]) == set(figures["loader_workers"]) == names
    for name in names:
        assert set(figures["one_thread"][name]) == {"plain", "augmented"}
        assert set(figures["loader_workers"][name]) == {"0"}
        for rates in (*figures["one_thread"][name].values(), figures["loader_workers"][name]["0"]):
            for spread in (rates["samples_per_s"], rates["samples_per_cpu_s"]):
                assert 0 < spread["lowest"] <= spread["median"] <= spread["highest"]
    assert set(figures["memory"]) == set(sources)
    for memory in figures["memory"].values():
        assert len(memory["samples"]) == len(memory["used_mb"]) == 20
        assert memory["samples"][-1] == 40
        assert min(memory["used_mb"]) > 10
    assert figures["machine"]["cores"] >= 1
    assert len(figures["machine"]["load_average_end"]) == 3
    table = capsys.readouterr().err
    assert all(name in table for name in names)


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(SystemExit, match="holds other files"):
        input_pipeline.main(arguments(tmp_path, tmp_path / "out.json", sources=["stead"]))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    "command", [["-m", "benchmarks.input_pipeline"], ["benchmarks/input_pipeline.py"]]
)
def test_started_either_way(command: list[str]) -> None:
    run = subprocess.run(
        [sys.executable, *command, "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert "--memory-samples" in run.stdout
