"""A feature that alone tells the outcome is named; an honest one, or one that is only rich in values, is not."""

import numpy as np
import pytest

from homeostat.data.columns import texts
from homeostat.records import Feature, Floats, Kind, Target, Texts
from homeostat.training.giveaways import find_giveaways
from homeostat.validation.schema import freeze_schema

RNG = np.random.default_rng(0)
LABELS = RNG.integers(2, size=400).astype(np.int8)
NOISE = RNG.normal(size=400)


def found(values: Floats | Texts, kind: Kind = "numeric", *, n_rows: int = 400) -> dict[str, float]:
    schema = freeze_schema([Feature("x", kind, missing=(-1.0,) if kind == "numeric" else ())], Target("y", 0, 1))
    return dict(find_giveaways({"x": values[:n_rows]}, LABELS[:n_rows], schema))


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(LABELS * 9.0 + NOISE, id="higher"),
        pytest.param(-LABELS * 9.0 + NOISE, id="lower"),
        pytest.param(np.where(LABELS, np.abs(NOISE), np.nan), id="measured of positives only"),
        pytest.param(np.where(LABELS, np.abs(NOISE), -1.0), id="marked as not measured of negatives"),
    ],
)
def test_numbers_that_rank_the_outcomes_are_named(values: Floats) -> None:
    assert found(values)["x"] > 0.995


def test_a_category_that_goes_with_the_outcome_is_named() -> None:
    assert found(texts(["discharged" if label else None for label in LABELS]), "categorical") == {"x": 1.0}


@pytest.mark.parametrize("values", [LABELS * 2.0 + NOISE, NOISE, np.zeros(400), np.full(400, np.nan)])
def test_numbers_that_only_help_are_not(values: Floats) -> None:
    assert found(values) == {}


def test_names_that_occur_once_each_are_not() -> None:
    assert found(texts([f"patient {number}" for number in range(400)]), "categorical") == {}


def test_a_table_of_few_rows_says_nothing() -> None:
    assert found(LABELS.astype(np.float64), n_rows=30) == {}
