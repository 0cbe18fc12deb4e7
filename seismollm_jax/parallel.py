"""Processes, the device mesh and how arrays lie on it. The only module that names mesh axes."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

DATA = "data"  # the axis over which a batch is split


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
    """A one-axis mesh over all devices of all processes, and the two shardings used on it."""

    mesh: Mesh

    @property
    def replicated(self) -> NamedSharding:
        """Every device holds the whole array."""
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def batched(self) -> NamedSharding:
        """The first axis is split over the devices."""
        return NamedSharding(self.mesh, PartitionSpec(DATA))

    @property
    def devices(self) -> int:
        """Number of devices in the mesh."""
        return self.mesh.size

    def local_batch(self, batch_size: int, name: str = "batch_size") -> int:
        """This process's share of a global batch; `name` is the field to blame in an error.

        Raises:
            ValueError: the batch is empty, or does not divide evenly over the devices.
        """
        if batch_size < 1 or batch_size % self.devices:
            raise ValueError(
                f"{name}={batch_size} does not divide over {self.devices} devices; "
                f"choose a multiple of {self.devices}"
            )
        return batch_size // jax.process_count()

    def to_global(self, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        """Lays this process's rows, (local batch, ...), onto the mesh as (batch, ...)."""
        return {
            key: jax.make_array_from_process_local_data(self.batched, np.asarray(value))
            for key, value in batch.items()
        }

    def replicate(self, tree: Any) -> Any:
        """Copies a tree of host arrays, equal on every process, to every device."""
        return jax.tree.map(
            lambda x: jax.make_array_from_process_local_data(self.replicated, np.asarray(x)), tree
        )


def layout_over(devices: Sequence[Any]) -> Layout:
    """The mesh over chosen devices, which may be descriptions of chips that are not there."""
    # make_mesh defaults to explicit axis types, under which shardings become part of the types.
    return Layout(
        jax.make_mesh((len(devices),), (DATA,), devices=devices, axis_types=(AxisType.Auto,))
    )


def make_layout() -> Layout:
    """The mesh over every device there is."""
    return layout_over(jax.devices())


def gather(tree: Any) -> Any:
    """Batched device arrays -> host arrays of the whole batch, on every process."""
    if jax.process_count() == 1:
        return jax.tree.map(np.asarray, jax.device_get(tree))
    return multihost_utils.process_allgather(tree, tiled=True)


def is_main() -> bool:
    """Whether this process writes tables, logs and pictures."""
    return jax.process_index() == 0
