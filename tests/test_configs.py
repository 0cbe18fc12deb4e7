"""Every configuration that the project offers, and what the command line says to others."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ml_collections import ConfigDict

from configs import base
from seismollm_jax import experiment as experiments
from seismollm_jax import tasks
from tests import setups

ROOT = Path(__file__).parents[1]


def get(task: str, protocol: str) -> ConfigDict:
    return importlib.import_module(f"configs.{task}").get_config(protocol)


def test_a_file_for_every_task() -> None:
    files = {path.stem for path in (ROOT / "configs").glob("*.py")} - {"__init__", "base"}
    short = {task.short_name: task.name for task in tasks.TASKS.values()}
    assert files == set(short) | set(tasks.TASKS)
    for name, word in short.items():
        assert get(name, "smoke").to_dict() == get(word, "smoke").to_dict()


@pytest.mark.parametrize("protocol", base.PROTOCOLS)
@pytest.mark.parametrize("task", setups.TASKS)
def test_every_task_and_protocol_makes_a_network(task: str, protocol: str) -> None:
    config = get(task, protocol).to_dict()
    published = protocol not in ("builtin", "smoke")
    assert config["backbone"]["weights"] == ("gpt2" if published else "random")
    config["backbone"]["weights"] = "random"  # whose default sizes are those of gpt2
    experiment = experiments.make(config)
    assert experiment.task.name == task
    parts = experiment.abstract()
    learn = sum(leaf.size for leaf in parts.params.values())
    frozen = sum(leaf.size for leaf in parts.frozen.values())
    if published:
        assert 23_000_000 < learn + frozen < 24_000_000
        assert learn < 2_500_000
    else:
        assert frozen == 0
        assert learn < 1_000_000
    train = config["train"]
    for devices in (1, 2, 4, 8):
        assert train["batch_size"] % devices == train["eval_batch_size"] % devices == 0
    json.dumps(config)  # kept in every checkpoint
    # The configurations write the tasks' own defaults out, so that they can be read and changed.
    assert experiment.task.options(**config["options"]) == experiment.task.options()


def test_published_settings() -> None:
    """The numbers of the paper's training on STEAD, which must not drift."""
    config = get("magnitude", "stead")
    assert config.train.batch_size == 1024
    assert (config.optim.base_lr, config.optim.max_lr) == (5e-4, 1e-3)
    assert (config.optim.up_steps, config.optim.down_steps) == (4500, 5000)
    assert (config.train.epochs, config.train.patience) == (200, 30)
    assert (config.data.split.train, config.data.split.val) == (0.8, 0.1)
    few = get("magnitude", "stead_fewshot")
    assert (few.data.split.train, few.data.split.val) == (0.1, 0.05)
    assert (few.optim.up_steps, few.optim.down_steps) == (600, 800)
    assert few.data.magnitude_type == "ml"
    assert not few.data.noise_rows
    assert not get("picking", "stead").data.noise_rows
    assert get("picking", "builtin").data.noise_rows
    assert get("distance", "stead_fewshot").data.magnitude_type == ""


@pytest.mark.parametrize("task", setups.TASKS)
def test_unknown_protocol_lists_all(task: str) -> None:
    message = r"protocol 'quick' is not one of stead, stead_fewshot, builtin, smoke"
    with pytest.raises(ValueError, match=message):
        get(task, "quick")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "detection"}, r"task 'detection' is not one of picking \(dpk\)"),
        ({"model": "seist"}, r"model 'seist' is not one of \['seismollm', 'seist_l', 'seist_m', "),
        ({"backbone.tuning": "half"}, r"backbone\.tuning='half' is not one of"),
        ({"backbone.layers": 3}, r"layers 0 to 2; the backbone has 2"),
        ({"backbone.random.n_head": 3}, r"n_embd=16 is not a multiple of n_head=3"),
        ({"precision.compute": "float16"}, r"precision\.compute='float16' is not one of"),
        ({"patch_size": 0}, r"patch_size=0 must be at least 1"),
        ({"patch_size": 5}, r"patch_size=5 does not divide the GPT-2 width 16"),
        ({"head.channels": (2, 2)}, r"head\.channels needs as many entries as embedder\.kernels"),
        ({"embedder.strides": (2, 2)}, r"embedder\.strides has 2 entries; .* it needs 4"),
        ({"embedder.strides": (9, 2, 2, 1)}, r"embedder\.kernels must be at least its stride"),
        ({"lora.targets": ("mlp.fc",)}, r"lora\.targets \['mlp\.fc'\] are not among"),
        ({"data.window": 9999}, r"9999 samples makes 156 tokens, more than the 64 positions"),
        ({"data.window": 300}, r"300 samples is too short for this model"),
        ({"data.normalisation": "minmax"}, r"normalisation is 'minmax'; choose from std, max"),
        ({"data.p_position_ratio": 1.5}, r"p_position_ratio is 1\.5; it must lie between"),
    ],
)
def test_values_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    config = setups.config("magnitude", changes=changes)
    with pytest.raises(ValueError, match=message):
        experiments.make(config)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config=configs/magnitude.py:smoke", "--config.train.epoch=3"], "no field"),
        (["--config=configs/magnitude.py:smoke", "--config.train.epochs=many"], "many"),
        (["--config=configs/magnitude.py:quick"], "'quick' is not one of stead, stead_fewshot"),
        (["--config=configs/magnitude.py:smoke", "extra"], "unexpected arguments ['extra']"),
    ],
)
def test_command_line_refuses(tmp_path: Path, arguments: list[str], message: str) -> None:
    workdir = tmp_path / "run"
    result = subprocess.run(
        [sys.executable, "train.py", *arguments, f"--workdir={workdir}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode != 0
    assert message in result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    assert not workdir.exists()
