"""Every metric is the textbook's, and every interval is that of a seeded, stratified, paired bootstrap."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, average_precision_score, brier_score_loss, log_loss, roc_auc_score

from homeostat.records import Floats
from homeostat.training.evaluation import (
    MANY_ROWS,
    MOST_CORNERS,
    REPLICATES,
    Labels,
    auc,
    auc_influence,
    average_precision,
    calibration_error,
    compare_auc,
    estimate_auc,
    estimate_mean,
    evaluate,
    normal_interval,
    reliability,
    replicate_weights,
    roc_curve,
    weighted_auc,
)

few = settings(max_examples=60, deadline=None)
slow = settings(max_examples=15, deadline=None)
# Tenths, so that most scores are tied, or any probability.
probabilities = st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]) | st.floats(0, 1)


@st.composite
def judged(draw: st.DrawFn) -> tuple[Labels, Floats]:
    """Return labels of both classes with a probability for each."""
    labels = draw(
        st.lists(st.integers(0, 1), min_size=2, max_size=30).filter(lambda drawn: 0 < sum(drawn) < len(drawn))
    )
    scores = draw(st.lists(probabilities, min_size=len(labels), max_size=len(labels)))
    return np.array(labels, dtype=np.int8), np.array(scores)


def drawn_rows(n_rows: int, *, shift: float, seed: int) -> tuple[Labels, Floats]:
    """Return as many rows of either class, the positive ones scoring `shift` standard deviations higher."""
    labels = np.arange(n_rows, dtype=np.int64) % 2
    return labels.astype(np.int8), np.random.default_rng(seed).normal(size=n_rows) + shift * labels


# --- figures ------------------------------------------------------------------------------------------------------


@few
@given(judged())
def test_the_auc_is_scikit_learns_whatever_the_ties(rows: tuple[Labels, Floats]) -> None:
    assert auc(*rows) == pytest.approx(roc_auc_score(*rows), abs=1e-12)


@few
@given(judged(), st.data())
def test_a_weighted_auc_is_that_of_repeated_rows(rows: tuple[Labels, Floats], data: st.DataObject) -> None:
    labels, scores = rows
    times = np.array(data.draw(st.lists(st.integers(1, 4), min_size=len(labels), max_size=len(labels))))

    found = weighted_auc(labels, scores, times[np.newaxis].astype(np.float64))

    assert found[0] == pytest.approx(auc(np.repeat(labels, times), np.repeat(scores, times)), abs=1e-12)


@few
@given(judged())
def test_turning_the_scores_round_turns_the_auc_round(rows: tuple[Labels, Floats]) -> None:
    labels, scores = rows

    assert auc(labels, -scores) == pytest.approx(1 - auc(labels, scores), abs=1e-12)


@slow
@given(judged())
def test_brier_score_log_loss_and_accuracy_are_scikit_learns(rows: tuple[Labels, Floats]) -> None:
    labels, scores = rows
    clipped = np.clip(scores, 1e-12, 1 - 1e-12)

    found = evaluate(labels, scores, seed=0)

    assert found["brier"]["value"] == pytest.approx(brier_score_loss(labels, scores), abs=1e-12)
    assert found["log_loss"]["value"] == pytest.approx(log_loss(labels, clipped), rel=1e-9)
    assert found["accuracy"]["value"] == pytest.approx(accuracy_score(labels, scores >= 0.5))


@few
@given(judged())
def test_the_average_precision_is_scikit_learns_whatever_the_ties(rows: tuple[Labels, Floats]) -> None:
    assert average_precision(*rows) == pytest.approx(average_precision_score(*rows), abs=1e-12)


def test_the_average_precision_of_answers_that_tell_nothing_is_the_share_of_positives() -> None:
    assert average_precision(np.array([1, 0, 0, 0], dtype=np.int8), np.full(4, 0.5)) == 0.25


@few
@given(judged())
def test_the_area_under_the_roc_curve_is_the_auc(rows: tuple[Labels, Floats]) -> None:
    curve = roc_curve(*rows)

    area = np.trapezoid(curve["true_positive_rate"], curve["false_positive_rate"])

    assert area == pytest.approx(auc(*rows), abs=1e-12)


@few
@given(judged())
def test_the_roc_curve_ascends_from_the_origin_to_one(rows: tuple[Labels, Floats]) -> None:
    for rates in roc_curve(*rows).values():
        assert (rates[0], rates[-1]) == (0, 1)
        assert rates == sorted(rates)


def test_the_reliability_of_a_known_example() -> None:
    scores = np.array([0.02, 0.08, 0.31, 0.35, 0.39, 1.0])

    found = reliability(np.array([0, 1, 0, 0, 1, 1], dtype=np.int8), scores)

    assert [cell["n_rows"] for cell in found] == [2, 3, 1]
    assert [cell["probability"] for cell in found] == pytest.approx([0.05, 0.35, 1.0])
    assert [cell["positive_share"] for cell in found] == pytest.approx([1 / 2, 1 / 3, 1.0])


def test_the_calibration_error_weighs_each_bins_gap_by_its_rows() -> None:
    labels, scores = np.array([0, 1, 0, 0, 1, 1], dtype=np.int8), np.array([0.02, 0.08, 0.31, 0.35, 0.39, 1.0])

    expected = (2 * abs(0.05 - 1 / 2) + 3 * abs(0.35 - 1 / 3) + 0) / 6

    assert calibration_error(labels, scores) == pytest.approx(expected)


@few
@given(judged())
def test_the_reliability_counts_every_row_once(rows: tuple[Labels, Floats]) -> None:
    cells = reliability(*rows)

    assert sum(cell["n_rows"] for cell in cells) == len(rows[0])
    assert sum(cell["n_rows"] * cell["positive_share"] for cell in cells) == pytest.approx(rows[0].sum())


@slow
@given(judged())
def test_an_evaluation_can_be_written_as_json(rows: tuple[Labels, Floats]) -> None:
    found = evaluate(*rows, seed=0)

    assert json.loads(json.dumps(found, allow_nan=False)) == found


# --- intervals ----------------------------------------------------------------------------------------------------


@slow
@given(judged(), st.integers(0, 9))
def test_every_interval_contains_its_value(rows: tuple[Labels, Floats], seed: int) -> None:
    found = evaluate(*rows, seed=seed)

    for name in ("auc", "brier", "log_loss", "accuracy"):
        assert found[name]["low"] - 1e-12 <= found[name]["value"] <= found[name]["high"] + 1e-12


@pytest.mark.parametrize("seed", range(3))
def test_four_times_the_rows_halve_the_interval(seed: int) -> None:
    widths = [
        found.high - found.low
        for found in (estimate_auc(*drawn_rows(n, shift=1.0, seed=seed), seed=0) for n in (200, 800, 3_200))
    ]

    assert widths[1] / widths[0] == pytest.approx(0.5, rel=0.3)
    assert widths[2] / widths[1] == pytest.approx(0.5, rel=0.3)


def test_the_interval_contains_the_truth_about_95_times_in_100() -> None:
    truth = 0.5 * (1 + math.erf(1.0 / 2))  # P(N(1, 1) > N(0, 1))

    found = [estimate_auc(*drawn_rows(100, shift=1.0, seed=seed), seed=seed) for seed in range(150)]

    assert 0.89 <= np.mean([one.low <= truth <= one.high for one in found]) <= 0.99


def test_the_same_seed_gives_the_same_interval_and_another_one_does_not() -> None:
    rows = drawn_rows(100, shift=1.0, seed=0)

    assert estimate_auc(*rows, seed=7) == estimate_auc(*rows, seed=7) != estimate_auc(*rows, seed=8)


@few
@given(judged(), st.integers(0, 99))
def test_every_replicate_draws_as_many_rows_of_each_class_as_there_are(rows: tuple[Labels, Floats], seed: int) -> None:
    labels, _ = rows

    weights = np.concatenate(list(replicate_weights(labels, seed)))

    assert weights.shape == (REPLICATES, len(labels))
    assert (weights @ labels == labels.sum()).all()
    assert (weights.sum(axis=1) == len(labels)).all()


def test_rows_that_do_not_fit_in_one_block_are_drawn_in_several() -> None:
    labels: NDArray[np.int8] = np.arange(10_000).astype(np.int8) % 2

    blocks = [len(block) for block in replicate_weights(labels, 0)]

    assert len(blocks) > 1
    assert sum(blocks) == REPLICATES


def test_repeated_scores_give_the_mean_auc() -> None:
    labels, first = drawn_rows(100, shift=1.0, seed=0)
    _, second = drawn_rows(100, shift=0.5, seed=1)

    found = estimate_auc(labels, np.stack([first, second]), seed=0)

    assert found.value == pytest.approx((auc(labels, first) + auc(labels, second)) / 2)


def test_a_mean_loss_has_the_interval_of_its_standard_error() -> None:
    losses = np.random.default_rng(0).normal(size=1_000)
    labels = (np.arange(1_000) % 2).astype(np.int8)

    found = estimate_mean(labels, losses, seed=0)

    assert found.high - found.low == pytest.approx(2 * 1.96 * losses.std() / math.sqrt(1_000), rel=0.1)


# --- many rows ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.5, 0.05])
def test_the_interval_of_many_rows_is_that_of_the_bootstrap(share: float) -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random(4_000) < share).astype(np.int8)
    scores, weights = (rng.normal(size=4_000) + labels).round(1), rng.random(4_000)

    drawn = estimate_auc(labels, scores, seed=0, weights=weights)
    counted = normal_interval(drawn.value, auc_influence(labels, scores, weights), within=(0.0, 1.0))

    width = drawn.high - drawn.low
    assert (counted.low, counted.high) == pytest.approx((drawn.low, drawn.high), abs=0.1 * width)


def test_from_fifty_thousand_rows_on_no_replicate_is_drawn() -> None:
    labels, scores = drawn_rows(60_000, shift=1.0, seed=0)
    theirs = scores + 0.5 * np.random.default_rng(1).normal(size=len(scores))

    found = [
        (estimate_auc(labels, scores, seed=seed), compare_auc(labels, scores, theirs, seed=seed)) for seed in (0, 1)
    ]

    assert len(labels) > MANY_ROWS
    assert found[0] == found[1]
    alone, paired = found[0]
    assert alone.low < alone.value < alone.high < alone.low + 0.01
    assert 0 < paired.low < paired.high


def test_the_mean_loss_of_many_rows_has_the_interval_of_the_bootstrap() -> None:
    labels, scores = drawn_rows(60_000, shift=1.0, seed=0)
    losses = (scores - labels) ** 2
    thinned = estimate_mean(labels[::10], losses[::10], seed=0)

    found = estimate_mean(labels, losses, seed=0)

    assert found.high - found.low == pytest.approx((thinned.high - thinned.low) / math.sqrt(10), rel=0.15)


def test_of_very_many_corners_of_a_roc_curve_enough_are_kept() -> None:
    labels, scores = drawn_rows(30_000, shift=1.0, seed=0)

    curve = roc_curve(labels, scores)

    across, upward = curve["false_positive_rate"], curve["true_positive_rate"]
    assert len(across) == len(upward) == MOST_CORNERS + 1
    assert (across[0], upward[0], across[-1], upward[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(upward, across) == pytest.approx(auc(labels, scores), abs=1e-4)


# --- comparison ---------------------------------------------------------------------------------------------------


@slow
@given(judged(), st.data())
def test_the_comparison_is_antisymmetric(rows: tuple[Labels, Floats], data: st.DataObject) -> None:
    labels, ours = rows
    theirs = np.array(data.draw(st.permutations(ours.tolist())))

    there, back = compare_auc(labels, ours, theirs, seed=0), compare_auc(labels, theirs, ours, seed=0)

    assert (there.value, there.low, there.high) == pytest.approx((-back.value, -back.high, -back.low), abs=1e-12)


@slow
@given(judged())
def test_a_model_equals_itself_without_any_doubt(rows: tuple[Labels, Floats]) -> None:
    labels, scores = rows

    found = compare_auc(labels, scores, scores, seed=0)

    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_the_paired_interval_is_narrower_than_that_of_either_model() -> None:
    labels, ours = drawn_rows(300, shift=1.0, seed=0)
    theirs = ours + 0.1 * np.random.default_rng(1).normal(size=300)

    paired, alone = compare_auc(labels, ours, theirs, seed=0), estimate_auc(labels, ours, seed=0)

    assert paired.high - paired.low < (alone.high - alone.low) / 3
