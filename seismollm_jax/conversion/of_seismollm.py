"""The files of SeisMoLLM's published code."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from seismollm_jax.conversion import torch_network
from seismollm_jax.conversion.original import Found, Original, Settings
from seismollm_jax.models.output import Output
from seismollm_jax.models.seismollm import FAMILY, from_settings
from seismollm_jax.models.seismollm.gpt2 import ADAPTED_LAYERS
from seismollm_jax.models.seismollm.names import (
    MASK_REASON,
    VERSION,
    checkpoint_table,
    is_ignored,
)
from seismollm_jax.models.seismollm.recognise import recognise
from seismollm_jax.models.weights import Extra, Rule, Shape

# The original's constructor and its run script for STEAD.
DEFAULTS: dict[str, Any] = {
    "sampling_rate_hz": 100.0,
    "window": 6000,
    "normalisation": "std",
    "strides": (2, 2, 2, 1),
    "lora_alpha": 16.0,
    "lora_dropout": 0.1,
}
ORIGINAL_RANK, ORIGINAL_ALPHA = 16, 16.0  # of the original's adapters, on every linear layer


def _claims(keys: Iterable[str]) -> bool:
    return any(key.startswith(("convs.", "llm_blocks.")) for key in keys)


def _recognise(shapes: Mapping[str, Shape], told: Mapping[str, Any]) -> Found:
    values = {**DEFAULTS, **told}
    found = recognise(
        shapes,
        strides=values["strides"],
        lora_alpha=values["lora_alpha"],
        lora_dropout=values["lora_dropout"],
        tuning=values.get("tuning", "full"),
        gpt2=values.get("gpt2"),
    )
    network = found.config
    if network.components != 3:
        raise ValueError(f"a network of {network.components} components; three are needed, Z, N, E")
    assumed = {name: DEFAULTS[name] for name in DEFAULTS if name not in told} | dict(found.assumed)
    if network.tuning != "lora":
        assumed = {k: v for k, v in assumed.items() if not k.startswith("lora_")}
        assumed |= {} if "tuning" in told else {"tuning": network.tuning}
    settings = dataclasses.asdict(network)
    return Found(FAMILY.name, settings, found.per_sample, found.channels, assumed)


def _table(settings: Settings, output: Output) -> Iterator[Rule | Extra]:
    return checkpoint_table(from_settings(settings), output)


def _configure(settings: Settings) -> dict[str, Any]:
    network = from_settings(settings)
    return {
        "backbone": {"layers": network.layers, "start_layer": 0, "tuning": network.tuning},
        "lora": dataclasses.asdict(network.lora),
        "embedder": dataclasses.asdict(network.embedder),
        "patch_size": network.patch_size,
        "head": {"channels": network.head_channels},
    }


def _visible(settings: Settings) -> dict[str, Any]:
    config = from_settings(settings)
    return {
        "gpt2": config.gpt2,
        "strides": config.embedder.strides,
        "lora_alpha": config.lora.alpha,
        "lora_dropout": config.lora.dropout,
        "tuning": config.tuning,
    }


def _unseen(settings: Settings, output: Output) -> set[str]:
    del settings
    where = {"start_layer", "compute_dtype"}  # where layers came from; how it is run
    return where if output.per_sample else where | {"head_channels"}


def _forward(
    arrays: Mapping[str, np.ndarray], x: np.ndarray, settings: Settings, output: Output
) -> np.ndarray:
    config = from_settings(settings)
    return torch_network.forward(
        arrays,
        x,
        strides=config.embedder.strides,
        heads=config.gpt2.n_head,
        epsilon=config.gpt2.layer_norm_epsilon,
        activation=config.gpt2.activation_function,
        lora_scale=config.adapters.alpha / config.adapters.rank if config.adapters.rank else 0.0,
        patch_size=config.patch_size,
        output=output,
    )


def _described(settings: Settings) -> str:
    gpt2, lora = settings["gpt2"], settings["lora"]
    adapters = (
        f"LoRA of rank {lora['rank']}" if settings["tuning"] == "lora" else settings["tuning"]
    )
    return (
        f"{settings['layers']} GPT-2 layers of width {gpt2['n_embd']} with {gpt2['n_head']} heads, "
        f"{adapters}, patches of {settings['patch_size']}"
    )


def _constructor(settings: Settings, task: str) -> dict[str, Any]:
    del task
    config = from_settings(settings)
    return {
        "in_channels": config.components,
        "conv_scale_num": config.embedder.scales,
        "conv_scale_strides": list(config.embedder.kernel_steps),
        "conv_channels": list(config.embedder.channels),
        "conv_kernel_sizes": list(config.embedder.kernels),
        "conv_strides": list(config.embedder.strides),
        "llm_layers": config.layers,
        "d_model": config.gpt2.n_embd,
        "patch_size": config.patch_size,
        "dp_head_channels": list(config.head_channels),
    }


def _loads(settings: Settings) -> str:
    adapters = from_settings(settings).adapters
    as_there = (adapters.rank, adapters.alpha) == (ORIGINAL_RANK, ORIGINAL_ALPHA)
    if as_there and set(adapters.targets) == set(ADAPTED_LAYERS):
        return ""
    return (
        "its adapters are on every linear layer, with rank and alpha 16, and those of this network "
        "are not"
    )


def _adapted(settings: Settings) -> bool:
    adapters = from_settings(settings).adapters
    return bool(adapters.rank and adapters.targets)


ORIGINAL = Original(
    title="SeisMoLLM",
    families=(FAMILY.name,),
    version=VERSION,
    defaults=DEFAULTS,
    claims=_claims,
    recognise=_recognise,
    config=from_settings,
    table=_table,
    is_ignored=is_ignored,
    ignored_reason=MASK_REASON,
    for_task=lambda settings, task: dict(settings),
    configure=_configure,
    assumed=lambda experiment: {},
    visible=_visible,
    unseen=_unseen,
    forward=_forward,
    described=_described,
    constructor=_constructor,
    loads=_loads,
    adapted=_adapted,
    gpt2=True,
    continues=True,
)
