"""Thirty days in which something always asks for a retraining: the policy keeps its budget and does not oscillate.

Not here: a model. A world says how often labels come, what the gate makes of a challenger, and what becomes of it.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from homeostat.records import Proposal
from homeostat.retraining.policy import Facts, cooldown, decide
from homeostat.settings import RetrainingSettings

START = datetime(2026, 3, 1, tzinfo=UTC)
DAYS, TURN = 30, timedelta(minutes=5)
RULES = RetrainingSettings()
DRIFT = Proposal("drift", "3 of 8 features drifted")


@dataclass
class Life:
    """What happened: when retrainings began, and when production moved on or back."""

    started: list[datetime] = field(default_factory=list)
    promoted: list[datetime] = field(default_factory=list)
    rolled_back: list[datetime] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)


def live(
    *,
    asks: Callable[[datetime], bool],
    wins: Callable[[int], bool],
    labels_per_hour: float = 200,
    goes_back: bool = False,
) -> Life:
    """Return thirty days of turns, five minutes apart."""
    life, seen, in_vain = Life(), 0.0, 0
    for turn in range(int(timedelta(days=DAYS) / TURN)):
        now = START + turn * TURN
        labels = (now - START).total_seconds() / 3600 * labels_per_hour
        if not asks(now):
            continue
        new = int(labels - seen)
        facts = Facts(now, life.started, new, n_recent=new, n_recent_rarer=new // 3, n_in_vain=in_vain)
        decision = decide([DRIFT], facts, RULES)
        life.sentences.append(decision.sentence)
        if decision.action != "retrain":
            continue
        life.started.append(now)
        seen = labels
        if not wins(len(life.started)):
            in_vain += 1
            continue
        in_vain = 0
        life.promoted.append(now)
        if goes_back:
            life.rolled_back.append(now + TURN)
    return life


def most_in_a_day(moments: Sequence[datetime]) -> int:
    return max(sum(timedelta() <= moment - other < timedelta(days=1) for other in moments) for moment in moments)


def always(_: object) -> bool:
    return True


def never(_: object) -> bool:
    return False


def every_other_hour(now: datetime) -> bool:
    return now.hour % 2 == 0


WORLDS = {
    "constant drift": live(asks=always, wins=always),
    "flapping drift": live(asks=every_other_hour, wins=always),
    "a challenger that never wins": live(asks=always, wins=never),
    "a challenger that wins every third time": live(asks=always, wins=lambda n: n % 3 == 0),
    "releases that always go back": live(asks=always, wins=always, goes_back=True),
    "few labels": live(asks=always, wins=always, labels_per_hour=5),
}


@pytest.mark.parametrize("life", WORLDS.values(), ids=WORLDS)
def test_no_day_has_more_retrainings_than_its_budget(life: Life) -> None:
    assert most_in_a_day(life.started) <= RULES.max_per_day


@pytest.mark.parametrize("life", WORLDS.values(), ids=WORLDS)
def test_between_two_retrainings_lies_the_cooldown(life: Life) -> None:
    pauses = [later - earlier for earlier, later in itertools.pairwise(life.started)]

    assert min(pauses) >= timedelta(seconds=RULES.cooldown_s)


@pytest.mark.parametrize("life", WORLDS.values(), ids=WORLDS)
def test_every_decision_is_a_sentence_with_figures(life: Life) -> None:
    assert all(sentence.endswith(".") and any(letter.isdigit() for letter in sentence) for sentence in life.sentences)


def test_a_challenger_that_never_wins_is_tried_less_and_less_until_once_a_day() -> None:
    started = WORLDS["a challenger that never wins"].started
    pauses = [later - earlier for earlier, later in itertools.pairwise(started)]

    assert pauses == sorted(pauses)
    assert pauses[-1] == timedelta(days=1)
    assert len(started) <= DAYS + 5


def test_without_labels_nothing_is_ever_trained() -> None:
    assert live(asks=always, wins=always, labels_per_hour=0).started == []


def test_few_labels_are_what_it_waits_for() -> None:
    life = WORLDS["few labels"]

    assert len(life.started) == 17  # 200 new labels take 40 hours
    assert "of 200 new labels have arrived" in life.sentences[0]


def test_production_moves_at_most_as_often_as_the_budget_allows_also_where_it_always_goes_back() -> None:
    life = WORLDS["releases that always go back"]

    assert most_in_a_day([*life.promoted]) <= RULES.max_per_day
    assert len(life.rolled_back) == len(life.promoted) <= RULES.max_per_day * DAYS


@pytest.mark.parametrize(("n_in_vain", "hours"), [(0, 1), (1, 2), (2, 4), (4, 16), (5, 24), (1000, 24)])
def test_the_cooldown_doubles_with_each_attempt_in_vain_up_to_a_day(n_in_vain: int, hours: float) -> None:
    assert cooldown(RULES, n_in_vain=n_in_vain) == timedelta(hours=hours)


def test_a_cooldown_that_is_set_to_more_than_a_day_stays_what_it_is() -> None:
    assert cooldown(RetrainingSettings(cooldown_s=1_000_000), n_in_vain=7) == timedelta(seconds=1_000_000)
