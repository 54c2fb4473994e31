"""A retraining is granted only if labels, cooldown and budget allow it, and each decision says why in one sentence."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeostat.records import Decision, Proposal
from homeostat.retraining.policy import Facts, decide, stay
from homeostat.settings import RetrainingSettings

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DRIFT = Proposal("drift", "3 of 8 features drifted")
RULES = RetrainingSettings(cooldown_s=3600, max_per_day=4, min_new_labels=200, min_recent=100, min_recent_per_class=20)
READY = Facts(now=NOW, started_at=[], n_new_labels=500, n_recent=200, n_recent_rarer=60)

ages_s = st.lists(st.integers(0, 200_000), max_size=8).map(lambda found: sorted(found, reverse=True))
facts = st.builds(
    lambda ages, labels, recent, rarer: Facts(
        NOW, [NOW - timedelta(seconds=age) for age in ages], labels, recent, min(rarer, recent // 2)
    ),
    ages_s,
    st.integers(0, 400),
    st.integers(0, 200),
    st.integers(0, 60),
)


def ago(**times: float) -> datetime:
    return NOW - timedelta(**times)


def begun(*moments: datetime) -> Facts:
    return replace(READY, started_at=list(moments))


def asked(found: Facts, proposals: Sequence[Proposal] = (DRIFT,)) -> Decision:
    return decide(proposals, found, RULES)


# --- one rule after the other -------------------------------------------------------------------------------------


def test_a_proposal_with_enough_labels_is_granted_with_its_figures() -> None:
    assert asked(READY) == Decision(
        "retrain",
        "drift",
        "Retraining: 3 of 8 features drifted; 500 new labels, 200 of them since then kept from training.",
    )


def test_where_nothing_is_proposed_nothing_is_done() -> None:
    assert stay("drift score 0.125 in the newest window") == Decision(
        "nothing", None, "Nothing to do: drift score 0.125 in the newest window."
    )


def test_the_first_proposal_is_the_one_that_is_named() -> None:
    found = asked(READY, [DRIFT, Proposal("schedule", "it was due at 03:00")])

    assert found.trigger == "drift"


@pytest.mark.parametrize(("minutes", "action"), [(59.9, "wait"), (60, "retrain")])
def test_the_cooldown_counts_from_the_beginning_of_the_last_retraining(minutes: float, action: str) -> None:
    assert asked(begun(ago(minutes=minutes))).action == action


def test_the_sentence_of_a_cooldown_says_from_when_until_when() -> None:
    assert asked(begun(ago(minutes=30))).sentence == (
        "Waiting: 3 of 8 features drifted, but the last retraining began at 11:30:00 UTC and the cooldown lasts until "
        "12:30:00."
    )


@pytest.mark.parametrize(("hours", "action"), [(23.9, "wait"), (24, "retrain")])
def test_the_budget_counts_the_last_24_hours(hours: float, action: str) -> None:
    assert asked(begun(ago(hours=hours), ago(hours=9), ago(hours=6), ago(hours=3))).action == action


def test_the_sentence_of_a_budget_says_how_much_it_was() -> None:
    found = asked(begun(ago(hours=8), ago(hours=6), ago(hours=4), ago(hours=2)))

    assert found.sentence.endswith("but 4 retrainings in the last 24 hours use up the budget of 4.")


@pytest.mark.parametrize(("n_labels", "action"), [(199, "wait"), (200, "retrain")])
def test_new_labels_are_needed(n_labels: int, action: str) -> None:
    assert asked(replace(READY, n_new_labels=n_labels)).action == action


def test_the_sentence_of_missing_labels_says_how_many_there_are() -> None:
    found = asked(replace(READY, n_new_labels=12))

    assert found.sentence == "Waiting: 3 of 8 features drifted, but only 12 of 200 new labels have arrived."


@pytest.mark.parametrize(
    ("n_recent", "n_rarer", "action"), [(99, 40, "wait"), (100, 19, "wait"), (100, 20, "retrain"), (0, 0, "wait")]
)
def test_rows_that_can_judge_the_challenger_are_needed(n_recent: int, n_rarer: int, action: str) -> None:
    assert asked(replace(READY, n_recent=n_recent, n_recent_rarer=n_rarer)).action == action


def test_the_sentence_of_missing_judges_has_what_there_is_and_what_is_needed() -> None:
    assert asked(replace(READY, n_recent=80, n_recent_rarer=9)).sentence == (
        "Waiting: 3 of 8 features drifted, but only 80 labelled rows kept from training (9 of the rarer class) "
        "can judge a challenger; needed are 100 (20)."
    )


def test_while_a_release_is_on_probation_nothing_is_trained() -> None:
    found = asked(replace(READY, probation="release 3f2a is on probation: 420 of 1000 rows answered"))

    assert found.sentence == (
        "Waiting: 3 of 8 features drifted, but release 3f2a is on probation: 420 of 1000 rows answered."
    )


def test_after_an_attempt_in_vain_the_cooldown_is_longer_and_says_so() -> None:
    found = asked(replace(begun(ago(minutes=90)), n_in_vain=1))

    assert found.sentence.endswith("the cooldown lasts until 12:30:00, longer after 1 in vain.")


def test_a_cooldown_that_ends_on_another_day_says_which() -> None:
    found = asked(replace(begun(ago(hours=1)), n_in_vain=9))

    assert "the cooldown lasts until 2026-03-02 11:00:00" in found.sentence


def test_a_budget_of_none_never_trains_by_itself() -> None:
    assert decide([DRIFT], READY, RetrainingSettings(max_per_day=0)).action == "wait"


def test_a_retraining_of_a_clock_that_was_ahead_does_not_block_the_next() -> None:
    assert asked(begun(NOW + timedelta(days=365))).action == "retrain"


def test_a_clock_that_was_set_back_cannot_use_the_budget_twice() -> None:
    ahead = [NOW + timedelta(hours=hour) for hour in (2, 4, 6, 8)]

    assert asked(begun(*ahead)).action == "wait"


# --- any facts ----------------------------------------------------------------------------------------------------


@given(facts)
def test_a_retraining_is_granted_exactly_if_every_rule_allows_it(found: Facts) -> None:
    ages = [NOW - moment for moment in found.started_at]
    allowed = (
        (not ages or ages[-1] >= timedelta(hours=1))
        and sum(age < timedelta(days=1) for age in ages) < 4
        and found.n_new_labels >= 200
        and found.n_recent >= 100
        and found.n_recent_rarer >= 20
    )

    assert asked(found).action == ("retrain" if allowed else "wait")


@given(facts)
def test_a_decision_is_one_sentence_with_the_reason_and_figures(found: Facts) -> None:
    sentence = asked(found).sentence

    assert sentence[0].isupper()
    assert sentence.endswith(".")
    assert sentence.count(". ") == 0
    assert DRIFT.reason in sentence
    assert any(letter.isdigit() for letter in sentence.replace(DRIFT.reason, ""))


@given(facts)
def test_more_labels_never_turn_a_granted_retraining_down(found: Facts) -> None:
    more = replace(found, n_new_labels=found.n_new_labels + 1, n_recent=found.n_recent + 1)

    assert asked(more).action == "retrain" or asked(found).action == "wait"


@settings(max_examples=50)
@given(st.lists(st.integers(1, 300), min_size=1, max_size=100))
def test_however_often_it_is_asked_cooldown_and_budget_hold(pauses_min: list[int]) -> None:
    now, started = NOW, list[datetime]()
    for pause in pauses_min:
        now += timedelta(minutes=pause)
        if asked(replace(READY, now=now, started_at=started)).action == "retrain":
            started.append(now)

    assert all(later - earlier >= timedelta(hours=1) for earlier, later in itertools.pairwise(started))
    assert all(sum(timedelta() <= moment - other < timedelta(days=1) for other in started) <= 4 for moment in started)
