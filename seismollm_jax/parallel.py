"""Processes, the device mesh and how arrays lie on it. The only module that names mesh axes."""

import dataclasses
import functools
import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

DATA = "data"  # axes of the mesh; a batch is split over both
FSDP = "fsdp"  # large arrays of the network and the optimiser are split over this one

TASKS = {
    "SLURM_STEP_NUM_TASKS": "srun",
    "OMPI_COMM_WORLD_SIZE": "mpirun",
}
"""Environment variables with the number of processes, and what sets them."""


@dataclasses.dataclass(frozen=True)
class Cluster:
    """How a process finds the others of its run; of None, JAX finds out by itself.

    Attributes:
        coordinator_address: host and port of process 0.
        num_processes: how many there are.
        process_id: which one this is, from 0.
    """

    coordinator_address: str | None = None
    num_processes: int | None = None
    process_id: int | None = None


def start(distributed: bool | None, cluster: Cluster = Cluster()) -> None:
    """Joins the other processes of a run; to be called before anything else of JAX.

    Args:
        distributed: whether there are any. None: if `cluster` says so.
        cluster: how to find them. Cloud TPU, SLURM (srun), Open MPI (mpirun) and GKE tell JAX.

    Raises:
        ValueError: part of the description is missing; or `distributed` is None and this process
            was started as one of several.
        RuntimeError: the other processes were not found.
    """
    given = [value for value in dataclasses.astuple(cluster) if value is not None]
    if distributed is None:
        distributed = bool(given)
        for variable, program in TASKS.items():
            if not distributed and int(os.environ.get(variable) or 1) > 1:
                raise ValueError(
                    f"{program} started {os.environ[variable]} processes: give --distributed for "
                    "one run over all of them, or --nodistributed if each is to work alone"
                )
    if not distributed:
        return
    if given and len(given) < 3:
        raise ValueError(
            "--coordinator_address, --num_processes and --process_id belong together; give all "
            "three, or --distributed alone where JAX finds the others (Cloud TPU, SLURM, Open MPI, "
            "GKE)"
        )
    try:
        jax.distributed.initialize(*dataclasses.astuple(cluster))
    except ValueError as error:
        raise ValueError(
            f"JAX cannot tell how this process belongs to others ({error}): give "
            "--coordinator_address=HOST:PORT, --num_processes and --process_id"
        ) from error


def main_first(call: Callable[[], Any]) -> Any:
    """Calls on process 0, then on the others: for what writes a file that is missing.

    If process 0 fails, all do.
    """
    if jax.process_count() == 1:
        return call()
    outcome, failure = None, None
    if is_main():
        try:
            outcome = call()
        except Exception as error:  # the others wait, and must hear of it
            failure = error
    failed = multihost_utils.broadcast_one_to_all(np.array(failure is not None))
    if failure is not None:
        raise failure
    if failed:
        raise RuntimeError("process 0 failed; its output says why")
    return outcome if is_main() else call()


@dataclasses.dataclass(frozen=True)
class Layout:
    """A mesh of data x fsdp devices, and how arrays lie on it.

    Attributes:
        mesh: over all devices of all processes.
        split_from: elements; smaller arrays of the network are whole on every device, since the
            messages that would collect them cost more time than they save memory.
    """

    mesh: Mesh
    split_from: int = 2**16

    @property
    def replicated(self) -> NamedSharding:
        """Every device holds the whole array."""
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def batched(self) -> NamedSharding:
        """The first axis is split over the devices."""
        return NamedSharding(self.mesh, PartitionSpec((DATA, FSDP)))

    @property
    def micro_batched(self) -> NamedSharding:
        """The second axis is split over the devices."""
        return NamedSharding(self.mesh, PartitionSpec(None, (DATA, FSDP)))

    def spread(self, tree: Any) -> Any:
        """The sharding of each array of a network or optimiser; leaves need a shape only.

        Large ones are split over the fsdp axis, along the longest of their axes that it divides
        (fully sharded data parallelism; Rajbhandari et al. 2020, "ZeRO", stage 3); others and all
        arrays without such an axis are replicated.
        """
        parts = self.mesh.shape[FSDP]

        def sharding(leaf: Any) -> NamedSharding:
            axes = [axis for axis, size in enumerate(leaf.shape) if size % parts == 0]
            if parts == 1 or not axes or math.prod(leaf.shape) < self.split_from:
                return self.replicated
            longest = max(axes, key=lambda axis: leaf.shape[axis])
            return NamedSharding(self.mesh, PartitionSpec(*[None] * longest, FSDP))

        return jax.tree.map(sharding, tree)

    def collect(self, tree: Any) -> Any:
        """Within a step: the arrays of `spread` made whole for use; their gradients are split.

        Left to itself, the compiler would rather divide the products of the network, and send
        activations around, which are larger than weights.
        """

        def one(leaf: jax.Array) -> jax.Array:
            sharding = self.spread(leaf)
            return leaf if sharding.is_fully_replicated else _collected(leaf, self, sharding)

        return jax.tree.map(one, tree)

    @property
    def splits(self) -> bool:
        """Whether large arrays are split."""
        return self.mesh.shape[FSDP] > 1

    @property
    def devices(self) -> int:
        """Number of devices in the mesh."""
        return self.mesh.size

    def local_batch(self, batch_size: int, name: str = "batch_size", *, micro: int = 1) -> int:
        """This process's share of a global batch.

        Args:
            batch_size: over all devices.
            name: the field to blame in an error.
            micro: micro-batches that it is divided into.

        Raises:
            ValueError: the batch is empty, or does not divide evenly over the devices.
        """
        if batch_size < 1 or batch_size % (self.devices * micro):
            among = f"{self.devices} devices" + (f" and {micro} micro-batches" * (micro > 1))
            raise ValueError(
                f"{name}={batch_size} does not divide over {among}; "
                f"choose a multiple of {self.devices * micro}"
            )
        return batch_size // jax.process_count()

    def to_global(self, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        """Lays this process's rows, (local batch, ...), onto the mesh as (batch, ...)."""
        return {
            key: jax.make_array_from_process_local_data(self.batched, np.asarray(value))
            for key, value in batch.items()
        }

    def by_device(self, function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """`function(whole, rows)` done by each device for its own rows, without a word to others.

        `whole` is a tree of arrays that every device holds, `rows` and what comes out have rows of
        the batch along their first axis.
        """
        if self.devices == 1:
            return function
        rows = PartitionSpec((DATA, FSDP))
        specs = (PartitionSpec(), rows)
        return jax.shard_map(
            function, mesh=self.mesh, in_specs=specs, out_specs=rows, check_vma=False
        )

    def replicate(self, tree: Any) -> Any:
        """Copies a tree of host arrays, equal on every process, to every device."""
        return jax.tree.map(lambda x: place(x, self.replicated), tree)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _collected(x: jax.Array, layout: Layout, sharding: NamedSharding) -> jax.Array:
    return jax.lax.with_sharding_constraint(x, layout.replicated)


_collected.defvjp(
    lambda x, layout, sharding: (_collected(x, layout, sharding), None),
    lambda layout, sharding, _, gradient: (jax.lax.with_sharding_constraint(gradient, sharding),),
)


def is_not_collected(primitive: Any, *_: Any, **__: Any) -> bool:
    """What may be held for the gradient, as a policy of `jax.checkpoint`: all but whole arrays.

    They are collected a second time instead.
    """
    # Weights may be used in another type, and that copy must not be held either.
    collecting = ("custom_vjp_call", "sharding_constraint", "convert_element_type")
    return primitive.name not in collecting


def layout_over(devices: Sequence[Any], fsdp: int = 1) -> Layout:
    """The mesh over chosen devices, which may be descriptions of chips that are not there.

    Args:
        devices: of all processes.
        fsdp: size of the fsdp axis, whose devices are neighbours.

    Raises:
        ValueError: `fsdp` does not divide the number of devices, or not along axes of a TPU slice.
    """
    if fsdp < 1 or len(devices) % fsdp:
        raise ValueError(
            f"mesh.fsdp={fsdp} does not divide the {len(devices)} devices; choose a divisor"
        )
    sizes = len(devices) // fsdp, fsdp
    try:
        # The default is explicit axis types, under which shardings become part of the types.
        auto = (AxisType.Auto, AxisType.Auto)
        return Layout(jax.make_mesh(sizes, (DATA, FSDP), devices=devices, axis_types=auto))
    except NotImplementedError as error:
        raise ValueError(
            f"mesh.fsdp={fsdp} cannot be laid on these {len(devices)} chips: {sizes[0]} x {fsdp} "
            "must be products of whole axes of the slice; choose the length of one of them"
        ) from error


def make_layout(fsdp: int = 1) -> Layout:
    """The mesh over every device there is."""
    return layout_over(jax.devices(), fsdp)


def place(array: Any, sharding: jax.sharding.Sharding) -> jax.Array:
    """Lays a host array, equal on every process, onto the mesh."""
    host = np.asarray(array)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])


def gather(tree: Any) -> Any:
    """Device arrays, however they lie on the mesh -> whole host arrays, on every process."""
    return jax.tree.map(whole, jax.device_get(tree) if jax.process_count() == 1 else tree)


def whole(array: Any) -> np.ndarray:
    """One array as a host array; if it is spread over processes, all of them must call this."""
    if not isinstance(array, jax.Array) or array.is_fully_addressable:
        return np.asarray(array)
    if array.is_fully_replicated:
        return np.asarray(array.addressable_data(0))
    return np.asarray(multihost_utils.process_allgather(array, tiled=True))


def is_main() -> bool:
    """Whether this process writes tables, logs and pictures."""
    return jax.process_index() == 0
