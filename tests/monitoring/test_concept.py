"""A concept that moves is found, one that stays raises no alarm, and a test that is resumed goes on to the last bit."""

import json
from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from homeostat.errors import DataInsufficient, StateError
from homeostat.monitoring.betting import CAP
from homeostat.monitoring.concept import (
    N_RISK,
    SIGNS,
    Concept,
    advance_concept,
    alarm_at,
    begin_concept,
    bet,
    concept_from_bytes,
    concept_to_bytes,
    describe_concept,
    mean_wealth,
    row_factors,
    set_aside,
    upper_bound,
)
from homeostat.records import Floats
from homeostat.training.evaluation import Labels

few = settings(max_examples=40, deadline=None)
ALPHA = 0.05
# The log-odds of patients like those of the Pima table: 36 % positive, AUC .845.
MEAN, SPREAD = -0.9, 1.8
RISK, RESIDUAL = 0, 1
# What became of the log-odds at some share of a life.
Change = Callable[[Floats, Floats], Floats]


def to_probability(log_odds: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-log_odds)), dtype=np.float64)


def draw(rng: np.random.Generator, n_rows: int, change: Change) -> tuple[Floats, Labels]:
    """Return what a calibrated release says of rows, and outcomes that follow what has become of its log-odds."""
    log_odds = rng.normal(MEAN, SPREAD, size=n_rows)
    truth = to_probability(change(log_odds, np.arange(n_rows) / n_rows))
    return to_probability(log_odds), (rng.random(n_rows) < truth).astype(np.int8)


def no_change(log_odds: Floats, _at: Floats) -> Floats:
    return log_odds


def begun(seed: int = 0, n_rows: int = 614) -> Concept:
    return begin_concept(*draw(np.random.default_rng(seed), n_rows, no_change))


def first_alarms(change: Change, *, lives: int, n_rows: int) -> Floats:
    """Return after how many rows each test is alarmed in each life, shape (lives, 2); infinity for never."""
    found = np.full((lives, 2), np.inf)
    for seed in range(lives):
        rng = np.random.default_rng(seed)
        concept = begin_concept(*draw(rng, 614, no_change))
        values = np.array([value for _, value in bet(concept, *draw(rng, n_rows, change))])
        reached = values >= alarm_at(ALPHA)
        found[seed] = np.where(reached.any(axis=0), reached.argmax(axis=0) + 1, np.inf)
    return found


# --- alarms -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("lives", "n_rows"), [(200, 400), (80, 2_000)])
def test_without_a_change_no_more_lives_than_alpha_are_ever_alarmed(lives: int, n_rows: int) -> None:
    alarmed = np.isfinite(first_alarms(no_change, lives=lives, n_rows=n_rows)).any(axis=1)

    assert alarmed.sum() <= ALPHA * lives


def test_outcomes_that_turn_round_are_found_by_both_tests_within_a_window() -> None:
    found = first_alarms(lambda log_odds, _at: -log_odds, lives=40, n_rows=200)

    assert np.median(found[:, RISK]) <= 36
    assert np.median(found[:, RESIDUAL]) <= 66
    assert np.isfinite(found).all()


@pytest.mark.parametrize("shift", [1.5, -1.5])
def test_a_base_rate_that_moves_by_one_and_a_half_logits_is_found_by_the_residuals(shift: float) -> None:
    found = first_alarms(lambda log_odds, _at: log_odds + shift, lives=40, n_rows=600)

    assert np.median(found[:, RESIDUAL]) <= 163
    assert np.isfinite(found[:, RESIDUAL]).all()


def test_the_risk_cannot_see_a_base_rate_that_falls() -> None:
    found = first_alarms(lambda log_odds, _at: log_odds - 1.5, lives=20, n_rows=400)

    assert not np.isfinite(found[:, RISK]).any()


def test_slopes_that_shrink_slowly_to_half_are_found_in_most_lives() -> None:
    def decay(log_odds: Floats, at: Floats) -> Floats:
        return np.asarray(MEAN + (1 - 0.5 * np.minimum(1, 3 * at)) * (log_odds - MEAN))

    found = first_alarms(decay, lives=24, n_rows=6_000)

    # 72 % of 100 lives; fewer than 12 of 24 have a chance of 1 in 150 then.
    assert np.isfinite(found).any(axis=1).sum() >= 12


def test_outcomes_judged_as_they_arrive_would_alarm_where_positives_arrive_first() -> None:
    rng = np.random.default_rng(3)
    concept = begin_concept(*draw(rng, 614, no_change))
    probabilities, labels = draw(rng, 1_000, no_change)
    arrival = np.argsort(np.arange(1_000) + np.where(labels == 1, 0, 400), kind="stable")

    as_predicted = advance_concept(concept, probabilities, labels)
    as_arrived = advance_concept(concept, probabilities[arrival], labels[arrival])

    assert as_predicted.peaks[RESIDUAL] < alarm_at(ALPHA) <= as_arrived.peaks[RESIDUAL]


# --- what makes the alarms rare -----------------------------------------------------------------------------------


@few
@given(st.integers(0, 50), st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_no_bet_gains_on_average_while_outcomes_follow_the_probabilities(seed: int, drawn: list[float]) -> None:
    reference, probabilities = begun(seed).reference, np.array(drawn)
    of_negative, of_positive = (
        row_factors(reference, probabilities, np.full(len(drawn), label, dtype=np.int8)) for label in (0, 1)
    )

    means = (1 - probabilities[:, np.newaxis]) * of_negative + probabilities[:, np.newaxis] * of_positive

    assert (means[:, N_RISK:] < 1).all()
    assert min(of_negative.min(), of_positive.min()) > 0


@few
@given(st.integers(0, 50))
def test_the_risk_bets_break_even_at_the_tolerated_error(seed: int) -> None:
    tau = begun(seed).reference.tau
    wrong, right = (row_factors(begun(seed).reference, np.array([0.9]), np.array([y], dtype=np.int8)) for y in (0, 1))

    assert tau * wrong[0, :N_RISK] + (1 - tau) * right[0, :N_RISK] == pytest.approx(np.ones(N_RISK))


def test_both_tests_begin_at_one_and_the_capital_is_paid_out_over_the_rows() -> None:
    concept = begun()

    assert (mean_wealth(concept.wealth) + set_aside(0)).tolist() == [1.0, 1.0]
    assert 1 == set_aside(0) > set_aside(1) > set_aside(50) == pytest.approx(1 / (1 + np.log(2)))


@pytest.mark.parametrize(("n_hits", "n_rows"), [(0, 5), (3, 10), (140, 614), (9, 9)])
def test_the_bound_of_the_error_is_that_of_clopper_and_pearson(n_hits: int, n_rows: int) -> None:
    exact = stats.binomtest(n_hits, n_rows).proportion_ci(confidence_level=0.95, method="exact").high

    assert upper_bound(n_hits, n_rows) == pytest.approx(exact)


def test_the_bounds_of_the_residuals_are_those_of_each_half_and_sign() -> None:
    probabilities = np.array([0.1] * 4 + [0.8] * 4)
    labels = np.array([0, 0, 0, 1, 1, 1, 0, 0], dtype=np.int8)

    bounds = begin_concept(probabilities, labels).reference.bounds

    low, high = 0.15 + 2.24 * 0.25, 0.3 + 2.24 * np.sqrt(1 / 3) / 2
    assert bounds[:, 0] == pytest.approx([low + 0.01, high - 0.6 + 0.01])
    assert bounds[:, 1] == pytest.approx([low - 0.3 + 0.01, high + 0.01])


@pytest.mark.parametrize("probabilities", [[0.5] * 10, [0.0] * 10, [0.2] * 9 + [0.9], [0.3]])
def test_any_out_of_fold_rows_give_bets_that_cannot_ruin(probabilities: list[float]) -> None:
    concept = begin_concept(np.array(probabilities), np.arange(len(probabilities), dtype=np.int8) % 2)

    after = advance_concept(concept, np.array([0.0, 0.5, 1.0]), np.array([1, 0, 0], dtype=np.int8))

    assert np.isfinite(after.wealth).all()
    assert after.wealth.min() > 0


def test_a_release_without_out_of_fold_rows_cannot_be_tested() -> None:
    with pytest.raises(DataInsufficient, match="no out-of-fold rows"):
        begin_concept(np.empty(0), np.empty(0, dtype=np.int8))


# --- going on -----------------------------------------------------------------------------------------------------


@few
@given(st.integers(0, 1_000), st.lists(st.integers(0, 120), max_size=5))
def test_wherever_the_rows_are_divided_and_the_state_stored_the_bits_are_the_same(seed: int, cuts: list[int]) -> None:
    probabilities, labels = draw(np.random.default_rng(seed), 120, lambda log_odds, _at: log_odds + 1)
    concept = begun(seed)
    whole = advance_concept(concept, probabilities, labels)

    for first, last in zip([0, *sorted(cuts)], [*sorted(cuts), 120], strict=True):
        concept = advance_concept(concept, probabilities[first:last], labels[first:last])
        concept = concept_from_bytes(concept_to_bytes(concept))

    assert concept_to_bytes(concept) == concept_to_bytes(whole)


def test_no_rows_change_nothing() -> None:
    concept = begun()

    assert advance_concept(concept, np.empty(0), np.empty(0, dtype=np.int8)) is concept


def test_a_state_of_another_version_is_refused() -> None:
    fields = msgspec.msgpack.decode(concept_to_bytes(begun()))

    with pytest.raises(StateError, match="has version 99"):
        concept_from_bytes(msgspec.msgpack.encode([99, *fields[1:]]))


def test_wealth_stops_growing_before_it_overflows() -> None:
    probabilities, labels = draw(np.random.default_rng(0), 3_000, lambda log_odds, _at: -log_odds)

    after = advance_concept(begun(), probabilities, labels)

    assert after.wealth.max() == CAP
    json.dumps(describe_concept(after, alpha=ALPHA), allow_nan=False)


# --- in words -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda log_odds, _at: log_odds + 1.5, "outcomes are positive more often than predicted"),
        (lambda log_odds, _at: log_odds - 1.5, "outcomes are positive less often than predicted"),
        (lambda log_odds, _at: MEAN + 0.2 * (log_odds - MEAN), "high scores overstate, or low ones understate"),
        (lambda log_odds, _at: MEAN + 5 * (log_odds - MEAN), "high scores understate, or low ones overstate"),
    ],
)
def test_the_description_says_how_outcomes_differ_from_what_was_predicted(change: Change, words: str) -> None:
    after = advance_concept(begun(), *draw(np.random.default_rng(1), 1_000, change))

    assert words in SIGNS
    assert describe_concept(after, alpha=ALPHA)["residual"]["grown"] == words


def test_the_description_has_the_figures_that_a_person_compares() -> None:
    concept = begun()
    probabilities, labels = draw(np.random.default_rng(1), 500, no_change)

    found = describe_concept(advance_concept(concept, probabilities, labels), alpha=ALPHA)

    assert found["risk"]["n_wrong"] == ((probabilities >= 0.5) != labels).sum()
    assert found["risk"]["tolerated"] == concept.reference.tau
    assert found["residual"]["n_positive"] == labels.sum()
    assert found["residual"]["expected_positive"] == pytest.approx(probabilities.sum())
    assert [(found[test]["needed"], found[test]["reached"]) for test in ("risk", "residual")] == [(40.0, False)] * 2


def test_before_the_first_row_nothing_has_grown() -> None:
    found = describe_concept(begun(), alpha=ALPHA)

    assert (found["risk"]["value"], found["residual"]["value"], found["residual"]["grown"]) == (1.0, 1.0, None)
