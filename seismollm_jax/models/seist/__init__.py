"""The SeisT families, one for each published size: experiment configuration -> settings -> network.

Nothing is pretrained: all of it starts random, and all of it learns.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

from flax import nnx

from seismollm_jax.models.family import Family, InferenceGraph, Path, Pretrained
from seismollm_jax.models.output import Output
from seismollm_jax.models.seist import inference, inference_fold
from seismollm_jax.models.seist.config import (
    RATES,
    SIZES,
    DropRates,
    SeisTConfig,
    StageConfig,
    StemConfig,
)
from seismollm_jax.models.seist.model import SeisT

PREFIX = "seist_"  # of the families' names; the size follows
# Which of a size's rates a task was published with, by both of its names; the others share the
# last.
_RATES_OF = {"picking": 0, "dpk": 0, "polarity": 1, "pmp": 1}


def from_settings(settings: Mapping[str, Any]) -> SeisTConfig:
    """Typed configuration from its plain form (`dataclasses.asdict` turned into JSON or back)."""
    fields = dict(settings)
    stem: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in fields.pop("stem").items()
    }
    return SeisTConfig(
        stages=tuple(StageConfig(**stage) for stage in fields.pop("stages")),
        kernels=tuple(fields.pop("kernels")),
        drop=DropRates(**fields.pop("drop")),
        stem=StemConfig(**stem),
        **fields,
    )


def published(size: str, task: str, compute_dtype: str = "float32") -> SeisTConfig:
    """One of the fifteen published networks.

    Args:
        size: s, m or l.
        task: its word or short name.
        compute_dtype: of activations.
    """
    stages, kernels, mlp_ratio = SIZES[size]
    rates = RATES[size][_RATES_OF.get(task, -1)]
    return SeisTConfig(stages, kernels, mlp_ratio, rates, compute_dtype=compute_dtype)


def resolve(
    config: Mapping[str, Any], known: Mapping[str, Any] | None = None, *, size: str
) -> dict[str, Any]:
    """Settings from an experiment configuration: the published ones, and the rates of its own."""
    del known  # nothing has to be read, so a checkpoint's settings spare nothing
    found = published(size, config["task"], config["precision"]["compute"])
    own = {k: v for k, v in config.get("seist", {}).items() if v is not None}
    drop = DropRates(**{**dataclasses.asdict(found.drop), **own})
    return dataclasses.asdict(dataclasses.replace(found, drop=drop))


def _build(settings: Mapping[str, Any], output: Output, rngs: nnx.Rngs) -> nnx.Module:
    return SeisT(from_settings(settings), output, rngs=rngs)


def _check_window(settings: Mapping[str, Any], output: Output, window: int) -> None:
    from_settings(settings).check_window(window, per_sample=output.per_sample)


def _is_trainable(settings: Mapping[str, Any], path: Path) -> bool:
    del settings, path
    return True


def _read_pretrained(config: Mapping[str, Any], settings: Mapping[str, Any]) -> Pretrained:
    del config, settings
    return Pretrained({}, "random weights: SeisT has no pretrained part", None)


def _kind(path: Path) -> str:
    return str(path[0])


def _for_inference(
    settings: Mapping[str, Any], output: Output, arrays: Mapping[str, Any]
) -> InferenceGraph:
    config = from_settings(settings)
    function = functools.partial(inference.run, config, output)
    return InferenceGraph(function, inference_fold.fold(config, output, arrays))


def _family(size: str) -> Family:
    return Family(
        name=PREFIX + size,
        title="SeisT",
        resolve=functools.partial(resolve, size=size),
        build=_build,
        check_window=_check_window,
        is_trainable=_is_trainable,
        read_pretrained=_read_pretrained,
        kind=_kind,
        for_inference=_for_inference,
        forms={"picking": "detection", "back_azimuth": "angle"},
    )


FAMILY_OF_SIZE = {size: _family(size) for size in SIZES}
