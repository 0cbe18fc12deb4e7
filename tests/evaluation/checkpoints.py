"""Checkpoints that several tests evaluate, and what an evaluation wrote of them."""

import json
from pathlib import Path
from typing import Any

from seismollm_jax import tasks
from seismollm_jax.data import catalogue
from seismollm_jax.training import loop
from tests import setups

TRAINED = ("picking", "magnitude")


def make(task: str, data_folder: Path, workdir: Path) -> Path:
    """A checkpoint of a task: trained for two of them, random for the others."""
    changes: dict[str, Any] = {"data.split.by": "row", "data.format": "stead"}
    if task == "picking":
        # So that there are picks, and hits among them.
        changes |= {"options.p_threshold": 0.05, "options.tolerance_s": 3.0}
    config = setups.config(task, data_folder, changes)
    if task in TRAINED:
        loop.run(config, workdir)
    else:
        dataset, needs = catalogue.open_dataset(config["data"]), tasks.get(task).needs
        parts = catalogue.split_for(dataset, config["data"], needs=needs, uses_noise=False)
        data = {"dataset": catalogue.fingerprint(dataset), "split_hash": parts.hash}
        setups.save_random(workdir, config, data)
    return workdir


def summary_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metrics.json").read_text())
