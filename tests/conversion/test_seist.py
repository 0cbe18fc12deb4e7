"""State dicts of SeisT's authors: into checkpoints and back."""

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import seismollm_jax as sj
from seismollm_jax import tasks
from seismollm_jax.conversion import comparison, inspect, verify
from seismollm_jax.conversion.foreign import Given
from seismollm_jax.conversion.of_seist import ORIGINAL
from seismollm_jax.conversion.opening import open_network
from seismollm_jax.conversion.report import ConversionError, Report
from seismollm_jax.evaluation import compare, prediction_tables
from seismollm_jax.evaluation.run import run
from seismollm_jax.models import seist
from seismollm_jax.models.seist.config import SIZES, StageConfig
from seismollm_jax.training import saved
from tests.conversion import originals
from tests.models.seist_files import OUTPUTS, state_dict

WINDOW = 256


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    """A size s that is compiled in no time."""
    stages = (
        StageConfig(blocks=2, channels=8, head_width=4, attention_pooling=4),
        StageConfig(blocks=1, channels=4, head_width=4, attention_pooling=2),
        StageConfig(blocks=1, channels=4, head_width=4),
        StageConfig(blocks=1, channels=8, head_width=4),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SIZES, "s", (stages, (3, 5), 2))
        yield


def arrays(task: str, seed: int = 0) -> dict[str, np.ndarray]:
    return state_dict(seist.published("s", task), OUTPUTS[task], seed)


def told(task: str | None = None, **changes: Any) -> Given:
    return Given(**{"task": task, "window": WINDOW, **changes})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picking network in a file as published, and its checkpoint; not to be changed."""
    folder = tmp_path_factory.mktemp("seist")
    source = originals.save(folder / "seist_s_dpk_diting.pth", arrays("dpk"))
    report = originals.import_file(source, folder / "run", told(), outputs=True)
    assert report.facts["verification"]["passed"] is True
    return folder


def test_what_goes_with_the_published_weights(folder: Path) -> None:
    description = saved.read_description(saved.find(folder / "run"))
    assert description["task"] == "picking"
    assert description["config"]["model"] == "seist_s"
    contract = description["contract"]
    assert (contract["sampling_rate_hz"], contract["normalisation"]) == (50.0, "std")
    assert (contract["component_order"], contract["labels"]) == ("ZNE", ["detection", "p", "s"])
    options = description["config"]["options"]
    assert (options["p_threshold"], options["s_threshold"]) == (0.3, 0.3)
    assumed = description["conversion"]["assumed"]
    assert assumed["sampling_rate_hz"] == 50.0
    assert assumed["channels"] == "detection, p, s"
    assert assumed["path_drop_rate"] == 0.1
    assert description["conversion"]["given"] == {"window": WINDOW}


def test_the_window_of_the_published_weights(folder: Path) -> None:
    network = open_network(folder / "seist_s_dpk_diting.pth", Given(), originals.config_for)
    assert network.experiment.contract()["window"] == 8192
    assert network.assumed["window"] == 8192


def test_there_and_back(folder: Path, tmp_path: Path) -> None:
    report = originals.export(folder / "run", tmp_path / "again.pth")
    assert report.facts["constructor"] == {"model-name": "seist_s_dpk"}
    assert report.facts["original_loads_it"]
    assert not report.facts["training"]
    expected = originals.load(folder / "seist_s_dpk_diting.pth")
    originals.assert_same(originals.load(tmp_path / "again.pth"), expected)
    counter = expected["stem.0.norm.num_batches_tracked"]
    assert (counter.dtype, int(counter)) == (np.int64, 889)


def test_predictions(folder: Path) -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, WINDOW)).astype(np.float32)
    predictor = sj.load(folder / "run")
    network = open_network(folder / "seist_s_dpk_diting.pth", told(), originals.config_for)
    ours = np.asarray(predictor.forward(x))
    assert comparison.difference(ours, comparison.in_torch(network, x.swapaxes(1, 2))) < 1e-4


def test_evaluation(folder: Path, data_folder: Path, tmp_path: Path) -> None:
    """Through the whole of it, of records at another rate, with the curve of events."""
    copy = shutil.copytree(folder / "run", tmp_path / "run")
    config = saved.read_description(saved.find(copy))["config"]
    config["options"]["detection_threshold"] = 0.3
    saved.amend(saved.find(copy), config=config)
    scores = run(copy, tmp_path / "out", part="all", data_path=str(data_folder))
    assert 0 < scores["detection/precision"] < 1
    assert 0 < scores["detection/recall"] < 1
    table = pd.read_csv(tmp_path / "out/predictions.csv")
    ends = table["true_detection_end_sample"]
    assert ends.max() == WINDOW - 1  # the coda goes on, the window does not
    one = prediction_tables.read(tmp_path / "out", "run")
    assert one.task.form == "detection"
    found = compare.compare([one], resamples=20).scores
    assert set(found["answer"]) == {"p_sample", "s_sample", "detection"}
    for answer, score, value in found[["answer", "score", "value"]].itertuples(index=False):
        assert value == pytest.approx(scores[f"{answer}/{score}"], nan_ok=True), (answer, score)


@pytest.mark.parametrize("task", ["emg", "baz", "dis"])
def test_three_tasks_look_alike(tmp_path: Path, task: str) -> None:
    source = originals.bare(tmp_path / "a.safetensors", arrays(task))
    said = originals.refused(source, told())
    assert "that of magnitude (emg) or back_azimuth (baz) or distance (dis)" in said
    assert "say which with --task\n" in f"{said}\n"
    for name in (f"seist_s_{task}_x", f"{tasks.get(task).name}-2"):
        said = originals.refused(source.rename(tmp_path / f"{name}.safetensors"), told())
        assert f"(by the file's name it could be --task={tasks.get(task).name})" in said
        (tmp_path / f"{name}.safetensors").rename(source)
    network = open_network(source, told(task), originals.config_for)
    assert network.experiment.task.short_name == task
    assert network.experiment.task.output == OUTPUTS[task]
    assert "not polarity" in originals.refused(source, told("pmp"))


def test_polarity_shows(tmp_path: Path) -> None:
    source = originals.bare(tmp_path / "a.safetensors", arrays("pmp"))
    network = open_network(source, told(), originals.config_for)
    assert network.experiment.task.name == "polarity"
    assert network.config == seist.published("s", "polarity")
    assert network.config.drop.mlp_drop_rate == 0.2


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    damaged = arrays("pmp")
    damaged["stem.0.nrom.weight"] = damaged.pop("stem.0.norm.weight")
    del damaged["encoder_layers.3.0.norm.bias"]
    said = originals.refused(originals.bare(tmp_path / "a.safetensors", damaged), told())
    assert "missing: stem.0.norm.weight (like stem.0.nrom.weight" in said
    assert "missing: encoder_layers.3.0.norm.bias" in said
    whole = originals.bare(tmp_path / "b.safetensors", arrays("pmp"))
    assert "--strides can say nothing" in originals.refused(whole, told(strides=(2, 2)))
    other = {"encoder1.weight": np.ones(3, np.float32)}
    said = originals.refused(originals.bare(tmp_path / "c.safetensors", other), told())
    assert "not a SeisMoLLM state dict, nor one of SeisT" in said


def test_training_files_give_their_weights(tmp_path: Path) -> None:
    content = {
        "epoch": 3,
        "model_dict": {f"module.{name}": value for name, value in arrays("pmp").items()},
        "optimizer_dict": {"state": {}, "param_groups": [{"lr": 1e-3, "params": [0]}]},
        "loss": 0.5,
    }
    network = open_network(
        originals.save(tmp_path / "a.pth", content), told(), originals.config_for
    )
    assert network.training() is None
    assert "do not hold the schedule" in network.ignored["optimizer_dict"]


def test_inspect(folder: Path) -> None:
    report = Report("inspect")
    inspect.inspect(folder / "seist_s_dpk_diting.pth", report)
    facts, rows = report.facts, {row[0]: row for row in report.rows}
    assert (facts["model"], facts["task"], facts["format"]) == ("seist_s", "picking", "pth")
    assert facts["assumed"]["sampling_rate_hz"] == 50.0
    assert rows["stem.0.convs.1.dconv.weight"][1] == "stem/blocks/0/branches/1/depthwise/kernel"


def test_verify(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "_outputs", lambda *given: [])

    def run(a: Path, b: Path) -> dict[str, Any]:
        report = Report("verify")
        options = {"given": told(), "config_for": originals.config_for, "report": report}
        verify.verify(a, b, **options)  # type: ignore[arg-type]
        return report.facts

    source = folder / "seist_s_dpk_diting.pth"
    originals.export(folder / "run", tmp_path / "a.safetensors")
    for a, b in ((source, folder / "run"), (folder / "run", tmp_path / "a.safetensors")):
        assert run(a, b)["compared"]["equal"] == len(arrays("dpk"))
    other = originals.bare(tmp_path / "b.safetensors", arrays("dpk", seed=1))
    with pytest.raises(ConversionError, match=r"stem\.0\.out_proj\.weight: differs"):
        run(folder / "run", other)


def test_there_is_no_gpt2_in_it(folder: Path, tmp_path: Path) -> None:
    for options in ({"gpt2_output": tmp_path / "gpt2"}, {"merge_lora": True}):
        with pytest.raises(ConversionError, match="a SeisT, which has no GPT-2"):
            originals.export(folder / "run", tmp_path / "a.safetensors", **options)
    assert list(tmp_path.iterdir()) == []


def test_another_network_is_not_that_of_the_original() -> None:
    config = seist.published("s", "dpk")
    changed = dataclasses.asdict(dataclasses.replace(config, kernels=(3, 7)))
    assert ORIGINAL.loads(changed) == "its sizes are none of the published ones"
    assert ORIGINAL.loads(dataclasses.asdict(config)) == ""
