"""The shapes of two distributions: no row is lost on the way from counts to bars, nor from bars to a path."""

import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from homeostat.records import Columns, Feature, FeatureProfile, Target
from homeostat.validation.profiles import build_profile, count_rows
from homeostat.validation.schema import freeze_schema
from homeostat.web.distributions import MOST_CATEGORIES, Bar, compare_shares, draw_outline, place_bars

NUMBERS = st.lists(st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)), min_size=1, max_size=40)
TEXTS = st.lists(st.one_of(st.none(), st.text(max_size=2)), min_size=1, max_size=40)
SHARES = st.lists(st.floats(min_value=0, max_value=1), min_size=1, max_size=30)


def profiles_of(then: list[float | None], now: list[float | None]) -> tuple[FeatureProfile, FeatureProfile]:
    """Return the profiles of two numeric columns."""
    schema = freeze_schema([Feature("x", "numeric")], Target("y", 0, 1))
    reference = build_profile(numeric(then), schema)
    return reference.features["x"], count_rows(numeric(now), schema, reference).features["x"]


def numeric(values: list[float | None]) -> Columns:
    return {"x": np.array([np.nan if value is None else value for value in values], dtype=np.float64)}


def categorical(then: list[str | None], now: list[str | None]) -> tuple[FeatureProfile, FeatureProfile]:
    """Return the profiles of two categorical columns."""
    schema = freeze_schema([Feature("x", "categorical")], Target("y", 0, 1))
    reference = build_profile({"x": np.array(then, dtype=np.object_)}, schema)
    return reference.features["x"], count_rows({"x": np.array(now, dtype=np.object_)}, schema, reference).features["x"]


def shares(bars: tuple[Bar, ...]) -> dict[str, tuple[float, float]]:
    return {bar.label: (round(bar.then, 3), round(bar.now, 3)) for bar in bars}


def area(path: str) -> float:
    """Return the area within a path of M, V and H commands, each figure of it closed: the shoelace formula."""
    found, x, y, points = 0.0, 0.0, 0.0, list[tuple[float, float]]()
    for letter, first, second in re.findall(r"([MVHX])(-?[\d.e+-]+)?(?: (-?[\d.e+-]+))?", f"{path}X"):
        if letter in "MX":
            found += abs(sum(a * d - c * b for (a, b), (c, d) in pairwise([*points, *points[:1]]))) / 2
            x, y, points = float(first or 0), float(second or 0), []
        x, y = (float(first), y) if letter == "H" else (x, float(first)) if letter == "V" else (x, y)
        points.append((x, y))
    return found


@given(NUMBERS, NUMBERS)
@example([1e308, -1e308], [0.0])
@example([5e-324, 0.0], [None])
@example([1e15, 1e15 + 1], [1e15])
def test_the_shares_of_each_side_of_a_numeric_feature_add_up_to_one(
    then: list[float | None], now: list[float | None]
) -> None:
    bars = compare_shares(*profiles_of(then, now))

    assert sum(bar.then for bar in bars) == pytest.approx(1)
    assert sum(bar.now for bar in bars) == pytest.approx(1)


@given(TEXTS, TEXTS)
def test_the_shares_of_each_side_of_a_categorical_feature_add_up_to_one(
    then: list[str | None], now: list[str | None]
) -> None:
    bars = compare_shares(*categorical(then, now))

    assert sum(bar.then for bar in bars) == pytest.approx(1)
    assert sum(bar.now for bar in bars) == pytest.approx(1)


@given(st.lists(st.integers(min_value=-500, max_value=500), min_size=2, max_size=60))
def test_a_bin_holds_the_rows_from_where_it_begins_to_where_the_next_does(tenths: list[int]) -> None:
    values = [tenth / 10 for tenth in tenths]

    bins = [bar for bar in compare_shares(*profiles_of([*values], [*values])) if bar.kind == "bin"]

    for bar, following in pairwise(bins):
        inside = sum(bar.low <= value < following.low for value in values)
        assert bar.then == bar.now == pytest.approx(inside / len(values))


@given(SHARES, st.sampled_from(["", "missing", "below", "above"]))
def test_the_area_within_an_outline_is_that_of_the_shares(heights: list[float], beside: str) -> None:
    bars = [Bar("bin", "", share, 0.0) for share in heights]
    if beside:
        bars.insert(len(bars) if beside == "above" else 0, Bar(beside, "", 0.5, 0.0))  # type: ignore[arg-type]
    slots = place_bars(bars, width=320, aside=60, gap=5)

    path = draw_outline(slots, [100 * bar.then for bar in bars], base=100)

    assert area(path) == pytest.approx(100 * slots[0].width * sum(bar.then for bar in bars), abs=1)


@given(st.integers(min_value=0, max_value=30), st.sets(st.sampled_from(["missing", "below", "above"]), min_size=1))
def test_bars_are_equally_wide_and_stand_beside_each_other_within_the_drawing(n_bins: int, beside: set[str]) -> None:
    before = [Bar(kind, "", 0.1, 0.1) for kind in ("missing", "below") if kind in beside]
    after = [Bar("above", "", 0.1, 0.1)] if "above" in beside else []

    slots = place_bars([*before, *[Bar("bin", "", 0.1, 0.1)] * n_bins, *after], width=320, aside=60, gap=5)

    assert len({slot.width for slot in slots}) == 1
    assert all(a.x + a.width <= b.x + 1e-9 for a, b in pairwise(slots))
    assert slots[0].x >= 0
    assert slots[-1].x + slots[-1].width <= 320 + 1e-9


def test_a_constant_feature_is_one_bar_and_what_left_it_stands_beside() -> None:
    bars = compare_shares(*profiles_of([5.0] * 10, [5.0, 4.0, 6.0, 6.0]))

    assert shares(bars) == {"below 5": (0, 0.25), "5": (1, 0.25), "above 5": (0, 0.5)}


def test_values_that_stand_apart_have_a_bin_each() -> None:
    bars = compare_shares(*profiles_of([0.0, 1.0, 1.0, 1.0], [0.0]))

    assert shares(bars) == {"0 to 1": (0.25, 1), "1 to 2": (0.75, 0)}


def test_a_feature_that_was_never_measured_before_shows_that_it_is_now() -> None:
    bars = compare_shares(*profiles_of([None, None], [1.0, None]))

    assert shares(bars) == {"missing": (1, 0.5), "measured": (0, 0.5)}


def test_a_window_in_which_nothing_is_measured_is_one_bar() -> None:
    bars = compare_shares(*profiles_of([1.0, 2.0, 3.0, None], [None, None]))

    assert [(bar.label, bar.now) for bar in bars if bar.now] == [("missing", 1)]


def test_a_window_of_one_row_is_one_bar() -> None:
    bars = compare_shares(*profiles_of([float(value) for value in range(100)], [42.0]))

    assert [(bar.label, bar.now) for bar in bars if bar.now] == [("40 to 50", 1)]


def test_a_change_of_unit_shows_beside_the_axis_of_the_baseline() -> None:
    bars = compare_shares(*profiles_of([float(value) for value in range(70, 200)], [3.9, 11.0]))

    assert (bars[0].label, bars[0].kind, bars[0].now) == ("below 70", "below", 1)


def test_a_few_values_far_away_do_not_squeeze_the_others_into_one_bar() -> None:
    bars = compare_shares(*profiles_of([*map(float, range(100)), 1e6], [50.0]))

    assert max(bar.then for bar in bars) < 0.2
    assert bars[-1].label == "100 or more"


def test_small_categories_are_pooled_and_new_or_missing_ones_have_bars_of_their_own() -> None:
    then = [letter for number, letter in enumerate("abcdefghijkl") for _ in range(20 - number)]

    bars = compare_shares(*categorical([*then], ["a", "z", None, "l"]))

    assert [bar.label for bar in bars][-3:] == ["4 others", "not in the baseline", "missing"]
    assert "l" in [bar.label for bar in bars]
    assert sum(bar.kind == "category" for bar in bars) == MOST_CATEGORIES
