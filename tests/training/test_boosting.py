"""LightGBM's trees in float32: every number goes the way that LightGBM sends it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from homeostat.training.boosting import ZERO, BoostedTrees, LightGbm, place_threshold, walk
from tests.conformance.model_family import compiled_margins

doubles = st.floats(allow_nan=False) | st.sampled_from([ZERO, -ZERO, 1e-36, -1e-36, 0.0, -0.0, 1e300, -1e300])
singles = st.floats(width=32, allow_nan=False, allow_infinity=False)
STUMP = {"num_iterations": 5, "num_leaves": 2, "min_data_in_leaf": 1}


def as_lightgbm_reads(value: float) -> float:
    return 0.0 if abs(value) <= ZERO else value


def neighbours(value: float) -> list[float]:
    at = np.float32(value)
    with np.errstate(over="ignore"):  # the largest one's upper neighbour is infinite
        return [float(np.nextafter(at, np.float32(end))) for end in (-np.inf, np.inf)]


def fit_column(values: NDArray[np.float64], labels: NDArray[np.bool_]) -> BoostedTrees:
    design = values.astype(np.float32).reshape(-1, 1)
    return LightGbm().fit(design, labels.astype(np.int8), parameters=STUMP, seed=0)


@given(doubles, singles)
def test_a_placed_threshold_splits_every_float32_as_the_double_does(threshold: float, value: float) -> None:
    assert (value <= place_threshold(threshold)) == (as_lightgbm_reads(value) <= threshold)


@given(singles)
def test_the_neighbours_of_a_threshold_fall_on_their_sides(threshold: float) -> None:
    placed = place_threshold(threshold)

    for value in filter(math.isfinite, [placed, *neighbours(placed)]):
        assert (value <= placed) == (as_lightgbm_reads(value) <= threshold)


@given(doubles)
def test_a_placed_threshold_is_a_float32(threshold: float) -> None:
    placed = place_threshold(threshold)

    assert float(np.float32(placed)) == placed


@pytest.mark.parametrize("zero_is_positive", [True, False])
def test_a_split_beside_zero_sends_tiny_numbers_the_way_lightgbm_does(*, zero_is_positive: bool) -> None:
    values = np.tile([-1.0, 0.0, 1.0], 50)
    model = fit_column(values, values >= 0 if zero_is_positive else values > 0)
    tiny = np.array([-1.0, *(s * z for s in (-1, 1) for z in (ZERO, *neighbours(ZERO), 1e-40)), 0.0, 1.0])

    design = tiny.astype(np.float32).reshape(-1, 1)

    np.testing.assert_allclose(compiled_margins(model, design)[:, 0], model.margins(design), atol=1e-6)


def test_walking_a_tree_numbers_the_children_as_they_come() -> None:
    leaf = {"leaf_value": 1.0}
    inner = {"left_child": leaf, "right_child": leaf}

    numbers = [(left, right) for _, left, right in walk({"left_child": inner, "right_child": leaf})]

    assert numbers == [(1, 2), (3, 4), (0, 0), (0, 0), (0, 0)]


def test_a_seed_changes_a_model_that_draws_rows() -> None:
    rng = np.random.default_rng(0)
    design, labels = rng.normal(size=(200, 3)).astype(np.float32), rng.integers(2, size=200).astype(np.int8)
    drawing = STUMP | {"bagging_fraction": 0.5}

    first, second = (LightGbm().fit(design, labels, parameters=drawing, seed=seed).text() for seed in (0, 1))

    assert first != second
