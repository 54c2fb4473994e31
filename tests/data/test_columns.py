"""Rows become columns and rows again, and nothing is lost or invented on the way."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from homeostat.data.columns import join_columns, stack_rows, take_rows, texts, unstack_rows
from homeostat.records import Columns, Feature, Row, Schema, Target

SCHEMA = Schema((Feature("age", "numeric"), Feature("city", "categorical")), Target("outcome", 0, 1), digest="d")

numbers = st.none() | st.floats(allow_nan=False)
rows = st.lists(st.fixed_dictionaries({"age": numbers, "city": st.none() | st.text()}), max_size=20)
nested = st.recursive(st.none() | st.integers(), lambda inner: st.lists(inner, max_size=3), max_leaves=6)


def stack(rows: list[Row]) -> Columns:
    return stack_rows(rows, SCHEMA)


@given(rows=rows)
def test_rows_survive_the_way_to_columns_and_back(rows: list[Row]) -> None:
    assert unstack_rows(stack(rows)) == rows


@given(rows=rows)
def test_numbers_are_float64_and_categories_are_objects_even_without_a_row(rows: list[Row]) -> None:
    columns = stack(rows)

    assert [str(columns[name].dtype) for name in ("age", "city")] == ["float64", "object"]
    assert [columns[name].shape for name in ("age", "city")] == [(len(rows),), (len(rows),)]


@given(parts=st.lists(rows, max_size=4))
def test_joined_parts_stand_one_after_the_other(parts: list[list[Row]]) -> None:
    joined = join_columns([stack(part) for part in parts], SCHEMA)

    assert unstack_rows(joined) == [row for part in parts for row in part]
    assert joined["age"].dtype == np.float64


@given(rows=rows, data=st.data())
def test_rows_are_taken_by_a_mask_as_by_their_numbers(rows: list[Row], data: st.DataObject) -> None:
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))), dtype=np.bool_)

    by_mask = unstack_rows(take_rows(stack(rows), mask))

    assert by_mask == unstack_rows(take_rows(stack(rows), np.flatnonzero(mask)))
    assert by_mask == [row for row, taken in zip(rows, mask, strict=True) if taken]


@given(values=st.lists(nested, max_size=4))
def test_an_object_array_has_one_cell_for_each_value_whatever_it_is(values: list[object]) -> None:
    array = texts(values)

    assert array.shape == (len(values),)
    assert array.tolist() == values
