"""Which samples are rotated, flipped, added to or made noisy, with what, and whether they count."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seismollm_jax import tasks
from seismollm_jax.data import field_augment as fa
from seismollm_jax.data.augment import Augmentation
from seismollm_jax.data.donors import Donors
from seismollm_jax.data.pipeline import AUGMENTED, PLAIN, SampleMaker
from seismollm_jax.data.records import Record
from seismollm_jax.data.sample import SampleOptions
from seismollm_jax.data.sources import BadTrace
from seismollm_jax.experiment import Encoder
from tests.data.field_records import level, trace

OPTIONS = SampleOptions(window=400, sampling_rate_hz=20.0)
ON = {"rotate_rate": 1.0, "flip_polarity_rate": 1.0, "superpose_rate": 1.0, "real_noise_rate": 1.0}


@dataclasses.dataclass(frozen=True)
class Records:
    """Ready-made records, some of which cannot be read."""

    records: tuple[Record, ...]
    bad: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, position: int) -> Record:
        if position in self.bad:
            raise BadTrace("file.hdf5", f"trace {position}", "is damaged")
        return self.records[position]


def everything(source: Records, rows: Sequence[int] | None = None) -> Donors:
    rows = np.arange(len(source)) if rows is None else np.asarray(rows)
    return Donors.of(source, rows, rows, np.ones(len(source), bool))


EVENTS = Records(tuple(trace(seed, [60 + 9 * seed], [90 + 11 * seed]) for seed in range(12)))
NOISE = Records(tuple(trace(100 + seed, [], []) for seed in range(5)))


def maker(
    task: str = "picking",
    *,
    source: Records = EVENTS,
    events: Donors | None = None,
    noise: Donors | None = None,
    options: SampleOptions = OPTIONS,
    **rates: object,
) -> SampleMaker:
    context = tasks.get(task).context(
        window=options.window, sampling_rate_hz=options.sampling_rate_hz, options={}
    )
    return SampleMaker(
        source,
        np.arange(len(source)),
        np.arange(len(source)),
        options,
        Encoder(task, "", context),
        seed=5,
        augmentation=Augmentation(**rates),
        events=events or everything(source),
        noise=noise or everything(NOISE, range(100, 105)),
    )


def augmented(chosen: SampleMaker) -> list[dict[str, np.ndarray]]:
    return [
        chosen(position, epoch=epoch, stream=AUGMENTED)
        for epoch in range(4)
        for position in range(len(chosen.source))
    ]


def test_off_by_default() -> None:
    record = trace(0)
    donors = {"events": everything(EVENTS), "noise": everything(NOISE)}
    same, unread = fa.augment_record(record, 0, (1, 2), Augmentation(), OPTIONS, **donors)
    assert same is record
    assert unread.tolist() == [-1, -1]


@pytest.mark.parametrize("rate", ON)
def test_a_sample_without_the_operation_is_the_one_of_before(rate: str) -> None:
    """So the rest of the augmentation draws the same numbers, and half the samples have it."""
    off, half = augmented(maker()), augmented(maker(**{rate: 0.5}))
    same = [
        all(np.array_equal(a[name], b[name]) for name in a) for a, b in zip(off, half, strict=True)
    ]
    assert 10 < sum(same) < 40
    plain = maker(**{rate: 1.0})(3, epoch=0, stream=PLAIN)
    expected = maker()(3, epoch=0, stream=PLAIN)
    np.testing.assert_array_equal(plain["waveform"], expected["waveform"])


def test_operations_are_drawn_independently() -> None:
    """Whether a record is flipped, and how it is turned, is not changed by the others."""

    def drawn(**rates: float) -> list[tuple[int, float]]:
        found = []
        for row in range(40):
            donors = {"events": everything(EVENTS), "noise": everything(NOISE)}
            settings = (record := trace(0), row, (1, 2), Augmentation(**rates), OPTIONS)
            out, _ = fa.augment_record(*settings, **donors)
            found.append((out.polarity, out.back_azimuth_deg - record.back_azimuth_deg))
        return found

    flips = {"flip_polarity_rate": 0.5}
    turns = {"rotate_rate": 0.5}
    both = drawn(**flips, **turns, real_noise_rate=0.5)
    assert [polarity for polarity, _ in both] == [polarity for polarity, _ in drawn(**flips)]
    assert [angle for _, angle in both] == [angle for _, angle in drawn(**turns)]
    pairs = {(polarity, angle != 0) for polarity, angle in both}
    assert len(pairs) == 4


@given(row=st.integers(0, 2**31 - 1), epoch=st.integers(0, 10**4), level_db=st.floats(-20, 20))
@settings(max_examples=60)
def test_an_added_event_has_the_level_asked_for_and_keeps_its_distance(
    row: int, epoch: int, level_db: float
) -> None:
    host, options = trace(7), dataclasses.replace(OPTIONS, min_event_gap_s=2.0)
    rates = Augmentation(superpose_rate=1.0, superpose_level_db=(level_db, level_db))
    donor = trace(8, [50], [70])
    events = everything(Records((donor, donor)))
    out, _ = fa.augment_record(host, row, (0, epoch), rates, options, events=events)
    assert len(out.p_samples) == len(out.s_samples) == 2
    place = next(p for p in out.p_samples if p != 100)
    assert abs(place - 100) >= 40
    assert abs(place + 20 - 160) >= 40
    added = out.waveform.astype(np.float64) - host.waveform
    if place <= 400 - 60 - 20:  # the donor's event, P to coda end, is whole and not in the fade
        assert 20 * math.log10(
            level(added[place : place + 60]) / level(host.waveform[100:280])
        ) == (pytest.approx(level_db, abs=0.01))


def test_events_are_added_to_events_alone() -> None:
    noise = trace(0, [], [])
    rates = Augmentation(superpose_rate=1.0)
    out, _ = fa.augment_record(noise, 0, (0, 0), rates, OPTIONS, events=everything(EVENTS))
    assert out is noise
    fixed = dataclasses.replace(OPTIONS, p_position_ratio=0.3)
    host = trace(0)
    out, _ = fa.augment_record(host, 0, (0, 0), rates, fixed, events=everything(EVENTS))
    assert out is host


@pytest.mark.parametrize(
    "donor", [trace(0, [300], [200]), trace(0, [], []), trace(0, [50, 200], [70, 220])]
)
def test_a_donor_that_is_no_single_event_is_not_added(donor: Record) -> None:
    host = trace(1)
    events = everything(Records((donor, donor)))
    rates = Augmentation(superpose_rate=1.0)
    out, unread = fa.augment_record(host, 7, (0, 0), rates, OPTIONS, events=events)
    assert out is host
    assert unread.tolist() == [-1, -1]


def test_no_room_for_a_second_event() -> None:
    host, donor = trace(1, [0], [399]), trace(2, [0], [399])
    events, rates = everything(Records((donor, donor))), Augmentation(superpose_rate=1.0)
    assert fa.augment_record(host, 7, (0, 0), rates, OPTIONS, events=events)[0] is host


def test_an_unreadable_donor_costs_the_operation_and_is_named() -> None:
    bad_events = everything(Records(EVENTS.records, bad=tuple(range(1, 12))), range(20, 32))
    bad_noise = everything(Records(NOISE.records, bad=(0, 1, 2, 3, 4)), range(100, 105))
    rates = {"superpose_rate": 1.0, "real_noise_rate": 1.0}
    expected = maker()(0, epoch=0, stream=AUGMENTED)
    element = maker(events=bad_events, noise=bad_noise, **rates)(0, epoch=0, stream=AUGMENTED)
    event, noise = element["unread_donors"].tolist()
    assert 21 <= event <= 31 or event == -1  # position 0 is readable
    assert 100 <= noise <= 104
    assert element["readable"] == element["valid"] == 1
    seen = [
        maker(events=bad_events, noise=bad_noise, **rates)(0, epoch=epoch, stream=AUGMENTED)
        for epoch in range(6)
    ]
    assert any(element["unread_donors"][0] >= 21 for element in seen)
    for epoch, element in enumerate(seen):
        expected = maker()(0, epoch=epoch, stream=AUGMENTED)
        if element["unread_donors"][0] >= 21:
            np.testing.assert_array_equal(element["waveform"], expected["waveform"])


def test_nothing_to_borrow_from() -> None:
    one = Records(EVENTS.records[:1])
    with pytest.raises(ValueError, match=r"superpose_rate is 0\.5, but fewer than two"):
        maker(source=one, superpose_rate=0.5)
    none = everything(Records(()))
    plain = maker()
    with pytest.raises(ValueError, match=r"real_noise_rate is 0\.5, but the dataset has no noise"):
        dataclasses.replace(plain, augmentation=Augmentation(real_noise_rate=0.5), noise=none)


# -- labels that go missing do not count -----------------------------------------------------


@pytest.mark.parametrize(
    ("rate", "lost"),
    [
        ("rotate_rate", set()),
        ("flip_polarity_rate", set()),
        ("real_noise_rate", set()),
        ("superpose_rate", {"magnitude", "distance", "back_azimuth", "polarity"}),
    ],
)
@pytest.mark.parametrize("task", list(tasks.TASKS))
def test_whether_a_sample_still_counts(task: str, rate: str, lost: set[str]) -> None:
    elements = augmented(maker(task, **{rate: 1.0}))
    assert {float(element["valid"]) for element in elements} == {0.0 if task in lost else 1.0}
    assert all(np.isfinite(v).all() for element in elements for v in element.values())


def test_curves_show_all_picks_and_targets_the_first() -> None:
    apart = dataclasses.replace(OPTIONS, min_event_gap_s=1.0)  # so that labels do not overlap
    chosen = maker(options=apart, superpose_rate=1.0, generate_noise_rate=0.0, shift_rate=0.0)
    for element in augmented(chosen):
        peaks = np.flatnonzero(element["labels"][:, 1] >= 1.0)
        assert len(peaks) == 2
        assert element["p_sample"].tolist() == [peaks[0]]
