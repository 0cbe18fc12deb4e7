"""Trainings that go on after a conversion as if there had been none."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from seismollm_jax import experiment as experiments
from seismollm_jax.conversion import training_state
from seismollm_jax.conversion.network import counters
from seismollm_jax.conversion.opening import open_network
from seismollm_jax.models.seismollm.gpt2 import GPT2Config
from seismollm_jax.training import loop, saved
from seismollm_jax.training.checkpoint import Checkpoints
from seismollm_jax.training.optim import Triangle, make_optimizer
from seismollm_jax.training.step import make_train_step
from tests import setups
from tests.conversion import originals
from tests.golden_files import relative_difference
from tests.models import tiny

TOLERANCE = 1e-4
STEPS = 6  # of the recorded continuation


def batch(k: int) -> dict[str, np.ndarray]:
    golden, i = tiny.golden("distance"), k % 4
    target = golden["train/y"][i].astype(np.float32)
    return {
        "waveform": golden["train/x"][i].swapaxes(1, 2),
        "distance_km": target,
        "valid": np.ones(len(target), np.float32),
        "readable": np.ones(len(target), np.float32),
    }


def test_recorded_training_goes_on(tmp_path: Path) -> None:
    """The losses of the original after it resumed; dropout is off, as it was there.

    The original's first step after resuming runs at the base rate, so its rates are given.
    """
    source = originals.original(tmp_path / "dis.pth", "distance")
    off = {"embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0}
    told = originals.given(
        "distance", gpt2=dataclasses.replace(originals.GPT2, **off), lora_dropout=0.0
    )
    originals.import_file(source, tmp_path / "run", told)

    golden, layout = tiny.golden("distance_training"), setups.layout(1)
    checkpoints = Checkpoints(tmp_path / "run", maximise=False)
    description = checkpoints.latest_description()
    assert description is not None
    experiment = experiments.make(description["config"], description["settings"])
    options = experiment.config["optim"]
    optimizer = make_optimizer(
        options["name"], weight_decay=options["weight_decay"], momentum=options["momentum"]
    )
    parts = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), experiment.abstract()[1:])
    params, frozen, stats = layout.replicate(parts)
    fresh = layout.replicate(optimizer.init(params))
    blank = {"step": layout.replicate(np.int32(0)), "params": params, "stats": stats}
    restored, frozen = checkpoints.restore({**blank, "opt": fresh}, frozen)
    checkpoints.close()
    assert int(restored["step"]) == 2

    rate = Triangle(*(options[n] for n in ("base_lr", "max_lr", "up_steps", "down_steps")))
    assert [rate(2 + k) for k in range(1, STEPS)] == pytest.approx(golden["resume/lr"][1:], 1e-12)
    step = make_train_step(experiment, optimizer, layout)

    def losses(state: Any) -> np.ndarray:
        found = []
        for k in range(STEPS):
            lr = np.float32(golden["resume/lr"][k])
            data = layout.to_global(batch(k))
            state, figures = step(state, frozen, data, jax.random.key(0), lr)
            found.append(float(figures["loss"]))
        return np.array(found)

    copy = jax.tree.map(lambda leaf: layout.replicate(np.asarray(leaf)), restored)  # donated
    without = relative_difference(losses({**copy, "opt": fresh}), golden["resume/loss"])
    found = relative_difference(losses(restored), golden["resume/loss"])
    print(f"losses: {found:.1e}; with moments that begin anew: {without:.1e}")
    assert found < TOLERANCE
    assert without > 100 * TOLERANCE  # the moments matter, so the test can fail


# -- trainings of this project -------------------------------------------------------------------

CHANGES = {
    "backbone.tuning": "lora",
    "lora.rank": 2,
    "lora.dropout": 0.2,  # drawn from the step number, which has to come along
    "augment.enabled": True,
    "optim.up_steps": 5,
}


def config(folder: Path, epochs: int) -> dict[str, Any]:
    return setups.config("magnitude", folder, {**CHANGES, "train.epochs": epochs})


def latest(workdir: Path) -> Path:
    steps = [int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdigit()]
    return workdir / "checkpoints" / str(max(steps))


def everything(workdir: Path) -> dict[str, np.ndarray]:
    """All arrays of the latest checkpoint, the optimiser's too."""
    stored = saved.load(latest(workdir))
    experiment = experiments.make(stored.description["config"], stored.description["settings"])
    blank = training_state.from_config(stored.description["config"]["optim"])
    empty = training_state.optimizer_state(blank, experiment.abstract().params)
    moments = jax.tree_util.tree_leaves_with_path(saved.read_optimizer(stored.path, empty))
    arrays = {**stored.params, **stored.frozen, **stored.stats}
    arrays |= {f"opt{jax.tree_util.keystr(path)}": leaf for path, leaf in moments}
    return {name: np.asarray(leaf) for name, leaf in arrays.items()}


@pytest.fixture(scope="module")
def runs(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`straight` has gone on for two epochs, `half` for one."""
    folder = tmp_path_factory.mktemp("runs")
    loop.run(config(data_folder, 1), folder / "half")
    loop.run(config(data_folder, 2), folder / "straight")
    return folder


def test_there_and_back_in_the_middle_of_a_run(runs: Path, data_folder: Path) -> None:
    pytest.importorskip("torch")
    originals.export(runs / "half", runs / "half.pth")
    told = originals.Given()  # the file describes itself
    originals.import_file(runs / "half.pth", runs / "again", told)
    before, after = everything(runs / "half"), everything(runs / "again")
    originals.assert_same(dict(sorted(after.items())), dict(sorted(before.items())))

    scores = loop.run(config(data_folder, 2), runs / "again")
    found, expected = everything(runs / "again"), everything(runs / "straight")
    originals.assert_same(dict(sorted(found.items())), dict(sorted(expected.items())))
    descriptions = [saved.read_description(latest(runs / n)) for n in ("again", "straight")]
    for name in ("progress", "validation", "split_hash", "dataset", "settings", "contract"):
        assert descriptions[0][name] == descriptions[1][name], name
    assert scores.items() >= descriptions[1]["validation"].items()
    assert descriptions[0]["conversion"]["source"] == "half.pth"
    assert descriptions[1]["conversion"] is None
    # Each step is a training pass of every batch norm.
    network = open_network(latest(runs / "again"), originals.Given(), originals.config_for)
    step = int(latest(runs / "straight").name)
    assert counters(network) == step == 2 * int(latest(runs / "half").name)


def test_file_without_a_word_about_itself(runs: Path, data_folder: Path, tmp_path: Path) -> None:
    """As the original writes it: what it does not say is told, and the training goes on as well."""
    pytest.importorskip("torch")
    originals.export(runs / "half", tmp_path / "half.pth")
    content = originals.load(tmp_path / "half.pth")
    del content["seismollm_jax"]
    settings = config(data_folder, 2)
    told = originals.Given(
        task="emg",
        gpt2=GPT2Config(**settings["backbone"]["random"]),
        window=settings["data"]["window"],
        lora_dropout=settings["lora"]["dropout"],
    )
    path = originals.save(tmp_path / "a.pth", content)
    report = originals.import_file(path, tmp_path / "run", told)
    # Sizes of what this network does not have, as the command says that it prints.
    settings |= {name: report.facts["config"][name] for name in ("head", "embedder")}
    loop.run(settings, tmp_path / "run")
    found, expected = everything(tmp_path / "run"), everything(runs / "straight")
    originals.assert_same(dict(sorted(found.items())), dict(sorted(expected.items())))
    descriptions = [
        saved.read_description(latest(path)) for path in (tmp_path / "run", runs / "straight")
    ]
    for name in ("progress", "validation", "split_hash"):
        assert descriptions[0][name] == descriptions[1][name], name


def test_weights_alone_begin_at_step_0(runs: Path) -> None:
    step = int(latest(runs / "straight").name)
    originals.export(latest(runs / "straight"), runs / "end.safetensors", file_format="safetensors")
    report = originals.import_file(runs / "end.safetensors", runs / "from end", originals.Given())
    description = saved.read_description(latest(runs / "from end"))
    assert description["conversion"]["counters"] == {"step": 0, "values": step}
    assert report.facts["progress"]["step"] == 0


def test_latest_that_is_not_the_best(runs: Path, tmp_path: Path) -> None:
    """Converted alone, a checkpoint is the best that there is."""
    pytest.importorskip("torch")
    one = latest(runs / "straight")
    copy = shutil.copytree(one, tmp_path / "copy")
    file = copy / "description/metadata"
    description = json.loads(file.read_text())
    description["progress"]["best_step"] = 1
    file.write_text(json.dumps(description))
    originals.export(copy, tmp_path / "a.pth")
    originals.import_file(tmp_path / "a.pth", tmp_path / "run", originals.Given())
    assert saved.find(tmp_path / "run").name == one.name
    found = saved.read_description(latest(tmp_path / "run"))["progress"]
    assert found == description["progress"] | {"best_step": int(one.name)}
