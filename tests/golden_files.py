"""Golden arrays recorded from the PyTorch original; `golden/README.md` says what they are."""

import json
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parent / "golden"


def load(name: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / name, allow_pickle=False) as arrays:
        return dict(arrays)


def read_json(name: str):
    return json.loads((FOLDER / name).read_text())


def cases(name: str, group: str) -> list:
    """The recorded cases of a group as test parameters; a group without any is an error."""
    found = [case for case in read_json(name)["cases"] if case["group"] == group]
    assert found
    return [pytest.param(case, id=case["id"]) for case in found]


def thin(array: np.ndarray, size: int) -> np.ndarray:
    """The evenly spaced entries that the golden files keep of a large array."""
    flat = np.ascontiguousarray(array).reshape(-1)
    if flat.size <= size:
        return flat
    return flat[np.linspace(0, flat.size - 1, size).astype(np.int64)]


def relative_difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference, relative to the largest magnitude expected."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape, (found.shape, expected.shape)
    return float(np.abs(found - expected).max() / np.abs(expected).max())
