"""Cells are numbers where every cell is one, and else what stands there: for a file as for a query."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeostat.data.sources import as_cells, number_cells, text_cells
from homeostat.errors import SourceUnreadable


@given(numbers=st.lists(st.none() | st.floats(allow_nan=False) | st.integers(), max_size=20))
def test_a_number_written_as_text_is_read_as_python_reads_it(numbers: list[float | None]) -> None:
    column = pl.Series([None if number is None else f" {number!r}" for number in numbers], dtype=pl.String)

    expected = [np.nan if number is None else float(number) for number in numbers]
    np.testing.assert_array_equal(number_cells(column), np.array(expected, dtype=np.float64))


def test_a_cell_that_is_no_number_stands_among_the_numbers_as_it_is() -> None:
    cells = number_cells(pl.Series(["1", " n/a", "", None, "1e3"]))

    assert cells.tolist() == [1.0, "n/a", None, None, 1000.0]


def test_text_has_no_blanks_around_it_and_blank_text_is_missing() -> None:
    assert text_cells(pl.Series([" a b ", "", "  ", None])).tolist() == ["a b", None, None, None]


@pytest.mark.parametrize(
    ("column", "cells"),
    [
        (pl.Series([1, 2]), ["1", "2"]),
        (pl.Series([True, None]), [True, None]),
        (pl.Series([None, None]), [None, None]),
    ],
)
def test_a_category_of_any_plain_type_is_its_text(column: pl.Series, cells: list[str | None]) -> None:
    assert text_cells(column).tolist() == cells


@pytest.mark.parametrize(
    ("cells", "is_numeric"),
    [(["1", " "], True), (["1", "x"], False), ([None, ""], True), ([True, False], False), ([1, 2], True)],
)
def test_a_column_is_numeric_only_if_every_cell_is_a_number_or_empty(cells: list[object], *, is_numeric: bool) -> None:
    assert (number_cells(pl.Series(cells)).dtype == np.float64) == is_numeric


def test_wanted_columns_that_the_table_lacks_are_left_out() -> None:
    cells = as_cells(pl.DataFrame({"a": ["1"], "b": ["2"]}), {"b": "numeric", "c": "numeric"})

    assert list(cells) == ["b"]


@pytest.mark.parametrize("cell", [[1, 2], {"a": 1}, b"\xff"])
def test_a_column_of_lists_records_or_bytes_is_refused_by_name(cell: object) -> None:
    with pytest.raises(SourceUnreadable, match="'scan'"):
        as_cells(pl.DataFrame({"scan": [cell]}), {"scan": "categorical"})
