"""What is known of a step before the first one, and that knowing it costs no second compilation."""

import jax
import pytest

from seismollm_jax.training.cost import GIB, Cost, abstract_batch, compile_ahead, memory_figure
from tests import setups
from tests.training.steps import ADAM, RATE, ROWS, batch, experiment, fresh, step_of


def test_one_compilation() -> None:
    layout = setups.layout(8, fsdp=2)
    ours, step = experiment("magnitude"), step_of("magnitude", layout)
    state, frozen = fresh("magnitude", layout)
    arrays = batch("magnitude")
    element = {name: value[0] for name, value in arrays.items()}
    shapes = abstract_batch(element, ROWS, layout)
    key, rate = layout.replicate(jax.random.key_data(jax.random.key(3))), layout.replicate(RATE)
    key = jax.random.wrap_key_data(key)
    there = layout.to_global(arrays)
    cost = compile_ahead(step, (state, frozen, shapes, key, rate), ours, ADAM, layout)
    compiled: list[str] = []
    listener = jax.monitoring.register_event_duration_secs_listener
    listener(lambda event, _, **about: compiled.append(event) if "compile" in event else None)
    try:
        for _ in range(2):
            state, figures = step(state, frozen, there, key, rate)
        jax.block_until_ready(figures)
        assert compiled == []
        jax.jit(lambda x: x + 1)(1.0)
        assert compiled  # the listener hears
    finally:
        jax.monitoring.clear_event_listeners()
    assert step._cache_size() == 1
    # Each device is given its part of the batch and of the split arrays, and the rest whole.
    whole = sum(leaf.nbytes for leaf in jax.tree.leaves((state, frozen)))
    given = sum(leaf.nbytes for leaf in arrays.values()) / 8
    assert whole / 2 + given < cost.arguments < whole + given
    assert cost.memory == cost.arguments + cost.temporaries + cost.results
    assert cost.temporaries > 0
    assert cost.limit is None  # of a CPU


def test_work_done_twice_is_counted_once() -> None:
    layout = setups.layout(1)
    found = []
    for rematerialise in (False, True):
        changes = (("train.rematerialise", rematerialise),)
        state, frozen = fresh("magnitude", layout)
        arrays = batch("magnitude")
        shapes = abstract_batch({k: v[0] for k, v in arrays.items()}, ROWS, layout)
        step = step_of("magnitude", layout, *changes)
        arguments = (state, frozen, shapes, jax.random.key(3), layout.replicate(RATE))
        ours = experiment("magnitude", *changes)
        found.append(compile_ahead(step, arguments, ours, ADAM, layout).flops)
    assert found[0] == found[1] > 1e6


def test_report() -> None:
    cost = Cost(flops=2e12, arguments=GIB, temporaries=2 * GIB, results=1 << 20, limit=4 * GIB)
    said = "\n".join(cost.report())
    assert "3.00 GiB of 4.00 GiB for a step: 1.00 GiB network, optimiser and batch" in said
    assert "2.00 GiB on the way, 1.00 MiB results" in said
    assert "2,000.00 GFLOP a step" in said
    assert "WARNING" not in said
    tight = Cost(flops=1, arguments=GIB, temporaries=2 * GIB, results=1024, limit=2 * GIB)
    assert "WARNING: that is more than there is; a smaller train.batch_size" in str(tight.report())
    untold = Cost(flops=1, arguments=0, temporaries=0, results=0, limit=None)
    assert "memory" not in str(untold.report())


class Device:
    def __init__(self, **stats: int):
        self.stats = stats

    def memory_stats(self) -> dict[str, int] | None:
        return self.stats or None


def test_the_fullest_device_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "local_devices", lambda: [Device(), Device(used=3), Device(used=2)])
    assert memory_figure("used") == 3
    assert memory_figure("bytes_limit") is None
