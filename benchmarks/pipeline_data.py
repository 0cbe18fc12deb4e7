"""The same synthetic earthquakes in the layout of every source that the benchmark reads."""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from configs import picking
from seismollm_jax.data import catalogue, prepare, seisbench_files, stead, synthetic
from seismollm_jax.data.records import Dataset, select
from seismollm_jax.data.sources import WaveformSource

SOURCES = ("stead", "diting", "seisbench", "arrayrecord_float32", "arrayrecord_int16")
DITING_PARTS = 4
DITING_SAMPLES = 9000
BUCKET_TRACES = 1024


def write(folder: Path, traces: int) -> None:
    """Write all sources below `folder`.

    STEAD as published: one contiguous HDF5 dataset a trace, (6000, 3) float32, with its 36
    attributes. DiTing's traces are these, 9000 samples long. SeisBench has them in buckets.
    """
    synthetic.write(folder / "stead", traces=traces, noise_share=0.0)
    dataset = stead.read(folder / "stead")
    source = WaveformSource(dataset, np.arange(traces))
    waveforms = [source[i].waveform for i in range(traces)]
    _write_diting(folder / "diting", dataset, waveforms)
    _write_seisbench(folder / "seisbench", dataset, waveforms)
    for dtype in ("float32", "int16"):
        prepare.prepare(
            dataset, folder / f"arrayrecord_{dtype}", source_format="stead", dtype=dtype
        )


def _write_diting(folder: Path, dataset: Dataset, waveforms: list[np.ndarray]) -> None:
    folder.mkdir()
    number = np.arange(len(waveforms))
    table = pd.DataFrame(
        {
            "part": number % DITING_PARTS,
            "key": [f"{i + 1:06d}.0001" for i in number],
            "ev_id": number,
            "evmag": dataset.table["magnitude"],
            "mag_type": "ml",
            "p_pick": dataset.table["p_sample"].astype(int),
            "s_pick": dataset.table["s_sample"].astype(int),
            "p_motion": "u",
            "net": "SC",
            "sta_id": 1,
            "dis": dataset.table["distance_km"],
            "baz": dataset.table["back_azimuth_deg"],
        }
    )
    for part in range(DITING_PARTS):
        rows = table[table["part"] == part]
        rows.to_csv(folder / f"DiTing330km_part_{part}.csv")
        with h5py.File(folder / f"DiTing330km_part_{part}.hdf5", "w") as h5:
            for i, key in zip(rows.index, rows["key"], strict=True):
                again = waveforms[i][: DITING_SAMPLES - len(waveforms[i])]
                h5[f"earthquake/{key}"] = np.concatenate([waveforms[i], again])


def _write_seisbench(folder: Path, dataset: Dataset, waveforms: list[np.ndarray]) -> None:
    metadata = pd.DataFrame(
        {
            "trace_p_arrival_sample": dataset.table["p_sample"],
            "trace_s_arrival_sample": dataset.table["s_sample"],
            "source_magnitude": dataset.table["magnitude"],
            "split": "train",
        }
    )
    seisbench_files.write(
        folder,
        [waveform.T for waveform in waveforms],
        metadata,
        data_format={"component_order": "ZNE", "sampling_rate": 100.0},
        bucket_traces=BUCKET_TRACES,
    )


def config_of(source: str, folder: Path) -> ConfigDict:
    """The published training for picking, on that source; its network is not used."""
    config = picking.get_config("diting" if source == "diting" else "stead")
    config.backbone.weights = "random"
    config.data.format = "prepared" if source.startswith("arrayrecord") else source
    config.data.table = ""
    config.data.path = str(folder / source)
    return config


def records(config: ConfigDict) -> tuple[WaveformSource, np.ndarray]:
    """All records that the configuration can train on, and their rows."""
    dataset = catalogue.open_dataset(config.data.to_dict())
    rows, _ = select(dataset.table, ("p_sample", "s_sample"), noise_rows=False)
    return WaveformSource(dataset, rows), rows
