"""Tables in files of NumPy arrays."""

import numpy as np
import pandas as pd
import pytest

from seismollm_jax.data.table_files import read_table, write_table


def test_tables_come_back_as_they_were(builtin, tmp_path):
    table = builtin.table.copy()
    table["address"] = [None if i % 7 == 0 else f"bucket$é{i}" for i in range(len(table))]
    table["flag"] = np.arange(len(table)) % 2 == 0
    table.loc[3, "origin_time"] = pd.NaT
    write_table(tmp_path / "t.npz", table)
    found = read_table(tmp_path / "t.npz")
    pd.testing.assert_frame_equal(found, table)
    assert [p.name for p in tmp_path.iterdir()] == ["t.npz"]


def test_tables_that_cannot_be_kept_or_read(tmp_path):
    with pytest.raises(ValueError, match="column x mixes"):
        write_table(tmp_path / "t.npz", pd.DataFrame({"x": ["a", 1]}))
    for data in (b"", b"nothing", b"PK\x03\x04 and so on"):
        (tmp_path / "t.npz").write_bytes(data)
        with pytest.raises(ValueError, match=r"t\.npz is not a readable table"):
            read_table(tmp_path / "t.npz")
