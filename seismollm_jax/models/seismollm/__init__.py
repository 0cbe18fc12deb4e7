"""The SeisMoLLM family: experiment configuration -> settings -> network -> first weights."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

from flax import nnx

from seismollm_jax.models.family import Family, InferenceGraph, Path, Pretrained
from seismollm_jax.models.output import Output
from seismollm_jax.models.seismollm import inference, inference_fold, pretrained
from seismollm_jax.models.seismollm.gpt2 import GPT2Config, LoRAConfig
from seismollm_jax.models.seismollm.model import (
    EmbedderConfig,
    SeisMoLLM,
    SeisMoLLMConfig,
    is_trainable,
)

RANDOM = "random"


def from_settings(settings: Mapping[str, Any]) -> SeisMoLLMConfig:
    """Typed configuration from its plain form (`dataclasses.asdict` turned into JSON or back)."""
    fields = dict(settings)
    lora = dict(fields.pop("lora"))
    embedder: dict[str, Any] = {
        k: v if k == "scales" else tuple(v) for k, v in fields.pop("embedder").items()
    }
    return SeisMoLLMConfig(
        gpt2=GPT2Config(**fields.pop("gpt2")),
        lora=LoRAConfig(**{**lora, "targets": tuple(lora["targets"])}),
        embedder=EmbedderConfig(**embedder),
        head_channels=tuple(fields.pop("head_channels")),
        **fields,
    )


def resolve(config: Mapping[str, Any], known: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Settings from an experiment configuration.

    The sizes of GPT-2 come from `backbone.random` for a random one, else from the settings
    `known` of a checkpoint, else from config.json of `backbone.weights`.
    """
    backbone = config["backbone"]
    if backbone["weights"] == RANDOM:
        gpt2 = dict(backbone["random"])
    elif known is not None:
        gpt2 = dict(known["gpt2"])
    else:
        gpt2 = dataclasses.asdict(pretrained.read_config(backbone["weights"]))
    settings = {
        "gpt2": gpt2,
        "layers": backbone["layers"],
        "start_layer": backbone["start_layer"],
        "tuning": backbone["tuning"],
        "lora": dict(config["lora"]),
        "embedder": dict(config["embedder"]),
        "patch_size": config["patch_size"],
        "head_channels": config["head"]["channels"],
        "components": 3,
        "compute_dtype": config["precision"]["compute"],
    }
    return dataclasses.asdict(from_settings(settings))


def _build(settings: Mapping[str, Any], output: Output, rngs: nnx.Rngs) -> nnx.Module:
    return SeisMoLLM(from_settings(settings), output, rngs=rngs)


def _check_window(settings: Mapping[str, Any], output: Output, window: int) -> None:
    from_settings(settings).check_window(window, per_sample=output.per_sample)


def _is_trainable(settings: Mapping[str, Any], path: Path) -> bool:
    return is_trainable(from_settings(settings), path)


def _read_pretrained(config: Mapping[str, Any], settings: Mapping[str, Any]) -> Pretrained:
    source = config["backbone"]["weights"]
    if source == RANDOM:
        return Pretrained({}, "random GPT-2 weights, as backbone.weights=random asks", None)
    typed = from_settings(settings)
    return pretrained.read_blocks(source, first=typed.start_layer, count=typed.layers)


def _kind(path: Path) -> str:
    adapter = any(str(part).startswith("lora_") for part in path)
    return "adapters" if adapter else str(path[0])


def _for_inference(
    settings: Mapping[str, Any], output: Output, arrays: Mapping[str, Any]
) -> InferenceGraph:
    config = from_settings(settings)
    function = functools.partial(inference.run, config, output)
    return InferenceGraph(function, inference_fold.fold(config, output, arrays))


FAMILY = Family(
    name="seismollm",
    title="SeisMoLLM",
    resolve=resolve,
    build=_build,
    check_window=_check_window,
    is_trainable=_is_trainable,
    read_pretrained=_read_pretrained,
    kind=_kind,
    for_inference=_for_inference,
)
