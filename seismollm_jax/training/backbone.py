"""Frozen arrays that a checkpoint leaves out: named, had back from the backbone, checked by hash.

The description of such a checkpoint says under `backbone` where they come from (`source`, a name on
the hub or a folder), their SHA-256, their number and how many numbers they hold.
"""

import hashlib
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from seismollm_jax import models, parallel
from seismollm_jax.models.state import key as name_of

VARIABLE = "SEISMOLLM_BACKBONE"  # environment variable: where the backbone lies on this machine
ENTRY = "backbone"  # of a description
SHOWN = 10  # arrays in a message


class BackboneError(ValueError):
    """A backbone that cannot be had, or is not the one that a checkpoint was made on."""


def sha256(arrays: Mapping[str, np.ndarray]) -> str:
    """Hash of names, types, shapes and values; the same in whatever order and layout they come."""
    digest = hashlib.sha256()
    for name, value in sorted(arrays.items()):
        digest.update(f"{name} {value.dtype.name} {value.shape}\n".encode())
        little = np.ascontiguousarray(value, value.dtype.newbyteorder("<"))
        digest.update(little.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def read(
    config: Mapping[str, Any],
    settings: Mapping[str, Any],
    source: str,
    learnt: Collection[str],
) -> dict[str, np.ndarray]:
    """The arrays that the backbone `source` gives to a network and that do not learn.

    Args:
        config: of the experiment.
        settings: of the network.
        source: what `backbone.weights` may be; the environment variable SEISMOLLM_BACKBONE says
            where it really is.
        learnt: names of the arrays that learn.

    Raises:
        BackboneError: random, missing, damaged, or of other sizes.
    """
    where = os.environ.get(VARIABLE) or source
    config = {**config, "backbone": {**config["backbone"], "weights": where}}
    try:
        found = models.get(config["model"]).read_pretrained(config, settings)
    except (OSError, ValueError, ImportError) as error:
        raise BackboneError(f"the backbone {_named(source)} cannot be had: {error}") from error
    if found.sha256 is None:
        raise BackboneError(
            f"the backbone {_named(source)} is {found.source}: they are nowhere else, so that "
            "nothing can be left out of the checkpoint"
        )
    arrays = {name_of(path): np.asarray(value) for path, value in found.arrays.items()}
    return {name: value for name, value in arrays.items() if name not in learnt}


def entry(
    config: Mapping[str, Any],
    settings: Mapping[str, Any],
    source: str,
    learnt: Collection[str],
    frozen: Mapping[str, Any],
) -> dict[str, Any] | None:
    """What a description says of frozen arrays that are left out; None if nothing is frozen.

    Args:
        config: as for `read`.
        settings: as for `read`.
        source: as for `read`; a folder is kept as an absolute path.
        learnt: as for `read`.
        frozen: the arrays, on the host or on devices of all processes, all of which must call this.

    Raises:
        BackboneError: the backbone does not give these arrays bit for bit; or as for `read`.
    """
    if not frozen:
        return None
    path = Path(source).expanduser()
    source = str(path.absolute()) if path.is_dir() else source
    arrays = read(config, settings, source, learnt)
    problems = [f"{name}: not in the network" for name in arrays if name not in frozen]
    for name, leaf in frozen.items():
        ours, theirs = parallel.whole(leaf), arrays.get(name)
        if theirs is None:
            problems.append(f"{name}: not in the backbone")
        elif (ours.shape, ours.dtype) != (theirs.shape, theirs.dtype):
            problems.append(f"{name}: {ours.dtype}{ours.shape} and {theirs.dtype}{theirs.shape}")
        elif ours.tobytes() != theirs.tobytes():
            problems.append(f"{name}: other values")
    if problems:
        raise BackboneError(
            f"the frozen arrays are not those of the backbone {_named(source)}, so that they "
            f"cannot be left out; {len(problems)} differ:\n  " + "\n  ".join(problems[:SHOWN])
        )
    return {
        "source": source,
        "sha256": sha256(arrays),
        "arrays": len(arrays),
        "numbers": sum(value.size for value in arrays.values()),
    }


def left_out(
    path: Path, description: Mapping[str, Any], learnt: Collection[str]
) -> dict[str, np.ndarray]:
    """The arrays that the checkpoint at `path` leaves out; none if it is complete.

    Args:
        path: of the checkpoint, for messages.
        description: of the checkpoint.
        learnt: names of the arrays that learn.

    Raises:
        BackboneError: the backbone cannot be had, or is another one.
    """
    wanted = description.get(ENTRY)
    if wanted is None:
        return {}
    source, remedy = wanted["source"], f"set {VARIABLE} to the folder or hub name of the right one"
    try:
        arrays = read(description["config"], description["settings"], source, learnt)
    except BackboneError as error:
        raise BackboneError(
            f"{path} leaves out the {wanted['arrays']} frozen arrays of its backbone, SHA-256 "
            f"{wanted['sha256']}, but {error}. To take it from elsewhere, {remedy}"
        ) from error
    if (found := sha256(arrays)) != wanted["sha256"]:
        raise BackboneError(
            f"{path} was trained on frozen arrays with SHA-256 {wanted['sha256']}; those of "
            f"{_named(source)} have {found}: it is another backbone, or was changed since; {remedy}"
        )
    return arrays


def _named(source: str) -> str:
    where = os.environ.get(VARIABLE)
    return f"{source!r} (taken from {VARIABLE}={where})" if where else repr(source)
