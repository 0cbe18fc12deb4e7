"""A trained network of any family, for use alone."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx

from seismollm_jax.models.family import Family, InferenceGraph
from seismollm_jax.models.output import Output
from seismollm_jax.models.state import Arrays, merge


def make(
    family: Family, settings: Mapping[str, Any], output: Output, arrays: Mapping[str, Any]
) -> InferenceGraph:
    """The family's inference graph, or the network as it is, where the family has none.

    Both compute the same, to the rounding of float32 where that is what the network computes in.

    Args:
        family: which architecture.
        settings: its own.
        output: what is asked of the last layer.
        arrays: parameters and statistics by name, such as "head/linear/kernel".
    """
    if family.for_inference is not None:
        return family.for_inference(settings, output, arrays)
    graphdef = nnx.graphdef(nnx.eval_shape(lambda: family.build(settings, output, nnx.Rngs(0))))

    def function(arrays: Arrays, x: jax.Array, channels: Sequence[int] | None) -> jax.Array:
        model: Any = merge(graphdef, arrays)
        result = model(x)
        return result if channels is None else result[..., np.asarray(channels)]

    return InferenceGraph(function, dict(arrays))
