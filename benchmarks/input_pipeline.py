"""How many samples a second the input pipeline makes, and how much memory it takes.

    python -m benchmarks.input_pipeline --json figures.json

Work of a sample: read the trace, augment it as in the published training, cut the window,
normalise, make the labels of picking, and put it into a batch. It is measured in one thread, plain
and augmented, and through loader processes in the mixture that a training sees, half of it
augmented. Beside it runs a straightforward PyTorch loader (`torch_loader`) over the same files.

Files are written first, into a temporary folder, and read once, so that they are cached. Rounds go
through all variants one after the other, so that other load on the machine meets all of them.
"""

import argparse
import contextlib
import itertools
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

if not __package__:  # run as a file: the folder on Python's path is this one, not the one above
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks import machine, pipeline_data, process_tree
from seismollm_jax import experiment
from seismollm_jax.data import pipeline
from seismollm_jax.data.memory import keep_freed_memory

TORCH = {"pytorch": False, "pytorch_file_kept_open": True}
MODES = {"plain": pipeline.PLAIN, "augmented": pipeline.AUGMENTED}
WARM_UP = 0.25  # share of the batches that are made before the clock starts


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.input_pipeline", description=__doc__.partition("\n")[0]
    )
    add = parser.add_argument
    add("--json", type=Path, help="write the figures here instead of printing them")
    add("--traces", type=int, default=2000, help="of each source")
    add("--folder", type=Path, help="keep the files here, and use those that are there")
    add("--sources", nargs="+", choices=pipeline_data.SOURCES, default=pipeline_data.SOURCES)
    add("--batch", type=int, default=64, help="samples of a batch")
    add("--batches", type=int, default=12, help="timed in one thread in each round")
    add("--loader-batches", type=int, default=24, help="timed through loaders in each round")
    add("--rounds", type=int, default=3)
    add("--workers", type=int, nargs="*", help="loader processes; 0, 1, ... number of cores")
    add("--memory-samples", type=int, default=100_000, help="length of the runs for memory")
    given = parser.parse_args(arguments)
    for name in ("traces", "batch", "batches", "loader_batches", "rounds"):
        if getattr(given, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be 1 or more")
    if not process_tree.available():
        parser.error("this system has no /proc/self/smaps_rollup; Linux 5.9 or later is needed")
    with contextlib.ExitStack() as stack:
        folder = given.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        figures = _run(given, folder)
    print(_table(figures), file=sys.stderr)
    text = json.dumps(figures, indent=2) + "\n"
    if given.json:
        given.json.write_text(text)
    else:
        print(text, end="")
    return 0


def _run(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All measurements."""
    _prepare(folder, given.traces)
    without_torch = _why_no_torch()
    names = [*given.sources, *([] if without_torch else TORCH)]
    workers = range((os.cpu_count() or 1) + 1) if given.workers is None else given.workers
    begun = _machine()
    keep_freed_memory()  # now, so that it holds for what is measured first, PyTorch included
    _say("one thread")
    one_thread = _rounds(
        {(name, mode): _one_thread(name, mode, folder, given) for name in names for mode in MODES},
        given.rounds,
    )
    _say("loaders")
    loaders = _rounds(
        {
            (name, str(count)): _through_loader(name, count, folder, given)
            for count in workers
            for name in names
        },
        given.rounds,
    )
    memory = {}
    for name in given.sources if given.memory_samples else ():
        _say(f"memory, {name}")
        memory[name] = _memory(name, max([0, *workers]), folder, given)
    return {
        "machine": {**begun, "load_average_end": os.getloadavg()},
        "settings": {
            key: str(value) if isinstance(value, Path) else value
            for key, value in vars(given).items()
        },
        "one_thread": one_thread,
        "loader_workers": loaders,
        "memory": memory,
        "pytorch_missing": without_torch,
    }


def _say(text: str) -> None:
    print(f"... {text}", file=sys.stderr, flush=True)


def _prepare(folder: Path, traces: int) -> None:
    """Write the files unless they are there, and read them once."""
    note = folder / "traces"
    if not (note.is_file() and note.read_text() == str(traces)):
        if folder.is_dir() and any(folder.iterdir()):
            raise SystemExit(f"{folder} holds other files; give another --folder")
        folder.mkdir(parents=True, exist_ok=True)
        _say(f"writing {traces} traces for each source")
        pipeline_data.write(folder, traces)
        note.write_text(str(traces))
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                while file.read(1 << 24):
                    pass


def _why_no_torch() -> str | None:
    try:
        import torch  # noqa: F401
    except ImportError as error:
        return f"{error}; pip install torch"
    return None


def _machine() -> dict[str, Any]:
    return {
        "cpu": machine.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "packages": machine.versions(("numpy", "h5py", "grain", "array_record", "torch")),
        "load_average_begin": os.getloadavg(),
    }


Measurement = Callable[[], tuple[int, float, float]]
"""Makes some samples; returns how many, CPU seconds of all processes, and wall seconds."""


def _rounds(variants: dict[tuple[str, str], Measurement], rounds: int) -> dict[str, Any]:
    """Every variant in every round; samples a second, by CPU and by wall time."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = {key: [] for key in variants}
    for _ in range(rounds):
        for key, measure in variants.items():
            samples, cpu_s, wall_s = measure()
            found[key].append((samples / cpu_s, samples / wall_s))
    result: dict[str, Any] = {}
    for (name, variant), rates in found.items():
        by_cpu, by_wall = zip(*rates, strict=True)
        result.setdefault(name, {})[variant] = {
            "samples_per_cpu_s": _spread(by_cpu),
            "samples_per_s": _spread(by_wall),
        }
    return result


def _spread(values: tuple[float, ...]) -> dict[str, float]:
    low, middle, high = np.percentile(values, [0, 50, 100]).round(1).tolist()
    return {"median": middle, "lowest": low, "highest": high}


def _timed(
    batches: Iterator[Any], count: int, batch: int, clock: Callable[[], float]
) -> tuple[int, float, float]:
    """Take a quarter of `count` batches, then `count` of them by the clocks."""
    for _ in range(max(int(count * WARM_UP), 1)):
        next(batches)
    cpu_s, wall_s = clock(), time.perf_counter()
    for _ in range(count):
        next(batches)
    return count * batch, clock() - cpu_s, time.perf_counter() - wall_s


def _maker(name: str, folder: Path) -> pipeline.SampleMaker:
    config = pipeline_data.config_of(name, folder)
    source, rows = pipeline_data.records(config)
    return experiment.make(config.to_dict()).samples(source, rows, source.keys, augment=True)


def _one_thread(name: str, mode: str, folder: Path, given: argparse.Namespace) -> Measurement:
    """Samples one by one, in random order, and stacked, without any loader."""
    if name in TORCH:
        import torch

        from benchmarks import torch_loader

        torch.set_num_threads(1)
        dataset = torch_loader.Traces(folder / "stead", mode, TORCH[name])
        size, collate = len(dataset), torch.utils.data.default_collate
        make = dataset.__getitem__
    else:
        maker = _maker(name, folder)
        size, collate = len(maker.source), _stack

        def make(position: int) -> Any:
            return maker(position, epoch=0, stream=MODES[mode])

    draw = np.random.default_rng(0)
    order = (int(i) for _ in itertools.count() for i in draw.permutation(size))
    batches = (collate([make(next(order)) for _ in range(given.batch)]) for _ in itertools.count())
    return lambda: _timed(batches, given.batches, given.batch, time.process_time)


def _stack(elements: list[pipeline.Batch]) -> pipeline.Batch:
    return {key: np.stack([element[key] for element in elements]) for key in elements[0]}


@contextlib.contextmanager
def _stream(name: str, workers: int, folder: Path, batch: int) -> Iterator[Iterator[Any]]:
    """Batches of a training, endless."""
    if name in TORCH:
        from benchmarks import torch_loader

        loader = torch_loader.loader(folder / "stead", TORCH[name], batch=batch, workers=workers)
        yield (found for _ in itertools.count() for found in loader)
    else:
        batches = pipeline.train_batches(_maker(name, folder), shuffle=True, local_batch=batch)
        with pipeline.Stream(batches, workers=workers) as stream:
            yield stream


def _through_loader(
    name: str, workers: int, folder: Path, given: argparse.Namespace
) -> Measurement:
    def measure() -> tuple[int, float, float]:
        with _stream(name, workers, folder, given.batch) as batches:
            return _timed(batches, given.loader_batches, given.batch, process_tree.cpu_s)

    return measure


def _memory(name: str, workers: int, folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Memory of all processes over a long run, and its growth in the second half of it."""
    steps = max(-(-given.memory_samples // given.batch), 20)
    every = steps // 20
    samples, used_mb = [], []
    with _stream(name, workers, folder, given.batch) as batches:
        for step in range(1, steps + 1):
            next(batches)
            if step % every == 0:
                samples.append(step * given.batch)
                used_mb.append(round(process_tree.memory_mb(), 1))
    later = slice(len(samples) // 2, None)
    slope = np.polyfit(samples[later], used_mb[later], 1)[0]
    return {
        "workers": workers,
        "samples": samples,
        "used_mb": used_mb,
        "growth_mb_per_100000_samples": round(float(slope) * 1e5, 2),
    }


def _table(figures: dict[str, Any]) -> str:
    """For people."""
    host = figures["machine"]
    lines = [
        f"{host['cpu']}, {host['cores']} cores; load average at the beginning "
        f"{host['load_average_begin'][0]:.1f}, at the end {host['load_average_end'][0]:.1f}",
        "samples per CPU second in one thread, median (lowest to highest)",
    ]

    def cell(rates: dict[str, float]) -> str:
        spread = f"({rates['lowest']:.0f}-{rates['highest']:.0f})"
        return f"{rates['median']:6.0f} {spread:>13}"

    lines.append(f"{'':22}" + "".join(f"{mode:>21}" for mode in MODES))
    for name, modes in figures["one_thread"].items():
        cells = (cell(modes[mode]["samples_per_cpu_s"]) for mode in MODES)
        lines.append(f"{name:22}" + "".join(f"{text:>21}" for text in cells))
    lines.append("samples per second through a loader, half of them augmented, by worker processes")
    counts = list(next(iter(figures["loader_workers"].values()), ()))
    lines.append(f"{'':22}" + "".join(f"{count:>21}" for count in counts))
    for name, rates in figures["loader_workers"].items():
        cells = (cell(rates[count]["samples_per_s"]) for count in counts)
        lines.append(f"{name:22}" + "".join(f"{text:>21}" for text in cells))
    for name, memory in figures["memory"].items():
        lines.append(
            f"memory, {name}: {memory['used_mb'][0]:.0f} MB after {memory['samples'][0]} samples, "
            f"{memory['used_mb'][-1]:.0f} MB after {memory['samples'][-1]}; "
            f"{memory['growth_mb_per_100000_samples']:+.2f} MB per 100,000"
        )
    if figures["pytorch_missing"]:
        lines.append(f"PyTorch was not measured: {figures['pytorch_missing']}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
