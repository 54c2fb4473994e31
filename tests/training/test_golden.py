"""The golden rows hold every value at which a wrong graph would betray itself, and nothing of a person."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeostat.data.columns import stack_rows, unstack_rows
from homeostat.records import Cell, Columns, Feature, Floats, Row
from homeostat.training.golden import MAX_THRESHOLDS, N_RANDOM, UNSEEN, golden_rows, probe_numbers
from homeostat.training.preprocessing import fit_preprocessor
from homeostat.validation.schema import freeze_schema
from tests.training.generated import TARGET, Tables, tables

AGE = Feature("age", "numeric", low=18.0, high=120.0, missing=(-1.0,))
CITY = Feature("city", "categorical", missing=("?",))
SCHEMA = freeze_schema([AGE, CITY], TARGET)
LEARNED: list[Row] = [{"age": 30.0, "city": "A"}, {"age": 50.0, "city": None}, {"age": 70.0, "city": "B"}]


def golden(*thresholds: float, seed: int = 0) -> Columns:
    preprocessor = fit_preprocessor(stack_rows(LEARNED, SCHEMA), SCHEMA)
    return golden_rows(SCHEMA, preprocessor, {"age": np.array(thresholds)}, seed=seed)


def cells_of(columns: Columns, name: str) -> set[Cell]:
    return {row[name] for row in unstack_rows(columns)}


@pytest.mark.parametrize("value", [None, -1.0, 0.0, 18.0, 120.0])
def test_a_number_is_missing_a_marker_zero_and_either_extreme(value: float | None) -> None:
    assert value in cells_of(golden(), "age")


def test_a_threshold_is_probed_itself_and_one_float32_step_on_each_side() -> None:
    at = np.float32(44.7)
    steps = {float(np.nextafter(at, np.float32(end))) for end in (-np.inf, np.inf)}

    assert {float(at), *steps} <= cells_of(golden(float(at)), "age")


def test_many_thresholds_are_thinned_evenly_and_keep_both_ends() -> None:
    thresholds: Floats = np.arange(1_000, dtype=np.float64)

    probed = {value for value in probe_numbers(AGE, thresholds) if value is not None} & set(thresholds.tolist())

    assert MAX_THRESHOLDS <= len(probed) <= MAX_THRESHOLDS + 3
    assert {0.0, 999.0} <= probed
    assert max(np.diff(sorted(probed))) < 1_000 / MAX_THRESHOLDS + 2


def test_a_category_is_each_known_one_missing_a_marker_and_unseen() -> None:
    assert cells_of(golden(), "city") == {"A", "B", None, "?", UNSEEN}


def test_each_value_is_probed_alone_around_the_typical_row_first() -> None:
    alone = [row for row in unstack_rows(golden()) if row["city"] is None and row["age"] != 50.0]

    assert [row["age"] for row in alone[:4]] == [None, -1.0, 0.0, 18.0]


def test_random_combinations_come_last() -> None:
    rows = unstack_rows(golden())

    assert len(rows) == 1 + 5 + 5 + N_RANDOM
    assert {row["age"] for row in rows[-N_RANDOM:]} == {None, -1.0, 0.0, 18.0, 120.0}


def test_the_same_seed_gives_the_same_rows_and_another_one_does_not() -> None:
    assert unstack_rows(golden(seed=1)) == unstack_rows(golden(seed=1)) != unstack_rows(golden(seed=2))


@settings(max_examples=30, deadline=None)
@given(tables(), st.integers(0, 9))
def test_any_schema_has_golden_rows_of_every_feature(generated: Tables, seed: int) -> None:
    preprocessor = fit_preprocessor(generated.training, generated.schema)

    found = golden_rows(generated.schema, preprocessor, {}, seed=seed)

    assert list(found) == [feature.name for feature in generated.schema.features]
    assert len({len(values) for values in found.values()}) == 1
