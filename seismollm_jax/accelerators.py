"""Chips as JAX names them, and what their makers publish as their speed.

A chip that is not in the table is not guessed at: its utilisation is not given.
"""

import dataclasses

# Precision of products of float32 arrays, `precision.matmul`: JAX's names for its three levels.
LEVELS = {
    **dict.fromkeys(("default", "fastest", "bfloat16"), 0),
    **dict.fromkeys(("high", "tensorfloat32", "bfloat16_3x"), 1),
    **dict.fromkeys(("highest", "float32"), 2),
}
# On TPUs such a product goes so often through the bfloat16 matrix units, by level.
PASSES = {name: (1, 3, 6)[level] for name, level in LEVELS.items()}


@dataclasses.dataclass(frozen=True)
class Peaks:
    """Published floating-point operations a second, a multiplication and an addition being two.

    Matrix products of dense arrays, summed up in float32; 0 where a chip has no units for them.

    Attributes:
        kinds: what JAX calls the chip, `device_kind`.
        source: where the figures are published.
        bfloat16: of bfloat16 arrays.
        tensorfloat32: of float32 arrays rounded to TF32.
        float32: of float32 arrays as they are.
    """

    kinds: tuple[str, ...]
    source: str
    bfloat16: float
    tensorfloat32: float = 0.0
    float32: float = 0.0


TPUS = {
    "v4": Peaks(("TPU v4",), "https://cloud.google.com/tpu/docs/v4", 275e12),
    "v5e": Peaks(("TPU v5 lite", "TPU v5e"), "https://cloud.google.com/tpu/docs/v5e", 197e12),
    "v5p": Peaks(("TPU v5", "TPU v5p"), "https://cloud.google.com/tpu/docs/v5p", 459e12),
    "v6e": Peaks(("TPU v6 lite", "TPU v6e"), "https://cloud.google.com/tpu/docs/v6e", 918e12),
}
"""By the names of their families. JAX sees chips, not the cores of v4 and v5p."""

_NVIDIA = "https://www.nvidia.com/en-us/data-center"
GPUS = (
    Peaks(
        ("Tesla V100-SXM2-16GB", "Tesla V100-SXM2-32GB", "Tesla V100-SXM3-32GB"),
        f"{_NVIDIA}/v100/",
        0.0,
        float32=15.7e12,
    ),
    Peaks(
        ("Tesla V100-PCIE-16GB", "Tesla V100-PCIE-32GB"),
        f"{_NVIDIA}/v100/",
        0.0,
        float32=14e12,
    ),
    Peaks(("Tesla T4",), f"{_NVIDIA}/tesla-t4/", 0.0, float32=8.1e12),
    Peaks(
        (
            *("NVIDIA A100-SXM4-40GB", "NVIDIA A100-SXM4-80GB"),
            *("NVIDIA A100-PCIE-40GB", "NVIDIA A100 80GB PCIe"),
        ),
        f"{_NVIDIA}/a100/",
        *(312e12, 156e12, 19.5e12),
    ),
    Peaks(("NVIDIA A10",), f"{_NVIDIA}/products/a10-gpu/", 125e12, 62.5e12, 31.2e12),
    # The data sheets of the chips below give twice as much, for matrices that are half zeros.
    Peaks(("NVIDIA L4",), f"{_NVIDIA}/l4/", 121e12, 60e12, 30.3e12),
    Peaks(("NVIDIA L40S",), f"{_NVIDIA}/l40s/", 362e12, 183e12, 91.6e12),
    Peaks(("NVIDIA H100 80GB HBM3",), f"{_NVIDIA}/h100/", 989.5e12, 494.5e12, 67e12),
    Peaks(("NVIDIA H100 PCIe",), f"{_NVIDIA}/h100/", 756.5e12, 378e12, 51e12),
    Peaks(("NVIDIA H100 NVL",), f"{_NVIDIA}/h100/", 835.5e12, 417.5e12, 60e12),
    Peaks(("NVIDIA H200",), f"{_NVIDIA}/h200/", 989.5e12, 494.5e12, 67e12),
    Peaks(("NVIDIA H200 NVL",), f"{_NVIDIA}/h200/", 835.5e12, 417.5e12, 60e12),
    Peaks(
        ("NVIDIA GeForce RTX 3090",),
        "https://www.nvidia.com/content/PDF/nvidia-ampere-ga-102-gpu-architecture-whitepaper-v2.pdf",
        *(71e12, 35.6e12, 35.6e12),
    ),
    Peaks(
        ("NVIDIA GeForce RTX 4090",),
        "https://images.nvidia.com/aem-dam/Solutions/geforce/ada/nvidia-ada-gpu-architecture.pdf",
        *(165.2e12, 82.6e12, 82.6e12),
    ),
)

_BY_KIND = {kind: peaks for peaks in (*TPUS.values(), *GPUS) for kind in peaks.kinds}


def peak_flops(device_kind: str, compute_dtype: str, matmul: str) -> float | None:
    """What a chip could do at most in a second with the arithmetic that a configuration asks for.

    Args:
        device_kind: of a JAX device.
        compute_dtype: `precision.compute`, float32 or bfloat16.
        matmul: `precision.matmul`. On TPUs a more exact product is several products; on NVIDIA
            GPUs the two lower levels are TF32, if the chip has it, and the highest is float32.

    Returns:
        Floating-point operations a second; None if not published, or if it is not known what the
        chip does.
    """
    peaks, level = _BY_KIND.get(device_kind), LEVELS.get(matmul)
    if peaks is None:
        return None
    if compute_dtype == "bfloat16":
        return peaks.bfloat16 or None
    if level is None:
        return None
    if peaks in TPUS.values():
        return peaks.bfloat16 / PASSES[matmul]
    return (peaks.float32 if level == 2 else peaks.tensorfloat32 or peaks.float32) or None
