"""Arrays on the mesh of eight devices."""

import dataclasses

import jax
import numpy as np
import pytest

from seismollm_jax import parallel
from tests import setups


def test_the_mesh_has_all_devices() -> None:
    layout = parallel.make_layout()
    assert layout.devices == jax.device_count() == 8
    assert dict(layout.mesh.shape) == {parallel.DATA: 8, parallel.FSDP: 1}
    assert dict(parallel.make_layout(4).mesh.shape) == {parallel.DATA: 2, parallel.FSDP: 4}
    with pytest.raises(ValueError, match=r"mesh\.fsdp=3 does not divide the 8 devices"):
        parallel.make_layout(3)


def test_local_batch() -> None:
    layout = parallel.make_layout()
    assert layout.local_batch(64) == 64  # one process
    assert setups.layout(1).local_batch(7) == 7
    message = r"train\.batch_size=20 does not divide over 8 devices; choose a multiple of 8"
    with pytest.raises(ValueError, match=message):
        layout.local_batch(20, "train.batch_size")
    with pytest.raises(ValueError, match="batch_size=0 does not divide"):
        layout.local_batch(0)


def test_a_batch_of_micro_batches_divides_over_both() -> None:
    layout = parallel.make_layout(2)
    assert layout.local_batch(32, micro=4) == 32
    message = "batch_size=24 does not divide over 8 devices and 4 micro-batches; .* multiple of 32"
    with pytest.raises(ValueError, match=message):
        layout.local_batch(24, micro=4)


def test_large_arrays_are_split_along_their_longest_axis_that_divides() -> None:
    layout = dataclasses.replace(parallel.make_layout(4), split_from=60)
    tree = {
        "matrix": np.zeros((8, 12)),
        "uneven": np.zeros((8, 13)),
        "odd": np.zeros((9, 13)),
        "small": np.zeros(40),
        "one": np.float32(1),
    }
    axes = {name: tuple(sharding.spec) for name, sharding in layout.spread(tree).items()}
    assert axes == {
        "matrix": (None, parallel.FSDP),
        "uneven": (parallel.FSDP,),
        "odd": (),
        "small": (),
        "one": (),
    }
    laid = parallel.place(np.arange(96.0).reshape(8, 12), layout.spread(tree)["matrix"])
    assert {shard.data.shape for shard in laid.addressable_shards} == {(8, 3)}
    np.testing.assert_array_equal(parallel.gather({"x": laid})["x"], np.arange(96.0).reshape(8, 12))


@pytest.mark.parametrize(("devices", "fsdp"), [(1, 1), (2, 1), (8, 1), (8, 4)])
def test_rows_lie_in_order_on_the_devices(devices: int, fsdp: int) -> None:
    layout = setups.layout(devices, fsdp)
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
