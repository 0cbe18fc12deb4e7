"""Names of SeisMoLLM's arrays in PyTorch files: the published code's and Hugging Face GPT-2's."""

import re
from collections.abc import Iterator

from seismollm_jax.models.family import Path
from seismollm_jax.models.output import Output
from seismollm_jax.models.seismollm.gpt2 import ADAPTED_LAYERS
from seismollm_jax.models.seismollm.model import SeisMoLLMConfig
from seismollm_jax.models.weights import Rule, batch_norm, convolution

GPT2_PREFIX = "llm_blocks.llm.base_model.model."


def gpt2_rules(layers: range) -> Iterator[Rule]:
    """GPT-2's own arrays under Hugging Face's bare keys, for the given layers of the file.

    Hugging Face stores these linear weights as (in, out), so nothing is transposed.
    """
    yield Rule(("backbone", "wpe"), "wpe.weight")
    for ours, theirs in enumerate(layers):
        block: Path = ("backbone", "blocks", ours)
        for norm in ("ln_1", "ln_2"):
            yield Rule((*block, norm, "scale"), f"h.{theirs}.{norm}.weight")
            yield Rule((*block, norm, "bias"), f"h.{theirs}.{norm}.bias")
        for name in ADAPTED_LAYERS:
            base = (*block, *name.split("."), "base")
            yield Rule((*base, "kernel"), f"h.{theirs}.{name}.weight")
            yield Rule((*base, "bias"), f"h.{theirs}.{name}.bias")
    yield Rule(("backbone", "ln_f", "scale"), "ln_f.weight")
    yield Rule(("backbone", "ln_f", "bias"), "ln_f.bias")


def is_gpt2_extra(key: str) -> bool:
    """Arrays of a GPT-2 file that the model does not use: token embedding, masks, language head."""
    masks = re.fullmatch(r"h\.\d+\.attn\.(bias|masked_bias)", key)
    return bool(masks) or key in ("wte.weight", "lm_head.weight")


def checkpoint_rules(config: SeisMoLLMConfig, output: Output) -> Iterator[Rule]:
    """Every array of a task's network under the keys of the PyTorch original.

    The original keeps an adapted layer's own weights under `base_layer`; its empty token embedding
    and the step counters of its batch norms have no counterpart here.
    """
    for b in range(len(config.embedder.kernels)):
        ours: Path = ("embedder", "blocks", b)
        for j in range(config.embedder.scales):
            branch, key = (*ours, "branches", j), f"convs.{b}.convs.{j}"
            yield from convolution((*branch, "in_proj"), f"{key}.in_proj", bias=False)
            yield from convolution((*branch, "conv"), f"{key}.conv", bias=False)
            yield from batch_norm((*branch, "norm"), f"{key}.norm")
        yield from convolution((*ours, "out_proj"), f"convs.{b}.out_proj", bias=False)
        yield from batch_norm((*ours, "norm"), f"convs.{b}.norm")

    adapted = config.adapters.targets if config.adapters.rank else ()
    for rule in gpt2_rules(range(config.layers)):
        layer, _, last = rule.key.rpartition(".")
        if layer.split(".", 2)[-1] in adapted:
            layer += ".base_layer"
        yield Rule(rule.path, f"{GPT2_PREFIX}{layer}.{last}", rule.layout)
    for block in range(config.layers):
        for name in adapted:
            path: Path = ("backbone", "blocks", block, *name.split("."))
            key = f"{GPT2_PREFIX}h.{block}.{name}"
            yield Rule((*path, "lora_a"), f"{key}.lora_A.default.weight", "transpose")
            yield Rule((*path, "lora_b"), f"{key}.lora_B.default.weight", "transpose")

    if output.per_sample:
        for i in range(len(config.embedder.kernels)):
            up: Path = ("head", "up_layers", i)
            yield from convolution((*up, "conv"), f"out_head.up_layers.{i}.conv", bias=True)
            yield from batch_norm((*up, "norm"), f"out_head.up_layers.{i}.norm")
        yield from convolution(("head", "out_conv"), "out_head.out_conv", bias=True)
    else:
        for i in range(2):
            yield from convolution(("head", "convs", i), f"out_head.convs.{i}", bias=True)
        yield from convolution(("head", "linear"), "out_head.lin", bias=True)


def is_checkpoint_extra(key: str) -> bool:
    """Arrays of the original's checkpoints without a counterpart here."""
    if key.endswith("num_batches_tracked") or key == f"{GPT2_PREFIX}wte.weight":
        return True
    return key.startswith(GPT2_PREFIX) and is_gpt2_extra(key.removeprefix(GPT2_PREFIX))
