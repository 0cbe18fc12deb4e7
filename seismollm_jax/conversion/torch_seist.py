"""SeisT in plain PyTorch, computed straight from the tensors of a state dict.

A witness for conversions, as `torch_network` is for SeisMoLLM: it shares nothing with the JAX
network or its table of names.
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from seismollm_jax.conversion.torch_network import Tensor, Weights
from seismollm_jax.models.output import Output

UNUSED = re.compile(r".+\.num_batches_tracked")


def _aggregate(weights: Weights, key: str, x: Tensor, size: int) -> Tensor:
    if size > 1:
        average = weights.functional.avg_pool1d(x, size, ceil_mode=True)
        x = average + weights.functional.max_pool1d(x, size, ceil_mode=True)
    return weights.batch_norm(f"{key}.norm", weights.conv(f"{key}.proj", x, bias=False))


def _mlp(weights: Weights, key: str, x: Tensor) -> Tensor:
    x = weights.functional.gelu(weights.conv(f"{key}.lin0", x, bias=True))
    return weights.conv(f"{key}.lin1", x, bias=True)


def _grouped(weights: Weights, key: str, x: Tensor) -> Tensor:
    y = weights.batch_norm(f"{key}.norm0", weights.conv(f"{key}.conv", x, bias=False))
    x = x + weights.conv(f"{key}.proj", weights.functional.gelu(y), bias=False)
    return x + _mlp(weights, f"{key}.mlp", weights.batch_norm(f"{key}.norm1", x))


def _multi_scale(weights: Weights, key: str, x: Tensor) -> Tensor:
    scales = []
    for i in range(len(weights.numbered(f"{key}.projs"))):
        u = weights.batch_norm(f"{key}.norms.{i}", weights.conv(f"{key}.projs.{i}", x, bias=False))
        scales.append(u + _grouped(weights, f"{key}.convs.{i}", u))
    return weights.batch_norm(f"{key}.out_norm", weights.torch.cat(scales, 1))


def _attend(weights: Weights, key: str, x: Tensor, head_width: int, pooling: int) -> Tensor:
    context = x
    if pooling > 1:
        context = _aggregate(weights, f"{key}.aggr", x, pooling)
        context = weights.batch_norm(f"{key}.norm", context)
    query, keys, value = (
        weights.conv(f"{key}.{name}_proj", y, bias=True).unflatten(1, (-1, head_width))
        for name, y in (("q", x), ("k", context), ("v", context))
    )  # (windows, heads, head_width, time)
    scores = query.transpose(2, 3) @ keys / head_width**0.5
    mixed = value @ scores.softmax(3).transpose(2, 3)
    return weights.conv(f"{key}.out_proj", mixed.flatten(1, 2), bias=True)


def _transform(weights: Weights, key: str, x: Tensor, head_width: int, pooling: int) -> Tensor:
    a = weights.batch_norm(f"{key}.norm0", weights.conv(f"{key}.attn_proj", x, bias=False))
    parts = [a + _attend(weights, f"{key}.attention", a, head_width, pooling)]
    if f"{key}.conv_proj.weight" in weights:
        b = weights.batch_norm(f"{key}.norm1", weights.conv(f"{key}.conv_proj", x, bias=False))
        parts.append(b + _grouped(weights, f"{key}.gconv", b))
    x = weights.batch_norm(f"{key}.norm2", weights.torch.cat(parts, 1))
    return x + _mlp(weights, f"{key}.mlp", x)


def _stem(weights: Weights, key: str, x: Tensor, stride: int) -> Tensor:
    scales = []
    for branch in weights.numbered(f"{key}.convs"):
        y = weights.conv(f"{branch}.in_proj", x, bias=False)
        y = weights.conv(f"{branch}.dconv", y, stride=stride, bias=False)
        y = weights.batch_norm(f"{branch}.norm", weights.conv(f"{branch}.pconv", y, bias=False))
        scales.append(weights.functional.gelu(y))
    y = weights.conv(f"{key}.out_proj", weights.torch.cat(scales, 1), bias=False)
    return weights.batch_norm(f"{key}.norm", y)


def forward(
    tensors: Mapping[str, np.ndarray],
    x: np.ndarray,
    *,
    strides: Sequence[int],
    pooling: Sequence[int],
    attention_pooling: Sequence[int],
    head_widths: Sequence[int],
    output: Output,
) -> np.ndarray:
    """The output of a state dict's network, in inference mode.

    Numbers of blocks and branches, widths, kernels and groups follow from the tensors.

    Args:
        tensors: float32 arrays by state-dict key, without prefixes of wrappers; neither copied nor
            changed.
        x: normalised windows, float32 (windows, 3, samples), components Z, N, E.
        strides: of the stem's blocks.
        pooling: samples that become one at the entrance of each stage.
        attention_pooling: the same, of keys and values.
        head_widths: channels of an attention head of each stage.
        output: the task's output.

    Returns:
        float32 (windows, channels, samples) for a task with an answer per sample, else (windows,
        channels).

    Raises:
        ImportError: torch is not installed.
        KeyError: a tensor is missing.
        ValueError: a tensor that the computation did not use.
    """
    weights = Weights(tensors, UNUSED)
    with weights.torch.inference_mode():
        y = weights.view(np.ascontiguousarray(x, np.float32))
        for block, stride in zip(weights.numbered("stem"), strides, strict=True):
            y = _stem(weights, block, y, stride)
        stages = zip(
            weights.numbered("encoder_layers"), pooling, attention_pooling, head_widths, strict=True
        )
        for stage, size, attention_size, head_width in stages:
            entrance, *blocks = weights.numbered(stage)
            y = _aggregate(weights, entrance, y, size)
            for block in blocks:
                if f"{block}.out_norm.weight" in weights:
                    y = _multi_scale(weights, block, y)
                else:
                    y = _transform(weights, block, y, head_width, attention_size)
        y = weights.upsample(y, x.shape[2]) if output.per_sample else weights.average(y)
        return weights.finish(y, output)
