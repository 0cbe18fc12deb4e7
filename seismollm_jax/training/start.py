"""How a training run begins: its first weights and its checks."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from seismollm_jax import parallel
from seismollm_jax.data import catalogue, mixture, split_files, splits
from seismollm_jax.data.records import Dataset
from seismollm_jax.experiment import Experiment
from seismollm_jax.models.state import key as name_of
from seismollm_jax.training.faults import CHOICES
from seismollm_jax.training.provenance import provenance
from seismollm_jax.training.repair import newest
from seismollm_jax.training.saved import CheckpointError, find, load, read_description

HELD_OUT = ("val", "test")
STATISTICS = {
    "batch": "of the batch",
    "stored": "stored with the weights, left as they are",
}
"""What batch norms normalise by in training, by the values of `train.batch_norm`."""
EARLIER = {"batch_norm": "batch"}  # what runs did before there was a setting
STANDING = {
    "the split of the data": "split_hash",
    "the numbers of records": "records",
    "the weights of the mixture": "mixture",
    "the order of the training records": "order",
}
"""What may not change in a run -> field of its description."""


def first_weights(
    experiment: Experiment,
    state: dict[str, Any],
    frozen: dict[str, Any],
) -> dict[str, Any]:
    """Lays the weights a new run starts from over the random ones; says where they come from.

    Raises:
        CheckpointError: `start_from` is another network than the configured one, or was trained
            on other input.
        ValueError: stored statistics are asked for, and none are stored.
    """
    config = experiment.config
    trees = (state["params"], frozen, state["stats"])
    if config["start_from"]:
        stored = load(config["start_from"])
        arrays = {
            name: np.asarray(leaf)
            for part in (stored.params, stored.frozen, stored.stats)
            for name, leaf in part.items()
        }
        shapes = {name: leaf.shape for tree in trees for name, leaf in tree.items()}
        if shapes != {name: leaf.shape for name, leaf in arrays.items()}:
            raise CheckpointError(
                f"start_from={config['start_from']}: the network there ({stored.path}) has other "
                "arrays or sizes than this configuration asks for; use the task, the model and "
                "its sizes as they are in its config.json"
            )
        theirs, ours = stored.description["contract"], experiment.contract()
        for name in ("sampling_rate_hz", "component_order", "normalisation", "labels"):
            if theirs[name] != ours[name]:
                raise CheckpointError(
                    f"start_from={config['start_from']} was trained with {name} {theirs[name]!r}; "
                    f"this configuration has {ours[name]!r}: make them equal"
                )
        source = {"source": f"checkpoint {stored.path}", "sha256": None}
    elif config["train"]["batch_norm"] == "stored":
        raise ValueError(
            "train.batch_norm='stored' keeps the statistics of a trained network, and this run "
            "begins without one: give start_from, or set it to 'batch'"
        )
    else:
        weights = experiment.family.read_pretrained(config, experiment.settings)
        arrays = {name_of(path): value for path, value in weights.arrays.items()}
        source = {"source": weights.source, "sha256": weights.sha256}
    for tree in trees:
        for name in tree.keys() & arrays.keys():
            tree[name] = parallel.place(arrays[name], tree[name].sharding)
    return source


def seen_before(config: Mapping[str, Any], dataset: Dataset, parts: catalogue.Parts) -> list[str]:
    """What to say of traces that `start_from` was trained on and that this run validates or tests.

    Nothing if there are none, or if the run that it comes from left no split file to tell. Names
    are compared without those of a mixture's members, so that a member is recognised alone.
    """
    if not config["start_from"]:
        return []
    checkpoint = find(config["start_from"])
    file = checkpoint.parents[1] / split_files.NAME
    if not file.is_file():
        return []
    before = read_description(checkpoint).get("mixture") or {}
    trained = {_own_name(name, before) for name in split_files.read(file).names["train"]}
    now = mixture.weights(dataset)
    names = dataset.table["trace_name"].to_numpy(object)
    seen = {
        part: sum(_own_name(name, now) in trained for name in names[parts.rows[part]])
        for part in HELD_OUT
    }
    if not any(seen.values()):
        return []
    counts = ", ".join(f"{count} of {part}" for part, count in seen.items())
    remedy = f"; data.split.by=file with data.split.path={file} keeps them apart"
    return [
        "the network of start_from was trained on traces with the names of some that are held out "
        f"here ({counts}), so scores come out too good"
        + (remedy if before.keys() == now.keys() else "")
    ]


def _own_name(name: str, members: Collection[str]) -> str:
    """The trace name that a record has in its own dataset."""
    member, slash, own = name.partition("/")
    return own if slash and member in members else name


def check_numbers(config: Mapping[str, Any]) -> None:
    """Refuses counts and choices that make no sense.

    Raises:
        ValueError: naming the field.
    """
    for part, name, least in (
        ("train", "epochs", 1),
        ("train", "steps", 0),
        ("train", "patience", 0),
        ("train", "log_every", 1),
        ("train", "save_every", 0),
        ("train", "accumulate", 1),
        ("train", "pictures", 0),
        ("train", "peak_tflops", 0),
        ("mesh", "fsdp", 1),
        ("data", "window", 1),
        ("data", "workers", 0),
        ("data", "threads", 1),
    ):
        if config[part][name] < least:
            raise ValueError(f"{part}.{name}={config[part][name]} must be at least {least}")
    if not 0 <= (average := config["optim"]["average"]) < 1:
        raise ValueError(f"optim.average={average} must be from 0 (none) to below 1")
    for name, choices in (("nonfinite", CHOICES), ("batch_norm", STATISTICS)):
        if (value := config["train"][name]) not in choices:
            raise ValueError(f"train.{name}={value!r} is not one of {', '.join(choices)}")


def known_settings(config: Mapping[str, Any], workdir: Path) -> Mapping[str, Any] | None:
    """Model settings of the checkpoint that this run begins with, if it begins with one.

    They spare it the files of the pretrained weights, which are all in the checkpoint.

    Raises:
        CheckpointError: it is a network of another family.
    """
    latest = newest(workdir)
    if latest is None and config["start_from"]:
        latest = find(config["start_from"])
    if latest is None:
        return None
    found = read_description(latest)
    if (theirs := found["config"]["model"]) != config["model"]:
        raise CheckpointError(
            f"{latest} is a network with model={theirs!r}; this configuration has "
            f"{config['model']!r}: make them equal, or use a fresh --workdir without start_from"
        )
    return found["settings"]


def check_parts(parts: catalogue.Parts, dataset: Dataset, how: Mapping[str, Any]) -> None:
    """Refuses to train without records to train on or to validate with.

    Args:
        parts: the split.
        dataset: what is split.
        how: the `data.split` part of the configuration.

    Raises:
        ValueError: saying where the records should have come from.
    """
    for name, size in parts.sizes().items():
        if name in ("train", "val") and not size:
            raise ValueError(
                f"the {name} part of {dataset.path} is empty, so this split serves evaluation "
                f"only; data.split is {splits.how_made(how)}: "
                + (
                    f"raise {name}"
                    if name in splits.WAYS[how["by"]]
                    else "take another way, such as by=event"
                )
            )


def check_continues(
    earlier: Mapping[str, Any],
    experiment: Experiment,
    standing: Mapping[str, Any],
) -> None:
    """Refuses to continue a run as another one.

    What may change: where the data lie, how they are loaded, the learning rates and how long to
    train. A network converted from elsewhere does not say on which split, with which seed or with
    which batches it was trained, so those are not compared for it.

    Args:
        earlier: description of the checkpoint.
        experiment: of this run.
        standing: `description` of this run.

    Raises:
        ValueError: naming what differs.
    """
    before, now = earlier["config"], experiment.config
    pairs = {
        "task": (earlier["task"], experiment.task.name),
        "the model": (earlier["settings"], _as_json(experiment.settings)),
        "the input": (earlier["contract"], _as_json(experiment.contract())),
        "optim.name": (before["optim"]["name"], now["optim"]["name"]),
    }
    if earlier["split_hash"] is not None:
        for name, field in STANDING.items():
            if earlier.get(field) is not None:  # earlier versions left some out
                pairs[name] = (earlier[field], standing[field])
        for name in ("seed", "augment", "options"):
            pairs[name] = (before[name], _as_json(now[name]))
        known = before["options"].keys()  # earlier versions had fewer
        pairs["options"] = (before["options"], {k: pairs["options"][1].get(k) for k in known})
        for part, name in (
            ("train", "batch_size"),
            ("train", "shuffle"),
            ("train", "accumulate"),
            ("train", "batch_norm"),
            ("optim", "average"),
        ):
            old = before[part].get(name, EARLIER.get(name))  # earlier versions lacked some
            if old is not None:
                pairs[f"{part}.{name}"] = (old, now[part][name])
    for name, (old, new) in pairs.items():
        if old != new:
            raise ValueError(
                f"the run in this --workdir began with {name} = {_shown(old, new)}; this "
                f"configuration has {_shown(new, old)}: restore it, or use a fresh --workdir"
            )


def _as_json(value: Any) -> Any:
    """The value as it comes back from a checkpoint: lists for tuples."""
    return json.loads(json.dumps(value))


def _shown(value: Any, other: Any) -> Any:
    """Of two tables only the fields that differ."""
    if isinstance(value, dict) and isinstance(other, dict):
        return {k: v for k, v in value.items() if other.get(k) != v}
    return value


def description(experiment: Experiment, dataset: Dataset, parts: catalogue.Parts) -> dict[str, Any]:
    """What every checkpoint of a run says alike, but for where its first weights come from.

    Args:
        experiment: of the run.
        dataset: of the run.
        parts: the split.
    """
    train = parts.rows["train"]
    return {
        "task": experiment.task.name,
        "config": experiment.config,
        "settings": experiment.settings,
        "contract": experiment.contract(),
        "split_hash": parts.hash,
        "records": parts.sizes(),
        "dataset": catalogue.fingerprint(dataset),
        "order": catalogue.fingerprint(dataset, train),
        "labelled": catalogue.labelled_records(dataset, train, experiment.task.needs),
        "mixture": mixture.weights(dataset),
        "provenance": provenance(),
    }


def write_split(
    workdir: Path,
    dataset: Dataset,
    fingerprint: str,
    parts: catalogue.Parts,
    how: Mapping[str, Any],
) -> None:
    """Writes the split of a run into its working directory, for other runs and other people.

    Args:
        workdir: gets `split.csv.gz`.
        dataset: what is split.
        fingerprint: of its catalogue.
        parts: the split.
        how: the `data.split` part of the configuration.
    """
    about = {
        "made": splits.how_made(how),
        "dataset": {
            "name": dataset.name,
            "traces": len(dataset.table),
            "fingerprint": fingerprint,
        },
    }
    names = dataset.table["trace_name"].to_numpy(object)
    split_files.write(workdir / split_files.NAME, parts.split, names, about)
