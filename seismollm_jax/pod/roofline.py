"""Times from published peaks: what a step cannot be faster than, and how it scales.

All of it is arithmetic on a compiled program. Nothing here was measured on a chip.
"""

import dataclasses
from collections.abc import Sequence

from seismollm_jax.pod.chips import SHAPES, Slice
from seismollm_jax.pod.collectives import Collective

# Seconds for the first byte to reach a neighbouring chip ("How to Scale Your Model", part 3,
# https://jax-ml.github.io/scaling-book/sharding). Most reductions here are a few hundred bytes.
HOP_S = 1e-6
# Passes through the bfloat16 matrix units for a product of float32 arrays, by precision.matmul.
PASSES = {"default": 1, "fastest": 1, "bfloat16": 1, "high": 3, "highest": 6, "float32": 6}


@dataclasses.dataclass(frozen=True)
class Roofline:
    """Seconds that a step takes at least, by what limits it."""

    compute_s: float
    hbm_s: float
    ici_s: float

    @property
    def step_s(self) -> float:
        """Everything overlaps: the slowest of the three alone."""
        return max(self.compute_s, self.hbm_s, self.ici_s)

    @property
    def bound(self) -> str:
        """Which of them that is."""
        times = {"compute": self.compute_s, "hbm": self.hbm_s, "ici": self.ici_s}
        return max(times, key=lambda name: times[name])


@dataclasses.dataclass(frozen=True)
class ScalingPoint:
    """Predicted training on one size of slice, with the batch per chip kept."""

    topology: str
    chips: int
    step_s: float
    samples_per_s: float
    efficiency: float


def passes(compute_dtype: str, matmul: str) -> int:
    """How often a product goes through the matrix units.

    Raises:
        ValueError: a precision whose cost is not known.
    """
    if compute_dtype == "bfloat16":
        return 1
    if matmul not in PASSES:
        raise ValueError(
            f"precision.matmul={matmul!r}: the cost of it on TPUs is known for "
            f"{', '.join(PASSES)} only"
        )
    return PASSES[matmul]


def transfer_seconds(collectives: Sequence[Collective], slice_: Slice) -> float:
    """Time of a step's collectives one after the other, each over all chips of the slice.

    A collective moves its data in rings along all axes at once, over both directions of each ring;
    an axis that does not close to a ring counts half. A reduction of V bytes over n chips sends
    2 V (n - 1) / n bytes from each, the other operations half of it. To that comes the time that
    the first byte takes around, `HOP_S` a chip.
    """
    if slice_.chips == 1:
        return 0.0
    bandwidth, hops = 0.0, 0
    for length, ring in zip(slice_.shape, slice_.rings, strict=True):
        if length > 1:
            bandwidth += slice_.chip.link_bandwidth * (2 if ring else 1)
            hops += length // 2 if ring else length - 1
    share = (slice_.chips - 1) / slice_.chips
    seconds = 0.0
    for collective in collectives:
        phases = 2 if collective.operation == "all-reduce" else 1
        seconds += phases * (share * collective.bytes / bandwidth + hops * HOP_S)
    return seconds


def roofline(
    flops: float, hbm_bytes: float, collectives: Sequence[Collective], slice_: Slice, passes: int
) -> Roofline:
    """Lower bounds of a step's time.

    Args:
        flops: of one chip.
        hbm_bytes: that one chip moves between memory and processor.
        collectives: of a step.
        slice_: on which.
        passes: of `passes`.
    """
    return Roofline(
        compute_s=flops * passes / slice_.chip.bf16_flops,
        hbm_s=hbm_bytes / slice_.chip.hbm_bandwidth,
        ici_s=transfer_seconds(collectives, slice_),
    )


def scaling(
    alone_s: float, collectives: Sequence[Collective], slice_: Slice, batch_per_chip: int
) -> list[ScalingPoint]:
    """Weak scaling from 1 to 256 chips: each keeps its batch, the global batch grows.

    Collectives come on top of the rest of the step, as if nothing overlapped.

    Args:
        alone_s: the step without collectives.
        collectives: of a step; their bytes do not depend on the number of chips.
        slice_: of the family, any size.
        batch_per_chip: samples.
    """
    points = []
    for shape in SHAPES[slice_.chip.dimensions]:
        there = Slice(slice_.chip, shape)
        step_s = alone_s + transfer_seconds(collectives, there)
        points.append(
            ScalingPoint(
                topology=there.name,
                chips=there.chips,
                step_s=step_s,
                samples_per_s=batch_per_chip * there.chips / step_s,
                efficiency=alone_s / step_s,
            )
        )
    return points
