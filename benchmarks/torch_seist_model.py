"""SeisT as an idiomatic PyTorch model, to be timed beside the JAX one.

Written from the description of the network (doi 10.1109/TGRS.2024.3371503) with the layers that
PyTorch offers: grouped convolutions, fused attention, `interpolate`, batch norm. Tensors are
channels first, and parameters have the names of the published files.
"""
# ruff: noqa: D102 (a module's docstring describes its `forward`)

import dataclasses
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks import torch_model
from benchmarks.torch_model import EPSILON, PerSampleHead, Task, same_pad

STEM = ((3, 16, 11, 2), (16, 8, 5, 1), (8, 16, 5, 1), (16, 16, 7, 2))  # in, out, kernel, stride
ATTENTION_POOLING = (8, 4, 2, 1)


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Of a published network, stage by stage."""

    blocks: tuple[int, ...]
    transformers: tuple[int, ...]  # the last so many of them
    channels: tuple[int, ...]
    groups: tuple[int, ...]  # channels of a group and of a head
    kernels: tuple[int, ...]
    ratio: int  # of the feed-forward parts
    drop: float


SIZES = {
    "seist_s": Sizes((2, 2, 3, 2), (1, 1, 1, 1), (16, 24, 32, 64), (8, 8, 8, 16), (5, 7), 2, 0.1),
    "seist_m": Sizes((2, 3, 6, 2), (1, 1, 1, 1), (24, 32, 64, 96), (8, 8, 16, 32), (5, 7), 2, 0.2),
    "seist_l": Sizes(
        (2, 3, 6, 3), (1, 1, 2, 1), (32, 32, 64, 128), (8, 8, 16, 32), (3, 5, 7, 11), 3, 0.3
    ),
}


def _picking_loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    entropy = target * (output + EPSILON).log() + (1 - target) * (1 - output + EPSILON).log()
    return -(entropy.new_tensor([0.5, 1.0, 1.0])[:, None] * entropy).mean()


TASKS = torch_model.TASKS | {
    "picking": Task(3, torch.sigmoid, _picking_loss, per_sample=True),
    "back_azimuth": Task(1, lambda x: 360 * x.sigmoid(), functional.huber_loss),
}


def _pointwise(inputs: int, outputs: int, *, bias: bool = False) -> nn.Conv1d:
    return nn.Conv1d(inputs, outputs, 1, bias=bias)


def _rounded(value: float, divisor: int) -> int:
    multiple = max(int(value + divisor / 2) // divisor * divisor, divisor)
    return multiple + divisor if multiple < 0.9 * value else multiple


class DropPath(nn.Module):
    """Leaves a branch out for some of the batch."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or not self.rate:
            return x
        kept = x.new_empty(len(x), 1, 1).bernoulli_(1 - self.rate)
        return x * kept / (1 - self.rate)


class StemBranch(nn.Module):
    """One kernel size of a block of the stem."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int):
        super().__init__()
        self.in_proj = _pointwise(inputs, inputs)
        self.dconv = nn.Conv1d(inputs, inputs, kernel, stride, groups=inputs, bias=False)
        self.pconv, self.norm = _pointwise(inputs, outputs), nn.BatchNorm1d(outputs)
        self.kernel, self.stride = kernel, stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.dconv(same_pad(self.in_proj(x), self.kernel, self.stride))
        return functional.gelu(self.norm(self.pconv(x)))


class StemBlock(nn.Module):
    """Three branches, joined by a 1x1 convolution."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int):
        super().__init__()
        self.convs = nn.ModuleList(
            StemBranch(inputs, outputs, kernel + 4 * i, stride) for i in range(3)
        )
        self.out_proj, self.norm = _pointwise(3 * outputs, outputs), nn.BatchNorm1d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.out_proj(torch.cat([conv(x) for conv in self.convs], 1)))


class Aggregation(nn.Module):
    """Mean and maximum of every few samples, added, and a 1x1 convolution."""

    def __init__(self, inputs: int, outputs: int, size: int):
        super().__init__()
        self.proj, self.norm, self.size = _pointwise(inputs, outputs), nn.BatchNorm1d(outputs), size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = [
            pool(x, self.size, ceil_mode=True)
            for pool in (functional.avg_pool1d, functional.max_pool1d)
        ]
        return self.norm(self.proj(pooled[0] + pooled[1]))


class MLP(nn.Module):
    """The feed-forward part."""

    def __init__(self, channels: int, ratio: int, drop: float):
        super().__init__()
        self.lin0 = _pointwise(channels, ratio * channels, bias=True)
        self.lin1 = _pointwise(ratio * channels, channels, bias=True)
        self.dropout = nn.Dropout(drop)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dropout(self.lin1(functional.gelu(self.lin0(x))))


class GroupedBlock(nn.Module):
    """A grouped convolution and a feed-forward part, with residuals."""

    def __init__(self, channels: int, kernel: int, group: int, sizes: Sizes, path: float):
        super().__init__()
        self.conv = nn.Conv1d(
            channels, channels, kernel, padding=kernel // 2, groups=channels // group, bias=False
        )
        self.proj, self.mlp = (
            _pointwise(channels, channels),
            MLP(channels, sizes.ratio, sizes.drop),
        )
        self.norm0, self.norm1 = nn.BatchNorm1d(channels), nn.BatchNorm1d(channels)
        self.path = DropPath(path)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.path(self.proj(functional.gelu(self.norm0(self.conv(x)))))
        return x + self.path(self.mlp(self.norm1(x)))


class MultiScaleBlock(nn.Module):
    """Branches of different kernels, concatenated."""

    def __init__(self, channels: int, group: int, sizes: Sizes, path: float):
        super().__init__()
        widths: list[int] = []
        for i in range(len(sizes.kernels)):
            left = (channels - sum(widths)) // (len(sizes.kernels) - i)
            widths.append(_rounded(left, group))
        self.projs = nn.ModuleList(_pointwise(channels, width) for width in widths)
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for width in widths)
        self.convs = nn.ModuleList(
            GroupedBlock(width, kernel, group, sizes, path)
            for width, kernel in zip(widths, sizes.kernels, strict=True)
        )
        self.out_norm = nn.BatchNorm1d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scales = []
        for proj, norm, conv in zip(self.projs, self.norms, self.convs, strict=True):
            y = norm(proj(x))
            scales.append(y + conv(y))
        return self.out_norm(torch.cat(scales, 1))


class Attention(nn.Module):
    """Attention to pooled keys, by PyTorch's fused kernel."""

    def __init__(self, width: int, head: int, pooling: int, drop: float):
        super().__init__()
        self.pools, self.heads, self.drop = pooling > 1, width // head, drop
        if self.pools:
            self.aggr, self.norm = Aggregation(width, width, pooling), nn.BatchNorm1d(width)
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (
            _pointwise(width, width, bias=True) for _ in range(4)
        )
        self.dropout = nn.Dropout(drop)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        context = self.norm(self.aggr(x)) if self.pools else x
        # (batch, heads, time, head)
        query, key, value = (
            y.unflatten(1, (self.heads, -1)).transpose(2, 3)
            for y in (self.q_proj(x), self.dropout(self.k_proj(context)), self.v_proj(context))
        )
        drop = self.drop if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(query, key, value, dropout_p=drop)
        return self.dropout(self.out_proj(mixed.transpose(2, 3).flatten(1, 2)))


class TransformerLayer(nn.Module):
    """Attention beside a grouped convolution, then a feed-forward part."""

    def __init__(self, channels: int, group: int, pooling: int, sizes: Sizes, path: float):
        super().__init__()
        width = _rounded(int(0.6 * channels), group)
        rest = channels - width
        self.attn_proj, self.norm0 = _pointwise(channels, width), nn.BatchNorm1d(width)
        self.attention = Attention(width, group, pooling, sizes.drop)
        self.convolves = rest > 0
        if self.convolves:
            self.conv_proj, self.norm1 = _pointwise(channels, rest), nn.BatchNorm1d(rest)
            self.gconv = GroupedBlock(rest, 3, group, sizes, path)
        self.norm2, self.mlp = nn.BatchNorm1d(channels), MLP(channels, sizes.ratio, sizes.drop)
        self.path, self.path_a, self.path_b = (DropPath(path * part) for part in (1, 0.6, 0.4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm0(self.attn_proj(x))
        parts = [y + self.path_a(self.attention(y))]
        if self.convolves:
            y = self.norm1(self.conv_proj(x))
            parts.append(y + self.path_b(self.gconv(y)))
        x = self.norm2(torch.cat(parts, 1))
        return x + self.path(self.mlp(x))


class PooledHead(nn.Module):
    """The mean over time and a linear layer."""

    def __init__(self, features: int, outputs: int):
        super().__init__()
        self.lin = nn.Linear(features, outputs)

    def forward(self, x: torch.Tensor, samples: int) -> torch.Tensor:
        return self.lin(x.mean(2))


class SeisT(nn.Module):
    """The network of a size and task: (batch, 3, samples) to (batch, channels[, samples])."""

    def __init__(self, name: str, task: str):
        super().__init__()
        sizes, self.task = SIZES[name], TASKS[task]
        self.stem = nn.Sequential(*(StemBlock(*block) for block in STEM))
        rates = iter(np.linspace(0, sizes.drop, sum(sizes.blocks)).tolist())
        widths = (STEM[-1][1], *sizes.channels)
        stages = []
        for i, (blocks, transformers, channels, group) in enumerate(
            zip(sizes.blocks, sizes.transformers, sizes.channels, sizes.groups, strict=True)
        ):
            stage: list[nn.Module] = [Aggregation(widths[i], channels, 2)]
            for _ in range(blocks - transformers):
                stage.append(MultiScaleBlock(channels, group, sizes, next(rates)))
            for _ in range(transformers):
                pooling = ATTENTION_POOLING[i]
                stage.append(TransformerLayer(channels, group, pooling, sizes, next(rates)))
            stages.append(nn.Sequential(*stage))
        self.encoder_layers = nn.Sequential(*stages)
        outputs = self.task.channels
        self.out_head: nn.Module = (
            PerSampleHead(
                [*widths[::-1], STEM[-1][0], 2 * outputs],
                [*[max(sizes.kernels)] * 4, STEM[-1][2], STEM[0][2]],
                outputs,
            )
            if self.task.per_sample
            else PooledHead(widths[-1], outputs)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.out_head(self.encoder_layers(self.stem(x)), x.shape[2])
        # Losses take logarithms of what comes now: float32, whatever autocast does before.
        return self.task.finish(logits.float())


def load(model: SeisT, arrays: Mapping[str, np.ndarray]) -> None:
    """Fills a model with a state dict of the published code.

    Raises:
        RuntimeError: an array is missing, left over, or of another shape.
    """
    model.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()})
