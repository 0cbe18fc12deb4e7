"""The sizes of a SeisMoLLM, read off the names and shapes in a PyTorch file."""

import dataclasses
import difflib
import itertools
import re
from collections.abc import Mapping, Sequence

from seismollm_jax.models.seismollm.gpt2 import ADAPTED_LAYERS, GPT2Config, LoRAConfig
from seismollm_jax.models.seismollm.model import EmbedderConfig, SeisMoLLMConfig
from seismollm_jax.models.seismollm.names import GPT2_PREFIX, PLAIN_PREFIX
from seismollm_jax.models.weights import RecognitionError, Shape

HEAD_WIDTH = 64  # features of an attention head in every published GPT-2
PUBLISHED_DEPTHS = {768: 12, 1024: 24, 1280: 36, 1600: 48}  # width -> layers of gpt2, -medium, ...
UNUSED_HEAD_CHANNELS = 128  # the first entry of head.channels shapes nothing


@dataclasses.dataclass(frozen=True)
class Recognised:
    """What names and shapes tell.

    Attributes:
        config: the network; what `recognise` was told is in it too.
        per_sample, channels: the last layer, as in `Output`.
        assumed: what was neither told nor visible, by name.
    """

    config: SeisMoLLMConfig
    per_sample: bool
    channels: int
    assumed: Mapping[str, object]


def _count(pattern: str, keys: Sequence[str]) -> int:
    """How many indices, from 0 on without a hole, stand in the group of `pattern`."""
    found = {int(match[1]) for key in keys if (match := re.match(pattern, key))}
    return next(i for i in itertools.count() if i not in found)


def recognise(
    shapes: Mapping[str, Shape],
    *,
    strides: Sequence[int],
    lora_alpha: float,
    lora_dropout: float,
    tuning: str,
    gpt2: GPT2Config | None,
) -> Recognised:
    """Sizes of the network whose state dict has these shapes.

    It looks at as few arrays as possible; whether all the others fit is for
    `models.weights.mismatches` to say.

    Args:
        shapes: key -> shape, without wrappers' prefixes.
        strides: of the embedder's blocks, which no shape shows.
        lora_alpha: of the adapters, likewise.
        lora_dropout: the same.
        tuning: of a network without adapters: "full" or "frozen".
        gpt2: heads, epsilon, activation and dropout rates; None assumes the published ones.

    Raises:
        RecognitionError: no such network, or too little to tell.
        ValueError: sizes that contradict each other.
    """
    keys, problems = [*shapes], list[str]()

    def size(key: str, axis: int) -> int:
        shape = shapes.get(key)
        if shape is None:
            like = " or ".join(difflib.get_close_matches(key, keys, n=2, cutoff=0.8))
            problems.append(f"missing: {key}" + (f" (like {like})" if like else ""))
        elif len(shape) <= axis:
            problems.append(f"shape of {key}: {shape}")
        else:
            return shape[axis]
        return 1  # whatever else is missing is to be reported too

    blocks = _count(r"convs\.(\d+)\.", keys)
    if not blocks:
        raise RecognitionError(
            "not a SeisMoLLM state dict: no name begins with convs.0, once module. and _orig_mod. "
            f"are taken off; the first names are {keys[:3]}"
        )
    if len(strides) != blocks:
        raise RecognitionError(
            f"{blocks} embedder blocks (convs.*) in the file, but strides for {len(strides)}: "
            "give one for each with --strides"
        )
    widths = [size(f"convs.{b}.out_proj.weight", 0) for b in range(blocks)]
    scales = _count(r"convs\.0\.convs\.(\d+)\.", keys)
    kernels = [size(f"convs.{b}.convs.0.conv.weight", 2) for b in range(blocks)]
    steps = [
        size(f"convs.{b}.convs.1.conv.weight", 2) - kernels[b] if scales > 1 else 0
        for b in range(blocks)
    ]

    adapted = any(key.startswith(GPT2_PREFIX) for key in keys)
    prefix = GPT2_PREFIX if adapted else PLAIN_PREFIX
    width, positions = size(f"{prefix}wpe.weight", 1), size(f"{prefix}wpe.weight", 0)
    layers = _count(re.escape(prefix) + r"h\.(\d+)\.", keys)
    first = f"{prefix}h.0."
    pattern = re.compile(re.escape(prefix) + r"h\.\d+\.(.+)\.(?:base_layer|lora_[AB])\.")
    seen_targets = {match[1] for key in keys if (match := pattern.match(key))}
    targets = tuple(name for name in ADAPTED_LAYERS if name in seen_targets)
    if adapted and not targets:
        raise RecognitionError(f"no adapters (base_layer, lora_A, lora_B) under {prefix}h.*")
    inner = size(f"{first}mlp.c_fc." + ("base_layer." * ("mlp.c_fc" in targets)) + "weight", 1)
    rank = size(f"{first}{targets[0]}.lora_A.default.weight", 0) if adapted else 0
    per_sample = any(key.startswith("out_head.up_layers.") for key in keys)
    last = "out_head.out_conv.weight" if per_sample else "out_head.lin.weight"
    ups = range(blocks - 2, -1, -1) if per_sample else ()  # without the last up-layer, reversed
    seen = [size(f"out_head.up_layers.{i}.conv.weight", 0) for i in ups]
    channels, components = size(last, 0), size("convs.0.convs.0.in_proj.weight", 0)
    if problems:
        raise RecognitionError(*dict.fromkeys(problems))
    if not widths[-1] or width % widths[-1]:
        raise RecognitionError(
            f"the embedder's {widths[-1]} channels (convs.{blocks - 1}) do not divide the GPT-2 "
            f"width {width} ({prefix}wpe.weight)"
        )

    backbone, assumed = _backbone(width, positions, inner, layers, gpt2)
    config = SeisMoLLMConfig(
        gpt2=backbone,
        layers=layers,
        tuning="lora" if adapted else tuning,
        lora=LoRAConfig(rank=rank, alpha=lora_alpha, dropout=lora_dropout, targets=targets)
        if adapted
        else LoRAConfig(),
        embedder=EmbedderConfig(
            channels=tuple(widths[:-1]),
            kernels=tuple(kernels),
            kernel_steps=tuple(steps),
            strides=tuple(strides),
            scales=scales,
        ),
        patch_size=width // widths[-1],
        head_channels=(UNUSED_HEAD_CHANNELS, *seen) if per_sample else _unused_channels(blocks),
        components=components,
    )
    return Recognised(config, per_sample, channels, assumed)


def _unused_channels(blocks: int) -> tuple[int, ...]:
    """Widths of the per-sample head for a network without one: the defaults, as far as they go."""
    default = SeisMoLLMConfig.head_channels
    return (*default, *(blocks - len(default)) * default[-1:])[:blocks]


def _backbone(
    width: int, positions: int, inner: int, layers: int, given: GPT2Config | None
) -> tuple[GPT2Config, dict[str, object]]:
    """Sizes of the backbone, and which of them were assumed."""
    if given is not None:
        pairs = {
            "n_embd": (given.n_embd, width),
            "n_positions": (given.n_positions, positions),
            "n_inner": (given.inner, inner),
        }
        wrong = [
            f"{name} {told}, not {seen}" for name, (told, seen) in pairs.items() if told != seen
        ]
        if given.n_layer < layers:
            wrong.append(f"n_layer {given.n_layer}, fewer than the {layers} kept")
        if wrong:
            raise RecognitionError(f"the --gpt2 configuration is of another GPT-2: {wrong}")
        return given, {}
    if width % HEAD_WIDTH:
        raise RecognitionError(
            f"a GPT-2 of width {width} cannot have heads of {HEAD_WIDTH} features; give its "
            "directory with --gpt2 (config.json is enough)"
        )
    config = GPT2Config(
        n_embd=width,
        n_head=width // HEAD_WIDTH,
        n_layer=PUBLISHED_DEPTHS.get(width, layers),
        n_positions=positions,
        n_inner=None if inner == 4 * width else inner,
    )
    names = ("n_head", "layer_norm_epsilon", "activation_function")
    dropouts = ("embd_pdrop", "attn_pdrop", "resid_pdrop")
    return config, {name: getattr(config, name) for name in (*names, *dropouts)}
