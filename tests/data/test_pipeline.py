"""Batches: the same whatever runs them, every record as often as it should be, bad ones marked."""

import dataclasses
from collections import Counter
from collections.abc import Sequence

import grain
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seismollm_jax.data.augment import Augmentation
from seismollm_jax.data.donors import Donors
from seismollm_jax.data.pipeline import (
    AUGMENTED,
    FIXED,
    PLAIN,
    Batch,
    SampleMaker,
    Stream,
    epoch_size,
    eval_batches,
    train_batches,
)
from seismollm_jax.data.records import Record, Sample
from seismollm_jax.data.sample import SampleOptions
from seismollm_jax.data.sources import BadTrace

WINDOW, TRACE = 64, 200


@dataclasses.dataclass(frozen=True)
class Records:
    """Records made on the spot: noise of their own, one P and one S."""

    count: int
    bad: tuple[int, ...] = ()
    without_magnitude: tuple[int, ...] = ()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, position: int) -> Record:
        if position in self.bad:
            raise BadTrace("file.hdf5", f"trace {position}", "is damaged")
        draw = np.random.default_rng(position)
        magnitude = np.nan if position in self.without_magnitude else position / 10
        return Record(
            waveform=draw.normal(0, 1, (TRACE, 3)).astype(np.float32),
            p_samples=[100],
            s_samples=[120],
            magnitude=magnitude,
        )


def encode(sample: Sample) -> Batch:
    picks = [*sample.p_samples, -1][:1]
    return {
        "magnitude": np.array([sample.magnitude], np.float32),
        "p_sample": np.array(picks, np.int64),
    }


def make(
    count: int,
    *,
    seed: int = 0,
    augment: bool = True,
    rows: Sequence[int] | None = None,
    source: Records | None = None,
) -> SampleMaker:
    options = SampleOptions(window=WINDOW, sampling_rate_hz=100.0, min_event_gap_s=0.1)
    rows = np.arange(count) if rows is None else rows
    return SampleMaker(
        source=source or Records(count),
        rows=np.asarray(rows),
        keys=np.asarray(rows) ** 2,
        options=options,
        encode=encode,
        seed=seed,
        augmentation=Augmentation(shift_rate=0.9, scale_amplitude_rate=0.9) if augment else None,
    )


def make_borrowing(count: int, *, order: Sequence[int] | None = None, **settings) -> SampleMaker:
    """Every operation of the field switched on; two donors cannot be read."""
    rows = np.arange(count) if order is None else np.asarray(order)
    source = Permuted(Records(count, bad=(3,)), tuple(rows.tolist()))
    noise = Records(6, bad=(2,))
    everywhere = np.ones(count, bool)
    return dataclasses.replace(
        make(count, source=source, rows=rows, **settings),
        augmentation=Augmentation(
            rotate_rate=0.5, flip_polarity_rate=0.5, superpose_rate=0.5, real_noise_rate=0.5
        ),
        events=Donors.of(source, rows, rows**2, everywhere),
        noise=Donors.of(noise, np.arange(100, 106), np.arange(6), np.ones(6, bool)),
    )


@dataclasses.dataclass(frozen=True)
class Permuted:
    """Records in another order."""

    records: Records
    order: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, position: int) -> Record:
        return self.records[self.order[position]]


def assert_equal(found: Batch, expected: Batch) -> None:
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def differ(first: Batch, second: Batch) -> bool:
    return not np.array_equal(first["waveform"], second["waveform"])


def training(maker: SampleMaker, **changes) -> grain.MapDataset:
    return train_batches(maker, **{"shuffle": True, "local_batch": 4, **changes})


# -- one sample ------------------------------------------------------------------------------


@given(seed=st.integers(0, 2**31), epoch=st.integers(0, 1000), position=st.integers(0, 9))
@settings(max_examples=30)
def test_a_sample_depends_on_seed_epoch_and_record_alone(
    seed: int, epoch: int, position: int
) -> None:
    maker = make(10, seed=seed)
    first = maker(position, epoch=epoch, stream=AUGMENTED)
    maker((position + 1) % 10, epoch=epoch + 3, stream=PLAIN)  # leaves no trace
    assert_equal(make(10, seed=seed)(position, epoch=epoch, stream=AUGMENTED), first)
    assert differ(maker(position, epoch=epoch + 1, stream=AUGMENTED), first)
    assert differ(make(10, seed=seed + 1)(position, epoch=epoch, stream=AUGMENTED), first)
    assert differ(maker(position, epoch=epoch, stream=PLAIN), first)


def test_the_record_counts_not_its_position() -> None:
    """A record keeps its window when the split puts it elsewhere."""
    few = make(10, rows=np.arange(10))
    source = Records(10)

    @dataclasses.dataclass(frozen=True)
    class Reversed:
        def __len__(self) -> int:
            return 10

        def __getitem__(self, position: int) -> Record:
            return source[9 - position]

    other = dataclasses.replace(few, source=Reversed(), rows=few.rows[::-1], keys=few.keys[::-1])
    for position in range(10):
        for stream in (PLAIN, AUGMENTED, FIXED):
            expected = few(position, epoch=2, stream=stream)
            assert_equal(other(9 - position, epoch=2, stream=stream), expected)


@given(
    order=st.permutations(range(9)),
    seed=st.integers(0, 2**31),
    epoch=st.integers(0, 1000),
    position=st.integers(0, 8),
)
@settings(max_examples=30)
def test_what_a_sample_borrows_depends_on_seed_epoch_and_record_alone(
    order: list[int], seed: int, epoch: int, position: int
) -> None:
    maker, other = make_borrowing(9, seed=seed), make_borrowing(9, seed=seed, order=order)
    for stream in (PLAIN, AUGMENTED):
        element = maker(position, epoch=epoch, stream=stream)
        other((position + 1) % 9, epoch=epoch + 3, stream=AUGMENTED)  # leaves no trace
        assert_equal(other(order.index(position), epoch=epoch, stream=stream), element)


def test_fixed_windows_depend_on_nothing_else() -> None:
    maker, other = make(20, seed=1), make(20, seed=2, augment=False)
    starts = set()
    for position in range(20):
        element = maker(position, epoch=0, stream=FIXED)
        assert_equal(other(position, epoch=7, stream=FIXED), element)
        starts.add(int(element["window_start"]))
    assert len(starts) > 10  # fixed, but drawn


def test_element_of_a_good_record() -> None:
    element = make(3, augment=False)(2, epoch=0, stream=PLAIN)
    assert element["waveform"].shape == (WINDOW, 3)
    assert element["waveform"].dtype == np.float32
    assert element["valid"].dtype == np.float32
    assert element["row"].dtype == element["window_start"].dtype == np.int32
    assert (element["valid"], element["row"], element["magnitude"]) == (1, 2, np.float32(0.2))
    start = int(element["window_start"])
    trace = Records(3)[2].waveform[start : start + WINDOW]
    expected = (trace - trace.mean(0)) / trace.std(0)
    np.testing.assert_allclose(element["waveform"], expected, atol=1e-5)


def test_bad_trace_becomes_an_empty_element() -> None:
    maker = make(3, source=Records(3, bad=(1,)), rows=[10, 11, 12])
    for stream in (PLAIN, AUGMENTED, FIXED):
        element = maker(1, epoch=0, stream=stream)
        assert element["valid"] == element["readable"] == 0
        assert element["row"] == 11
        assert np.isfinite(element["waveform"]).all()
        assert element["magnitude"] == 0
        good = maker(0, epoch=0, stream=stream)
        assert good["valid"] == good["readable"] == 1
        assert {k: (v.shape, v.dtype) for k, v in good.items()} == {
            k: (v.shape, v.dtype) for k, v in element.items()
        }


def test_missing_label_takes_the_sample_out() -> None:
    maker = make(3, source=Records(3, without_magnitude=(2,)))
    element = maker(2, epoch=0, stream=FIXED)
    assert (element["valid"], element["magnitude"], element["readable"]) == (0, 0, 1)
    assert element["waveform"].any()
    assert maker(1, epoch=0, stream=FIXED)["valid"] == 1


# -- training sequence -----------------------------------------------------------------------


def rows(batches: Sequence[Batch]) -> list[int]:
    return np.concatenate([batch["row"] for batch in batches]).tolist()


@pytest.mark.parametrize("augment", [True, False])
def test_each_epoch_has_every_record_once_plain_and_once_augmented(augment: bool) -> None:
    count, batch = 10, 5
    maker = make(count, augment=augment)
    size = epoch_size(count, augment=augment)
    assert size == count * (2 if augment else 1)
    dataset = training(maker, local_batch=batch)
    steps, orders = size // batch, []
    for epoch in range(3):
        elements = [dataset[step] for step in range(epoch * steps, (epoch + 1) * steps)]
        assert Counter(rows(elements)) == dict.fromkeys(range(count), 2 if augment else 1)
        orders.append(rows(elements))
        waveforms = np.concatenate([element["waveform"] for element in elements])
        for position in range(count):
            streams = (PLAIN, AUGMENTED) if augment else (PLAIN,)
            expected = [
                maker(position, epoch=epoch, stream=stream)["waveform"] for stream in streams
            ]
            mine = waveforms[np.array(orders[-1]) == position]
            found = {value.tobytes() for value in mine}
            assert found == {value.tobytes() for value in expected}
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_batches_run_on_over_the_end_of_an_epoch() -> None:
    dataset = training(make(5), local_batch=4)  # 10 samples an epoch, 5 batches for two epochs
    elements = [dataset[step] for step in range(5)]
    assert all(len(element["row"]) == 4 for element in elements)
    assert (
        Counter(rows(elements)[:10]) == Counter(rows(elements)[10:]) == dict.fromkeys(range(5), 2)
    )


def test_without_shuffling_the_records_come_in_order() -> None:
    dataset = training(make(6, augment=False), shuffle=False, local_batch=3)
    assert rows([dataset[step] for step in range(4)]) == list(range(6)) * 2


def test_seed_decides_the_order() -> None:
    orders = [
        rows([training(make(20, seed=seed))[step] for step in range(5)]) for seed in (0, 0, 1)
    ]
    assert orders[0] == orders[1] != orders[2]


@pytest.mark.parametrize("processes", [2, 3, 4])
def test_shares_of_processes_make_the_whole_batch(processes: int) -> None:
    whole = training(make(7), local_batch=12)
    shares = [
        training(make(7), local_batch=12 // processes, process=p, processes=processes)
        for p in range(processes)
    ]
    for step in range(6):
        parts = [share[step] for share in shares]
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        assert_equal(joined, whole[step])


def test_no_records() -> None:
    with pytest.raises(ValueError, match="the training split is empty"):
        training(make(0))


# -- streams ---------------------------------------------------------------------------------


def take(stream: Stream, count: int) -> list[Batch]:
    with stream:
        return [next(stream) for _ in range(count)]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("start", [0, 1, 7, 40])
def test_a_stream_begins_anywhere(start: int, threads: int) -> None:
    dataset = training(make(9))
    found = take(Stream(dataset, start=start, threads=threads), 4)
    for step, batch in enumerate(found, start=start):
        assert_equal(batch, dataset[step])


@pytest.mark.parametrize("start", [0, 5])
def test_loader_processes_change_nothing(start: int) -> None:
    dataset = training(make(9, source=Records(9, bad=(4,))))
    found = take(Stream(dataset, start=start, workers=1, threads=1), 4)
    for step, batch in enumerate(found, start=start):
        assert_equal(batch, dataset[step])


@pytest.mark.parametrize(("start", "workers", "threads"), [(0, 0, 3), (5, 1, 1), (23, 2, 2)])
def test_borrowing_is_the_same_from_any_step_in_any_process(
    start: int, workers: int, threads: int
) -> None:
    dataset = training(make_borrowing(9))
    found = take(Stream(dataset, start=start, workers=workers, threads=threads), 4)
    for step, batch in enumerate(found, start=start):
        assert_equal(batch, dataset[step])
    whole = [dataset[step] for step in range(20)]
    assert any((batch["unread_donors"] >= 0).any() for batch in whole)
    shares = [training(make_borrowing(9), local_batch=2, process=p, processes=2) for p in (0, 1)]
    for step in (start, start + 3):
        parts = [share[step] for share in shares]
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        assert_equal(joined, dataset[step])


def test_to_device_sees_every_batch_in_order() -> None:
    dataset = training(make(9))
    found = take(Stream(dataset, to_device=lambda batch: batch["row"].tolist()), 6)
    assert found == [dataset[step]["row"].tolist() for step in range(6)]


def test_a_stream_of_one_pass_ends() -> None:
    dataset = eval_batches(make(7), local_batch=2)
    with Stream(dataset) as stream:
        assert len(list(stream)) == 4
    with Stream(dataset, to_device=lambda batch: batch) as stream:
        assert len(list(stream)) == 4


# -- evaluation ------------------------------------------------------------------------------


@given(count=st.integers(1, 40), batch=st.integers(1, 9), processes=st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_evaluation_covers_each_record_once(count: int, batch: int, processes: int) -> None:
    maker = make(count, rows=np.arange(count) * 3 + 1)
    shares = [
        eval_batches(maker, local_batch=batch, process=p, processes=processes)
        for p in range(processes)
    ]
    steps = len(shares[0])
    assert {len(share) for share in shares} == {steps}
    assert (steps - 1) * batch * processes < count <= steps * batch * processes
    real: list[int] = []
    for step in range(steps):
        for share in shares:
            element = share[step]
            assert len(element["row"]) == batch
            real += element["row"][element["mask"] == 1].tolist()
            assert set(element["mask"].tolist()) <= {0.0, 1.0}
    assert real == (np.arange(count) * 3 + 1).tolist()


@pytest.mark.parametrize("fixed", [True, False])
def test_windows_of_an_evaluation(fixed: bool) -> None:
    one = eval_batches(make(8, seed=1), local_batch=8, fixed_window=fixed)[0]
    again = eval_batches(make(8, seed=1), local_batch=8, fixed_window=fixed)[0]
    other = eval_batches(make(8, seed=2), local_batch=8, fixed_window=fixed)[0]
    assert_equal(one, again)
    assert differ(one, other) != fixed
