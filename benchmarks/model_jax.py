"""Training step and inference of this project's networks, ready to be timed."""

import dataclasses
import importlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from seismollm_jax import experiment as experiments
from seismollm_jax import parallel
from seismollm_jax.data.pipeline import FIXED
from seismollm_jax.data.records import Record
from seismollm_jax.experiment import Experiment
from seismollm_jax.models.state import merge
from seismollm_jax.training import flops, optim
from seismollm_jax.training.step import make_train_step

Arrays = dict[str, np.ndarray]
COUNTED = {"flops": "flops_compiler", "bytes accessed": "bytes_compiler"}
PLATFORM = {"gpu": "cuda"}  # of backends, where the names differ


@dataclasses.dataclass(frozen=True)
class Variant:
    """Something to time.

    Attributes:
        run: does it once, and waits for the end.
        figures: what is known of it without timing: `compile_s`, `flops` and `flops_compiler` of a
            call, `memory_bytes` that the compiled program needs.
    """

    run: Callable[[], Any]
    figures: Mapping[str, float]


def experiment_of(
    task: str, length: int, precision: str, changes: Mapping[str, Any] | None = None
) -> Experiment:
    """A full-size network with random weights, as `configs/` has it."""
    config = importlib.import_module(f"configs.{task}").get_config()
    config.update_from_flattened_dict(
        {
            "backbone.weights": "random",
            "data.window": length,
            "precision.compute": precision,
            **(changes or {}),
        }
    )
    return experiments.make(config.to_dict())


def arrays_of(experiment: Experiment, seed: int = 0) -> tuple[Arrays, Arrays, Arrays]:
    """Parameters that learn, frozen ones, and statistics of a network that answers all sorts."""
    draw = np.random.default_rng(seed)

    def value(name: str, shape: tuple[int, ...]) -> np.ndarray:
        noise = draw.standard_normal(shape, np.float32)
        if name.endswith(("scale", "var")):
            return 1 + np.abs(0.1 * noise)
        if name.endswith(("kernel", "lora_a")):
            return noise / np.float32(np.sqrt(np.prod(shape[:-1])))
        return np.float32(0.02) * noise

    parts = experiment.abstract()
    params, frozen, stats = (
        {name: value(name, leaf.shape) for name, leaf in part.items()}
        for part in (parts.params, parts.frozen, parts.stats)
    )
    return params, frozen, stats


def batch_of(experiment: Experiment, size: int) -> Arrays:
    """Waveforms of noise with whatever targets the task makes of them."""
    draw = np.random.default_rng(0)
    length = experiment.config["data"]["window"]

    class Noise:
        def __len__(self) -> int:
            return size

        def __getitem__(self, position: int) -> Record:
            waveform = draw.standard_normal((length, 3), np.float32)
            return Record(
                waveform,
                p_samples=[length // 4],
                s_samples=[length // 2],
                magnitude=3.0,
                distance_km=50.0,
                back_azimuth_deg=120.0,
                polarity=position % 2,
            )

    none = np.zeros(size, np.int64)
    maker = experiment.samples(Noise(), none, none, augment=False)
    rows = [maker(i, epoch=0, stream=FIXED) for i in range(size)]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _compiled(traced: Any) -> tuple[Any, dict[str, float]]:
    """A traced function compiled, and what its compiler and the formula say of a call."""
    begun = time.perf_counter()
    compiled = traced.lower().compile()
    figures = {
        "compile_s": time.perf_counter() - begun,
        "flops": flops.count(
            traced.jaxpr, PLATFORM.get(jax.default_backend(), jax.default_backend())
        ),
    }
    counts = compiled.cost_analysis() or {}
    figures |= {ours: counts[name] for name, ours in COUNTED.items() if name in counts}
    memory = compiled.memory_analysis()
    parts = ("argument", "temp", "output", "generated_code")
    sizes = [getattr(memory, f"{part}_size_in_bytes", 0) for part in parts]
    figures["memory_bytes"] = sum(sizes) - getattr(memory, "alias_size_in_bytes", 0)
    return compiled, figures


def training(experiment: Experiment, size: int, devices: int = 1) -> Variant:
    """The training step of `train.py`."""
    layout = parallel.layout_over(jax.local_devices()[:devices])
    optimizer = optim.configured(experiment.config["optim"])
    step: Any = make_train_step(experiment, optimizer, layout)
    params, frozen, stats = layout.replicate(arrays_of(experiment))
    state: Any = {
        "step": layout.replicate(np.int32(0)),
        "params": params,
        "stats": stats,
        "opt": layout.replicate(optimizer.init(params)),
    }
    batch = layout.to_global(batch_of(experiment, size))
    key = jax.device_put(jax.random.key(0), layout.replicated)
    rate = layout.replicate(np.float32(1e-4))
    with jax.default_matmul_precision(experiment.config["precision"]["matmul"]):
        compiled, figures = _compiled(step.trace(state, frozen, batch, key, rate))

    def run() -> None:
        nonlocal state
        state, found = compiled(state, frozen, batch, key, rate)
        jax.block_until_ready(found)

    return Variant(run, figures)


def inference(experiment: Experiment, size: int) -> Variant:
    """The network as `predict.py` uses it, all channels of its output, on one device."""
    params, frozen, stats = arrays_of(experiment)
    parts, family = experiment.abstract(), experiment.family
    make: Any = getattr(family, "for_inference", None)
    if make is not None:
        graph = make(experiment.settings, experiment.task.output, {**params, **frozen, **stats})
        arrays = graph.arrays

        def forward(arrays: Any, x: jax.Array) -> jax.Array:
            return graph.function(arrays, x, None)
    else:
        arrays = {**params, **frozen, **stats}

        def forward(arrays: Any, x: jax.Array) -> jax.Array:
            module: Any = merge(parts.graphdef, arrays)
            return module(x)

    arrays, x = jax.device_put((arrays, batch_of(experiment, size)["waveform"]))
    with jax.default_matmul_precision(experiment.config["precision"]["matmul"]):
        compiled, figures = _compiled(jax.jit(forward).trace(arrays, x))
    return Variant(lambda: jax.block_until_ready(compiled(arrays, x)), figures)


MODES: dict[str, Callable[[Experiment, int], Variant]] = {
    "training": training,
    "inference": inference,
}


def matmul_flops(precision: str, matmul: str) -> float:
    """Operations a second of large matrix products on one device, the best of ten."""
    size = 2048 if jax.default_backend() == "cpu" else 8192
    draw = np.random.default_rng(0).standard_normal((size, size), np.float32)
    matrix = jax.device_put(draw.astype(jax.numpy.dtype(precision)))
    with jax.default_matmul_precision(matmul):
        product = jax.jit(lambda a: a @ a).lower(matrix).compile()
    product(matrix).block_until_ready()
    best = float("inf")
    for _ in range(10):
        begun = time.perf_counter()
        product(matrix).block_until_ready()
        best = min(best, time.perf_counter() - begun)
    return 2 * size**3 / best
