"""The network in plain PyTorch: against the recordings, our network, and mistakes."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from seismollm_jax import tasks
from seismollm_jax.conversion.torch_network import forward
from seismollm_jax.models.seismollm.gpt2 import GPT2Config, LoRAConfig
from seismollm_jax.models.seismollm.model import EmbedderConfig, SeisMoLLMConfig
from seismollm_jax.models.seismollm.names import checkpoint_rules
from seismollm_jax.models.state import key, merge
from tests.golden_files import relative_difference, thin
from tests.models import tiny

PREFIX = "llm_blocks.llm.base_model.model."


def tolerance(task: str) -> float:
    """Relative; float32 leaves 1e-6.

    Picking is allowed more: newer versions of PyTorch round the coordinates of the interpolation
    once, where the version of the recordings, and our network, rounded after each operation.
    """
    return 1e-4 if task == "picking" else 1e-5


def settings(task: str, config: SeisMoLLMConfig = tiny.CONFIG) -> dict[str, Any]:
    return {
        "strides": config.embedder.strides,
        "heads": config.gpt2.n_head,
        "epsilon": config.gpt2.layer_norm_epsilon,
        "activation": config.gpt2.activation_function,
        "lora_scale": config.lora.alpha / config.lora.rank,
        "patch_size": config.patch_size,
        "output": tasks.get(task).output,
    }


def run(task: str, tensors, x: np.ndarray, config: SeisMoLLMConfig = tiny.CONFIG, **changes):
    pytest.importorskip("torch")
    return forward(tensors, x, **(settings(task, config) | changes))


def recorded(task: str, length: int) -> np.ndarray:
    golden = tiny.golden(task)
    if task == "back_azimuth":  # one column at a time
        return np.stack([golden[f"io/L{length}/out{i}"].ravel() for i in (0, 1)], axis=1)
    return golden[f"io/L{length}/out"]


@pytest.mark.parametrize("length", [1024, 1000, 997, 6000])
@pytest.mark.parametrize("task", tiny.TASKS)
def test_recorded_outputs(task: str, length: int) -> None:
    x = tiny.golden(task)[f"io/L{length}/x"]
    found = run(task, tiny.state_dict(task), x)
    channels = tasks.get(task).output.channels
    per_sample = (len(x), channels, length)
    assert found.shape == (per_sample if task == "picking" else (len(x), channels))
    assert found.dtype == np.float32
    expected = recorded(task, length).ravel()
    assert relative_difference(thin(found, 500), expected) < tolerance(task)


def plain(**changes) -> SeisMoLLMConfig:
    """Other sizes than the recordings have in every respect."""
    sizes: dict[str, Any] = {
        "gpt2": GPT2Config(
            n_embd=48, n_head=6, n_layer=5, n_positions=80, n_inner=72, layer_norm_epsilon=1e-3
        ),
        "layers": 2,
        "lora": LoRAConfig(rank=3, alpha=5.0),
        "embedder": EmbedderConfig(
            channels=(5, 7, 9),
            kernels=(6, 5, 4, 2),
            kernel_steps=(3, 2, 1, 4),
            strides=(2, 2, 1, 1),
            scales=2,
        ),
        "patch_size": 4,
        "head_channels": (6, 10, 8, 12),
    }
    return SeisMoLLMConfig(**(sizes | changes))


def with_gpt2(config: SeisMoLLMConfig, **changes) -> SeisMoLLMConfig:
    return dataclasses.replace(config, gpt2=dataclasses.replace(config.gpt2, **changes))


CASES = {
    "picking": ("picking", plain(), 301),
    "some layers adapted": (
        "polarity",
        plain(lora=LoRAConfig(rank=4, alpha=2.0, targets=("attn.c_attn", "mlp.c_proj"))),
        403,
    ),
    "without adapters, exact gelu": (
        "magnitude",
        with_gpt2(plain(tuning="full"), activation_function="gelu"),
        390,
    ),
    "stride 3, relu, one scale": (
        "back_azimuth",
        with_gpt2(
            plain(
                embedder=EmbedderConfig(
                    channels=(5,), kernels=(7, 3), kernel_steps=(0, 0), strides=(3, 2), scales=1
                ),
                head_channels=(4, 6),
            ),
            activation_function="relu",
        ),
        1000,
    ),
    "picking, three up-layers, frozen": (
        "picking",
        plain(
            tuning="frozen",
            embedder=EmbedderConfig(
                channels=(5, 6), kernels=(9, 4, 2), kernel_steps=(2, 2, 1), strides=(4, 3, 1)
            ),
            head_channels=(4, 6, 8),
        ),
        700,
    ),
}


def random_tensors(config: SeisMoLLMConfig, task: str) -> dict[str, np.ndarray]:
    """Weights of moderate size for every array of the network, under the PyTorch keys."""
    parts = tiny.shapes(config, task)
    ours = {**parts.params, **parts.frozen, **parts.stats}
    draw = np.random.default_rng(7)
    tensors = {}
    for rule in checkpoint_rules(config, tasks.get(task).output):
        # Both layouts are their own inverses, so an empty array gives PyTorch's shape.
        shape = rule.convert(np.empty(ours[key(rule.path)].shape)).shape
        values = draw.normal(0, 1, shape)
        if rule.key.endswith("running_var"):
            values = np.exp(0.3 * values)
        elif len(shape) == 1:
            values = 0.2 * values + rule.key.endswith("weight")
        elif not rule.key.endswith("wpe.weight"):
            values /= np.sqrt(np.prod(shape[1:]))
        tensors[rule.key] = values.astype(np.float32)
    return tensors


@pytest.mark.parametrize("case", CASES)
def test_our_network_of_other_sizes(case: str) -> None:
    pytest.importorskip("torch")
    task, config, length = CASES[case]
    tensors = random_tensors(config, task)
    x = np.random.default_rng(8).normal(0, 1, (4, 3, length)).astype(np.float32)
    model = merge(tiny.shapes(config, task).graphdef, tiny.fill(config, task, tensors))
    expected = np.asarray(nnx.jit(lambda m, x: m(x))(model, jnp.asarray(x.swapaxes(1, 2))))
    expected = expected.swapaxes(1, 2) if expected.ndim == 3 else expected
    difference = relative_difference(run(task, tensors, x, config), expected)
    print(f"{case}: relative difference {difference:.1e}")
    assert difference < tolerance(task)
    assert np.ptp(expected) > 1e-3  # weights that do something


def merged(tensors: dict[str, np.ndarray], scale: float) -> dict[str, np.ndarray]:
    """As the adapter library merges and unwraps: W + scale (B A)^T, plain keys."""
    result = {}
    for name, value in tensors.items():
        if ".lora_" in name:
            continue
        if name.endswith("base_layer.weight"):
            layer = name.removesuffix("base_layer.weight")
            a, b = (tensors[f"{layer}lora_{part}.default.weight"] for part in "AB")
            value = value + scale * (b @ a).T
        result[name.replace("base_model.model.", "").replace("base_layer.", "")] = value
    return result


@pytest.mark.parametrize("task", ["picking", "distance"])
def test_merged_adapters(task: str) -> None:
    tensors, x = tiny.state_dict(task), tiny.golden(task)["io/L1000/x"]
    after = merged(tensors, 1.0)
    assert not [name for name in after if "base_" in name or "lora" in name]
    expected = run(task, tensors, x)
    assert relative_difference(run(task, after, x), expected) < 1e-5


def swapped(first: str, second: str):
    """Exchanges two texts in all keys."""

    def change(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        mark = "\0"
        names = {k: k.replace(first, mark).replace(second, first) for k in tensors}
        return {names[k].replace(mark, second): value for k, value in tensors.items()}

    return change


def changed(ending: str, function):
    """Applies a function to all tensors whose key ends so."""

    def change(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        chosen = [k for k in tensors if k.endswith(ending)]
        assert chosen
        return tensors | {k: np.ascontiguousarray(function(tensors[k])) for k in chosen}

    return change


MISTAKES = {
    "norms of a block": swapped(".ln_1.", ".ln_2."),
    "order of blocks": swapped(f"{PREFIX}h.0.", f"{PREFIX}h.1."),
    "mean and shift": swapped("norm.running_mean", "norm.bias"),
    "variance and scale": swapped("norm.running_var", "norm.weight"),
    "square matrix transposed": changed("attn.c_proj.base_layer.weight", np.transpose),
    "1x1 convolution transposed": changed("in_proj.weight", lambda w: w.swapaxes(0, 1)),
    "query, key and value": changed(
        "attn.c_attn.base_layer.weight", lambda w: np.roll(w, w.shape[1] // 3, axis=1)
    ),
    "kernels reversed": changed(".3.conv.weight", lambda w: w[..., ::-1]),
    "branches in another order": changed(
        "out_proj.weight", lambda w: np.roll(w, w.shape[1] // 4, axis=1)
    ),
    "no adapters": changed("lora_B.default.weight", np.zeros_like),
    "components": changed("convs.0.in_proj.weight", lambda w: w[:, ::-1] if w.shape[1] == 3 else w),
}


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("task", ["picking", "magnitude"])
def test_wrong_tensors_show(task: str, mistake: str) -> None:
    tensors, x = tiny.state_dict(task), tiny.golden(task)["io/L1024/x"]
    wrong = MISTAKES[mistake](tensors)
    assert set(wrong) == set(tensors)
    difference = relative_difference(run(task, wrong, x), run(task, tensors, x))
    print(f"{task}, {mistake}: {difference:.1e}")
    assert difference > 1e-3


@pytest.mark.parametrize(
    ("changes", "least"),
    [
        ({"heads": 8}, 1e-3),
        ({"heads": 1}, 1e-3),
        ({"patch_size": 4}, None),
        ({"strides": (2, 2, 1, 2)}, 1e-3),
        ({"lora_scale": 2.0}, 1e-3),
        ({"epsilon": 1e-2}, 1e-3),
        ({"activation": "relu"}, 1e-3),
        ({"activation": "gelu"}, 1e-4),  # the exact form lies close to the other
    ],
)
def test_wrong_settings_show(changes: dict, least: float | None) -> None:
    tensors, x = tiny.state_dict("picking"), tiny.golden("picking")["io/L1024/x"]
    if least is None:  # other numbers of tokens do not fit
        with pytest.raises(RuntimeError, match="size"):
            run("picking", tensors, x, **changes)
    else:
        expected = run("picking", tensors, x)
        assert relative_difference(run("picking", tensors, x, **changes), expected) > least


def test_mapped_files_are_read_in_place(tmp_path: Path) -> None:
    """Without a warning, which would fail this test, and without a copy."""
    torch = pytest.importorskip("torch")
    mapped = {}
    for i, (name, value) in enumerate(tiny.state_dict("distance").items()):
        np.save(tmp_path / f"{i}.npy", value)
        mapped[name] = np.load(tmp_path / f"{i}.npy", mmap_mode="r")
    x = tiny.golden("distance")["io/L1024/x"].copy()
    x.flags.writeable = False
    seen = {}
    original = torch.from_numpy

    def watched(array: np.ndarray):
        seen[array.ctypes.data] = original(array)
        return seen[array.ctypes.data]

    always = torch.is_warn_always_enabled()
    torch.set_warn_always(True)  # otherwise PyTorch gives this warning once in a process
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch, "from_numpy", watched)
            found = run("distance", mapped, x)
    finally:
        torch.set_warn_always(always)
    assert relative_difference(found.ravel(), recorded("distance", 1024).ravel()) < 1e-5
    used = [k for k in mapped if not k.endswith(("num_batches_tracked", "wte.weight"))]
    assert {mapped[k].ctypes.data for k in used} <= set(seen)
    assert all(tensor.data_ptr() == address for address, tensor in seen.items())


def test_weights_stay_as_they_are() -> None:
    tensors, x = tiny.state_dict("picking"), tiny.golden("picking")["io/L1000/x"].copy()
    before = {k: v.copy() for k, v in tensors.items()} | {"x": x.copy()}
    run("picking", tensors, x)
    for name, value in {**tensors, "x": x}.items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize(
    "name",
    [
        "convs.1.convs.2.norm.running_mean",
        f"{PREFIX}wpe.weight",
        f"{PREFIX}h.1.mlp.c_fc.lora_B.default.weight",
        "out_head.convs.1.bias",
    ],
)
def test_missing_tensors(name: str) -> None:
    tensors = tiny.state_dict("distance")
    del tensors[name]
    with pytest.raises(KeyError, match=name.removeprefix(PREFIX)):
        run("distance", tensors, tiny.golden("distance")["io/L1000/x"])


def test_missing_blocks_are_not_passed_over() -> None:
    tensors, x = tiny.state_dict("distance"), tiny.golden("distance")["io/L1000/x"]
    gap = {k: v for k, v in tensors.items() if not k.startswith(f"{PREFIX}h.1.")}
    with pytest.raises(KeyError, match=r"model\.h\.<i>: tensors for i = \[0, 2\]"):
        run("distance", gap, x)
    none = {k: v for k, v in tensors.items() if not k.startswith(f"{PREFIX}h.")}
    with pytest.raises(KeyError, match=r"model\.h\.<i>: tensors for i = \[\]"):
        run("distance", none, x)


def test_tensors_without_a_place() -> None:
    """A witness that passes them over would be no witness."""
    tensors, x = tiny.state_dict("distance"), tiny.golden("distance")["io/L1000/x"]
    known = {
        f"{PREFIX}wte.weight": np.zeros((0, 64), np.float32),
        f"{PREFIX}h.0.attn.bias": np.ones((1, 1, 256, 256), np.float32),
        f"{PREFIX}h.0.attn.masked_bias": np.float32(-1e4),
    }
    found = run("distance", tensors | known, x)
    np.testing.assert_array_equal(found, run("distance", tensors, x))
    other = {f"{PREFIX}h.0.attn.c_attn.lora_A.second.weight": np.ones((2, 64), np.float32)}
    with pytest.raises(ValueError, match=r"1 tensors have no place.*lora_A\.second"):
        run("distance", tensors | other, x)


def test_without_torch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # as if it were not installed
    with pytest.raises(ImportError, match=r"seismollm_jax\[torch\]"):
        forward({}, np.zeros((1, 3, 100), np.float32), **settings("distance"))
