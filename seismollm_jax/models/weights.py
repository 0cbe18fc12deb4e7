"""Rules that tie a module's parameters to the names and layouts of PyTorch files."""

import dataclasses
import difflib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from seismollm_jax.models.family import Path

# Layouts: how a PyTorch array becomes ours, and back. Every entry is its own inverse.
LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "same": lambda x: x,
    "transpose": np.transpose,  # linear (out, in) <-> (in, out); conv (out, in, k) <-> (k, in, out)
}
Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Rule:
    """One array: its path in our state, its key in a PyTorch file, the layout between them."""

    path: Path
    key: str
    layout: str = "same"

    def convert(self, value: np.ndarray) -> np.ndarray:
        """PyTorch's layout to ours, or back; a view."""
        return LAYOUTS[self.layout](value)

    def shape(self, shape: Shape) -> Shape:
        """The other side's shape."""
        return shape[::-1] if self.layout == "transpose" else shape


@dataclasses.dataclass(frozen=True)
class Extra:
    """An array of PyTorch files that has no counterpart here, and why.

    Attributes:
        key: its name in the file.
        shape: as it must be in the file.
        dtype: the same.
        reason: for reports.
    """

    key: str
    shape: Shape
    dtype: str
    reason: str


def batch_norm(path: Path, key: str) -> list[Rule | Extra]:
    """The four arrays of a batch norm, and PyTorch's counter of training passes."""
    names = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
    rules = [Rule((*path, ours), f"{key}.{theirs}") for ours, theirs in names.items()]
    return [*rules, Extra(f"{key}.{COUNTER}", (), "int64", COUNTER_REASON)]


COUNTER = "num_batches_tracked"
COUNTER_REASON = "counts training passes and plays no part in the result; kept in the description"


def convolution(path: Path, key: str, *, bias: bool) -> list[Rule | Extra]:
    """Kernel and optional bias of a convolution or a PyTorch linear layer."""
    rules = [Rule((*path, "kernel"), f"{key}.weight", "transpose")]
    return [*rules, Rule((*path, "bias"), f"{key}.bias")] if bias else [*rules]


class RecognitionError(ValueError):
    """Names or shapes that no network of a family has; the message says which and what would help.

    Attributes:
        problems: one line each.
    """

    def __init__(self, *problems: str):
        self.problems = list(problems)
        super().__init__("; ".join(problems))


class WeightsError(ValueError):
    """Weights that do not fit: the message lists every missing, unexpected or misshapen array.

    Attributes:
        problems: one line each.
    """

    def __init__(self, source: str, problems: list[str]):
        self.problems = problems
        lines = "\n  ".join(problems)
        super().__init__(f"{source} does not fit this model ({len(problems)} problems):\n  {lines}")


def mismatches(
    entries: Iterable[Rule | Extra],
    found: Mapping[str, Shape],
    shapes: Mapping[Path, Shape],
    *,
    ignore: Callable[[str], bool] = lambda key: False,
) -> list[str]:
    """Everything that keeps the arrays of a file from filling a model exactly once.

    Names and shapes alone are looked at, so nothing has to be read for it.

    Args:
        entries: the table of the model.
        found: key -> shape in the file.
        shapes: path -> expected shape, ours.
        ignore: keys that may be left over.

    Returns:
        Problems, one line each, with the names that are most alike; empty if all fits.
    """
    entries = list(entries)
    expected = {
        entry.key: entry.shape
        if isinstance(entry, Extra)
        else entry.shape(tuple(shapes.get(entry.path, ())))
        for entry in entries
    }
    left_over = [key for key in found if key not in expected and not ignore(key)]
    absent = [key for key in expected if key not in found]

    def alike(key: str, among: list[str]) -> str:
        names = difflib.get_close_matches(key, among, n=2, cutoff=0.8)
        return f" (like {' or '.join(names)})" if names else ""

    problems = [f"missing: {key}{alike(key, left_over)}" for key in absent]
    problems += [f"unexpected: {key}{alike(key, absent)}" for key in left_over]
    problems += [
        f"shape of {key}: {tuple(found[key])}, expected {shape}"
        for key, shape in expected.items()
        if key in found and tuple(found[key]) != shape
    ]
    paths = Counter(entry.path for entry in entries if isinstance(entry, Rule))
    problems += [f"filled {n} times: {path}" for path, n in paths.items() if n > 1]
    problems += [f"left empty: {path}" for path in shapes if path not in paths]
    problems += [f"not part of the network: {path}" for path in paths if path not in shapes]
    return problems


def read(
    entries: Iterable[Rule | Extra],
    arrays: Mapping[str, np.ndarray],
    shapes: Mapping[Path, Shape],
    *,
    source: str,
    ignore: Callable[[str], bool] = lambda key: False,
) -> dict[Path, np.ndarray]:
    """Turns PyTorch arrays into ours; every entry and every array is used exactly once.

    Args:
        entries: which array goes where.
        arrays: key -> value as in the file.
        shapes: expected shape by path, ours.
        source: name for messages.
        ignore: keys that may be left over.

    Raises:
        WeightsError: with all problems at once.
    """
    entries = list(entries)
    found = {key: np.shape(value) for key, value in arrays.items()}
    if problems := mismatches(entries, found, shapes, ignore=ignore):
        raise WeightsError(source, problems)
    rules = [entry for entry in entries if isinstance(entry, Rule)]
    return {rule.path: rule.convert(np.asarray(arrays[rule.key])) for rule in rules}
