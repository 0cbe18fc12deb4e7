"""Checkpoints as they lie on disk: finding one and reading it, as a whole or in part.

Evaluation, prediction and conversion come here and know nothing of Orbax. What a checkpoint is
made of: `checkpoint`, which writes them.
"""

import dataclasses
import json
import warnings
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from seismollm_jax import atomic_files, parallel
from seismollm_jax.models.state import Arrays
from seismollm_jax.training import backbone

FORMAT = 1
FOLDER = "checkpoints"  # below the working directory


class CheckpointError(ValueError):
    """A checkpoint that is not there, damaged, or made for something else; or cannot be saved."""


class DamagedError(CheckpointError):
    """A checkpoint whose files are not as they were written."""


def checksum(tree: Any) -> int:
    """A sum over the bytes of all arrays of a tree, in whatever order they come."""
    leaves = map(parallel.whole, jax.tree.leaves(tree))  # one by one, for they may be large
    return sum(zlib.crc32(np.ascontiguousarray(leaf).tobytes()) for leaf in leaves) % 2**32


@dataclasses.dataclass(frozen=True)
class Stored:
    """A checkpoint's network, read for use."""

    path: Path
    params: Arrays
    frozen: Arrays
    stats: Arrays
    description: dict[str, Any]

    def sha256(self) -> str:
        """Hash of the network's arrays, the same in whatever checkpoint they lie."""
        arrays = {**self.params, **self.frozen, **self.stats}
        return backbone.sha256({name: np.asarray(value) for name, value in arrays.items()})


def find(directory: str | Path) -> Path:
    """The checkpoint meant by `directory`: itself, or the best one of a working directory.

    Raises:
        CheckpointError: there is none.
    """
    root = Path(directory).expanduser().absolute()
    if (root / "model").is_dir() and (root / "description").is_dir():
        return root
    folder = root / FOLDER if (root / FOLDER).is_dir() else root
    found: dict[Path, dict[str, Any]] = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name.isdigit() and (path / "description").is_dir():
            found[path] = read_description(path)
    if not found:
        raise CheckpointError(
            f"{root} holds no checkpoint; give the --workdir of a training run, its "
            f"{FOLDER} folder, or one checkpoint in it"
        )
    # Every description names the best step so far, so the latest one knows.
    latest = max(found, key=lambda path: int(path.name))
    step = found[latest]["progress"]["best_step"]
    if step is None:
        warnings.warn(
            f"no checkpoint in {folder} had a finite validation figure; taking the latest",
            stacklevel=2,
        )
        return latest
    if folder / str(step) not in found:
        raise CheckpointError(
            f"the best checkpoint, step {step}, is missing in {folder}; there are "
            f"{sorted(int(path.name) for path in found)}: name one of them, {folder}/STEP"
        )
    return folder / str(step)


def read_description(path: Path) -> dict[str, Any]:
    """The JSON item of a checkpoint.

    Raises:
        CheckpointError: missing, damaged, or written by a later version.
    """
    file = path / "description" / "metadata"
    try:
        description = json.loads(file.read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise DamagedError(f"{file} cannot be read ({error}): the checkpoint is damaged") from None
    if description.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} has checkpoint format {description.get('format')}; this version reads "
            f"{FORMAT}: use the seismollm_jax version that wrote it "
            f"({description.get('provenance', {}).get('versions', {}).get('seismollm_jax', '?')})"
        )
    return description


def amend(path: Path, **entries: Any) -> None:
    """Replaces entries of a checkpoint's description; its arrays stay as they are.

    Raises:
        CheckpointError: the description cannot be read, or not be written.
    """
    description = {**read_description(path), **entries}
    try:
        atomic_files.write(path / "description" / "metadata", json.dumps(description).encode())
    except OSError as error:
        raise CheckpointError(f"{path} cannot be changed ({error})") from error


def has_training(description: Mapping[str, Any]) -> bool:
    """Whether a checkpoint holds an optimiser's state, without which no run continues."""
    return "train" in description.get("sums", ("train",))  # older ones have no sums, but all items


def verify(path: Path) -> None:
    """Reads a whole checkpoint, on the process that calls, and compares it with its checksums.

    Raises:
        DamagedError: something is missing or not as it was written.
        CheckpointError: written by a later version.
    """
    description = read_description(path)
    sums = description.get("sums", {})  # converted and older ones may have none
    handler = ocp.PyTreeCheckpointHandler()
    for item in ("model", "train") if has_training(description) else ("model",):
        try:
            stored = handler.metadata(path / item)
            tree = stored.tree if hasattr(stored, "tree") else dict(stored)
            as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
            arguments = ocp.args.PyTreeRestore(tree, restore_args=as_numpy)
            found = checksum(handler.restore(path / item, args=arguments))
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise DamagedError(f"{path / item} cannot be read ({error})") from error
        if found != sums.get(item, found):
            raise DamagedError(f"the arrays in {path / item} are not those that were written")


def read_optimizer(path: Path, like: Any) -> Any:
    """The optimiser's state of one checkpoint, on the default device.

    Args:
        path: the checkpoint, as `find` gives it.
        like: a tree of the same structure and shapes.

    Raises:
        CheckpointError: damaged, or the state of another optimiser.
    """
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    target = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device),
        {"step": np.zeros((), np.int32), "opt": like},
    )
    try:
        with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
            return checkpointer.restore(path / "train", args=ocp.args.StandardRestore(target))[
                "opt"
            ]
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{path / 'train'} is damaged, or not of the optimiser that the description names "
            f"({error})"
        ) from error


def read_shapes(path: Path) -> dict[str, dict[str, tuple[tuple[int, ...], str]]]:
    """Shape and type of every array of a network, by part (params, frozen, stats) and name.

    Raises:
        CheckpointError: damaged.
    """
    try:
        stored = dict(ocp.PyTreeCheckpointHandler().metadata(path / "model"))
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path / 'model'} is damaged ({error})") from error
    return {
        part: {name: (tuple(leaf.shape), str(leaf.dtype)) for name, leaf in leaves.items()}
        for part, leaves in stored.items()
    }


def read_some(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Some of a network's arrays, whichever part they are in, without reading the others.

    Args:
        path: the checkpoint, as `find` gives it.
        names: flat names, all of which must be there.
    """
    handler = ocp.PyTreeCheckpointHandler()
    with ocp.Checkpointer(handler) as checkpointer:
        stored = dict(handler.metadata(path / "model"))
        item = {part: {n: 0 for n in leaves if n in names} for part, leaves in stored.items()}
        item = {part: leaves for part, leaves in item.items() if leaves}
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), item)
        arguments = ocp.args.PyTreeRestore(item, restore_args=as_numpy, partial_restore=True)
        found = checkpointer.restore(path / "model", args=arguments)
    return {name: value for leaves in found.values() for name, value in leaves.items()}


def load(directory: str | Path) -> Stored:
    """Reads the network at `directory` (see `find`) onto the default device.

    Raises:
        CheckpointError: none there, or damaged.
        BackboneError: it leaves out what comes from a backbone, and that cannot be had.
    """
    path = find(directory)
    description = read_description(path)
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    try:
        handler = ocp.StandardCheckpointHandler()
        with ocp.Checkpointer(handler) as checkpointer:
            stored = handler.metadata(path / "model")
            target = jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device),
                dict(stored),
            )
            model = checkpointer.restore(path / "model", args=ocp.args.StandardRestore(target))
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path / 'model'} is damaged ({error})") from error
    left_out = backbone.left_out(path, description, learnt=model["params"])
    frozen = model["frozen"] | jax.device_put(left_out, device)
    return Stored(path, model["params"], frozen, model["stats"], description)
