"""Exact tests of a rise: equal to scipy's and to counting, and never too sure of rows that are exchangeable."""

from collections import Counter
from itertools import permutations
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from homeostat.monitoring.rises import chance_all_new, outer_values, p_of_rise, p_of_unseen
from homeostat.records import Feature, NumericProfile, Schema, Target
from homeostat.validation.profiles import build_profile

few = settings(max_examples=60, deadline=None)
X = Schema((Feature("x", "numeric"),), Target("outcome", 0, 1), digest="0" * 64)


def cells_of(values: list[float]) -> NumericProfile:
    cells = build_profile({"x": np.array(values, dtype=np.float64)}, X).features["x"]
    assert isinstance(cells, NumericProfile)
    return cells


@few
@given(st.integers(1, 40), st.integers(1, 40), st.data())
def test_a_rise_is_judged_as_by_fishers_exact_test(n_rows: int, n_then: int, data: st.DataObject) -> None:
    hits, hits_then = data.draw(st.integers(0, n_rows)), data.draw(st.integers(0, n_then))

    found = p_of_rise(hits, n_rows, hits_then=hits_then, n_then=n_then)

    table = [[hits, n_rows - hits], [hits_then, n_then - hits_then]]
    assert found == pytest.approx(stats.fisher_exact(table, alternative="greater").pvalue, rel=1e-9)


@pytest.mark.parametrize(("n_rows", "n_then"), [(0, 100), (50, 0), (0, 0)])
def test_where_there_is_nothing_to_compare_nothing_has_risen(n_rows: int, n_then: int) -> None:
    assert p_of_rise(n_rows, n_rows, hits_then=0, n_then=n_then) == 1


def test_more_hits_before_never_make_a_rise_more_certain() -> None:
    values = [p_of_rise(20, 50, hits_then=hits, n_then=200) for hits in range(201)]

    assert values == sorted(values)


@few
@given(st.lists(st.integers(0, 9), min_size=1, max_size=300), st.sampled_from([0.0, 0.01, 0.1, 0.3]))
def test_no_more_of_the_reference_than_its_share_lies_beyond_the_outer_values(values: list[int], share: float) -> None:
    low, high, n_beyond = outer_values(cells_of([float(value) for value in values]), share)

    ordered = sorted(values)
    assert n_beyond == int(share * len(values))
    assert (low, high) == (ordered[n_beyond], ordered[-1 - n_beyond])


def test_a_bound_by_rank_is_as_sure_as_all_orders_of_old_and_new_rows_say() -> None:
    # Two of three new values below the second lowest of four: count the 35 equally likely ways to mix them.
    labels = set(permutations("nnnrrrr"))
    as_extreme = sum(order[: [i for i, x in enumerate(order) if x == "r"][1]].count("n") >= 2 for order in labels)

    assert p_of_rise(2, 3, hits_then=1, n_then=4) == pytest.approx(as_extreme / len(labels))


def test_the_chance_that_all_rows_of_a_category_are_new_is_that_of_drawing_them() -> None:
    found = chance_all_new(np.array([1, 3, 5, 6]), n_then=20, n_rows=5)

    assert found.tolist() == pytest.approx([comb(5, k) / comb(25, k) for k in (1, 3, 5)])


@pytest.mark.parametrize("unseen", [[50], [10] * 5, [3] * 17, [1] * 50])
def test_new_categories_are_certain_however_many_there_are(unseen: list[int]) -> None:
    assert p_of_unseen(np.array([400, 300]), np.array([0, 0]), unseen) < 1e-6


def test_a_column_of_names_is_always_new_and_proves_nothing() -> None:
    assert p_of_unseen(np.ones(700, dtype=np.int64), np.zeros(700, dtype=np.int64), [1] * 50) == 1


@pytest.mark.parametrize("n_then", [0, 400])
def test_without_unseen_rows_or_without_a_reference_no_category_is_new(n_then: int) -> None:
    unseen = [] if n_then else [50]

    assert p_of_unseen(np.array([n_then]), np.array([50 - sum(unseen)]), unseen) == 1


@pytest.mark.parametrize("exponent", [0.5, 1.2, 2.0])
def test_categories_of_any_frequencies_are_called_new_no_more_often_than_allowed(exponent: float) -> None:
    rng = np.random.default_rng(0)
    weights = 1 / np.arange(1, 60) ** exponent
    p_values = []
    for _ in range(2_000):
        rows = rng.choice(len(weights), size=90, p=weights / weights.sum()).tolist()
        then, now = Counter(rows[:60]), Counter(rows[60:])
        unseen = [n for category, n in now.items() if category not in then]
        seen = list(then)
        p_values.append(p_of_unseen(np.array([then[c] for c in seen]), np.array([now[c] for c in seen]), unseen))

    for alpha in (0.01, 0.05, 0.2):
        assert stats.binomtest(sum(p <= alpha for p in p_values), 2_000, alpha, alternative="greater").pvalue > 1e-3


@pytest.mark.parametrize("digits", [0, 1, 6])
@pytest.mark.parametrize("n_then", [5, 40, 300])
def test_values_are_called_beyond_no_more_often_than_allowed_with_ties_and_without(digits: int, n_then: int) -> None:
    rng = np.random.default_rng(1)
    p_values = []
    for _ in range(2_000):
        values = np.round(rng.normal(size=n_then + 30), digits)
        low, _, n_beyond = outer_values(cells_of(values[:n_then].tolist()), 0.01)
        hits = int((values[n_then:] < low).sum())
        p_values.append(p_of_rise(hits, 30, hits_then=n_beyond, n_then=n_then))

    for alpha in (0.01, 0.05, 0.2):
        assert stats.binomtest(sum(p <= alpha for p in p_values), 2_000, alpha, alternative="greater").pvalue > 1e-3
