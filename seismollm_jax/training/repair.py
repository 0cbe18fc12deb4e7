"""Checkpoints that are damaged when a run continues: set aside, so that the one before serves."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seismollm_jax.training.saved import FOLDER, CheckpointError, DamagedError, verify

PREFIX = "damaged-"  # of folders; names that are no numbers are no checkpoints


def steps_in(folder: Path) -> list[int]:
    """Steps of the folders in it that are named like checkpoints, in order."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return sorted(int(name) for name in names if name.isdigit())


def newest(workdir: Path) -> Path | None:
    """The newest checkpoint of a working directory, whole or not; None if there is none."""
    steps = steps_in(workdir / FOLDER)
    return workdir / FOLDER / str(steps[-1]) if steps else None


def set_damaged_aside(workdir: Path) -> list[str]:
    """Renames damaged checkpoints that are newer than the newest whole one.

    Returns:
        A line for each, that says what is wrong with it and where it is now.

    Raises:
        CheckpointError: there are checkpoints and none of them is whole, in which case nothing is
            renamed; or the newest was written by a later version.
    """
    folder = workdir / FOLDER
    damaged: dict[int, str] = {}
    for step in reversed(steps_in(folder)):
        try:
            verify(folder / str(step))
            break
        except DamagedError as error:
            damaged[step] = " ".join(str(error).split())
    else:
        if damaged:
            raise CheckpointError(
                f"no checkpoint in {folder} is whole: "
                + "; ".join(f"step {step}: {reason}" for step, reason in damaged.items())
                + ". To begin anew, move that folder away or use a fresh --workdir"
            )
    lines = []
    for done, reason in damaged.items():
        number, aside = 2, folder / f"{PREFIX}{done}"
        while aside.exists():
            number, aside = number + 1, folder / f"{PREFIX}{done}-{number}"
        (folder / str(done)).rename(aside)
        lines.append(
            f"WARNING: the checkpoint of step {done} is damaged and was set aside as {aside}; "
            f"falling back to step {step} ({reason})"
        )
    return lines


def without_lost_best(
    progress: Mapping[str, Any], steps: Sequence[int]
) -> tuple[dict[str, Any], list[str]]:
    """Progress that names a best checkpoint only if it is there, and a line if it is not.

    When a new best one is damaged, the best one before it is gone already.

    Args:
        progress: of the checkpoint that a run continues from.
        steps: of all checkpoints.
    """
    best = progress["best_step"]
    if best is None or best in steps:
        return dict(progress), []
    line = f"WARNING: the best checkpoint, step {best}, is gone; the next validation is the best"
    return {**progress, "best": None, "best_step": None}, [line]
