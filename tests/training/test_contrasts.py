"""Two releases on the same rows: each difference is that of the two figures, and its interval is paired."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeostat.records import Floats
from homeostat.training.contrasts import contrast, delong, mean_difference, midranks
from homeostat.training.evaluation import Labels, auc, calibration_error, compare_auc


def drawn(n_rows: int, *, noise: float, seed: int) -> tuple[Labels, Floats, Floats]:
    """Return labels, and two related scores in 0-1, the second with more noise."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(n_rows) < 0.4).astype(np.int8)
    labels[:2] = 0, 1
    margin = labels + rng.normal(size=n_rows)
    ours, theirs = (1 / (1 + np.exp(-(margin - 0.5 + shift))) for shift in (0.0, noise * rng.normal(size=n_rows)))
    return labels, ours, theirs


@settings(max_examples=10, deadline=None)
@given(st.integers(10, 80), st.integers(0, 1000))
def test_every_figure_is_that_of_all_rows(n_rows: int, seed: int) -> None:
    labels, ours, theirs = drawn(n_rows, noise=0.5, seed=seed)

    found = contrast(labels, ours, theirs, seed=0)

    assert found.ours_auc.value == pytest.approx(auc(labels, ours))
    assert found.auc.value == pytest.approx(auc(labels, ours) - auc(labels, theirs))
    assert found.brier.value == pytest.approx(np.mean((ours - labels) ** 2) - np.mean((theirs - labels) ** 2))
    errors = [calibration_error(labels, one) for one in (ours, theirs)]
    assert found.calibration.value == pytest.approx(errors[0] - errors[1])


def test_the_difference_in_auc_has_the_interval_of_the_paired_bootstrap() -> None:
    labels, ours, theirs = drawn(200, noise=0.5, seed=1)

    assert contrast(labels, ours, theirs, seed=3).auc == compare_auc(labels, ours, theirs, seed=3)


def test_a_release_differs_from_itself_by_nothing() -> None:
    labels, ours, _ = drawn(60, noise=0.5, seed=1)

    found = contrast(labels, ours, ours, seed=0)

    assert all((one.low, one.value, one.high) == (0, 0, 0) for one in (found.auc, found.brier, found.calibration))


@pytest.mark.parametrize("seed", range(5))
def test_delongs_error_is_the_bootstraps(seed: int) -> None:
    labels, ours, theirs = drawn(400, noise=1.0, seed=seed)

    value, error = delong(labels, ours, theirs)
    interval = contrast(labels, ours, theirs, seed=0).auc

    assert value == pytest.approx(interval.value)
    assert 2 * 1.96 * error == pytest.approx(interval.high - interval.low, rel=0.15)


def test_midranks_share_the_ranks_of_ties() -> None:
    assert midranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [3.5, 1.0, 3.5, 2.0]


def test_a_mean_has_its_standard_error() -> None:
    assert mean_difference(np.array([1.0, 2.0, 3.0])) == pytest.approx((2.0, 1 / np.sqrt(3)))
