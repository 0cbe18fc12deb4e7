"""Steps whose loss or gradient is not finite: the run stops and says why, or leaves them out."""

import shutil
from pathlib import Path
from typing import Any

import h5py
import jax
import numpy as np
import pandas as pd
import pytest

from seismollm_jax.parallel import Layout
from seismollm_jax.training import loop
from seismollm_jax.training.epoch import MAX_SKIPPED, Epoch
from seismollm_jax.training.saved import load, read_description
from tests import setups
from tests.training.runs import assert_same_run, latest, lines, rows

ASTRAY = {"optim.base_lr": 1e38, "optim.max_lr": 1e38}


def config(folder: Path, **changes: Any) -> dict[str, Any]:
    """Amplitudes stay as they are, so that a window can be too large for float32."""
    wanted = {
        **{"data.format": "stead", "data.normalisation": "none", "augment.enabled": False},
        **{"data.split.by": "row", "data.split.shuffle": False, "train.log_every": 1},
    }
    return setups.config("magnitude", folder, {**wanted, **changes})


@pytest.fixture(scope="module")
def clipped(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The built-in data, small, and one trace of the training part that nothing can hold."""
    folder = shutil.copytree(data_folder, tmp_path_factory.mktemp("clipped") / "data")
    table = pd.read_csv(folder / "merge.csv", low_memory=False)
    names = table.loc[table["trace_category"] != "noise", "trace_name"]
    with h5py.File(folder / "merge.hdf5", "a") as file:
        for name in names:
            wave = file["data"][name][...]
            file["data"][name][...] = wave / np.abs(wave).max()
        file["data"][names.iloc[5]][...] = 3e38 * (-1.0) ** np.arange(6000)[:, None]
    return folder, str(names.iloc[5])


def test_the_run_stops_and_names_the_trace(clipped: tuple[Path, str], tmp_path: Path) -> None:
    folder, name = clipped
    message = rf"is nan; 1 of its 16 windows stand out: '{name}' \(row \d+, amplitudes to 3e\+38, "
    with pytest.raises(loop.TrainingError, match=message) as caught:
        loop.run(config(folder), tmp_path)
    assert "the loss of step" in str(caught.value)
    assert "train.nonfinite=skip leaves such steps out" in str(caught.value)
    (file,) = (tmp_path / "diagnostics").iterdir()
    assert str(file) in str(caught.value)
    with np.load(file, allow_pickle=False) as found:
        assert {"waveform", "magnitude", "row", "valid", "trace_name", "loss"} <= set(found)
        assert found["waveform"].shape == (16, 640, 3)
        assert found["loss"].shape == (16,)
        assert len(set(found["trace_name"])) == 16
        assert np.abs(found["waveform"][found["trace_name"] == name]).max() > 1e38
    assert not list((tmp_path / "checkpoints").glob("[0-9]*"))


def test_such_steps_are_left_out_and_counted(
    clipped: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, name = clipped
    settings = config(folder, **{"train.nonfinite": "skip", "train.epochs": 2})
    loop.run(settings, tmp_path / "run")
    console = capsys.readouterr().out
    assert console.count("WARNING: left out, 1 in this epoch: the loss of step") == 2
    assert console.count(f"'{name}'") == 2
    assert len(list((tmp_path / "run/diagnostics").iterdir())) == 1  # they are large
    epochs = lines(tmp_path / "run", "epoch")
    assert [line["skipped"] for line in epochs.values()] == [1, 1]
    assert all(np.isfinite(line["train_loss"]) for line in epochs.values())
    assert all(row["loss"] is not None for row in rows(tmp_path / "run") if row["part"] == "train")
    for part in (load(tmp_path / "run").params, load(tmp_path / "run").stats):
        assert all(np.isfinite(value).all() for value in part.values())
    # The counts survive a stop.
    for save_every in (1, 2):
        settings["train"]["save_every"] = save_every
        loop.run({**settings, "train": {**settings["train"], "epochs": 1}}, tmp_path / "two")
        loop.run(settings, tmp_path / "two")
        assert_same_run(tmp_path / "two", tmp_path / "run")
        shutil.rmtree(tmp_path / "two")


def test_a_network_gone_astray(data_folder: Path, tmp_path: Path) -> None:
    message = r"the loss of step \d+ is .*; no window of its batch has a finite loss, so the "
    with pytest.raises(loop.TrainingError, match=message + r"network.*optim\.max_lr.*=skip"):
        loop.run(config(data_folder, **{"data.normalisation": "std", **ASTRAY}), tmp_path)


def test_too_many_are_left_out(data_folder: Path, tmp_path: Path) -> None:
    changes = {"train.nonfinite": "skip", "train.epochs": 9, "data.normalisation": "std", **ASTRAY}
    with pytest.raises(loop.TrainingError, match=rf"the last {MAX_SKIPPED + 1} of them one after"):
        loop.run(config(data_folder, **changes), tmp_path)


@pytest.mark.parametrize(
    ("skipped", "in_a_row", "steps", "too_many"),
    [
        (10, 10, 5, False),
        (11, 1, 5, True),
        (1, 11, 5, True),
        (20, 2, 2000, False),
        (21, 2, 2000, True),
    ],
)
def test_how_many_are_too_many(skipped: int, in_a_row: int, steps: int, too_many: bool) -> None:
    assert Epoch(skipped=skipped, in_a_row=in_a_row).too_many_skipped(steps) == too_many


def test_another_choice_is_refused(data_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"train\.nonfinite='ignore' is not one of stop, skip"):
        loop.run(config(data_folder, **{"train.nonfinite": "ignore"}), tmp_path)


def test_what_an_epoch_keeps_comes_back() -> None:
    epoch = Epoch([0.1, 1 / 3], [3.0, 4.0], {7, 3}, skipped=2, in_a_row=1)
    assert Epoch.restored(epoch.kept()) == epoch
    assert epoch.means() == (np.mean([0.1, 1 / 3]), 3.5)
    assert epoch.means(1) == (1 / 3, 4.0)
    assert np.isnan(Epoch().means(5)).all()


def test_nothing_crosses_to_the_devices_by_accident(
    data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A learning rate left on the host would be copied at every step."""
    replicate = Layout.replicate

    def careless(self: Layout, tree: Any) -> Any:
        return tree if isinstance(tree, np.float32) else replicate(self, tree)

    monkeypatch.setattr(Layout, "replicate", careless)
    with pytest.raises(jax.errors.JaxRuntimeError, match="Disallowed host-to-device transfer"):
        loop.run(config(data_folder, **{"data.normalisation": "std"}), tmp_path)


def test_norms_of_gradients_are_logged(data_folder: Path, tmp_path: Path) -> None:
    loop.run(config(data_folder, **{"data.normalisation": "std"}), tmp_path)
    found = lines(tmp_path, "train")
    assert list(found) == [2, 3]  # the figures of a step come after the next
    assert all(line["grad_norm"] > 0 for line in found.values())
    assert read_description(latest(tmp_path))["unfinished_epoch"]["losses"] == []
