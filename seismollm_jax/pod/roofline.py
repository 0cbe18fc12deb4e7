"""Times from published peaks: what a step cannot be faster than, and how it scales.

All of it is arithmetic on a compiled program. Nothing here was measured on a chip.
"""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from seismollm_jax.accelerators import PASSES
from seismollm_jax.pod.chips import Mesh, Slice
from seismollm_jax.pod.collectives import Collective

# Seconds for the first byte to reach a neighbouring chip ("How to Scale Your Model", part 3,
# https://jax-ml.github.io/scaling-book/sharding). Most reductions here are a few hundred bytes.
HOP_S = 1e-6


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


def transfer_seconds(collectives: Sequence[Collective], mesh: Mesh) -> float:
    """Time of a step's collectives one after the other.

    A collective moves its data in rings along all axes of the slice that its group of chips spans,
    at once and over both directions of each ring; an axis that does not close to a ring counts
    half. Groups whose chips lie between each other share the links. A reduction of V bytes over n
    chips sends 2 V (n - 1) / n bytes from each, the other operations half of it. To that comes the
    time that the first byte takes around, `HOP_S` a chip.
    """
    seconds = 0.0
    for collective in collectives:
        places = mesh.group(collective.axes)
        chips = len(places)
        if chips == 1:
            continue
        bandwidth, hops = _ways(places, mesh.slice_)
        phases = 2 if collective.operation == "all-reduce" else 1
        once = (chips - 1) / chips * collective.bytes / bandwidth + hops * HOP_S
        seconds += collective.times * phases * once
    return seconds


def _ways(places: np.ndarray, slice_: Slice) -> tuple[float, int]:
    """Bytes a second out of each chip of a group, and the chips that a byte passes to the last."""
    bandwidth, hops = 0.0, 0
    for axis, length in enumerate(slice_.shape):
        lines = np.unique(places[:, axis])
        if len(lines) == 1:
            continue
        reach = int(lines[-1] - lines[0])
        step = reach / (len(lines) - 1)  # chips of other groups are between these if it is not 1
        ring = slice_.rings[axis] and len(lines) * step == length
        bandwidth += slice_.chip.link_bandwidth * (2 if ring else 1) / step
        hops += length // 2 if ring else reach
    return bandwidth, hops


def roofline(
    flops: float, hbm_bytes: float, collectives: Sequence[Collective], mesh: Mesh, passes: int
) -> Roofline:
    """Lower bounds of a step's time.

    Args:
        flops: of one chip.
        hbm_bytes: that one chip moves between memory and processor.
        collectives: of a step.
        mesh: on which.
        passes: of `passes`.
    """
    chip = mesh.slice_.chip
    return Roofline(
        compute_s=flops * passes / chip.bf16_flops,
        hbm_s=hbm_bytes / chip.hbm_bandwidth,
        ici_s=transfer_seconds(collectives, mesh),
    )


def scaling(
    alone_s: float,
    collectives: Sequence[Collective],
    meshes: Iterable[Mesh],
    batch_per_chip: int,
) -> list[ScalingPoint]:
    """Weak scaling: each chip keeps its batch, the global batch grows.

    Collectives come on top of the rest of the step, as if nothing overlapped.

    Args:
        alone_s: the step without collectives.
        collectives: of a step; their bytes do not depend on the number of chips.
        meshes: on slices of one family.
        batch_per_chip: samples.
    """
    points = []
    for mesh in meshes:
        chips = mesh.slice_.chips
        step_s = alone_s + transfer_seconds(collectives, mesh)
        points.append(
            ScalingPoint(
                topology=mesh.slice_.name,
                chips=chips,
                step_s=step_s,
                samples_per_s=batch_per_chip * chips / step_s,
                efficiency=alone_s / step_s,
            )
        )
    return points
