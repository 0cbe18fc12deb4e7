"""Writing the synthetic catalogue in STEAD's published layout: merge.csv and merge.hdf5."""

import csv
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import h5py
import numpy as np

from seismollm_jax.data.synthetic.catalogue import Trace, earthquake, noise
from seismollm_jax.data.synthetic.network import regions
from seismollm_jax.data.synthetic.stead_rows import COLUMNS, attributes, cells, trace_name

VERSION = 2  # raised whenever the same request would give other bytes
TABLE, WAVEFORMS, MANIFEST = "merge.csv", "merge.hdf5", "synthetic.json"


@dataclass(frozen=True, slots=True)
class Summary:
    """What one synthetic dataset holds, and how it came about."""

    output: str
    traces: int
    earthquake_traces: int
    noise_traces: int
    events: int
    stations: int
    first_motions: int
    reused: bool
    seconds: float


def write(
    output: str | os.PathLike[str],
    *,
    events: int | None = None,
    traces: int | None = None,
    seed: int = 0,
    noise_share: float = 0.1,
    max_stations: int = 8,
    overwrite: bool = False,
    progress: Callable[[int], object] | None = None,
) -> Summary:
    """Write a synthetic dataset into the directory `output`.

    Give either `events` (earthquakes; each is recorded by one to `max_stations` stations) or
    `traces` (rows of the table, noise included). `noise_share` is the share of noise-only rows.
    Earthquake i is a function of (seed, i), so a larger request with the same seed begins with the
    same earthquakes. `progress` is called with the number of traces written so far.

    The files appear only when they are complete. If `output` already holds the dataset of the same
    request it is left alone and reused.

    Raises ValueError for a request that makes no sense, FileExistsError if `output` holds another
    dataset (a synthetic one is replaced with `overwrite`, any other never).
    """
    request = _checked(events, traces, seed, noise_share, max_stations)
    output = Path(output)
    summary = _existing(output, request, overwrite)
    if summary is not None:
        return summary
    start = time.perf_counter()
    output.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".synthetic-partial-", dir=output))
    try:
        counts = _write_files(partial, request, progress)
        sizes = {name: (partial / name).stat().st_size for name in (TABLE, WAVEFORMS)}
        manifest = {"version": VERSION, "request": request, "counts": counts, "bytes": sizes}
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        # The manifest goes first and comes last: without it nothing is taken for complete.
        (output / MANIFEST).unlink(missing_ok=True)
        for name in (WAVEFORMS, TABLE, MANIFEST):
            os.replace(partial / name, output / name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Summary(str(output), **counts, reused=False, seconds=time.perf_counter() - start)


def _checked(
    events: int | None, traces: int | None, seed: int, noise_share: float, max_stations: int
) -> dict[str, int | float | None]:
    if (events is None) == (traces is None):
        raise ValueError("give either events or traces, not both and not neither")
    wanted = events if events is not None else traces
    if wanted is None or wanted < 1:
        raise ValueError(f"a dataset needs at least one event or trace, not {wanted}")
    if seed < 0:
        raise ValueError(f"the seed must not be negative, not {seed}")
    if not 0.0 <= noise_share < 1.0:
        raise ValueError(f"noise_share must be at least 0 and below 1, not {noise_share}")
    if max_stations < 1:
        raise ValueError(f"max_stations must be at least 1, not {max_stations}")
    return {
        "events": events,
        "traces": traces,
        "seed": seed,
        "noise_share": noise_share,
        "max_stations": max_stations,
    }


def _existing(output: Path, request: dict, overwrite: bool) -> Summary | None:
    """Return the summary of a dataset that already answers the request; None if there is room."""
    if output.exists() and not output.is_dir():
        raise FileExistsError(f"{output} is a file; name a directory for the synthetic dataset")
    present = [name for name in (TABLE, WAVEFORMS, MANIFEST) if (output / name).exists()]
    if not present:
        # A typing error in data.path must not put synthetic records among somebody's real ones.
        visible = _names_in(output)
        if visible:
            raise FileExistsError(
                f"{output} holds other files ({', '.join(visible[:3])}); give the synthetic "
                "dataset a folder of its own, or, if these are the data to be read, say what "
                "they are (--config.data.format)"
            )
        return None
    if MANIFEST not in present:
        raise FileExistsError(
            f"{output} holds {' and '.join(present)} that this generator did not complete; "
            "choose another directory, or delete them yourself if they are not needed"
        )
    if overwrite:
        return None
    try:
        manifest = json.loads((output / MANIFEST).read_text())
    except json.JSONDecodeError as error:
        raise FileExistsError(
            f"{output / MANIFEST} cannot be read ({error}); choose another directory or "
            "overwrite the dataset (--overwrite)"
        ) from error
    complete = all(
        (output / name).exists() and (output / name).stat().st_size == size
        for name, size in manifest["bytes"].items()
    )
    if manifest["version"] == VERSION and manifest["request"] == request and complete:
        return Summary(str(output), **manifest["counts"], reused=True, seconds=0.0)
    reason = (
        f"asked for {request}, made for {manifest['request']} by version {manifest['version']} "
        f"(this is version {VERSION})"
        if complete
        else "a file is missing or has another size than when it was written"
    )
    raise FileExistsError(
        f"{output} holds another synthetic dataset: {reason}; choose another directory or "
        "overwrite it (--overwrite)"
    )


def _names_in(folder: Path) -> list[str]:
    """Names in a folder, hidden ones (such as what a killed run left) not counted."""
    if not folder.exists():
        return []
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def _traces(request: dict) -> Iterator[Trace]:
    """Every trace of the request: the earthquakes in order, then the noise."""
    seed, share = request["seed"], request["noise_share"]
    world = regions(seed)
    quiet = 0 if request["traces"] is None else round(share * request["traces"])
    wanted = None if request["traces"] is None else request["traces"] - quiet
    made, index = 0, 0
    while index < request["events"] if wanted is None else made < wanted:
        of_event = earthquake(seed, index, world, request["max_stations"])
        of_event = of_event[: None if wanted is None else wanted - made]
        yield from of_event
        made, index = made + len(of_event), index + 1
    if wanted is None:
        quiet = round(made * share / (1.0 - share))
    for k in range(quiet):
        yield noise(seed, k, world)


def _write_files(
    directory: Path, request: dict, progress: Callable[[int], object] | None
) -> dict[str, int]:
    names: set[str] = set()
    events: set[int] = set()
    stations: set[tuple[str, str]] = set()
    quiet = clear = 0
    with (
        open(directory / TABLE, "w", newline="") as table_file,
        h5py.File(directory / WAVEFORMS, "w") as waveform_file,
    ):
        table = csv.writer(table_file, lineterminator="\n")
        table.writerow(COLUMNS)
        group = waveform_file.create_group("data")
        for count, trace in enumerate(_traces(request), start=1):
            name = trace_name(trace)
            if name in names:
                raise RuntimeError(f"two traces are called {name}; please report this")
            names.add(name)
            table.writerow(cells(trace))
            # Z, N, E in memory; E, N, Z in STEAD's file.
            waveform = np.ascontiguousarray(trace.waveform[:, ::-1])
            stored = group.create_dataset(name, data=waveform)
            for column, value in attributes(trace).items():
                stored.attrs[column] = value
            stations.add((trace.station.network, trace.station.code))
            if trace.reading is None:
                quiet += 1
            else:
                events.add(trace.reading.event.index)
                clear += bool(trace.reading.first_motion)
            if progress is not None:
                progress(count)
    return {
        "traces": len(names),
        "earthquake_traces": len(names) - quiet,
        "noise_traces": quiet,
        "events": len(events),
        "stations": len(stations),
        "first_motions": clear,
    }


def describe(summary: Summary) -> str:
    """Format the summary as lines of text."""
    facts = asdict(summary)
    return "\n".join(f"{key.replace('_', ' ')}: {value}" for key, value in facts.items())
