"""What is estimated without outcomes is what would be measured with them, and what is measured is the textbook's."""

import json
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, brier_score_loss, roc_auc_score

from homeostat.monitoring.performance import FIGURES, describe_labels, estimate_performance, measure_performance
from homeostat.records import Floats
from homeostat.training.evaluation import Labels

few = settings(max_examples=50, deadline=None)
anything = st.lists(st.floats(width=32) | st.sampled_from([0.0, 0.5, 1.0]), max_size=40)
tenths = st.lists(st.integers(0, 10).map(lambda tenth: tenth / 10), min_size=2, max_size=8)


def window(seed: int, n_rows: int = 200) -> tuple[Labels, Floats]:
    """Return outcomes and the calibrated probabilities that they follow."""
    rng = np.random.default_rng(seed)
    probabilities = rng.beta(1, 2, size=n_rows)
    return (rng.random(n_rows) < probabilities).astype(np.int8), probabilities


def pairs_in_order(probabilities: Floats, outcomes: tuple[int, ...]) -> tuple[float, int]:
    """Return how many pairs of a positive and a negative row are in order, ties half, and how many there are."""
    chosen = np.array(outcomes, dtype=bool)
    differences = probabilities[chosen][:, np.newaxis] - probabilities[~chosen]
    return float((differences > 0).sum() + (differences == 0).sum() / 2), differences.size


# --- without outcomes ---------------------------------------------------------------------------------------------


@few
@given(tenths)
def test_the_estimate_is_the_mean_over_all_outcomes_that_the_rows_could_have(drawn: list[float]) -> None:
    probabilities = np.array(drawn)
    accuracy = brier = in_order = pairs = 0.0
    for outcomes in product((0, 1), repeat=len(drawn)):
        weight = float(np.prod(np.where(outcomes, probabilities, 1 - probabilities)))
        accuracy += weight * float(((probabilities >= 0.5) == np.array(outcomes)).mean())
        brier += weight * float(((probabilities - outcomes) ** 2).mean())
        ordered, n_pairs = pairs_in_order(probabilities, outcomes)
        in_order, pairs = in_order + weight * ordered, pairs + weight * n_pairs

    found = estimate_performance(probabilities, seed=0)

    assert found["accuracy"]["value"] == pytest.approx(accuracy)
    assert found["brier"]["value"] == pytest.approx(brier)
    assert found["auc"] is None if pairs == 0 else found["auc"]["value"] == pytest.approx(in_order / pairs)


@pytest.mark.parametrize("name", FIGURES)
def test_the_interval_holds_what_is_measured_later_in_95_windows_of_100(name: str) -> None:
    lives = 120
    hits = 0
    for seed in range(lives):
        labels, probabilities = window(seed)
        estimated = estimate_performance(probabilities, seed=seed)[name]
        measured = measure_performance(labels, probabilities, seed=seed)[name]
        hits += estimated["low"] <= measured["value"] <= estimated["high"]

    # Fewer than 105 of 120 have a chance of 1 in 1,000 at 95 %.
    assert hits >= 105


def test_the_estimate_follows_rows_that_become_harder() -> None:
    easy, hard = np.array([0.02, 0.97] * 100), np.array([0.4, 0.6] * 100)

    assert estimate_performance(easy, seed=0)["accuracy"]["value"] == pytest.approx(0.975)
    assert estimate_performance(hard, seed=0)["accuracy"]["value"] == pytest.approx(0.6)


def test_the_estimate_knows_nothing_of_outcomes_that_have_turned_round() -> None:
    labels, probabilities = window(1)

    estimated = estimate_performance(probabilities, seed=0)["auc"]
    measured = measure_performance(1 - labels, probabilities, seed=0)["auc"]

    assert measured["high"] < 0.4
    assert estimated["low"] > 0.7


@few
@given(anything)
def test_whatever_the_probabilities_are_the_figures_are_shares_in_order(drawn: list[float]) -> None:
    found = estimate_performance(np.array(drawn, dtype=np.float64), seed=0)

    json.dumps(found, allow_nan=False)
    for figure in (found[name] for name in FIGURES if found[name]):
        assert 0 <= figure["low"] <= figure["value"] <= figure["high"] <= 1 + 1e-12


@pytest.mark.parametrize("drawn", [[], [np.nan, np.inf], [0.3], [0.0] * 5, [1.0] * 5])
def test_there_is_no_auc_of_rows_that_cannot_be_of_both_classes(drawn: list[float]) -> None:
    assert estimate_performance(np.array(drawn), seed=0)["auc"] is None


def test_constant_scores_rank_nothing() -> None:
    found = estimate_performance(np.full(50, 0.3), seed=0)

    assert found["auc"] == {"value": 0.5, "low": 0.5, "high": 0.5}
    assert found["accuracy"]["value"] == pytest.approx(0.7)


def test_the_same_seed_gives_the_same_interval_and_more_rows_a_narrower_one() -> None:
    few_rows, many_rows = (window(3, n_rows)[1] for n_rows in (200, 20_000))
    first, again = (estimate_performance(few_rows, seed=7) for _ in range(2))
    auc = estimate_performance(many_rows, seed=7)["auc"]

    assert first == again != estimate_performance(few_rows, seed=8)
    assert auc["high"] - auc["low"] < (first["auc"]["high"] - first["auc"]["low"]) / 5


# --- with outcomes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decimals", [1, 8])
def test_the_measured_figures_are_scikit_learns(decimals: int) -> None:
    labels, probabilities = window(5)
    probabilities = probabilities.round(decimals)

    found = measure_performance(labels, probabilities, seed=0)

    assert found["auc"]["value"] == pytest.approx(roc_auc_score(labels, probabilities), abs=1e-12)
    assert found["brier"]["value"] == pytest.approx(brier_score_loss(labels, probabilities), abs=1e-12)
    assert found["accuracy"]["value"] == pytest.approx(accuracy_score(labels, probabilities >= 0.5))
    assert (found["n_rows"], found["n_positive"]) == (200, int(labels.sum()))


def test_the_interval_of_a_measured_figure_holds_the_true_one_in_95_windows_of_100() -> None:
    truth = roc_auc_score(*window(99, 200_000))
    found = [measure_performance(*window(seed), seed=seed)["auc"] for seed in range(120)]

    hits = sum(auc["low"] <= truth <= auc["high"] for auc in found)

    # A percentile interval of 200 rows holds a little less than 95 %.
    assert 103 <= hits <= 119


@pytest.mark.parametrize("label", [0, 1])
def test_of_one_class_all_but_the_auc_is_measured(label: int) -> None:
    found = measure_performance(np.full(40, label, dtype=np.int8), np.linspace(0, 0.9, 40), seed=0)

    assert found["auc"] is None
    assert found["accuracy"]["value"] == pytest.approx(abs(1 - label - 18 / 40))
    assert found["brier"]["low"] < found["brier"]["value"] < found["brier"]["high"]


def test_of_no_rows_nothing_is_measured() -> None:
    found = measure_performance(np.empty(0, dtype=np.int8), np.empty(0), seed=0)

    assert found == {"n_rows": 0, "n_positive": 0, "accuracy": None, "auc": None, "brier": None}


# --- how many, how late -------------------------------------------------------------------------------------------


def test_coverage_and_delay_are_told_of_those_that_have_an_outcome_and_the_wait_of_the_others() -> None:
    predicted = np.arange(10.0)
    labelled = np.where(predicted < 5, predicted + 100 * predicted, np.nan)

    assert describe_labels(predicted, labelled, now_s=1000.0) == {
        "labelled_share": 0.5,
        "median_s": 200.0,
        "p90_s": pytest.approx(360.0),
        "n_unlabelled": 5,
        "oldest_unlabelled_s": 995.0,
    }


def test_clocks_that_jump_back_make_no_negative_times() -> None:
    found = describe_labels(np.array([50.0, 60.0]), np.array([40.0, np.nan]), now_s=10.0)

    assert (found["median_s"], found["oldest_unlabelled_s"]) == (0.0, 0.0)


def test_nothing_is_told_of_the_labels_of_no_rows() -> None:
    found = describe_labels(np.empty(0), np.empty(0), now_s=0.0)

    assert found["labelled_share"] is found["median_s"] is found["oldest_unlabelled_s"] is None
