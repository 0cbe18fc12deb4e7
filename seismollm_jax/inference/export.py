"""A network as one StableHLO file for serving, its contract as JSON beside it.

From the command line: `python -m seismollm_jax.inference.export --checkpoint=DIR --output=FILE`.
The format is that of `jax.export`: StableHLO, which later versions of JAX and other runtimes read,
with the arrays inside.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import app, flags
from jax import export

from seismollm_jax import atomic_files, command_line
from seismollm_jax.inference import predictor as predictors
from seismollm_jax.inference.windows import channels_last

FORMAT = 1
PLATFORMS = ("cpu", "cuda", "tpu")
KNOWN = (*PLATFORMS, "rocm")
LARGEST = 2**31 - 2**24  # bytes of a file; offsets in it have 31 bits


def write(
    predictor: predictors.Predictor,
    path: str | Path,
    *,
    batch: int | None = None,
    platforms: Sequence[str] = PLATFORMS,
) -> Path:
    """Writes what `Predictor.forward` computes, for windows of the length of training.

    Args:
        predictor: the network.
        path: file to write; the contract gets its name and ".json".
        batch: windows in a call; None allows any number.
        platforms: that it can run on, of "cpu", "cuda", "rocm", "tpu".

    Returns:
        The file of the contract.

    Raises:
        ValueError: no such platform, a batch below 1, or a network larger than the format holds.
        ImportError: the package flatbuffers is missing.
    """
    if batch is not None and batch < 1:
        raise ValueError(f"batch={batch} must be at least 1; leave it out to allow any number")
    if (unknown := {*platforms} - {*KNOWN}) or not platforms:
        raise ValueError(f"platforms: {sorted(unknown) or 'none'}; choose among {KNOWN}")
    path, network = Path(path).expanduser(), predictor.network
    arrays = jax.tree.map(np.asarray, network.arrays)
    if (size := sum(array.nbytes for array in jax.tree.leaves(arrays))) > LARGEST:
        raise ValueError(
            f"the network's arrays take {size / 2**30:.1f} GiB, more than the 2 GiB that one file "
            "of this format can hold"
        )

    def forward(x: jax.Array) -> jax.Array:
        output = network.function(arrays, x.swapaxes(1, 2), None)
        return output.swapaxes(1, 2) if output.ndim == 3 else output

    sizes = "windows" if batch is None else str(batch)
    shape = export.symbolic_shape(f"{sizes}, 3, {predictor.window}")
    exported = export.export(jax.jit(forward), platforms=tuple(platforms))(
        jax.ShapeDtypeStruct(shape, np.float32)
    )
    data = bytes(exported.serialize())
    (output,) = exported.out_avals
    contract = {
        "format": FORMAT,
        "written_by": {name: metadata.version(name) for name in ("seismollm_jax", "jax")},
        "sha256": hashlib.sha256(data).hexdigest(),
        "platforms": list(platforms),
        "model": predictor.experiment.family.name,
        "task": predictor.experiment.task.name,
        "form": predictor.experiment.task.form,
        "input": {
            "shape": [batch or "windows", 3, predictor.window],
            "axes": ["window", "component", "sample"],
            "dtype": "float32",
            **{
                name: value
                for name, value in predictor.experiment.contract().items()
                if name in ("component_order", "sampling_rate_hz", "normalisation")
            },
        },
        "output": {
            "shape": [batch or "windows", *output.shape[1:]],
            "axes": ["window", "channel", "sample"][: len(output.shape)],
            "dtype": "float32",
            "channels": list(predictor.experiment.task.labels),
        },
        "thresholds": dict(predictor.thresholds),
        "checkpoint": {"checksum": predictor.network.checksum},
    }
    beside = _beside(path)
    beside.unlink(missing_ok=True)  # never a contract of another file
    atomic_files.write(path, data)
    atomic_files.write(beside, (json.dumps(contract, indent=1) + "\n").encode())
    return beside


class Exported:
    """A network read from a file; see `load_exported`.

    Attributes:
        contract: the JSON beside the file.
    """

    def __init__(self, contract: dict[str, Any], exported: export.Exported):
        self.contract = contract
        self._run = jax.jit(exported.call)

    def forward(self, x: np.ndarray) -> np.ndarray:
        """The network's output for normalised windows, as `Predictor.forward` gives it.

        Args:
            x: float32 (windows, 3, samples), as `contract["input"]` says.

        Raises:
            ValueError: another shape, or samples that are not finite.
        """
        windows, components, samples = self.contract["input"]["shape"]
        channels_last(x)
        x = np.asarray(x, np.float32)
        if x.shape[2] != samples or (windows != "windows" and len(x) != windows):
            raise ValueError(
                f"windows have shape {x.shape}; this file takes {(windows, components, samples)}"
            )
        return np.asarray(self._run(x))


def load_exported(path: str | Path) -> Exported:
    """Reads a file of `write` and the contract beside it.

    Raises:
        FileNotFoundError: one of the two is missing.
        ValueError: they do not belong together, are damaged, or of a later format.
    """
    path = Path(path).expanduser()
    beside = _beside(path)
    try:
        contract = json.loads(beside.read_text())
        found, expected = contract["format"], contract["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{beside} is not the contract of an exported network: {error}") from error
    if found != FORMAT:
        raise ValueError(
            f"{beside} has format {found}, and this version reads {FORMAT}: install a later "
            "seismollm_jax, or export again"
        )
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != expected:
        raise ValueError(f"{path} is damaged, or not the file that {beside} describes")
    return Exported(contract, export.deserialize(bytearray(data)))


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def define_flags() -> None:
    """Defines the flags of the command."""
    flags.DEFINE_string("checkpoint", None, "Working directory of a training, or a checkpoint.")
    flags.DEFINE_string("output", None, "File to write; its contract gets this name and .json.")
    flags.DEFINE_integer("batch", None, "Windows in a call; any number if not given.")
    flags.DEFINE_list("platforms", list(PLATFORMS), "That it can run on: cpu, cuda, rocm, tpu.")
    flags.mark_flags_as_required(["checkpoint", "output"])


def main(argv: list[str]) -> None:
    """Exports and says what was written."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments {argv[1:]}")
    given = flags.FLAGS
    beside = write(
        predictors.load(given.checkpoint),
        given.output,
        batch=given.batch,
        platforms=given.platforms,
    )
    megabytes = Path(given.output).expanduser().stat().st_size / 1e6
    print(f"{given.output}: {megabytes:.1f} MB; {beside} says what goes in and comes out")


if __name__ == "__main__":
    define_flags()
    command_line.run(main)
