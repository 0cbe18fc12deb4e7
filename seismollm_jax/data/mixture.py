"""Several datasets as one: the file that names them, and their tables joined.

A mixture is described in TOML (https://toml.io), a table for each dataset:

    [stead]
    format = "stead"
    path = "STEAD"
    weight = 3

    [ethz]
    format = "seisbench"
    path = "ethz"
    weight = 1
    split = {by = "column"}

Traces and events get the name of their dataset in front ("ethz/..."), since the names of two
catalogues may be the same. Stations keep theirs: a split by station holds out all records of one.
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import union_categoricals

from seismollm_jax.data import remote
from seismollm_jax.data.records import TABLE_COLUMNS, Dataset, Member, Report
from seismollm_jax.data.seisbench_files import PREFIX

FORMAT = "mixture"
OWN = ("weight", "split")  # beside fields of `data`
NUMBER = (int, float)
SPLIT_FIELDS = {
    **{"by": (str,), "path": (str,), "train": NUMBER, "val": NUMBER},
    **{"seed": (int,), "shuffle": (bool,)},
}
FOLDER_FIELDS = {"before_s": NUMBER, "after_s": NUMBER, "instruments": (str,)}
ALONE = ("row", "event", "column")  # ways of splitting in which catalogues share nothing
FIELDS = ("format", "path", "table", "magnitude_type", "folder", *OWN)


@dataclasses.dataclass(frozen=True)
class Group:
    """Rows of a dataset that are split together, and how.

    Attributes:
        dataset: the one they are looked up in: a member of the mixture, or the whole.
        offset: number of rows of the whole before those of `dataset`.
        rows: in the whole, ascending.
        how: their `data.split`.
    """

    dataset: Dataset
    offset: int
    rows: np.ndarray
    how: Mapping[str, Any]


def read(
    settings: Mapping[str, Any], open_member: Callable[[Mapping[str, Any]], Dataset]
) -> Dataset:
    """The mixture that the file `settings["path"]` describes.

    `settings` is the `data` part of a configuration, which the file's tables change for their
    datasets; `open_member` opens one of these. Paths in the file are relative to its folder.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such description; or what the members' readers raise.
    """
    path = Path(settings["path"])
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is no file; a mixture is described in a TOML file (docs/mixture.md)"
        )
    if settings["table"]:
        raise ValueError(
            f"data.table={settings['table']!r} cannot be meant for all datasets of {path}; give "
            "table in the datasets' own part of the file"
        )
    try:
        described = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a TOML file: {error}") from error
    if not described:
        raise ValueError(f"{path} describes no dataset; add a table [NAME] with format and path")
    members = []
    for name, given in described.items():
        _check(path, name, given)
        weight, split = given.get("weight"), given.get("split")
        fields = {k: v for k, v in given.items() if k not in OWN and k != "folder"}
        folder = {**settings.get("folder", {}), **given.get("folder", {})}
        plain = {"folder": folder, "path": _relative_to(path.parent, given["path"])}
        dataset = open_member({**settings, **fields, **plain})
        if split and "path" in split:
            split = {**split, "path": _relative_to(path.parent, split["path"])}
        members.append(Member(name, dataset, None if weight is None else float(weight), split))
    weighted = [member.name for member in members if member.weight is not None]
    if weighted and len(weighted) < len(members):
        lacking = next(member.name for member in members if member.weight is None)
        raise ValueError(
            f"{path}: [{weighted[0]}] has a weight and [{lacking}] has none; give one to all, or "
            "to none for samples in proportion to the numbers of records"
        )
    return join(path, members)


def join(path: Path, members: list[Member]) -> Dataset:
    """Members as one dataset, in their order; `path` is what messages call it."""
    tables, counts = [], {}
    for number, member in enumerate(members):
        table = member.dataset.table
        columns = {name: table[name] for name in TABLE_COLUMNS}
        columns["address"] = table["address"] if "address" in table else table["trace_name"]
        columns["trace_name"] = f"{member.name}/" + table["trace_name"].astype(object)
        codes = np.full(len(table), number, np.int16)
        source = pd.Categorical.from_codes(codes, pd.Index([m.name for m in members], dtype=object))
        columns["source"] = pd.Series(source)
        events = table["event_id"].cat
        columns["event_id"] = events.rename_categories(
            [f"{member.name}/{e}" for e in events.categories]
        )
        tables.append(columns)
        for text, n in member.dataset.report.counts.items():
            counts[f"{member.name}: {text}"] = n
    joined = {name: _concatenate([table[name] for table in tables]) for name in tables[0]}
    return Dataset(
        name=FORMAT,
        path=path,
        table=pd.DataFrame(joined),
        sampling_rate_hz=max(member.dataset.sampling_rate_hz for member in members),
        report=Report(counts),
        members=tuple(members),
    )


def groups(dataset: Dataset, how: Mapping[str, Any]) -> list[Group]:
    """What is split by itself.

    `how` is the `data.split` of a configuration. Members with a way of their own are, and all are
    in the ways of `ALONE`, so that each has the parts that it has without the others. Stations and
    times are common to catalogues, and a split file given in `how` decides over all rows: then the
    rest is split together.
    """
    rest = np.ones(len(dataset.table), bool)
    found, offset = [], 0
    for member in dataset.members:
        rows = np.arange(offset, offset + len(member.dataset.table))
        own = {**how, **(member.split or {})}
        if how["by"] != "file" and (member.split or own["by"] in ALONE):
            found.append(Group(member.dataset, offset, rows, own))
            rest[rows] = False
        offset += len(rows)
    if rest.any() or not found:
        found.insert(0, Group(dataset, 0, np.flatnonzero(rest), how))
    return found


def shares(dataset: Dataset, rows: np.ndarray) -> list[tuple[np.ndarray, float]] | None:
    """Positions in `rows` of each member's records, and their share of all samples.

    None if nothing is weighted: every record then comes as often as any other. Members without a
    record in `rows` are left out, and the shares add up to 1.
    """
    if not dataset.members or dataset.members[0].weight is None:
        return None
    numbers = dataset.table["source"].cat.codes.to_numpy()[rows]
    places = [(np.flatnonzero(numbers == k), m.weight) for k, m in enumerate(dataset.members)]
    present = [(positions, weight or 0.0) for positions, weight in places if len(positions)]
    total = sum(weight for _, weight in present)
    return [(positions, weight / total) for positions, weight in present]


def weights(dataset: Dataset) -> dict[str, float | None]:
    """Member -> weight; empty if the dataset is no mixture."""
    return {member.name: member.weight for member in dataset.members}


def summary(dataset: Dataset, parts: Mapping[str, np.ndarray]) -> list[str]:
    """A line for each member: its part in the dataset and, if weighted, in the training."""
    if not dataset.members:
        return []
    sources = dataset.table["source"].cat.codes.to_numpy()
    share_of = {
        sources[parts["train"][positions[0]]]: share
        for positions, share in shares(dataset, parts["train"]) or []
    }
    lines = []
    for number, member in enumerate(dataset.members):
        counts = ", ".join(
            f"{name} {np.count_nonzero(sources[rows] == number)}" for name, rows in parts.items()
        )
        drawn = ""
        if number in share_of:
            drawn = f", {100 * share_of[number]:.3g} % of the training's samples"
        lines.append(f"{member.name}: {member.dataset.path}, {counts}{drawn}")
    return lines


def _check(path: Path, name: str, given: Any) -> None:
    """Refuse a table that does not describe a dataset."""
    where = f"{path}: [{name}]"
    if not isinstance(given, dict):
        raise ValueError(f"{path}: {name} stands alone; put it into a table [NAME] of a dataset")
    if unknown := sorted(set(given) - set(FIELDS)):
        raise ValueError(f"{where} has {unknown[0]!r}; it may have {', '.join(FIELDS)}")
    for field in ("format", "path"):
        if not isinstance(given.get(field), str) or not given[field]:
            raise ValueError(f'{where} needs {field} = "...", as data.{field}')
    if given["format"] == FORMAT:
        raise ValueError(f"{where} is a mixture itself; name its datasets here")
    if given["format"] == "builtin":
        raise ValueError(
            f"{where}: write the built-in dataset into a folder first (python -m "
            'seismollm_jax.data synthetic), and name that with format = "stead"'
        )
    for field in ("table", "magnitude_type"):
        if not isinstance(given.get(field, ""), str):
            raise ValueError(f"{where}: {field} is {given[field]!r}; it must be text")
    if "/" in name:
        raise ValueError(f"{where}: the name is put before those of traces, so it may have no '/'")
    weight = given.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < math.inf:
        raise ValueError(f"{where}: weight is {weight!r}; it must be a number above 0")
    for field, known in (("split", SPLIT_FIELDS), ("folder", FOLDER_FIELDS)):
        value = given.get(field, {})
        if not isinstance(value, dict):
            raise ValueError(f"{where}: {field} is {value!r}; it must be a table, {{by = ...}}")
        for key, inner in value.items():
            if key not in known:
                raise ValueError(f"{where}: {field} has {key!r}; it may have {', '.join(known)}")
            # Python takes True for a number.
            if type(inner) not in known[key]:
                raise ValueError(
                    f"{where}: {field}.{key} is {inner!r}, which is not of the type of "
                    f"data.{field}.{key}"
                )


def _relative_to(folder: Path, path: str) -> str:
    return path if remote.is_remote(path) or path.startswith(PREFIX) else str(folder / path)


def _concatenate(columns: list[pd.Series]) -> pd.Series:
    if all(isinstance(column.dtype, pd.CategoricalDtype) for column in columns):
        # Of one type: those of an empty column, and of readers, differ.
        texts = [[str(category) for category in column.cat.categories] for column in columns]
        objects = [pd.Index(text, dtype=object) for text in texts]
        same = [c.cat.set_categories(o, rename=True) for c, o in zip(columns, objects, strict=True)]
        return pd.Series(union_categoricals(same))
    return pd.concat(columns, ignore_index=True)
