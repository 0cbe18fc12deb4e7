"""Names of SeisMoLLM's arrays in PyTorch files: the published code's and Hugging Face GPT-2's.

One table serves both directions. It lists the arrays in the order in which PyTorch registers them,
which is the order of a state dict and, without the buffers, of the optimiser's state.
"""

import re
from collections.abc import Iterator

from seismollm_jax.models.family import Path
from seismollm_jax.models.output import Output
from seismollm_jax.models.seismollm.gpt2 import ADAPTED_LAYERS
from seismollm_jax.models.seismollm.model import SeisMoLLMConfig
from seismollm_jax.models.weights import Extra, Rule, batch_norm, convolution

VERSION = 1  # of this table; goes up with every change of names or layouts
GPT2_PREFIX = "llm_blocks.llm.base_model.model."  # with adapters, as the adapter library wraps it
PLAIN_PREFIX = "llm_blocks.llm."  # without
EMBEDDING_REASON = "the token embedding is empty: tokens come from the embedder"
MASK_REASON = "a causal mask that some library versions store; it is computed"


def gpt2_rules(layers: range) -> Iterator[Rule]:
    """GPT-2's own arrays under Hugging Face's bare keys, for the given layers of the file.

    Hugging Face stores these linear weights as (in, out), so nothing is transposed.
    """
    yield Rule(("backbone", "wpe"), "wpe.weight")
    for ours, theirs in enumerate(layers):
        block: Path = ("backbone", "blocks", ours)
        for part in ("ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj"):
            linear = part in ADAPTED_LAYERS
            path: Path = (*block, *part.split("."), "base") if linear else (*block, part)
            yield Rule((*path, "kernel" if linear else "scale"), f"h.{theirs}.{part}.weight")
            yield Rule((*path, "bias"), f"h.{theirs}.{part}.bias")
    yield Rule(("backbone", "ln_f", "scale"), "ln_f.weight")
    yield Rule(("backbone", "ln_f", "bias"), "ln_f.bias")


def is_gpt2_extra(key: str) -> bool:
    """Arrays of a GPT-2 file that the model does not use: token embedding, masks, language head."""
    return _is_mask(key) or key in ("wte.weight", "lm_head.weight")


def _is_mask(key: str) -> bool:
    return bool(re.fullmatch(r"h\.\d+\.attn\.(bias|masked_bias)", key))


def checkpoint_table(config: SeisMoLLMConfig, output: Output) -> Iterator[Rule | Extra]:
    """Every array of a task's network under the keys of the PyTorch original, in its order.

    Adapted layers keep their own weights under `base_layer`. A network without adapters has the
    names that the original would have without the adapter library.
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
    prefix = GPT2_PREFIX if adapted else PLAIN_PREFIX
    yield Extra(f"{prefix}wte.weight", (0, config.gpt2.n_embd), "float32", EMBEDDING_REASON)
    for rule in gpt2_rules(range(config.layers)):
        layer, _, last = rule.key.rpartition(".")
        is_adapted = layer.split(".", 2)[-1] in adapted
        middle = ".base_layer." if is_adapted else "."
        yield Rule(rule.path, f"{prefix}{layer}{middle}{last}", rule.layout)
        if is_adapted and last == "bias":
            path = rule.path[:-2]
            yield Rule((*path, "lora_a"), f"{prefix}{layer}.lora_A.default.weight", "transpose")
            yield Rule((*path, "lora_b"), f"{prefix}{layer}.lora_B.default.weight", "transpose")

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


def checkpoint_rules(config: SeisMoLLMConfig, output: Output) -> list[Rule]:
    """The part of `checkpoint_table` that has a counterpart here."""
    return [entry for entry in checkpoint_table(config, output) if isinstance(entry, Rule)]


def is_ignored(key: str) -> bool:
    """Arrays that a checkpoint may hold beyond the table, see `MASK_REASON`."""
    return any(
        _is_mask(key.removeprefix(prefix))
        for prefix in (GPT2_PREFIX, PLAIN_PREFIX)
        if key.startswith(prefix)
    )
