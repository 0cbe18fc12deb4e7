"""A checkpoint of a few megabytes: a network without what its pretrained backbone gives anyway."""

from pathlib import Path

import jax
import numpy as np

from seismollm_jax import atomic_files
from seismollm_jax.conversion.network import identical
from seismollm_jax.conversion.report import ConversionError, Report
from seismollm_jax.training import backbone, checkpoint, saved


def write(directory: Path, output: Path, *, source: str | None, report: Report) -> None:
    """Writes the checkpoint `output`, which has all that learnt and names the rest.

    It has no optimiser. Before it is written, the frozen arrays are compared bit for bit with
    those of the backbone that is named; after it, the whole network with what can be read back.

    Args:
        directory: as for `saved.find`.
        output: must not exist.
        source: the backbone, as `backbone.weights` may be; None: the one the network was trained
            with. The environment variable SEISMOLLM_BACKBONE says where it really lies.
        report: gets the facts.

    Raises:
        BackboneError: the backbone gives other arrays, is random, or cannot be had.
        CheckpointError: no checkpoint there, or damaged.
        FileExistsError: `output` is there.
    """
    if output.exists():
        raise FileExistsError(f"{output} exists; choose another --output or remove it")
    stored = saved.load(directory)
    description = dict(stored.description)
    known = description.pop(backbone.ENTRY, {})
    report.facts |= {"source": str(stored.path), "task": description["task"]}
    if stored.frozen:
        config, settings = description["config"], description["settings"]
        source = source or known.get("source") or config["backbone"]["weights"]
        description[backbone.ENTRY] = backbone.entry(
            config, settings, source, stored.params, stored.frozen
        )
    with atomic_files.whole(output) as folder:
        checkpoint.write_network(folder, stored.params, {}, stored.stats, description)
        _compare(stored, saved.load(folder))
    report.facts |= {
        "backbone": description.get(backbone.ENTRY),
        "numbers": sum(leaf.size for leaf in jax.tree.leaves((stored.params, stored.stats))),
        "bytes": sum(file.stat().st_size for file in output.rglob("*") if file.is_file()),
        "output": str(output),
    }


def _compare(stored: saved.Stored, again: saved.Stored) -> None:
    """Whether the network is the one that was to be written."""
    for part in ("params", "frozen", "stats"):
        ours, theirs = getattr(stored, part), getattr(again, part)
        problems = [f"{name}: missing or too many" for name in ours.keys() ^ theirs.keys()]
        problems += [
            f"{name} was not written as it is; disk failing?"
            for name in ours.keys() & theirs.keys()
            if not identical(np.asarray(ours[name]), np.asarray(theirs[name]))
        ]
        if problems:
            raise ConversionError(again.path, problems)
