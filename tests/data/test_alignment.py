"""Labels stay with the onsets, and samples stay finite, whatever is done to a trace.

The traces are silent but for one sample at each arrival, so that onsets can be read from a sample
without a picker.
"""

import dataclasses

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from seismollm_jax.data.augment import Augmentation
from seismollm_jax.data.donors import Donors
from seismollm_jax.data.field_augment import augment_record
from seismollm_jax.data.records import Record, Sample
from seismollm_jax.data.sample import SampleOptions, make_sample
from seismollm_jax.data.waveform import NORMALISATIONS

SEEDS = st.integers(0, 2**32 - 1)
RATES = st.sampled_from([0.0, 0.5, 1.0])
# Everything that moves, adds or changes an arrival, and nothing that adds other signal.
MOVES = {
    "add_event_rate": RATES,
    "max_events": st.integers(1, 4),
    "shift_rate": RATES,
    "drop_channel_rate": RATES,
    "scale_amplitude_rate": RATES,
    "pre_emphasis_rate": RATES,
    "rotate_rate": RATES,
    "flip_polarity_rate": RATES,
    "superpose_rate": RATES,
}
STILL = {"generate_noise_rate": 0.0, "add_noise_rate": 0.0, "gap_rate": 0.0}


@dataclasses.dataclass(frozen=True)
class Records:
    records: tuple[Record, ...]

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, position: int) -> Record:
        return self.records[position]


def donors(*records: Record) -> Donors:
    rows = np.arange(1000, 1000 + len(records))
    return Donors.of(Records(records), rows, rows, np.ones(len(records), bool))


@st.composite
def spikes(draw: st.DrawFn) -> Record:
    """One event: a spike at P and its opposite at S, so that the mean of the trace is 0."""
    n = draw(st.integers(40, 300))
    p = draw(st.integers(0, n - 2))
    s = draw(st.integers(p + 1, n - 1))
    waveform = np.zeros((n, 3), np.float32)
    waveform[p] = [4, -2, 1]
    waveform[s] = -waveform[p]
    return Record(waveform, [p], [s])


def sample_of(
    record: Record, events: Donors, seed: int, augmentation: Augmentation, options: SampleOptions
) -> Sample:
    augmented, _ = augment_record(record, 7, (seed,), augmentation, options, events=events)
    return make_sample(augmented, np.random.default_rng(seed), options, augmentation)


def onsets(sample: Sample) -> np.ndarray:
    """Largest deviation of a component from its background at each sample of the window."""
    return np.abs(sample.waveform - np.median(sample.waveform, axis=0)).max(axis=1)


def options_for(data: st.DataObject, n: int) -> SampleOptions:
    return SampleOptions(
        window=data.draw(st.integers(20, n + 50), "window"),
        sampling_rate_hz=20.0,
        normalisation="none",
        p_position_ratio=data.draw(st.sampled_from([None, None, 0.0, 0.4, 1.0]), "P position"),
        min_event_gap_s=data.draw(st.sampled_from([0.0, 0.3, 1.0]), "gap"),
    )


@given(
    data=st.data(),
    host=spikes(),
    others=st.lists(spikes(), min_size=1, max_size=3),
    seed=SEEDS,
    rates=st.fixed_dictionaries(MOVES),
)
@settings(max_examples=400, deadline=None)
def test_there_is_an_onset_at_every_pick(
    data: st.DataObject, host: Record, others: list[Record], seed: int, rates: dict[str, float]
) -> None:
    options = options_for(data, len(host.waveform))
    augmentation = Augmentation(**STILL, **rates)
    sample = sample_of(host, donors(*others), seed, augmentation, options)
    assert not sample.noise
    seen = onsets(sample)
    for pick in sample.p_samples + sample.s_samples:
        assert seen[pick] > 1e-6
    if rates["add_event_rate"] == 0:
        # The other way round: an onset without a pick is the echo that pre-emphasis leaves one
        # sample later. (An event added by repetition may carry a piece of another along.)
        picks = set(sample.p_samples + sample.s_samples)
        echoes = {pick + 1 for pick in picks} | {0} if rates["pre_emphasis_rate"] else set()
        assert set(np.flatnonzero(seen > 1e-3).tolist()) <= picks | echoes
    events = 1 + (rates["superpose_rate"] > 0) + (rates["add_event_rate"] > 0) * 3
    assert max(len(sample.p_samples), len(sample.s_samples)) <= events


@given(data=st.data(), host=spikes(), others=st.lists(spikes(), min_size=1, max_size=2), seed=SEEDS)
@settings(max_examples=200, deadline=None)
def test_a_pick_without_an_onset_lies_in_a_gap(
    data: st.DataObject, host: Record, others: list[Record], seed: int
) -> None:
    """A gap may begin on an arrival, as in the original, and takes no other one."""
    options = options_for(data, len(host.waveform))
    with_gap = Augmentation(
        **(STILL | {"gap_rate": 1.0}), superpose_rate=1.0, shift_rate=0.5, pre_emphasis_rate=0.0
    )
    sample = sample_of(host, donors(*others), seed, with_gap, options)
    seen = onsets(sample)
    picks = sample.p_samples + sample.s_samples
    lost = {pick for pick in picks if seen[pick] <= 1e-6}
    assert len(lost) <= 1


@given(data=st.data(), host=spikes(), seed=SEEDS, rate=RATES)
@settings(max_examples=200, deadline=None)
def test_onsets_stand_out_of_added_noise(
    data: st.DataObject, host: Record, seed: int, rate: float
) -> None:
    options = options_for(data, len(host.waveform))
    augmentation = Augmentation(
        **(STILL | {"add_noise_rate": 1.0}),
        real_noise_rate=1.0,
        real_noise_snr_db=(20.0, 30.0),
        shift_rate=rate,
        rotate_rate=rate,
        flip_polarity_rate=rate,
        drop_channel_rate=0.0,
    )
    background = Record(np.random.default_rng(seed).standard_normal((150, 3), np.float32), [], [])
    noisy, _ = augment_record(host, 7, (seed,), augmentation, options, noise=donors(background))
    sample = make_sample(noisy, np.random.default_rng(seed), options, augmentation)
    seen = onsets(sample)
    for pick in sample.p_samples + sample.s_samples:
        assert seen[pick] > 0.3 * seen.max()


@given(
    seed=SEEDS,
    n=st.integers(2, 300),
    window=st.integers(1, 350),
    dead=st.sets(st.integers(0, 2)),
    dead_donor=st.sets(st.integers(0, 2)),
    scale=st.sampled_from([1e-20, 1e-3, 1.0, 1e9, 1e20]),
    other_scale=st.sampled_from([1e-20, 1.0, 1e20]),
    offset=st.sampled_from([0.0, 1e5]),
    picks=st.lists(st.integers(-5, 305), max_size=2),
    normalisation=st.sampled_from(NORMALISATIONS),
    ratio=st.sampled_from([None, 0.3]),
)
@settings(max_examples=400, deadline=None)
def test_no_sample_is_ever_other_than_finite(
    seed: int,
    n: int,
    window: int,
    dead: set[int],
    dead_donor: set[int],
    scale: float,
    other_scale: float,
    offset: float,
    picks: list[int],
    normalisation: str,
    ratio: float | None,
) -> None:
    rng = np.random.default_rng(seed)

    def trace(length: int, size: float, still: set[int], *arrivals: list[int]) -> Record:
        waveform = (rng.standard_normal((length, 3)) + offset) * size
        waveform[:, list(still)] = size
        return Record(waveform.astype(np.float32), *arrivals)

    p, s = sorted(rng.choice(n, 2, replace=False).tolist())
    host = trace(n, scale, dead, picks[:1] or [p], picks[1:] or [s])
    other = trace(120, other_scale, dead_donor, [30], [50])
    noise = trace(int(rng.integers(2, 400)), other_scale, dead_donor, [], [])
    before = host.waveform.copy()
    everything = Augmentation(
        **{name: 0.8 for name in MOVES if name != "max_events"},
        max_events=3,
        generate_noise_rate=0.1,
        add_noise_rate=0.8,
        gap_rate=0.8,
        noise_percent=20,
        mask_percent=20,
        real_noise_rate=0.8,
        superpose_level_db=(-60.0, 60.0),
        real_noise_snr_db=(-60.0, 60.0),
    )
    options = SampleOptions(window, 20.0, normalisation, p_position_ratio=ratio)
    borrowed = {"events": donors(other), "noise": donors(noise)}
    record, unread = augment_record(host, 7, (seed,), everything, options, **borrowed)
    sample = make_sample(record, np.random.default_rng(seed), options, everything)
    assert np.isfinite(sample.waveform).all()
    assert sample.waveform.shape == (window, 3)
    assert sample.waveform.dtype == np.float32
    assert all(0 <= pick < window for pick in sample.p_samples + sample.s_samples)
    assert unread.tolist() == [-1, -1]
    np.testing.assert_array_equal(host.waveform, before)


@given(
    data=st.data(),
    whole=spikes(),
    lacking=st.sampled_from(["p_samples", "s_samples"]),
    other=spikes(),
    seed=SEEDS,
    rates=st.fixed_dictionaries({**MOVES, "generate_noise_rate": RATES}),
)
@settings(max_examples=300, deadline=None)
def test_an_event_with_one_phase_keeps_it(
    data: st.DataObject,
    whole: Record,
    lacking: str,
    other: Record,
    seed: int,
    rates: dict[str, float],
) -> None:
    """The phase that is labelled stays on its onset; the other is nowhere said to be absent."""
    host = dataclasses.replace(whole, **{lacking: []})
    options = options_for(data, len(host.waveform))
    augmentation = Augmentation(**(STILL | rates))
    sample = sample_of(host, donors(other), seed, augmentation, options)
    assert not sample.noise
    assert (sample.p_labelled, sample.s_labelled) == (bool(host.p_samples), bool(host.s_samples))
    kept, missing = sample.p_samples, sample.s_samples
    if lacking == "p_samples":
        kept, missing = missing, kept
    assert missing == []
    assert len(kept) <= 1
    seen = onsets(sample)
    assert all(seen[pick] > 1e-6 for pick in kept)
