"""How the cost of a sample grows with the window, the batch and the backbone.

    python -m benchmarks.scaling --pictures docs/pictures --output scaling.json

Times training step and inference along each of the three, with the other two as they usually are,
and fits exponents: cost ~ size ** exponent. Then the cost of dividing a step over eight devices,
here parts of one processor, against one device with the same batch: what is above 1 is the price
of the division itself.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import model, model_jax

ROOT = Path(__file__).resolve().parents[1]
BACKBONES = {  # name -> width, heads, published layers
    "gpt2": (768, 12, 12),
    "gpt2-medium": (1024, 16, 24),
    "gpt2-large": (1280, 20, 36),
    "gpt2-xl": (1600, 25, 48),
}
DEVICES = 8


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling", description=__doc__.partition("\n")[0]
    )
    add = parser.add_argument
    add("--task", default="picking")
    add("--lengths", type=int, nargs="*", default=[1024, 2048, 4096, 8192, 16384, 32768])
    add("--batches", type=int, nargs="*", default=[1, 2, 4, 8, 16])
    add("--backbones", nargs="*", choices=BACKBONES, default=[*BACKBONES])
    add("--usual-batch", type=int, default=4)
    add("--usual-length", type=int, default=8192)
    add("--precision", choices=("float32", "bfloat16"), default="float32")
    add("--rounds", type=int, default=3)
    add("--seconds", type=float, default=1.0, help="for each point in each round, at least")
    add("--devices", action="store_true", help="the price of dividing a step over eight devices")
    add("--pictures", type=Path, help="folder for the plots")
    add("--output", type=Path, help="write the figures here as JSON")
    add("--in-parts", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.in_parts:
        print(json.dumps(_divided(given)))
        return 0
    figures = run(given)
    print(table(figures))
    if given.pictures:
        draw(figures, given.pictures)
    if given.output:
        given.output.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


def run(given: argparse.Namespace) -> dict[str, Any]:
    """All measurements."""
    figures: dict[str, Any] = {"load_average_begin": os.getloadavg(), "axes": {}}
    axes: dict[str, list[tuple[float, int, int, dict[str, Any]]]] = {
        "samples of a window": [(n, n, given.usual_batch, {}) for n in given.lengths],
        "windows of a batch": [(n, given.usual_length, n, {}) for n in given.batches],
        "width of the backbone": [
            (BACKBONES[name][0], given.usual_length, given.usual_batch, _backbone(name))
            for name in given.backbones
        ],
    }
    for axis, points in axes.items():
        if not points:
            continue
        sizes = np.array([point[0] for point in points])
        figures["axes"][axis] = {"sizes": sizes.tolist()}
        for mode in model_jax.MODES:
            print(f"... {axis}, {mode}", file=sys.stderr, flush=True)
            seconds = _cost(mode, points, given)
            figures["axes"][axis][mode] = {
                "seconds_per_window": seconds.tolist(),
                "exponent": exponent(sizes, seconds) if len(sizes) > 1 else None,
            }
    if given.devices:
        figures["devices"] = _devices(given)
    figures["load_average_end"] = os.getloadavg()
    return figures


def _backbone(name: str) -> dict[str, Any]:
    width, heads, layers = BACKBONES[name]
    return {
        "backbone.random.n_embd": width,
        "backbone.random.n_head": heads,
        "backbone.random.n_layer": layers,
    }


def _cost(
    mode: str,
    points: Sequence[tuple[float, int, int, dict[str, Any]]],
    given: argparse.Namespace,
) -> np.ndarray:
    """Median seconds for a window at each point. Rounds go through all points."""
    variants = {}
    for i, (_, length, batch, changes) in enumerate(points):
        # Positions for the longest window, which change no other cost.
        positions = {"backbone.random.n_positions": max(1024, length // 64)}
        experiment = model_jax.experiment_of(
            given.task, length, given.precision, {**positions, **changes}
        )
        variants[str(i)] = model_jax.MODES[mode](experiment, batch).run
    times = model.interleaved(variants, given.rounds, given.seconds)
    medians = [model.summary(times[name])["median_s"] for name in variants]
    return np.array([seconds / point[2] for seconds, point in zip(medians, points, strict=True)])


def exponent(sizes: np.ndarray, cost: np.ndarray) -> float:
    """Of the power that fits best, by least squares of the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(cost), 1)[0])


def _devices(given: argparse.Namespace) -> dict[str, float]:
    """Seconds of a step on one device and divided over eight, in a process that has eight."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={DEVICES}"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    command = [
        *(sys.executable, "-m", "benchmarks.scaling", "--in-parts", "--task", given.task),
        *("--usual-length", str(given.usual_length), "--rounds", str(given.rounds)),
        *("--seconds", str(given.seconds), "--precision", given.precision),
    ]
    result = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{result.stderr[-2000:]}")
    return json.loads(result.stdout.splitlines()[-1])


def _divided(given: argparse.Namespace) -> dict[str, float]:
    experiment = model_jax.experiment_of(given.task, given.usual_length, given.precision)
    variants = {
        str(devices): model_jax.training(experiment, DEVICES, devices).run
        for devices in (1, DEVICES)
    }
    times = model.interleaved(variants, given.rounds, given.seconds)
    one, eight = (model.summary(times[name])["median_s"] for name in variants)
    return {"one_s": one, "eight_s": eight, "times_as_long": eight / one}


def table(figures: dict[str, Any]) -> str:
    """For people."""
    lines = []
    for axis, found in figures["axes"].items():
        lines.append(f"{axis}: {', '.join(map(str, found['sizes']))}")
        for mode in model_jax.MODES:
            cost = ", ".join(f"{s * 1e3:.1f}" for s in found[mode]["seconds_per_window"])
            power = found[mode]["exponent"]
            fitted = "" if power is None else f"; exponent {power:.2f}"
            lines.append(f"  {mode}: {cost} ms for a window{fitted}")
    if "devices" in figures:
        found = figures["devices"]
        lines.append(
            f"a step of {DEVICES} windows: {found['one_s']:.2f} s on one device, "
            f"{found['eight_s']:.2f} s over {DEVICES} parts of the same processor, "
            f"{found['times_as_long']:.2f} times as long"
        )
    return "\n".join(lines)


def draw(figures: dict[str, Any], folder: Path) -> None:
    """One plot, `scaling.png`, a panel for each axis."""
    import matplotlib.pyplot as plt
    from matplotlib import ticker

    axes = figures["axes"]
    picture, panels = plt.subplots(
        1, len(axes), figsize=(4 * len(axes), 3.8), squeeze=False, sharey=True
    )
    panels[0, 0].set_ylabel("ms for a window")
    for panel, (axis, found) in zip(panels[0], axes.items(), strict=True):
        for mode in model_jax.MODES:
            cost = 1e3 * np.array(found[mode]["seconds_per_window"])
            power = found[mode]["exponent"]
            label = mode if power is None else f"{mode}, exponent {power:.2f}"
            panel.loglog(found["sizes"], cost, "o-", label=label)
        panel.set_xlabel(axis)
        panel.set_xticks(found["sizes"], [f"{size:,}" for size in found["sizes"]], rotation=45)
        panel.minorticks_off()
        panel.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter(ticker.FuncFormatter(lambda cost, _: f"{cost:,g}"))
        panel.grid(alpha=0.3)
        panel.legend(loc="lower left", bbox_to_anchor=(0, 1), frameon=False)
    picture.tight_layout()
    folder.mkdir(parents=True, exist_ok=True)
    picture.savefig(folder / "scaling.png", dpi=120)
    plt.close(picture)


if __name__ == "__main__":
    sys.exit(main())
