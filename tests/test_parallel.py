"""Arrays on the mesh of eight devices."""

import jax
import numpy as np
import pytest

from seismollm_jax import parallel
from tests import setups


def test_the_mesh_has_all_devices() -> None:
    layout = parallel.make_layout()
    assert layout.devices == jax.device_count() == 8
    assert layout.mesh.axis_names == (parallel.DATA,)


def test_local_batch() -> None:
    layout = parallel.make_layout()
    assert layout.local_batch(64) == 64  # one process
    assert setups.layout(1).local_batch(7) == 7
    message = r"train\.batch_size=20 does not divide over 8 devices; choose a multiple of 8"
    with pytest.raises(ValueError, match=message):
        layout.local_batch(20, "train.batch_size")
    with pytest.raises(ValueError, match="batch_size=0 does not divide"):
        layout.local_batch(0)


@pytest.mark.parametrize("devices", [1, 2, 8])
def test_rows_lie_in_order_on_the_devices(devices: int) -> None:
    layout = setups.layout(devices)
    batch = {"x": np.arange(48.0, dtype=np.float32).reshape(16, 3), "row": np.arange(16)}
    laid = layout.to_global(batch)
    assert laid["x"].shape == (16, 3)
    shards = sorted(laid["x"].addressable_shards, key=lambda shard: shard.index[0].start or 0)
    assert len({shard.device for shard in shards}) == devices
    np.testing.assert_array_equal(np.concatenate([shard.data for shard in shards]), batch["x"])
    assert all(shard.data.shape == (16 // devices, 3) for shard in shards)
    back = parallel.gather(laid)
    for name, value in batch.items():
        assert isinstance(back[name], np.ndarray)
        np.testing.assert_array_equal(back[name], value)


def test_rows_that_do_not_divide() -> None:
    with pytest.raises(ValueError, match="12"):
        parallel.make_layout().to_global({"x": np.zeros((12, 3), np.float32)})


def test_replicate_copies_to_every_device() -> None:
    layout = parallel.make_layout()
    tree = {"a": np.arange(5.0, dtype=np.float32), "b": (np.int32(3),)}
    copies = layout.replicate(tree)
    assert jax.tree.structure(copies) == jax.tree.structure(tree)
    for leaf, value in zip(jax.tree.leaves(copies), jax.tree.leaves(tree), strict=True):
        assert leaf.sharding == layout.replicated
        assert len(leaf.addressable_shards) == 8
        for shard in leaf.addressable_shards:
            np.testing.assert_array_equal(shard.data, value)


def test_one_process_is_the_main_one() -> None:
    assert parallel.is_main()
