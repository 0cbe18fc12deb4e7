"""How long a training step and an inference take at full size, and what bounds them.

    python -m benchmarks.model --torch --output figures.json

For each task, window, batch, precision and mode: time of a call (median and quartiles), compile
time, memory, operations counted by the compiler and by a formula, and what is achieved of this
machine's speed in large matrix products, measured in the same run. With --torch an independent
PyTorch model of the same sizes (`torch_model`, `torch_seist_model`) is timed beside it, eager and
compiled: every round goes through all of them, so that other load on the machine meets all.
"""

import argparse
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks import machine, model_jax, model_startup
from seismollm_jax import accelerators, models, tasks

GIB = 2**30
Case = tuple[str, str, int, int, str]  # mode, task, samples, batch, precision


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.model", description=__doc__.partition("\n")[0]
    )
    add = parser.add_argument
    add("--model", choices=models.FAMILIES, default="seismollm")
    add("--tasks", nargs="+", choices=tasks.TASKS, default=["picking", "magnitude"])
    add("--modes", nargs="+", choices=model_jax.MODES, default=[*model_jax.MODES])
    add("--batches", type=_integers, default=[1, 8], help="such as 1,8,64")
    add("--length", type=int, nargs="+", default=[8192], help="samples of a window")
    add("--precision", type=lambda text: text.split(","), default=["float32"])
    add("--torch", action="store_true", help="time PyTorch beside it, eager and compiled")
    add("--no-compile", action="store_true", help="leave torch.compile out")
    add("--rounds", type=int, default=5)
    add("--seconds", type=float, default=1.0, help="for each variant in each round, at least")
    add("--largest", action="store_true", help="look for the largest batch that fits, and time it")
    add("--memory-limit-gib", type=float, help="for --largest; needed where the device tells none")
    add("--startup", action="store_true", help="time to the first batch, caches cold and warm")
    add("--output", type=Path, help="write the figures here as JSON")
    given = parser.parse_args(arguments)
    if given.rounds < 1 or min(given.batches) < 1:
        parser.error("--rounds and --batches must be 1 or more")
    if unknown := set(given.precision) - {"float32", "bfloat16"}:
        parser.error(f"--precision: {sorted(unknown)} are not float32 or bfloat16")
    limit = _memory_limit(given)
    if given.largest and limit is None:
        parser.error("--largest: this device tells no limit; give --memory-limit-gib")
    figures = run(given, limit)
    print(table(figures))
    if given.output:
        given.output.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


def _integers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _memory_limit(given: argparse.Namespace) -> float | None:
    stats = jax.local_devices()[0].memory_stats() or {}
    if given.memory_limit_gib:
        return given.memory_limit_gib * GIB
    return stats.get("bytes_limit")


def run(given: argparse.Namespace, limit: float | None) -> dict[str, Any]:
    """All measurements."""
    figures: dict[str, Any] = {
        "machine": _machine(),
        "load_average_begin": os.getloadavg(),
        "settings": {k: str(v) if isinstance(v, Path) else v for k, v in vars(given).items()},
        "matmul_flops": {name: model_jax.matmul_flops(name, "default") for name in given.precision},
        "torch": None,
        "cases": [],
    }
    torch_side: Any = None
    if given.torch:
        from benchmarks import model_torch

        torch_side = model_torch
        figures["torch"] = torch_side.begin(os.cpu_count() or 1)
    for mode, task, length, precision in itertools.product(
        given.modes, given.tasks, given.length, given.precision
    ):
        batches = list(given.batches)
        if given.largest and limit is not None:
            found = largest_batch(given.model, (mode, task, length, 1, precision), limit)
            batches += [found] if found not in batches else []
        for batch in batches:
            case = (mode, task, length, batch, precision)
            print(f"... {' '.join(map(str, case))}", file=sys.stderr, flush=True)
            figures["cases"].append(measure(case, given, torch_side, figures["matmul_flops"]))
    if given.startup:
        figures["startup"] = {
            task: model_startup.measure(
                model_jax.experiment_of(
                    task, given.length[0], given.precision[0], {"model": given.model}
                )
            )
            for task in given.tasks
        }
    figures["load_average_end"] = os.getloadavg()
    return figures


def _machine() -> dict[str, Any]:
    device = jax.local_devices()[0]
    return {
        "device": machine.processor() if device.platform == "cpu" else device.device_kind,
        "platform": device.platform,
        "cores": os.cpu_count(),
        "published_peak_flops": {
            dtype: accelerators.peak_flops(device.device_kind, dtype, "default")
            for dtype in ("float32", "bfloat16")
        },
        "packages": machine.versions(("jax", "jaxlib", "flax", "numpy", "torch")),
    }


def measure(
    case: Case, given: argparse.Namespace, torch_side: Any, ceilings: Mapping[str, float]
) -> dict[str, Any]:
    """One case: everything interleaved."""
    mode, task, length, batch, precision = case
    experiment = model_jax.experiment_of(task, length, precision, {"model": given.model})
    variants: dict[str, Callable[[], Any]] = {}
    known: dict[str, Any] = {}
    missing: dict[str, str] = {}
    own = model_jax.MODES[mode](experiment, batch)
    variants["jax"], known["jax"] = own.run, dict(own.figures)
    if torch_side is not None:
        arrays = model_jax.batch_of(experiment, batch)
        for name, compiled in (("torch", False), ("torch.compile", True)):
            if compiled and given.no_compile:
                continue
            try:
                make = torch_side.MODES[mode]
                variants[name], known[name] = make(given.model, task, arrays, precision, compiled)
            except Exception as error:  # out of memory, or no compiler for torch.compile
                missing[name] = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
    times = interleaved(variants, given.rounds, given.seconds)
    result: dict[str, Any] = dict(
        zip(("mode", "task", "length", "batch", "precision"), case, strict=True)
    )
    result["variants"] = {name: {**known[name], **summary(times[name])} for name in variants}
    result["missing"] = missing
    for found in result["variants"].values():
        found["samples_per_s"] = batch / found["median_s"]
        found["flops_per_s"] = known["jax"]["flops"] / found["median_s"]
        found["share_of_matmul"] = found["flops_per_s"] / ceilings[precision]
    result["ratios"] = {
        name: ratios(times[name], times["jax"]) for name in variants if name != "jax"
    }
    return result


def interleaved(
    variants: Mapping[str, Callable[[], Any]], rounds: int, seconds: float
) -> dict[str, list[list[float]]]:
    """Seconds of each call, by variant and round; before them each is called once, unmeasured."""
    for call in variants.values():
        call()
    times: dict[str, list[list[float]]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, call in variants.items():
            own: list[float] = []
            while sum(own) < seconds:
                begun = time.perf_counter()
                call()
                own.append(time.perf_counter() - begun)
            times[name].append(own)
    return times


def summary(times: list[list[float]]) -> dict[str, float]:
    """Of all calls: median, quartiles, the fastest, and how many."""
    every = np.concatenate(times)
    names = ("fastest_s", "quarter_s", "median_s", "three_quarters_s")
    found = dict(zip(names, np.percentile(every, [0, 25, 50, 75]).tolist(), strict=True))
    return {**found, "calls": len(every)}


def ratios(others: list[list[float]], ours: list[list[float]]) -> dict[str, float]:
    """How many times as long the other takes: of the medians in each round."""
    found = [np.median(a) / np.median(b) for a, b in zip(others, ours, strict=True)]
    names = ("lowest", "median", "highest")
    return dict(zip(names, np.percentile(found, [0, 50, 100]).tolist(), strict=True))


def largest_batch(network: str, case: Case, limit: float) -> int:
    """The largest power of two whose program needs no more than `limit` bytes, by its compiler."""
    mode, task, length, _, precision = case
    experiment, batch = model_jax.experiment_of(task, length, precision, {"model": network}), 1
    while True:
        try:
            needed = model_jax.MODES[mode](experiment, 2 * batch).figures["memory_bytes"]
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            return batch
        if needed > limit:
            return batch
        batch *= 2


def table(figures: Mapping[str, Any]) -> str:
    """For people, as Markdown."""
    host = figures["machine"]
    ceilings = ", ".join(
        f"{v / 1e9:,.0f} GFLOP/s in {k}" for k, v in figures["matmul_flops"].items()
    )
    begin, end = figures["load_average_begin"][0], figures["load_average_end"][0]
    head = (
        *("mode", "task", "samples", "batch", "precision", "variant", "ms (quartiles)"),
        *("samples/s", "GFLOP formula/compiler", "of matmul", "memory, GiB", "compile, s"),
        "times ours (rounds)",
    )
    lines = [
        f"{host['device']}, {host['cores']} cores; load average {begin:.1f} at the "
        f"beginning, {end:.1f} at the end; matrix products: {ceilings}",
        "",
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
    ]
    for case in figures["cases"]:
        first = [str(case[name]) for name in ("mode", "task", "length", "batch", "precision")]
        for name, found in case["variants"].items():
            lines.append("| " + " | ".join([*first, name, *_cells(name, found, case)]) + " |")
        lines += [f"\n{name}: {why}\n" for name, why in case["missing"].items()]
    for task, found in figures.get("startup", {}).items():
        for cache, seconds in found.items():
            parts = ", ".join(f"{name.removesuffix('_s')} {s:.1f} s" for name, s in seconds.items())
            lines.append(f"\n{task}, {cache} compilation cache: {parts}")
    return "\n".join(lines)


def _cells(name: str, found: Mapping[str, float], case: Mapping[str, Any]) -> list[str]:
    spread = f"{found['quarter_s'] * 1e3:.1f} to {found['three_quarters_s'] * 1e3:.1f}"
    ratio = case["ratios"].get(name)
    compile_s = found.get("compile_s", found.get("first_call_s", 0.0))
    operations = "/".join(
        f"{found[count] / 1e9:.1f}" for count in ("flops", "flops_compiler") if count in found
    )
    return [
        f"{found['median_s'] * 1e3:.1f} ({spread})",
        f"{found['samples_per_s']:.1f}",
        operations,
        f"{found['share_of_matmul']:.0%}",
        f"{found['memory_bytes'] / GIB:.2f}" if "memory_bytes" in found else "",
        f"{compile_s:.1f}",
        f"{ratio['median']:.2f} ({ratio['lowest']:.2f} to {ratio['highest']:.2f})" if ratio else "",
    ]


if __name__ == "__main__":
    sys.exit(main())
