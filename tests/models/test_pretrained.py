"""Reading GPT-2 from every form it comes in."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.numpy import save_file

from seismollm_jax import experiment as experiments
from seismollm_jax.models.family import Pretrained
from seismollm_jax.models.seismollm import FAMILY, pretrained
from seismollm_jax.models.seismollm.pretrained import SourceError, convert, read_blocks
from seismollm_jax.models.weights import WeightsError
from tests import setups

WIDTH, LAYERS, POSITIONS = 16, 3, 64
CONFIG = {
    "model_type": "gpt2",
    "n_embd": WIDTH,
    "n_head": 2,
    "n_layer": LAYERS,
    "n_positions": POSITIONS,
    "vocab_size": 7,
}


def weights() -> dict[str, np.ndarray]:
    """A whole GPT-2 under Hugging Face's bare keys, no two values alike."""
    draw = np.random.default_rng(0)
    shapes = {"wte.weight": (7, WIDTH), "wpe.weight": (POSITIONS, WIDTH)}
    for norm in ("ln_f", *(f"h.{i}.ln_{k}" for i in range(LAYERS) for k in (1, 2))):
        shapes |= {f"{norm}.weight": (WIDTH,), f"{norm}.bias": (WIDTH,)}
    for i in range(LAYERS):
        for name, (inputs, outputs) in {
            "attn.c_attn": (WIDTH, 3 * WIDTH),
            "attn.c_proj": (WIDTH, WIDTH),
            "mlp.c_fc": (WIDTH, 4 * WIDTH),
            "mlp.c_proj": (4 * WIDTH, WIDTH),
        }.items():
            shapes |= {f"h.{i}.{name}.weight": (inputs, outputs), f"h.{i}.{name}.bias": (outputs,)}
    return {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def folder(path: Path, config: dict[str, Any] | None = None) -> Path:
    path.mkdir()
    (path / "config.json").write_text(json.dumps(CONFIG if config is None else config))
    return path


def bare(path: Path) -> Path:
    save_file(weights(), folder(path) / "model.safetensors")
    return path


def with_extras(path: Path) -> Path:
    """As on the hub: causal masks among the weights, and a head."""
    masks = {f"h.{i}.attn.bias": np.ones((1, 1, 64, 64), np.float32) for i in range(LAYERS)}
    masks |= {f"h.{i}.attn.masked_bias": np.float32([-1e4]) for i in range(LAYERS)}
    extra = {"lm_head.weight": np.zeros((7, WIDTH), np.float32)}
    save_file(weights() | masks | extra, folder(path) / "model.safetensors")
    return path


def prefixed(path: Path) -> Path:
    """As a language model saves it."""
    arrays = {f"transformer.{name}": value for name, value in weights().items()}
    arrays["lm_head.weight"] = arrays["transformer.wte.weight"].copy()
    save_file(arrays, folder(path) / "model.safetensors")
    return path


def sharded(path: Path) -> Path:
    arrays, places = weights(), {}
    names = list(arrays)
    folder(path)
    for i in range(3):
        file = f"model-{i + 1:05}-of-00003.safetensors"
        part = {name: arrays[name] for name in names[i::3]}
        save_file(part, path / file)
        places |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    return path


def converted(path: Path) -> Path:
    convert(str(bare(path.with_name("original"))), path)
    return path


def converted_from_prefixed(path: Path) -> Path:
    convert(str(prefixed(path.with_name("original"))), path)
    return path


def pickled(path: Path) -> Path:
    torch = pytest.importorskip("torch")
    arrays = {name: torch.from_numpy(value) for name, value in weights().items()}
    torch.save(arrays, folder(path) / "pytorch_model.bin")
    return path


FORMS = [bare, with_extras, prefixed, sharded, converted, converted_from_prefixed, pickled]


def assert_blocks(found: Pretrained, layers: range) -> None:
    """Every array is that of the file, and there are no others."""
    original = weights()
    wanted = {name for name in original if not name.startswith(("h.", "wte"))}
    wanted |= {name for i in layers for name in original if name.startswith(f"h.{i}.")}
    for path, value in found.arrays.items():
        parts = [part for part in path[1:] if part != "base"]
        if parts[0] == "blocks":
            parts = ["h", layers[parts[1]], *parts[2:]]
        name = ".".join(map(str, parts))
        name = name.replace(".kernel", ".weight").replace(".scale", ".weight")
        name = f"{name}.weight" if name == "wpe" else name
        assert value.dtype == np.float32
        np.testing.assert_array_equal(value, original[name], err_msg=name)
        wanted.remove(name)
    assert wanted == set()


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_every_form_gives_the_same_arrays(form: Callable[[Path], Path], tmp_path: Path) -> None:
    found = read_blocks(str(form(tmp_path / "gpt2")), first=0, count=LAYERS)
    assert_blocks(found, range(LAYERS))
    assert found.source == f"GPT-2 layers 0 to {LAYERS - 1} of {tmp_path / 'gpt2'}"
    reference = read_blocks(str(bare(tmp_path / "reference")), first=0, count=LAYERS)
    assert found.sha256 == reference.sha256
    assert pretrained.read_config(str(tmp_path / "gpt2")) == pretrained.read_config(
        str(tmp_path / "reference")
    )


@pytest.mark.parametrize("form", [bare, prefixed, converted])
def test_later_blocks(form: Callable[[Path], Path], tmp_path: Path) -> None:
    found = read_blocks(str(form(tmp_path / "gpt2")), first=1, count=2)
    assert_blocks(found, range(1, 3))
    assert found.source.startswith("GPT-2 layers 1 to 2 of")


def test_hash_tells_values_apart(tmp_path: Path) -> None:
    first = read_blocks(str(bare(tmp_path / "a")), first=0, count=2)
    second = read_blocks(str(tmp_path / "a"), first=1, count=2)
    assert first.sha256 != second.sha256
    assert first.sha256 == read_blocks(str(tmp_path / "a"), first=0, count=2).sha256


def test_half_precision_files_are_read_as_float32(tmp_path: Path) -> None:
    half = {name: value.astype(np.float16) for name, value in weights().items()}
    save_file(half, folder(tmp_path / "gpt2") / "model.safetensors")
    found = read_blocks(str(tmp_path / "gpt2"), first=0, count=1)
    assert {value.dtype for value in found.arrays.values()} == {np.dtype(np.float32)}


def test_config_of_the_hub(tmp_path: Path) -> None:
    """What config.json leaves out has GPT-2's usual value."""
    fields = {"model_type": "gpt2", "n_embd": 48, "n_head": 4, "n_ctx": 1024, "unknown": 1}
    config = pretrained.read_config(str(folder(tmp_path / "gpt2", fields)))
    assert (config.n_embd, config.n_head, config.n_layer, config.n_positions) == (48, 4, 12, 1024)
    assert (config.inner, config.activation_function) == (192, "gelu_new")
    assert (config.attn_pdrop, config.layer_norm_epsilon) == (0.1, 1e-5)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def remove_key(path: Path) -> None:
    arrays = weights()
    del arrays["h.1.mlp.c_fc.bias"]
    save_file(arrays, path / "model.safetensors")


def wrong_shape(path: Path) -> None:
    arrays = weights()
    arrays["h.0.attn.c_attn.weight"] = arrays["h.0.attn.c_attn.weight"][:, :-1]
    save_file(arrays, path / "model.safetensors")


DAMAGES = {
    "no config": (
        lambda path: (path / "config.json").unlink(),
        SourceError,
        r"has no config\.json: it is not a GPT-2 directory",
    ),
    "config is not JSON": (
        lambda path: truncate(path / "config.json"),
        SourceError,
        r"config\.json: ",
    ),
    "config of another model": (
        lambda path: (path / "config.json").write_text(json.dumps({"model_type": "bert"})),
        SourceError,
        r"config\.json: model_type is 'bert', expected 'gpt2'",
    ),
    "no weights": (
        lambda path: (path / "model.safetensors").unlink(),
        SourceError,
        r"has none of model\.safetensors, .*: the weights are missing",
    ),
    "truncated": (
        lambda path: truncate(path / "model.safetensors"),
        SourceError,
        r"model\.safetensors is missing, truncated or damaged .*; fetch it again",
    ),
    "not safetensors": (
        lambda path: (path / "model.safetensors").write_text("<html>not found</html>"),
        SourceError,
        r"model\.safetensors is missing, truncated or damaged",
    ),
    "missing key": (remove_key, WeightsError, r"missing: h\.1\.mlp\.c_fc\.bias"),
    "wrong shape": (
        wrong_shape,
        WeightsError,
        r"shape of h\.0\.attn\.c_attn\.weight: \(16, 47\), expected \(16, 48\)",
    ),
    "other sizes": (
        lambda path: (path / "config.json").write_text(json.dumps({**CONFIG, "n_positions": 32})),
        WeightsError,
        r"shape of wpe\.weight: \(64, 16\), expected \(32, 16\)",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_directory(name: str, tmp_path: Path) -> None:
    damage, error, message = DAMAGES[name]
    path = bare(tmp_path / "gpt2")
    damage(path)
    with pytest.raises(error, match=message) as raised:
        read_blocks(str(path), first=0, count=LAYERS)
    assert str(path) in str(raised.value)


def test_missing_shard(tmp_path: Path) -> None:
    path = sharded(tmp_path / "gpt2")
    (path / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(SourceError, match=r"model-00002-of-00003\.safetensors is missing"):
        read_blocks(str(path), first=0, count=1)


@pytest.mark.parametrize("text", ["{", "{}", "[]"])
def test_damaged_index_of_shards(tmp_path: Path, text: str) -> None:
    path = sharded(tmp_path / "gpt2")
    (path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(SourceError, match=r"model\.safetensors\.index\.json"):
        read_blocks(str(path), first=0, count=1)


def test_damaged_conversion(tmp_path: Path) -> None:
    path = converted(tmp_path / "gpt2")
    shutil.rmtree(path / "arrays")
    with pytest.raises(SourceError, match=r"arrays is damaged .*; convert again"):
        read_blocks(str(path), first=0, count=1)


def test_conversion_describes_itself_and_overwrites_nothing(tmp_path: Path) -> None:
    original = bare(tmp_path / "original")
    description = convert(str(original), tmp_path / "out")
    assert json.loads((tmp_path / "out/gpt2.json").read_text()) == description
    sizes = [value.size for name, value in weights().items() if name != "wte.weight"]
    assert (description["arrays"], description["parameters"]) == (len(sizes), sum(sizes))
    assert description["sha256"] == read_blocks(str(original), first=0, count=LAYERS).sha256
    with pytest.raises(FileExistsError, match="choose another --output"):
        convert(str(original), tmp_path / "out")


@pytest.mark.parametrize("name", ["./gpt2", "/no/such/gpt2", "~/no-such-gpt2", "a/b/gpt2"])
def test_paths_are_not_taken_for_hub_names(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> str:
        raise AssertionError("asked the hub")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(SourceError, match=rf"'{name}' is not a directory; give a directory with"):
        read_blocks(name, first=0, count=1)


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "gpt2").write_text("")
    with pytest.raises(SourceError, match="is not a directory"):
        read_blocks(str(tmp_path / "gpt2"), first=0, count=1)


@pytest.mark.parametrize(
    "error", [LocalEntryNotFoundError("no network\nand more"), ConnectionError(), RuntimeError("x")]
)
def test_hub_out_of_reach(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **options: Any) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    message = r"'gpt2' is no local directory, and the hub did not deliver it .*hf download gpt2"
    with pytest.raises(SourceError, match=message) as raised:
        read_blocks("gpt2", first=0, count=1)
    assert "random" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_hub_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def deliver(name: str, *, allow_patterns: list[str]) -> str:
        asked.append((name, allow_patterns))
        return str(tmp_path / "gpt2")

    bare(tmp_path / "gpt2")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", deliver)
    monkeypatch.chdir(tmp_path / "gpt2")  # where no folder is called so
    found = read_blocks("gpt2", first=0, count=1)
    assert found.source == "GPT-2 layers 0 to 0 of gpt2"
    assert {name for name, _ in asked} == {"gpt2"}
    patterns = asked[0][1]
    assert "config.json" in patterns
    assert not any("bin" in pattern or pattern.startswith("*") for pattern in patterns)


def test_the_family_reads_what_the_configuration_asks(tmp_path: Path) -> None:
    changes = {
        "backbone.weights": str(bare(tmp_path / "gpt2")),
        "backbone.layers": 2,
        "backbone.start_layer": 1,
        "backbone.tuning": "lora",
    }
    config = setups.config("magnitude", changes=changes)
    experiment = experiments.make(config)
    assert experiment.settings["gpt2"]["n_layer"] == LAYERS
    assert experiment.settings["gpt2"]["n_embd"] == WIDTH
    found = FAMILY.read_pretrained(config, experiment.settings)
    parts = experiment.abstract()
    shapes = {name: leaf.shape for part in parts[1:3] for name, leaf in part.items()}
    for path, value in found.arrays.items():
        assert shapes["/".join(map(str, path))] == value.shape
    ours = {name for name in shapes if name.startswith("backbone/") and "lora" not in name}
    assert {"/".join(map(str, path)) for path in found.arrays} == ours


def test_random_weights_say_so() -> None:
    config = setups.config("magnitude")
    found = FAMILY.read_pretrained(config, experiments.make(config).settings)
    assert (dict(found.arrays), found.sha256) == ({}, None)
    assert "random" in found.source


def test_too_few_layers(tmp_path: Path) -> None:
    changes = {"backbone.weights": str(bare(tmp_path / "gpt2")), "backbone.layers": 4}
    message = r"backbone\.layers=4 ask for GPT-2 layers 0 to 3; the backbone has 3"
    with pytest.raises(ValueError, match=message):
        experiments.make(setups.config("magnitude", changes=changes))
