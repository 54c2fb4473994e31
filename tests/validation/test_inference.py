"""A guess allows every value that was seen, gives its reason, and never invents a marker."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from homeostat.data.columns import texts
from homeostat.errors import DataInsufficient, TargetInvalid
from homeostat.records import Feature, Target
from homeostat.training.preprocessing import MAX_CATEGORIES
from homeostat.validation.guesses import Guess
from homeostat.validation.inference import infer_column, infer_features
from homeostat.validation.number_guesses import USUAL_MARKERS, infer_numbers
from homeostat.validation.outcome_guesses import infer_target
from homeostat.validation.text_guesses import TOLD_APART

MEASURED = [float(value) for value in range(44, 144)]
values = st.lists(
    st.floats(-1e300, 1e300) | st.integers(-50, 50).map(float) | st.sampled_from(USUAL_MARKERS), min_size=2, max_size=60
)


def guess(values: Sequence[float]) -> Guess:
    return infer_numbers("a", np.array(values, dtype=np.float64), {})


def feature_of(values: Sequence[float]) -> Feature:
    feature = guess(values).feature
    assert feature is not None
    return feature


# --- ranges -------------------------------------------------------------------------------------------------------


@given(values=values)
def test_every_value_that_was_seen_is_possible_or_a_marker(values: list[float]) -> None:
    assume(len(set(values)) > 1)
    feature = feature_of(values)

    assert feature.low is not None
    assert feature.high is not None
    assert all(feature.low <= value <= feature.high or value in feature.missing for value in values)


@given(values=values)
def test_the_bounds_are_short_decimals_that_text_holds_exactly(values: list[float]) -> None:
    assume(len(set(values)) > 1)
    feature = feature_of(values)

    assert [float(f"{bound:g}") for bound in (feature.low, feature.high)] == [feature.low, feature.high]


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        ([21, 50, 81], 0, 150),
        ([0.1, 0.2, 0.25], 0, 0.4),
        ([-3, 0, 5], -15, 15),
        ([-10, -9, -8], -15, 0),
        ([-30, -20, -5], -60, 20),
        ([0, 1], 0, 2),
    ],
)
def test_a_range_reaches_one_span_further_and_to_zero(values: list[float], low: float, high: float) -> None:
    assert (feature_of(values).low, feature_of(values).high) == (low, high)


def test_with_a_marker_the_range_begins_at_half_the_smallest_value() -> None:
    assert (feature_of([0, 0, *MEASURED]).low, feature_of(MEASURED).low) == (20, 0)


# --- markers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("marker", USUAL_MARKERS)
def test_a_usual_marker_that_stands_apart_is_found_with_its_reason(marker: float) -> None:
    found = guess([marker, marker, *MEASURED])

    assert found.feature is not None
    assert found.feature.missing == (marker,)
    edge = "start at 44" if marker < 44 else "end at 143"
    assert found.reasons[0] == f"{marker:g} stands in 2 rows and the other values {edge}: looks like a missing marker"


@pytest.mark.parametrize("name", ['an "age"', "C:\\age", "age\n(years)"])
def test_a_name_that_no_request_can_hold_is_left_out_and_told(name: str) -> None:
    found = infer_column(name, np.arange(40.0) % 7)

    assert found.feature is None
    assert "rename the column" in found.reasons[0]


def test_a_zero_next_to_the_other_values_is_a_real_value_and_the_reason_says_so() -> None:
    found = guess([0, 0, *range(1, 18)])

    assert found.feature is not None
    assert found.feature.missing == ()
    assert found.reasons[0] == "0 stands in 2 rows and the other values start at 1: looks like a real value"


def test_markers_at_both_ends_are_found() -> None:
    assert feature_of([-9, -9, 999, 999, *MEASURED]).missing == (-9, 999)


def test_a_marker_beside_values_that_start_at_zero_is_found() -> None:
    feature = feature_of([-999, -999, *range(30)])

    assert (feature.missing, feature.low) == ((-999,), 0)


@pytest.mark.parametrize(
    "values",
    [
        [0, *MEASURED],
        [0] * 200 + MEASURED,
        [0, 0, 44, 60, 90],
        [7, 7, *(value + 100 for value in MEASURED)],
        [0, 0, *(0.001 + value / 100_000 for value in range(100_000))],
    ],
    ids=["a single row", "most rows", "few distinct values", "an unusual number", "close to very many"],
)
def test_a_value_apart_is_no_marker_if_it_is(values: list[float]) -> None:
    assert feature_of(values).missing == ()


@given(values=values)
def test_only_usual_markers_are_ever_guessed(values: list[float]) -> None:
    assume(len(set(values)) > 1)

    assert set(feature_of(values).missing) <= set(USUAL_MARKERS)


# --- columns ------------------------------------------------------------------------------------------------------

NUMBERS = np.arange(20.0) / 2


def guess_beside_numbers(cells: list[object]) -> Guess:
    return infer_column("a", texts(cells))


def test_a_constant_column_is_left_out_with_the_reason() -> None:
    guesses = infer_features({"a": np.full(20, 3.0), "b": NUMBERS, "c": texts(["x"] * 20)}.items())

    assert [guess.feature is None for guess in guesses] == [True, False, True]
    assert [guesses[place].reasons for place in (0, 2)] == [
        ("left out: every value is 3",),
        ("left out: every value is 'x'",),
    ]


def test_text_that_differs_in_every_row_is_left_out_like_an_identifier() -> None:
    assert guess_beside_numbers([f"p{number}" for number in range(20)]).feature is None


def test_text_is_a_category_and_its_empty_cells_are_told() -> None:
    found = guess_beside_numbers([None, None, *"abcabcabcabcabcabc"])

    assert found.feature == Feature("a", "categorical")
    assert found.reasons == (
        "text with 3 different values: categories; others are accepted and counted as unseen",
        "2 empty values: missing, a category of their own",
    )


def test_empty_numbers_are_told() -> None:
    assert "2 empty values: missing, imputed" in guess([np.nan, np.nan, 1.0, 2.0]).reasons


@pytest.mark.parametrize("cells", [np.full(20, np.nan), texts([None] * 20), np.full(20, np.inf), texts(["NA"] * 20)])
def test_a_column_without_any_value_is_left_out_with_the_reason(cells: np.ndarray) -> None:
    found = infer_column("a", cells)

    assert (found.feature, found.reasons[0]) == (None, "left out: every value is missing")


@pytest.mark.parametrize(("n_rows", "words"), [(1, "1 row;"), (19, "19 rows;")])
def test_a_handful_of_rows_is_too_few_to_guess_from(n_rows: int, words: str) -> None:
    with pytest.raises(DataInsufficient, match=words):
        infer_features([("a", np.arange(float(n_rows)))])


@pytest.mark.parametrize("cells", [{}, {"a": np.full(20, 1.0)}])
def test_a_table_without_an_input_is_refused(cells: dict[str, np.ndarray]) -> None:
    with pytest.raises(DataInsufficient, match="no column beside the target"):
        infer_features(cells.items())


# --- what is no feature -------------------------------------------------------------------------------------------

ROWS = 400
DRAW = np.random.default_rng(0)
COUNTED = np.arange(ROWS, dtype=np.float64)
SCATTERED = DRAW.choice(10_000_000, ROWS, replace=False).astype(np.float64)


def draw_texts(choices: Sequence[object], *, n_rows: int = ROWS) -> np.ndarray:
    return texts([choices[place] for place in DRAW.integers(len(choices), size=n_rows).tolist()])


def days(form: str) -> list[object]:
    return [f"{datetime(2024, 1, 1, 14, 30, tzinfo=UTC) + timedelta(days=place):{form}}" for place in range(300)]


# Name and cells of a column -> the beginning of the reason for which it is left out, and whether it can order the rows.
LEFT_OUT: list[tuple[str, np.ndarray, str, bool]] = [
    ("row", COUNTED, "whole numbers from 0 to 399, each once: they count the rows", False),
    ("row", DRAW.permutation(COUNTED + 1e6), "whole numbers from 1000000 to 1000399, each once", False),
    ("customer_id", SCATTERED, "whole numbers, all different, with the name of an identifier", False),
    ("CustomerID", np.repeat(SCATTERED[:200], 2), "200 different whole numbers with the name of an identifier", False),
    ("", SCATTERED, "whole numbers, all different, with the name of an identifier", False),
    ("opened", draw_texts(days("%Y-%m-%d")), "dates or moments such as '2024-", True),
    ("opened", draw_texts(days("%Y-%m-%dT%H:%M:%SZ")), "dates or moments", True),
    ("opened", draw_texts([*days("%Y-%m-%d %H:%M"), None]), "dates or moments", True),
    ("opened", draw_texts(days("%d.%m.%Y")), "dates or moments", False),
    ("opened", draw_texts(days("%m/%d/%Y %I:%M %p")), "dates or moments", False),
    ("opened", draw_texts(days("%d %b %Y")), "dates or moments", False),
    ("opened", DRAW.choice(20240101.0 + np.arange(28), ROWS), "dates written as numbers, from 20240101", True),
    ("created_at", 1.7e9 + SCATTERED, "moments, counted in seconds since 1970", True),
    ("timestamp", 1.7e12 + SCATTERED, "moments, counted in seconds since 1970 times 1000", True),
    ("key", texts([str(UUID(int=place % 80)) for place in range(ROWS)]), "80 different identifiers", False),
    ("name", texts([f"n{place}" for place in range(ROWS)]), "every value is different, like an identifier", False),
    ("name", draw_texts([f"n{place}" for place in range(9999)]), "39", False),  # 39. different values in 400 rows
    ("city", draw_texts([f"n{place}" for place in range(300)], n_rows=4000), "300 different values; a model", False),
    (
        "mass",
        texts([float(place % 77) if place % 3 else f"{place} kg" for place in range(ROWS)]),
        "numbers, but among",
        False,
    ),
]


@pytest.mark.parametrize(("name", "cells", "reason", "orders_rows"), LEFT_OUT)
def test_what_names_dates_or_counts_the_rows_is_left_out_with_the_reason(
    name: str, cells: np.ndarray, reason: str, *, orders_rows: bool
) -> None:
    found = infer_column(name, cells)

    assert (found.feature, found.is_moment) == (None, orders_rows)
    assert found.reasons[0].startswith(f"left out: {reason}")


# --- what is one --------------------------------------------------------------------------------------------------

# Name and cells of a column -> the feature that they are.
KEPT: list[tuple[str, np.ndarray, Feature]] = [
    ("age", COUNTED[:60], Feature("age", "numeric", None, 0, 150)),
    ("zip", draw_texts(["01067", "89073", "10115"]), Feature("zip", "categorical")),
    ("paid", DRAW.permutation(COUNTED * 7), Feature("paid", "numeric", None, 0, 6000)),
    ("store_id", COUNTED % 12, Feature("store_id", "numeric", None, 0, 30)),
    ("smokes", COUNTED % 2, Feature("smokes", "numeric", None, 0, 2, (), (0, 1))),
    ("smokes", draw_texts([True, False, None]), Feature("smokes", "categorical")),
    ("smokes", draw_texts(["true", "false"]), Feature("smokes", "categorical")),
    ("smokes", draw_texts(["TRUE", "FALSE"]), Feature("smokes", "categorical", booleans=("FALSE", "TRUE"))),
    ("smokes", draw_texts(["yes", "no"]), Feature("smokes", "categorical", booleans=("no", "yes"))),
    ("smokes", draw_texts(["Y", "N"]), Feature("smokes", "categorical", booleans=("N", "Y"))),
    ("smokes", draw_texts(["x", "y", "?"]), Feature("smokes", "categorical", missing=("?",))),
    ("smokes", draw_texts(["yes", "no", "maybe"]), Feature("smokes", "categorical")),
    ("flag", draw_texts(["X", None]), Feature("flag", "categorical")),
    ("city", draw_texts([*["Ulm"] * 60, *(f"n{place}" for place in range(60))]), Feature("city", "categorical")),
    ("grade", draw_texts([1.0, 2.0, "A", "B"]), Feature("grade", "categorical")),
    ("age", draw_texts([20.5, 30.0, "?", "NA", None]), Feature("age", "numeric", None, 0, 40, ("?", "NA"))),
    ("ward", draw_texts(["A", "B", "-", "."]), Feature("ward", "categorical", missing=("-", "."))),
]


@pytest.mark.parametrize(("name", "cells", "feature"), KEPT)
def test_a_column_becomes_the_feature_that_its_cells_are(name: str, cells: np.ndarray, feature: Feature) -> None:
    found = infer_column(name, cells).feature

    assert found is not None
    assert replace(found, missing=tuple(sorted(found.missing, key=str))) == feature


@pytest.mark.parametrize("marker", ["?", "NA", "N/A", "n/a", "null", "NULL", "-", ".", "#N/A", "None", "unknown"])
def test_a_text_that_means_missing_among_numbers_is_a_marker_with_its_reason(marker: str) -> None:
    found = infer_column("a", texts([*(float(place) / 7 for place in range(60)), marker, marker]))

    assert found.feature is not None
    assert (found.feature.kind, found.feature.missing) == ("numeric", (marker,))
    assert found.reasons[0] == f"{marker!r} stands in 2 rows: means missing"


def test_a_few_texts_among_many_numbers_are_taken_for_missing_and_told() -> None:
    found = infer_column("a", texts([*(float(place) / 7 for place in range(100)), "refused", "refused", "<5"]))

    assert found.feature is not None
    assert found.feature.missing == ("refused", "<5")
    assert "'refused' stands in 2 rows: means missing" in found.reasons


def test_numbers_that_all_differ_but_do_not_count_are_kept_with_a_word_on_it() -> None:
    found = infer_column("Kundennummer", SCATTERED)

    assert found.feature is not None
    assert found.reasons[-1] == "every value is a different whole number: remove the column if it only names the rows"


def test_codes_with_leading_zeros_are_told() -> None:
    assert (
        "leading zeros: numbers that are codes and no amounts" in infer_column("zip", draw_texts(["01", "2"])).reasons
    )


def test_many_categories_are_kept_if_the_model_can_tell_most_rows_apart() -> None:
    cells = draw_texts([*["Ulm"] * 60, *(f"n{place}" for place in range(60))], n_rows=4000)

    assert infer_column("city", cells).reasons[0].startswith("text with 61 different values: the 50 most frequent, 9")
    assert TOLD_APART == MAX_CATEGORIES


# --- the target ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "target"),
    [
        (np.array([1.0, 0.0, 0.0, 0.0]), Target("y", 0, 1)),
        (np.array([2.0, 1.0, 1.0, 1.0]), Target("y", 1, 2)),
        (np.array([-1.0, -1.0, 1.0, -1.0]), Target("y", -1, 1)),
        (np.array([1.5, 0.5, 0.5, 0.5]), Target("y", "0.5", "1.5")),
        (texts(["yes", "no", "no", "no"]), Target("y", "no", "yes")),
        (texts(["Healthy", "Healthy", "sick", "Healthy"]), Target("y", "Healthy", "sick")),
        (texts([">50K", "<=50K", "<=50K", "<=50K"]), Target("y", "<=50K", ">50K")),
        (texts(["absent", "Present", "absent", "absent"]), Target("y", "absent", "Present")),
    ],
)
def test_the_usual_negative_comes_first_and_the_reason_tells_the_share_of_the_positive(
    cells: np.ndarray, target: Target
) -> None:
    assert infer_target("y", cells) == (target, f"{target.positive!r} is the positive class (25% of the rows)")


@pytest.mark.parametrize(
    ("cells", "target"),
    [
        (texts([True, False, False, False]), Target("y", "false", "true")),
        (texts(["bad", "good", "good", "good"]), Target("y", "good", "bad")),
        (texts(["UP", "DOWN", "DOWN", "DOWN"]), Target("y", "DOWN", "UP")),
        (texts(["B", "M", "M", "M"]), Target("y", "M", "B")),
        (texts(["TRUE", "FALSE", "FALSE", "FALSE"]), Target("y", "FALSE", "TRUE")),
        (texts([">50K.", "<=50K.", "<=50K.", "<=50K."]), Target("y", "<=50K.", ">50K.")),
    ],
)
def test_what_is_no_usual_word_is_positive_if_it_is_rare(cells: np.ndarray, target: Target) -> None:
    assert infer_target("y", cells)[0] == target


def test_rows_without_an_outcome_are_told_and_do_not_count() -> None:
    cells = texts([1.0, 0.0, 0.0, 0.0, None, None])

    assert infer_target("y", cells) == (
        Target("y", 0, 1),
        "1 is the positive class (25% of the rows); 2 rows without an outcome: left out of training",
    )


@pytest.mark.parametrize(("n_positive", "share"), [(2, "2%"), (1, "1%"), (50, "50%")])
def test_a_rare_class_is_told_with_its_share(n_positive: int, share: str) -> None:
    cells = np.array([1.0] * n_positive + [0.0] * (100 - n_positive))

    assert infer_target("y", cells)[1] == f"1 is the positive class ({share} of the rows)"


# Outcomes -> what is wrong with them, and what is to be done.
REFUSED: list[tuple[np.ndarray, str, str]] = [
    (np.array([1.0, 1.0]), "1 different value: 1 (2 rows)", "give rows of both outcomes"),
    (texts([None, None]), "0 different values: every cell is empty", "give rows of both outcomes"),
    (
        texts(["setosa", "virginica", "setosa", "versicolor"]),
        "3 different values: 'setosa' (2 rows), 'virginica' (1 row), 'versicolor' (1 row) (multiclass)",
        "such as 'setosa' or not",
    ),
    (np.array([0.0, 1.0, 2.0]), "3 different values: 0 (1 row), 1 (1 row), 2 (1 row) (multiclass)", "such as 0 or not"),
    (np.arange(100.0), "100 different values from 0 to 99 (regression)", "above a limit that matters, such as 49.5"),
    (np.array([1.5, 2.25, 9.0]), "3 different values from 1.5 to 9 (regression)", "such as 2.25"),
    (
        texts(["yes", "no", "?"]),
        "3 different values: 'yes' (1 row), 'no' (1 row), '?'",
        "leave the cells with '?' empty",
    ),
    (
        texts([f"n{place}" for place in range(9)]),
        "'n0' (1 row), 'n1' (1 row), 'n2' (1 row), 'n3' (1 row) and 5 more (multiclass)",
        "such as 'n0' or not",
    ),
]


@pytest.mark.parametrize(("cells", "problem", "action"), REFUSED)
def test_a_target_that_is_no_yes_or_no_is_refused_with_what_stands_there_and_a_way_on(
    cells: np.ndarray, problem: str, action: str
) -> None:
    with pytest.raises(TargetInvalid) as refused:
        infer_target("y", cells)

    assert problem in refused.value.problem
    assert action in refused.value.action
