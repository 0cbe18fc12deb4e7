"""Published peaks by the names that JAX gives to chips."""

import pytest

from seismollm_jax import accelerators
from seismollm_jax.accelerators import peak_flops


@pytest.mark.parametrize(
    ("kind", "compute", "matmul", "expected"),
    [
        ("TPU v5 lite", "bfloat16", "highest", 197e12),
        ("TPU v5 lite", "float32", "default", 197e12),
        ("TPU v5", "float32", "high", 459e12 / 3),
        ("TPU v6 lite", "float32", "float32", 918e12 / 6),
        ("NVIDIA H100 80GB HBM3", "bfloat16", "default", 989.5e12),
        ("NVIDIA H100 80GB HBM3", "float32", "default", 494.5e12),
        ("NVIDIA H100 80GB HBM3", "float32", "tensorfloat32", 494.5e12),
        ("NVIDIA H100 80GB HBM3", "float32", "highest", 67e12),
        ("Tesla V100-SXM2-16GB", "float32", "default", 15.7e12),  # it has no TF32
    ],
)
def test_peaks(kind: str, compute: str, matmul: str, expected: float) -> None:
    assert peak_flops(kind, compute, matmul) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("kind", "compute", "matmul"),
    [
        ("cpu", "float32", "default"),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "bfloat16", "default"),  # a part of the chip
        ("TPU v9", "bfloat16", "default"),
        ("Tesla V100-SXM2-16GB", "bfloat16", "default"),
        ("NVIDIA L4", "float32", "F16_F16_F16"),
    ],
)
def test_what_is_not_known_is_not_guessed(kind: str, compute: str, matmul: str) -> None:
    assert peak_flops(kind, compute, matmul) is None


def test_figures_agree_with_each_other() -> None:
    """A slip in a row would show: rounding inputs off never makes a product slower."""
    chips = (*accelerators.TPUS.values(), *accelerators.GPUS)
    kinds = [kind for chip in chips for kind in chip.kinds]
    assert len(kinds) == len(set(kinds))
    for chip in chips:
        assert chip.source.startswith("https://")
        peaks = [chip.float32, chip.tensorfloat32, chip.bfloat16]
        known = [peak for peak in peaks if peak]
        assert known
        assert known == sorted(known)
        assert all(1e12 < peak < 1e15 for peak in known)
