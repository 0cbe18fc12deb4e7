"""A checkpoint's network as programs for the devices of this process."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from seismollm_jax.experiment import Experiment
from seismollm_jax.models import inference
from seismollm_jax.parallel import Layout
from seismollm_jax.tasks.base import Context
from seismollm_jax.training import saved


class Network:
    """The inference graph of a trained network, and its decoding where that can be done with it.

    Attributes:
        function: (arrays, x, channels) -> output, traceable; see `models.family.InferenceGraph`.
        arrays: on the devices, whole on each.
        run: normalised windows (windows, samples, 3), a multiple of the devices, to the output,
            channels last, on the devices.
        decode: the same, and a context with thresholds, to answers by name, on the devices; None
            where the task has no such way.
        checksum: of the checkpoint's arrays, as `saved.checksum` gives it.
    """

    def __init__(self, experiment: Experiment, stored: saved.Stored, layout: Layout):
        self.checksum = saved.checksum((stored.params, stored.frozen, stored.stats))
        plain = {**stored.params, **stored.frozen, **stored.stats}
        output = experiment.task.output
        graph = inference.make(experiment.family, experiment.settings, output, plain)
        self.arrays = layout.replicate(graph.arrays)
        precision = experiment.config["precision"]["matmul"]
        shardings = (layout.replicated, layout.batched)

        def function(arrays: Any, x: jax.Array, channels: tuple[int, ...] | None) -> jax.Array:
            with jax.default_matmul_precision(precision):
                return graph.function(arrays, x, channels)

        @functools.partial(jax.jit, in_shardings=shardings)
        def run(arrays: Any, x: jax.Array) -> jax.Array:
            return layout.by_device(lambda whole, rows: function(whole, rows, None))(arrays, x)

        @functools.partial(jax.jit, in_shardings=shardings, static_argnums=2)
        def decode(arrays: Any, x: jax.Array, context: Context) -> dict[str, jax.Array]:
            way = experiment.task.on_device
            assert way is not None  # else `decode` is not offered

            def answers(whole: Any, rows: jax.Array) -> dict[str, jax.Array]:
                return way.decode(function(whole, rows, way.channels), context)

            return layout.by_device(answers)(arrays, x)

        self.function = function
        self.run: Callable[[np.ndarray], jax.Array] = functools.partial(run, self.arrays)
        self.decode: Callable[[np.ndarray, Context], dict[str, jax.Array]] | None = None
        if experiment.task.on_device is not None:
            self.decode = functools.partial(decode, self.arrays)
