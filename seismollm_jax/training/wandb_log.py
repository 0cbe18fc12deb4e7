"""The figures and pictures of a run on Weights & Biases, for those who installed it."""

import importlib
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE = "wandb_run.txt"  # in the working directory; keeps the id, so that a run continues as itself


class WandbLog:
    """One run of a W&B project.

    Its steps are not W&B's own, which only ever grow: a run that continues from a checkpoint logs
    the steps after it once more. They are a figure of their own, `step`, over which all is drawn.

    Args:
        workdir: its name is that of the run; W&B's files go into its `wandb` folder.
        project: the project, or ENTITY/PROJECT.
        config: the configuration.

    Raises:
        ImportError: the package is not installed.
    """

    def __init__(self, workdir: Path, project: str, config: Mapping[str, Any]):
        wandb = load()
        entity, _, name = project.rpartition("/")
        kept = workdir / FILE
        known = kept.read_text().strip() if kept.exists() else None
        self._wandb = wandb
        self._run = wandb.init(
            project=name,
            entity=entity or None,
            name=workdir.resolve().name,
            id=known,
            resume="allow",
            dir=str(workdir),
            config=dict(config),
        )
        if known is None:
            kept.write_text(f"{self._run.id}\n")
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def figures(self, step: int, part: str, figures: Mapping[str, float]) -> None:
        """Logs figures; those that do not exist are left out."""
        found = {f"{part}/{k}": v for k, v in figures.items() if math.isfinite(v)}
        self._run.log({"step": step, **found})

    def picture(self, step: int, name: str, png: bytes) -> None:
        """Logs a picture."""
        from PIL import Image

        image = Image.open(io.BytesIO(png))
        self._run.log({"step": step, name: self._wandb.Image(image)})

    def close(self, *, failed: bool) -> None:
        """Ends the run, and waits until everything is sent."""
        self._run.finish(exit_code=1 if failed else 0)


def load() -> Any:
    """The package.

    Raises:
        ImportError: it is not installed; says how to do that.
    """
    try:
        return importlib.import_module("wandb")
    except ImportError as error:
        raise ImportError(
            "train.wandb asks for Weights & Biases, which is not installed: "
            "pip install -e '.[wandb]', or leave train.wandb empty"
        ) from error
