"""A trained picker behind SeisBench's own annotate and classify."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from obspy import Stream, Trace, UTCDateTime

import seismollm_jax as sj
from seismollm_jax.inference import seisbench_model
from tests import setups

START = UTCDateTime(2024, 1, 1)
WINDOW = 640


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seisbench")
    setups.save_random(folder / "picking", setups.config("picking"))
    return folder


def record(samples: int) -> Stream:
    draw = np.random.default_rng(0)
    return Stream(
        Trace(
            (draw.normal(0, 100, samples) + 500).astype(np.int32),
            {
                "network": "XX",
                "station": "ABC",
                "channel": f"HH{component}",
                "starttime": START,
                "sampling_rate": 100.0,
            },
        )
        for component in "ZNE"
    )


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    pytest.importorskip("seisbench")
    return seisbench_model.from_checkpoint(folder / "picking", p_threshold=0.42)


def test_it_is_a_waveform_model(model: Any) -> None:
    from seisbench.models import WaveformModel

    assert isinstance(model, WaveformModel)
    assert (model.name, model.sampling_rate, model.in_samples) == ("SeisMoLLM", 100.0, WINDOW)
    assert (model.labels, model.component_order) == (["N", "P", "S"], "ZNE")
    assert model.default_args["P_threshold"] == 0.42
    with pytest.raises(NotImplementedError, match="convert_weights"):
        model.save("somewhere")


def test_annotations_are_the_network_s(model: Any) -> None:
    """One window of SeisBench's is one of ours."""
    stream = record(WINDOW)
    found = model.annotate(stream)
    x = np.stack([[trace.data for trace in stream]])
    normalised = np.stack([model.predictor.normalise(window.T).T for window in x])
    expected = model.predictor.forward(normalised)[0]
    for label, curve in zip("NPS", expected, strict=True):
        (trace,) = found.select(channel=f"SeisMoLLM_{label}")
        assert trace.stats.starttime == START
        np.testing.assert_allclose(trace.data, curve, atol=1e-5)


def test_picks_are_those_of_the_annotations(model: Any) -> None:
    stream = record(5 * WINDOW)
    (curve,) = model.annotate(stream).select(channel="SeisMoLLM_P")
    low, high = np.quantile(curve.data, [0.5, 0.98])
    picks = model.classify(stream, P_threshold=float(high), S_threshold=1.0).picks
    assert len(picks) > 0
    assert {pick.phase for pick in picks} == {"P"}
    assert {pick.trace_id for pick in picks} == {"XX.ABC."}
    assert max(pick.peak_value for pick in picks) == pytest.approx(curve.data.max())
    assert len(model.classify(stream, P_threshold=float(low)).picks) > 0


def test_detections(folder: Path) -> None:
    pytest.importorskip("seisbench")
    changes = {"options.form": "detection", "options.detection_threshold": 0.9}
    setups.save_random(folder / "detection", setups.config("picking", changes=changes))
    model = seisbench_model.from_checkpoint(folder / "detection")
    assert model.labels == ["Detection", "P", "S"]
    assert model.default_args["detection_threshold"] == 0.9
    stream = record(3 * WINDOW)
    (curve,) = model.annotate(stream).select(channel="SeisMoLLM_Detection")
    threshold = float(np.quantile(curve.data, 0.9))
    found = model.classify(stream, detection_threshold=threshold)
    assert len(found.detections) > 0
    assert {one.trace_id for one in found.detections} == {"XX.ABC."}
    assert {pick.phase for pick in found.picks} <= {"P", "S"}


def test_blinding(model: Any) -> None:
    found = model.annotate(record(WINDOW), blinding=(50, 30))
    assert {len(trace) for trace in found} == {WINDOW - 80}
    assert all(trace.stats.starttime == START + 0.5 for trace in found)


def test_only_pickers(folder: Path) -> None:
    pytest.importorskip("seisbench")
    setups.save_random(folder / "magnitude", setups.config("magnitude"))
    with pytest.raises(ValueError, match="is for magnitude"):
        seisbench_model.from_checkpoint(folder / "magnitude")


def test_without_seisbench(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "seisbench", None)
    monkeypatch.setitem(sys.modules, "seisbench.models", None)
    monkeypatch.setitem(sys.modules, "torch", None)
    seisbench_model._model_class.cache_clear()
    with pytest.raises(ImportError, match=r"pip install 'seismollm_jax\[seisbench\]'"):
        seisbench_model.from_checkpoint(folder / "picking")
    seisbench_model._model_class.cache_clear()
    assert sj.load(folder / "picking").window == WINDOW  # which needs neither
