"""Slices of TPUs."""

import pytest

from seismollm_jax.pod import chips


@pytest.mark.parametrize(
    ("topology", "count", "rings"),
    [
        ("v5e:1x1", 1, (False, False)),
        ("v5e:4x8", 32, (False, False)),
        ("v6e:8x16", 128, (False, True)),
        ("v5e:16x16", 256, (True, True)),
        ("v5p:2x2x1", 4, (False, False, False)),
        ("v5p:2x4x4", 32, (False, False, False)),  # no whole cube
        ("v4:4x4x8", 128, (True, True, True)),
    ],
)
def test_parse(topology: str, count: int, rings: tuple[bool, ...]) -> None:
    found = chips.parse(topology)
    assert found.name == topology
    assert found.chips == count
    assert found.rings == rings


@pytest.mark.parametrize(
    ("topology", "message"),
    [
        ("v5litepod-16", "is not one of v4, v5e, v5p, v6e; v5litepod is v5e here"),
        ("v7:2x2", "is not one of"),
        ("v5e", "v5e has 2 axes; give the chips along each, such as v5e:4x8"),
        ("v5e:16", "v5e has 2 axes"),
        ("v5e:4x4x4", "v5e has 2 axes"),
        ("v5p:4x4", "v5p has 3 axes.*v5p:2x2x4"),
        ("v6e:0x4", "v6e has 2 axes"),
        ("v6e:4x-4", "v6e has 2 axes"),
        ("v6e:4x4 ", "v6e has 2 axes"),
    ],
)
def test_no_such_topology(topology: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        chips.parse(topology)


def test_the_shapes_of_scaling_double_from_4_to_256() -> None:
    for dimensions, shapes in chips.SHAPES.items():
        assert all(len(shape) == dimensions for shape in shapes)
        chip = next(chip for chip in chips.CHIPS.values() if chip.dimensions == dimensions)
        sizes = [chips.Slice(chip, shape).chips for shape in shapes]
        assert sizes == [1, 4, 8, 16, 32, 64, 128, 256]


def test_peaks_agree_with_each_other() -> None:
    for chip in chips.CHIPS.values():
        assert chip.usable_hbm_bytes <= chip.hbm_bytes
        assert 0.9e9 < chip.clock_hz < 1.8e9  # a mistake in the matrix units would show
        assert chip.source.startswith("https://")
