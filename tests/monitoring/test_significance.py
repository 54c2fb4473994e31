"""The drift tests are those of the textbook, whatever the ties, the missing values and the sizes."""

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from scipy import special, stats

from homeostat.monitoring.significance import (
    DRIFT_TESTS,
    EXACT_UP_TO,
    EXPANSION_FROM,
    ChiSquare,
    KolmogorovSmirnov,
    Significance,
    kolmogorov_tail,
    ks_p_value,
)
from homeostat.records import Feature, Floats, Kind, Schema, Target
from homeostat.validation.profiles import build_profile, count_rows
from tests.conformance.drift_test import DriftTestConformance, two_samples

NAN = float("nan")
SCHEMA = Schema((Feature("glucose", "numeric"),), Target("outcome", 0, 1), "0" * 64)

few = settings(max_examples=60, deadline=None)
# Few distinct values, so that most are tied, or any doubles.
numbers = st.sampled_from([NAN, 1.0, 2.0, 3.0]) | st.floats(allow_infinity=False)
samples = st.lists(numbers, min_size=1, max_size=40)
shares = st.floats(0, 1)
sizes = st.integers(1, 60)


def kolmogorov_smirnov(reference: Sequence[float] | Floats, current: Sequence[float] | Floats) -> Significance:
    then = build_profile({"glucose": np.array(reference)}, SCHEMA)
    now = count_rows({"glucose": np.array(current)}, SCHEMA, then)
    return KolmogorovSmirnov().compare(then.features["glucose"].counts, now.features["glucose"].counts)


def below_all(sample: Sequence[float] | Floats) -> Floats:
    """Write missing values as scipy must see them: below every measured one."""
    return np.where(np.isnan(sample), -np.inf, sample)


class TestKolmogorovSmirnovConformance(DriftTestConformance):
    drift_test = KolmogorovSmirnov()


class TestChiSquareConformance(DriftTestConformance):
    drift_test = ChiSquare()


def test_every_kind_of_feature_has_a_test() -> None:
    assert set(DRIFT_TESTS) == set(get_args(Kind))


@few
@given(reference=samples, current=samples)
def test_small_samples_get_the_exact_test_of_scipy(reference: list[float], current: list[float]) -> None:
    try:
        expected = stats.ks_2samp(below_all(reference), below_all(current), method="exact")
    except RuntimeWarning:
        reject()  # For equal sizes scipy's sum can round above 1: it then gives up. The closed form below covers them.

    found = kolmogorov_smirnov(reference, current)

    assert found.method == "exact"
    assert found.statistic == pytest.approx(expected.statistic, abs=1e-12)
    assert found.p_value == pytest.approx(expected.pvalue, abs=1e-12)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), decimals=st.integers(0, 6), shift=st.floats(0, 0.3))
def test_large_samples_get_the_asymptotic_test_of_scipy(seed: int, decimals: int, shift: float) -> None:
    random = np.random.default_rng(seed)
    reference, current = random.normal(size=3_000).round(decimals), random.normal(shift, size=1_400).round(decimals)
    reference[:50] = np.nan
    expected = stats.ks_2samp(below_all(reference), below_all(current), method="asymp")

    found = kolmogorov_smirnov(reference, current)

    assert found.method == "asymptotic"
    assert found.statistic == pytest.approx(expected.statistic, abs=1e-12)
    assert found.p_value == pytest.approx(expected.pvalue, abs=1e-12)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), n_reference=st.sampled_from([768, 10_000]), shift=st.floats(0, 0.5))
def test_a_window_of_200_rows_gets_the_exact_test_of_scipy(seed: int, n_reference: int, shift: float) -> None:
    random = np.random.default_rng(seed)
    reference, current = random.normal(size=n_reference), random.normal(shift, size=200)
    expected = stats.ks_2samp(reference, current, method="exact")

    found = kolmogorov_smirnov(reference, current)

    assert found.method == "exact"
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-10, abs=1e-14)


@pytest.mark.parametrize("statistic", [Fraction(k, 20) for k in range(1, 21)])
def test_the_exact_p_value_is_the_share_of_all_orders_of_the_pooled_values(statistic: Fraction) -> None:
    def distance(chosen: tuple[int, ...]) -> Fraction:
        first = [sum(x <= rank for x in chosen) for rank in range(9)]
        return max(abs(Fraction(f, 4) - Fraction(rank + 1 - f, 5)) for rank, f in enumerate(first))

    orders = [distance(chosen) for chosen in combinations(range(9), 4)]

    assert ks_p_value(float(statistic), 4, 5)[0] == pytest.approx(np.mean([d >= statistic for d in orders]), abs=1e-15)


@pytest.mark.parametrize("height", [1, 20, 86, 300, 1000, 2000])
def test_the_largest_exact_case_neither_overflows_nor_underflows(height: int) -> None:
    n = math.isqrt(EXACT_UP_TO)
    # Gnedenko and Korolyuk's closed form for equal sizes, by reflection, in whole numbers.
    outside = 2 * sum((-1) ** (k - 1) * math.comb(2 * n, n - k * height) for k in range(1, n // height + 1))

    p_value, method = ks_p_value(height / n, n, n)

    assert method == "exact"
    assert p_value == pytest.approx(float(Fraction(outside, math.comb(2 * n, n))), rel=1e-10, abs=1e-20)


@pytest.mark.parametrize(
    ("statistic", "m", "n", "p_value"),
    [
        (1, 4, 4, 2 / 70),
        (1, 3, 4, 2 / 35),
        (0.8, 5, 5, 20 / 252),
        (1, 1, 1, 1),
        (1, 1, 768, 2 / 769),
        (0, 7, 9, 1),
        (0.2, 5, 5, 1),
    ],
)
def test_the_exact_p_value_of_a_textbook_case(statistic: float, m: int, n: int, p_value: float) -> None:
    assert ks_p_value(statistic, m, n)[0] == pytest.approx(p_value, rel=1e-11)
    assert ks_p_value(statistic, n, m)[0] == pytest.approx(p_value, rel=1e-11)


@few
@given(a=shares, b=shares, m=sizes, n=sizes)
def test_a_larger_distance_is_never_less_significant(a: float, b: float, m: int, n: int) -> None:
    assert ks_p_value(max(a, b), m, n)[0] <= ks_p_value(min(a, b), m, n)[0] + 1e-12


def test_a_distance_that_every_order_reaches_has_a_p_value_of_1_and_no_more() -> None:
    p_value = KolmogorovSmirnov().compare(*two_samples([(17, 17), (25, 28)])).p_value

    assert 1 - 1e-10 <= p_value <= 1


def test_the_method_changes_just_past_the_largest_exact_size() -> None:
    assert ks_p_value(0.05, 2_000, 2_000)[1] == "exact"
    assert ks_p_value(0.05, 2_000, 2_001)[1] == "asymptotic"
    assert ks_p_value(0.05, 2_001, 2_001)[0] == pytest.approx(ks_p_value(0.05, 2_000, 2_000)[0], rel=0.05)


def test_a_changed_missing_rate_alone_is_drift() -> None:
    reference = [1.0, 2.0, 3.0, 4.0] * 50

    found = kolmogorov_smirnov(reference, [NAN if row % 2 else x for row, x in enumerate(reference)])

    assert found.statistic == 0.5
    assert found.p_value < 1e-6


@pytest.mark.parametrize("constant", [7.0, NAN])
def test_a_column_that_stays_constant_has_not_drifted(constant: float) -> None:
    assert kolmogorov_smirnov([constant] * 9, [constant] * 5) == Significance(0, 0, 1, "exact")


@few
@given(table=st.lists(st.tuples(st.integers(10, 50), st.integers(10, 50)), min_size=2, max_size=6))
def test_chi_square_equals_scipy_where_no_category_is_rare(table: list[tuple[int, int]]) -> None:
    expected = stats.chi2_contingency(np.array(table).T, correction=False)

    found = ChiSquare().compare(*two_samples([(0, 0), *table, (0, 0)]))

    assert found.statistic == pytest.approx(expected.statistic, rel=1e-12, abs=1e-12)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-12, abs=1e-12)


def test_chi_square_of_a_fourfold_table_has_no_continuity_correction() -> None:
    found = ChiSquare().compare(*two_samples([(10, 20), (20, 10)]))

    assert found.statistic == pytest.approx(20 / 3)
    assert found.p_value == pytest.approx(math.erfc(math.sqrt(10 / 3)))


def test_chi_square_of_a_single_category_is_zero() -> None:
    assert ChiSquare().compare(*two_samples([(0, 0), (9, 4), (0, 0)])) == Significance(0, 0, 1, "asymptotic")


@pytest.mark.parametrize(
    ("n", "relative_error"),
    [(EXPANSION_FROM, 7e-4), (1_500, 3e-4), (2_000, 2e-4), (5_000, 3e-5), (20_000, 3e-6), (200_000, 3e-7)],
)
def test_the_expansion_agrees_with_scipy_from_the_body_far_into_the_tail(n: int, relative_error: float) -> None:
    p_values = np.array([0.9999, 0.99, 0.9, 0.5, 0.2, 0.05, 0.01, 1e-3, 1e-5, 1e-8, 1.1e-12])
    distances = special.kolmogi(p_values) / np.sqrt(n)

    expected = stats.kstwo.sf(distances, n)

    found = [kolmogorov_tail(float(distance), n) for distance in distances]
    np.testing.assert_allclose(found, expected, rtol=relative_error)


def test_the_expansion_takes_over_from_its_size_on() -> None:
    # 4,000 x 4,000 rows weigh as much as 2,000 rows of one sample, 900 x 90,000 as 891.
    assert ks_p_value(0.03, 4_000, 4_000) == (kolmogorov_tail(0.03, 2_000), "asymptotic")
    assert ks_p_value(0.05, 900, 90_000) == (float(stats.kstwo.sf(0.05, 891)), "asymptotic")


@few
@given(a=shares, b=shares, n=st.integers(EXPANSION_FROM, 10**6))
def test_the_expansion_falls_with_the_distance_within_0_and_1(a: float, b: float, n: int) -> None:
    assert 0 <= kolmogorov_tail(max(a, b), n) <= kolmogorov_tail(min(a, b), n) <= 1


@few
@given(reference=samples, current=samples, data=st.data())
def test_the_order_of_rows_is_irrelevant(reference: list[float], current: list[float], data: st.DataObject) -> None:
    mixed = data.draw(st.permutations(reference)), data.draw(st.permutations(current))

    assert kolmogorov_smirnov(*mixed) == kolmogorov_smirnov(reference, current)
