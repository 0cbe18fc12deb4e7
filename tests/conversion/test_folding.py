"""Adapters folded into GPT-2: in a file, and as a GPT-2 on its own."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from seismollm_jax import experiment as experiments
from seismollm_jax import tasks
from seismollm_jax.conversion import tensor_files, torch_network
from seismollm_jax.models.seismollm import pretrained
from seismollm_jax.models.seismollm.model import to_tokens
from seismollm_jax.models.seismollm.names import GPT2_PREFIX, PLAIN_PREFIX
from seismollm_jax.models.state import merge
from seismollm_jax.training import saved
from tests import setups
from tests.conversion import originals
from tests.golden_files import relative_difference, thin
from tests.models import tiny


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recorded network of distance, converted; not to be changed."""
    folder = tmp_path_factory.mktemp("dis")
    source = originals.bare(folder / "a.safetensors", tiny.full_state_dict("distance"))
    originals.import_file(source, folder / "run", originals.given("distance"))
    return folder / "run"


def torch_output(path: Path, x: np.ndarray) -> np.ndarray:
    """Output of a file of distance in PyTorch, with nothing but the file and known sizes."""
    arrays = {name: entry.read() for name, entry in tensor_files.open_file(path).tensors.items()}
    return torch_network.forward(
        arrays,
        x,
        strides=tiny.CONFIG.embedder.strides,
        heads=tiny.CONFIG.gpt2.n_head,
        epsilon=tiny.CONFIG.gpt2.layer_norm_epsilon,
        activation=tiny.CONFIG.gpt2.activation_function,
        lora_scale=1.0,
        patch_size=tiny.CONFIG.patch_size,
        output=tasks.get("distance").output,
    )


@pytest.mark.parametrize("file_format", ["pth", "safetensors"])
def test_adapters_folded_in(workdir: Path, tmp_path: Path, file_format: str) -> None:
    pytest.importorskip("torch")
    path = tmp_path / "merged"
    report = originals.export(
        workdir, path, merge_lora=True, file_format=file_format, outputs=file_format == "pth"
    )
    assert report.facts["verification"]["passed"] in (True, None)
    found = tensor_files.open_file(path)
    arrays = tiny.full_state_dict("distance")
    plain = {
        name.replace(GPT2_PREFIX, PLAIN_PREFIX).replace("base_layer.", ""): value
        for name, value in arrays.items()
        if ".lora_" not in name
    }
    assert set(found.tensors) == set(plain)
    for name, value in plain.items():
        adapters = GPT2_PREFIX + name.removeprefix(PLAIN_PREFIX).removesuffix("weight") + "lora_"
        read = found.tensors[name].read()
        if f"{adapters}A.default.weight" in arrays and name.endswith("weight"):
            a, b = (arrays[f"{adapters}{part}.default.weight"].astype(float) for part in "AB")
            np.testing.assert_array_equal(read, (value + (b @ a).T).astype(np.float32))
            assert (read != value).any()
        else:
            originals.assert_same(np.asarray(read), value, name)
    golden = tiny.golden("distance")
    output = torch_output(path, golden["io/L1024/x"])
    assert relative_difference(thin(output, 500), golden["io/L1024/out"].ravel()) < 1e-5
    if file_format == "pth":  # a network on its own again, without adapters
        told = originals.given("distance", tuning="frozen")
        originals.import_file(path, tmp_path / "run", told)
        settings = saved.read_description(saved.find(tmp_path / "run"))["settings"]
        assert settings["tuning"] == "frozen"


def test_adapters_of_another_strength(tmp_path: Path) -> None:
    """Of the recorded networks alpha is as large as the rank, so that the factor is 1."""
    pytest.importorskip("torch")
    changes = {"backbone.tuning": "lora", "lora.rank": 2, "lora.alpha": 5.0}
    config = setups.config(
        "distance", changes={**changes, "lora.targets": ("attn.c_attn", "mlp.c_fc")}
    )
    progress = {"step": 1, "epoch": 1, "best": 0.5, "best_step": 1, "epochs_since_best": 0}
    setups.save_random(tmp_path / "run", config, {"progress": progress})
    path = tmp_path / "a.safetensors"
    report = originals.export(tmp_path / "run", path, merge_lora=True, outputs=True)
    assert report.facts["verification"]["passed"] is True
    found = tensor_files.open_file(path).tensors["llm_blocks.llm.h.0.attn.c_attn.weight"].read()
    stored = saved.load(tmp_path / "run")
    layer = "backbone/blocks/0/attn/c_attn"
    a, b = (np.asarray(stored.params[f"{layer}/lora_{name}"], np.float64) for name in "ab")
    kernel = np.asarray(stored.frozen[f"{layer}/base/kernel"])
    np.testing.assert_array_equal(found, (kernel + 5 / 2 * (a @ b)).astype(np.float32))


# -- GPT-2 alone ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gpt2(workdir: Path) -> Path:
    folder = workdir.parent / "new" / "gpt2"
    originals.export(workdir, None, gpt2_output=folder)
    return folder


def test_gpt2_is_read_as_a_backbone(gpt2: Path) -> None:
    assert sorted(path.name for path in gpt2.iterdir()) == ["config.json", "model.safetensors"]
    blocks = pretrained.read_blocks(str(gpt2), first=0, count=3)
    assert len(blocks.arrays) == 3 * 12 + 3
    config = pretrained.read_config(str(gpt2))
    assert config.n_layer == 3
    assert (config.n_embd, config.n_head, config.n_positions) == (64, 4, 256)
    arrays = tiny.full_state_dict("distance")
    np.testing.assert_array_equal(
        blocks.arrays["backbone", "wpe"], arrays[f"{GPT2_PREFIX}wpe.weight"]
    )


def test_gpt2_in_transformers(workdir: Path, gpt2: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model, notes = transformers.GPT2Model.from_pretrained(gpt2, output_loading_info=True)
    assert not any(notes.values()), notes
    stored = saved.load(workdir)
    experiment = experiments.make(stored.description["config"], stored.description["settings"])
    network: Any = merge(experiment.abstract().graphdef, stored.params, stored.frozen, stored.stats)

    @jax.jit
    def run(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        tokens = to_tokens(network.embedder(x, train=False), network.patch_size)
        return tokens, network.backbone(tokens, rngs=None)

    tokens, expected = map(np.array, run(tiny.golden("distance")["io/L1024/x"].swapaxes(1, 2)))
    with torch.inference_mode():
        inputs = torch.from_numpy(tokens)
        found = model.eval()(inputs_embeds=inputs).last_hidden_state.numpy()
    assert relative_difference(found, expected) < 1e-5
    assert relative_difference(found, tokens) > 0.1


def test_gpt2_with_settings_of_its_own(tmp_path: Path) -> None:
    path = originals.bare(tmp_path / "a.safetensors", tiny.full_state_dict("distance"))
    gpt2 = dataclasses.replace(
        originals.GPT2,
        n_head=2,
        layer_norm_epsilon=1e-3,
        activation_function="relu",
        attn_pdrop=0.0,
        resid_pdrop=0.2,
    )
    originals.import_file(path, tmp_path / "run", originals.given("distance", gpt2=gpt2))
    originals.export(tmp_path / "run", None, gpt2_output=tmp_path / "gpt2")
    found = pretrained.read_config(str(tmp_path / "gpt2"))
    assert found == dataclasses.replace(gpt2, n_layer=3)
