"""Checkpoints on disk: writing and keeping them. Orbax stays behind this module and `saved`.

A checkpoint is a directory with three items: `model` (parameters and statistics, flat names),
`train` (step and optimiser), and `description` (JSON: configuration, model settings, preprocessing
contract, split, progress, provenance). Of a run with averaged weights, these are in `model`, and
those that go on learning in `train`. Evaluation, prediction and conversion read `model` and
`description` and need no other file.
"""

import contextlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from seismollm_jax import parallel
from seismollm_jax.models.state import Arrays
from seismollm_jax.training import backbone
from seismollm_jax.training.backbone import ENTRY
from seismollm_jax.training.saved import (
    FOLDER,
    FORMAT,
    CheckpointError,
    checksum,
    read_description,
)
from seismollm_jax.training.step import evaluated

MONITOR, STEP = "monitor", "step"  # the figure that decides which checkpoint is best, and when


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

        A `monitor` that is None or not finite never makes it the best one. Frozen arrays that the
        description names as those of a backbone are left out.

        Raises:
            CheckpointError: it could not be written, or there is a later one.
        """
        model, train = _items(state, {} if description.get(ENTRY) else frozen)
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
            BackboneError: it leaves out what comes from a backbone, and that cannot be had.
        """
        step, about = self._manager.latest_step(), self.latest_description() or {}
        path = Path(self._manager.directory) / str(step)
        left_out = backbone.left_out(path, about, learnt=state["params"])

        def abstract(tree: Any) -> Any:
            return jax.tree.map(
                lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree
            )

        stored = {name: leaf for name, leaf in frozen.items() if name not in left_out}
        model, train = _items(state, stored)
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
        network = dict(items["model"])
        rest = {n: parallel.place(v, frozen[n].sharding) for n, v in left_out.items()}
        frozen = network.pop("frozen") | rest
        average = {"average": network} if "average" in state else {}
        return {**network, **average, **items["train"]}, frozen

    def steps(self) -> list[int]:
        """Steps with a checkpoint."""
        return sorted(self._manager.all_steps())

    def close(self) -> None:
        """Ends background threads."""
        # After a save that failed, Orbax would only raise the same error once more.
        with contextlib.suppress(*(OSError, ValueError, RuntimeError) if self._failed else ()):
            self._manager.close()


def write_network(
    folder: Path, params: Arrays, frozen: Arrays, stats: Arrays, description: Mapping[str, Any]
) -> None:
    """Writes one checkpoint without an optimiser, to be used and not to be continued.

    Args:
        folder: the checkpoint itself, not a working directory; must not exist.
        params: as in `saved.Stored`.
        frozen: the same; those that a backbone gives may be left out if the description says so.
        stats: the same.
        description: the same; format and checksums are added.
    """
    model = {"params": params, "stats": stats, "frozen": frozen}
    description = {**description, "format": FORMAT, "sums": {"model": checksum(model)}}
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        checkpointer.save(
            folder.absolute(),
            args=ocp.args.Composite(
                model=ocp.args.StandardSave(model), description=ocp.args.JsonSave(description)
            ),
        )


def _items(state: Mapping[str, Any], frozen: Arrays) -> tuple[dict[str, Any], dict[str, Any]]:
    """The `model` and `train` items: what is evaluated, and what else goes on learning."""
    params, stats = evaluated(state)
    train = {"step": state["step"], "opt": state["opt"]}
    if "average" in state:
        train |= {"params": state["params"], "stats": state["stats"]}
    return {"params": params, "stats": stats, "frozen": frozen}, train
