"""Datasets in SeisBench's format as files: writing and reading, chunks, traces, refusals."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seismollm_jax.data import seisbench
from seismollm_jax.data.seisbench_files import write
from seismollm_jax.data.sources import BadTrace, WaveformSource, to_zne
from tests.data.seisbench_rows import FORMAT, ROW, make, waves

TRACES = st.lists(
    st.tuples(st.integers(8, 40), st.sampled_from(["ZNE", "ENZ", "Z12", "NZ", "Z"])),
    min_size=1,
    max_size=7,
)


@settings(max_examples=25, deadline=None)
@given(TRACES, st.integers(0, 4), st.integers(1, 3))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    traces: list[tuple[int, str]],
    bucket_traces: int,
    chunks: int,
) -> None:
    """Any lengths and component orders, in buckets or not, in chunks or not."""
    path = tmp_path_factory.mktemp("sb")
    draw = np.random.default_rng(0)
    arrays = [draw.normal(size=(len(order), n)).astype(np.float32) for n, order in traces]
    table = pd.DataFrame({"trace_component_order": [order for _, order in traces]})
    table["trace_p_arrival_sample"] = [n - 1 for n, _ in traces]
    parts = [part for part in np.array_split(np.arange(len(traces)), chunks) if len(part)]
    names = [""] if chunks == 1 else [f"_{i}" for i in range(len(parts))]
    for chunk, part in zip(names, parts, strict=True):
        write(
            path,
            [arrays[i] for i in part],
            table.iloc[part].reset_index(drop=True),
            data_format={"sampling_rate": 100.0},
            chunk=chunk,
            bucket_traces=bucket_traces,
        )
    dataset = seisbench.read(path)
    assert len(dataset.table) == len(traces)
    assert dataset.table["trace_name"].is_unique
    source = WaveformSource(dataset, np.arange(len(traces)))
    for i, array in enumerate(arrays):
        np.testing.assert_array_equal(source[i].waveform, to_zne(array, traces[i][1], "CW"))
        assert source[i].p_samples == [array.shape[1] - 1]


def test_chunks(tmp_path: Path) -> None:
    for year in (2019, 2020, 2021):
        make(tmp_path, [ROW | {"trace_name": "same"}, ROW | {"trace_name": year}], chunk=f"_{year}")
    dataset = seisbench.read(tmp_path)
    assert dataset.table["trace_name"].tolist()[:3] == ["waveforms_2019/same", "2019",
                                                        "waveforms_2020/same"]  # fmt: skip
    assert dataset.table["file"].tolist()[::2] == [
        f"waveforms_{y}.hdf5" for y in (2019, 2020, 2021)
    ]
    source = WaveformSource(dataset, np.arange(6))
    assert np.isfinite([source[i].waveform for i in range(6)]).all()
    for table in ("_2020,_2019", "metadata_2020.csv, metadata_2019.csv"):
        assert len(seisbench.read(tmp_path, table=table).table) == 4
    assert len(seisbench.read(tmp_path / "metadata_2021.csv").table) == 2
    with pytest.raises(FileNotFoundError, match=r"no metadata_2022\.csv; its chunks are: _2019, "):
        seisbench.read(tmp_path, table="_2022")
    (tmp_path / "chunks").write_text("_2019\n_2020\n")
    dataset = seisbench.read(tmp_path)
    assert len(dataset.table) == 4
    text = "chunks not in use, half of them is missing or not listed (_2021)"
    assert dataset.report.counts[text] == 1
    (tmp_path / "waveforms_2020.hdf5").unlink()
    with pytest.raises(FileNotFoundError, match=r"waveforms_2020\.hdf5 does not exist.*data\.tab"):
        seisbench.read(tmp_path)
    assert len(seisbench.read(tmp_path, table="_2019").table) == 2


def test_chunks_that_disagree(tmp_path: Path) -> None:
    make(tmp_path, [ROW], chunk="a")
    make(tmp_path, [ROW], chunk="b", data_format=FORMAT | {"dimension_order": "WC"})
    with pytest.raises(ValueError, match="dimension_order of the waveform files is 'CW' and 'WC'"):
        seisbench.read(tmp_path)


def test_errors_name_file_and_remedy(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no metadata\.csv with a waveforms\.hdf5.*none"):
        seisbench.read(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        seisbench.read(tmp_path / "nowhere")
    path = make(tmp_path / "a", [ROW], data_format={"sampling_rate": 100.0})
    with pytest.raises(ValueError, match=r"says the component_order; add a column trace_comp"):
        seisbench.read(path)
    path = make(tmp_path / "b", [ROW], data_format={"component_order": "ZNE"})
    with pytest.raises(ValueError, match=r"says the sampling_rate_hz; add a column trace_samp"):
        seisbench.read(path)
    path = make(tmp_path / "c", [ROW])
    pd.DataFrame([ROW]).to_csv(path / "metadata.csv", index=False)
    with pytest.raises(ValueError, match=r"metadata\.csv lacks the column trace_name; it has"):
        seisbench.read(path)
    pd.DataFrame([ROW | {"trace_name": "other"}]).to_csv(path / "metadata.csv", index=False)
    with pytest.raises(ValueError, match=r"no trace data/other.*do not match"):
        seisbench.read(path)
    (path / "metadata.csv").write_bytes(b'a,b\n"1')
    with pytest.raises(ValueError, match=r"metadata\.csv"):
        seisbench.read(path)
    path = make(tmp_path / "d", [ROW])
    (path / "waveforms.hdf5").write_bytes(b"not HDF5")
    with pytest.raises(ValueError, match=r"waveforms\.hdf5 cannot be opened as HDF5.*download"):
        seisbench.read(path)
    path = make(tmp_path / "e", [ROW])
    with pytest.raises(ValueError, match=r"magnitude type 'mw'; it has: ml \(1\)"):
        seisbench.read(path, magnitude_type="mw")


def test_a_trace_that_is_not_there_leaves_the_others_alone(tmp_path: Path) -> None:
    path = make(tmp_path, [ROW] * 3, bucket_traces=2)
    table = pd.read_csv(path / "metadata.csv")
    table.loc[0, "trace_name"] = "bucket0$7,:3,:60"
    table.loc[1, "trace_name"] = "bucket0$open(1),:3"
    table.to_csv(path / "metadata.csv", index=False)
    source = WaveformSource(seisbench.read(path), np.arange(3))
    for bad in (0, 1):
        with pytest.raises(BadTrace, match=r"waveforms\.hdf5: trace 'bucket0"):
            source[bad]
    assert source[2].waveform.shape == (60, 3)


def test_writer_refuses(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 waveforms and 2 rows"):
        write(tmp_path, waves(1), pd.DataFrame([ROW, ROW]), data_format=FORMAT)
    for names in (["a", "a"], ["a", "b$1"]):
        with pytest.raises(ValueError, match=r"unique and without \$"):
            make(tmp_path, [ROW | {"trace_name": name} for name in names])
    with pytest.raises(ValueError, match="names of traces in buckets are made"):
        make(tmp_path, [ROW | {"trace_name": "a"}], bucket_traces=2)
    make(tmp_path, [ROW])
    with pytest.raises(FileExistsError, match=r"metadata\.csv or waveforms\.hdf5 exists"):
        make(tmp_path, [ROW])
