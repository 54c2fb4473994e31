"""The synthetic clinic of the demonstration: who comes, how its patients age, and the hidden rule of their outcomes.

Not here: when rows and outcomes are sent, and what is claimed about them (`simulation.demo`).

The clinic is fitted to a table with the eight Pima columns, whose rows are its register. A draw visits the register in
random order, everybody once before anybody comes again, each time with slightly different measurements. So windows vary
less than those of independent strangers: draw a stretch of traffic in one call, many small draws are strangers again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from homeostat.errors import ColumnMissing
from homeostat.records import Cell, Columns, Feature, Floats, Mask, Row, Schema

Labels: TypeAlias = NDArray[np.int8]
# Columns that are all numeric, raw markers kept.
Measurements: TypeAlias = Mapping[str, Floats]


@dataclass(frozen=True, slots=True)
class Shift:
    """How one feature differs in the aged population, in the feature's unit.

    Each value grows by `mean` with standard deviation `spread`, and is reflected at `cap`. The region that the table
    barely shows begins around `onset`: its share rises from 12 % to 88 % over `width`.
    """

    mean: float
    spread: float
    cap: float
    onset: float
    width: float


@dataclass(frozen=True, slots=True)
class Marginal:
    """The published summary of one column's measured values; `absent` is the share of rows without one, in 0-1."""

    mean: float
    sd: float
    low: float
    high: float
    absent: float = 0.0
    places: int = 0


# The three features that move, far enough that the old rows barely show where they go: trees retrained on 700 aged rows
# win .10 AUC there on average; with +22 years, +7 kg/m2, +35 mg/dL they won .08 (150 seeds each).
AGED: Mapping[str, Shift] = MappingProxyType(
    {
        "Glucose": Shift(mean=45.0, spread=10.0, cap=250.0, onset=140.0, width=16.0),
        "BMI": Shift(mean=8.0, spread=1.5, cap=70.0, onset=33.0, width=4.0),
        "Age": Shift(mean=28.0, spread=4.0, cap=90.0, onset=48.0, width=8.0),
    }
)
# Log-odds per standard deviation of pedigree, on top of the table's, for the older, heavier ones with high glucose.
PEDIGREE_SLOPE = 1.1
# Log-odds lost per year of age from `DECLINE_AGE` on: who is still healthy then, mostly stays so.
DECLINE_PER_YEAR = 0.1
DECLINE_AGE = 60.0
# The standard deviation of a measurement between two visits, as a share of that between patients.
REVISIT_NOISE = 0.05
# Standard deviations from the median beyond which the fitted part of the rule stays flat: few rows are there.
REACH = 3.0

# Widely published summaries of the table (first Smith et al. 1988), zeros that mean "not measured" left out.
PUBLISHED: Mapping[str, Marginal] = MappingProxyType(
    {
        "Pregnancies": Marginal(3.85, 3.37, 0, 17),
        "Glucose": Marginal(121.7, 30.5, 44, 199, absent=0.007),
        "BloodPressure": Marginal(72.4, 12.4, 24, 122, absent=0.046),
        "SkinThickness": Marginal(29.2, 10.5, 7, 99, absent=0.296),
        "Insulin": Marginal(155.5, 118.8, 14, 846, absent=0.487),
        "BMI": Marginal(32.5, 6.9, 18.2, 67.1, absent=0.014, places=1),
        "DiabetesPedigreeFunction": Marginal(0.472, 0.331, 0.078, 2.42, places=3),
        "Age": Marginal(33.2, 11.8, 21, 81),
    }
)
CORRELATIONS = np.array(
    [
        [1.0, 0.13, 0.21, 0.10, 0.08, 0.02, -0.03, 0.54],
        [0.13, 1.0, 0.22, 0.23, 0.58, 0.23, 0.14, 0.27],
        [0.21, 0.22, 1.0, 0.23, 0.10, 0.29, 0.00, 0.33],
        [0.10, 0.23, 0.23, 1.0, 0.18, 0.65, 0.12, 0.17],
        [0.08, 0.58, 0.10, 0.18, 1.0, 0.23, 0.13, 0.22],
        [0.02, 0.23, 0.29, 0.65, 0.23, 1.0, 0.16, 0.03],
        [-0.03, 0.14, 0.00, 0.12, 0.13, 0.16, 1.0, 0.03],
        [0.54, 0.27, 0.33, 0.17, 0.22, 0.03, 0.03, 1.0],
    ]
)
# The textbook logistic regression of the raw table, zeros included: intercept, then one coefficient a column. It has no
# bend in age, the table has: 22 % are positive up to 30 years, 57 % at 41 to 60, 26 % past 60.
LOG_ODDS = (-8.405, 0.1232, 0.0352, -0.0133, 0.0006, -0.0012, 0.0897, 0.9452, 0.0149)
BEND_AGE, BEND_PER_YEAR = 50.0, -0.1

# Values that no patient can have; a schema that allows one of them does not get it.
IMPOSSIBLE: Mapping[str, float | str] = MappingProxyType(
    {"Age": 250.0, "BMI": -31.4, "Glucose": 9000.0, "BloodPressure": "eighty", "Pregnancies": -2.0}
)


@dataclass(frozen=True, slots=True)
class Rule:
    """The fitted part of the hidden rule: a logistic regression on standardised values and their squares.

    `medians` and `scales` have shape (n_features,), in schema order; `coefficients` has shape (2 * n_features,).
    """

    medians: Floats
    scales: Floats
    coefficients: Floats
    intercept: float


@dataclass(frozen=True, slots=True)
class Cohort:
    """A clinic: its `register` of patients, raw markers kept, and the fitted part of its hidden `rule`."""

    schema: Schema
    register: Measurements
    rule: Rule


@dataclass(frozen=True, slots=True)
class ImpossibleRow:
    """A row to be refused, as it would be sent, and the column that the refusal should name."""

    row: Row
    column: str


def fit_cohort(columns: Columns, labels: Labels, schema: Schema) -> Cohort:
    """Return the clinic whose register is the table, with the part of the hidden rule that the table can show.

    Parameters
    ----------
    columns, labels
        The table as it was read: each of shape (n_rows,), raw missing markers kept, 1 = positive.

    Raises
    ------
    ColumnMissing
        The schema lacks one of the eight Pima columns, or has it as text.
    """
    if {feature.name for feature in schema.numeric} != set(PUBLISHED) or schema.categorical:
        raise ColumnMissing(
            problem=f"the synthetic clinic cannot be fitted to the columns {[f.name for f in schema.features]}",
            expected=f"exactly the numeric columns {list(PUBLISHED)}",
            action="run the demonstration on the Pima diabetes table",
        )
    register = {f.name: np.asarray(columns[f.name], dtype=np.float64) for f in schema.features}
    measured = [register[f.name][~_missing(f, register[f.name])] for f in schema.features]
    medians = np.array([np.median(values) for values in measured])
    scales = np.array([values.std() for values in measured])
    standard = _standardise(register, schema, medians=medians, scales=scales)
    fit = LogisticRegression(max_iter=2000).fit(_terms(standard), labels)
    return Cohort(schema, register, Rule(medians, scales, fit.coef_[0], intercept=float(fit.intercept_[0])))


def outcome_probability(cohort: Cohort, columns: Measurements) -> Floats:
    """Return the hidden rule's P(positive | row), shape (n_rows,): one rule for the ordinary and the aged alike.

    It is the smooth fit to the table, plus two things that the table barely shows: for the older, heavier ones with
    high glucose, pedigree counts far more; and past `DECLINE_AGE` the risk falls with every year.
    """
    rule = cohort.rule
    standard = _standardise(columns, cohort.schema, medians=rule.medians, scales=rule.scales)
    position = {feature.name: i for i, feature in enumerate(cohort.schema.features)}
    values = standard * rule.scales + rule.medians
    inside = np.ones(len(values))
    for name, shift in AGED.items():
        inside = inside * _sigmoid(4.0 * (values[:, position[name]] - shift.onset) / shift.width)
    pedigree = np.clip(standard[:, position["DiabetesPedigreeFunction"]], -REACH, REACH)
    years_past = np.maximum(values[:, position["Age"]] - DECLINE_AGE, 0.0)
    shown_by_table = _terms(standard) @ rule.coefficients + rule.intercept
    return _sigmoid(shown_by_table + inside * PEDIGREE_SLOPE * pedigree - DECLINE_PER_YEAR * years_past)


def draw_ordinary(cohort: Cohort, n_rows: int, rng: np.random.Generator) -> tuple[Measurements, Labels]:
    """Return rows of the population that the table came from, and their outcomes, each of shape (n_rows,)."""
    columns = _revisit(cohort, n_rows, rng)
    return columns, _outcomes(cohort, columns, rng)


def draw_aged(cohort: Cohort, n_rows: int, rng: np.random.Generator) -> tuple[Measurements, Labels]:
    """Return rows of the aged population, and their outcomes, each of shape (n_rows,).

    The three features of `AGED` move; the other five come from the register as ever, so their distributions stay.
    """
    columns = _revisit(cohort, n_rows, rng)
    for feature in (f for f in cohort.schema.features if f.name in AGED):
        shift, values = AGED[feature.name], columns[feature.name]
        high = shift.cap if feature.high is None else min(shift.cap, feature.high)
        moved = _reflect(values + rng.normal(shift.mean, shift.spread, n_rows), low=0.0, high=high)
        moved = np.round(moved, _places(cohort.register[feature.name]))
        columns[feature.name] = np.where(_missing(feature, values), values, moved)
    return columns, _outcomes(cohort, columns, rng)


def draw_impossible(cohort: Cohort, n_rows: int, rng: np.random.Generator) -> tuple[ImpossibleRow, ...]:
    """Return ordinary rows with one value replaced by one that the schema forbids, the kinds in turn."""
    columns = _revisit(cohort, n_rows, rng)
    features = {feature.name: feature for feature in cohort.schema.features}
    kinds = [(name, value) for name, value in IMPOSSIBLE.items() if _forbids(features[name], value)]
    rows = []
    for i in range(n_rows):
        name, value = kinds[i % len(kinds)]
        row: dict[str, Cell] = {c: None if np.isnan(values[i]) else float(values[i]) for c, values in columns.items()}
        rows.append(ImpossibleRow(row | {name: value}, column=name))
    return tuple(rows)


def synthetic_table(n_rows: int, *, seed: int) -> tuple[Measurements, Labels]:
    """Return a table like Pima's, made from its published summary alone, each column of shape (n_rows,).

    For machines without the genuine table: the caller says so. Zeros mean "not measured" in the same five columns.
    """
    rng = np.random.default_rng(seed)
    latent = rng.multivariate_normal(np.zeros(len(PUBLISHED)), CORRELATIONS, size=n_rows)
    ranks = latent.argsort(axis=0).argsort(axis=0)
    # One draw for all columns: a record without insulin is mostly the one without skin thickness and blood pressure.
    unmeasured = rng.random(n_rows)
    columns: dict[str, Floats] = {}
    for j, (name, marginal) in enumerate(PUBLISHED.items()):
        mean = marginal.mean - marginal.low
        gamma = marginal.low + rng.gamma((mean / marginal.sd) ** 2, marginal.sd**2 / mean, n_rows)
        values = np.round(np.clip(np.sort(gamma)[ranks[:, j]], marginal.low, marginal.high), marginal.places)
        columns[name] = np.where(unmeasured < marginal.absent, 0.0, values)
    log_odds = LOG_ODDS[0] + np.column_stack(list(columns.values())) @ np.array(LOG_ODDS[1:])
    log_odds += BEND_PER_YEAR * np.maximum(columns["Age"] - BEND_AGE, 0.0)
    return columns, (rng.random(n_rows) < _sigmoid(log_odds)).astype(np.int8)


def _revisit(cohort: Cohort, n_rows: int, rng: np.random.Generator) -> dict[str, Floats]:
    """Return rows of the register in rounds of random order, their measured values changed a little."""
    size = len(next(iter(cohort.register.values())))
    patients = np.concatenate([rng.permutation(size) for _ in range(n_rows // size + 1)])[:n_rows]
    columns: dict[str, Floats] = {}
    for feature, scale in zip(cohort.schema.features, cohort.rule.scales, strict=True):
        register = cohort.register[feature.name]
        measured = register[~_missing(feature, register)]
        values = register[patients]
        again = values + rng.normal(0.0, REVISIT_NOISE * scale, n_rows)
        again = np.round(_reflect(again, low=measured.min(), high=measured.max()), _places(register))
        columns[feature.name] = np.where(_missing(feature, values), values, again)
    return columns


def _outcomes(cohort: Cohort, columns: Measurements, rng: np.random.Generator) -> Labels:
    probability = outcome_probability(cohort, columns)
    return (rng.random(len(probability)) < probability).astype(np.int8)


def _standardise(columns: Measurements, schema: Schema, *, medians: Floats, scales: Floats) -> Floats:
    """Return distances from the median in standard deviations, shape (n_rows, n_features), 0 where missing."""
    standard = [
        np.where(_missing(feature, columns[feature.name]), 0.0, (columns[feature.name] - median) / scale)
        for feature, median, scale in zip(schema.features, medians, scales, strict=True)
    ]
    return np.column_stack(standard)


def _terms(standard: Floats) -> Floats:
    reached = np.clip(standard, -REACH, REACH)
    return np.hstack([reached, reached**2])


def _missing(feature: Feature, values: Floats) -> Mask:
    markers = [marker for marker in feature.missing if not isinstance(marker, str)]
    return np.isnan(values) | np.isin(values, markers)


def _forbids(feature: Feature, value: float | str) -> bool:
    if isinstance(value, str):
        return True
    return (feature.low is not None and value < feature.low) or (feature.high is not None and value > feature.high)


def _places(values: Floats) -> int:
    """Return the fewest decimals, at most 6, that write every value."""
    return next((places for places in range(6) if np.array_equal(values, np.round(values, places), equal_nan=True)), 6)


def _reflect(values: Floats, *, low: float, high: float) -> Floats:
    """Return the values folded back at the bounds: clipping alone would pile them up there."""
    return np.clip(high - np.abs(high - (low + np.abs(values - low))), low, high)


def _sigmoid(log_odds: Floats) -> Floats:
    return 1.0 / (1.0 + np.exp(-log_odds))
