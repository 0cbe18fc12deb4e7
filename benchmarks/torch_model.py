"""SeisMoLLM as an idiomatic PyTorch model, to be timed beside the JAX one.

Written from the description of the network (arXiv 2502.19960) with the layers that PyTorch offers:
fused attention, `interpolate`, batch norm. Tensors are channels first. `load` takes a state dict
of the published code, by which a test compares outputs.
"""
# ruff: noqa: D102 (a module's docstring describes its `forward`)

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

EPSILON = 1e-6  # within the logarithms of the losses


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Of the network; the defaults are the published ones."""

    width: int = 768  # of GPT-2
    heads: int = 12
    layers: int = 3
    positions: int = 1024
    rank: int = 16  # of the adapters
    alpha: float = 16.0
    dropout: float = 0.1
    patch: int = 8
    channels: tuple[int, ...] = (16, 48, 96)
    kernels: tuple[int, ...] = (16, 8, 6, 1)
    kernel_steps: tuple[int, ...] = (8, 6, 4, 2)
    strides: tuple[int, ...] = (2, 2, 2, 1)
    scales: int = 4
    head_channels: tuple[int, ...] = (160, 192, 224)


@dataclasses.dataclass(frozen=True)
class Task:
    """The last layer of a task and its loss."""

    channels: int
    finish: Callable[[torch.Tensor], torch.Tensor]
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    per_sample: bool = False


def _picking_loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    entropy = target * (output + EPSILON).log() + (1 - target) * (1 - output + EPSILON).log()
    weights = entropy.new_tensor([0.0, 1.0, 1.0])[:, None]
    return -(weights * entropy).mean()


def _polarity_loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return -(target * (output + EPSILON).log()).sum(1).mean()


def _angle_loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    angle = torch.deg2rad(target)
    parts = functional.huber_loss(output, torch.cat([angle.cos(), angle.sin()], 1))
    return 2 * parts  # cosine and sine have a mean each


TASKS = {
    "picking": Task(3, torch.sigmoid, _picking_loss, per_sample=True),
    "polarity": Task(2, lambda x: x.softmax(1), _polarity_loss),
    "magnitude": Task(1, lambda x: 8 * x.sigmoid(), functional.huber_loss),
    "back_azimuth": Task(2, torch.tanh, _angle_loss),
    "distance": Task(1, lambda x: 500 * x.sigmoid(), functional.huber_loss),
}


def same_pad(x: torch.Tensor, kernel: int, stride: int = 1) -> torch.Tensor:
    """Zeros for ceil(time / stride) outputs, an odd one at the end."""
    total = -x.shape[2] % stride + kernel - stride
    return functional.pad(x, (total // 2, total - total // 2))


class Branch(nn.Module):
    """One kernel size of a block of the embedder."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int):
        super().__init__()
        self.in_proj = nn.Conv1d(inputs, inputs, 1, bias=False)
        self.conv = nn.Conv1d(inputs, outputs, kernel, stride, bias=False)
        self.norm = nn.BatchNorm1d(outputs)
        self.kernel, self.stride = kernel, stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(same_pad(self.in_proj(x), self.kernel, self.stride))
        return functional.gelu(self.norm(x))


class EmbedderBlock(nn.Module):
    """Branches side by side, joined by a 1x1 convolution."""

    def __init__(self, inputs: int, outputs: int, kernels: Sequence[int], stride: int):
        super().__init__()
        self.convs = nn.ModuleList(Branch(inputs, outputs, kernel, stride) for kernel in kernels)
        self.out_proj = nn.Conv1d(len(kernels) * outputs, outputs, 1, bias=False)
        self.norm = nn.BatchNorm1d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.out_proj(torch.cat([conv(x) for conv in self.convs], 1)))


class LoRALinear(nn.Module):
    """A frozen linear layer with a low-rank adapter that learns."""

    def __init__(self, inputs: int, outputs: int, sizes: Sizes):
        super().__init__()
        self.base = nn.Linear(inputs, outputs).requires_grad_(False)
        self.lora_a = nn.Linear(inputs, sizes.rank, bias=False)
        self.lora_b = nn.Linear(sizes.rank, outputs, bias=False)
        nn.init.zeros_(self.lora_b.weight)
        self.dropout, self.scale = nn.Dropout(sizes.dropout), sizes.alpha / sizes.rank

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + self.scale * self.lora_b(self.lora_a(self.dropout(x)))


class Attention(nn.Module):
    """Causal self-attention by PyTorch's fused kernel."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        self.c_attn = LoRALinear(sizes.width, 3 * sizes.width, sizes)
        self.c_proj = LoRALinear(sizes.width, sizes.width, sizes)
        self.heads, self.dropout = sizes.heads, sizes.dropout

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # 3 x (batch, heads, tokens, head)
        query, key, value = (
            self.c_attn(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind()
        )
        dropout = self.dropout if self.training else 0.0
        x = functional.scaled_dot_product_attention(
            query, key, value, dropout_p=dropout, is_causal=True
        )
        return self.c_proj(x.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """The feed-forward part of a decoder block."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        self.c_fc = LoRALinear(sizes.width, 4 * sizes.width, sizes)
        self.c_proj = LoRALinear(4 * sizes.width, sizes.width, sizes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.c_proj(functional.gelu(self.c_fc(x), approximate="tanh"))


class DecoderBlock(nn.Module):
    """GPT-2's pre-norm block."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(sizes.width), nn.LayerNorm(sizes.width)
        self.attn, self.mlp = Attention(sizes), MLP(sizes)
        self.dropout = nn.Dropout(sizes.dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.dropout(self.attn(self.ln_1(x)))
        return x + self.dropout(self.mlp(self.ln_2(x)))


class GPT2(nn.Module):
    """Positions, decoder blocks, final norm."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        self.wpe = nn.Embedding(sizes.positions, sizes.width)
        self.h = nn.ModuleList(DecoderBlock(sizes) for _ in range(sizes.layers))
        self.ln_f = nn.LayerNorm(sizes.width)
        self.dropout = nn.Dropout(sizes.dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.dropout(x + self.wpe.weight[: x.shape[1]])
        for block in self.h:
            x = block(x)
        return self.ln_f(x)


class UpLayer(nn.Module):
    """Upsampling by linear interpolation, then a convolution."""

    def __init__(self, inputs: int, outputs: int, kernel: int):
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, kernel)
        self.norm = nn.BatchNorm1d(outputs)
        self.kernel = kernel

    def forward(self, x: torch.Tensor, length: int) -> torch.Tensor:
        x = functional.interpolate(x, length, mode="linear")
        return functional.gelu(self.norm(self.conv(same_pad(x, self.kernel))))


class PerSampleHead(nn.Module):
    """Back to the samples of the waveform in geometric steps."""

    def __init__(self, widths: Sequence[int], kernels: Sequence[int], outputs: int):
        super().__init__()
        self.up_layers = nn.ModuleList(
            UpLayer(inputs, width, kernel)
            for inputs, width, kernel in zip(widths[:-1], widths[1:], kernels, strict=True)
        )
        self.out_conv = nn.Conv1d(widths[-1], outputs, 7, padding=3)

    def forward(self, x: torch.Tensor, samples: int) -> torch.Tensor:
        factor = (samples / x.shape[2]) ** (1 / len(self.up_layers))
        lengths = [samples]
        while len(lengths) < len(self.up_layers):
            lengths.insert(0, int(lengths[0] / factor))
        for layer, length in zip(self.up_layers, lengths, strict=True):
            x = layer(x, length)
        return self.out_conv(x)


class PooledHead(nn.Module):
    """Two strided convolutions, the mean over time, a linear layer."""

    def __init__(self, features: int, outputs: int):
        super().__init__()
        self.convs = nn.Sequential(*(nn.Conv1d(features, features, 16, 4) for _ in range(2)))
        self.lin = nn.Linear(features, outputs)

    def forward(self, x: torch.Tensor, samples: int) -> torch.Tensor:
        return self.lin(self.convs(x).mean(2))


class SeisMoLLM(nn.Module):
    """The network of a task: (batch, 3, samples) to (batch, channels[, samples])."""

    def __init__(self, task: str, sizes: Sizes = Sizes()):
        super().__init__()
        self.task, self.patch = TASKS[task], sizes.patch
        features = sizes.width // sizes.patch
        outputs = (*sizes.channels, features)
        self.convs = nn.Sequential(
            *(
                EmbedderBlock(
                    inputs, width, [kernel + step * i for i in range(sizes.scales)], stride
                )
                for inputs, width, kernel, step, stride in zip(
                    (3, *sizes.channels),
                    outputs,
                    sizes.kernels,
                    sizes.kernel_steps,
                    sizes.strides,
                    strict=True,
                )
            )
        )
        self.gpt2 = GPT2(sizes)
        channels = self.task.channels
        self.out_head: nn.Module = (
            PerSampleHead(
                [features, *sizes.head_channels[::-1], 2 * channels], sizes.kernels[::-1], channels
            )
            if self.task.per_sample
            else PooledHead(features, channels)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        samples = x.shape[2]
        x = self.convs(x)
        tokens = x.shape[2] // self.patch
        # (batch, features, time) -> (batch, tokens, features * patch)
        x = x[:, :, : tokens * self.patch].unflatten(2, (tokens, self.patch))
        x = self.gpt2(x.transpose(1, 2).flatten(2))
        x = x.unflatten(2, (-1, self.patch)).transpose(1, 2).flatten(2)
        # Losses take logarithms of what comes now: float32, whatever autocast does before.
        return self.task.finish(self.out_head(x, samples).float())


RENAMED = (
    (r"^llm_blocks\.llm\.base_model\.model\.", "gpt2."),
    (r"\.base_layer\.", ".base."),
    (r"\.lora_([AB])\.default\.", lambda match: f".lora_{match[1].lower()}."),
)


def load(model: SeisMoLLM, arrays: Mapping[str, np.ndarray]) -> None:
    """Fills a model with a state dict of the published code.

    Raises:
        RuntimeError: an array is missing, left over, or of another shape.
    """
    state = {}
    for name, array in arrays.items():
        key = name
        for pattern, new in RENAMED:
            key = re.sub(pattern, new, key)
        if key == "gpt2.wte.weight":  # tokens are not words
            continue
        # GPT-2's own linear layers are stored (inputs, outputs).
        value = array.T if key.endswith("base.weight") else array
        state[key] = torch.tensor(np.ascontiguousarray(value))
    own = model.state_dict()
    # Counters of the batch norms that nothing reads.
    state |= {name: own[name] for name in own if name.endswith("num_batches_tracked")}
    model.load_state_dict(state)
