"""The real training step, lowered and compiled for chips that are not there."""

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies

from seismollm_jax import experiment as experiments
from seismollm_jax import parallel
from seismollm_jax.data.pipeline import FIXED
from seismollm_jax.data.records import Record
from seismollm_jax.pod import collectives, traffic
from seismollm_jax.pod.chips import GIB, SHAPES, Mesh, Slice
from seismollm_jax.training import flops, optim
from seismollm_jax.training.cost import abstract_batch
from seismollm_jax.training.step import make_init, make_train_step

# Without these the compiler's library looks for chips of its own, and only one process may use it.
ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",  # of any host; the topology is given by name
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}
NO_COMPILER = (
    "the compiler for TPUs is not installed: pip install -e '.[tpu]' brings libtpu, for Linux on "
    "x86-64, about 200 MB to download and 700 MB on disk; no TPU is needed"
)
READING = 3  # to be raised when more or something else is read from a program: old figures end
OVERFLOW = "RESOURCE_EXHAUSTED"


@dataclasses.dataclass(frozen=True)
class Program:
    """A training step lowered for a slice.

    Attributes:
        lowered: of JAX, to be compiled.
        axes: of the device mesh, with their sizes.
        batch_size: of all chips.
        flops: of one chip, counted by hand.
        parameters: of the network.
        trainable: those of them that learn.
        gradient_bytes: size of the gradients.
    """

    lowered: Any
    axes: Mapping[str, int]
    batch_size: int
    flops: float
    parameters: int
    trainable: int
    gradient_bytes: int


class _NoRecords:
    """A source with one record of zeros, to see what a batch is made of."""

    def __init__(self, window: int):
        self.window = window

    def __len__(self) -> int:
        return 1

    def __getitem__(self, position: int) -> Record:
        return Record(np.zeros((self.window, 3), np.float32), p_samples=[], s_samples=[])


def layout_on(slice_: Slice, fsdp: int = 1) -> parallel.Layout:
    """A mesh over the chips of a slice, none of which has to exist.

    Args:
        slice_: of chips.
        fsdp: size of the mesh's axis of that name, `mesh.fsdp` of a configuration.

    Raises:
        ImportError: no libtpu.
        ValueError: a shape that the compiler does not know, or that cannot be divided so.
    """
    try:
        import libtpu  # noqa: F401
    except ImportError as error:
        raise ImportError(NO_COMPILER) from error
    os.environ.update(ENVIRONMENT)
    options = dict(slice_.chip.description)
    if slice_.chips == 1:  # a host has four chips unless told otherwise
        options["chips_per_host_bounds"] = (1, 1, 1)
    try:
        topology = topologies.get_topology_desc(slice_.name, platform="tpu", **options)
    except jax.errors.JaxRuntimeError as error:
        raise ValueError(
            f"--topology={slice_.name}: {str(error).splitlines()[0]}; hosts have 2x2 chips, so all "
            "but a single chip come in multiples of that"
        ) from error
    return parallel.layout_over(topology.devices, fsdp)


def mesh_on(slice_: Slice, layout: parallel.Layout) -> Mesh:
    """How the mesh of `layout_on` lies on its slice."""
    devices = layout.mesh.devices
    axes = len(slice_.shape)
    places = np.array([device.coords[:axes] for device in devices.flat])
    return Mesh(slice_, layout.mesh.axis_names, places.reshape(*devices.shape, axes))


def other_meshes(slice_: Slice, fsdp: int) -> list[Mesh]:
    """Meshes with 1 to 256 chips of the family, as far as they can be divided so."""
    found = []
    for shape in SHAPES[slice_.chip.dimensions]:
        there = Slice(slice_.chip, shape)
        with contextlib.suppress(ValueError):
            found.append(mesh_on(there, layout_on(there, fsdp)))
    return found


def lower(config: Mapping[str, Any], layout: parallel.Layout, batch_per_chip: int) -> Program:
    """The training step of a configuration as `training.loop` makes it, lowered for the mesh.

    Args:
        config: a configuration of `configs/`, as plain dictionaries; its batch size is not used.
        layout: of `layout_on`, or over real devices, with the configuration's `mesh.fsdp`.
        batch_per_chip: samples.

    Raises:
        ValueError: a configuration that does not fit.
    """
    if batch_per_chip < 1:
        raise ValueError(f"--batch_per_chip={batch_per_chip} must be at least 1")
    if batch_per_chip % (micro := config["train"]["accumulate"]):
        raise ValueError(
            f"--batch_per_chip={batch_per_chip} does not divide into train.accumulate={micro} "
            f"micro-batches; choose a multiple of {micro}"
        )
    size = batch_per_chip * layout.devices
    experiment = experiments.make(config)
    optimizer = optim.configured(config["optim"])
    none = np.zeros(1, np.int64)
    source = _NoRecords(config["data"]["window"])
    element = experiment.samples(source, none, none, augment=False)(0, epoch=0, stream=FIXED)
    batch = abstract_batch(element, size, layout)
    with jax.default_matmul_precision(config["precision"]["matmul"]):
        key = jax.eval_shape(jax.random.key, 0)
        state, frozen = jax.eval_shape(make_init(experiment, optimizer, layout), key)
        rate = jax.ShapeDtypeStruct((), jnp.float32)
        step: Any = make_train_step(experiment, optimizer, layout)
        traced = step.trace(state, frozen, batch, key, rate)
        lowered = traced.lower()
    learn = jax.tree.leaves(state["params"])
    trainable = sum(leaf.size for leaf in learn)
    return Program(
        lowered=lowered,
        axes=dict(layout.mesh.shape),
        batch_size=size,
        flops=flops.count(traced.jaxpr) / layout.devices,
        parameters=trainable + sum(leaf.size for leaf in jax.tree.leaves(frozen)),
        trainable=trainable,
        gradient_bytes=sum(leaf.size * leaf.dtype.itemsize for leaf in learn),
    )


def compile_program(program: Program, topology: str, cache: Path) -> dict[str, Any]:
    """Compiles, or remembers the same program's earlier compilation.

    JAX's own cache of compiled programs cannot read one for chips that are not there, so the
    figures are kept, under a hash of the program and of the compiler's version.

    Args:
        program: of `lower`.
        topology: the chips.
        cache: folder of the figures.

    Returns:
        Of one chip's program `memory`, `hbm_bytes`, `estimated_cycles`, `compiler` (its own counts)
        and `collectives`, or instead of all these `overflow`, the compiler's words; and
        `compile_s`, `versions`, `cached`.

    Raises:
        RuntimeError: the compiler failed for another reason than memory.
    """
    versions = _versions()
    words = json.dumps([READING, program.lowered.as_text(), topology, versions])
    file = cache / f"{hashlib.sha256(words.encode()).hexdigest()[:32]}.json"
    if file.is_file():
        return {**json.loads(file.read_text()), "cached": True}
    begun = time.monotonic()
    found: dict[str, Any] = {}
    # A program read back from JAX's cache, or written to it, would be of no use.
    with (
        progress(f"compiling for {topology}, minutes for a full-size network"),
        _without_jax_cache(),
    ):
        try:
            compiled = program.lowered.compile()
        except jax.errors.JaxRuntimeError as error:
            if OVERFLOW not in str(error):
                raise
            found = {"overflow": str(error)}
    if not found:
        text, cost = compiled.as_text(), compiled.cost_analysis()
        found = {
            "memory": _memory(compiled.memory_analysis()),
            "hbm_bytes": traffic.hbm_bytes(text),
            "estimated_cycles": traffic.estimated_cycles(text),
            "compiler": {name: cost.get(name) for name in ("flops", "bytes accessed")},
            "collectives": [
                dataclasses.asdict(one) for one in collectives.find(text, program.axes)
            ],
        }
    found |= {"compile_s": time.monotonic() - begun, "versions": versions}
    cache.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(f".part{os.getpid()}")
    part.write_text(json.dumps(found))
    part.replace(file)
    return {**json.loads(file.read_text()), "cached": False}


def needed_gib(overflow: str) -> float | None:
    """GiB that a program would need at least, from the compiler's words; None if they do not say.

    They may count what is needed on the way alone.
    """
    amounts = re.findall(r"(?:Used |temporaries \(|requires? )([\d.]+)([KMGT])", overflow)
    scale = {"K": 1 / GIB * 1024, "M": 1 / 1024, "G": 1.0, "T": 1024.0}
    return max((float(number) * scale[unit] for number, unit in amounts), default=None)


@contextlib.contextmanager
def progress(what: str) -> Iterator[None]:
    """Says on standard error that something goes on and for how long; on a terminal in one line."""
    done, begun = threading.Event(), time.monotonic()
    terminal = sys.stderr.isatty()

    def show() -> None:
        said = 0.0
        while not done.wait(1):
            elapsed = time.monotonic() - begun
            if terminal:
                print(f"\r{what}: {elapsed:.0f} s", end="", file=sys.stderr, flush=True)
            elif elapsed - said >= 30:
                said = elapsed
                print(f"{what}: {elapsed:.0f} s", file=sys.stderr, flush=True)

    print(f"{what} ...", file=sys.stderr, flush=True)
    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        end = "\r" if terminal else ""
        print(f"{end}{what}: {time.monotonic() - begun:.0f} s, done", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _without_jax_cache() -> Iterator[None]:
    settings: Any = jax.config
    before = settings.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)


def _memory(stats: Any) -> dict[str, int]:
    names = ("argument", "output", "alias", "temp", "generated_code")
    return {name: getattr(stats, f"{name}_size_in_bytes") for name in names}


def _versions() -> dict[str, str]:
    try:
        import libtpu

        compiler = libtpu.__version__
    except ImportError:  # for the devices of this machine
        compiler = "none"
    return {"jax": jax.__version__, "libtpu": compiler}
