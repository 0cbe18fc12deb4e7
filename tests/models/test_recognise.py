"""Sizes of a network told from the names and shapes of its state dict."""

import dataclasses
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seismollm_jax import tasks
from seismollm_jax.models.seismollm.gpt2 import ADAPTED_LAYERS, GPT2Config, LoRAConfig
from seismollm_jax.models.seismollm.model import EmbedderConfig, SeisMoLLMConfig
from seismollm_jax.models.seismollm.names import GPT2_PREFIX, checkpoint_table
from seismollm_jax.models.seismollm.recognise import Recognised, recognise
from seismollm_jax.models.state import key
from seismollm_jax.models.weights import Extra, RecognitionError, Shape
from tests.models import tiny


def shapes_of(config: SeisMoLLMConfig, task: str) -> dict[str, Shape]:
    """Keys and shapes of the state dict of a network."""
    parts = tiny.shapes(config, task)
    ours = {**parts.params, **parts.frozen, **parts.stats}
    return {
        entry.key: entry.shape
        if isinstance(entry, Extra)
        else entry.shape(ours[key(entry.path)].shape)
        for entry in checkpoint_table(config, tasks.get(task).output)
    }


def told(shapes: dict[str, Shape], config: SeisMoLLMConfig = tiny.CONFIG, **options) -> Recognised:
    """Recognition with what shapes cannot show."""
    known: dict[str, Any] = {
        "strides": config.embedder.strides,
        "lora_alpha": config.lora.alpha,
        "lora_dropout": config.lora.dropout,
        "tuning": "frozen" if config.tuning == "frozen" else "full",
        "gpt2": config.gpt2,
    }
    return recognise(shapes, **(known | options))


@st.composite
def networks(draw: st.DrawFn) -> tuple[SeisMoLLMConfig, str]:
    """Networks that differ in everything that shapes can show, and tasks."""
    task = draw(st.sampled_from(tiny.TASKS))
    whole = st.integers(1, 5)
    blocks = draw(st.integers(1, 3))
    strides = draw(st.lists(st.integers(1, 3), min_size=blocks, max_size=blocks))
    scales = draw(st.integers(1, 3))
    steps = [draw(st.integers(0, 3)) if scales > 1 else 0 for _ in strides]
    patch, heads = draw(st.integers(1, 3)), draw(whole)
    width = patch * heads * draw(whole)
    inner = draw(st.sampled_from([None, 1, 7]))
    tuning = draw(st.sampled_from(["lora", "full", "frozen"]))
    targets = draw(st.sets(st.sampled_from(ADAPTED_LAYERS), min_size=1))
    lora = LoRAConfig(
        rank=draw(whole),
        alpha=draw(st.sampled_from([8.0, 16.0])),
        dropout=draw(st.sampled_from([0.0, 0.1])),
        targets=tuple(name for name in ADAPTED_LAYERS if name in targets),
    )
    layers = draw(st.integers(1, 2))
    per_sample = tasks.get(task).output.per_sample
    defaults = (*SeisMoLLMConfig.head_channels,)[:blocks]
    head = (128, *(draw(whole) for _ in range(blocks - 1))) if per_sample else defaults
    config = SeisMoLLMConfig(
        gpt2=GPT2Config(
            n_embd=width,
            n_head=heads,
            n_layer=layers + draw(st.integers(0, 2)),
            n_positions=draw(st.integers(1, 50)),
            n_inner=None if inner == 4 * width else inner,
            layer_norm_epsilon=draw(st.sampled_from([1e-5, 1e-3])),
        ),
        layers=layers,
        tuning=tuning,
        lora=lora if tuning == "lora" else LoRAConfig(),
        embedder=EmbedderConfig(
            channels=tuple(draw(whole) for _ in strides[1:]),
            kernels=tuple(stride + draw(st.integers(0, 4)) for stride in strides),
            kernel_steps=tuple(steps),
            strides=tuple(strides),
            scales=scales,
        ),
        patch_size=patch,
        head_channels=head,
    )
    return config, task


@settings(max_examples=15, deadline=None, derandomize=True)
@given(networks())
def test_every_size_is_found_again(network: tuple[SeisMoLLMConfig, str]) -> None:
    config, task = network
    found, output = told(shapes_of(config, task), config), tasks.get(task).output
    assert found.config == config
    assert (found.per_sample, found.channels) == (output.per_sample, output.channels)
    assert found.assumed == {}


@pytest.mark.parametrize("task", tiny.TASKS)
def test_recorded_networks(task: str) -> None:
    shapes = {name: shape for name, (shape, _) in tiny.file_layout(task).items()}
    head = tiny.CONFIG.head_channels
    expected = (128, *head[1:]) if task == "picking" else SeisMoLLMConfig.head_channels
    assert told(shapes).config == dataclasses.replace(tiny.CONFIG, head_channels=expected)


def widened(width: int, **changes) -> dict[str, Shape]:
    """Shapes of a network of another width."""
    gpt2 = GPT2Config(n_embd=width, n_head=1, n_layer=1, n_positions=99, **changes)
    config = SeisMoLLMConfig(gpt2=gpt2, layers=1, embedder=tiny.CONFIG.embedder)
    return shapes_of(config, "magnitude")


@pytest.mark.parametrize(("width", "heads", "depth"), [(64, 1, 1), (192, 3, 1), (768, 12, 12)])
def test_published_gpt2_have_heads_of_64(width: int, heads: int, depth: int) -> None:
    found = told(widened(width), gpt2=None)
    assert found.config.gpt2 == GPT2Config(
        n_embd=width, n_head=heads, n_layer=depth, n_positions=99
    )
    assert found.assumed == {
        "n_head": heads,
        "layer_norm_epsilon": 1e-5,
        "activation_function": "gelu_new",
        "embd_pdrop": 0.1,
        "attn_pdrop": 0.1,
        "resid_pdrop": 0.1,
    }


def test_other_widths_have_to_be_told() -> None:
    with pytest.raises(RecognitionError, match=r"width 96 .* heads of 64 features; .*--gpt2"):
        told(widened(96), gpt2=None)
    gpt2 = GPT2Config(n_embd=96, n_head=4, n_layer=7, n_positions=99)
    assert told(widened(96), gpt2=gpt2).config.gpt2 == gpt2


def test_inner_width_of_its_own() -> None:
    assert told(widened(64, n_inner=50), gpt2=None).config.gpt2.n_inner == 50
    assert told(widened(64), gpt2=None).config.gpt2.n_inner is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_embd": 128}, "n_embd 128, not 64"),
        ({"n_positions": 1024}, "n_positions 1024, not 256"),
        ({"n_inner": 100}, "n_inner 100, not 256"),
        ({"n_layer": 2}, "n_layer 2, fewer than the 3 kept"),
    ],
)
def test_told_another_gpt2(changes: dict[str, int], message: str) -> None:
    gpt2 = dataclasses.replace(tiny.CONFIG.gpt2, **changes)
    with pytest.raises(RecognitionError, match=f"--gpt2 configuration is of another.*{message}"):
        told(shapes_of(tiny.CONFIG, "magnitude"), gpt2=gpt2)


def changed(task: str = "picking", **changes: Any) -> dict[str, Shape]:
    """Keys with other shapes; None takes one away. Two underscores stand for a dot."""
    shapes: dict[str, Any] = shapes_of(tiny.CONFIG, task)
    for name, shape in changes.items():
        name = name.replace("__", ".")
        shapes[next(full for full in shapes if full.endswith(name))] = shape
    return {name: shape for name, shape in shapes.items() if shape is not None}


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({}, "not a SeisMoLLM"),
        ({"wte.weight": (0, 64), "h.0.ln_1.weight": (64,)}, r"not a SeisMoLLM.*'wte\.weight'"),
        (changed(wpe__weight=None), rf"missing: {re.escape(GPT2_PREFIX)}wpe\.weight"),
        (changed(wpe__weight=(64,)), r"shape of .*wpe\.weight: \(64,\)"),
        (changed(convs__3__out_proj__weight=(7, 32, 1)), "7 channels .* do not divide"),
        (changed(convs__3__out_proj__weight=(0, 32, 1)), "0 channels .* do not divide"),
        (
            changed(out_head__out_conv__weight=None, convs__1__out_proj__weight=None),
            r"missing: convs\.1\.out_proj\.weight .*; missing: out_head\.out_conv\.weight",
        ),
    ],
)
def test_no_such_network(shapes: dict[str, Shape], message: str) -> None:
    with pytest.raises(RecognitionError, match=message):
        told(shapes)


def test_strides_are_counted() -> None:
    with pytest.raises(RecognitionError, match=r"4 embedder blocks .* strides for 3: .*--strides"):
        told(changed(), strides=(2, 2, 2))


def test_wrapped_without_adapters() -> None:
    plain = {
        name.replace("base_layer.", ""): shape
        for name, shape in changed().items()
        if ".lora_" not in name
    }
    with pytest.raises(RecognitionError, match=r"no adapters \(base_layer, lora_A, lora_B\)"):
        told(plain)
    bare = {name.replace("base_model.model.", ""): shape for name, shape in plain.items()}
    assert told(bare, tuning="full").config.tuning == "full"
