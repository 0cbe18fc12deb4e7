"""The sizes of a SeisT, and what follows from them."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from seismollm_jax.models.layers import upsampling_sizes

COMPUTE = ("float32", "bfloat16")


@dataclasses.dataclass(frozen=True)
class StemConfig:
    """The convolutional stem, one entry a block."""

    channels: tuple[int, ...] = (16, 8, 16, 16)
    kernels: tuple[int, ...] = (11, 5, 5, 7)  # of the first branch
    strides: tuple[int, ...] = (2, 1, 1, 2)
    branches: int = 3
    kernel_step: int = 4  # from branch to branch

    def __post_init__(self) -> None:
        if len({len(self.channels), len(self.kernels), len(self.strides)}) > 1:
            raise ValueError("the stem's channels, kernels and strides need as many entries each")
        if any(k < s for k, s in zip(self.kernels, self.strides, strict=True)):
            raise ValueError("every kernel of the stem must be at least its stride")


@dataclasses.dataclass(frozen=True)
class StageConfig:
    """One stage of the encoder: pooling, multi-scale convolutions, then transformer layers.

    Attributes:
        blocks: convolutional blocks and transformer layers together.
        transformers: the last so many of them are transformer layers.
        channels: width.
        pooling: samples that become one at the entrance.
        attention_pooling: keys and values are made of so many samples each.
        head_width: channels of an attention head, and of a group of every grouped convolution.
    """

    blocks: int
    channels: int
    head_width: int
    transformers: int = 1
    pooling: int = 2
    attention_pooling: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.transformers <= self.blocks:
            raise ValueError(f"a stage of {self.blocks} blocks with {self.transformers} of them")
        if self.channels % self.head_width:
            raise ValueError(f"{self.channels} channels are no multiple of {self.head_width}")


@dataclasses.dataclass(frozen=True)
class DropRates:
    """Shares that are dropped in training; the names of the PyTorch original."""

    path_drop_rate: float  # stochastic depth, of the last block; grows to it from zero
    attn_drop_rate: float  # attention probabilities
    key_drop_rate: float  # keys, after their projection
    mlp_drop_rate: float  # end of each feed-forward part
    other_drop_rate: float  # result of attention

    def __post_init__(self) -> None:
        for name, rate in vars(self).items():
            if not 0 <= rate < 1:
                raise ValueError(f"seist.{name}={rate} must be at least 0 and below 1")


def rounded(value: float, divisor: int) -> int:
    """`value` rounded to a multiple of `divisor`, at least one, and not below 0.9 of it."""
    multiple = max(int(value + divisor / 2) // divisor * divisor, divisor)
    return multiple + divisor if multiple < 0.9 * value else multiple


def branch_widths(channels: int, branches: int, group: int) -> list[int]:
    """Channels of the branches of a multi-scale block; they add up to `channels`."""
    widths: list[int] = []
    for i in range(branches):
        widths.append(rounded((channels - sum(widths)) // (branches - i), group))
    return widths


@dataclasses.dataclass(frozen=True)
class SeisTConfig:
    """Everything that fixes the network; enough, with an `Output`, to rebuild it.

    Attributes:
        stages: of the encoder.
        kernels: of the branches of the multi-scale blocks.
        mlp_ratio: width of the feed-forward parts over that of their input.
        drop: rates of dropout.
        stem: see there.
        attention_ratio: share of a transformer layer's channels that goes through attention,
            before rounding; the others go through a grouped convolution.
        components: waveform components, 3 for Z, N, E.
        compute_dtype: type of activations; parameters and statistics stay float32.
    """

    stages: tuple[StageConfig, ...]
    kernels: tuple[int, ...]
    mlp_ratio: float
    drop: DropRates
    stem: StemConfig = StemConfig()
    attention_ratio: float = 0.6
    components: int = 3
    compute_dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.compute_dtype not in COMPUTE:
            raise ValueError(f"precision.compute={self.compute_dtype!r} is not one of {COMPUTE}")
        for stage in self.stages:
            widths = self.branch_widths(stage)
            if stage.blocks > stage.transformers and sum(widths) != stage.channels:
                raise ValueError(
                    f"{stage.channels} channels cannot be shared among {len(self.kernels)} "
                    f"kernels in groups of {stage.head_width}"
                )
            if self.attention_width(stage) > stage.channels:
                raise ValueError(f"attention would take more than {stage.channels} channels")

    def branch_widths(self, stage: StageConfig) -> list[int]:
        """Channels of the branches of a stage's multi-scale blocks."""
        return branch_widths(stage.channels, len(self.kernels), stage.head_width)

    def attention_width(self, stage: StageConfig) -> int:
        """Channels of a stage's transformer layers that go through attention."""
        return rounded(int(self.attention_ratio * stage.channels), stage.head_width)

    def path_drop_rates(self) -> list[list[float]]:
        """Of each block of each stage: from zero for the first to the full rate for the last."""
        total = sum(stage.blocks for stage in self.stages)
        line = iter(np.linspace(0, self.drop.path_drop_rate, total).tolist())
        return [[next(line) for _ in range(stage.blocks)] for stage in self.stages]

    def halvings(self) -> list[tuple[int, int]]:
        """Kernel and input width of every place where time gets shorter, in the order of the data.

        The per-sample head has a layer for each of them, in reverse.
        """
        stem_inputs = (self.components, *self.stem.channels[:-1])
        stem = zip(self.stem.kernels, stem_inputs, self.stem.strides, strict=True)
        stage_inputs = (self.stem.channels[-1], *(stage.channels for stage in self.stages[:-1]))
        stages = zip(self.stages, stage_inputs, strict=True)
        return [(kernel, width) for kernel, width, stride in stem if stride > 1] + [
            (max(self.kernels), width) for stage, width in stages if stage.pooling > 1
        ]

    def features(self, window: int) -> int:
        """Length of the encoder's output for a window of so many samples."""
        steps: Sequence[int] = (*self.stem.strides, *(stage.pooling for stage in self.stages))
        length = window
        for step in steps:
            length = math.ceil(length / step)
        return length

    def check_window(self, window: int, *, per_sample: bool) -> None:
        """Refuses a window that the network cannot take.

        Raises:
            ValueError: too short, for the per-sample head above all.
        """
        if window < 1:
            raise ValueError(f"a window of {window} samples: data.window must be at least 1")
        layers = len(self.halvings())
        if not per_sample or min(upsampling_sizes(self.features(window), window, layers)) > 0:
            return
        enough = window
        while min(upsampling_sizes(self.features(enough), enough, layers)) < 1:
            enough += 1
        raise ValueError(
            f"a window of {window} samples is too short for an answer per sample of this model: "
            f"give data.window at least {enough}"
        )


def _stages(
    blocks: Sequence[int],
    channels: Sequence[int],
    head_widths: Sequence[int],
    transformers: Sequence[int] = (1, 1, 1, 1),
) -> tuple[StageConfig, ...]:
    shapes = zip(blocks, channels, head_widths, transformers, strict=True)
    return tuple(
        StageConfig(*shape, attention_pooling=pooling)
        for shape, pooling in zip(shapes, (8, 4, 2, 1), strict=True)
    )


def _rates(*rates: float) -> DropRates:
    return DropRates(*(rates if len(rates) == 5 else rates * 5))


# Stages, kernels and width of the feed-forward parts of the published sizes.
SIZES: dict[str, tuple[tuple[StageConfig, ...], tuple[int, ...], float]] = {
    "s": (_stages((2, 2, 3, 2), (16, 24, 32, 64), (8, 8, 8, 16)), (5, 7), 2),
    "m": (_stages((2, 3, 6, 2), (24, 32, 64, 96), (8, 8, 16, 32)), (5, 7), 2),
    "l": (
        _stages((2, 3, 6, 3), (32, 32, 64, 128), (8, 8, 16, 32), (1, 1, 2, 1)),
        (3, 5, 7, 11),
        3,
    ),
}
# Rates of the published training, by size: picking's, polarity's, those of the other tasks.
RATES = {
    "s": (_rates(0.1), _rates(0.2), _rates(0.1)),
    "m": (_rates(0.2), _rates(0.25), _rates(0.1)),
    "l": (_rates(0.3), _rates(0.3), _rates(0.2, 0.2, 0.1, 0.2, 0.1)),
}
