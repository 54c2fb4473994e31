"""Each question of the gate about the program: a challenger that passes it, and one that it refuses."""

from dataclasses import replace

import numpy as np
import pytest

from homeostat.deployment.soundness import (
    MAX_GRAPH_BYTES,
    find_column_problem,
    judge_columns,
    judge_latency,
    judge_memory,
    judge_size,
)
from homeostat.records import Feature, Target
from homeostat.validation.schema import freeze_schema

AGE, DOSE, CITY = Feature("age", "numeric"), Feature("dose", "numeric"), Feature("city", "categorical")
TARGET = Target("y", 0, 1)
SCHEMA = freeze_schema([AGE, DOSE, CITY], TARGET)


@pytest.mark.parametrize(("size", "passed"), [(0, True), (MAX_GRAPH_BYTES, True), (MAX_GRAPH_BYTES + 1, False)])
def test_a_graph_may_have_a_hundred_megabytes(size: int, *, passed: bool) -> None:
    assert judge_size(size).passed is passed


@pytest.mark.parametrize(
    ("ours_ms", "theirs_ms", "passed"),
    [(4.9, None, True), (5.1, None, False), (5.1, 0.1, False), (14.9, 5.0, True), (15.1, 5.0, False)],
)
def test_single_rows_may_take_five_milliseconds_or_three_times_the_champions(
    ours_ms: float, theirs_ms: float | None, *, passed: bool
) -> None:
    theirs = None if theirs_ms is None else np.full(200, theirs_ms / 1000)

    assert judge_latency(np.full(200, ours_ms / 1000), theirs).passed is passed


def test_one_slow_row_in_a_hundred_is_none_and_three_are() -> None:
    rows = np.full(200, 0.0001)

    assert judge_latency(np.where(np.arange(200) < 1, 1.0, rows), None).passed
    assert not judge_latency(np.where(np.arange(200) < 3, 1.0, rows), None).passed


@pytest.mark.parametrize(("taken", "passed"), [(10, True), (11, False)])
def test_memory_beyond_the_limit_refuses(taken: int, *, passed: bool) -> None:
    assert judge_memory(taken, 10).passed is passed


@pytest.mark.parametrize(
    ("features", "problem"),
    [
        ([AGE, DOSE, CITY], None),
        ([AGE, CITY], "column 'dose' is missing"),
        ([AGE, DOSE, CITY, Feature("more", "numeric")], "column 'more' is not in the schema"),
        ([AGE, replace(DOSE, kind="categorical"), CITY], "column 'dose' is categorical, expected numeric"),
        ([DOSE, AGE, CITY], "the columns stand in the order ['dose', 'age', 'city']"),
    ],
)
def test_columns_that_differ_are_named(features: list[Feature], problem: str | None) -> None:
    found = freeze_schema(features, TARGET)

    assert find_column_problem(found, SCHEMA) == problem
    assert judge_columns(problem, found).passed is (problem is None)
