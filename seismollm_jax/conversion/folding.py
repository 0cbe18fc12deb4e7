"""Adapters folded into the layers they adapt: a plain GPT-2 that computes the same."""

import dataclasses
from typing import Any

import numpy as np

from seismollm_jax.conversion.network import Network
from seismollm_jax.conversion.training_state import TrainingState
from seismollm_jax.models.seismollm.names import GPT2_PREFIX, PLAIN_PREFIX, checkpoint_table
from seismollm_jax.models.weights import Extra


def fold(network: Network) -> Network:
    """The network without adapters: kernel + (alpha / rank) A B, rounded once, from float64.

    It has no training state, since the optimiser's moments are those of the adapters. A network
    that has no adapters is returned as it is.
    """
    if not network.original.adapted(network.experiment.settings):
        return network
    config = network.config
    scale = config.adapters.alpha / config.adapters.rank
    plain = dataclasses.replace(config, tuning="frozen")
    settings = dataclasses.asdict(plain)
    config_fields: dict[str, Any] = {**network.experiment.config}
    config_fields["backbone"] = {**config_fields["backbone"], "tuning": "frozen"}
    experiment = dataclasses.replace(network.experiment, config=config_fields, settings=settings)
    table = tuple(checkpoint_table(plain, experiment.task.output))

    def read(key: str) -> np.ndarray:
        if not key.startswith(PLAIN_PREFIX):
            return network.read(key)
        layer, _, last = key.replace(PLAIN_PREFIX, GPT2_PREFIX, 1).rpartition(".")
        if f"{layer}.base_layer.{last}" not in network.dtypes:
            return network.read(f"{layer}.{last}")
        value = network.read(f"{layer}.base_layer.{last}")
        if last == "bias":
            return value
        a = network.read(f"{layer}.lora_A.default.weight").astype(np.float64)  # (rank, in)
        b = network.read(f"{layer}.lora_B.default.weight").astype(np.float64)  # (out, rank)
        return (value + scale * (a.T @ b.T)).astype(np.float32)  # (in, out)

    def training() -> TrainingState | None:
        return None

    return dataclasses.replace(
        network,
        experiment=experiment,
        table=table,
        dtypes={e.key: e.dtype if isinstance(e, Extra) else "float32" for e in table},
        read=read,
        training=training,
        loaded=None,
        description={**network.description, "config": config_fields, "settings": settings},
    )
