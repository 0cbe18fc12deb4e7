import json
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seismollm_jax.data import diting
from seismollm_jax.data.catalogue import open_dataset, split_for
from seismollm_jax.data.records import TABLE_COLUMNS
from seismollm_jax.data.sources import WaveformSource
from tests import setups
from tests.test_configs import get

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "diting.json").read_text())
ROW = GOLDEN["base_row"]
KEYS = ("000001.0001", "000001.0100")

# What the PyTorch original makes of a row, and does here: its defects.
FIXED = {
    ("evmag", " "): {"magnitude": np.nan},  # there 0
    ("mag_type", "Mw"): {"magnitude": np.nan},  # there an error, for every task
    ("mag_type", ""): {"magnitude": np.nan},
    ("p_motion", " "): {"polarity": -1},  # there the text itself, and an error later
    ("p_motion", "n"): {"polarity": -1},
    ("p_motion", "x"): {"polarity": -1},  # there an error
}


def waveform(key: str) -> np.ndarray:
    """As in the golden file: 3 t + c, and half more in the second trace."""
    return np.arange(27, dtype=np.float32).reshape(9, 3) + (0.5 if key == KEYS[1] else 0)


def write(directory: Path, rows: list[dict], table: str = "DiTing330km_part_0.csv") -> Path:
    """A table, and for each part that it names a waveform file with two traces."""
    frame = pd.DataFrame(rows)
    frame.to_csv(directory / table)
    for part in {row.get("part", 0) for row in rows}:
        with h5py.File(directory / f"DiTing330km_part_{part}.hdf5", "w") as h5:
            for key in {*KEYS, *(row["key"] for row in rows if "." in str(row["key"]))}:
                h5[f"earthquake/{key}"] = waveform(key)
    return directory


def one(directory: Path, **changed: object) -> tuple[pd.Series, dict[str, int]]:
    """A row beside an untouched one, and the report."""
    rows = [ROW | {"key": "000009.0009"}, ROW | changed]
    dataset = diting.read(write(directory, rows))
    counts = dict(dataset.report.counts)
    assert counts.pop("rows") == 2
    counts = {text: n for text, n in counts.items() if not text.startswith("of 28 tables")}
    untouched = dataset.table.iloc[0]
    assert (untouched["magnitude"], untouched["polarity"]) == (1.5, 0)
    return dataset.table.iloc[1], counts


@pytest.mark.parametrize("row", GOLDEN["rows"], ids=lambda row: str(row["changed"]))
def test_fields_golden(tmp_path: Path, row: dict) -> None:
    """Every value that the original reads, but for its defects."""
    changed = row["changed"]
    if changed.get("key") == "7":  # an error there
        dataset = diting.read(write(tmp_path, [ROW, ROW | changed]))
        assert dataset.table["trace_name"].tolist() == ["000001.0001"]
        assert dataset.report.counts["rows without a usable key, left out"] == 1
        return
    ours, counts = one(tmp_path, **changed)
    event = row.get("event") or GOLDEN["rows"][0]["event"]
    expected = {
        name: event[field][0] if event[field] else missing
        for name, field, missing in (
            ("p_sample", "ppks", np.nan),
            ("s_sample", "spks", np.nan),
            ("magnitude", "emg", np.nan),
            ("polarity", "pmp", -1),
            ("back_azimuth_deg", "baz", np.nan),
            ("distance_km", "dis", np.nan),
        )
    }
    for cell in changed.items():
        expected |= FIXED.get(cell, {})
    np.testing.assert_equal({name: ours[name] for name in expected}, expected)
    np.testing.assert_array_equal([ours[f"snr_{c}_db"] for c in "zne"], event["snr"])
    assert bool(row["error"]) <= bool(counts)  # what fails there is counted here
    source = WaveformSource(diting.read(tmp_path), np.array([1]))
    first = row.get("first_sample") or [0.0, 1.0, 2.0]
    np.testing.assert_array_equal(source[0].waveform[0], first)
    np.testing.assert_array_equal(source[0].waveform[1], np.array(first) + 3)  # Z, N, E as stored


@pytest.mark.parametrize(
    ("changed", "column", "value", "counted"),
    [
        ({"evmag": "?"}, "magnitude", np.nan, "evmag not a number"),
        ({"evmag": "   "}, "magnitude", np.nan, None),
        ({"evmag": " 1. 2"}, "magnitude", np.float32(1.2), None),
        ({"evmag": ""}, "magnitude", np.nan, None),
        ({"evmag": "", "mag_type": ""}, "magnitude", np.nan, None),
        ({"mag_type": "Mw"}, "magnitude", np.nan, "evmag of a type other than ml, ms, mb"),
        ({"mag_type": " "}, "magnitude", np.nan, "evmag without a type"),
        ({"mag_type": "m b"}, "magnitude", np.float32(2.425 / 1.13), "evmag converted from mb"),
        ({"evmag": 12}, "magnitude", 8, "evmag clipped to 0 to 8"),
        ({"p_pick": -1}, "p_sample", np.nan, "p_sample before the trace begins"),
        ({"p_pick": ""}, "p_sample", np.nan, None),
        ({"s_pick": "x"}, "s_sample", np.nan, "s_pick not a number"),
        ({"s_pick": 60}, "s_sample", 60, "P arrival not before S"),
        ({"dis": -2}, "distance_km", np.nan, "dis negative"),
        ({"baz": "north"}, "back_azimuth_deg", np.nan, "baz not a number"),
        ({"p_motion": " r "}, "polarity", 1, None),
        ({"Z_P_power_snr": "inf"}, "snr_z_db", np.nan, "Z_P_power_snr infinite"),
        ({"net": "NA"}, "network", "NA", None),
        ({"ev_id": " 7 "}, "event_id", "7", None),
    ],
)
def test_odd_cells(
    tmp_path: Path, changed: dict, column: str, value: object, counted: str | None
) -> None:
    row, counts = one(tmp_path, **changed)
    np.testing.assert_equal(row[column], value)
    assert list(counts.values()) == [1] * (counted is not None)
    assert all(text.startswith(counted or "") for text in counts)


def test_table_contract(tmp_path: Path) -> None:
    dataset = diting.read(write(tmp_path, [ROW]))
    assert tuple(dataset.table.columns) == TABLE_COLUMNS
    assert (dataset.sampling_rate_hz, dataset.inner_path) == (50.0, "earthquake")
    row = dataset.table.iloc[0]
    assert (row["file"], row["category"]) == ("DiTing330km_part_0.hdf5", "earthquake")
    assert (row["network"], row["station"], row["event_id"]) == ("AA", "3", "1")
    assert (row["component_order"], row["sampling_rate_hz"]) == ("ZNE", 50)
    assert dataset.report.counts == {
        "rows": 1,
        "of 28 tables DiTing330km_part_<i>.csv are not there": 27,
    }


def test_full_table_in_order_of_the_parts(tmp_path: Path) -> None:
    for part in (10, 2, 0):
        row = ROW | {"part": part, "key": f"{part + 1:06d}.0001"}
        write(tmp_path, [row], f"DiTing330km_part_{part}.csv")
    table = diting.read(tmp_path).table
    assert table["trace_name"].tolist() == ["000001.0001", "000003.0001", "000011.0001"]
    assert table["file"].tolist() == [f"DiTing330km_part_{part}.hdf5" for part in (0, 2, 10)]


def test_keys_that_several_parts_have(tmp_path: Path) -> None:
    rows = [ROW, ROW | {"part": 1}, ROW | {"part": 1, "key": "1.01"}, ROW | {"part": 1}]
    dataset = diting.read(write(tmp_path, rows, "DiTing330km_light.csv"))
    assert dataset.table["trace_name"].tolist() == [
        "DiTing330km_part_0/000001.0001",
        "DiTing330km_part_1/000001.0001",
        "000001.0100",
    ]
    assert dataset.report.counts["rows with a trace that an earlier row has, left out"] == 1
    assert WaveformSource(dataset, np.arange(3))[2].waveform[0, 0] == 0.5


def test_choice_of_the_table(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no DiTing330km_part_<i>\.csv, .*data\.table"):
        diting.read(tmp_path)
    write(tmp_path, [ROW, ROW | {"key": KEYS[1]}])
    assert len(diting.read(tmp_path).table) == 2
    with pytest.raises(FileNotFoundError, match=r"python -m seismollm_jax\.data\.diting light"):
        diting.read(tmp_path, table="light")
    with pytest.raises(FileNotFoundError, match=r"fewshot\.csv does not exist; tables there: DiT"):
        diting.read(tmp_path, table="fewshot")
    write(tmp_path, [ROW], "DiTing330km_light.csv")
    with pytest.raises(ValueError, match=r"several tables: full, light; .*data\.table"):
        diting.read(tmp_path)
    for table in ("light", "DiTing330km_light.csv"):
        assert len(diting.read(tmp_path, table=table).table) == 1
    assert len(diting.read(tmp_path / "DiTing330km_light.csv").table) == 1
    assert len(diting.read(tmp_path, table="full").table) == 2
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        diting.read(tmp_path / "nowhere")


def test_magnitude_type(tmp_path: Path) -> None:
    rows = [ROW | {"key": f"{i}.1", "mag_type": kind} for i, kind in enumerate(["ML", "Ms", " Ms"])]
    write(tmp_path, rows)
    with h5py.File(tmp_path / "DiTing330km_part_0.hdf5", "a") as h5:
        for i in range(3):
            h5[f"earthquake/{i:06d}.1000"] = waveform("")
    assert len(diting.read(tmp_path, magnitude_type="MS").table) == 2
    with pytest.raises(ValueError, match=r"magnitude type 'mb'; it has: ms \(2\), ml \(1\)"):
        diting.read(tmp_path, magnitude_type="mb")


def test_errors_name_file_and_remedy(tmp_path: Path) -> None:
    write(tmp_path, [{k: v for k, v in ROW.items() if k != "s_pick"}])
    with pytest.raises(ValueError, match=r"part_0\.csv lacks the column s_pick; it has"):
        diting.read(tmp_path)
    write(tmp_path, [ROW | {"key": "7"}, ROW | {"part": "x"}])
    with pytest.raises(ValueError, match="no row with a usable part and key"):
        diting.read(tmp_path)
    write(tmp_path, [ROW, ROW | {"part": 5}])
    (tmp_path / "DiTing330km_part_5.hdf5").unlink()
    with pytest.raises(FileNotFoundError, match=r"part_5\.hdf5, which does not exist \(1 of 2"):
        diting.read(tmp_path)
    write(tmp_path, [ROW])
    with h5py.File(tmp_path / "DiTing330km_part_0.hdf5", "w") as h5:
        h5["other/000001.0001"] = waveform("")
    with pytest.raises(ValueError, match=r"no trace earthquake/000001\.0001.*do not match"):
        diting.read(tmp_path)
    (tmp_path / "DiTing330km_part_0.csv").write_bytes(b"")
    with pytest.raises(ValueError, match=r"part_0\.csv is not a readable CSV table"):
        diting.read(tmp_path)


def test_absent_columns_are_missing_and_reported(tmp_path: Path) -> None:
    row = {name: ROW[name] for name in ("part", "key", "p_pick", "s_pick", "evmag")}
    dataset = diting.read(write(tmp_path, [row]))
    assert np.isnan(dataset.table["magnitude"][0])  # of no type
    assert dataset.table["polarity"][0] == -1
    (text,) = [text for text in dataset.report.counts if text.startswith("rows without the")]
    assert "mag_type, p_motion" in text


MAGNITUDES = st.tuples(
    st.floats(-2, 10), st.sampled_from(["ML", "ms", "Mb"]), st.sampled_from(["", " "])
)


@settings(max_examples=20, deadline=None)
@given(st.lists(MAGNITUDES, min_size=1, max_size=20))
def test_magnitude_conversion(
    tmp_path_factory: pytest.TempPathFactory, magnitudes: list[tuple[float, str, str]]
) -> None:
    rows = [
        ROW | {"key": f"{i}.1", "evmag": f"{blank}{m}{blank}", "mag_type": f"{kind}{blank}"}
        for i, (m, kind, blank) in enumerate(magnitudes)
    ]
    directory = write(tmp_path_factory.mktemp("diting"), rows)
    with h5py.File(directory / "DiTing330km_part_0.hdf5", "a") as h5:
        h5["earthquake/000000.1000"] = waveform("")
    formulae = {"ml": lambda m: m, "ms": lambda m: (m + 1.08) / 1.13,
                "mb": lambda m: (1.17 * m + 0.67) / 1.13}  # fmt: skip
    expected = [np.clip(formulae[kind.lower()](m), 0, 8) for m, kind, _ in magnitudes]
    found = diting.read(directory).table["magnitude"]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


# -- the light table -----------------------------------------------------------------------------


def test_light_table_made_from_the_full_one(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    whole = ROW | {"S_residual": "0.2", "p_pick": 100, "s_pick": 8999, "net": "NA"}
    changes = [
        {},
        {"S_residual": "-"},
        {"P_residual": " - "},
        {"evmag": " "},
        {"baz": ""},
        {"p_clarity": "   "},
        {"Z_S_amplitude_snr": ""},
        {"p_pick": 0},
        {"p_pick": 8999},
        {"s_pick": 9000},
        {"p_motion": "n"},
        {"p_motion": " N"},
        {"p_motion": " c ", "evmag": " 2.5 "},
    ]
    for part in (0, 1):
        rows = [
            whole | {"part": part, "key": f"{part:06d}.{i + 1:04d}"} | change
            for i, change in enumerate(changes)
        ]
        write(tmp_path, rows, f"DiTing330km_part_{part}.csv")
    assert diting.main(["light", str(tmp_path)]) == 0
    assert "DiTing330km_light.csv: 4 of 26 rows" in capsys.readouterr().out
    written = pd.read_csv(tmp_path / "DiTing330km_light.csv", index_col=0, dtype={"key": str})
    assert written.index.tolist() == [0, 1, 2, 3]
    assert list(written.columns) == list(ROW)
    light = diting.read(tmp_path, table="light").table
    keys = ["000000.0001", "000000.0013", "000001.0001", "000001.0013"]
    assert light["trace_name"].tolist() == keys
    assert light["magnitude"].tolist() == [1.5, 2.5] * 2
    full = diting.read(tmp_path, table="full").table.set_index("trace_name").loc[keys]
    labels = ["p_sample", "s_sample", "magnitude", "polarity", "distance_km", "back_azimuth_deg"]
    pd.testing.assert_frame_equal(light.set_index("trace_name")[labels], full[labels])
    assert diting.main(["light", str(tmp_path)]) == 2
    assert "exists; move it away" in capsys.readouterr().err
    assert len(list(tmp_path.iterdir())) == 5  # nothing half-written


def test_no_light_table_without_a_full_one(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert diting.main(["light", str(tmp_path)]) == 2
    assert "has no DiTing330km_part_<i>.csv" in capsys.readouterr().err
    write(tmp_path, [ROW])  # its residual of S is missing
    assert diting.main(["light", str(tmp_path)]) == 2
    assert "has a value in every column" in capsys.readouterr().err


# -- protocols -----------------------------------------------------------------------------------


@pytest.mark.parametrize("task", setups.TASKS)
def test_published_protocols(task: str) -> None:
    config = get(task, "diting_light")
    assert (config.data.format, config.data.table) == ("diting", "light")
    assert (config.data.window, config.data.sampling_rate_hz) == (8192, 50.0)
    assert config.train.batch_size == 512
    assert (config.optim.up_steps, config.optim.down_steps) == (2500, 3000)
    assert (config.optim.base_lr, config.optim.max_lr) == (5e-4, 1e-3)
    assert (config.data.split.train, config.data.split.val) == (0.8, 0.1)
    assert get(task, "diting").data.table == "full"


def test_few_shot_table_is_a_test_set(tmp_path: Path) -> None:
    rows = [ROW | {"key": f"{i:06d}.0001"} for i in range(1, 31)]
    write(tmp_path, rows, "DiTing330km_fewshot.csv")
    config = get("magnitude", "diting_fewshot")
    config.data.path = str(tmp_path)
    dataset = open_dataset(config.data.to_dict())
    assert dataset.sampling_rate_hz == 50.0
    parts = split_for(dataset, config.data.to_dict(), needs=["magnitude"], uses_noise=False)
    assert parts.sizes() == {"train": 0, "val": 0, "test": 30}
