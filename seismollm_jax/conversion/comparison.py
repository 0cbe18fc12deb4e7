"""Runs a network in JAX and in PyTorch on the same windows."""

import dataclasses
import importlib.metadata
import importlib.util
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from seismollm_jax.conversion.network import Network
from seismollm_jax.conversion.report import ConversionError
from seismollm_jax.data.waveform import normalise
from seismollm_jax.experiment import Experiment
from seismollm_jax.models.state import key as name_of
from seismollm_jax.models.state import merge

WINDOWS = 2
# Of the largest magnitude. PyTorch rounds the coordinates of its interpolation in another way from
# version to version, which only the per-sample head feels.
TOLERANCE, PER_SAMPLE_TOLERANCE = 1e-5, 1e-4


def tolerance(experiment: Experiment) -> float:
    """Largest relative difference between frameworks that rounding explains."""
    return PER_SAMPLE_TOLERANCE if experiment.task.output.per_sample else TOLERANCE


def has_torch() -> bool:
    """Whether PyTorch is installed; it is not imported for this."""
    return importlib.util.find_spec("torch") is not None


def windows(experiment: Experiment) -> np.ndarray:
    """Normalised windows (windows, samples, 3): noise with two onsets; the last lacks a component.

    The same for every network with the same window and normalisation.
    """
    random = np.random.default_rng(0)
    samples = experiment.context.window
    x = random.normal(size=(WINDOWS, samples, 3))
    time = np.arange(samples)
    for onset, amplitude in ((samples // 4, 5.0), (samples // 2, 20.0)):
        decay = np.where(time >= onset, np.exp(-(time - onset) / (samples / 20)), 0)
        x += amplitude * decay[:, None] * random.normal(size=(WINDOWS, samples, 3))
    x[-1, :, 0] = 0
    how = experiment.sample_options.normalisation
    return np.stack([normalise(window.astype(np.float32), how) for window in x])


class _Arrays(Mapping[str, np.ndarray]):
    """A network's arrays by PyTorch name, each read when it is asked for."""

    def __init__(self, network: Network):
        self._network = network

    def __getitem__(self, key: str) -> np.ndarray:
        if key not in self._network.dtypes:
            raise KeyError(key)
        return self._network.read(key)

    def __contains__(self, key: object) -> bool:
        return key in self._network.dtypes

    def __iter__(self) -> Iterator[str]:
        return iter(self._network.dtypes)

    def __len__(self) -> int:
        return len(self._network.dtypes)


def state(network: Network) -> dict[str, jax.Array]:
    """All arrays of the network by our names, on the default device.

    Those of a file are copied, so that the file need not stay mapped into memory.
    """
    if network.loaded is not None:
        return network.loaded()
    return {
        name_of(rule.path): jax.numpy.array(rule.convert(network.read(rule.key)), copy=True)
        for rule in network.rules
    }


def in_jax(experiment: Experiment, arrays: dict[str, jax.Array], x: np.ndarray) -> np.ndarray:
    """Output of a network here: (windows, 3, samples) for picking, else (windows, outputs).

    Computed in float32, whatever the network was trained in.
    """
    if experiment.settings["compute_dtype"] != "float32":  # else its shapes are known already
        settings = {**experiment.settings, "compute_dtype": "float32"}
        experiment = dataclasses.replace(experiment, settings=settings)
    graphdef = experiment.abstract().graphdef

    @jax.jit
    def run(arrays: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        model: Any = merge(graphdef, arrays)
        return model(x)

    with jax.default_matmul_precision("highest"):
        output = np.asarray(run(arrays, x))
    return output.swapaxes(1, 2) if output.ndim == 3 else output


def in_torch(network: Network, x: np.ndarray) -> np.ndarray:
    """The same in PyTorch, from the arrays under their PyTorch names.

    Raises:
        ImportError: PyTorch is not installed.
    """
    experiment = network.experiment
    return network.original.forward(
        _Arrays(network), x.swapaxes(1, 2), experiment.settings, experiment.task.output
    )


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """Largest difference over largest magnitude; infinite where shapes or finiteness differ."""
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return float("inf")
    return float(np.max(np.abs(a - b)) / max(np.max(np.abs(a)), np.finfo(np.float32).tiny))


def verified(
    network: Network, experiment: Experiment, arrays: dict[str, jax.Array]
) -> dict[str, Any]:
    """Compares the PyTorch side, `network`, with the JAX side, `experiment` and `arrays`.

    Returns:
        What was compared and the largest difference, for provenance; whether it `passed`, which is
        None where PyTorch is not installed.
    """
    if not has_torch():
        return {"passed": None, "reason": "PyTorch is not installed, outputs were not compared"}
    x = windows(experiment)
    found = difference(in_torch(network, x), in_jax(experiment, arrays, x))
    return {
        "passed": found <= tolerance(experiment),
        "largest_difference": found,
        "tolerance": tolerance(experiment),
        "windows": list(x.shape),
        "torch": importlib.metadata.version("torch"),
        "jax": importlib.metadata.version("jax"),
    }


def require(verification: Mapping[str, Any], source: Path) -> None:
    """Refuses a network whose comparison failed; one that was not compared passes.

    Raises:
        ConversionError: naming `source` and the difference.
    """
    if verification["passed"] is not False:
        return
    found = verification["largest_difference"]
    problem = (
        f"outputs differ from PyTorch's by {found:.1e} of their size, more than "
        f"{verification['tolerance']:.0e}"
        if math.isfinite(found)
        else "the network gives outputs that are not finite: are its weights damaged?"
    )
    raise ConversionError(source, [problem])
