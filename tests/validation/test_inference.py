"""A guess allows every value that was seen, gives its reason, and never invents a marker."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from homeostat.data.columns import texts
from homeostat.errors import DataInsufficient, TargetInvalid
from homeostat.records import Feature, Target
from homeostat.validation.inference import USUAL_MARKERS, Guess, infer_features, infer_numeric, infer_target

MEASURED = [float(value) for value in range(44, 144)]
values = st.lists(
    st.floats(-1e300, 1e300) | st.integers(-50, 50).map(float) | st.sampled_from(USUAL_MARKERS), min_size=2, max_size=60
)


def guess(values: Sequence[float]) -> Guess:
    return infer_numeric("a", np.array(values, dtype=np.float64))


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
    [[0, *MEASURED], [0] * 200 + MEASURED, [0, 0, 44, 60, 90], [7, 7, *(value + 100 for value in MEASURED)]],
    ids=["a single row", "most rows", "few distinct values", "an unusual number"],
)
def test_a_value_apart_is_no_marker_if_it_is(values: list[float]) -> None:
    assert feature_of(values).missing == ()


@given(values=values)
def test_only_usual_markers_are_ever_guessed(values: list[float]) -> None:
    assume(len(set(values)) > 1)

    assert set(feature_of(values).missing) <= set(USUAL_MARKERS)


# --- columns ------------------------------------------------------------------------------------------------------

NUMBERS = np.arange(20.0)


def guess_beside_numbers(cells: list[object]) -> Guess:
    return infer_features({"a": texts(cells), "b": NUMBERS})[0]


def test_a_constant_column_is_left_out_with_the_reason() -> None:
    guesses = infer_features({"a": np.full(20, 3.0), "b": NUMBERS, "c": texts(["x"] * 20)})

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


@pytest.mark.parametrize("cells", [np.full(20, np.nan), texts([None] * 20), np.full(20, np.inf)])
def test_a_column_without_any_value_is_refused_by_name(cells: np.ndarray) -> None:
    with pytest.raises(DataInsufficient, match="every value of column 'a' is missing"):
        infer_features({"a": cells, "b": NUMBERS})


@pytest.mark.parametrize(("n_rows", "words"), [(1, "1 row;"), (19, "19 rows;")])
def test_a_handful_of_rows_is_too_few_to_guess_from(n_rows: int, words: str) -> None:
    with pytest.raises(DataInsufficient, match=words):
        infer_features({"a": np.arange(float(n_rows))})


@pytest.mark.parametrize("cells", [{}, {"a": np.full(20, 1.0)}])
def test_a_table_without_an_input_is_refused(cells: dict[str, np.ndarray]) -> None:
    with pytest.raises(DataInsufficient, match="no column beside the target varies"):
        infer_features(cells)


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
    ("cells", "problem"),
    [
        (np.array([1.0, 1.0]), "target 'y' has 1 different values (1) and 0 empty ones"),
        (np.array([0.0, 1.0, 2.0]), "target 'y' has 3 different values (0, 1, 2) and 0 empty ones"),
        (np.array([0.0, 1.0, np.nan]), "target 'y' has 2 different values (0, 1) and 1 empty ones"),
        (texts(["a", "b", None]), "target 'y' has 2 different values ('a', 'b') and 1 empty ones"),
        (np.arange(100.0), "target 'y' has 100 different values (0, 1, 2, 3, 4, 5) and 0 empty ones"),
    ],
)
def test_a_target_that_is_not_two_values_in_every_row_is_refused(cells: np.ndarray, problem: str) -> None:
    with pytest.raises(TargetInvalid) as refused:
        infer_target("y", cells)

    assert refused.value.problem == problem
