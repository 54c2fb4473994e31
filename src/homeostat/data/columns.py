"""Rows as columns and columns as rows: the two shapes in which checked data travels.

Not here: reading (`data.sources`) or judging (`validation.checks`). Pure, numpy only: the service uses it too.
"""

from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from homeostat.records import Columns, Floats, Row, Schema, Texts


def stack_rows(rows: Sequence[Row], schema: Schema) -> Columns:
    """Return checked rows as columns; each row holds every feature."""
    columns: dict[str, Floats | Texts] = {}
    for feature in schema.features:
        cells = [row[feature.name] for row in rows]
        if feature.kind == "numeric":
            columns[feature.name] = np.array([np.nan if cell is None else cell for cell in cells], dtype=np.float64)
        else:
            columns[feature.name] = texts(cells)
    return columns


def unstack_rows(columns: Columns) -> list[Row]:
    """Return columns as rows of plain Python cells, None for missing."""
    names = list(columns)
    cells = map(plain_cells, columns.values())
    return [dict(zip(names, row, strict=True)) for row in zip(*cells, strict=True)]


def plain_cells(values: Floats | Texts) -> list[Any]:
    """Return the cells of a column as plain values, None for missing."""
    return [None if value != value else value for value in values.tolist()]  # noqa: PLR0124  only NaN differs


def take_rows(columns: Columns, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> Columns:
    """Return the chosen rows of every column: a mask of shape (n_rows,) or row numbers."""
    return {name: array[chosen] for name, array in columns.items()}


def join_columns(parts: Sequence[Columns], schema: Schema) -> Columns:
    """Return the rows of all parts, one part after the other."""
    empty: Mapping[str, Floats | Texts] = stack_rows([], schema)
    return {name: np.concatenate([empty[name], *(part[name] for part in parts)]) for name in empty}


def texts(values: Sequence[object]) -> Texts:
    """Return an object array of shape (n,), whatever the values are."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def numbers(values: Sequence[object]) -> Floats | None:
    """Return plain numbers as an array of shape (n,), NaN for None; None if there is anything else among them."""
    if not set(map(type, values)) <= {int, float, NoneType}:
        return None
    try:
        return np.array(values, dtype=np.float64)
    except OverflowError:  # an integer of more than 308 digits
        return None
