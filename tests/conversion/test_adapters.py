"""Checkpoints without what the backbone gives: written, read everywhere, refused where wrong."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import seismollm_jax as sj
from seismollm_jax.conversion import adapters, inspect, verify
from seismollm_jax.conversion.foreign import Given
from seismollm_jax.conversion.report import Report
from seismollm_jax.models.seismollm.names import GPT2_PREFIX
from seismollm_jax.training import backbone, checkpoint, saved
from seismollm_jax.training.backbone import VARIABLE, BackboneError
from tests.conversion import originals
from tests.models import tiny

FROZEN = 3 * 4 * 2  # layers, linear layers in each, kernel and bias


def gpt2(path: Path, *, change: float = 0.0) -> Path:
    """The GPT-2 that the recorded networks were trained on; changed in its last value."""
    path.mkdir()
    fields = {"model_type": "gpt2", "n_embd": 64, "n_head": 4, "n_layer": 4, "n_positions": 256}
    vocabulary = {"vocab_size": 7, "bos_token_id": 0, "eos_token_id": 0}
    (path / "config.json").write_text(json.dumps(fields | vocabulary))
    arrays = {
        name.removeprefix(GPT2_PREFIX).replace(".base_layer", ""): value.copy()
        for name, value in tiny.state_dict("magnitude").items()
        if name.startswith(GPT2_PREFIX) and "lora_" not in name
    }
    arrays["h.2.mlp.c_proj.bias"][-1] += change
    save_file(arrays, path / "model.safetensors")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A converted network, its GPT-2, and it without the frozen arrays; not to be changed."""
    folder = tmp_path_factory.mktemp("adapters")
    source = originals.bare(folder / "a.safetensors", tiny.full_state_dict("magnitude"))
    originals.import_file(source, folder / "run", originals.given("magnitude"))
    gpt2(folder / "gpt2")
    write(folder / "run", folder / "small", str(folder / "gpt2"))
    return folder


@pytest.fixture
def moved(folder: Path, tmp_path: Path) -> Path:
    """The folder of a checkpoint whose GPT-2 is no longer where it was."""
    shutil.copytree(folder / "small", tmp_path / "small")
    file = tmp_path / "small/description/metadata"
    file.write_text(file.read_text().replace(str(folder / "gpt2"), str(tmp_path / "old")))
    return tmp_path


def write(directory: Path, output: Path, source: str | None = None) -> Report:
    report = Report("adapters")
    adapters.write(directory, output, source=source, report=report)
    return report


def assert_same_network(a: Path, b: Path) -> None:
    one, two = saved.load(a), saved.load(b)
    for part in ("params", "frozen", "stats"):
        ours, theirs = getattr(one, part), getattr(two, part)
        assert ours.keys() == theirs.keys()
        for name, leaf in ours.items():
            np.testing.assert_array_equal(leaf, theirs[name], strict=True)
            assert theirs[name].devices() == {jax.local_devices()[0]}


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_network_is_the_same_and_the_frozen_arrays_are_not_there(folder: Path) -> None:
    assert_same_network(folder / "run", folder / "small")
    stored = saved.read_shapes(folder / "small")
    assert stored.get("frozen", {}) == {}
    assert "train" not in listed(folder / "small")
    description = saved.read_description(folder / "small")
    entry = description["backbone"]
    frozen = saved.load(folder / "run").frozen
    assert (entry["source"], entry["arrays"]) == (str(folder / "gpt2"), FROZEN)
    assert len(frozen) == FROZEN
    assert entry["numbers"] == sum(leaf.size for leaf in frozen.values())
    assert entry["sha256"] == backbone.sha256({k: np.asarray(v) for k, v in frozen.items()})
    whole = saved.read_description(saved.find(folder / "run"))
    changed = ("backbone", "sums")
    assert {k: v for k, v in description.items() if k not in changed} == {
        k: v for k, v in whole.items() if k not in changed
    }


def test_its_own_checksums_are_checked(folder: Path, tmp_path: Path) -> None:
    saved.verify(folder / "small")
    copy = shutil.copytree(folder / "small", tmp_path / "small")
    file = copy / "description/metadata"
    description = json.loads(file.read_text())
    description["sums"]["model"] += 1
    file.write_text(json.dumps(description))
    with pytest.raises(saved.DamagedError, match="not those that were written"):
        saved.verify(copy)


def test_prediction_takes_it(folder: Path) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, originals.WINDOW)).astype(np.float32)
    one, two = (sj.load(folder / name).forward(x) for name in ("run", "small"))
    np.testing.assert_array_equal(one, two)


def test_conversions_take_it(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("run", "small"):
        originals.export(folder / name, tmp_path / f"{name}.safetensors")
    whole, small = (load_file(tmp_path / f"{name}.safetensors") for name in ("run", "small"))
    originals.assert_same(small, whole)
    report = Report("inspect")
    inspect.inspect(folder / "small", report)
    assert report.facts["parameters"]["frozen"] == 0
    assert report.facts["left out"]["source"] == str(folder / "gpt2")
    monkeypatch.setattr(verify, "_outputs", lambda *given: [])
    report, config_for = Report("verify"), originals.config_for
    where = (folder / "run", folder / "small")
    verify.verify(*where, given=Given(), config_for=config_for, report=report)
    assert report.facts["compared"]["equal"] == len(tiny.file_layout("magnitude"))
    assert report.facts["training"] == "not in both"


def test_to_torch_writes_a_state_dict_of_it(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    report = originals.export(folder / "small", tmp_path / "a.pth")
    assert report.facts["training"] is False
    assert [*originals.load(tmp_path / "a.pth")] == [*tiny.file_layout("magnitude")]


def test_a_backbone_that_is_not_there(moved: Path, folder: Path) -> None:
    digest = saved.read_description(moved / "small")["backbone"]["sha256"]
    text = rf"small leaves out the 24 .* SHA-256 {digest}, but the backbone '.*old' cannot be had"
    with pytest.raises(BackboneError, match=rf"{text}: .*set {VARIABLE} to"):
        saved.load(moved / "small")


def test_a_backbone_that_moved(moved: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(folder / "gpt2"))
    assert_same_network(folder / "run", moved / "small")
    # The variable is also how a name of the hub is given to what lies in a folder.
    write(moved / "small", moved / "named", "openai-community/gpt2")
    entry = saved.read_description(moved / "named")["backbone"]
    assert entry["source"] == "openai-community/gpt2"
    assert_same_network(folder / "run", moved / "named")


def test_another_backbone(moved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = gpt2(moved / "old", change=1e-6)
    arrays = backbone.read(
        *(saved.read_description(moved / "small")[k] for k in ("config", "settings")),
        str(other),
        saved.read_shapes(moved / "small")["params"],
    )
    wanted = saved.read_description(moved / "small")["backbone"]["sha256"]
    text = f"SHA-256 {wanted}; those of '{other}' have {backbone.sha256(arrays)}: it is another"
    with pytest.raises(BackboneError, match=f"{text} .*{VARIABLE}"):
        saved.load(moved / "small")
    monkeypatch.setenv(VARIABLE, str(other))
    with pytest.raises(BackboneError, match=rf"those of .* \(taken from {VARIABLE}={other}\)"):
        saved.load(moved / "small")


def test_writing_with_another_backbone(folder: Path, tmp_path: Path) -> None:
    other = gpt2(tmp_path / "gpt2", change=1e-6)
    text = (
        r"not those of the backbone '.*/gpt2'.*1 differ:\n  backbone/blocks/2/mlp/c_proj/base/bias"
    )
    with pytest.raises(BackboneError, match=text):
        write(folder / "run", tmp_path / "new", str(other))
    assert listed(tmp_path) == ["gpt2"]


def test_writing_over_something(folder: Path) -> None:
    with pytest.raises(FileExistsError, match="small exists; choose another --output"):
        write(folder / "run", folder / "small")


def test_a_random_backbone_cannot_be_left_out(folder: Path, tmp_path: Path) -> None:
    """Without a name, the one counts that the network was trained with."""
    run = shutil.copytree(saved.find(folder / "run"), tmp_path / "run")
    file = run / "description/metadata"
    description = json.loads(file.read_text())
    description["config"]["backbone"]["weights"] = "random"
    file.write_text(json.dumps(description))
    with pytest.raises(BackboneError, match=r"'random' is random GPT-2 weights.* nothing can be"):
        write(run, tmp_path / "small")
    assert listed(tmp_path) == ["run"]


def test_a_network_that_learns_everywhere(tmp_path: Path) -> None:
    parts = ({"head/bias": jax.numpy.ones(3)}, {}, {"norm/mean": jax.numpy.zeros(2)})
    checkpoint.write_network(tmp_path / "run", *parts, {"task": "polarity"})
    report = write(tmp_path / "run", tmp_path / "small")
    assert report.facts["backbone"] is None
    assert_same_network(tmp_path / "run", tmp_path / "small")
    assert "backbone" not in saved.read_description(tmp_path / "small")


ARRAYS = {"a/b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.float32([1])}


def test_the_hash_is_of_names_types_shapes_and_values() -> None:
    one = backbone.sha256(ARRAYS)
    again = {name: np.asarray(ARRAYS[name], order="F") for name in reversed(ARRAYS)}
    assert backbone.sha256(again) == one
    assert backbone.sha256({k: v.astype(">f4") for k, v in ARRAYS.items()}) == one
    others = [
        {**ARRAYS, "a": np.float32([np.nextafter(np.float32(1), 2)])},
        {**ARRAYS, "a": np.float32([1]).view(np.int32)},
        {**ARRAYS, "a": np.float32([[1]])},
        {"a/b": ARRAYS["a/b"], "c": ARRAYS["a"]},
        {"a": ARRAYS["a"]},
        {**ARRAYS, "a/b": ARRAYS["a/b"].reshape(3, 2)},
    ]
    assert len({one, *map(backbone.sha256, others)}) == len(others) + 1
