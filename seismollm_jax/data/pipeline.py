"""From a catalogue to batches, with Grain.

Everything is a pure function of position: element k of the training sequence is the batch of step
k, and each sample in it depends on (seed, epoch, record) alone. So a run resumes by slicing the
sequence at its step, whatever the number of workers, processes or devices was before.
"""

import dataclasses
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import grain
import numpy as np

from seismollm_jax.data.augment import Augmentation
from seismollm_jax.data.donors import Donors, Source
from seismollm_jax.data.field_augment import NO_ROW, augment_record
from seismollm_jax.data.memory import keep_freed_memory
from seismollm_jax.data.records import Record, Sample
from seismollm_jax.data.sample import SampleOptions, make_sample
from seismollm_jax.data.sources import BadTrace

Batch = dict[str, np.ndarray]

# First words of the random seeds of one sample, so that no two purposes share a stream;
# `field_augment` has more.
PLAIN, AUGMENTED, FIXED = 0, 1, 2


@dataclasses.dataclass(frozen=True)
class SampleMaker:
    """Position in a source -> one element of a batch. Picklable; runs in loader workers.

    An element has `waveform` (window, 3) float32, the task's targets, `row` (the record's number
    in the dataset), `window_start`, `readable`: 0 where the trace could not be read, with zeros in
    its place, and `valid`: 0 where that is so or a label is missing; such an element must not
    count. Where the augmentation borrows from other records it also has `unread_donors` (2,), the
    dataset rows of those that could not be read, -1 for none.

    Attributes:
        source: records.
        rows: (len(source),) dataset row of each record, for reports.
        keys: (len(source),) what `sources.record_keys` makes of its name: the record's part of the
            random seed, so that neither the order of a table nor a split changes its samples.
        options: window and normalisation.
        encode: sample -> targets.
        seed: of the run.
        augmentation: what augmented samples go through.
        events: records to add events from, if `augmentation.superpose_rate` is not 0.
        noise: noise traces to add, if `augmentation.real_noise_rate` is not 0.

    Raises:
        ValueError: no records to borrow from, although the augmentation asks for them.
    """

    source: Source
    rows: np.ndarray
    keys: np.ndarray
    options: SampleOptions
    encode: Callable[[Sample], Batch]
    seed: int
    augmentation: Augmentation | None = None
    events: Donors | None = None
    noise: Donors | None = None

    def __post_init__(self) -> None:
        asked = self.augmentation or Augmentation()
        if asked.superpose_rate > 0 and (self.events is None or len(self.events) < 2):
            raise ValueError(
                f"augment.superpose_rate is {asked.superpose_rate}, but fewer than two training "
                "records have a P and an S arrival to borrow; set it to 0"
            )
        if asked.real_noise_rate > 0 and not self.noise:
            raise ValueError(
                f"augment.real_noise_rate is {asked.real_noise_rate}, but the dataset has no noise "
                "traces that training may borrow; add some, or set it to 0"
            )

    def __call__(self, position: int, *, epoch: int, stream: int) -> Batch:
        """Makes the element; `stream` is PLAIN, AUGMENTED or FIXED (which leaves the epoch out)."""
        key = int(self.keys[position])
        words = (FIXED, key) if stream == FIXED else (stream, self.seed, epoch, key)
        try:
            record, readable = self.source[position], True
        except BadTrace:
            record, readable = _empty_record(self.options.window), False
        valid = readable
        augmentation = self.augmentation if stream == AUGMENTED else None
        unread = np.full(2, NO_ROW, np.int32)
        if augmentation is not None and readable:
            record, unread = augment_record(
                *(record, key, (self.seed, epoch), augmentation, self.options),
                events=self.events,
                noise=self.noise,
            )
        # Normal numbers for noise bound an augmented sample; SFC64 draws them a sixth faster.
        bits = np.random.SFC64 if stream == AUGMENTED else np.random.PCG64
        rng = np.random.Generator(bits(words))
        sample = make_sample(record, rng, self.options, augmentation)
        targets = self.encode(sample)
        for name, value in targets.items():
            if np.issubdtype(value.dtype, np.floating) and not np.isfinite(value).all():
                targets[name], valid = np.zeros_like(value), False
        return {
            "waveform": sample.waveform,
            **targets,
            "row": np.array(self.rows[position], np.int32),
            "window_start": np.array(sample.window_start, np.int32),
            "readable": np.array(readable, np.float32),
            "valid": np.array(valid, np.float32),
            # The same keys for plain elements, since both are in one batch.
            **({"unread_donors": unread} if self.events or self.noise else {}),
        }


def _empty_record(samples: int) -> Record:
    return Record(waveform=np.zeros((samples, 3), np.float32), p_samples=[], s_samples=[])


@dataclasses.dataclass(frozen=True)
class _TrainingElement:
    """(position in the endless sequence, record index) -> element; the second half is augmented."""

    maker: SampleMaker
    positions: np.ndarray  # of the records
    size: int  # elements of an epoch

    def __call__(self, index: int, record: int) -> Batch:
        records = len(self.positions)
        stream = AUGMENTED if record >= records else PLAIN
        position = int(self.positions[record % records])
        return self.maker(position, epoch=index // self.size, stream=stream)


def epoch_size(records: int, *, augment: bool) -> int:
    """Samples of an epoch: each record plain and, with augmentation, once more augmented."""
    return records * (2 if augment else 1)


def train_batches(
    maker: SampleMaker,
    *,
    shuffle: bool,
    local_batch: int,
    process: int = 0,
    processes: int = 1,
    shares: Sequence[tuple[np.ndarray, float]] | None = None,
) -> grain.MapDataset:
    """The endless sequence of this process's batches; element k is step k.

    Epochs follow each other without a break: a batch may hold the end of one and the beginning of
    the next, so no sample is dropped and all batches are full. A global batch holds the same
    samples in the same order for any number of processes.

    `shares` mixes sources with weights: positions of each one's records, and its share of all
    samples. Each then goes through its own records at its own pace, in epochs of its own.

    Raises:
        ValueError: there are no records.
    """
    if not len(maker.source):
        raise ValueError("the training split is empty")
    if shares is None:
        shares = [(np.arange(len(maker.source)), 1.0)]
    sequences = []
    for number, (positions, _) in enumerate(shares):
        size = epoch_size(len(positions), augment=maker.augmentation is not None)
        sequence = grain.MapDataset.range(size).seed((maker.seed + number) % 2**32)
        if shuffle:
            sequence = sequence.shuffle()
        element = _TrainingElement(maker, positions, size)
        sequences.append(sequence.repeat().map_with_index(element))
    dataset = sequences[0]
    if len(sequences) > 1:
        dataset = grain.MapDataset.mix(sequences, [share for _, share in shares])
    return dataset.batch(local_batch, drop_remainder=True)[process::processes]


@dataclasses.dataclass(frozen=True)
class _EvaluationElement:
    maker: SampleMaker
    fixed_window: bool

    def __call__(self, position: int) -> Batch:
        real = position >= 0
        stream = FIXED if self.fixed_window else PLAIN
        element = self.maker(max(position, 0), epoch=0, stream=stream)
        return {**element, "mask": np.array(real, np.float32)}


def eval_batches(
    maker: SampleMaker,
    *,
    local_batch: int,
    fixed_window: bool = True,
    process: int = 0,
    processes: int = 1,
) -> grain.MapDataset:
    """This process's batches of one pass in dataset order, as many on every process.

    `mask` is 0 on the rows that fill up the last batches. With `fixed_window` the window of a
    record depends on the record alone; otherwise on the seed too.
    """
    records = len(maker.source)
    steps = -(-records // (local_batch * processes))
    positions = np.arange(steps * processes * local_batch)
    positions = np.where(positions < records, positions, -1)
    mine = positions.reshape(steps, processes, local_batch)[:, process].ravel()
    element = _EvaluationElement(maker, fixed_window)
    return grain.MapDataset.source(mine).map(element).batch(local_batch)


class Stream:
    """Iterates over batches on the host, prefetched by threads or by worker processes.

    Close it (or use it in a `with` block) so that workers end.
    """

    def __init__(
        self,
        batches: grain.MapDataset,
        *,
        start: int = 0,
        workers: int = 0,
        threads: int = 2,
        to_device: Callable[[Mapping[str, np.ndarray]], Any] | None = None,
    ):
        keep_freed_memory()
        dataset = batches[start:].to_iter_dataset(
            grain.ReadOptions(num_threads=threads, prefetch_buffer_size=4)
        )
        if workers:
            _mark_flags_parsed()
            dataset = dataset.mp_prefetch(
                grain.MultiprocessingOptions(num_workers=workers), worker_init_fn=_start_worker
            )
        if to_device is not None:
            dataset = dataset.map(to_device)
            dataset = grain.experimental.ThreadPrefetchIterDataset(dataset, prefetch_buffer_size=2)
        self._iterator = iter(dataset)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self._iterator)

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Stops workers and threads."""
        if hasattr(self._iterator, "close"):
            self._iterator.close()


def _start_worker(worker: int, workers: int) -> None:
    """Prepares a loader process: it ends when the training ends it, or is gone, and not before.

    A batch system sends SIGTERM to all processes of a job; the training still needs batches to
    come to the end of its step. And after a SIGKILL of the training nobody else would end it.
    """
    keep_freed_memory()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _mark_flags_parsed() -> None:
    """Grain reads an absl flag before starting workers, which fails outside `absl.app.run`."""
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
