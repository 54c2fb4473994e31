"""The compiled rules accept exactly rows that the rules accept, with the same cells, and every ordinary row at once."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from homeostat.data.columns import stack_rows
from homeostat.records import Feature, Schema, Target
from homeostat.training.scoring import graph_inputs
from homeostat.validation.checks import check_row
from homeostat.validation.decoding import RowDecoder
from homeostat.validation.schema import freeze_schema

TARGET = Target("Outcome", 0, 1)
NUMBERS = freeze_schema(
    [
        Feature("Age", "numeric", "years", 0, 130),
        Feature("blood pressure", "numeric", None, 20, 250, (0, -1)),
        Feature("rows", "numeric", None, None, None, (1e300, 999)),
    ],
    TARGET,
)
MIXED = freeze_schema(
    [
        Feature("ward", "categorical"),
        Feature("Age", "numeric", None, 0, 130, ("n/a", -9)),
        Feature("größe", "numeric", None, 1, None),
        Feature("smokes", "categorical", booleans=("no", "yes")),
        Feature("flag", "numeric", None, 0, 1, booleans=(0, 1)),
    ],
    TARGET,
)
CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, -9, 999, 130, 131, 20, 19.999, 1e300, 10**400, "n/a", " a ", "", "1", 3.5e38]),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
    st.lists(st.integers(), max_size=2),
)


def rows(schema: Schema) -> st.SearchStrategy[dict[str, Any]]:  # Any: whatever JSON holds
    names = [feature.name for feature in schema.features]
    return st.one_of(
        st.fixed_dictionaries(dict.fromkeys(names, CELLS)),
        st.dictionaries(st.sampled_from([*names, "unknown"]), CELLS),
    )


def assert_agrees(row: Mapping[str, Any], schema: Schema) -> None:
    checked = check_row(row, schema)
    expected = None if checked.violations else tuple(checked.row[f.name] for f in schema.features)
    decoder = RowDecoder(schema)
    found = decoder.decode_row(json.dumps(row).encode())

    assert found in (expected, None)
    assert decoder.convert_row(row) in (expected, None)
    if found is not None:
        assert decoder.encode_row(found) == msgspec.json.encode(checked.row)


@given(row=rows(NUMBERS))
def test_what_is_accepted_at_once_is_what_the_rules_accept(row: Mapping[str, Any]) -> None:
    assert_agrees(row, NUMBERS)


@given(row=rows(MIXED))
def test_categories_and_markers_that_are_text_are_read_as_the_rules_read_them(row: Mapping[str, Any]) -> None:
    assert_agrees(row, MIXED)


POSSIBLE = {
    "Age": st.one_of(st.none(), st.integers(0, 130), st.floats(0, 130)),
    "blood pressure": st.sampled_from([None, 0, -1, 20, 250, 77.7]),
    "rows": st.sampled_from([None, 999, -1e38, 1e38]),
}


@given(row=st.fixed_dictionaries(POSSIBLE))
def test_every_possible_row_of_plain_values_is_accepted_at_once(row: Mapping[str, Any]) -> None:
    cells = RowDecoder(NUMBERS).decode_row(json.dumps(row).encode())

    assert cells == tuple(row[name] for name in POSSIBLE)


@given(batch=st.lists(rows(NUMBERS), max_size=20))
def test_a_batch_is_read_as_its_rows_are(batch: list[Mapping[str, Any]]) -> None:
    decoder = RowDecoder(NUMBERS)
    found = decoder.decode_batch(json.dumps({"rows": batch}).encode())
    alone = [decoder.decode_row(json.dumps(row).encode()) for row in batch]

    assert found is None or found == alone


@given(batch=st.lists(st.tuples(*[st.one_of(st.none(), st.floats(-200, 200))] * 3), min_size=8, max_size=30))
def test_many_rows_are_judged_as_one_is(batch: list[tuple[float | None, ...]]) -> None:
    decoder = RowDecoder(NUMBERS)
    sent = [dict(zip(["Age", "blood pressure", "rows"], row, strict=True)) for row in batch]
    found = decoder.decode_batch(json.dumps({"rows": sent}).encode())

    assert found == [decoder.convert_row(row) for row in sent]


@given(content=st.binary(max_size=50))
def test_no_bytes_break_it(content: bytes) -> None:
    decoder = RowDecoder(MIXED)

    assert decoder.decode_row(content) is None
    assert not decoder.decode_batch(content)


def test_accepted_rows_are_stacked_as_the_graph_takes_them() -> None:
    decoder = RowDecoder(MIXED)
    sent: list[dict[str, object]] = [
        {"ward": " a ", "Age": "n/a", "größe": 1.7, "smokes": True, "flag": 1},
        {"ward": 3, "Age": -9, "größe": None, "smokes": "no", "flag": True},
    ]
    cells = [decoder.convert_row(row) for row in sent]
    numbers, texts = decoder.stack([row for row in cells if row is not None])
    expected = graph_inputs(stack_rows([check_row(row, MIXED).row for row in sent], MIXED), MIXED)

    assert np.array_equal(numbers, expected["numeric"], equal_nan=True)
    assert [[cell or "" for cell in row] for row in texts.tolist()] == expected["categorical"].tolist()


def test_a_row_nested_to_any_depth_is_left_to_the_rules() -> None:
    depth = 100_000

    assert RowDecoder(NUMBERS).decode_row(b'{"Age":' + b"[" * depth + b"]" * depth + b"}") is None
