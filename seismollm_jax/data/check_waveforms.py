"""Reads waveforms and looks for those that are broken, dead, flat, clipped or there twice."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from seismollm_jax.data.check_findings import ERROR, NOTE, WARNING, Finding, listed, of_rows
from seismollm_jax.data.check_onsets import ONSETS, measure_onsets
from seismollm_jax.data.check_table import files_of, spread, stores
from seismollm_jax.data.records import COMPONENTS, Dataset
from seismollm_jax.data.sources import BadTrace, WaveformSource, component_columns

SAMPLE = {"streams": 1000}  # traces read unless told; a core reads some tens a second of these
COMMON_SAMPLE = 5000
OPEN_FILES = 64
FLAT_S = 1.0  # equal samples for so long are no ground motion
CLIPPED_SAMPLES, CLIPPED_RUN, CLIPPED_VALUES = 8, 4, 100

MEASURES = np.dtype(
    [
        ("row", np.int64),
        ("samples", np.int32),
        ("dead", np.bool_, 3),  # Z, N, E; a component that is not there is not dead
        ("same", np.bool_),  # two components are equal
        ("flat_s", np.float32),
        ("flat_at", np.int32),
        ("flat_inside", np.bool_),  # not at an end of the trace
        ("clipped", np.int32),  # samples at a ceiling
        ("hash", np.uint64),
        *ONSETS,
    ]
)


@dataclass
class Waveforms:
    """What was found in the waveforms that were read.

    Attributes:
        measures: one `MEASURES` for each trace that could be read.
        broken: row -> why it could not be read.
        wanted: how many were to be read; `why` of them and not of all.
    """

    measures: np.ndarray
    broken: dict[int, str]
    wanted: int
    why: str = ""
    summary: dict[str, Any] = field(default_factory=dict)


def chosen_rows(dataset: Dataset, wanted: int | None) -> tuple[np.ndarray, str]:
    """Rows to read, spread over the table.

    One of each file is among them as far as half of them allow. `wanted` is a number of traces, or
    None for a number that takes about a minute at most, of which the members of a mixture have
    equal shares. The second result says why it is that number.
    """
    files = files_of(dataset)[0]
    everything = np.arange(len(files))
    if wanted is not None:
        return _spread(everything, files, wanted), ""
    datasets, store_of = stores(dataset)
    far = [store.storage == "arrayrecord" and bool(store.inner_path) for store in datasets]
    found, reasons = [everything[:0]], []
    for number, store in enumerate(datasets):
        rows = everything[store_of == number]
        if far[number]:
            why = "each shard would have to be fetched first"
        else:
            limit = SAMPLE.get(store.storage, COMMON_SAMPLE) // far.count(False)
            why = "a sample spread over the table" if limit < len(rows) else ""
            found.append(_spread(rows, files, limit))
        if why and dataset.members:
            why = f"{dataset.members[number].name}: {why}"
        reasons += [why] if why else []
    return np.concatenate(found), "; ".join(reasons)


def _spread(rows: np.ndarray, files: np.ndarray, wanted: int) -> np.ndarray:
    """So many of some rows, ascending; `files` has the number of each row's file."""
    if wanted >= len(rows):
        return rows
    first = np.sort(np.unique(files[rows], return_index=True)[1])[: wanted // 2]
    others = np.delete(np.arange(len(rows)), first)
    others = others[np.linspace(0, len(others) - 1, wanted - len(first)).astype(np.int64)]
    return rows[np.sort(np.concatenate([first, others]))]


def read(
    dataset: Dataset,
    wanted: int | None,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> Waveforms:
    """Read and measure waveforms; `progress` is told how many of how many are done."""
    rows, why = chosen_rows(dataset, wanted)
    measures = np.zeros(len(rows), MEASURES)
    broken: dict[int, str] = {}
    if not len(rows):
        return Waveforms(measures, broken, 0, why)
    source = WaveformSource(dataset, rows, max_open_files=OPEN_FILES)
    table = dataset.table.iloc[rows]
    p, s = (table[name].to_numpy(np.float64) for name in ("p_sample", "s_sample"))
    rates = table["sampling_rate_hz"].to_numpy(np.float64)
    azimuths = table["back_azimuth_deg"].to_numpy(np.float64)
    orders = table["component_order"].astype(str).to_numpy()
    for i, row in enumerate(rows.tolist()):
        progress(i, len(rows))
        try:
            waveform = source.waveform(i)
        except BadTrace as error:
            broken[row] = error.reason
            continue
        except Exception as error:  # a damaged file makes its library raise anything
            broken[row] = f"{type(error).__name__}: {error}"
            continue
        present = np.array(component_columns(orders[i])) >= 0
        entry = measures[i]
        entry["row"] = row
        measure(entry, waveform, present, rates[i])
        if present.all() and not entry["dead"].any():
            measure_onsets(entry, waveform, rates[i], p[i], s[i], azimuths[i])
        else:
            measure_onsets(entry, None, rates[i], p[i], s[i], azimuths[i])
    progress(len(rows), len(rows))
    good = ~np.isin(rows, list(broken))
    return Waveforms(measures[good], broken, len(rows), why)


def measure(entry: np.void, waveform: np.ndarray, present: np.ndarray, rate_hz: float) -> None:
    """Fill in what does not depend on arrivals. `waveform` is (samples, 3), Z, N, E."""
    entry["samples"] = len(waveform)
    low, high = waveform.min(axis=0), waveform.max(axis=0)
    dead = (low == high) & present
    entry["dead"] = dead
    digest = hashlib.blake2b(waveform.tobytes(), digest_size=8).digest()
    entry["hash"] = np.frombuffer(digest, np.uint64)[0]
    alive = np.flatnonzero(present & ~dead)
    pairs = [(a, b) for a in alive for b in alive if a < b]
    entry["same"] = any(np.array_equal(waveform[:, a], waveform[:, b]) for a, b in pairs)
    for component in alive:
        values = waveform[:, component]
        begins, lengths = _runs(values)
        if not len(lengths):
            continue
        longest = int(lengths.argmax())
        if lengths[longest] / rate_hz > entry["flat_s"]:
            entry["flat_s"], entry["flat_at"] = lengths[longest] / rate_hz, begins[longest]
            end = begins[longest] + lengths[longest]
            entry["flat_inside"] = begins[longest] > 0 and end < len(values)
        inside = (begins > 0) & (begins + lengths < len(values))  # no padding
        for extreme in (low[component], high[component]):
            here = lengths[inside & (values[begins] == extreme)]
            if here.max(initial=0) < CLIPPED_RUN or here.sum() < CLIPPED_SAMPLES:
                continue
            # Weak noise of a few counts is at its ceiling for long as well.
            if len(np.unique(values)) >= CLIPPED_VALUES:
                entry["clipped"] = max(int(here.sum()), int(entry["clipped"]))


def _runs(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Begin and length of the runs of equal samples, two or more."""
    same = np.empty(len(values) + 1, np.int8)
    same[0] = same[-1] = 0
    same[1:-1] = values[1:] == values[:-1]
    edges = np.flatnonzero(np.diff(same))
    return edges[::2], edges[1::2] - edges[::2] + 1


def waveform_findings(dataset: Dataset, read: Waveforms) -> list[Finding]:
    """Problems of single traces, and of pairs of them."""
    table, measures = dataset.table, read.measures
    rows = measures["row"]
    found = _broken(dataset, read)

    names = np.array(list(COMPONENTS))
    dead = measures["dead"].any(axis=1)
    found += of_rows(
        table,
        rows[dead],
        WARNING,
        "dead_component",
        "a component is constant throughout",
        "A component that was not recorded is better left out of the component order; traces "
        "without any motion should go.",
        ("component_order",),
        {"dead": np.array(["".join(names[mask]) for mask in measures["dead"][dead]], object)},
    )
    found += of_rows(
        table,
        rows[measures["same"]],
        WARNING,
        "equal_components",
        "two components are equal sample by sample",
        "Make sure that each is what it is called; one was copied into the other.",
        ("component_order",),
    )
    for inside, level, name, text, remedy in (
        (
            True, WARNING, "flat_part", f"flat for {FLAT_S:g} s or more inside the trace",
            "A gap that was filled, or a failing digitiser. Picks beside it may be of its edges.",
        ),
        (
            False, NOTE, "padded", f"flat for {FLAT_S:g} s or more at its beginning or end",
            "Padding, which is harmless as long as no pick is in it.",
        ),
    ):  # fmt: skip
        flat = (measures["flat_s"] >= FLAT_S) & (measures["flat_inside"] == inside)
        values = {n: measures[n][flat] for n in ("flat_s", "flat_at")}
        values = {"flat_s": values["flat_s"], "from_sample": values["flat_at"]}
        found += of_rows(table, rows[flat], level, name, text, remedy, (), values)
    clipped = measures["clipped"] > 0
    found += of_rows(
        table,
        rows[clipped],
        WARNING,
        "clipped",
        "looks clipped: many samples lie exactly at its largest or smallest value",
        "Their amplitudes are wrong, which matters for magnitudes. Leave them out for that task.",
        ("magnitude",),
        {"samples_at_limit": measures["clipped"][clipped]},
    )
    return found + _copies(dataset, measures) + _behind_the_end(dataset, read)


def _broken(dataset: Dataset, read: Waveforms) -> list[Finding]:
    """Traces that cannot be read, and such with samples that are not finite."""
    infinite = {row: why for row, why in read.broken.items() if "not finite" in why}
    others = {row: why for row, why in read.broken.items() if row not in infinite}
    kinds = Counter(re.sub(r"\d+", "#", why.partition("(")[0].strip()) for why in others.values())
    found = []
    for rows, name, text, remedy in (
        (
            others, "unreadable",
            f"cannot be read, out of {read.wanted} tried ("
            + listed({f"{kind}:": n for kind, n in kinds.most_common()}, 4) + ")",
            "Copy the files again, or remove the rows. Training skips and counts them.",
        ),
        (
            infinite, "not_finite", "holds samples that are NaN or infinite",
            "Fill gaps with zeros or a constant, or remove the rows. Training skips them.",
        ),
    ):  # fmt: skip
        selected = np.array(list(rows), np.int64)
        why = {"reason": np.array(list(rows.values()), object)}
        found += of_rows(dataset.table, selected, ERROR, name, text, remedy, (), why)
    return found


def _copies(dataset: Dataset, measures: np.ndarray) -> list[Finding]:
    """Traces with the same samples under several names."""
    alive = measures[~measures["dead"].all(axis=1)]
    _, inverse, counts = np.unique(alive["hash"], return_inverse=True, return_counts=True)
    twice = counts[inverse] > 1
    order = np.lexsort((alive["row"][twice], inverse[twice]))  # twins together
    rows = alive["row"][twice][order]
    return of_rows(
        dataset.table,
        rows,
        WARNING,
        "same_waveform",
        "has exactly the samples of another trace",
        "Remove all but one: copies in training and test make scores too good, and labels that "
        "differ cannot both be right.",
        ("event_id", "p_sample"),
    )


def _behind_the_end(dataset: Dataset, read: Waveforms) -> list[Finding]:
    """Arrivals behind the trace; of traces not read if all that were have one length."""
    table, measures = dataset.table, read.measures
    samples = np.full(len(table), np.inf)
    store_of = stores(dataset)[1]
    for store in np.unique(store_of[measures["row"]]):  # one length says nothing of other datasets
        lengths = measures["samples"][store_of[measures["row"]] == store]
        if (lengths == lengths[0]).all():
            samples[store_of == store] = lengths[0]
    samples[measures["row"]] = measures["samples"]
    p, s = (table[name].to_numpy(np.float64) for name in ("p_sample", "s_sample"))
    beyond = np.flatnonzero((p >= samples) | (s >= samples))
    return of_rows(
        table,
        beyond,
        ERROR,
        "arrival_behind_the_trace",
        "an arrival lies behind the end of the trace, which then counts as noise",
        "Arrivals are samples from the first one of the trace, at its own sampling rate.",
        ("p_sample", "s_sample"),
        {"samples": samples[beyond]},
    )


def summary(dataset: Dataset, read: Waveforms) -> dict[str, Any]:
    """Numbers for the report."""
    lengths = read.measures["samples"]
    return {
        "read": read.wanted,
        "of": len(dataset.table),
        "unreadable": len(read.broken),
        "why_not_all": read.why,
        "samples": spread(lengths),
        "different_lengths": len(np.unique(lengths)),
    }
