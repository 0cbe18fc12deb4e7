"""SeisMoLLM in plain PyTorch, computed straight from the tensors of a checkpoint.

A witness for conversions. It shares nothing with the JAX network or its table of names: every
tensor is taken under the key and in the layout of the PyTorch original, so a name, a layout or an
order that is wrong in the table shows as a difference between the two outputs.
"""

import functools
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from seismollm_jax.models.output import Output

Tensor = Any  # torch.Tensor, a name that only exists where torch is installed

BATCH_NORM_EPSILON = 1e-5
POOL_STRIDE = 4  # of the convolutions in the head of the window tasks
# In checkpoints, but not in the computation: step counters, token embedding, causal masks.
UNUSED = re.compile(r"(.+\.)?(num_batches_tracked|wte\.weight|attn\.bias|attn\.masked_bias)")


class Weights:
    """The arrays as tensors in the same memory, and the layers that are made of them.

    Activations are channels first, (windows, channels, time), outside GPT-2 and (windows, tokens,
    width) in it.

    Args:
        arrays: by state-dict key.
        unused: keys that no computation needs.

    Raises:
        ImportError: torch is not installed.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], unused: re.Pattern[str]):
        try:
            import torch
        except ImportError as error:
            raise ImportError(
                "comparing with PyTorch needs the torch extra: pip install 'seismollm_jax[torch]'"
            ) from error
        # PyTorch's names are typed as anything, since it need not be installed.
        modules: tuple[Any, Any] = (torch, torch.nn.functional)
        self.arrays, self.unused = arrays, unused
        self.torch, self.functional = modules
        self.taken: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self.arrays

    def __getitem__(self, key: str) -> Tensor:
        self.taken.add(key)
        return self.view(self.arrays[key])

    def view(self, array: np.ndarray) -> Tensor:
        """The array as a tensor in the same memory."""
        with warnings.catch_warnings():
            # PyTorch warns that it cannot keep a read-only array, such as a mapped file, from
            # being written to. Nothing here writes, and a copy would double the memory.
            warnings.filterwarnings("ignore", "The given NumPy array is not writ", UserWarning)
            return self.torch.from_numpy(array)

    def numbered(self, prefix: str) -> list[str]:
        """`prefix.0`, `prefix.1`, ... as far as there are tensors below them."""
        pattern = re.compile(rf"{re.escape(prefix)}\.(\d+)\.")
        found = {int(match[1]) for key in self.arrays if (match := pattern.match(key))}
        if sorted(found) != list(range(len(found))) or not found:
            raise KeyError(f"{prefix}.<i>: tensors for i = {sorted(found)}; expected 0, 1, ...")
        return [f"{prefix}.{i}" for i in sorted(found)]

    def conv(self, key: str, x: Tensor, *, stride: int = 1, bias: bool, pad: bool = True) -> Tensor:
        """Convolution; `pad` adds zeros for ceil(time / stride) outputs, an odd one at the end."""
        weight = self[f"{key}.weight"]  # (out, in, kernel)
        if pad:
            total = -x.shape[2] % stride + weight.shape[2] - stride
            x = self.functional.pad(x, (total // 2, total - total // 2))
        return self.functional.conv1d(
            x,
            weight,
            self[f"{key}.bias"] if bias else None,
            stride=stride,
            groups=x.shape[1] // weight.shape[1],
        )

    def batch_norm(self, key: str, x: Tensor) -> Tensor:
        """Normalisation with the running statistics."""
        names = ("running_mean", "running_var", "weight", "bias")
        arrays = (self[f"{key}.{name}"] for name in names)
        return self.functional.batch_norm(x, *arrays, training=False, eps=BATCH_NORM_EPSILON)

    def layer_norm(self, key: str, x: Tensor, epsilon: float) -> Tensor:
        """Normalisation over the width."""
        weight, bias = self[f"{key}.weight"], self[f"{key}.bias"]
        return self.functional.layer_norm(x, weight.shape, weight, bias, epsilon)

    def linear(self, key: str, x: Tensor, lora_scale: float) -> Tensor:
        """One of GPT-2's own linear layers, stored (in, out), with its adapter where it has one."""
        if f"{key}.base_layer.weight" not in self:
            return x @ self[f"{key}.weight"] + self[f"{key}.bias"]
        y = x @ self[f"{key}.base_layer.weight"] + self[f"{key}.base_layer.bias"]
        down = self[f"{key}.lora_A.default.weight"]  # (rank, in)
        up = self[f"{key}.lora_B.default.weight"]  # (out, rank)
        return y + lora_scale * (x @ down.T @ up.T)

    def upsample(self, x: Tensor, samples: int) -> Tensor:
        """The head with an answer per sample."""
        layers = self.numbered("out_head.up_layers")
        factor = (samples / x.shape[2]) ** (1 / len(layers))
        sizes = [samples]
        for _ in layers[1:]:
            sizes.insert(0, int(sizes[0] / factor))
        for layer, size in zip(layers, sizes, strict=True):
            x = self.functional.interpolate(x, size=size, mode="linear")
            x = self.batch_norm(f"{layer}.norm", self.conv(f"{layer}.conv", x, bias=True))
            x = self.functional.gelu(x)
        return self.conv("out_head.out_conv", x, bias=True)

    def average(self, x: Tensor) -> Tensor:
        """The end of the heads with an answer per window."""
        weight, bias = self["out_head.lin.weight"], self["out_head.lin.bias"]
        return self.functional.linear(x.mean(2), weight, bias)

    def finish(self, y: Tensor, output: Output) -> np.ndarray:
        """The activation.

        Raises:
            ValueError: a tensor that the computation did not use, about which it says nothing.
        """
        finish = {"sigmoid": y.sigmoid, "softmax": lambda: y.softmax(1), "tanh": y.tanh}
        result = (output.scale * finish[output.activation]()).numpy()
        if left := [k for k in self.arrays if k not in self.taken and not self.unused.fullmatch(k)]:
            raise ValueError(
                f"{len(left)} tensors have no place in this network: {', '.join(left[:10])}"
            )
        return result


def _embed(weights: Weights, x: Tensor, strides: Sequence[int]) -> Tensor:
    gelu = weights.functional.gelu  # the exact one; GPT-2 has its own
    for block, stride in zip(weights.numbered("convs"), strides, strict=True):
        scales = []
        for branch in weights.numbered(f"{block}.convs"):
            y = weights.conv(f"{branch}.in_proj", x, bias=False)
            y = weights.conv(f"{branch}.conv", y, stride=stride, bias=False)
            scales.append(gelu(weights.batch_norm(f"{branch}.norm", y)))
        x = weights.conv(f"{block}.out_proj", weights.torch.cat(scales, 1), bias=False)
        x = weights.batch_norm(f"{block}.norm", x)
    return x


def _gpt2(
    weights: Weights, x: Tensor, heads: int, epsilon: float, activation: str, lora_scale: float
) -> Tensor:
    functional = weights.functional
    tanh_form = functools.partial(functional.gelu, approximate="tanh")
    activations = {
        "gelu_new": tanh_form,
        "gelu_pytorch_tanh": tanh_form,
        "gelu": functional.gelu,
        "relu": functional.relu,
    }
    gpt2 = "llm_blocks.llm.base_model.model"  # inside the adapter library's wrappers
    if f"{gpt2}.wpe.weight" not in weights:
        gpt2 = "llm_blocks.llm"  # never wrapped, or merged and unwrapped
    windows, tokens, width = x.shape
    x = x + weights[f"{gpt2}.wpe.weight"][:tokens]
    for block in weights.numbered(f"{gpt2}.h"):
        y = weights.layer_norm(f"{block}.ln_1", x, epsilon)
        y = weights.linear(f"{block}.attn.c_attn", y, lora_scale)
        query, key, value = (
            part.reshape(windows, tokens, heads, width // heads).transpose(1, 2)
            for part in y.split(width, 2)
        )
        y = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        y = y.transpose(1, 2).reshape(windows, tokens, width)
        x = x + weights.linear(f"{block}.attn.c_proj", y, lora_scale)
        y = weights.layer_norm(f"{block}.ln_2", x, epsilon)
        y = activations[activation](weights.linear(f"{block}.mlp.c_fc", y, lora_scale))
        x = x + weights.linear(f"{block}.mlp.c_proj", y, lora_scale)
    return weights.layer_norm(f"{gpt2}.ln_f", x, epsilon)


def _pooled_head(weights: Weights, x: Tensor) -> Tensor:
    for layer in weights.numbered("out_head.convs"):
        x = weights.conv(layer, x, stride=POOL_STRIDE, bias=True, pad=False)
    return weights.average(x)


def forward(
    tensors: Mapping[str, np.ndarray],
    x: np.ndarray,
    *,
    strides: Sequence[int],
    heads: int,
    epsilon: float,
    activation: str,
    lora_scale: float,
    patch_size: int,
    output: Output,
) -> np.ndarray:
    """The output of a PyTorch checkpoint's network, in inference mode.

    Numbers of blocks, branches and layers, widths and kernels follow from the tensors. The linear
    layers of GPT-2 may have adapters, all or some of them, or none; the keys may be those of the
    adapter library (`llm_blocks.llm.base_model.model.`) or without it (`llm_blocks.llm.`), as in
    files with merged adapters.

    Args:
        tensors: float32 arrays by state-dict key, without prefixes of wrappers. They are neither
            copied nor changed, and may be read-only; only the keys are run through, so the arrays
            may come into being as they are asked for.
        x: normalised windows, float32 (windows, 3, samples), components Z, N, E.
        strides: stride of each block of the embedder.
        heads: attention heads of GPT-2.
        epsilon: of GPT-2's layer norms.
        activation: GPT-2's `activation_function`: gelu_new, gelu_pytorch_tanh, gelu or relu.
        lora_scale: alpha / rank of the adapters.
        patch_size: embedder samples in one token.
        output: the task's output.

    Returns:
        float32 (windows, channels, samples) for a task with an answer per sample, else (windows,
        channels); the same as `Predictor.forward` gives.

    Raises:
        ImportError: torch is not installed.
        KeyError: a tensor is missing.
        ValueError: a tensor that the computation did not use, about which it says nothing.
    """
    weights = Weights(tensors, UNUSED)
    with weights.torch.inference_mode():
        features = _embed(weights, weights.view(np.ascontiguousarray(x, np.float32)), strides)
        windows, channels, length = features.shape
        tokens = length // patch_size  # the rest is dropped
        patches = features[:, :, : tokens * patch_size].unflatten(2, (tokens, patch_size))
        # Within a token the channel is the slow index, the sample of the patch the fast one.
        y = patches.transpose(1, 2).reshape(windows, tokens, channels * patch_size)
        y = _gpt2(weights, y, heads, epsilon, activation, lora_scale)
        y = y.unflatten(2, (channels, patch_size)).transpose(1, 2).flatten(2)
        y = weights.upsample(y, x.shape[2]) if output.per_sample else _pooled_head(weights, y)
        return weights.finish(y, output)
