"""Hundreds of rare categories are no drift by themselves, and hide none that is large."""

import numpy as np
import pytest
from hypothesis import given, settings
from scipy import stats

from homeostat.monitoring.significance import ChiSquare, Significance, pool_rare_cells
from homeostat.records import Floats
from tests.conformance.drift_test import DriftTestConformance, two_samples

few = settings(max_examples=60, deadline=None)
# 300 rare categories with three rows in ten, beside three frequent ones.
RARE = np.array([0.4, 0.2, 0.1, *[0.3 / 300] * 300])


def draw_categories(
    then: Floats, now: Floats, *, n_reference: int = 768, n_current: int = 200, seed: int
) -> list[tuple[int, int]]:
    """Draw two samples of categories and return their cells, as a profile counts them."""
    rng = np.random.default_rng(seed)
    reference, current = rng.multinomial(n_reference, then), rng.multinomial(n_current, now)
    known = reference > 0
    return [(0, 0), *zip(reference[known], current[known], strict=True), (0, int(current[~known].sum()))]


def test_rare_categories_are_pooled_with_the_unseen_by_the_sum_of_both_samples() -> None:
    # Of 400 + 100 rows the smaller sample expects a fifth of each sum: 5 of 25 rows, 4.8 of 24.
    pooled = pool_rare_cells(*two_samples([(4, 2), (340, 67), (25, 0), (0, 25), (24, 0), (7, 3), (0, 3)]))

    assert pooled.tolist() == [[340, 25, 0, 35], [67, 0, 25, 8]]


@few
@given(cells=DriftTestConformance.pairs)
def test_pooling_keeps_every_row_and_leaves_no_cell_without_rows(cells: list[tuple[int, int]]) -> None:
    a, b = two_samples(cells)

    pooled = pool_rare_cells(a, b)

    assert pooled.sum(axis=1).tolist() == [a.sum(), b.sum()]
    assert pooled.sum(axis=0).all()
    assert pool_rare_cells(b, a).tolist() == pooled[::-1].tolist()


def test_a_stray_row_in_a_constant_column_is_no_drift() -> None:
    assert ChiSquare().compare(*two_samples([(0, 0), (1_000, 199), (0, 1)])) == Significance(0, 0, 1, "asymptotic")


def test_the_effect_on_categories_is_the_share_of_rows_that_would_have_to_move() -> None:
    found = ChiSquare().compare(*two_samples([(0, 0), (500, 80), (500, 90), (0, 30)]))

    assert found.effect == pytest.approx(0.15)


def test_hundreds_of_rare_categories_fire_no_more_often_than_alpha() -> None:
    tables = [draw_categories(RARE, RARE, seed=seed) for seed in range(1_000)]

    alarms = sum(ChiSquare().compare(*two_samples(cells)).p_value < 0.05 for cells in tables)

    interval = stats.binomtest(alarms, len(tables)).proportion_ci(0.99)
    assert interval.low <= 0.05
    assert interval.high <= 0.08


def test_without_pooling_hundreds_of_rare_categories_would_fire() -> None:
    def unpooled(cells: list[tuple[int, int]]) -> float:
        observed = np.array([pair for pair in cells if any(pair)]).T
        return float(stats.chi2_contingency(observed, correction=False).pvalue)

    alarms = sum(unpooled(draw_categories(RARE, RARE, seed=seed)) < 0.05 for seed in range(200))

    assert stats.binomtest(alarms, 200).proportion_ci(0.99).low > 0.15


@pytest.mark.parametrize(
    "now",
    [
        pytest.param(np.append(0.8 * RARE, 0.2), id="a new category takes 20 % of the rows"),
        pytest.param(np.append(RARE, 0) * np.repeat([8 / 9, 2, 8 / 9], [2, 1, 301]), id="a category doubles"),
    ],
)
def test_a_change_beside_hundreds_of_rare_categories_is_found(now: Floats) -> None:
    then = np.append(RARE, 0)

    tables = [draw_categories(then, now, seed=seed) for seed in range(200)]

    found = sum(ChiSquare().compare(*two_samples(cells)).p_value < 0.05 for cells in tables)
    assert stats.binomtest(found, len(tables)).proportion_ci(0.99).low > 0.75
