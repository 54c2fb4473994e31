"""The drift tests are those of the textbook, whatever the ties, the missing values and the sizes."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import combinations
from typing import ClassVar, get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from scipy import stats

from homeostat.errors import DataInsufficient, InputError
from homeostat.monitoring.drift import (
    DRIFT_TESTS,
    EXACT_UP_TO,
    ChiSquare,
    DriftTest,
    KolmogorovSmirnov,
    Significance,
    detect_drift,
    ks_p_value,
    report_from_json,
    report_to_json,
)
from homeostat.records import Columns, Counts, Feature, Floats, Kind, Profile, Schema, Target
from homeostat.validation.profiles import build_profile, count_rows

NAN = float("nan")
SCHEMA = Schema((Feature("glucose", "numeric"), Feature("smoker", "categorical")), Target("outcome", 0, 1), "0" * 64)
ONLY_GLUCOSE = replace(SCHEMA, features=SCHEMA.features[:1])

few = settings(max_examples=60, deadline=None)
# Few distinct values, so that most are tied, or any doubles.
numbers = st.sampled_from([NAN, 1.0, 2.0, 3.0]) | st.floats(allow_infinity=False)
samples = st.lists(numbers, min_size=1, max_size=40)
shares = st.floats(0, 1)
sizes = st.integers(1, 60)


def profiles(reference: Columns, current: Columns) -> tuple[Profile, Profile]:
    schema = replace(SCHEMA, features=tuple(f for f in SCHEMA.features if f.name in reference))
    then = build_profile(reference, schema)
    return then, count_rows(current, schema, then)


def columns(glucose: Sequence[float], smoker: Sequence[str | None]) -> Columns:
    return {"glucose": np.array(glucose, dtype=np.float64), "smoker": np.array(smoker, dtype=np.object_)}


def kolmogorov_smirnov(reference: Sequence[float] | Floats, current: Sequence[float] | Floats) -> Significance:
    then, now = profiles({"glucose": np.array(reference)}, {"glucose": np.array(current)})
    return KolmogorovSmirnov().compare(then.features["glucose"].counts, now.features["glucose"].counts)


def below_all(sample: Sequence[float] | Floats) -> Floats:
    """Write missing values as scipy must see them: below every measured one."""
    return np.where(np.isnan(sample), -np.inf, sample)


class DriftTestConformance:
    """What every `DriftTest` holds to. Subclass it in a test file and set `drift_test`."""

    drift_test: ClassVar[DriftTest]
    # The suite runs on each subclass on purpose.
    shared: ClassVar[settings] = settings(few, suppress_health_check=[HealthCheck.differing_executors])
    pairs: ClassVar[st.SearchStrategy[list[tuple[int, int]]]] = st.lists(
        st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=2, max_size=12
    ).filter(lambda cells: all(map(any, zip(*cells, strict=True))))

    @shared
    @given(cells=pairs)
    def test_statistic_and_p_value_stay_within_their_bounds(self, cells: list[tuple[int, int]]) -> None:
        found = self.drift_test.compare(*two_samples(cells))

        assert 0 <= found.p_value <= 1
        assert 0 <= found.statistic < math.inf

    @shared
    @given(cells=pairs)
    def test_a_sample_never_differs_from_itself(self, cells: list[tuple[int, int]]) -> None:
        sample, _ = two_samples(cells)

        assert self.drift_test.compare(sample, sample).statistic == 0
        assert self.drift_test.compare(sample, sample).p_value == 1

    @shared
    @given(cells=pairs)
    def test_the_two_samples_may_change_places(self, cells: list[tuple[int, int]]) -> None:
        a, b = two_samples(cells)

        forth, back = self.drift_test.compare(a, b), self.drift_test.compare(b, a)

        assert forth.statistic == pytest.approx(back.statistic, rel=1e-12)
        assert forth.p_value == pytest.approx(back.p_value, rel=1e-12)

    @shared
    @given(cells=pairs, where=st.integers(0, 12))
    def test_a_cell_without_rows_changes_nothing(self, cells: list[tuple[int, int]], where: int) -> None:
        with_gap = [*cells[:where], (0, 0), *cells[where:]]

        assert self.drift_test.compare(*two_samples(with_gap)) == self.drift_test.compare(*two_samples(cells))

    @shared
    @given(cells=pairs)
    def test_comparing_changes_no_counts(self, cells: list[tuple[int, int]]) -> None:
        a, b = two_samples(cells)

        self.drift_test.compare(a, b)

        assert list(zip(a.tolist(), b.tolist(), strict=True)) == cells

    @pytest.mark.parametrize("n_rows", [40, 4_000])
    def test_a_population_that_has_moved_altogether_is_seen(self, n_rows: int) -> None:
        found = self.drift_test.compare(*two_samples([(n_rows, 0), (0, n_rows)]))

        assert found.p_value < 1e-6

    def test_it_says_its_name_and_its_method(self) -> None:
        assert self.drift_test.name
        assert self.drift_test.compare(*two_samples([(1, 2), (3, 4)])).method


def two_samples(cells: list[tuple[int, int]]) -> tuple[Counts, Counts]:
    counts = np.array(cells, dtype=np.int64)
    return counts[:, 0], counts[:, 1]


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
    assert found.p_value == pytest.approx(expected.pvalue, abs=1e-12)


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
    assert p_value == pytest.approx(float(Fraction(outside, math.comb(2 * n, n))), rel=1e-12, abs=1e-20)


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
    assert ks_p_value(statistic, m, n)[0] == pytest.approx(p_value, rel=1e-14)
    assert ks_p_value(statistic, n, m)[0] == pytest.approx(p_value, rel=1e-14)


@few
@given(a=shares, b=shares, m=sizes, n=sizes)
def test_a_larger_distance_is_never_less_significant(a: float, b: float, m: int, n: int) -> None:
    assert ks_p_value(max(a, b), m, n)[0] <= ks_p_value(min(a, b), m, n)[0] + 1e-12


def test_a_distance_that_every_order_reaches_has_a_p_value_of_exactly_1() -> None:
    # The two counts round apart here: their quotient is 1 + 2e-16.
    assert KolmogorovSmirnov().compare(*two_samples([(17, 17), (25, 28)])).p_value == 1


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
    assert kolmogorov_smirnov([constant] * 9, [constant] * 5) == Significance(0, 1, "exact")


@few
@given(table=st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=2, max_size=8))
def test_chi_square_equals_scipy_on_the_cells_that_hold_rows(table: list[tuple[int, int]]) -> None:
    cells = [(1, 1), *table]
    observed = np.array([pair for pair in cells if any(pair)]).T
    expected = stats.chi2_contingency(observed, correction=False)

    found = ChiSquare().compare(*two_samples(cells))

    assert found.statistic == pytest.approx(expected.statistic, rel=1e-12, abs=1e-12)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-12, abs=1e-12)


def test_chi_square_of_a_fourfold_table_has_no_continuity_correction() -> None:
    found = ChiSquare().compare(*two_samples([(10, 20), (20, 10)]))

    assert found.statistic == pytest.approx(20 / 3)
    assert found.p_value == pytest.approx(math.erfc(math.sqrt(10 / 3)))


def test_chi_square_of_a_single_category_is_zero() -> None:
    assert ChiSquare().compare(*two_samples([(0, 0), (9, 4), (0, 0)])) == Significance(0, 1, "asymptotic")


def test_the_score_is_the_share_of_drifted_features() -> None:
    then, now = profiles(columns([1, 2] * 50, ["no", "yes"] * 50), columns([8, 9] * 50, ["yes", "no"] * 50))

    report = detect_drift(then, now, alpha=0.05, boundary=0.3)

    assert [(f.name, f.test, f.drifted) for f in report.features] == [
        ("glucose", "kolmogorov-smirnov", True),
        ("smoker", "chi-square", False),
    ]
    assert (report.score, report.n_reference, report.n_current, report.fired) == (0.5, 100, 100, True)


@pytest.mark.parametrize(("boundary", "fired"), [(0.49, True), (0.5, False)])
def test_a_report_fires_only_above_the_boundary(boundary: float, fired: bool) -> None:  # noqa: FBT001  a table of cases
    then, now = profiles(columns([1] * 50, ["no"] * 50), columns([9] * 50, ["no"] * 50))

    assert detect_drift(then, now, alpha=0.05, boundary=boundary).fired is fired


def test_a_feature_has_drifted_only_below_alpha() -> None:
    then, now = profiles({"glucose": np.arange(4.0)}, {"glucose": np.arange(4.0) + 10})
    p_value = detect_drift(then, now, alpha=0.05, boundary=0.3).features[0].p_value

    assert detect_drift(then, now, alpha=p_value, boundary=0.3).drifted == ()
    assert detect_drift(then, now, alpha=p_value + 1e-9, boundary=0.3).drifted == ("glucose",)


def test_a_report_says_where_each_feature_stood_and_stands() -> None:
    then, now = profiles(columns([10, 20, 30], ["no", "no", "yes"]), columns([40, NAN], ["yes", None]))

    glucose, smoker = detect_drift(then, now, alpha=0.05, boundary=0.3).features

    assert glucose.then == {"median": 20, "quartiles": [10, 30], "missing_share": 0}
    assert glucose.now == {"median": 30, "quartiles": [30, 30], "missing_share": 0.5}
    assert smoker.then == {"mode": "no", "missing_share": 0}
    assert smoker.now == {"mode": "yes", "missing_share": 0.5}


@few
@given(reference=samples, current=samples, data=st.data())
def test_the_order_of_rows_is_irrelevant(reference: list[float], current: list[float], data: st.DataObject) -> None:
    mixed = data.draw(st.permutations(reference)), data.draw(st.permutations(current))

    assert kolmogorov_smirnov(*mixed) == kolmogorov_smirnov(reference, current)


@pytest.mark.parametrize(
    ("n_reference", "n_current", "side"), [(0, 0, "reference"), (0, 5, "reference"), (5, 0, "cur")]
)
def test_a_profile_without_rows_is_refused(n_reference: int, n_current: int, side: str) -> None:
    then, now = profiles(columns([1] * n_reference, ["no"] * n_reference), columns([1] * n_current, ["no"] * n_current))

    with pytest.raises(DataInsufficient, match=f"the {side}.* profile counts 0 rows of 2 features; expected at least"):
        detect_drift(then, now, alpha=0.05, boundary=0.3)


def test_profiles_in_different_cells_are_refused() -> None:
    a, b = (build_profile({"glucose": np.array([x])}, ONLY_GLUCOSE) for x in (1.0, 2.0))

    with pytest.raises(InputError, match="different cells for glucose"):
        detect_drift(a, b, alpha=0.05, boundary=0.3)


@few
@given(reference=samples, current=samples)
def test_a_report_survives_json_exactly(reference: list[float], current: list[float]) -> None:
    then, now = profiles({"glucose": np.array(reference)}, {"glucose": np.array(current)})
    report = detect_drift(then, now, alpha=0.05, boundary=0.3)

    stored = json.dumps(report_to_json(report), allow_nan=False)

    assert report_from_json(json.loads(stored)) == report
