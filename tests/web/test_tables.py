"""A table is judged as its rows are, and Python's JSON is read with its NaN."""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeostat.data.columns import numbers
from homeostat.errors import RequestInvalid
from homeostat.validation.decoding import FEW_ROWS
from homeostat.web.answers import Answer, Judged, Refused, judge_rows
from homeostat.web.tables import decode_python_json, judge_columns
from tests.web.mixed_release import open_mixed_release

LIVE = open_mixed_release()
CELLS = (
    st.none()
    | st.sampled_from([0.3, 66.6, -9.9, "n/a", "north", " 1 ", "", 1, 2.5, True, 10**400, math.inf, math.nan, -0.0])
    | st.floats(allow_nan=False)
    | st.text(max_size=3)
    | st.lists(st.integers(), max_size=1)
)
ages = CELLS | st.floats(0.3, 66.6) | st.integers(-1, 70)
wards = CELLS | st.sampled_from(["north", "south"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_infinity=False) | st.text('Na"\\\\x', max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('Na"\\\\', max_size=4), inner, max_size=4),
)


def outcomes(judged: Judged) -> list[Any]:
    """Return what became of each row, without what no two requests share; NaN by its name."""
    results = [
        (one.probability, one.label) if isinstance(one, Answer) else repr(one.rejected) for one in judged.results
    ]
    return [*results, [line[3:] for line in judged.predicted], [line[1:] for line in judged.rejected]]


@settings(deadline=None)
@given(rows=st.lists(st.tuples(ages, wards), max_size=3 * FEW_ROWS))
def test_a_table_is_judged_as_its_rows_are(rows: list[tuple[Any, Any]]) -> None:
    table = {"ward": [ward for _, ward in rows], "age": [age for age, _ in rows]}

    judged = judge_columns(table, LIVE, received_at=0)

    alone = judge_rows([{"age": age, "ward": ward} for age, ward in rows], LIVE, received_at=0)
    assert outcomes(judged) == outcomes(alone)


@settings(deadline=None)
@given(values=st.lists(st.floats(), min_size=1, max_size=3 * FEW_ROWS))
def test_an_array_of_numbers_is_judged_as_a_list_is(values: list[float]) -> None:
    wards = ["north"] * len(values)

    judged = judge_columns({"age": np.array(values), "ward": wards}, LIVE, received_at=0)

    expected = judge_columns({"age": values, "ward": wards}, LIVE, received_at=0)
    assert outcomes(judged) == outcomes(expected)
    assert any(isinstance(one, Refused) for one in judged.results) == bool(judged.rejected)


@given(document=json_values)
def test_what_python_writes_is_read_with_null_for_nan(document: Any) -> None:
    expected = json.loads(json.dumps(document), parse_constant=lambda _: None)

    assert decode_python_json(json.dumps(document).encode()) == expected


@pytest.mark.parametrize(
    "text", ["NaNNaN", "-NaN", "1NaN", "[NaN", '"NaN', '{"a":NaN"b":1}', "Infinity", "[-Infinity]"]
)
def test_nan_where_no_value_stands_is_no_json(text: str) -> None:
    with pytest.raises(RequestInvalid):
        decode_python_json(text.encode())


def test_numbers_are_an_array_only_if_all_of_them_are_plain() -> None:
    assert numbers([1, None, 2.5]) is not None
    assert [numbers(values) for values in ([True], ["1"], [10**400], [[1]])] == [None] * 4
