"""Profiles count accepted rows exactly, add up, survive JSON and tell where a feature stands."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from homeostat.errors import InputError
from homeostat.records import (
    CategoricalProfile,
    Columns,
    Feature,
    Floats,
    NumericProfile,
    Profile,
    Schema,
    Target,
    Texts,
)
from homeostat.validation.profiles import (
    build_profile,
    count_rows,
    describe_feature,
    mask_missing,
    merge_profiles,
    profile_from_json,
    profile_to_json,
)

GLUCOSE = Feature("glucose", "numeric", unit="mg/dL", missing=(0.0, "n/a"))
SMOKER = Feature("smoker", "categorical", missing=("?",))
SCHEMA = Schema((GLUCOSE, SMOKER), Target("outcome", 0, 1), digest="7f3a" * 16)

Rows = list[tuple[float, str | None]]
numbers = st.sampled_from([float("nan"), 0.0, 1.0, 2.0, 2.5, 3.0]) | st.floats(allow_infinity=False)
texts = st.sampled_from([None, "?", "no", "yes", "seldom"])
tables: st.SearchStrategy[Rows] = st.lists(st.tuples(numbers, texts), max_size=30)
few = settings(max_examples=60, deadline=None)


def columns_of(rows: Rows) -> Columns:
    glucose: Floats = np.array([number for number, _ in rows], dtype=np.float64)
    smoker: Texts = np.array([text for _, text in rows], dtype=np.object_)
    return {"glucose": glucose, "smoker": smoker}


def profile_of(rows: Rows) -> Profile:
    return build_profile(columns_of(rows), SCHEMA)


def count(rows: Rows, reference: Rows) -> Profile:
    return count_rows(columns_of(rows), SCHEMA, profile_of(reference))


def glucose_of(profile: Profile) -> NumericProfile:
    cells = profile.features["glucose"]
    assert isinstance(cells, NumericProfile)
    return cells


def smoker_of(profile: Profile) -> CategoricalProfile:
    cells = profile.features["smoker"]
    assert isinstance(cells, CategoricalProfile)
    return cells


def as_text(profile: Profile) -> str:
    return json.dumps(profile_to_json(profile), allow_nan=False)


def glucose(*values: float) -> Rows:
    return [(value, "no") for value in values]


def smoker(*values: str | None) -> Rows:
    return [(100.0, value) for value in values]


def test_cells_are_missing_then_alternately_between_and_at_the_reference_values() -> None:
    window = count(glucose(0, float("nan"), 5, 10, 15, 15, 20, 20, 20, 25), reference=glucose(20, 0, 10, 20))

    assert glucose_of(window).edges.tolist() == [10, 20]
    assert glucose_of(window).counts.tolist() == [2, 1, 1, 2, 3, 1]


def test_categories_are_sorted_between_missing_and_unseen() -> None:
    window = count(smoker("yes", "no", "yes", None, "?", "seldom"), reference=smoker("yes", "no", "?"))

    assert smoker_of(window).categories == ("no", "yes")
    assert smoker_of(window).counts.tolist() == [2, 1, 2, 1]


@few
@given(reference=tables, rows=tables)
def test_every_row_is_in_exactly_one_cell_of_every_feature(reference: Rows, rows: Rows) -> None:
    window = count(rows, reference)

    assert window.n_rows == len(rows)
    assert [cells.counts.sum() for cells in window.features.values()] == [len(rows), len(rows)]


@few
@given(reference=tables, rows=tables)
def test_numeric_counts_equal_counting_one_row_at_a_time(reference: Rows, rows: Rows) -> None:
    cells = glucose_of(count(rows, reference))
    measured = [number for number, _ in rows if number and not np.isnan(number)]

    assert cells.counts[2::2].tolist() == [measured.count(edge) for edge in cells.edges]
    up_to_gap = np.cumsum(cells.counts[1:])[::2].tolist()
    assert up_to_gap == [*(sum(x < edge for x in measured) for edge in cells.edges), len(measured)]


@few
@given(rows=tables)
def test_a_reference_has_no_row_between_its_values_and_none_unseen(rows: Rows) -> None:
    reference = profile_of(rows)

    assert not glucose_of(reference).counts[1::2].any()
    assert glucose_of(reference).counts[2::2].all()
    assert smoker_of(reference).counts[-1] == 0


@few
@given(rows=tables)
def test_building_equals_counting_the_same_rows_in_their_own_cells(rows: Rows) -> None:
    assert as_text(profile_of(rows)) == as_text(count(rows, reference=rows))


@few
@given(rows=tables, data=st.data())
def test_the_order_of_rows_is_irrelevant(rows: Rows, data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(rows))

    assert as_text(profile_of(shuffled)) == as_text(profile_of(rows))


@few
@given(reference=tables, a=tables, b=tables)
def test_merging_equals_counting_all_rows_at_once(reference: Rows, a: Rows, b: Rows) -> None:
    merged = merge_profiles(count(a, reference), count(b, reference))

    assert as_text(merged) == as_text(count(a + b, reference))


@few
@given(reference=tables, a=tables, b=tables, c=tables)
def test_merging_is_commutative_and_associative(reference: Rows, a: Rows, b: Rows, c: Rows) -> None:
    x, y, z = count(a, reference), count(b, reference), count(c, reference)

    assert as_text(merge_profiles(x, y)) == as_text(merge_profiles(y, x))
    left, right = merge_profiles(merge_profiles(x, y), z), merge_profiles(x, merge_profiles(y, z))
    assert as_text(left) == as_text(right)


@few
@given(reference=tables, rows=tables)
def test_merging_with_a_window_without_rows_changes_nothing(reference: Rows, rows: Rows) -> None:
    window, empty = count(rows, reference), count([], reference)

    assert as_text(merge_profiles(window, empty)) == as_text(window)
    assert as_text(merge_profiles(empty, window)) == as_text(window)


@few
@given(reference=tables, rows=tables.filter(bool))
def test_the_distance_from_counts_is_that_of_scipy_on_the_rows_whatever_is_tied(reference: Rows, rows: Rows) -> None:
    then, now = (
        [-np.inf if number == 0 or np.isnan(number) else number for number, _ in side]
        for side in (reference or rows, rows)
    )
    cells, window = (glucose_of(count(side, reference or rows)) for side in (reference or rows, rows))

    found = np.abs(np.cumsum(cells.counts) / len(then) - np.cumsum(window.counts) / len(now)).max()

    # Four times each, which leaves the distance as it is: scipy divides by zero for one row against one.
    assert found == pytest.approx(stats.ks_2samp(then * 4, now * 4, method="asymp").statistic, abs=1e-12)


@few
@given(rows=tables)
def test_tallying_texts_equals_masking_markers_first(rows: Rows) -> None:
    known = smoker_of(profile_of(rows)).categories
    masked = mask_missing(columns_of(rows)["smoker"], SMOKER).tolist()

    assert known == tuple(sorted({text for text in masked if text is not None}))
    assert smoker_of(profile_of(rows)).counts[0] == masked.count(None)


@pytest.mark.parametrize("other", [glucose(1, 2), [*glucose(1, 3), (1.0, "yes")]])
def test_profiles_of_different_references_cannot_be_merged(other: Rows) -> None:
    with pytest.raises(InputError, match=r"the two profiles have different cells for (glucose|smoker); expected"):
        merge_profiles(profile_of(glucose(1, 3)), profile_of(other))


def test_profiles_of_different_features_cannot_be_merged() -> None:
    whole = profile_of(glucose(1))
    part = Profile(n_rows=1, features={"glucose": whole.features["glucose"]})

    with pytest.raises(InputError, match="different cells for smoker"):
        merge_profiles(part, whole)


def test_rows_are_not_counted_in_the_cells_of_another_schema() -> None:
    numeric_smoker = Schema((GLUCOSE, Feature("smoker", "numeric")), SCHEMA.target, digest="0" * 64)

    with pytest.raises(InputError, match="expected those of schema 00000000, of the same kinds"):
        count_rows(columns_of([]), numeric_smoker, profile_of([]))


@pytest.mark.parametrize("infinity", [float("inf"), float("-inf")])
def test_an_infinite_value_is_refused_with_its_row(infinity: float) -> None:
    with pytest.raises(InputError, match=f"'glucose' is {infinity} in row 1; expected finite numbers"):
        profile_of(glucose(90, infinity))
    with pytest.raises(InputError, match=f"'glucose' is {infinity} in row 1; expected finite numbers"):
        count(glucose(90, infinity), reference=glucose(90))


@few
@given(reference=tables, rows=tables)
def test_a_profile_survives_json_exactly(reference: Rows, rows: Rows) -> None:
    window = count(rows, reference)

    restored = profile_from_json(json.loads(as_text(window)))

    assert restored.n_rows == window.n_rows
    assert glucose_of(restored).edges.tobytes() == glucose_of(window).edges.tobytes()
    assert glucose_of(restored).counts.tolist() == glucose_of(window).counts.tolist()
    assert smoker_of(restored).categories == smoker_of(window).categories
    assert smoker_of(restored).counts.tolist() == smoker_of(window).counts.tolist()


def test_the_json_of_a_reference_holds_no_empty_cell() -> None:
    stored = profile_to_json(profile_of(glucose(10, 20, 20, 0)))

    assert stored["features"]["glucose"] == {
        "kind": "numeric",
        "edges": [10, 20],
        "missing": 1,
        "at": [1, 2],
        "between": [],
    }


def test_a_stored_reference_takes_25_bytes_for_each_distinct_value() -> None:
    values = np.random.default_rng(0).normal(100, 15, size=2_000).tolist()

    assert 22 < len(as_text(profile_of(glucose(*values)))) / 2_000 < 25


def test_a_stored_reference_of_few_distinct_values_stays_small_however_many_its_rows() -> None:
    rows = glucose(*range(60, 201)) * 30

    assert len(as_text(profile_of(rows))) < 2_500


def test_minus_zero_and_zero_are_one_value_and_one_text() -> None:
    bare = Schema((Feature("glucose", "numeric"),), SCHEMA.target, digest="0" * 64)

    stored = profile_to_json(build_profile({"glucose": np.array([-0.0, 0.0])}, bare))

    assert '"edges": [0.0]' in json.dumps(stored)


def test_masking_replaces_markers_and_leaves_the_column_as_it_was() -> None:
    columns = columns_of([(0.0, "?"), (90.0, "no")])

    np.testing.assert_array_equal(np.asarray(mask_missing(columns["glucose"], GLUCOSE), np.float64), [np.nan, 90])
    assert mask_missing(columns["smoker"], SMOKER).tolist() == [None, "no"]
    assert columns["glucose"].tolist() == [0, 90]
    assert columns["smoker"].tolist() == ["?", "no"]


@few
@given(values=st.lists(st.integers(1, 40), min_size=1, max_size=30))
def test_quantiles_of_a_reference_are_the_textbook_ones(values: list[int]) -> None:
    stands = describe_feature(profile_of(glucose(*values)).features["glucose"])

    lower, median, upper = np.quantile(values, [0.25, 0.5, 0.75], method="averaged_inverted_cdf")
    assert stands == {"median": median, "quartiles": [lower, upper], "missing_share": 0}


@pytest.mark.parametrize(("value", "median"), [(5, 10), (10, 10), (14, 15), (15, 15), (20, 20), (99, 20)])
def test_a_window_is_described_to_the_resolution_of_the_reference_values(value: float, median: float) -> None:
    window = count(glucose(value), reference=glucose(10, 20))

    assert describe_feature(window.features["glucose"])["median"] == median


def test_quantiles_of_huge_values_do_not_overflow() -> None:
    reference = profile_of(glucose(-1.7e308, 1.7e308, 1.6e308, -1.6e308))

    assert describe_feature(reference.features["glucose"])["median"] == 0


def test_the_mode_is_the_most_frequent_known_category_and_the_first_on_a_tie() -> None:
    reference = profile_of(smoker("yes", "no", None, None))
    window = count_rows(columns_of(smoker("seldom", "seldom", "seldom", "yes")), SCHEMA, reference)

    assert describe_feature(reference.features["smoker"]) == {"mode": "no", "missing_share": 0.5, "unseen_share": 0}
    assert describe_feature(window.features["smoker"]) == {"mode": "yes", "missing_share": 0, "unseen_share": 0.75}


def test_what_no_row_tells_is_none() -> None:
    empty, all_missing = profile_of([]), profile_of([(0.0, None)])

    assert describe_feature(empty.features["glucose"]) == {"median": None, "quartiles": None, "missing_share": None}
    assert describe_feature(empty.features["smoker"]) == {
        "mode": None,
        "missing_share": None,
        "unseen_share": None,
    }
    assert describe_feature(all_missing.features["glucose"]) == {"median": None, "quartiles": None, "missing_share": 1}
    assert describe_feature(all_missing.features["smoker"]) == {
        "mode": None,
        "missing_share": 1,
        "unseen_share": 0,
    }


def test_rows_counted_in_the_cells_of_an_all_missing_reference_have_no_quantiles() -> None:
    window = count(glucose(90, 0), reference=glucose(0))

    assert glucose_of(window).counts.tolist() == [1, 1]
    assert describe_feature(window.features["glucose"])["median"] is None
