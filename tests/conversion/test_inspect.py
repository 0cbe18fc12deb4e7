"""inspect: what files and directories of every kind are said to hold."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from seismollm_jax.conversion import inspect
from seismollm_jax.conversion.report import Report
from seismollm_jax.models.seismollm import pretrained
from tests import setups
from tests.conversion import originals
from tests.models import tiny
from tests.models.test_pretrained import CONFIG, weights


def run(source: Path) -> Report:
    report = Report("inspect")
    inspect.inspect(source, report)
    return report


def columns(report: Report) -> dict[str, tuple[str, ...]]:
    """Rows by source, or by target where there is none."""
    found = {row[0] if row[0] != "-" else row[1]: row for row in report.rows}
    assert len(found) == len(report.rows)
    return found


@pytest.mark.parametrize("task", ["picking", "distance"])
def test_training_file_of_the_original(tmp_path: Path, task: str) -> None:
    report = run(originals.original(tmp_path / "a.pth", task))
    facts, recorded = report.facts, tiny.training(task)
    assert (facts["format"], facts["wrappers"]) == ("pth", "none")
    assert facts["task"] == {"picking": "picking", "distance": "magnitude or distance"}[task]
    assert facts["settings"]["layers"] == 3
    assert facts["assumed"]["sampling_rate_hz"] == 100.0
    assert facts["assumed"]["n_head"] == 1
    training = facts["training"]
    assert (training["epoch"], training["loss"]) == (recorded["epoch"], recorded["loss"])
    assert training["parameters with moments"] == len(recorded["state_indices"])
    assert training["schedule"] == recorded["scheduler_dict"]
    assert training["optimizer"]["betas"] == (0.9, 0.999)
    rows, layout = columns(report), tiny.file_layout(task)
    assert {name: row[3:] for name, row in rows.items()} == {
        name: (str(shape), dtype) for name, (shape, dtype) in layout.items()
    }
    assert rows["convs.0.norm.running_var"][1] == "embedder/blocks/0/norm/var"
    assert rows["convs.0.norm.num_batches_tracked"][1] == "-"
    assert facts["arrays"] == len(layout)
    assert facts["numbers"] == sum(int(np.prod(shape)) for shape, _ in layout.values())


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        (None, None),
        ([1], "not understood: list"),
        (np.ones(3, np.float32), "not understood: ndarray"),
        ({"state": 3}, "not understood: dict"),
    ],
)
def test_optimizers_that_are_none(tmp_path: Path, stored: Any, said: str | None) -> None:
    path = originals.original(
        tmp_path / "a.pth", "distance", lambda content: content.update(optimizer_dict=stored)
    )
    assert run(path).facts["training"]["optimizer"] == said


def test_wrapped_and_bare(tmp_path: Path) -> None:
    arrays = tiny.full_state_dict("polarity")
    named = {f"module._orig_mod.{name}": value for name, value in arrays.items()}
    facts = run(originals.bare(tmp_path / "a.safetensors", named)).facts
    assert (facts["format"], facts["wrappers"]) == ("safetensors", "module._orig_mod.")
    assert facts["task"] == "polarity or back_azimuth"
    assert "training" not in facts


def test_files_of_other_networks(tmp_path: Path) -> None:
    save_file(weights(), tmp_path / "gpt2.safetensors")
    report = run(tmp_path / "gpt2.safetensors")
    assert report.facts["task"].startswith("not recognised: not a SeisMoLLM state dict")
    assert set(columns(report)) == set(weights())
    arrays = tiny.full_state_dict("distance") | {"out_head.lin.weight": np.ones((5, 8), np.float32)}
    facts = run(originals.bare(tmp_path / "a.safetensors", arrays)).facts
    assert facts["task"] == "unknown"


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of a width that no published GPT-2 has; not to be changed."""
    folder = tmp_path_factory.mktemp("run") / "run"
    progress = {"step": 1, "epoch": 1, "best": 0.5, "best_step": 1, "epochs_since_best": 0}
    config = setups.config("magnitude", changes={"backbone.tuning": "lora", "lora.rank": 2})
    setups.save_random(folder, config, {"progress": progress})
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_checkpoints(workdir: Path) -> None:
    for folder in (workdir, workdir / "checkpoints", workdir / "checkpoints/1"):
        report = run(folder)
        facts = report.facts
        assert facts["format"] == "checkpoint"
        assert facts["path"] == str(workdir / "checkpoints/1")
        assert facts["task"] == "magnitude"
        assert facts["settings"]["gpt2"]["n_embd"] == 16
        assert facts["contract"]["window"] == 640
        assert facts["progress"]["best"] == 0.5
    experiment = setups.experiments.make(
        setups.config(
            "magnitude",
            changes={
                "backbone.tuning": "lora",
                "lora.rank": 2,
            },
        )
    )
    parts = experiment.abstract()
    for part, what in ((parts.params, "learns"), (parts.frozen, "frozen")):
        named = {row[1] for row in report.rows if row[2] == what}
        assert named == set(part)
        count = sum(int(np.prod(leaf.shape)) for leaf in part.values())
        assert facts["parameters"][what] == count > 0
    assert {row[1] for row in report.rows if row[2] == "statistic"} == set(parts.stats)


def test_file_that_describes_itself(workdir: Path, tmp_path: Path) -> None:
    """It is believed, even where shapes alone would not do."""
    originals.export(workdir, tmp_path / "a.safetensors", file_format="safetensors")
    report = run(tmp_path / "a.safetensors")
    facts = report.facts
    assert facts["task"] == "magnitude"
    assert facts["settings"]["gpt2"]["n_embd"] == 16
    assert facts["contract"]["window"] == 640
    assert facts["conversion"]["merged"] is False
    assert "assumed" not in facts
    ours = {row[1] for row in run(workdir).rows}
    assert {row[1] for row in report.rows} - {"-"} == ours


# -- GPT-2 ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`huggingface` and `converted`; not to be changed."""
    folder = tmp_path_factory.mktemp("gpt2")
    (folder / "huggingface").mkdir()
    (folder / "huggingface/config.json").write_text(json.dumps(CONFIG))
    save_file(weights(), folder / "huggingface/model.safetensors")
    pretrained.convert(str(folder / "huggingface"), folder / "converted")
    return folder


def test_gpt2_of_hugging_face(gpt2: Path) -> None:
    report = run(gpt2 / "huggingface")
    assert report.facts["format"] == "GPT-2"
    assert report.facts["sizes"]["n_embd"] == CONFIG["n_embd"]
    assert set(columns(report)) == set(weights())
    assert report.facts["arrays"] == len(weights())


def test_gpt2_of_this_project(gpt2: Path) -> None:
    report = run(gpt2 / "converted")
    assert report.facts["format"] == "GPT-2"
    assert report.facts["sizes"]["n_embd"] == CONFIG["n_embd"]
    own = {name: v for name, v in weights().items() if name != "wte.weight"}
    assert {name: row[3] for name, row in columns(report).items()} == {
        name: str(value.shape) for name, value in own.items()
    }
    assert report.facts["arrays"] == len(own)
    assert report.facts["description"]["parameters"] == report.facts["numbers"]


# -- what is damaged or none of these ------------------------------------------------------------


def test_nothing_that_is_known(workdir: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        run(tmp_path / "nowhere")
    (tmp_path / "text.pth").write_text("hello, hello, hello")
    with pytest.raises(ValueError, match=r"text\.pth is neither a PyTorch nor a safetensors file"):
        run(tmp_path / "text.pth")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty holds no checkpoint"):
        run(tmp_path / "empty")
    # A training that has not come to its first checkpoint.
    shutil.copy(workdir / "config.json", tmp_path / "empty")
    with pytest.raises(ValueError, match="empty holds no checkpoint"):
        run(tmp_path / "empty")


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("huggingface", "model.safetensors"),
        ("huggingface", "config.json"),
        ("converted", "gpt2.json"),
        ("converted", "arrays/_METADATA"),
        ("run", "checkpoints/1/description/metadata"),
        ("run", "checkpoints/1/model/_METADATA"),
    ],
)
def test_truncated(gpt2: Path, workdir: Path, tmp_path: Path, name: str, damage: str) -> None:
    copy = shutil.copytree(workdir if name == "run" else gpt2 / name, tmp_path / "copy")
    content: Any = (copy / damage).read_bytes()
    (copy / damage).write_bytes(content[: len(content) // 2])
    with pytest.raises(
        ValueError, match=r"copy.*(damaged|cannot be read|Unterminated|Expecting|truncated)"
    ):
        run(copy)


def test_truncated_file(tmp_path: Path) -> None:
    path = originals.bare(tmp_path / "a.safetensors", tiny.full_state_dict("distance"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"a\.safetensors is not readable, truncated or damaged"):
        run(path)
