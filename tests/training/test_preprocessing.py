"""Preprocessing learns fills, indicators and categories from the training rows, and nothing else."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeostat.data.columns import stack_rows, take_rows, texts
from homeostat.records import Feature
from homeostat.training.preprocessing import (
    MAX_CATEGORIES,
    CategoricalStep,
    NumericStep,
    fit_categorical,
    fit_numeric,
    fit_preprocessor,
    preprocessor_to_json,
)
from homeostat.validation.schema import freeze_schema
from tests.training.generated import NAN, TARGET, Tables, tables

GLUCOSE = Feature("glucose", "numeric", missing=(0.0,))
CITY = Feature("city", "categorical", missing=("?",))
BOTH = freeze_schema([GLUCOSE, CITY], TARGET)
few = settings(max_examples=60, deadline=None)


def numeric(*values: float) -> NumericStep:
    return fit_numeric(np.array(values), GLUCOSE)


def test_the_fill_is_the_median_of_the_measured_values() -> None:
    assert numeric(0.0, 100.0, NAN, 120.0, 90.0).fill == 100.0


def test_an_even_number_of_measured_values_is_filled_with_the_mean_of_the_middle_two() -> None:
    assert numeric(100.0, 90.0, 0.0, 110.0, 120.0).fill == 105.0


def test_a_column_without_any_measured_value_is_filled_with_zero() -> None:
    assert numeric(0.0, NAN) == NumericStep("glucose", (0.0,), fill=0.0, indicator=True)


def test_values_at_the_end_of_float32_have_a_finite_fill() -> None:
    assert numeric(3.0e38, 3.2e38).fill == pytest.approx(3.1e38)


@pytest.mark.parametrize(("absent", "expected"), [(0.0, True), (NAN, True), (50.0, False)])
def test_an_indicator_is_learned_only_if_something_was_missing(*, absent: float, expected: bool) -> None:
    assert numeric(100.0, absent).indicator is expected


def test_a_marker_that_float32_rounds_is_still_found() -> None:
    step = fit_numeric(np.array([0.1, 7.0]), Feature("dose", "numeric", missing=(0.1,)))

    assert (step.fill, step.indicator) == (7.0, True)


def test_the_categories_are_those_seen_with_missing_as_an_empty_one() -> None:
    assert fit_categorical(texts(["b", None, "a", "?", "b"]), CITY) == CategoricalStep("city", ("?",), ("", "a", "b"))


def test_rare_categories_beyond_the_limit_are_left_out_ties_in_alphabetical_order() -> None:
    names = [f"c{number:03}" for number in range(MAX_CATEGORIES + 5)]

    step = fit_categorical(texts([*reversed(names), names[-1]]), CITY)

    assert step.categories == (*names[: MAX_CATEGORIES - 1], names[-1])


def test_the_design_names_are_values_then_indicators_then_categories() -> None:
    columns = stack_rows([{"glucose": 0.0, "city": "a"}, {"glucose": 100.0, "city": None}], BOTH)

    found = fit_preprocessor(columns, BOTH)

    assert found.design_names == ("glucose", "glucose is missing", "city = missing", "city = a")


@few
@given(tables(), st.data())
def test_the_order_of_the_rows_does_not_matter(generated: Tables, data: st.DataObject) -> None:
    n_rows = len(next(iter(generated.training.values())))
    order = np.array(data.draw(st.permutations(range(n_rows))))

    shuffled = fit_preprocessor(take_rows(generated.training, order), generated.schema)

    assert shuffled == fit_preprocessor(generated.training, generated.schema)


@few
@given(tables())
def test_what_was_learned_can_be_written_as_json(generated: Tables) -> None:
    learned = fit_preprocessor(generated.training, generated.schema)

    written = json.loads(json.dumps(preprocessor_to_json(learned), allow_nan=False))

    assert [step["fill"] for step in written["numeric"]] == [step.fill for step in learned.numeric]
    assert [tuple(step["categories"]) for step in written["categorical"]] == [s.categories for s in learned.categorical]
