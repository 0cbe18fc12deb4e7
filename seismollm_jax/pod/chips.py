"""TPU chips as published, and slices made of them."""

import dataclasses
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from seismollm_jax.accelerators import TPUS

GIB = 1 << 30


@dataclasses.dataclass(frozen=True)
class Chip:
    """Published peaks of one chip; `source` is where they are published.

    Attributes:
        name: the family's part of a topology, such as v5e.
        bf16_flops: multiplications and additions a second of the matrix units, in bfloat16.
        hbm_bytes: memory.
        usable_hbm_bytes: what the compiler gives a program, as it says when that is exceeded.
        hbm_bandwidth: bytes a second.
        clock_hz: follows from the peak: the products of the matrix units in a cycle are published.
        link_bandwidth: bytes a second of one link to a neighbour, in one direction: the published
            figure of a chip over both directions and all its links.
        dimensions: of the network.
        description: what JAX has to be told besides the name to count chips, not cores.
        source: of the figures.
    """

    name: str
    bf16_flops: float
    hbm_bytes: int
    usable_hbm_bytes: int
    hbm_bandwidth: float
    link_bandwidth: float
    clock_hz: float
    dimensions: int
    source: str
    description: tuple[tuple[str, Any], ...] = ()


CHIPS = {
    chip.name: chip
    for chip in (
        Chip(
            name="v4",
            bf16_flops=TPUS["v4"].bfloat16,
            hbm_bytes=32 * GIB,
            usable_hbm_bytes=int(30.75 * GIB),
            hbm_bandwidth=1200e9,
            link_bandwidth=50e9,
            clock_hz=TPUS["v4"].bfloat16 / (2 * 2 * 4 * 128**2),
            dimensions=3,
            # The links are in the paper alone.
            source=f"{TPUS['v4'].source} and arXiv 2304.01433",
            description=(("chip_config_name", "megacore"),),
        ),
        Chip(
            name="v5e",
            bf16_flops=TPUS["v5e"].bfloat16,
            hbm_bytes=16 * GIB,
            usable_hbm_bytes=int(15.75 * GIB),
            hbm_bandwidth=819e9,
            link_bandwidth=400e9 / 2 / 4,
            clock_hz=TPUS["v5e"].bfloat16 / (2 * 4 * 128**2),
            dimensions=2,
            source=TPUS["v5e"].source,
        ),
        Chip(
            name="v5p",
            bf16_flops=TPUS["v5p"].bfloat16,
            hbm_bytes=95 * GIB,
            # More than is published: the compiler's own figure is 95.74.
            usable_hbm_bytes=95 * GIB,
            hbm_bandwidth=2765e9,
            link_bandwidth=1200e9 / 2 / 6,
            clock_hz=TPUS["v5p"].bfloat16 / (2 * 2 * 4 * 128**2),
            dimensions=3,
            source=TPUS["v5p"].source,
        ),
        Chip(
            name="v6e",
            bf16_flops=TPUS["v6e"].bfloat16,
            hbm_bytes=32 * GIB,
            usable_hbm_bytes=int(31.25 * GIB),
            hbm_bandwidth=1600e9,
            link_bandwidth=800e9 / 2 / 4,
            # Four units of 256 x 256; with two, as has been published too, it would be 3.5 GHz.
            clock_hz=TPUS["v6e"].bfloat16 / (2 * 4 * 256**2),
            dimensions=2,
            source=TPUS["v6e"].source,
        ),
    )
}

# Shapes with 1, 4, 8 ... 256 chips, for the prediction of scaling. One chip is the reference.
SHAPES = {
    2: ((1, 1), (2, 2), (2, 4), (4, 4), (4, 8), (8, 8), (8, 16), (16, 16)),
    3: (
        *((1, 1, 1), (2, 2, 1), (2, 2, 2), (2, 2, 4)),
        *((2, 4, 4), (4, 4, 4), (4, 4, 8), (4, 8, 8)),
    ),
}
POD_SIDE = 16  # of the two-dimensional families: an axis closes to a ring at its full length
CUBE = 4  # of the three-dimensional ones: multiples of it on all axes close to rings


@dataclasses.dataclass(frozen=True)
class Slice:
    """Chips in a rectangle or a block.

    Attributes:
        chip: what it is made of.
        shape: chips along each axis.
    """

    chip: Chip
    shape: tuple[int, ...]

    @property
    def name(self) -> str:
        """As `parse` takes it."""
        return f"{self.chip.name}:{'x'.join(map(str, self.shape))}"

    @property
    def chips(self) -> int:
        """How many there are."""
        return math.prod(self.shape)

    @property
    def rings(self) -> tuple[bool, ...]:
        """Whether the last chip of an axis has a link to the first."""
        if self.chip.dimensions == 2:
            return tuple(length == POD_SIDE for length in self.shape)
        return (all(length % CUBE == 0 for length in self.shape),) * 3


@dataclasses.dataclass(frozen=True)
class Mesh:
    """A device mesh laid over a slice.

    Attributes:
        slice_: all of its chips.
        axes: names of the mesh's axes.
        places: where each device of the mesh is, its coordinates in the slice last.
    """

    slice_: Slice
    axes: tuple[str, ...]
    places: np.ndarray  # (size of each axis of the mesh ..., axes of the slice)

    def group(self, axes: Sequence[str]) -> np.ndarray:
        """Places of the devices along some axes from the first one on, (devices, axes of slice)."""
        along = tuple(slice(None) if name in axes else 0 for name in self.axes)
        return self.places[along].reshape(-1, len(self.slice_.shape))


def parse(topology: str) -> Slice:
    """`v5e:4x8` or `v5p:2x2x4` -> the slice.

    Raises:
        ValueError: no such family, or no such shape in it.
    """
    family, _, shape = topology.partition(":")
    if family not in CHIPS:
        raise ValueError(
            f"--topology={topology}: the family before the colon is not one of {', '.join(CHIPS)}; "
            "v5litepod is v5e here"
        )
    chip = CHIPS[family]
    lengths = tuple(int(n) for n in shape.split("x")) if re.fullmatch(r"\d+(x\d+)*", shape) else ()
    if len(lengths) != chip.dimensions or 0 in lengths:
        example = "4x8" if chip.dimensions == 2 else "2x2x4"
        raise ValueError(
            f"--topology={topology}: {family} has {chip.dimensions} axes; give the chips along "
            f"each, such as {family}:{example}"
        )
    return Slice(chip, lengths)
