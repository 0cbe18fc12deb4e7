"""What a training step needs and does, known before the first one: it is compiled ahead."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import optax

from seismollm_jax.experiment import Experiment
from seismollm_jax.models.state import Arrays
from seismollm_jax.parallel import Layout
from seismollm_jax.training import flops
from seismollm_jax.training.step import State, make_train_step

GIB = 1 << 30
REMEDIES = (
    "a smaller train.batch_size, a larger train.accumulate, train.rematerialise=True, "
    "precision.compute=bfloat16 or a larger mesh.fsdp need less"
)


@dataclasses.dataclass(frozen=True)
class Cost:
    """Of one step.

    Attributes:
        flops: multiplications and additions in the products and convolutions of the network and
            its gradient, over all devices. What rematerialisation does a second time is not
            counted, as is usual for the utilisation of a model.
        arguments, temporaries, results: bytes on each device: of what a step is given; of what it
            needs on the way; of what it gives back and does not lay over its arguments. 0 where
            the compiler does not tell.
        limit: bytes that a device has for programs; None where it does not tell.
    """

    flops: float
    arguments: int
    temporaries: int
    results: int
    limit: int | None

    @property
    def memory(self) -> int:
        """Bytes on each device."""
        return self.arguments + self.temporaries + self.results

    def report(self) -> list[str]:
        """Lines for people."""
        of = f" of {_size(self.limit)}" if self.limit else ""
        lines = [f"arithmetic: {self.flops / 1e9:,.2f} GFLOP a step over all devices"]
        if not self.memory:
            return lines
        lines.append(
            f"memory on each device: {_size(self.memory)}{of} for a step: {_size(self.arguments)} "
            f"network, optimiser and batch, {_size(self.temporaries)} on the way, "
            f"{_size(self.results)} results"
        )
        if self.limit and self.memory > self.limit:
            lines.append(f"WARNING: that is more than there is; {REMEDIES}")
        return lines


def abstract_batch(
    element: Mapping[str, np.ndarray], size: int, layout: Layout
) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes of a global batch of `size` such elements, as `Layout.to_global` lays it out."""
    return {
        name: jax.ShapeDtypeStruct(
            (size, *np.shape(value)),
            jax.dtypes.canonicalize_dtype(np.asarray(value).dtype),
            # Without it `jax.jit` would not know the compiled step again.
            sharding=layout.batched,
        )
        for name, value in element.items()
    }


def compile_ahead(
    step: Any,
    arguments: tuple[State, Arrays, Mapping[str, jax.ShapeDtypeStruct], jax.Array, jax.Array],
    experiment: Experiment,
    optimizer: optax.GradientTransformation,
    layout: Layout,
) -> Cost:
    """Compiles the training step; calling it afterwards with such arguments compiles nothing.

    Args:
        step: of `make_train_step`.
        arguments: state, frozen parameters, `abstract_batch`, key, learning rate.
        experiment: of the step.
        optimizer: of the step.
        layout: of the step.
    """
    traced = step.trace(*arguments)
    memory = traced.lower().compile().memory_analysis()
    sizes = {
        name: getattr(memory, f"{name}_size_in_bytes", 0)
        for name in ("argument", "temp", "generated_code", "output", "alias")
    }
    settings = experiment.config["train"]
    if settings["rematerialise"]:
        config = {**experiment.config, "train": {**settings, "rematerialise": False}}
        plain: Any = make_train_step(
            dataclasses.replace(experiment, config=config), optimizer, layout
        )
        traced = plain.trace(*arguments)
    return Cost(
        flops=flops.count(traced.jaxpr),
        arguments=sizes["argument"],
        temporaries=sizes["temp"] + sizes["generated_code"],
        results=sizes["output"] - sizes["alias"],
        limit=memory_figure("bytes_limit"),
    )


def memory_figure(name: str) -> int | None:
    """The largest value of one of `Device.memory_stats` among this process's devices, if any."""
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    return max((one[name] for one in stats if name in one), default=None)


def _size(size: int) -> str:
    for unit, one in (("GiB", GIB), ("MiB", 1 << 20)):
        if size >= one / 10:
            return f"{size / one:.2f} {unit}"
    return f"{size / 1024:.1f} KiB"
