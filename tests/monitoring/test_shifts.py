"""The phrase of a shift holds what a reader needs, and only what has changed."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeostat.monitoring.shifts import describe_shift
from homeostat.records import Columns, Feature, Kind, Schema, Target
from homeostat.validation.profiles import build_profile, count_rows, describe_feature

NAN = float("nan")
finite = st.lists(st.floats(allow_infinity=False), min_size=1, max_size=20)


def shift(kind: Kind, reference: Columns, current: Columns) -> str:
    schema = Schema((Feature("x", kind),), Target("outcome", 0, 1), "0" * 64)
    profile = build_profile(reference, schema)
    then, now = profile.features["x"], count_rows(current, schema, profile).features["x"]
    return describe_shift(then, now, stood=describe_feature(then), stands=describe_feature(now))


def of_numbers(reference: Sequence[float], current: Sequence[float]) -> str:
    return shift("numeric", {"x": np.array(reference, np.float64)}, {"x": np.array(current, np.float64)})


def of_texts(reference: Sequence[str | None], current: Sequence[str | None]) -> str:
    return shift("categorical", {"x": np.array(reference, np.object_)}, {"x": np.array(current, np.object_)})


def test_a_numeric_shift_is_median_quartiles_and_missing_share() -> None:
    values = [99.0, 117.0, 120.0, 140.0, 165.0]

    phrase = of_numbers(values * 19 + [NAN] * 5, [120, 140, 165] * 8 + [NAN] * 6)

    assert phrase == "median 120 -> 140 (+20), quartiles 117-140 -> 120-165, missing 5 % -> 20 %"


def test_what_has_not_changed_is_left_out() -> None:
    assert of_numbers([1, 2, 3], [1, 2, 3, NAN]) == "missing 0 % -> 25 %"
    assert of_numbers([1, 2, 3, 4, 5], [1, 1, 3, 5, 5]) == "quartiles 2-4 -> 1-5"


@pytest.mark.parametrize("values", [[1, 2, 3], [NAN], [7]])
def test_nothing_changed_is_unchanged(values: list[float]) -> None:
    assert of_numbers(values, values) == "unchanged"


def test_a_fall_has_its_sign_and_negative_quartiles_are_readable() -> None:
    assert of_numbers([-1, 0, 1], [-1, -1, -1]) == "median 0 -> -1 (-1), quartiles -1 to 1 -> -1 to -1"


def test_figures_have_four_digits_and_large_whole_numbers_no_more() -> None:
    assert of_numbers([0.123456], [0.123456, 2.0]) == "unchanged"
    phrase = of_numbers([0.12345, 123_456, 1_234_567], [123_456, 1_234_567, 1_234_567])
    assert phrase.startswith("median 123456 -> 1.235e+06 (+1.111e+06)")


def test_a_categorical_shift_names_the_categories_that_moved_most() -> None:
    reference = ["A"] * 50 + ["B"] * 20 + ["C"] * 15 + ["D"] * 15
    current = ["A"] * 36 + ["B"] * 35 + ["C"] * 13 + ["D"] * 12 + ["E"] * 4

    phrase = of_texts(reference, current)

    assert phrase == "B 20 % -> 35 %, A 50 % -> 36 %, D 15 % -> 12 %; 4 % in categories never seen before"


def test_categories_that_stayed_are_unchanged_and_a_missing_share_is_named() -> None:
    assert of_texts(["A", "B"], ["B", "A"]) == "unchanged"
    assert of_texts(["A", "B"], ["B", "A", None, None]) == "A 50 % -> 25 %, B 50 % -> 25 %, missing 0 % -> 50 %"


def test_small_shares_are_told_apart_from_none() -> None:
    assert of_texts(["A"] * 10_000, ["A"] * 9_999 + ["B"]) == "<0.1 % in categories never seen before"
    assert of_texts(["A"] * 1_000, ["A"] * 996 + [None] * 4) == "missing 0 % -> 0.4 %"


@settings(max_examples=100, deadline=None)
@given(reference=finite, current=finite)
def test_every_pair_of_columns_has_a_phrase_of_one_line(reference: list[float], current: list[float]) -> None:
    phrase = of_numbers(reference, current)

    assert phrase == phrase.strip()
    assert "\n" not in phrase
    assert phrase
