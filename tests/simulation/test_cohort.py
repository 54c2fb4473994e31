"""The synthetic clinic gives the demonstration what it claims: quiet months, three features that move, one rule."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from homeostat.errors import ColumnMissing
from homeostat.records import Feature, Floats, Schema, Target
from homeostat.simulation.cohort import (
    AGED,
    PUBLISHED,
    Cohort,
    Labels,
    Measurements,
    draw_aged,
    draw_impossible,
    draw_ordinary,
    fit_cohort,
    outcome_probability,
    synthetic_table,
)
from homeostat.training.boosting import LightGbm
from homeostat.training.evaluation import auc, compare_auc
from homeostat.training.graph import design_matrix
from homeostat.training.preprocessing import fit_preprocessor
from homeostat.validation.checks import check_row

RANGES = {"Glucose": (20, 400), "BloodPressure": (10, 300), "SkinThickness": (3, 200), "Insulin": (7, 2000)} | {
    "Pregnancies": (0, 40),
    "BMI": (9, 150),
    "DiabetesPedigreeFunction": (0, 5),
    "Age": (0, 150),
}
MARKED = {"Glucose", "BloodPressure", "SkinThickness", "Insulin", "BMI"}
FEATURES = tuple(Feature(n, "numeric", None, *RANGES[n], (0.0,) if n in MARKED else ()) for n in PUBLISHED)
SCHEMA = Schema(FEATURES, Target("Outcome", 0, 1), "0" * 64)
UNMOVED = [name for name in PUBLISHED if name not in AGED]
SHALLOW = {"num_iterations": 100, "learning_rate": 0.05, "num_leaves": 6, "min_data_in_leaf": 20, "lambda_l2": 1.0}
ANCHOR = np.random.default_rng(0).random(768) < 0.2  # genuine rows that no model here is fitted to

Draw = Callable[[Cohort, int, np.random.Generator], tuple[Measurements, Labels]]
both_populations = pytest.mark.parametrize("draw", [draw_ordinary, draw_aged])


@pytest.fixture(scope="module")
def clinic() -> Cohort:
    """The clinic of a synthetic table."""
    columns, labels = synthetic_table(768, seed=0)
    return fit_cohort(columns, labels, SCHEMA)


@pytest.fixture(scope="module")
def genuine(pima_path: Path) -> tuple[Measurements, Labels]:
    table = np.loadtxt(pima_path, delimiter=",", skiprows=1)
    return dict(zip(PUBLISHED, table.T, strict=False)), table[:, -1].astype(np.int8)


@pytest.fixture(scope="module")
def genuine_clinic(genuine: tuple[Measurements, Labels]) -> Cohort:
    return fit_cohort(*genuine, SCHEMA)


def drifted(reference: Measurements, current: Measurements) -> set[str]:
    # The marker 0 already lies below every measured value.
    return {name for name in PUBLISHED if ks_2samp(reference[name], current[name]).pvalue < 0.05}


def take(columns: Measurements, mask: np.ndarray) -> Measurements:
    return {name: values[mask] for name, values in columns.items()}


def fit_trees(columns: Measurements, labels: Labels) -> Callable[[Measurements], Floats]:
    preparation = fit_preprocessor(columns, SCHEMA)
    model = LightGbm().fit(design_matrix(preparation, columns, SCHEMA), labels, parameters=SHALLOW, seed=0)
    return lambda rows: model.margins(design_matrix(preparation, rows, SCHEMA))


def retrain(genuine: tuple[Measurements, Labels], new: tuple[Measurements, Labels]) -> Callable[[Measurements], Floats]:
    old = take(genuine[0], ~ANCHOR)
    union = {name: np.concatenate([old[name], new[0][name]]) for name in PUBLISHED}
    return fit_trees(union, np.concatenate([genuine[1][~ANCHOR], new[1]]))


def rows_of(columns: Measurements) -> list[list[float]]:
    return [[float(value) for value in row] for row in np.column_stack(list(columns.values()))]


@given(n_rows=st.integers(0, 2_000), seed=st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
@both_populations
def test_a_draw_has_as_many_rows_as_asked_for_and_each_is_a_possible_patient(
    clinic: Cohort, draw: Draw, n_rows: int, seed: int
) -> None:
    columns, labels = draw(clinic, n_rows, np.random.default_rng(seed))

    assert [len(labels), *(len(values) for values in columns.values())] == [n_rows] * 9
    assert all(not check_row(dict(zip(columns, row, strict=True)), SCHEMA).violations for row in rows_of(columns)[:50])


@both_populations
def test_values_are_written_with_the_decimals_of_the_table(clinic: Cohort, draw: Draw) -> None:
    columns, _ = draw(clinic, 1_000, np.random.default_rng(0))

    assert all(np.array_equal(values, np.round(values, PUBLISHED[name].places)) for name, values in columns.items())


@both_populations
def test_everybody_on_the_register_comes_once_before_anybody_comes_again(clinic: Cohort, draw: Draw) -> None:
    columns, _ = draw(clinic, 768, np.random.default_rng(0))

    unmeasured = {name: int((values == 0).sum()) for name, values in columns.items() if name in MARKED}
    assert unmeasured == {name: int((clinic.register[name] == 0).sum()) for name in MARKED}


@both_populations
def test_the_same_generator_draws_the_same_patients(clinic: Cohort, draw: Draw) -> None:
    once, again = (draw(clinic, 300, np.random.default_rng(7)) for _ in range(2))

    assert all(np.array_equal(once[0][name], again[0][name]) for name in PUBLISHED)
    assert np.array_equal(once[1], again[1])


@both_populations
def test_outcomes_of_both_populations_follow_the_same_rule(clinic: Cohort, draw: Draw) -> None:
    columns, labels = draw(clinic, 20_000, np.random.default_rng(0))
    probability = outcome_probability(clinic, columns)

    for low in np.arange(0, 1, 0.1):
        inside = (probability >= low) & (probability < low + 0.1)
        assert abs(labels[inside].mean() - probability[inside].mean()) < 4 * 0.5 / np.sqrt(inside.sum())


def test_an_ordinary_month_does_not_drift_by_the_rule_of_the_book(genuine_clinic: Cohort) -> None:
    rng = np.random.default_rng(0)
    windows = [draw_ordinary(genuine_clinic, 200, rng)[0] for _ in range(100)]

    assert max(len(drifted(genuine_clinic.register, window)) for window in windows) <= 2


def test_every_window_of_the_aged_population_names_glucose_bmi_and_age(genuine_clinic: Cohort) -> None:
    rng = np.random.default_rng(0)
    windows = [draw_aged(genuine_clinic, 200, rng)[0] for _ in range(100)]

    assert all(drifted(genuine_clinic.register, window) >= set(AGED) for window in windows)


def test_the_other_five_features_keep_their_distribution_when_the_population_ages(genuine_clinic: Cohort) -> None:
    columns, _ = draw_aged(genuine_clinic, 20_000, np.random.default_rng(0))

    assert not drifted(genuine_clinic.register, columns) & set(UNMOVED)


def test_after_the_shift_the_aged_population_is_quiet_against_itself(genuine_clinic: Cohort) -> None:
    columns, _ = draw_aged(genuine_clinic, 11_000, np.random.default_rng(0))
    baseline = {name: values[:1_000] for name, values in columns.items()}
    windows = [{n: v[first : first + 200] for n, v in columns.items()} for first in range(1_000, 11_000, 200)]

    assert max(len(drifted(baseline, window)) for window in windows) <= 2


def test_both_outcomes_are_common_in_both_populations(genuine_clinic: Cohort) -> None:
    _, ordinary = draw_ordinary(genuine_clinic, 20_000, np.random.default_rng(0))
    _, aged = draw_aged(genuine_clinic, 20_000, np.random.default_rng(0))

    assert 0.25 < ordinary.mean() < 0.45
    assert 0.45 < aged.mean() < 0.65


def test_the_hidden_rule_agrees_with_the_outcomes_of_the_genuine_table(
    genuine: tuple[Measurements, Labels], genuine_clinic: Cohort
) -> None:
    probability = outcome_probability(genuine_clinic, genuine[0])

    assert auc(genuine[1], probability) > 0.84


def test_a_retrained_model_ranks_aged_patients_better_and_genuine_ones_no_worse_on_every_seed(
    genuine: tuple[Measurements, Labels], genuine_clinic: Cohort
) -> None:
    columns, labels = genuine
    champion, held = fit_trees(take(columns, ~ANCHOR), labels[~ANCHOR]), take(columns, ANCHOR)

    for seed in range(5):
        rng = np.random.default_rng(seed)
        challenger = retrain(genuine, draw_aged(genuine_clinic, 700, rng))
        fresh, outcomes = draw_aged(genuine_clinic, 20_000, rng)
        assert auc(outcomes, challenger(fresh)) > auc(outcomes, champion(fresh)) + 0.03
        assert compare_auc(labels[ANCHOR], challenger(held), champion(held), seed=0).low > -0.05


def test_each_impossible_row_breaks_the_rules_in_the_named_column_alone(clinic: Cohort) -> None:
    impossible = draw_impossible(clinic, 20, np.random.default_rng(0))

    assert [[v.column for v in check_row(i.row, SCHEMA).violations] for i in impossible] == [
        [i.column] for i in impossible
    ]
    assert {type(i.row[i.column]) for i in impossible} == {float, str}


def test_a_value_that_the_schema_allows_is_not_drawn_as_impossible(clinic: Cohort) -> None:
    unbounded = replace(SCHEMA, features=tuple(replace(f, low=None, high=None) for f in FEATURES))

    impossible = draw_impossible(replace(clinic, schema=unbounded), 20, np.random.default_rng(0))

    assert {i.column for i in impossible} == {"BloodPressure"}  # text in a number


def test_nobody_ages_past_the_range_of_the_schema(clinic: Cohort) -> None:
    narrow = replace(SCHEMA, features=tuple(replace(f, high=81.0) if f.name == "Age" else f for f in FEATURES))

    columns, _ = draw_aged(replace(clinic, schema=narrow), 5_000, np.random.default_rng(0))

    assert columns["Age"].max() == 81


def test_a_table_without_the_pima_columns_is_refused(clinic: Cohort) -> None:
    schema = replace(SCHEMA, features=FEATURES[:-1])

    with pytest.raises(ColumnMissing, match="Pima"):
        fit_cohort(clinic.register, np.zeros(768, dtype=np.int8), schema)


def test_the_synthetic_table_has_the_published_means_and_missing_shares() -> None:
    columns, labels = synthetic_table(20_000, seed=0)

    for name, marginal in PUBLISHED.items():
        measured = columns[name][columns[name] > 0] if name in MARKED else columns[name]
        assert measured.mean() == pytest.approx(marginal.mean, rel=0.03)
        assert measured.std() == pytest.approx(marginal.sd, rel=0.08)
        assert (columns[name] == 0).mean() >= marginal.absent * 0.8
    assert 0.3 < labels.mean() < 0.4


@given(seed=st.integers(0, 2**32))
@settings(max_examples=10, deadline=None)
def test_a_clinic_can_be_fitted_to_any_synthetic_table(seed: int) -> None:
    columns, labels = synthetic_table(768, seed=seed)

    _, outcomes = draw_aged(fit_cohort(columns, labels, SCHEMA), 2_000, np.random.default_rng(0))

    assert 0.25 < outcomes.mean() < 0.85
