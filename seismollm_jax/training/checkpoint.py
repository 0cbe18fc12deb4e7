"""Checkpoints on disk. Orbax stays behind this module.

A checkpoint is a directory with three items: `model` (parameters and statistics, flat names),
`train` (step and optimiser), and `description` (JSON: configuration, model settings, preprocessing
contract, split, progress, provenance). Evaluation, prediction and conversion read `model` and
`description` and need no other file.
"""

import contextlib
import dataclasses
import json
import math
import warnings
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from seismollm_jax.models.state import Arrays
from seismollm_jax.training.provenance import provenance as provenance  # part of a description

FORMAT = 1
FOLDER = "checkpoints"  # below the working directory
MONITOR, STEP = "monitor", "step"  # the figure that decides which checkpoint is best, and when


class CheckpointError(ValueError):
    """A checkpoint that is not there, damaged, or made for something else; or cannot be saved."""


class DamagedError(CheckpointError):
    """A checkpoint whose files are not as they were written."""


class Checkpoints:
    """The checkpoints of one working directory: the latest two and the best are kept.

    A checkpoint gets its name when it is complete, so a process that is killed while it saves
    leaves the earlier ones, and scraps that the next one removes.

    Args:
        workdir: checkpoints go into its `checkpoints` folder.
        maximise: whether a larger monitored figure is better.
    """

    def __init__(self, workdir: Path, *, maximise: bool):
        def score(metrics: Mapping[str, float]) -> float:
            return metrics[MONITOR]

        def ranked(metrics: Mapping[str, float]) -> tuple[float, float]:
            # Of equal ones the earlier, which is the one that was an improvement.
            return score(metrics), -metrics[STEP] if maximise else metrics[STEP]

        # BestN takes the largest for best unless reversed; figures are only kept with a best_fn.
        best = BestN(
            get_metric_fn=ranked,
            reverse=not maximise,
            n=1,
            keep_checkpoints_without_metrics=False,  # which no save leaves
        )
        self._worst = -math.inf if maximise else math.inf
        options = ocp.CheckpointManagerOptions(
            preservation_policy=AnyPreservationPolicy([LatestN(2), best]),
            cleanup_tmp_directories=True,
            best_fn=score,
            best_mode="max" if maximise else "min",
        )
        self._manager = ocp.CheckpointManager((workdir / FOLDER).absolute(), options=options)
        self._failed = False

    def save(
        self,
        step: int,
        state: Mapping[str, Any],
        frozen: Arrays,
        description: Mapping[str, Any],
        monitor: float | None,
    ) -> None:
        """Writes the checkpoint of `step`; every process takes part. Returns when it is on disk.

        A `monitor` that is None or not finite never makes it the best one.

        Raises:
            CheckpointError: it could not be written, or there is a later one.
        """
        model = {"params": state["params"], "stats": state["stats"], "frozen": frozen}
        train = {"step": state["step"], "opt": state["opt"]}
        sums = {"model": checksum(model), "train": checksum(train)}
        figure = self._worst if monitor is None or not math.isfinite(monitor) else monitor
        before, folder = self.steps(), self._manager.directory
        try:
            saved = self._manager.save(
                step,
                metrics={MONITOR: figure, STEP: step},
                args=ocp.args.Composite(
                    model=ocp.args.StandardSave(model),
                    train=ocp.args.StandardSave(train),
                    description=ocp.args.JsonSave({"format": FORMAT, "sums": sums, **description}),
                ),
            )
            self._manager.wait_until_finished()
        except (OSError, ValueError, RuntimeError) as error:
            self._failed = True
            intact = f"step {before[-1]} is intact" if before else "there is none before it"
            raise CheckpointError(
                f"the checkpoint of step {step} could not be written to {folder} ({error}); "
                f"{intact}. Once there is room on the disk, the same command continues from there"
            ) from error
        if not saved:
            raise CheckpointError(
                f"step {step} was not saved in {folder}: a later step "
                f"({self._manager.latest_step()}) is there; use a fresh --workdir"
            )

    def latest_description(self) -> dict[str, Any] | None:
        """The JSON item of the latest checkpoint, None if there is none.

        Raises:
            CheckpointError: it is damaged.
        """
        step = self._manager.latest_step()
        return None if step is None else read_description(Path(self._manager.directory) / str(step))

    def restore(self, state: Mapping[str, Any], frozen: Arrays) -> tuple[dict[str, Any], Arrays]:
        """State and frozen parameters of the latest checkpoint, laid out like the arguments.

        Raises:
            CheckpointError: of another network or optimiser.
        """
        step = self._manager.latest_step()

        def abstract(tree: Any) -> Any:
            return jax.tree.map(
                lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree
            )

        model = {"params": state["params"], "stats": state["stats"], "frozen": frozen}
        train = {"step": state["step"], "opt": state["opt"]}
        try:
            items = self._manager.restore(
                step,
                args=ocp.args.Composite(
                    model=ocp.args.StandardRestore(abstract(model)),
                    train=ocp.args.StandardRestore(abstract(train)),
                ),
            )
        except (OSError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"checkpoint {step} in {self._manager.directory} does not fit this configuration "
                f"({error}): take the one it was made with, or use a fresh --workdir"
            ) from error
        restored = items["model"]
        state = {**items["train"], "params": restored["params"], "stats": restored["stats"]}
        return state, restored["frozen"]

    def steps(self) -> list[int]:
        """Steps with a checkpoint."""
        return sorted(self._manager.all_steps())

    def close(self) -> None:
        """Ends background threads."""
        # After a save that failed, Orbax would only raise the same error once more.
        with contextlib.suppress(*(OSError, ValueError, RuntimeError) if self._failed else ()):
            self._manager.close()


def checksum(tree: Any) -> int:
    """A sum over the bytes of all arrays of a tree, in whatever order they come."""
    leaves = jax.tree.leaves(jax.device_get(tree))
    return sum(zlib.crc32(np.ascontiguousarray(leaf).tobytes()) for leaf in leaves) % 2**32


@dataclasses.dataclass(frozen=True)
class Stored:
    """A checkpoint's network, read for use."""

    path: Path
    params: Arrays
    frozen: Arrays
    stats: Arrays
    description: dict[str, Any]


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


def verify(path: Path) -> None:
    """Reads a whole checkpoint, on the process that calls, and compares it with its checksums.

    Raises:
        DamagedError: something is missing or not as it was written.
        CheckpointError: written by a later version.
    """
    sums = read_description(path).get("sums", {})  # converted and older ones may have none
    handler = ocp.PyTreeCheckpointHandler()
    for item in ("model", "train"):
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
    return Stored(path, model["params"], model["frozen"], model["stats"], description)
