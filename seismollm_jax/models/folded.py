"""What the inference graphs of all families are made of."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

BATCH_NORM_EPSILON = 1e-5  # the default of `batch_norm.BatchNorm`, which no setting changes


class Affine(NamedTuple):
    """A linear layer or a convolution: kernel (inputs, outputs) or as its user says, bias."""

    kernel: Any
    bias: Any


class Plain:
    """The arrays of the plain network in float64, by their names."""

    def __init__(self, arrays: Mapping[str, Any]):
        self.arrays = arrays

    def __call__(self, name: str) -> np.ndarray:
        return np.asarray(self.arrays[name], np.float64)

    def __contains__(self, name: str) -> bool:
        return name in self.arrays

    def norm(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Factor and shift of a batch norm."""
        factor = self(f"{name}/scale") / np.sqrt(self(f"{name}/var") + BATCH_NORM_EPSILON)
        return factor, self(f"{name}/bias") - self(f"{name}/mean") * factor


def filled(kernels: list[np.ndarray]) -> np.ndarray | None:
    """Sibling convolutions (time, inputs, outputs) as one; None where that cannot be.

    Kernels whose lengths differ by even numbers have their middles at the same sample whatever the
    padding, so the shorter ones get as many zeros before as behind.
    """
    longest = max(len(kernel) for kernel in kernels)
    missing = [longest - len(kernel) for kernel in kernels]
    if any(n % 2 for n in missing):
        return None
    parts = zip(kernels, missing, strict=True)
    return np.concatenate(
        [np.pad(kernel, ((n // 2, n // 2), (0, 0), (0, 0))) for kernel, n in parts], -1
    )
