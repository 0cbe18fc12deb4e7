"""Events from the shell; several runs of predict.py in one process, since starting one takes long.

A process of their own, because all scripts define flags.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from obspy import Stream, UTCDateTime, read, read_inventory

import seismollm_jax as sj
from seismollm_jax.inference.events.table import COLUMNS
from tests import setups
from tests.inference import archives, event_networks

ROOT = Path(__file__).parents[3]
START = UTCDateTime(2020, 1, 1, 0, 0, 3)
RUNS = """
import contextlib, io, json, sys
from absl import flags
import predict
from seismollm_jax import command_line

said = []
for arguments in json.load(sys.stdin):
    flags.FLAGS.unparse_flags()
    for name in flags.FLAGS:
        flags.FLAGS[name].unparse()
    flags.FLAGS(["predict.py", *arguments])
    console = io.StringIO()
    with contextlib.redirect_stdout(console):
        try:
            command_line.guarded(lambda: predict.main(["predict.py"]))
        except SystemExit as exit:
            print("FAILED", exit.code)
    said.append(console.getvalue())
json.dump(said, sys.stdout)
"""
NAMES = (
    *("events", "turned", "both", "no picking", "no inventory", "another task", "stacking"),
    *("detections", "no detections"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("command")


def detecting(folder: Path) -> Path:
    """A network that tells where an event is in progress."""
    changes = {"options.form": "detection", "precision.matmul": "highest"}
    setups.save_random(folder / "detecting", setups.config("picking", changes=changes))
    return folder / "detecting"


@pytest.fixture(scope="module")
def said(event_root: Path, folder: Path) -> dict[str, str]:
    """What the runs print, by their names."""
    record = archives.record("XX.STA", START, 30, seed=1)
    record.write(str(folder / "record.mseed"), format="MSEED")
    turned = Stream(record.copy())
    for trace, name in zip(turned, "Z12", strict=True):
        trace.stats.channel = f"HH{name}"
    turned.write(str(folder / "turned.mseed"), format="MSEED")
    known = event_networks.inventory("XX.STA", azimuth=40, names="Z12")
    known.write(str(folder / "known.xml"), format="STATIONXML")
    event_networks.inventory("XX.STA").write(str(folder / "stations.xml"), format="STATIONXML")
    paths = event_networks.folders(event_root)
    thresholds = ["--p_threshold=0.5", "--s_threshold=0.5", "--batch_size=8"]
    five = [f"--{task}={path}" for task, path in paths.items()]
    given = f"--input={folder}/record.mseed"
    runs = (
        [
            *(*five, *thresholds, given, f"--output={folder}/new/events.csv"),
            f"--inventory={folder}/stations.xml",
        ],
        [
            *(f"--checkpoint={paths['picking']}", *thresholds, f"--output={folder}/turned.csv"),
            *(f"--inventory={folder}/known.xml", f"--input={folder}/turned.mseed"),
            "--stacking=max",
        ],
        [*five, "--checkpoint=there", given],
        [*five[1:], given],
        [*five, given, f"--inventory={folder}/none.xml"],
        [*five[:1], f"--magnitude={paths['polarity']}", given],
        [f"--checkpoint={paths['polarity']}", given, "--stacking=max"],
        [
            *(f"--checkpoint={detecting(folder)}", *thresholds, given),
            *("--detection_threshold=0.6", f"--output={folder}/progress.csv"),
        ],
        [*five, given, "--detection_threshold=0.6"],
    )
    result = subprocess.run(
        [sys.executable, "-c", RUNS],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        input=json.dumps(runs),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return dict(zip(NAMES, json.loads(result.stdout), strict=True))


def test_events(said: dict[str, str], folder: Path) -> None:
    console, table = said["events"], pd.read_csv(folder / "new/events.csv")
    picks = pd.read_csv(folder / "new/events_picks.csv")
    assert list(table) == list(COLUMNS)
    assert table["p_time"].tolist() == picks["time"][picks["phase"] == "P"].tolist()
    assert table["latitude"].notna().all()
    assert "polarity, 100 Hz, windows of 640 samples with P at 40 %\n" in console
    assert "with P at 12.5 % (it was trained on drawn windows)" in console
    assert f"{len(picks)} picks in {folder}/new/events_picks.csv" in console
    assert f"\n{len(table)} events, {table['s_time'].count()} of them with S\n" in console
    assert "component seconds: 90.0 read" in console
    assert "windows of 6.4 s, overlap 0.5, stacking avg\n" in console
    assert "FAILED" not in console


def test_a_single_table_may_have_an_inventory(
    said: dict[str, str], folder: Path, networks: sj.EventPredictor
) -> None:
    assert "FAILED" not in said["turned"]
    assert "overlap 0.5, stacking max\n" in said["turned"]
    found = pd.read_csv(folder / "turned.csv")["probability"].tolist()
    stream, known = read(folder / "turned.mseed"), read_inventory(folder / "known.xml")
    turned, plain = (
        [round(pick.peak_value, 4) for pick in networks.picking.classify(stream, **options).picks]
        for options in ({"inventory": known, "stacking": "max"}, {"stacking": "max"})
    )
    assert found == pytest.approx(turned, abs=2e-4)
    assert found != pytest.approx(plain, abs=2e-4)
    assert len(found) > 10


def test_detections(said: dict[str, str], folder: Path) -> None:
    table = pd.read_csv(folder / "progress_detections.csv")
    stream = read(folder / "record.mseed")
    found = sj.load(folder / "detecting", batch_size=8).classify(stream, detection_threshold=0.6)
    assert 1 < len(table) == len(found.detections)
    assert table["start_time"].tolist() == [str(one.start_time) for one in found.detections]
    assert table["end_time"].tolist() == [str(one.end_time) for one in found.detections]
    heights = [one.peak_value for one in found.detections]
    assert table["probability"].tolist() == pytest.approx(heights, abs=1e-4)
    assert table["trace_id"].unique().tolist() == ["XX.STA..HH"]
    assert f"{len(table)} detections in {folder}/progress_detections.csv" in said["detections"]
    assert not (folder / "new/events_detections.csv").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("both", "--checkpoint is for one network and --picking for events: give one or the"),
        ("no picking", "give --checkpoint with a trained network, or --picking and any of --pol"),
        ("no inventory", "no inventory"),
        ("another task", "is a network for polarity, not for magnitude"),
        ("stacking", "--stacking is for picking; this network is for polarity"),
        ("no detections", "--detection_threshold: "),
    ],
)
def test_refusals(said: dict[str, str], name: str, message: str) -> None:
    assert "FAILED" in said[name]
    assert message in said[name]
