"""Every format, prepared, is the dataset that its own reader gives."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from seismollm_jax.data import catalogue, prepared
from seismollm_jax.data.__main__ import main
from seismollm_jax.data.catalogue import fingerprint, split_for
from seismollm_jax.data.detect import open_found
from seismollm_jax.data.prepare import prepare
from seismollm_jax.data.records import Dataset
from seismollm_jax.data.sources import WaveformSource
from tests.formats import FORMATS

SHARD = 7  # traces: several shards, the last one not full
OWN_SPLIT = ("seisbench", "seisbench_mixed")


@pytest.fixture(scope="module", params=FORMATS)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Name of the format, its dataset, the folder that it was prepared into."""
    place = tmp_path_factory.mktemp("formats")
    settings = FORMATS[request.param](place / "original")
    table = settings.get("table", "")
    found, dataset = open_found(place / "original", table=table)
    assert found == settings["format"]
    options = {"source_format": found, "table": table, "shard_traces": SHARD}
    summary = prepare(dataset, place / "prepared", **options)
    assert summary.accuracy.exact == summary.traces == len(dataset.table) > 2 * SHARD
    assert bool(summary.source_bytes) == (found != "folder")
    return request.param, dataset, place / "prepared"


def assert_same_records(first: Dataset, second: Dataset) -> None:
    rows = np.arange(len(first.table))
    one, other = WaveformSource(first, rows), WaveformSource(second, rows)
    for i in rows:
        assert one.trace_name(i) == other.trace_name(i)
        expected, found = dataclasses.asdict(one[i]), dataclasses.asdict(other[i])
        waveform = found.pop("waveform")
        assert waveform.dtype == np.float32
        np.testing.assert_array_equal(waveform, expected.pop("waveform"))
        np.testing.assert_equal(found, expected)


def test_records_and_labels(case: Any) -> None:
    name, dataset, folder = case
    found = prepared.read(folder)
    assert fingerprint(found) == fingerprint(dataset)
    assert found.report == dataset.report
    stored_elsewhere = ["file", "component_order", "address"]
    pd.testing.assert_frame_equal(
        found.table.drop(columns=stored_elsewhere),
        dataset.table.drop(columns=stored_elsewhere, errors="ignore"),
    )
    assert (found.table["component_order"] == "ZNE").all()
    labels = dataset.table[["p_sample", "s_sample", "magnitude", "distance_km"]]
    assert labels.notna().any().all(), name
    for rate_hz in (dataset.sampling_rate_hz, 80.0):
        one, other = (catalogue.at_rate(d, rate_hz) for d in (dataset, found))
        assert one.report == other.report
        assert_same_records(one, other)


def test_resampled_when_prepared(case: Any, tmp_path: Path) -> None:
    name, dataset, _ = case
    prepare(dataset, tmp_path / "out", source_format=name, sampling_rate_hz=80.0)
    found = prepared.read(tmp_path / "out")
    assert (found.table["sampling_rate_hz"] == 80).all()
    assert_same_records(catalogue.at_rate(dataset, 80.0), found)


@pytest.mark.parametrize("by", ["row", "event", "station", "time", "column"])
def test_splits(case: Any, by: str) -> None:
    name, dataset, folder = case
    how = {"by": by, "train": 0.5, "val": 0.25, "seed": 3, "shuffle": True, "path": ""}
    settings = {"split": how, "noise_rows": True}

    def split(of: Dataset) -> catalogue.Parts | str:
        try:
            return split_for(of, settings, needs=("p_sample", "s_sample"), uses_noise=True)
        except ValueError as error:  # a format without times, or without parts of its own
            return str(error).replace(str(of.path), "")

    expected, found = split(dataset), split(prepared.read(folder))
    impossible = (by == "time" and "diting" in name) or (by == "column" and name not in OWN_SPLIT)
    assert isinstance(expected, str) == impossible
    if isinstance(expected, str):
        assert found == expected
        return
    assert isinstance(found, catalogue.Parts)
    assert (found.hash, found.sizes()) == (expected.hash, expected.sizes())
    for part, rows in expected.rows.items():
        np.testing.assert_array_equal(found.rows[part], rows)


@pytest.mark.parametrize("name", ["diting", "folder_mseed"])
def test_share_of_the_size_is_told_where_it_means_something(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = FORMATS[name](tmp_path / "in")
    command = ["prepare", str(tmp_path / "in"), "--output", str(tmp_path / "out"), "--quiet"]
    command += ["--workers", "1", "--table", settings.get("table", "")]
    assert main(command) == 0
    text = capsys.readouterr().out
    assert f"{tmp_path / 'in'}: {settings['format']}, 24 traces" in text
    assert ("% of the files that they were read from)" in text) == (name == "diting")
