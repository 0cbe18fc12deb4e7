# ruff: noqa: NPY002 - the legacy generator is what such pipelines use
"""A straightforward PyTorch input pipeline for picking on STEAD, to compare with.

Written as is usual in this field: a Dataset that reads one trace with h5py, augments it in NumPy
in float32, (components, samples), and makes soft labels, and a DataLoader over it. It does the work
of `configs/picking.py:stead`, each operation with the same probability, but draws its own random
numbers.
"""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import torch

WINDOW = 6000
MIN_EVENT_GAP = 50  # samples
CODA_RATIO = 2.0
LABEL_WIDTH = 50  # samples
FROM_ENZ = (2, 1, 0)


class Traces(torch.utils.data.Dataset):
    """Item i is (waveform (3, samples), labels (3, samples), picks (2,)).

    `mode` is "plain", "augmented", or "both": every trace plain, then every trace augmented. The
    file is opened for every trace, as the published pipeline does, or with `keep_open` once in
    every process.
    """

    def __init__(self, folder: Path, mode: str, keep_open: bool):
        self.table = pd.read_csv(folder / "merge.csv", low_memory=False)
        self.path = folder / "merge.hdf5"
        self.mode, self.keep_open = mode, keep_open
        self.file: h5py.File | None = None

    def __len__(self):
        return len(self.table) * (2 if self.mode == "both" else 1)

    def __getitem__(self, index):
        augmented = self.mode == "augmented" or index >= len(self.table)
        row = self.table.iloc[index % len(self.table)]
        data = self.read(row["trace_name"]).T[list(FROM_ENZ)]  # (3, samples)
        p_samples, s_samples = [int(row["p_arrival_sample"])], [int(row["s_arrival_sample"])]
        if is_noise(p_samples, s_samples, data.shape[1]):
            p_samples, s_samples = [], []
        if augmented:
            data, p_samples, s_samples = augment(data, p_samples, s_samples)
        data, p_samples, s_samples = cut(data, p_samples, s_samples)
        data = normalise(data)
        p_label, s_label = soft_label(p_samples), soft_label(s_samples)
        nothing = np.clip(1.0 - p_label - s_label, 0.0, None)
        labels = np.stack([nothing, p_label, s_label]).astype(np.float32)
        picks = [p_samples[0] if p_samples else -1, s_samples[0] if s_samples else -1]
        return torch.from_numpy(data), torch.from_numpy(labels), torch.tensor(picks)

    def read(self, name):
        """One trace as stored, (samples, 3)."""
        if not self.keep_open:
            with h5py.File(self.path, "r") as file:
                return np.array(file["data/" + name], dtype=np.float32)
        if self.file is None:
            self.file = h5py.File(self.path, "r")
        return np.array(self.file["data/" + name], dtype=np.float32)


def is_noise(p_samples, s_samples, length):
    """Picks that do not make an event in the trace."""
    picks = [*p_samples, *s_samples]
    if len(p_samples) != len(s_samples) or not picks:
        return True
    if min(picks) < 0 or max(picks) >= length:
        return True
    return any(p >= s for p, s in zip(p_samples, s_samples, strict=True))


def augment(data, p_samples, s_samples):
    """The operations of the published training, with its rates."""
    channels, length = data.shape
    noise = np.random.random() < 0.05
    if noise:
        for p, s in zip(p_samples, s_samples, strict=True):
            end = min(int(s + CODA_RATIO * (s - p)), length)
            data[:, p:end] = np.random.randn(channels, max(end - p, 0))
        p_samples, s_samples = [], []
    elif np.random.random() < 0.2:
        shift = np.random.randint(0, length)
        data = np.roll(data, shift, axis=1)
        p_samples = sorted((p + shift) % length for p in p_samples)
        s_samples = sorted((s + shift) % length for s in s_samples)
    if np.random.random() < 0.4:
        count = np.random.choice(range(1, channels))
        for channel in np.random.choice(channels, count, replace=False):
            data[channel] = 0.0
        alive = sum(bool(np.any(data[channel] != 0)) for channel in range(channels))
        if alive:
            data = data * np.float32(channels / alive)
    if np.random.random() < 0.4:
        factor = np.float32(np.random.uniform(1, 3))
        data = data * factor if np.random.random() < 0.5 else data / factor
    if not noise:
        if np.random.random() < 0.4:
            for channel in range(channels):
                first = data[channel, 0]
                data[channel, 1:] = data[channel, 1:] - np.float32(0.97) * data[channel, :-1]
                data[channel, 0] = first
        if np.random.random() < 0.4:
            for channel in range(channels):
                power = np.sum(data[channel] ** 2) / length
                amplitude = np.sqrt(power * 10 ** (-np.random.randint(10, 50) / 10))
                data[channel] += amplitude * np.random.randn(length)
        if np.random.random() < 0.4:
            marks = sorted({*p_samples, *s_samples, length - 1})
            if len(marks) > 1:
                i = np.random.randint(0, len(marks) - 1)
                start = np.random.randint(marks[i], marks[i + 1])
                data[:, start : np.random.randint(start, marks[i + 1])] = 0.0
    return data, p_samples, s_samples


def cut(data, p_samples, s_samples):
    """A random window, or zeros behind a trace shorter than it."""
    length = data.shape[1]
    if length < WINDOW:
        return np.pad(data, ((0, 0), (0, WINDOW - length))), p_samples, s_samples
    if length > WINDOW:
        bound = max(min([length - WINDOW, *p_samples]) - MIN_EVENT_GAP, 1)
        start = np.random.randint(0, bound)
        data = data[:, start : start + WINDOW]
        p_samples = [p - start for p in p_samples if start <= p < start + WINDOW]
        s_samples = [s - start for s in s_samples if start <= s < start + WINDOW]
    return data, p_samples, s_samples


def normalise(data):
    """Zero mean and unit deviation of each channel."""
    data = data - np.mean(data, axis=1, keepdims=True)
    deviation = np.std(data, axis=1, keepdims=True)
    deviation[deviation == 0] = 1
    return data / deviation


def soft_label(samples):
    """Gaussian windows around picks."""
    label = np.zeros(WINDOW)
    left = LABEL_WIDTH // 2
    right = LABEL_WIDTH - left
    window = np.exp(-(np.arange(-left, right + 1) ** 2) / (2 * 10**2))
    for sample in samples:
        if 0 <= sample < WINDOW:
            first, last = max(sample - left, 0), min(sample + right + 1, WINDOW)
            label[first:last] += window[first - sample + left : last - sample + left]
    return label


def seed_worker(worker):
    """NumPy's generator, which all workers would otherwise have in the same state."""
    np.random.seed(torch.initial_seed() % 2**32)
    torch.set_num_threads(1)


def loader(folder: Path, keep_open: bool, *, batch: int, workers: int):
    """The DataLoader; processes are spawned, because forking a process with threads is unsafe."""
    return torch.utils.data.DataLoader(
        Traces(folder, "both", keep_open),
        batch_size=batch,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        worker_init_fn=seed_worker,
        multiprocessing_context="spawn" if workers else None,
        persistent_workers=workers > 0,
    )
