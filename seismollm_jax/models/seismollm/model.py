"""SeisMoLLM: embedder, latent patching, GPT-2 with adapters, head (arXiv 2502.19960)."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from flax import nnx

from seismollm_jax.models.layers import RunBlock, call_block
from seismollm_jax.models.output import Output
from seismollm_jax.models.seismollm.embedder import Embedder
from seismollm_jax.models.seismollm.gpt2 import GPT2, GPT2Config, LoRAConfig
from seismollm_jax.models.seismollm.heads import (
    POOL_KERNEL,
    POOL_STRIDE,
    PerSampleHead,
    PooledHead,
)

TUNING = ("lora", "full", "frozen")
COMPUTE = ("float32", "bfloat16")


@dataclasses.dataclass(frozen=True)
class EmbedderConfig:
    """Sizes of the convolutional embedder, one entry a block.

    `channels` lacks the last block's: that is the GPT-2 width divided by the patch size.
    """

    channels: tuple[int, ...] = (16, 48, 96)
    kernels: tuple[int, ...] = (16, 8, 6, 1)
    kernel_steps: tuple[int, ...] = (8, 6, 4, 2)
    strides: tuple[int, ...] = (2, 2, 2, 1)
    scales: int = 4

    def __post_init__(self) -> None:
        blocks = len(self.channels) + 1
        for name in ("kernels", "kernel_steps", "strides"):
            if len(getattr(self, name)) != blocks:
                raise ValueError(
                    f"embedder.{name} has {len(getattr(self, name))} entries; with "
                    f"{len(self.channels)} embedder.channels it needs {blocks}"
                )
        if any(stride < 1 for stride in self.strides):
            raise ValueError(f"embedder.strides={self.strides} must be at least 1 each")
        if any(k < s for k, s in zip(self.kernels, self.strides, strict=True)):
            raise ValueError("every entry of embedder.kernels must be at least its stride")


@dataclasses.dataclass(frozen=True)
class SeisMoLLMConfig:
    """Everything that fixes the network; enough, with an `Output`, to rebuild it.

    Attributes:
        gpt2: sizes of the backbone, as read from its files.
        layers: GPT-2 blocks kept.
        start_layer: the first of them in the published stack.
        tuning: "lora" trains layer norms, positions and adapters of the backbone (the paper);
            "full" trains all of it, without adapters; "frozen" trains none of it, without
            adapters. Embedder and head always train.
        patch_size: embedder samples in one token.
        head_channels: widths of the per-sample head, in the embedder's order.
        components: waveform components, 3 for Z, N, E.
        compute_dtype: type of activations; parameters and statistics stay float32.
    """

    gpt2: GPT2Config = GPT2Config()
    layers: int = 3
    start_layer: int = 0
    tuning: str = "lora"
    lora: LoRAConfig = LoRAConfig()
    embedder: EmbedderConfig = EmbedderConfig()
    patch_size: int = 8
    head_channels: tuple[int, ...] = (128, 160, 192, 224)
    components: int = 3
    compute_dtype: str = "float32"

    def __post_init__(self) -> None:
        for name, value in (("patch_size", self.patch_size), ("components", self.components)):
            if value < 1:
                raise ValueError(f"{name}={value} must be at least 1")
        if self.compute_dtype not in COMPUTE:
            raise ValueError(f"precision.compute={self.compute_dtype!r} is not one of {COMPUTE}")
        if self.tuning not in TUNING:
            raise ValueError(f"backbone.tuning={self.tuning!r} is not one of {TUNING}")
        last = self.start_layer + self.layers
        if self.start_layer < 0 or self.layers < 1 or last > self.gpt2.n_layer:
            raise ValueError(
                f"backbone.start_layer={self.start_layer} and backbone.layers={self.layers} ask "
                f"for GPT-2 layers {self.start_layer} to {last - 1}; the backbone has "
                f"{self.gpt2.n_layer}, numbered from 0"
            )
        if self.gpt2.n_embd % self.patch_size:
            raise ValueError(
                f"patch_size={self.patch_size} does not divide the GPT-2 width {self.gpt2.n_embd}"
            )
        if len(self.head_channels) != len(self.embedder.kernels):
            raise ValueError("head.channels needs as many entries as embedder.kernels")

    @property
    def features(self) -> int:
        """Channels of the embedder's output."""
        return self.gpt2.n_embd // self.patch_size

    @property
    def adapters(self) -> LoRAConfig:
        """The adapters in effect: none unless `tuning` is "lora"."""
        return self.lora if self.tuning == "lora" else LoRAConfig(rank=0)

    def tokens(self, window: int) -> int:
        """GPT-2 tokens made of a window of so many samples; the remainder is dropped."""
        length = window
        for stride in self.embedder.strides:
            length = math.ceil(length / stride)
        return length // self.patch_size

    def check_window(self, window: int, *, per_sample: bool) -> None:
        """Refuses a window that the network cannot take.

        Raises:
            ValueError: more tokens than GPT-2 has positions, or too few for the head.
        """
        tokens = self.tokens(window)
        shortest = POOL_KERNEL + POOL_STRIDE * (POOL_KERNEL - 1)  # two valid convolutions
        if tokens > self.gpt2.n_positions:
            raise ValueError(
                f"a window of {window} samples makes {tokens} tokens, more than the "
                f"{self.gpt2.n_positions} positions of this GPT-2: shorten data.window"
            )
        if tokens < 1 or (not per_sample and tokens * self.patch_size < shortest):
            raise ValueError(
                f"a window of {window} samples is too short for this model: it makes {tokens} "
                f"tokens of {self.patch_size} features; lengthen data.window"
            )


def to_tokens(x: jax.Array, patch: int) -> jax.Array:
    """Latent patching: (batch, time, features) -> (batch, time // patch, features * patch).

    The feature is the slow index within a token, the sample in the patch the fast one. Samples
    that do not fill a patch are dropped at the end.
    """
    batch, time, features = x.shape
    tokens = time // patch
    x = x[:, : tokens * patch].reshape(batch, tokens, patch, features)
    return x.swapaxes(2, 3).reshape(batch, tokens, features * patch)


def from_tokens(x: jax.Array, patch: int) -> jax.Array:
    """The way back: (batch, tokens, features * patch) -> (batch, tokens * patch, features)."""
    batch, tokens, width = x.shape
    x = x.reshape(batch, tokens, width // patch, patch)
    return x.swapaxes(2, 3).reshape(batch, tokens * patch, width // patch)


class SeisMoLLM(nnx.Module):
    """The whole network for one task.

    Input: normalised waveforms, (batch, samples, components), any number of samples that
    `SeisMoLLMConfig.check_window` accepts. Output as the `Output` says: (batch, samples, channels)
    or (batch, channels), float32.
    """

    def __init__(self, config: SeisMoLLMConfig, output: Output, *, rngs: nnx.Rngs):
        dtype = jnp.dtype(config.compute_dtype)
        self.embedder = Embedder(
            components=config.components,
            channels=(*config.embedder.channels, config.features),
            kernels=config.embedder.kernels,
            kernel_steps=config.embedder.kernel_steps,
            strides=config.embedder.strides,
            scales=config.embedder.scales,
            dtype=dtype,
            rngs=rngs,
        )
        self.backbone = GPT2(
            config.gpt2, config.adapters, layers=config.layers, dtype=dtype, rngs=rngs
        )
        if output.per_sample:
            self.head: PerSampleHead | PooledHead = PerSampleHead(
                config.features,
                output.channels,
                channels=config.head_channels,
                kernels=config.embedder.kernels,
                dtype=dtype,
                rngs=rngs,
            )
        else:
            self.head = PooledHead(config.features, output.channels, dtype=dtype, rngs=rngs)
        self.patch_size, self.output, self.dtype = config.patch_size, output, dtype

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
        (a "dropout" stream) switches dropout on; `run_block` calls the blocks of embedder and
        backbone and the layers of the head. Inference needs none of them.
        """
        features = self.embedder(x.astype(self.dtype), train=train, run_block=run_block)
        tokens = to_tokens(features, self.patch_size)
        tokens = self.backbone(tokens, rngs=rngs, run_block=run_block)
        features = from_tokens(tokens, self.patch_size)
        logits = self.head(features, x.shape[1], train=train, run_block=run_block)
        return self.output.activate(logits)


def is_trainable(config: SeisMoLLMConfig, path: tuple[str | int, ...]) -> bool:
    """Whether the parameter at `path` learns; the rule of `SeisMoLLMConfig.tuning`."""
    if path[0] != "backbone" or config.tuning == "full":
        return True
    if config.tuning == "frozen":
        return False
    return any(str(part).startswith(("ln_", "wpe", "lora_")) for part in path)
