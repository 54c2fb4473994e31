"""The rules compiled for requests: JSON text or a mapping straight to the cells of an accepted row, in microseconds.

Not here: any reason. What is not accepted at once is None, and `validation.checks` says what is wrong with it, or that
nothing is: this file may only accept what the rules accept. Pure.
"""

import math
from collections.abc import Mapping, Sequence
from types import GenericAlias
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from homeostat.records import Cell, Feature, Schema
from homeostat.validation.checks import FLOAT32_MAX, WORDS

# The cells of an accepted row, in schema order: a float, a category, None for missing. A number that is a marker for
# "missing" is still the number.
Cells: TypeAlias = tuple[Cell, ...]
# Below as many rows, a loop over the cells is faster than arrays.
FEW_ROWS = 8


class RowDecoder:
    """Decodes rows of one schema against types that are generated from it. May be called from several threads."""

    def __init__(self, schema: Schema) -> None:
        names = {f"f{place}": feature.name for place, feature in enumerate(schema.features)}
        fields = [(f"f{place}", type_of(feature)) for place, feature in enumerate(schema.features)]
        # No cells can hold a cycle: the garbage collector need not look at rows.
        row: Any = msgspec.defstruct("Row", fields, rename=names, forbid_unknown_fields=True, gc=False)
        rows: Any = GenericAlias(list, row)
        batch: Any = msgspec.defstruct("Batch", [("rows", rows)], forbid_unknown_fields=True)
        self._type = row
        self._row = msgspec.json.Decoder(row)
        self._batch = msgspec.json.Decoder(batch)
        self._encoder = msgspec.json.Encoder()
        self._features = schema.features
        self._numbers = [(place, *limits_of(f)) for place, f in enumerate(schema.features) if f.kind == "numeric"]
        self._texts = [place for place, f in enumerate(schema.features) if f.kind == "categorical"]
        self._lows = np.array([low for _, low, _, _ in self._numbers])
        self._highs = np.array([high for _, _, high, _ in self._numbers])
        # Whether the decoded struct is the row already: without texts there is nothing to strip or to translate.
        self._plain = all(type_of(feature) == float | None for feature in schema.features)

    def decode_row(self, content: bytes | msgspec.Raw) -> Cells | None:
        """Return the cells of one accepted row of JSON, else None."""
        try:
            row = self._row.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return self._settle(msgspec.structs.astuple(row))

    def decode_batch(self, content: bytes) -> list[Cells | None] | None:
        """Return the cells of each row of `{"rows": [...]}`, None for rows that the rules must judge.

        None for the whole, if it is not such a batch or one of its rows has not the declared types.
        """
        try:
            rows = self._batch.decode(content).rows
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        cells = [msgspec.structs.astuple(row) for row in rows]
        if len(cells) < FEW_ROWS or not self._plain:
            return [self._settle(row) for row in cells]
        possible = self._judge_table(np.array(cells, dtype=np.float64))
        return [row if fits else None for row, fits in zip(cells, possible.tolist(), strict=True)]

    def convert_row(self, row: Mapping[str, object]) -> Cells | None:
        """Return the cells of one accepted row that is decoded already, else None."""
        try:
            found = msgspec.convert(row, self._type)
        except (msgspec.ValidationError, RecursionError):
            return None
        return self._settle(msgspec.structs.astuple(found))

    def encode_row(self, cells: Cells) -> bytes:
        """Return an accepted row as the JSON object that the log keeps."""
        return self._encoder.encode(self._type(*cells))

    def stack(self, rows: Sequence[Cells]) -> tuple[NDArray[np.float32], NDArray[np.object_]]:
        """Return accepted rows as what a graph takes: numbers (n_rows, n_numeric), NaN for missing, and texts."""
        if self._plain:
            return np.array(rows, dtype=np.float32).reshape(len(rows), len(self._numbers)), NO_TEXTS
        numbers = [[row[place] for place, _, _, _ in self._numbers] for row in rows]
        texts = np.empty((len(rows), len(self._texts)), dtype=object)
        for column, place in enumerate(self._texts):
            texts[:, column] = [row[place] for row in rows]
        return np.array(numbers, dtype=np.float32).reshape(len(rows), len(self._numbers)), texts

    def _settle(self, cells: Cells) -> Cells | None:
        """Return the cells of a row as the rules leave them, None unless each of them is certainly possible."""
        if not self._plain:
            translated = self._translate(cells)
            if translated is None:
                return None
            cells = translated
        for place, low, high, markers in self._numbers:
            value: Any = cells[place]  # Any: a number or None, here
            if value is not None and not low <= value <= high and value not in markers:
                return None
        return cells

    def _translate(self, cells: Cells) -> Cells | None:
        """Return the cells with categories, booleans and markers that are text as the rules read them."""
        translated = list(cells)
        for place, (cell, feature) in enumerate(zip(cells, self._features, strict=True)):
            if isinstance(cell, bool):
                value = (feature.booleans or WORDS)[cell]
                translated[place] = str(value).strip() if feature.kind == "categorical" else float(value)
            elif feature.kind == "categorical":
                translated[place] = None if cell is None else str(cell).strip() or None
            elif isinstance(cell, str):
                if cell.strip() not in feature.missing:
                    return None
                translated[place] = None
        return tuple(translated)

    def _judge_table(self, table: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which rows of numbers, shape (n_rows, n_numeric), are certainly possible; NaN is missing."""
        outside = (table < self._lows) | (table > self._highs)
        for column, (_, _, _, markers) in enumerate(self._numbers):
            for marker in markers:
                outside[:, column] &= table[:, column] != marker
        return np.logical_not(outside.any(axis=1))


NO_TEXTS: NDArray[np.object_] = np.empty((0, 0), dtype=object)


def type_of(feature: Feature) -> Any:  # Any: a type made at run time
    """Return the type of a feature's cell in JSON."""
    if feature.kind == "categorical":
        return str | int | bool | None
    found: Any = float | None
    if any(isinstance(marker, str) for marker in feature.missing):
        found |= str
    return found if feature.booleans is None else found | bool


def limits_of(feature: Feature) -> tuple[float, float, tuple[float, ...]]:
    """Return the possible numbers: both ends of the range within float32, and the markers beyond it."""
    low = -FLOAT32_MAX if feature.low is None else max(feature.low, -FLOAT32_MAX)
    high = FLOAT32_MAX if feature.high is None else min(feature.high, FLOAT32_MAX)
    numbers = (float(marker) for marker in feature.missing if not isinstance(marker, str))
    return low, high, tuple(m for m in numbers if math.isfinite(m) and abs(m) <= FLOAT32_MAX)
