"""Published figures as reference rows of a comparison: quoted from a paper, not measured.

They are read from a table that names the source of each figure. None come with the package: those
of the paper on SeisMoLLM (arXiv 2502.19960) are to be copied from its tables by whoever cites them,
after a look at the definitions there.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

COLUMNS = ("model", "answer", "score", "value", "source")
NOTE = "published, not measured"


def read(path: str | Path) -> pd.DataFrame:
    """Reads a CSV file of published figures, one a row.

    Columns: model; answer and score, such as magnitude and mae, named as in metrics.json; value;
    source, where it stands, such as "arXiv 2502.19960v2, table II".

    Raises:
        FileNotFoundError: not there.
        ValueError: a column or a cell is missing, or a value is not a number.
    """
    texts = dict.fromkeys(set(COLUMNS) - {"value"}, str)
    table = pd.read_csv(path, dtype=texts, skipinitialspace=True, comment="#")
    if lacking := [column for column in COLUMNS if column not in table]:
        raise ValueError(
            f"{path} lacks the columns {', '.join(lacking)}; published figures need "
            f"{', '.join(COLUMNS)}"
        )
    table["value"] = pd.to_numeric(table["value"], errors="coerce")
    empty = table[list(COLUMNS)].isna()
    if empty.any(axis=None):
        row = int(empty.any(axis=1).to_numpy().argmax())
        column = COLUMNS[int(empty.iloc[row].to_numpy().argmax())]
        raise ValueError(
            f"{path}: row {row + 2} has no usable {column}; a published figure is a number with "
            "its model, answer, score and source"
        )
    twice = table.duplicated(["model", "answer", "score"])
    if twice.any():
        model, answer, score = table.loc[twice, list(COLUMNS[:3])].iloc[0]
        raise ValueError(f"{path} has {answer}/{score} of {model} twice")
    return table[list(COLUMNS)]
