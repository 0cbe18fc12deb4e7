"""Rules that tie a module's parameters to the names and layouts of PyTorch files."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from seismollm_jax.models.family import Path

# Layouts: how a PyTorch array becomes ours, and back. Every entry is its own inverse.
LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "same": lambda x: x,
    "transpose": np.transpose,  # linear (out, in) <-> (in, out); conv (out, in, k) <-> (k, in, out)
}


@dataclasses.dataclass(frozen=True)
class Rule:
    """One array: its path in our state, its key in a PyTorch file, the layout between them."""

    path: Path
    key: str
    layout: str = "same"


def batch_norm(path: Path, key: str) -> list[Rule]:
    """The four arrays of a batch norm."""
    names = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
    return [Rule((*path, ours), f"{key}.{theirs}") for ours, theirs in names.items()]


def convolution(path: Path, key: str, *, bias: bool) -> list[Rule]:
    """Kernel and optional bias of a convolution or a PyTorch linear layer."""
    rules = [Rule((*path, "kernel"), f"{key}.weight", "transpose")]
    return [*rules, Rule((*path, "bias"), f"{key}.bias")] if bias else rules


class WeightsError(ValueError):
    """Weights that do not fit: the message lists every missing, unexpected or misshapen array."""


def read(
    rules: Iterable[Rule],
    arrays: Mapping[str, np.ndarray],
    shapes: Mapping[Path, tuple[int, ...]],
    *,
    source: str,
    ignore: Callable[[str], bool] = lambda key: False,
) -> dict[Path, np.ndarray]:
    """Turns PyTorch arrays into ours; every rule and every array is used exactly once.

    Args:
        rules: which array goes where.
        arrays: key -> value as in the file.
        shapes: expected shape by path, ours.
        source: name for messages.
        ignore: keys that may be left over.

    Raises:
        WeightsError: with all problems at once.
    """
    rules = list(rules)
    problems = [f"missing: {rule.key}" for rule in rules if rule.key not in arrays]
    known = {rule.key for rule in rules}
    problems += [f"unexpected: {key}" for key in arrays if key not in known and not ignore(key)]
    values = {}
    for rule in rules:
        if rule.key not in arrays:
            continue
        value = LAYOUTS[rule.layout](np.asarray(arrays[rule.key]))
        expected = tuple(shapes[rule.path])
        if value.shape != expected:
            want = LAYOUTS[rule.layout](np.empty(expected, np.uint8)).shape
            problems.append(f"shape of {rule.key}: {arrays[rule.key].shape}, expected {want}")
        values[rule.path] = value
    if problems:
        shown = "\n  ".join(problems[:20])
        more = f"\n  ... and {len(problems) - 20} more" if len(problems) > 20 else ""
        raise WeightsError(
            f"{source} does not fit this model ({len(problems)} problems):\n  {shown}{more}"
        )
    return values
