"""Times from peaks, by hand."""

import dataclasses

import numpy as np
import pytest

from seismollm_jax.pod import chips
from seismollm_jax.pod.collectives import Collective
from seismollm_jax.pod.roofline import HOP_S, passes, roofline, scaling, transfer_seconds

# Round numbers: 100 bytes a second on each link.
FLAT = dataclasses.replace(chips.CHIPS["v5e"], link_bandwidth=100.0, bf16_flops=1000.0)
FLAT = dataclasses.replace(FLAT, hbm_bandwidth=50.0)
BLOCK = dataclasses.replace(chips.CHIPS["v5p"], link_bandwidth=100.0)


def reduction(size: int, axes: tuple[str, ...] = ("data", "fsdp")) -> Collective:
    return Collective("all-reduce", size, 0, "gradients", axes)


def mesh(slice_: chips.Slice, fsdp: int = 1) -> chips.Mesh:
    """Neighbours along the last axis first."""
    places = np.stack(np.indices(slice_.shape), -1)
    return chips.Mesh(slice_, ("data", "fsdp"), places.reshape(-1, fsdp, len(slice_.shape)))


@pytest.mark.parametrize(
    ("slice_", "bandwidth", "hops"),
    [
        (chips.Slice(FLAT, (1, 4)), 100, 3),  # a line
        (chips.Slice(FLAT, (2, 2)), 200, 2),  # two lines
        (chips.Slice(FLAT, (8, 16)), 300, 7 + 8),  # a line and a ring
        (chips.Slice(FLAT, (16, 16)), 400, 16),  # two rings
        (chips.Slice(BLOCK, (2, 2, 1)), 200, 2),
        (chips.Slice(BLOCK, (4, 4, 4)), 600, 6),
    ],
)
def test_a_reduction_uses_all_links(slice_: chips.Slice, bandwidth: float, hops: int) -> None:
    count = slice_.chips
    expected = 2 * (count - 1) / count * 1e6 / bandwidth + 2 * hops * HOP_S
    assert transfer_seconds([reduction(10**6)], mesh(slice_)) == pytest.approx(expected)
    # Putting together is the second half of a reduction.
    gather = Collective("all-gather", 10**6, 0, "weights", ("data", "fsdp"))
    assert transfer_seconds([gather], mesh(slice_)) == pytest.approx(expected / 2)
    # In a loop over three micro-batches.
    often = dataclasses.replace(gather, times=3)
    assert transfer_seconds([often], mesh(slice_)) == pytest.approx(3 * expected / 2)


@pytest.mark.parametrize(
    ("shape", "fsdp", "axes", "chips_", "bandwidth", "hops"),
    [
        ((4, 4), 4, ("fsdp",), 4, 100, 3),  # a row
        ((4, 4), 4, ("data",), 4, 100, 3),  # a column
        ((4, 4), 2, ("fsdp",), 2, 100, 1),
        # Every other chip of a row, and all rows: two such groups share the links of a row.
        ((4, 4), 2, ("data",), 8, 100 + 100 / 2, 3 + 2),
        ((16, 16), 16, ("fsdp",), 16, 200, 8),  # a ring
        ((16, 16), 4, ("fsdp",), 4, 100, 3),  # a part of it
        ((16, 16), 4, ("data",), 64, 200 + 200 / 4, 8 + 8),
        ((2, 2), 4, ("fsdp",), 4, 200, 2),  # all
    ],
)
def test_groups_of_chips_use_the_links_between_them(
    shape: tuple[int, ...],
    fsdp: int,
    axes: tuple[str, ...],
    chips_: int,
    bandwidth: float,
    hops: int,
) -> None:
    found = transfer_seconds([reduction(10**6, axes)], mesh(chips.Slice(FLAT, shape), fsdp))
    expected = 2 * (chips_ - 1) / chips_ * 1e6 / bandwidth + 2 * hops * HOP_S
    assert found == pytest.approx(expected)


def test_one_chip_has_nobody_to_talk_to() -> None:
    assert transfer_seconds([reduction(10**9)], mesh(chips.Slice(FLAT, (1, 1)))) == 0
    row = mesh(chips.Slice(FLAT, (1, 4)), 4)
    assert transfer_seconds([reduction(10**9, ("data",))], row) == 0


def test_small_reductions_cost_their_way() -> None:
    slice_ = chips.Slice(chips.CHIPS["v5e"], (16, 16))
    assert transfer_seconds([reduction(512)] * 100, mesh(slice_)) == pytest.approx(3.2e-3, rel=1e-3)


def test_roofline() -> None:
    slice_ = mesh(chips.Slice(FLAT, (2, 2)))
    bounds = roofline(2000.0, 50.0, [reduction(100)], slice_, passes=1)
    assert (bounds.compute_s, bounds.hbm_s) == (2.0, 1.0)
    assert bounds.ici_s == pytest.approx(0.75, rel=1e-3)
    assert (bounds.step_s, bounds.bound) == (2.0, "compute")
    bounds = roofline(100.0, 500.0, [reduction(100)], slice_, passes=6)
    assert (bounds.compute_s, bounds.step_s, bounds.bound) == (0.6, 10.0, "hbm")
    bounds = roofline(100.0, 5.0, [reduction(1000)], slice_, passes=1)
    assert bounds.bound == "ici"


def test_scaling() -> None:
    meshes = [mesh(chips.Slice(FLAT, shape)) for shape in chips.SHAPES[2]]
    points = scaling(1.0, [reduction(1000)], meshes, batch_per_chip=8)
    assert [point.chips for point in points] == [1, 4, 8, 16, 32, 64, 128, 256]
    assert points[0].topology == "v5e:1x1"
    assert points[0].efficiency == 1
    assert points[0].samples_per_s == 8
    last = points[-1]
    assert last.step_s == pytest.approx(1 + 2 * 255 / 256 * 1000 / 400, rel=1e-3)
    assert last.samples_per_s == pytest.approx(8 * 256 / last.step_s)
    assert last.efficiency == pytest.approx(1 / last.step_s)


def test_passes() -> None:
    assert passes("float32", "default") == 1
    assert passes("float32", "highest") == 6
    assert passes("bfloat16", "highest") == 1
    with pytest.raises(ValueError, match=r"precision\.matmul='F16_F16_F32'.*known for default"):
        passes("float32", "F16_F16_F32")
