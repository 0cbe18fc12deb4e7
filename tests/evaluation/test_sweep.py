"""Runs in sequence: failures, interruptions, the table at the end."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from seismollm_jax import experiment as experiments
from seismollm_jax.evaluation import sweep
from seismollm_jax.evaluation.sweep import Run

ROOT = Path(__file__).parents[2]
SWEEPS = sorted((ROOT / "configs/sweeps").glob("*.toml"))

# Stand-ins for the real scripts, since these are tested elsewhere and take their time.
TRAIN = """
import pathlib, sys
given = dict(flag[2:].split("=", 1) for flag in sys.argv[1:])
folder = pathlib.Path(given["workdir"])
with (folder / "calls").open("a") as file:
    file.write("train\\n")
if given.get("config.fail") and not pathlib.Path("mended").exists():
    print("Traceback")
    sys.exit("train.py: ValueError: what was wrong\\n(SEISMOLLM_TRACEBACK=1 shows where)")
if given.get("config.stop") and not pathlib.Path("mended").exists():
    sys.exit(143)
(folder / "shift").write_text(given.get("config.shift", "0"))
"""
EVAL = """
import pathlib, sys
given = dict(flag[2:].split("=", 1) for flag in sys.argv[1:])
output = pathlib.Path(given["output"])
output.mkdir(exist_ok=True)
shift = float((pathlib.Path(given["checkpoint"]) / "shift").read_text())
rows = [f"t{i},{i},e{i},0,{i % 7},{i % 7 + 0.1 * (i % 3) + shift}" for i in range(30)]
names = "trace_name,row,event_id,window_start,true_magnitude,pred_magnitude"
(output / "predictions.csv").write_text("\\n".join([names, *rows]))
with (output.parent / "calls").open("a") as file:
    file.write(f"eval {given['split']}\\n")
"""


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    folder = tmp_path / "scripts"
    folder.mkdir()
    (folder / "train.py").write_text(TRAIN)
    (folder / "eval.py").write_text(EVAL)
    return folder


def runs(*overrides: dict) -> list[Run]:
    return [Run(f"run{number}", "a.py", given) for number, given in enumerate(overrides)]


def test_a_failure_stays_alone_and_is_made_up_for(
    scripts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    three, out = runs({}, {"fail": 1}, {"shift": 0.5}), tmp_path / "out"
    failed = sweep.run_all(three, out, split="val", scripts=scripts)
    assert set(failed) == {"run1"}
    assert "train.py ended with 1: train.py: ValueError: what was wrong" in failed["run1"]
    assert str(out / "run1/train.log") in failed["run1"]
    assert "[2/3] run1: FAILED" in capsys.readouterr().out
    calls = [(out / f"run{n}/calls").read_text().split("\n")[:-1] for n in range(3)]
    assert calls == [["train", "eval val"], ["train"], ["train", "eval val"]]
    text = sweep.tables(three, out, resamples=20)
    assert "| magnitude | run2 | +0.500" in text
    assert "run1" not in text
    assert (out / "comparison.md").read_text() == text
    assert r"\toprule" in (out / "comparison.tex").read_text()
    assert (out / "comparison.csv").read_text().startswith("model,answer,score,value,low,high")

    (scripts / "mended").touch()
    assert sweep.run_all(three, out, split="val", scripts=scripts) == {}
    calls = [(out / f"run{n}/calls").read_text().split("\n")[:-1] for n in range(3)]
    assert calls == [["train", "eval val"], ["train", "train", "eval val"], ["train", "eval val"]]
    assert "run1: finished" in capsys.readouterr().out
    assert (out / "run1/train.log").read_text().count("$ python train.py") == 2
    assert "| magnitude | run1 |" in sweep.tables(three, out, resamples=20)


def test_a_stopped_training_stops_the_sweep(scripts: Path, tmp_path: Path) -> None:
    two, out = runs({"stop": 1}, {}), tmp_path / "out"
    with pytest.raises(SystemExit) as stopped:
        sweep.run_all(two, out, split="test", scripts=scripts)
    assert stopped.value.code == 143
    assert not (out / "run1/calls").exists()
    (scripts / "mended").touch()
    assert sweep.run_all(two, out, split="test", scripts=scripts) == {}


def test_a_folder_is_of_one_run(scripts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    sweep.run_all(runs({"shift": 1, "data.path": "here"}), out, split="test", scripts=scripts)
    sweep.run_all(runs({"shift": 1, "data.path": "there"}), out, split="test", scripts=scripts)
    with pytest.raises(ValueError, match=r"with --config\.shift=1 instead of --config\.shift=2"):
        sweep.run_all(runs({"shift": 2}), out, split="test", scripts=scripts)
    with pytest.raises(FileNotFoundError, match=r"no train\.py; start a sweep from"):
        sweep.run_all(runs({}), out, split="test", scripts=tmp_path)


def test_the_command(scripts: Path, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(
        'config = "a.py"\n[set]\nshift = 1\n[runs.one]\n[runs.two]\nset = { fail = 1 }\n'
    )
    command = [sys.executable, "-m", "seismollm_jax.evaluation.sweep", str(tmp_path / "own.toml")]
    command += [f"--output={tmp_path}/out", "--set=shift=2"]
    done = subprocess.run(
        command, cwd=scripts, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 1, done.stderr
    assert "FAILED: two: train.py ended with 1" in done.stdout
    assert "| magnitude | one | 2.100" in done.stdout
    assert json.loads((tmp_path / "out/one/sweep.json").read_text())["flags"] == [
        "--config=a.py",
        "--config.shift=2",
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("config = ", "is no TOML"),
        ('config = "a.py"', "has no runs"),
        ("[runs.a]", "run a has no config"),
        ('config = "a.py"\nlr = 1\n[runs.a]', "has the field 'lr'"),
        ('config = "a.py"\n[runs.a]\nlr = 1', "runs.a has the field 'lr'"),
        ('config = "a.py"\n[runs."a/b"]', "a run is called 'a/b'"),
        ('config = "a.py"\n[runs.a.set]\ndata.path = "x"', "write fields in quotation marks"),
    ],
)
def test_bad_sweeps(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(ValueError, match=reason):
        sweep.read(tmp_path / "bad.toml")


def test_values_as_flags() -> None:
    given = {"a.b": 0.1, "c": [1, 2], "d": [3], "e": True, "f": "text", "g": ["x"]}
    assert Run("r", "c.py:stead", given).flags() == [
        *("--config=c.py:stead", "--config.a.b=0.1", "--config.c=(1,2,)", "--config.d=(3,)"),
        *("--config.e=True", "--config.f=text", "--config.g=('x',)"),
    ]


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_sweeps_that_come_along(path: Path) -> None:
    """Each of their runs is a configuration that makes a network, and no two are the same."""
    found, split = sweep.read(path, {"data.path": "anywhere"})
    assert split == "test"
    assert len(found) > 2
    assert len({tuple(run.flags()) for run in found}) == len(found)
    for run in found:
        file, _, protocol = run.config.partition(":")
        module = importlib.import_module(file.removesuffix(".py").replace("/", "."))
        config = module.get_config(protocol)
        config.update_from_flattened_dict(dict(run.overrides))
        config.backbone.weights = "random"  # whose default sizes are those of gpt2
        experiments.make(config.to_dict())


def test_sweeps_are_there() -> None:
    assert {path.stem for path in SWEEPS} >= {"fewshot", "ablations", "layers", "builtin"}
