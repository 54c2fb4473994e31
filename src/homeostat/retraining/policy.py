"""Whether a proposed retraining is granted now: probation, cooldown, budget, labels.

Not here: what proposes (`retraining.triggers`). Pure. Every decision, also to do nothing, is one sentence with its
figures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from homeostat.records import Decision, Proposal
from homeostat.settings import RetrainingSettings

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the policy rests on.

    `started_at` holds when each automatic retraining began, in the order of the log: a clock that was set back may have
    left some in the future. `n_in_vain` counts the newest of them, in a row, that did not end in production.
    `n_new_labels` counts the labels that no attempt has seen. `n_recent` and `n_recent_rarer` count the labelled rows
    kept from training since the world may have changed, and those of their rarer class. `probation` says in words that
    the release in production is still on probation.
    """

    now: datetime
    started_at: Sequence[datetime]
    n_new_labels: int
    n_recent: int
    n_recent_rarer: int
    n_in_vain: int = 0
    probation: str | None = None


def stay(quiet: str) -> Decision:
    """Return the decision when nothing is proposed; `quiet` says in words what was seen."""
    return Decision("nothing", None, f"Nothing to do: {quiet}.")


def decide(proposals: Sequence[Proposal], facts: Facts, settings: RetrainingSettings) -> Decision:
    """Return what is done about the proposals, at least one: retrain, or wait for something named."""
    first = proposals[0]
    obstacle = find_obstacle(facts, settings)
    if obstacle is not None:
        return Decision("wait", first.trigger, f"Waiting: {first.reason}, but {obstacle.sentence}.", obstacle.word)
    labels = f"{facts.n_new_labels} new labels, {facts.n_recent} of them since then kept from training"
    return Decision("retrain", first.trigger, f"Retraining: {first.reason}; {labels}.")


class Obstacle(NamedTuple):
    """What stands against a retraining: in one word, and in words with figures."""

    word: str
    sentence: str


def find_obstacle(facts: Facts, settings: RetrainingSettings) -> Obstacle | None:
    """Return what stands against a retraining now, None if nothing does."""
    return find_pause(facts, settings) or find_lack(facts, settings)


def find_pause(facts: Facts, settings: RetrainingSettings) -> Obstacle | None:
    """Return what of probation, cooldown and budget stands against a retraining now: labels have no say in it."""
    if facts.probation is not None:
        return Obstacle("probation", facts.probation)
    pause = cooldown(settings, n_in_vain=facts.n_in_vain)
    # What lies in the future was begun before the clock was set back: it counts for the budget alone.
    last = next((moment for moment in reversed(facts.started_at) if moment <= facts.now), None)
    if last is not None and facts.now - last < pause:
        until = describe_moment(last + pause, facts.now)
        words = f", longer after {facts.n_in_vain} in vain" if pause.total_seconds() > settings.cooldown_s else ""
        sentence = f"the last retraining began at {last:%H:%M:%S} UTC and the cooldown lasts until {until}{words}"
        return Obstacle("pause", sentence)
    today = sum(abs(facts.now - moment) < DAY for moment in facts.started_at)
    if today >= settings.max_per_day:
        sentence = f"{today} retrainings in the last 24 hours use up the budget of {settings.max_per_day}"
        return Obstacle("budget", sentence)
    return None


def cooldown(settings: RetrainingSettings, *, n_in_vain: int) -> timedelta:
    """Return the least time between two retrainings: twice as long after each in a row that was in vain, up to a day.

    A challenger that never wins would otherwise be trained until the budget is used up, day after day.
    """
    longest = max(settings.cooldown_s, DAY.total_seconds())
    return timedelta(seconds=min(settings.cooldown_s * 2.0 ** min(n_in_vain, 30), longest))


def describe_moment(moment: datetime, now: datetime) -> str:
    """Return a moment as its time of day, with the date if it is of another day."""
    return f"{moment:%H:%M:%S}" if moment.date() == now.date() else f"{moment:%Y-%m-%d %H:%M:%S}"


def find_lack(facts: Facts, settings: RetrainingSettings) -> Obstacle | None:
    """Return which labels are missing for a retraining now."""
    if facts.n_new_labels < settings.min_new_labels:
        sentence = f"only {facts.n_new_labels} of {settings.min_new_labels} new labels have arrived"
        return Obstacle("labels", sentence)
    if facts.n_recent < settings.min_recent or facts.n_recent_rarer < settings.min_recent_per_class:
        sentence = (
            f"only {facts.n_recent} labelled rows kept from training ({facts.n_recent_rarer} of the rarer class) can "
            f"judge a challenger; needed are {settings.min_recent} ({settings.min_recent_per_class})"
        )
        return Obstacle("judges", sentence)
    return None
