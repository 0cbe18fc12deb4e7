"""How the training step calls the parts of a network, so that it needs less memory."""

from typing import Any

import jax
from flax import nnx

from seismollm_jax.models.layers import RunBlock, call_block
from seismollm_jax.parallel import Layout, is_not_collected


def make_run_block(layout: Layout, *, gradient: bool, rematerialise: bool = False) -> RunBlock:
    """What a network is given to call its blocks with.

    Arrays that are split over devices are collected by the block that uses them, and for the
    gradient a second time, so that no device ever holds more of them than those of a few blocks.

    Args:
        layout: how arrays lie on the devices.
        gradient: whether one will be taken.
        rematerialise: keep only the input of a block, and work its activations out once more for
            the gradient (Chen et al. 2016, "Training deep nets with sublinear memory cost").
            Statistics are updated once.
    """
    if not layout.splits and not (gradient and rematerialise):
        return call_block

    def run_block(block: Any, *inputs: Any, **options: Any) -> jax.Array:
        def call(block: Any, *inputs: Any) -> jax.Array:
            if not layout.splits:
                return block(*inputs, **options)
            parts: Any = nnx.split(block, nnx.Param, ...)
            graphdef, params, others = parts
            used = nnx.merge(graphdef, layout.collect(params), others)
            output = used(*inputs, **options)
            nnx.update(block, nnx.state(used, nnx.BatchStat))
            return output

        if not gradient:
            return call(block, *inputs)
        policy = None if rematerialise else is_not_collected
        return nnx.remat(call, policy=policy)(block, *inputs)

    return run_block
