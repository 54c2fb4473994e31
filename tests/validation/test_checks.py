"""One rule set: a row gets the same verdict as a request, as a line of a table and as a line of a CSV file."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from homeostat.data.columns import texts, unstack_rows
from homeostat.data.csv_files import CsvSource
from homeostat.data.sources import as_cells
from homeostat.errors import ColumnMissing
from homeostat.records import CheckedRow, CheckedTable, Feature, Row, Schema, Target
from homeostat.validation.checks import FLOAT32_MAX, check_row, check_table, describe_range

GLUCOSE = Feature("Glucose", "numeric", "mg/dL", low=20.0, high=600.0, missing=(0.0, -1.0, "n/a", "?"))
AGE = Feature("Age", "numeric", "years", low=0.0)
DEBT = Feature("Debt", "numeric", high=5e37)
ANY = Feature("Any", "numeric")
CITY = Feature("City", "categorical", missing=("?",))
SMOKES = Feature("Smokes", "categorical", booleans=("no", "yes"))
FLAG = Feature("Flag", "numeric", low=0.0, high=1.0, booleans=(0, 1))
FEATURES = (GLUCOSE, AGE, CITY, DEBT, ANY, SMOKES, FLAG)
NUMERIC = tuple(feature for feature in FEATURES if feature.kind == "numeric")


def schema_of(*features: Feature) -> Schema:
    return Schema(features, Target("Outcome", 0, 1), digest="d")


SCHEMA = schema_of(*FEATURES)

# --- what people and programs send --------------------------------------------------------------------------------

edges = [20, 20.0, 600, 600.0000001, 19.999999, 0, -0.0, -1, 5e37, FLOAT32_MAX, -FLOAT32_MAX, 3.4028236e38, 1e308]
floats = st.floats() | st.sampled_from([math.nan, math.inf, -math.inf])
numbers = floats | st.integers() | st.sampled_from([*edges, 10**400, -(10**400), 2**63, 2**64 + 1])
words = st.sampled_from(["", " ", "?", "n/a", "N/A", "0", "5", "-1", "1e3", "nan", "inf", "true", "null"]) | st.text()
plain = st.none() | st.booleans() | numbers | words
garbage = plain | st.lists(plain, max_size=2) | st.dictionaries(st.text(max_size=2), plain, max_size=2)


def rows_of(cells: st.SearchStrategy[Any], features: Sequence[Feature]) -> st.SearchStrategy[list[dict[str, Any]]]:
    return st.lists(st.fixed_dictionaries({feature.name: cells for feature in features}), min_size=1, max_size=6)


Verdict = tuple[list[tuple[str, str, str]], Row | None]


def verdict_of_row(checked: CheckedRow) -> Verdict:
    """Return what was violated, and the accepted values if nothing was."""
    found = [(v.column, v.rule, v.expected) for v in checked.violations]
    return found, None if found else checked.row


def verdicts_of_table(table: CheckedTable) -> list[Verdict]:
    accepted = iter(unstack_rows(table.columns))
    return [
        ([(v.column, v.rule, v.expected) for v in table.violations if v.row == row], next(accepted) if taken else None)
        for row, taken in enumerate(table.accepted.tolist())
    ]


@settings(max_examples=200, deadline=None)
@given(rows=rows_of(garbage, FEATURES))
def test_a_row_gets_the_same_verdict_as_a_request_and_as_a_line_of_a_table(rows: list[dict[str, Any]]) -> None:
    cells = {feature.name: texts([row[feature.name] for row in rows]) for feature in FEATURES}

    table = verdicts_of_table(check_table(cells, SCHEMA))

    assert table == [verdict_of_row(check_row(row, SCHEMA)) for row in rows]


@settings(deadline=None)
@given(rows=rows_of(floats | st.sampled_from([float(edge) for edge in edges]), NUMERIC))
def test_a_row_gets_the_same_verdict_as_a_request_and_as_a_line_of_float64_columns(
    rows: list[dict[str, float]],
) -> None:
    schema = schema_of(*NUMERIC)
    cells: dict[str, NDArray[Any]] = {f.name: np.array([row[f.name] for row in rows]) for f in NUMERIC}

    table = verdicts_of_table(check_table(cells, schema))

    assert {cells[f.name].dtype for f in NUMERIC} == {np.dtype(np.float64)}
    assert table == [verdict_of_row(check_row(row, schema)) for row in rows]


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


# A CSV file has no types and no blanks around a cell: what it can carry is text of some length that spells no number,
# numbers in a numeric column, whole numbers in a categorical one, and nothing at all.
carried_text = words.filter(lambda text: text and text == text.strip() and not is_number(text))
carried_number = st.none() | numbers | carried_text
carried_category = st.none() | st.integers() | carried_text
carried_rows = st.lists(
    st.fixed_dictionaries({f.name: carried_number if f.kind == "numeric" else carried_category for f in FEATURES}),
    min_size=1,
    max_size=6,
)


@settings(deadline=None)
@given(rows=carried_rows)
def test_a_row_gets_the_same_verdict_as_a_request_and_as_a_line_of_a_csv_file(
    rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "rows.csv"
    write_csv(path, rows)

    cells = as_cells(CsvSource(path).read(), {feature.name: feature.kind for feature in FEATURES})

    assert verdicts_of_table(check_table(cells, SCHEMA)) == [verdict_of_row(check_row(row, SCHEMA)) for row in rows]


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@given(rows=rows_of(garbage, FEATURES))
def test_the_violated_value_is_told_as_it_was_sent(rows: list[dict[str, Any]]) -> None:
    cells = {feature.name: texts([row[feature.name] for row in rows]) for feature in FEATURES}

    violations = check_table(cells, SCHEMA).violations

    assert all(v.row is not None and v.value is rows[v.row][v.column] for v in violations)


# --- each rule ----------------------------------------------------------------------------------------------------

WHOLE: Row = {"Glucose": 100.0, "Age": 50.0, "City": "Bonn", "Debt": 0.0, "Any": -5.5, "Smokes": "no", "Flag": 1.0}


def rules_broken(**cells: object) -> list[tuple[str, str]]:
    return [(v.column, v.rule) for v in check_row({**WHOLE, **cells}, SCHEMA).violations]


def test_a_whole_row_is_accepted_as_it_was_sent() -> None:
    assert check_row(WHOLE, SCHEMA) == CheckedRow(WHOLE, ())


@pytest.mark.parametrize("value", [20, 600, 20.0, 599.99])
def test_both_ends_of_a_range_are_possible(value: float) -> None:
    assert rules_broken(Glucose=value) == []


@pytest.mark.parametrize("value", [19.99, 600.01, -5, 1e30])
def test_a_value_outside_the_range_is_impossible(value: float) -> None:
    assert rules_broken(Glucose=value) == [("Glucose", "range")]


@pytest.mark.parametrize(("marker", "kept"), [(0, 0.0), (-1.0, -1.0), ("n/a", None), (None, None), (math.nan, None)])
def test_a_missing_marker_is_accepted_though_it_lies_outside_the_range(marker: object, kept: float | None) -> None:
    assert check_row({**WHOLE, "Glucose": marker}, SCHEMA) == CheckedRow({**WHOLE, "Glucose": kept}, ())


@pytest.mark.parametrize("value", ["100", "", "much", True, False, [100], {"value": 100}])
def test_what_is_no_number_is_refused_where_a_number_belongs(value: object) -> None:
    assert rules_broken(Any=value) == [("Any", "number")]


@pytest.mark.parametrize("value", [math.inf, -math.inf, 3.5e38, 10**39, 10**400, -(10**400)])
def test_a_number_that_float32_cannot_hold_is_refused_even_without_a_range(value: float) -> None:
    assert rules_broken(Any=value) == [("Any", "finite")]


@pytest.mark.parametrize("value", [1.5, 1.0, math.nan, ["Bonn"], {"city": "Bonn"}])
def test_what_is_no_text_is_refused_where_a_category_belongs(value: object) -> None:
    assert rules_broken(City=value) == [("City", "text")]


@pytest.mark.parametrize(("sent", "kept"), [(7, "7"), (10**30, str(10**30)), ("", None), (None, None), ("?", "?")])
def test_a_whole_number_is_a_category_and_no_text_is_a_missing_one(sent: object, kept: str | None) -> None:
    assert check_row({**WHOLE, "City": sent}, SCHEMA) == CheckedRow({**WHOLE, "City": kept}, ())


@pytest.mark.parametrize(
    ("column", "sent", "kept"),
    [
        ("City", True, "true"),
        ("City", False, "false"),
        ("Smokes", True, "yes"),
        ("Smokes", False, "no"),
        ("Flag", True, 1.0),
        ("Flag", False, 0.0),
    ],
)
def test_a_boolean_is_what_the_feature_says_it_stands_for_and_else_its_word(
    column: str, sent: object, kept: str | float
) -> None:
    assert check_row({**WHOLE, column: sent}, SCHEMA) == CheckedRow({**WHOLE, column: kept}, ())


@pytest.mark.parametrize("sent", ["?", " ? ", "n/a"])
def test_a_marker_that_is_text_is_missing_with_or_without_blanks_around_it(sent: str) -> None:
    assert check_row({**WHOLE, "Glucose": sent}, SCHEMA) == CheckedRow({**WHOLE, "Glucose": None}, ())


def test_a_field_that_is_absent_is_not_the_same_as_null() -> None:
    row = {name: cell for name, cell in WHOLE.items() if name != "Age"}

    (violation,) = check_row(row, SCHEMA).violations

    assert (violation.column, violation.rule) == ("Age", "required")
    assert rules_broken(Age=None) == []


def test_an_unknown_field_is_refused_and_the_nearest_name_suggested() -> None:
    (near,) = check_row({**WHOLE, "glucose": 100}, SCHEMA).violations
    (far,) = check_row({**WHOLE, "xyz": 1}, SCHEMA).violations

    assert (near.column, near.rule, near.expected) == ("glucose", "unknown", "did you mean 'Glucose'?")
    assert far.expected == "Glucose, Age, City, Debt, Any, Smokes, Flag"


def test_violations_come_in_schema_order_and_unknown_fields_last() -> None:
    row = {"xyz": 1, "Any": "x", "City": 1.5, "Glucose": 1e9, "Debt": 0, "Smokes": "no", "Flag": 0}

    rules = [(v.column, v.rule) for v in check_row(row, SCHEMA).violations]

    assert rules == [("Glucose", "range"), ("Age", "required"), ("City", "text"), ("Any", "number"), ("xyz", "unknown")]


# --- what the sender is told --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("feature", "words"),
    [
        (Feature("a", "numeric"), "a number, null if not measured"),
        (Feature("a", "numeric", "kg"), "a number kg, null if not measured"),
        (Feature("a", "numeric", "kg", low=0.5), "0.5 kg or more, null if not measured"),
        (Feature("a", "numeric", "kg", high=-1.0), "-1 kg or less, null if not measured"),
        (Feature("a", "numeric", low=0.0, high=1234567.0), "0 to 1234567, null if not measured"),
        (
            Feature("a", "numeric", "kg", low=0.1, high=20.0, missing=(0.0, "n/a")),
            "0.1 to 20 kg, 0, 'n/a' or null if not measured",
        ),
    ],
)
def test_the_possible_values_are_told_in_words_with_every_digit(feature: Feature, words: str) -> None:
    assert describe_range(feature) == words


# --- tables -------------------------------------------------------------------------------------------------------


def test_the_violations_of_a_table_are_ordered_by_row_and_then_as_the_schema() -> None:
    cells = {"City": texts([1.5, "Bonn", 2.5]), "Glucose": np.array([1.0, 100.0, 1.0])}

    violations = check_table(cells, schema_of(GLUCOSE, CITY)).violations

    assert [(v.row, v.column) for v in violations] == [(0, "Glucose"), (0, "City"), (2, "Glucose"), (2, "City")]


def test_only_accepted_rows_are_left_and_columns_that_the_schema_does_not_name_are_not() -> None:
    cells = {"Glucose": np.array([0.0, 1.0, np.nan, 100.0]), "Name": texts(["a", "b", "c", "d"])}

    table = check_table(cells, schema_of(GLUCOSE))

    assert table.accepted.tolist() == [True, False, True, True]
    assert list(table.columns) == ["Glucose"]
    np.testing.assert_array_equal(table.columns["Glucose"], np.array([0.0, np.nan, 100.0]))


@pytest.mark.parametrize(
    ("found", "action"),
    [("glucose", "rename 'glucose' to 'Glucose'"), ("xyz", "add the column, or remove it from homeostat.toml")],
)
def test_a_table_without_a_column_of_the_schema_is_refused(found: str, action: str) -> None:
    with pytest.raises(ColumnMissing) as refused:
        check_table({found: np.array([100.0])}, schema_of(GLUCOSE))

    assert refused.value.problem == f"there is no column 'Glucose' (found: {found})"
    assert refused.value.action == action
