"""Augmentations that the PyTorch original lacks: other sensors, sources, events and backgrounds.

They act on the record as read, before the window is cut and before the original's operations: they
stand for what happened in the ground and at the sensor, and what is done to a trace afterwards
(filtering, gaps, dead channels, normalisation) must act on the outcome. Each draws from a
generator of its own, so that switching one on changes neither the draws of the others nor those of
the original's operations.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from seismollm_jax.data.augment import Augmentation, event_spans
from seismollm_jax.data.donors import Donors
from seismollm_jax.data.records import DOWN, NO_POLARITY, UP, Record
from seismollm_jax.data.sample import SampleOptions, is_noise
from seismollm_jax.data.sources import BadTrace
from seismollm_jax.data.waveform import is_live

# First words of the random seeds, apart from those of the pipeline.
ROTATE, FLIP, SUPERPOSE, REAL_NOISE = 3, 4, 5, 6

TAPER_S = 1.0
"""Length of the fades at both ends of an added event, seconds."""

NO_ROW = -1


def augment_record(
    record: Record,
    key: int,
    words: tuple[int, ...],
    augmentation: Augmentation,
    options: SampleOptions,
    *,
    events: Donors | None = None,
    noise: Donors | None = None,
) -> tuple[Record, np.ndarray]:
    """Draw and apply the operations in the order of this module; `record` stays as it is.

    `key` is the record's, `words` the rest of the random seed. Events are added to traces whose
    events have P and S, and not where the position of P is fixed. A donor that cannot be
    read, is no single event, or finds no room leaves the record without that operation.

    Returns the record and the rows of donors that could not be read, int32 (2,), of an event and of
    noise, `NO_ROW` where there was no such trouble.
    """
    unread = np.full(2, NO_ROW, np.int32)

    def generator(operation: int, rate: float) -> np.random.Generator | None:
        """The operation's generator if it happens."""
        if rate <= 0:
            return None
        rng = np.random.default_rng((operation, *words, key))
        return rng if rng.random() < rate else None

    def borrowed(donors: Donors, rng: np.random.Generator, slot: int) -> Record | None:
        index = donors.draw(rng, key)
        if index is None:
            return None
        try:
            return donors.source[int(donors.positions[index])]
        except BadTrace:
            unread[slot] = donors.rows[index]
            return None

    if rng := generator(ROTATE, augmentation.rotate_rate):
        record = rotate(record, float(rng.uniform(0, 360)))
    if generator(FLIP, augmentation.flip_polarity_rate):
        record = flip_polarity(record)
    paired = record.p_samples and record.s_samples and not is_noise(record, options.min_snr_db)
    movable = paired and options.p_position_ratio is None
    if movable and events and (rng := generator(SUPERPOSE, augmentation.superpose_rate)):
        donor = borrowed(events, rng, 0)
        if donor is not None and not is_noise(donor, options.min_snr_db):
            level_db = float(rng.uniform(*augmentation.superpose_level_db))
            record = _superpose(record, donor, level_db, options, rng)
    if noise and (rng := generator(REAL_NOISE, augmentation.real_noise_rate)):
        donor = borrowed(noise, rng, 1)
        if donor is not None:
            snr_db = float(rng.uniform(*augmentation.real_noise_snr_db))
            recorded = fit_length(donor.waveform, len(record.waveform), rng)
            record = add_recorded_noise(record, recorded, snr_db, options.coda_ratio)
    return record, unread


def rotate(record: Record, angle_deg: float) -> Record:
    """Turn ground motion and source about the station's vertical, clockwise seen from above.

    A motion towards azimuth a becomes one towards a + `angle_deg`, which is what the station would
    have recorded of the same event at the back azimuth plus `angle_deg`. All other labels stay.
    Without two live horizontal components the record comes back as it is: the motion along a dead
    one is not known.
    """
    if not is_live(record.waveform)[1:].all():
        return record
    angle = math.radians(angle_deg)
    cosine, sine = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    waveform = record.waveform.copy()
    north, east = record.waveform[:, 1], record.waveform[:, 2]
    waveform[:, 1] = cosine * north - sine * east
    waveform[:, 2] = sine * north + cosine * east
    back_azimuth_deg = (record.back_azimuth_deg + angle_deg) % 360
    return dataclasses.replace(
        record,
        waveform=waveform,
        # Just below 360 it is 360 in the float32 of a label.
        back_azimuth_deg=0.0 if np.float32(back_azimuth_deg) >= 360 else back_azimuth_deg,
    )


def flip_polarity(record: Record) -> Record:
    """Change the sign of all components and with it the polarity, if known.

    As if every force at the source were reversed. The back azimuth stays: up and away from the
    source becomes down and towards it, the same line of motion.
    """
    flipped = {UP: DOWN, DOWN: UP}.get(record.polarity, record.polarity)
    return dataclasses.replace(record, waveform=-record.waveform, polarity=flipped)


def superpose(record: Record, donor: Record, p_sample: int, scale: float, taper: int) -> Record:
    """Add `scale` times the one event of `donor` with its P at `p_sample`.

    From `taper` samples before P on, mean removed, the donor's trace is added as far as both
    reach; it fades in over the samples before P and out over the last `taper` after S. Dead
    components stay dead. The picks become those of both events; what is one number or one class for
    a trace (magnitude, distance, back azimuth, polarity) goes missing, since two events have two.
    """
    (p,), (s,) = donor.p_samples, donor.s_samples
    first = max(p - taper, 0)
    piece = _centred(donor.waveform[first:])
    fade_in, fade_out = p - first, min(taper, len(donor.waveform) - 1 - s)
    piece[:, :fade_in] *= _ramp(fade_in)
    piece[:, piece.shape[1] - fade_out :] *= _ramp(fade_out)[::-1]
    start = p_sample - fade_in
    piece = piece[:, max(-start, 0) : len(record.waveform) - start]
    piece *= scale * is_live(record.waveform)[:, None]
    waveform = record.waveform.copy()
    waveform[max(start, 0) : max(start, 0) + piece.shape[1]] += piece.T
    return dataclasses.replace(
        record,
        waveform=waveform,
        p_samples=sorted([*record.p_samples, p_sample]),
        s_samples=sorted([*record.s_samples, p_sample + s - p]),
        magnitude=math.nan,
        distance_km=math.nan,
        back_azimuth_deg=math.nan,
        polarity=NO_POLARITY,
    )


def add_recorded_noise(
    record: Record, noise: np.ndarray, snr_db: float, coda_ratio: float
) -> Record:
    """Add noise (samples, 3) `snr_db` below the record's events; labels stay.

    Both levels are root mean squares over the live components, that of the record from each P to
    the end of the coda, or over the whole trace where there is no event. All components of the
    noise are scaled alike, and dead components of the record stay dead.
    """
    signal = _event_level(record, coda_ratio)
    level = root_mean_square(noise)
    if not signal or not level:
        return record
    scale = signal / level * 10.0 ** (-snr_db / 20.0)
    added = _centred(noise)
    added *= scale * is_live(record.waveform)[:, None]
    waveform = record.waveform.copy()
    waveform += added.T
    return dataclasses.replace(record, waveform=waveform)


def root_mean_square(waveform: np.ndarray, spans: Sequence[tuple[int, int]] = ()) -> float:
    """Over the components that are not constant, mean removed; within [start, end) spans, if any.

    `waveform` is (samples, components). 0 if all components are constant.
    """
    if spans:
        within = np.zeros(len(waveform), bool)
        for start, end in spans:
            within[start:end] = True
        waveform = waveform[within]
    rows = _centred(waveform)[is_live(waveform)]
    if not rows.size:
        return 0.0
    return float(np.sqrt(np.einsum("ij,ij->", rows, rows) / rows.size))


def places(
    p_samples: Sequence[int], s_samples: Sequence[int], delay: int, n_samples: int, gap: int
) -> list[tuple[int, int]]:
    """Where the P of a further event may lie: ranges from first to last sample, both included.

    Its P, and its S `delay` samples later, lie inside the trace and at least `gap` samples from
    those of every other event. Events do not overtake each other, so that also afterwards the n-th
    P and the n-th S belong together. The picks are sorted pairs.
    """
    ranges = []
    for n in range(len(p_samples) + 1):
        low, high = 0, n_samples - 1 - delay
        if n > 0:
            low = max(low, p_samples[n - 1] + gap, s_samples[n - 1] + gap - delay)
        if n < len(p_samples):
            high = min(high, p_samples[n] - gap, s_samples[n] - gap - delay)
        if low <= high:
            ranges.append((low, high))
    return ranges


def fit_length(waveform: np.ndarray, n_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Cut (samples, components) anywhere to `n_samples`, or continue it as its mirror image."""
    if len(waveform) >= n_samples:
        start = int(rng.integers(0, len(waveform) - n_samples + 1))
        return waveform[start : start + n_samples]
    return np.pad(waveform, ((0, n_samples - len(waveform)), (0, 0)), mode="reflect")


def _superpose(
    record: Record, donor: Record, level_db: float, options: SampleOptions, rng: np.random.Generator
) -> Record:
    """Draw the place of the donor's event and add it, `level_db` above those of the record."""
    if len(donor.p_samples) != 1 or len(donor.s_samples) != 1:
        return record
    p_samples, s_samples = sorted(record.p_samples), sorted(record.s_samples)
    delay = donor.s_samples[0] - donor.p_samples[0]
    n_samples, gap = len(record.waveform), max(options.min_event_gap, 1)
    ranges = places(p_samples, s_samples, delay, n_samples, gap)
    level = _event_level(record, options.coda_ratio)
    donor_level = _event_level(donor, options.coda_ratio)
    if not ranges or not level or not donor_level:
        return record
    chosen = int(rng.integers(0, sum(last - first + 1 for first, last in ranges)))
    for first, last in ranges:
        if chosen <= last - first:
            break
        chosen -= last - first + 1
    scale = level / donor_level * 10.0 ** (level_db / 20.0)
    taper = int(TAPER_S * options.sampling_rate_hz)
    return superpose(record, donor, first + chosen, scale, taper)


def _centred(waveform: np.ndarray) -> np.ndarray:
    """Without its means, float64 (components, samples): sums along memory are ten times faster."""
    rows = np.array(waveform.T, np.float64, order="C")
    rows -= rows.mean(axis=1, keepdims=True)
    return rows


def _event_level(record: Record, coda_ratio: float) -> float:
    """Root mean square from each P to the end of its coda; of the whole trace without events.

    Where only P or only S is known, from there to the end of the trace.
    """
    if is_noise(record):
        return root_mean_square(record.waveform)
    p_samples, s_samples, end = record.p_samples, record.s_samples, len(record.waveform)
    if p_samples and s_samples:
        spans = event_spans(p_samples, s_samples, coda_ratio, end)
    else:
        spans = [(min(p_samples + s_samples), end)]
    return root_mean_square(record.waveform, spans)


def _ramp(length: int) -> np.ndarray:
    """Rise of a cosine from above 0 to below 1."""
    return 0.5 - 0.5 * np.cos(np.pi * (np.arange(length) + 0.5) / max(length, 1))
