"""Networks from files of every kind, and from checkpoint directories."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seismollm_jax.conversion import safetensors_files
from seismollm_jax.conversion.network import Network
from seismollm_jax.conversion.opening import open_network
from seismollm_jax.conversion.report import ConversionError
from seismollm_jax.models.seismollm.names import GPT2_PREFIX, PLAIN_PREFIX
from seismollm_jax.training.saved import CheckpointError
from tests import setups
from tests.conversion import originals
from tests.models import tiny

Arrays = dict[str, np.ndarray]


def opened(path: Path, task: str | None = "distance", **told: Any) -> Network:
    return open_network(path, originals.given(task, **told), originals.config_for)


def assert_reads(network: Network, arrays: Arrays) -> None:
    """Every array, bit for bit."""
    assert [entry.key for entry in network.table] == list(arrays)
    for name, value in arrays.items():
        originals.assert_same(np.asarray(network.read(name)), value, name)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("name", ["full.pth", "bare.pth", "bare.pt", "bare.safetensors"])
def test_every_kind_of_file(tmp_path: Path, name: str, prefix: str) -> None:
    arrays, path = tiny.full_state_dict("distance"), tmp_path / name
    if name.endswith("safetensors"):
        originals.bare(path, {prefix + key: value for key, value in arrays.items()})
    else:
        originals.save(
            path, originals.content("distance") if "full" in name else arrays, prefix=prefix
        )
    network = opened(path)
    assert_reads(network, arrays)
    assert network.format == ("safetensors" if name.endswith("safetensors") else "pth")
    training = network.training()
    if "full" in name:
        assert training is not None
        assert (training.count, training.step, len(training.moments["mu"])) == (2, 2, 121)
        assert network.description["progress"]["step"] == 2
    else:
        assert training is None
        assert network.description["progress"]["step"] == 0
    assert network.experiment.task.name == "distance"
    assert network.config.gpt2 == originals.GPT2


@pytest.mark.parametrize("task", tiny.TASKS)
def test_short_names_and_heads_that_show_the_task(tmp_path: Path, task: str) -> None:
    short = {"picking": None, "polarity": "pmp", "magnitude": "emg"}
    short |= {"back_azimuth": "baz", "distance": "dis"}
    path = originals.bare(tmp_path / "a.safetensors", tiny.full_state_dict(task))
    assert opened(path, short[task]).experiment.task.name == task


def test_what_is_told_and_what_is_assumed(tmp_path: Path) -> None:
    path = originals.bare(tmp_path / "a.safetensors", tiny.full_state_dict("distance"))
    assumed = opened(path, gpt2=None, window=None)
    assert assumed.given == {"task": "distance"}
    assert dict(assumed.assumed) == {
        "sampling_rate_hz": 100.0,
        "window": 6000,
        "normalisation": "std",
        "strides": (2, 2, 2, 1),
        "lora_alpha": 16.0,
        "lora_dropout": 0.1,
        "n_head": 1,
        "layer_norm_epsilon": 1e-5,
        "activation_function": "gelu_new",
        "embd_pdrop": 0.1,
        "attn_pdrop": 0.1,
        "resid_pdrop": 0.1,
    }
    told = {"sampling_rate_hz": 50.0, "window": 8192, "normalisation": "max"}
    told |= {"strides": (2, 2, 1, 1), "lora_alpha": 8.0, "lora_dropout": 0.0}
    network = opened(path, **told)
    assert network.assumed == {}
    assert set(network.given) == {*told, "gpt2", "task"}
    contract, config = network.experiment.contract(), network.config
    assert {name: contract[name] for name in ("sampling_rate_hz", "window", "normalisation")} == {
        "sampling_rate_hz": 50.0,
        "window": 8192,
        "normalisation": "max",
    }
    assert config.embedder.strides == (2, 2, 1, 1)
    assert (config.lora.alpha, config.lora.dropout) == (8.0, 0.0)
    assert network.experiment.config["lora"]["alpha"] == 8.0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_precisions(tmp_path: Path, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    arrays = tiny.full_state_dict("distance")
    tensors = originals.tensors(arrays, torch)
    for name, tensor in tensors.items():
        if tensor.dtype == torch.float32:
            tensors[name] = tensor.to(getattr(torch, dtype))
            arrays[name] = tensors[name].float().numpy()
    torch.save(tensors, tmp_path / "a.pth")
    network = opened(tmp_path / "a.pth", lossy_casts=dtype == "float64")
    assert_reads(network, arrays)
    assert set(network.dtypes.values()) == {dtype, "int64"}


def test_rounding_of_float64_is_to_nearest(tmp_path: Path) -> None:
    arrays = tiny.full_state_dict("distance")
    exact = np.random.default_rng(0).normal(size=arrays["out_head.lin.weight"].shape)
    path = originals.bare(tmp_path / "a.safetensors", arrays | {"out_head.lin.weight": exact})
    found = opened(path, lossy_casts=True).read("out_head.lin.weight")
    np.testing.assert_array_equal(found, exact.astype(np.float32))
    assert (found != exact).any()


def test_counters_of_other_widths(tmp_path: Path) -> None:
    arrays = tiny.full_state_dict("distance")
    small = {k: v.astype(np.int32) if v.dtype == np.int64 else v for k, v in arrays.items()}
    assert_reads(opened(originals.bare(tmp_path / "a.safetensors", small)), arrays)


def test_causal_masks_are_passed_over(tmp_path: Path) -> None:
    arrays = tiny.full_state_dict("distance")
    masks = {f"{GPT2_PREFIX}h.{i}.attn.bias": np.ones((1, 1, 256, 256), bool) for i in range(3)}
    masks |= {f"{GPT2_PREFIX}h.0.attn.masked_bias": np.asarray(-1e4)}
    path = originals.save(tmp_path / "a.pth", {**arrays, **masks})
    network = opened(path)
    assert_reads(network, arrays)
    assert set(network.ignored) == set(masks)


def without_adapters() -> Arrays:
    return {
        name.replace(GPT2_PREFIX, PLAIN_PREFIX).replace("base_layer.", ""): value
        for name, value in tiny.full_state_dict("distance").items()
        if ".lora_" not in name
    }


@pytest.mark.parametrize("tuning", [None, "full", "frozen"])
def test_plain_gpt2_layers(tmp_path: Path, tuning: str | None) -> None:
    arrays = without_adapters()
    network = opened(originals.bare(tmp_path / "a.safetensors", arrays), tuning=tuning)
    assert_reads(network, arrays)
    assert network.config.tuning == network.experiment.config["backbone"]["tuning"]
    assert network.config.tuning == (tuning or "full")
    assert ("tuning" in network.assumed) == (tuning is None)
    assert not [name for name in network.assumed if name.startswith("lora_")]


def test_some_layers_adapted(tmp_path: Path) -> None:
    arrays = {
        name.replace("c_fc.base_layer.", "c_fc."): value
        for name, value in tiny.full_state_dict("distance").items()
        if "c_fc.lora_" not in name
    }
    network = opened(originals.bare(tmp_path / "a.safetensors", arrays))
    assert_reads(network, arrays)
    assert network.config.lora.targets == ("attn.c_attn", "attn.c_proj", "mlp.c_proj")


# -- files of this project -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random network of this project, at step 1; not to be changed."""
    folder = tmp_path_factory.mktemp("run") / "run"
    progress = {"step": 1, "epoch": 1, "best": 0.5, "best_step": 1, "epochs_since_best": 0}
    setups.save_random(folder, setups.config("distance"), {"progress": progress})
    return folder


@pytest.fixture(scope="module")
def described(workdir: Path) -> Path:
    """The same as a safetensors file that describes itself."""
    path = workdir.parent / "model.safetensors"
    originals.export(workdir, path, file_format="safetensors")
    return path


def from_itself(path: Path, **told: Any) -> Network:
    return open_network(path, originals.Given(**told), originals.config_for)


def test_file_that_describes_itself(workdir: Path, described: Path) -> None:
    network, own = from_itself(described), from_itself(workdir)
    assert network.assumed == network.given == {}
    assert network.experiment == own.experiment
    assert_reads(network, {entry.key: own.read(entry.key) for entry in own.table})
    assert network.description["progress"]["step"] == 0  # nothing to continue in it
    assert from_itself(described, task="dis", window=640).experiment == own.experiment
    for told in ({"task": "emg"}, {"window": 1000}, {"normalisation": "max"}, {"lora_alpha": 2.0}):
        with pytest.raises(ConversionError, match=r"(?s)model\.safetensors .*it says itself"):
            from_itself(described, **told)


def test_description_that_is_none(described: Path, tmp_path: Path) -> None:
    arrays = {k: np.asarray(from_itself(described).read(k)) for k in from_itself(described).dtypes}
    for i, notes in enumerate([3, {}, {"config": {}}, {"config": 3, "settings": 4}, None]):
        path = tmp_path / f"{i}.safetensors"
        safetensors_files.write(path, arrays, {"description": notes})
        with pytest.raises(ConversionError, match=path.name):
            from_itself(path)


def test_checkpoint_directories(workdir: Path) -> None:
    for folder in (workdir, workdir / "checkpoints", workdir / "checkpoints/1"):
        network = from_itself(folder)
        assert network.path == workdir / "checkpoints/1"
        assert network.format == "orbax"
    with pytest.raises(ConversionError, match="says itself that its task is distance, not emg"):
        from_itself(workdir, task="emg")
    training = from_itself(workdir).training()
    assert training is not None
    assert (training.step, training.moments) == (1, {})
    assert from_itself(workdir, weights_only=True).training() is None


def rewritten(workdir: Path, folder: Path, change: Any) -> Path:
    """A copy with another description."""
    copy = shutil.copytree(workdir, folder / "copy")
    file = copy / "checkpoints/1/description/metadata"
    description = json.loads(file.read_text())
    change(description)
    file.write_text(json.dumps(description))
    return copy


def test_checkpoint_with_other_arrays_than_it_says(workdir: Path, tmp_path: Path) -> None:
    copy = rewritten(workdir, tmp_path, lambda d: d["settings"].update(patch_size=4))
    network = from_itself(copy)
    with pytest.raises(CheckpointError, match="its arrays are not those of its own settings"):
        network.read("convs.0.norm.weight")


def test_checkpoint_with_another_optimizer_than_it_says(workdir: Path, tmp_path: Path) -> None:
    copy = rewritten(workdir, tmp_path, lambda d: d["config"]["optim"].update(name="sgd"))
    with pytest.raises(CheckpointError, match="not of the optimiser that the description names"):
        from_itself(copy).training()


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        from_itself(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        from_itself(tmp_path)
