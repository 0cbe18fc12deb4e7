"""The size of a SeisT, read off the names and shapes in a PyTorch file."""

import dataclasses
import difflib
from collections.abc import Iterable, Mapping

from seismollm_jax.models.seist.config import SIZES
from seismollm_jax.models.weights import RecognitionError, Shape

STAGE = "encoder_layers.{}.0.proj.weight"  # (width, width before, 1)
HEADS = {True: "out_head.out_conv.weight", False: "out_head.lin.weight"}


@dataclasses.dataclass(frozen=True)
class Recognised:
    """What names and shapes tell.

    Attributes:
        size: s, m or l.
        per_sample, channels: the last layer, as in `Output`.
    """

    size: str
    per_sample: bool
    channels: int


def claims(keys: Iterable[str]) -> bool:
    """Whether the names look like SeisT's: something of its stem or its stages is there."""
    return any(key.startswith(("stem.", "encoder_layers.")) for key in keys)


def recognise(shapes: Mapping[str, Shape]) -> Recognised:
    """Size and head of the network whose state dict has these shapes.

    The published sizes have the same names and differ in widths and numbers of blocks; the one that
    most stages agree with is taken. Whether all the arrays fit it is for
    `models.weights.mismatches` to say.

    Args:
        shapes: key -> shape, without wrappers' prefixes.

    Raises:
        RecognitionError: none of the published sizes, or no head.
    """
    problems = []
    widths = [shapes.get(STAGE.format(s), (0,))[:1] for s in range(4)]
    agreeing = {
        size: sum(found == (stage.channels,) for found, stage in zip(widths, stages, strict=True))
        for size, (stages, *_) in SIZES.items()
    }
    size = max(agreeing, key=lambda size: agreeing[size])
    if agreeing[size] < 2:
        sizes = {
            size: tuple(stage.channels for stage in stages) for size, (stages, *_) in SIZES.items()
        }
        known = ", ".join(f"{name}: {channels}" for name, channels in sizes.items())
        found = tuple(width[0] if width else 0 for width in widths)
        problems.append(
            f"its stages ({STAGE.format('0 to 3')}) have the widths {found}; those of the "
            f"published sizes are {known}"
        )
    per_sample = any(key.startswith("out_head.up_layers.") for key in shapes)
    last = HEADS[per_sample]
    if not shapes.get(last):
        like = " or ".join(difflib.get_close_matches(last, [*shapes], n=2, cutoff=0.8))
        problems.append(f"missing: {last}" + (f" (like {like})" if like else ""))
    if problems:
        raise RecognitionError(*problems)
    return Recognised(size, per_sample, shapes[last][0])
