"""SeisT: convolutional stem, four stages of convolutions and attention, head.

Li et al. 2024, IEEE Transactions on Geoscience and Remote Sensing 62, doi
10.1109/TGRS.2024.3371503; sizes and paddings as in the published PyTorch code.
"""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from seismollm_jax.models.layers import (
    RunBlock,
    UpLayer,
    auto_pad,
    call_block,
    upsampling_sizes,
)
from seismollm_jax.models.output import Output
from seismollm_jax.models.seist.blocks import MultiScaleBlock, TransformerLayer
from seismollm_jax.models.seist.config import SeisTConfig, StageConfig
from seismollm_jax.models.seist.layers import Aggregation, convolution, weight_init
from seismollm_jax.models.seist.stem import Stem

OUT_KERNEL = 7  # of the last convolution of the per-sample head


class Stage(nnx.Module):
    """Pooling, then blocks; time gets shorter by the stage's pooling, rounded up."""

    def __init__(
        self,
        inputs: int,
        stage: StageConfig,
        path_rates: Sequence[float],
        config: SeisTConfig,
        *,
        rngs: nnx.Rngs,
    ):
        dtype = jnp.dtype(config.compute_dtype)
        self.aggregation = Aggregation(
            inputs, stage.channels, stage.pooling, dtype=dtype, rngs=rngs
        )
        convolutions = stage.blocks - stage.transformers
        self.blocks = nnx.List(
            (MultiScaleBlock if i < convolutions else TransformerLayer)(
                stage, rate, config, rngs=rngs
            )
            for i, rate in enumerate(path_rates)
        )

    def __call__(
        self,
        x: jax.Array,
        *,
        train: bool,
        rngs: nnx.Rngs | None,
        run_block: RunBlock = call_block,
    ) -> jax.Array:
        for block in (self.aggregation, *self.blocks):
            x = run_block(block, x, rngs, train=train)
        return x


class PerSampleHead(nnx.Module):
    """Upsamples features back to waveform samples: (batch, time, features) -> (batch, samples, k).

    One layer for every place where time got shorter, in reverse and without connections to them.
    """

    def __init__(
        self,
        features: int,
        outputs: int,
        *,
        halvings: Sequence[tuple[int, int]],
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        kernels, inputs = zip(*reversed(halvings), strict=True)
        widths = [features, *inputs[:-1], 2 * outputs]
        self.up_layers = nnx.List(
            UpLayer(
                width_in,
                width_out,
                kernel,
                kernel_init=weight_init,
                bias_init=nnx.initializers.zeros_init(),
                dtype=dtype,
                rngs=rngs,
            )
            for (width_in, width_out), kernel in zip(
                itertools.pairwise(widths), kernels, strict=True
            )
        )
        # The last layer is float32 whatever the compute dtype: rounded logits would flatten peaks.
        self.out_conv = convolution(
            2 * outputs, outputs, OUT_KERNEL, bias=True, dtype=jnp.float32, rngs=rngs
        )

    def __call__(
        self, x: jax.Array, samples: int, *, train: bool, run_block: RunBlock = call_block
    ) -> jax.Array:
        sizes = upsampling_sizes(x.shape[1], samples, len(self.up_layers))
        for layer, size in zip(self.up_layers, sizes, strict=True):
            x = run_block(layer, x, length=size, train=train)
        return self.out_conv(auto_pad(x, OUT_KERNEL))


class PooledHead(nnx.Module):
    """Mean over time, linear: (batch, time, features) -> (batch, k)."""

    def __init__(self, features: int, outputs: int, *, rngs: nnx.Rngs):
        self.linear = nnx.Linear(
            features, outputs, kernel_init=weight_init, dtype=jnp.float32, rngs=rngs
        )

    def __call__(
        self, x: jax.Array, samples: int, *, train: bool, run_block: RunBlock = call_block
    ) -> jax.Array:
        del samples, train, run_block  # one answer per window, and too little to save memory on
        return self.linear(x.astype(jnp.float32).mean(1))


class SeisT(nnx.Module):
    """The whole network for one task.

    Input: normalised waveforms, (batch, samples, components), any number of samples that
    `SeisTConfig.check_window` accepts. Output as the `Output` says: (batch, samples, channels) or
    (batch, channels), float32.
    """

    def __init__(self, config: SeisTConfig, output: Output, *, rngs: nnx.Rngs):
        dtype = jnp.dtype(config.compute_dtype)
        self.stem = Stem(config.stem, components=config.components, dtype=dtype, rngs=rngs)
        inputs = (config.stem.channels[-1], *(stage.channels for stage in config.stages))
        self.stages = nnx.List(
            Stage(width, stage, rates, config, rngs=rngs)
            for width, stage, rates in zip(
                inputs[:-1], config.stages, config.path_drop_rates(), strict=True
            )
        )
        if output.per_sample:
            self.head: PerSampleHead | PooledHead = PerSampleHead(
                inputs[-1], output.channels, halvings=config.halvings(), dtype=dtype, rngs=rngs
            )
        else:
            self.head = PooledHead(inputs[-1], output.channels, rngs=rngs)
        self.output, self.dtype = output, dtype

    def __call__(
        self,
        x: jax.Array,
        *,
        train: bool = False,
        rngs: nnx.Rngs | None = None,
        run_block: RunBlock = call_block,
    ) -> jax.Array:
        """Runs the network.

        `train` selects batch statistics in the batch norms and updates the running ones; `rngs`
        (a "dropout" stream) switches dropout on; `run_block` calls the blocks of stem and stages
        and the layers of the head. Inference needs none of them.
        """
        features = self.stem(x.astype(self.dtype), train=train, run_block=run_block)
        for stage in self.stages:
            features = stage(features, train=train, rngs=rngs, run_block=run_block)
        logits = self.head(features, x.shape[1], train=train, run_block=run_block)
        return self.output.activate(logits)
