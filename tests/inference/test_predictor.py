"""A trained network on windows and on continuous records."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from obspy import Stream, Trace, UTCDateTime

import seismollm_jax as sj
from seismollm_jax import tasks
from seismollm_jax.data.waveform import normalise
from seismollm_jax.inference.predictor import Predictor
from seismollm_jax.inference.streams import Segment
from seismollm_jax.metrics.phases import NO_PICK
from seismollm_jax.models.state import merge
from seismollm_jax.training.saved import CheckpointError
from seismollm_jax.training.saved import load as read_checkpoint
from tests import setups

WINDOW, RATE = 640, 100.0
CHANNELS = {"picking": 3, "polarity": 2, "magnitude": 1, "back_azimuth": 2, "distance": 1}
START = UTCDateTime(2020, 1, 1, 0, 0, 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkpoints")


def saved(folder: Path, task: str) -> Path:
    """A working directory with a network of the task."""
    workdir = folder / task
    if not workdir.exists():
        config = setups.config(task, changes={"precision.matmul": "highest"})
        setups.save_random(workdir, config)
    return workdir


@pytest.fixture
def predictor(request: pytest.FixtureRequest, folder: Path) -> Predictor:
    return sj.load(saved(folder, getattr(request, "param", "picking")), batch_size=4)


every_task = pytest.mark.parametrize("predictor", setups.TASKS, indirect=True)
one_a_window = pytest.mark.parametrize(
    "predictor", [t for t in CHANNELS if t != "picking"], indirect=True
)


def raw(windows: int, samples: int = WINDOW) -> np.ndarray:
    """Ground motion with an offset and a scale: (windows, 3, samples)."""
    draw = np.random.default_rng(0)
    return (draw.normal(0, 1, (windows, 3, samples)) * 400 + 2000).astype(np.float32)


def ready(windows: int, samples: int = WINDOW) -> np.ndarray:
    return np.stack([normalise(x.T).T for x in raw(windows, samples)])


def direct(predictor: Predictor, x: np.ndarray) -> np.ndarray:
    """The network by itself, windows one after the other; channels last."""
    stored = read_checkpoint(predictor.path)
    arrays = stored.params, stored.frozen, stored.stats
    model: Any = merge(predictor.experiment.abstract().graphdef, *arrays)
    run = jax.jit(lambda window: model(window))
    return np.concatenate([np.asarray(run(window.T[None])) for window in x])


@every_task
def test_forward_is_the_network(predictor: Predictor) -> None:
    task, x = predictor.experiment.task.name, ready(6)
    output = predictor.forward(x)
    channels = CHANNELS[task]
    assert output.shape == ((6, 3, WINDOW) if task == "picking" else (6, channels))
    assert output.dtype == np.float32
    expected = direct(predictor, x[:2])
    expected = expected.swapaxes(1, 2) if task == "picking" else expected
    np.testing.assert_allclose(output[:2], expected, rtol=1e-4, atol=1e-5)
    assert (predictor.window, predictor.sampling_rate_hz) == (WINDOW, RATE)
    assert np.abs(np.diff(output, axis=0)).max() > 1e-4  # windows get answers of their own


@every_task
def test_answers_are_decoded_outputs_of_normalised_windows(predictor: Predictor) -> None:
    answers = predictor.predict(raw(3))
    task = predictor.experiment.task
    output = predictor.forward(ready(3))
    output = output.swapaxes(1, 2) if output.ndim == 3 else output
    expected = task.decode(output, predictor.experiment.context)
    assert answers.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(answers[name], expected[name])
        assert len(answers[name]) == 3
    again = predictor.predict(raw(3) * 1e-6)  # the unit of ground motion does not matter
    for name in expected:
        np.testing.assert_allclose(again[name], expected[name], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("count", [1, 3, 4, 5, 9])
def test_filling_up_a_batch_changes_nothing(folder: Path, count: int) -> None:
    x = ready(9)
    four, nine = (sj.load(saved(folder, "magnitude"), batch_size=n) for n in (4, 9))
    np.testing.assert_allclose(four.forward(x[:count]), nine.forward(x)[:count], rtol=1e-5)


def test_windows_of_another_length(predictor: Predictor) -> None:
    assert predictor.forward(ready(2, 1000)).shape == (2, 3, 1000)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((3, WINDOW)), r"shape \(3, 640\); \(windows, 3, samples\) is needed"),
        (np.zeros((2, WINDOW, 3)), r"shape \(2, 640, 3\); .* components Z, N, E"),
        (np.zeros((0, 3, WINDOW)), r"shape \(0, 3, 640\)"),
        (
            np.where(np.arange(5) == 3, np.nan, 0)[:, None, None] * np.ones((5, 3, WINDOW)),
            r"windows \[3\] hold samples that are not finite; fill the gaps",
        ),
        (np.zeros((1, 3, 9000)), r"9000 samples makes 140 tokens, more than the 64"),
        (np.zeros((1, 3, 20)), r"20 samples is too short"),
    ],
)
def test_windows_that_cannot_be_used(predictor: Predictor, x: np.ndarray, message: str) -> None:
    for call in (predictor.forward, predictor.predict):
        with pytest.raises(ValueError, match=message):
            call(x)


def segment(samples: int, *, gap: slice | None = None) -> Segment:
    data = np.ascontiguousarray(raw(1, samples)[0].T)
    valid = np.ones(data.shape, bool)
    if gap is not None:
        data[gap], valid[gap] = 0, False
    return Segment("XX.STA..HH", START, RATE, data, valid, ("HHZ", "HHN", "HHE"))


def stream(samples: int, channels: str = "ZNE", start: UTCDateTime = START) -> Stream:
    return Stream(
        Trace(
            data,
            {
                "network": "XX",
                "station": "STA",
                "channel": f"HH{name}",
                "starttime": start,
                "sampling_rate": RATE,
            },
        )
        for data, name in zip(raw(1, samples)[0], channels, strict=False)
    )


def test_curves_of_one_window_are_the_output(predictor: Predictor) -> None:
    start = UTCDateTime(0)  # where a window begins
    record = dataclasses.replace(segment(WINDOW), start_time=start)
    ((found, curves),) = predictor.curves([record], overlap=0)
    assert found is record
    expected = predictor.forward(normalise(record.data).T[None])[0].T
    np.testing.assert_allclose(curves, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("samples", [300, WINDOW + 1, 5 * WINDOW + 123])
def test_annotations_of_any_length(predictor: Predictor, samples: int) -> None:
    found = predictor.annotate(stream(samples), edge_s=0)
    assert [trace.stats.channel for trace in found] == [f"SeisMoLLM_{x}_HH" for x in "NPS"]
    for trace in found:
        assert (trace.stats.starttime, len(trace)) == (START, samples)
        assert trace.data.min() >= 0
        assert trace.data.max() <= 1


def test_annotations_stop_where_the_data_do(predictor: Predictor) -> None:
    record = stream(2000)
    record = record.slice(START, START + 6.99) + record.slice(START + 9)
    found = predictor.annotate(record).select(channel="SeisMoLLM_P*")
    assert [(trace.stats.starttime - START, len(trace)) for trace in found] == [
        (0.5, 600),
        (9.5, 1000),
    ]


def test_short_pieces_with_gaps_have_answers(predictor: Predictor) -> None:
    """Three pieces shorter than a window, half a second apart."""
    whole = stream(1600)
    record = Stream()
    for first in (0, 5.5, 11):
        record += whole.slice(START + first, START + first + 4.99)
    output = predictor.classify(record, P_threshold=0.01)
    for first in (0, 5.5, 11):
        assert output.picks.select(starttime=START + first, endtime=START + first + 5)
    table = output.coverage.to_dataframe()
    assert table["read"].tolist() == [45]
    assert table["analysed"].tolist() == [pytest.approx(36)]
    assert (table["masked"] == table["edge"]).all()
    assert table["gap"].tolist() == [3]
    assert output.creator == "SeisMoLLM"


@pytest.mark.parametrize("channels", ["Z", "ZN", "Z12", "NE"])
def test_any_components_do(predictor: Predictor, channels: str) -> None:
    found = predictor.annotate(stream(WINDOW, channels))
    assert len(found) == 3
    assert not predictor.annotate(stream(WINDOW, channels), strict=True) or channels == "Z12"


def test_instruments_at_one_site_stay_apart(predictor: Predictor) -> None:
    record = stream(WINDOW)
    other = stream(WINDOW)
    for trace in other:
        trace.stats.channel = f"HN{trace.stats.channel[-1]}"
        trace.data = trace.data[::-1].copy()
    alone = predictor.annotate(record)
    both = predictor.annotate(other + record)
    assert {trace.stats.channel[-2:] for trace in both} == {"HH", "HN"}
    for trace in alone:
        (same,) = both.select(channel=trace.stats.channel)
        np.testing.assert_allclose(same.data, trace.data, atol=1e-5)
    picks = predictor.classify(other + record, P_threshold=0.01).picks
    assert {pick.trace_id for pick in picks} == {"XX.STA..HH", "XX.STA..HN"}


def test_devices_and_batches_change_nothing(folder: Path) -> None:
    record = stream(8 * WINDOW)
    expected: Any = None
    for devices, batch_size in ((1, 16), (8, 8), (8, 64)):
        predictor = sj.load(saved(folder, "picking"), devices=devices)
        assert predictor.devices == devices
        found = predictor.annotate(record, batch_size=batch_size)
        times = [pick.peak_time.ns for pick in predictor.classify(record, P_threshold=0.01).picks]
        expected = expected or (found, times)
        for trace, same in zip(found, expected[0], strict=True):
            np.testing.assert_allclose(trace.data, same.data, atol=1e-5)
        assert times == pytest.approx(expected[1], abs=1e5)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"treshold": 1}, TypeError, "no option treshold; there are batch_size, overlap, stacking"),
        ({"overlap": WINDOW}, ValueError, "overlap is 640"),
        ({"stacking": "median"}, ValueError, "'avg' or 'max'"),
        ({"blinding": (400, 0)}, ValueError, "leaves holes"),
        ({"batch_size": 0}, ValueError, "batch_size is 0"),
        ({"edge_s": -1}, ValueError, "edge_s is -1"),
        ({"P_threshold": 30}, ValueError, "P_threshold is 30"),
    ],
)
def test_options_that_cannot_be(
    predictor: Predictor, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    for call in (predictor.annotate, predictor.classify):
        with pytest.raises(error, match=message):
            call(stream(WINDOW), **options)


def test_stacking_and_blinding_are_passed_on(predictor: Predictor) -> None:
    record = stream(4 * WINDOW)
    average, highest = (
        predictor.annotate(record, stacking=stacking, overlap=WINDOW // 2)[1].data
        for stacking in ("avg", "max")
    )
    assert (highest >= average - 1e-6).all()
    assert (highest > average + 1e-4).any()
    blinded = predictor.annotate(record, blinding=(WINDOW // 4, WINDOW // 4))[1].data
    assert blinded.shape == average.shape
    assert np.abs(blinded - average).max() > 1e-4


def test_picks_on_curves(predictor: Predictor) -> None:
    """Curves as a perfect network would draw them, at known times."""
    record = segment(2000)
    curves = np.zeros((2000, 3), np.float32)
    index = np.arange(2000)
    for column, sample, height in ((1, 400, 0.9), (1, 1500, 0.4), (2, 650, 0.8)):
        curves[:, column] += height * np.exp(-0.5 * ((index - sample) / 10) ** 2)
    found = predictor.picks(record, curves)
    assert [(pick.phase, round((pick.peak_time - START) * RATE)) for pick in found] == [
        ("P", 400),
        ("S", 650),
        ("P", 1500),
    ]
    assert found[0].peak_value == pytest.approx(0.9, abs=1e-5)
    assert found[0].trace_id == "XX.STA..HH"
    strict = predictor.picks(record, curves, P_threshold=0.5, S_threshold=None)
    assert [pick.phase for pick in strict] == ["P", "S"]
    assert [
        pick.phase for pick in predictor.picks(record, curves, P_threshold=0.95, S_threshold=0.95)
    ] == []


@one_a_window
def test_windows_of_a_record(predictor: Predictor) -> None:
    record = segment(2 * WINDOW)
    table = predictor.windows(record, overlap=0.5)
    task = predictor.experiment.task
    starts = [UTCDateTime(text) - START for text in table["start_time"]]
    assert starts[0] == 0
    assert starts[-1] == pytest.approx(WINDOW / RATE)
    assert set(table["trace_id"]) == {"XX.STA..HH"}
    lengths = {
        round(UTCDateTime(end) - UTCDateTime(start), 3)
        for start, end in zip(table["start_time"], table["end_time"], strict=True)
    }
    assert lengths == {WINDOW / RATE}
    first = np.stack([record.data[:WINDOW].T])
    answers = task.answer_columns(predictor.predict(first))
    assert list(table.columns) == ["trace_id", "start_time", "end_time", *answers]
    for name, value in answers.items():
        if value.dtype.kind == "f":
            assert table[name][0] == pytest.approx(float(value[0]), rel=1e-4, abs=1e-5)
        else:
            assert table[name][0] == value[0]


def test_the_wrong_kind_of_answer(folder: Path) -> None:
    picking, magnitude = (sj.load(saved(folder, task)) for task in ("picking", "magnitude"))
    with pytest.raises(ValueError, match="picking answers per sample: use `annotate`"):
        picking.windows(segment(WINDOW))
    for call in (magnitude.annotate, magnitude.classify):
        with pytest.raises(ValueError, match="magnitude answers per window: use `windows`"):
            call(stream(WINDOW))


def test_answers_say_where_nothing_is(predictor: Predictor) -> None:
    quiet = dataclasses.replace(
        predictor.experiment.context,
        options=dataclasses.replace(predictor.experiment.context.options, p_threshold=0.9999),
    )
    predictor.experiment = dataclasses.replace(predictor.experiment, context=quiet)
    assert (predictor.predict(raw(2))["p_sample"] == NO_PICK).all()


@pytest.mark.parametrize("name", ["", "checkpoints", "checkpoints/1"])
def test_load_from_any_folder_on_the_way(folder: Path, name: str) -> None:
    loaded = sj.load(saved(folder, "magnitude") / name)
    assert loaded.path == folder / "magnitude/checkpoints/1"
    assert loaded.experiment.task is tasks.get("magnitude")


def test_load_where_nothing_is(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        sj.load(tmp_path)


def test_loading_needs_neither_weights_nor_data(folder: Path) -> None:
    """A checkpoint is complete: GPT-2's files and the dataset may be gone."""
    assert sj.load(saved(folder, "magnitude")).description["config"]["data"]["path"] == ""
