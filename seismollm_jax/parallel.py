"""Processes, the device mesh and how arrays lie on it. The only module that names mesh axes."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

DATA = "data"  # the axis over which a batch is split


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


def make_layout() -> Layout:
    """The mesh over every device there is."""
    # make_mesh defaults to explicit axis types, under which shardings become part of the types.
    return Layout(jax.make_mesh((jax.device_count(),), (DATA,), axis_types=(AxisType.Auto,)))


def gather(tree: Any) -> Any:
    """Batched device arrays -> host arrays of the whole batch, on every process."""
    if jax.process_count() == 1:
        return jax.tree.map(np.asarray, jax.device_get(tree))
    return multihost_utils.process_allgather(tree, tiled=True)


def is_main() -> bool:
    """Whether this process writes tables, logs and pictures."""
    return jax.process_index() == 0
