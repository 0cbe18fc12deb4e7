"""A catalogue's table in one compressed file that is read in seconds, every bit as it was.

The file is NumPy's .npz; `columns` names the columns in order. A column's array `<name>.values`
holds numbers, times, or texts as UTF-8 bytes; `<name>.missing` then lists the rows without a text.
Of a categorical column it holds the codes, -1 for missing, and `<name>.names` what they mean.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from seismollm_jax import atomic_files


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table, whole or not at all.

    Raises ValueError for a column that is none of numbers, times, texts and categorical texts.
    """
    arrays = {"columns": _bytes(list(table.columns))}
    for name, column in table.items():
        if isinstance(column.dtype, pd.CategoricalDtype):
            arrays[f"{name}.values"] = column.cat.codes.to_numpy()
            arrays[f"{name}.names"] = _bytes([str(value) for value in column.cat.categories])
        elif pd.api.types.is_string_dtype(column) or column.dtype == object:
            missing = column.isna().to_numpy()
            texts = column.astype(object).where(~missing, "").tolist()
            if not all(isinstance(text, str) for text in texts):
                raise ValueError(f"the column {name} mixes texts with other values")
            arrays[f"{name}.values"] = _bytes(texts)
            arrays[f"{name}.missing"] = np.flatnonzero(missing)
        elif column.dtype.kind in "biufM":
            arrays[f"{name}.values"] = column.to_numpy()
        else:
            raise ValueError(f"the column {name} has the type {column.dtype}")
    with atomic_files.whole(path) as part, part.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def read_table(path: Path) -> pd.DataFrame:
    """Read a table back.

    Raises FileNotFoundError; ValueError, naming the file, if it is not such a table.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return pd.DataFrame(
                {name: _column(arrays, name) for name in _texts(arrays["columns"])}, copy=False
            )
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{path} is not a readable table ({error}); copy the dataset again"
        ) from error


def _column(arrays: Any, name: str) -> Any:
    values = arrays[f"{name}.values"]
    if f"{name}.names" in arrays:
        return pd.Categorical.from_codes(values, pd.Index(_texts(arrays[f"{name}.names"])))
    if f"{name}.missing" not in arrays:
        return values
    texts = np.array(_texts(values), object)
    texts[arrays[f"{name}.missing"]] = None
    return pd.Series(texts)


def _bytes(texts: list[str]) -> np.ndarray:
    # An empty array of bytes would have no width.
    return np.array([text.encode() for text in texts], np.bytes_ if texts else "S1")


def _texts(array: np.ndarray) -> list[str]:
    return [text.decode() for text in array.tolist()]
