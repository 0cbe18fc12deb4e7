"""Checkpoints on disk. Orbax stays behind this module.

A checkpoint is a directory with three items: `model` (parameters and statistics, flat names),
`train` (step and optimiser), and `description` (JSON: configuration, model settings, preprocessing
contract, split, progress, provenance). Evaluation, prediction and conversion read `model` and
`description` and need no other file.
"""

import contextlib
import dataclasses
import importlib.metadata
import json
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from seismollm_jax.models.state import Arrays

FORMAT = 1
FOLDER = "checkpoints"  # below the working directory
MONITOR, STEP = "monitor", "step"  # the figure that decides which checkpoint is best, and when
PACKAGES = ("seismollm_jax", "jax", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


class CheckpointError(ValueError):
    """A checkpoint that is not there, damaged, or made for something else."""


def provenance() -> dict[str, Any]:
    """When, with which versions, from which commit and by which command."""
    root = Path(__file__).resolve().parents[2]
    commit = ""
    if (root / ".git").exists():
        with contextlib.suppress(OSError):  # git may not be installed
            result = subprocess.run(
                ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"],
                capture_output=True,
                text=True,
                check=False,
            )
            commit = result.stdout.strip()
    return {
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "commit": commit,
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "devices": f"{jax.device_count()} {jax.devices()[0].device_kind}",
    }


class Checkpoints:
    """The checkpoints of one working directory: the latest and the best are kept.

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
        best = BestN(get_metric_fn=ranked, reverse=not maximise, n=1)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=AnyPreservationPolicy([LatestN(1), best]),
            best_fn=score,
            best_mode="max" if maximise else "min",
        )
        self._manager = ocp.CheckpointManager((workdir / FOLDER).absolute(), options=options)

    def save(
        self,
        step: int,
        state: Mapping[str, Any],
        frozen: Arrays,
        description: Mapping[str, Any],
        monitor: float,
    ) -> None:
        """Writes the checkpoint of `step`; every process takes part. Returns when it is on disk."""
        model = {"params": state["params"], "stats": state["stats"], "frozen": frozen}
        saved = self._manager.save(
            step,
            metrics={MONITOR: monitor, STEP: step},
            args=ocp.args.Composite(
                model=ocp.args.StandardSave(model),
                train=ocp.args.StandardSave({"step": state["step"], "opt": state["opt"]}),
                description=ocp.args.JsonSave({"format": FORMAT, **description}),
            ),
        )
        self._manager.wait_until_finished()
        if not saved:
            raise CheckpointError(
                f"step {step} was not saved in {self._manager.directory}: a later step "
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
            CheckpointError: damaged, or of another network.
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
                f"checkpoint {step} in {self._manager.directory} is damaged or does not fit this "
                f"configuration ({error}); resume with the configuration it was made with, "
                "remove that checkpoint to fall back on an earlier one, or use a fresh --workdir"
            ) from error
        restored = items["model"]
        state = {**items["train"], "params": restored["params"], "stats": restored["stats"]}
        return state, restored["frozen"]

    def steps(self) -> list[int]:
        """Steps with a checkpoint."""
        return sorted(self._manager.all_steps())

    def close(self) -> None:
        """Ends background threads."""
        self._manager.close()


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
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{file} cannot be read ({error}): the checkpoint is damaged"
        ) from None
    if description.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} has checkpoint format {description.get('format')}; this version reads "
            f"{FORMAT}: use the seismollm_jax version that wrote it "
            f"({description.get('provenance', {}).get('versions', {}).get('seismollm_jax', '?')})"
        )
    return description


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
