"""Whether a proposed retraining is granted now: labels, cooldown, budget.

Not here: what proposes (`retraining.triggers`). Pure. Every decision, also to do nothing, is one sentence with its
figures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from homeostat.records import Decision, Proposal
from homeostat.settings import RetrainingSettings

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the policy rests on.

    `started_at` holds when each automatic retraining began, oldest first. `n_recent` and `n_recent_rarer` count the
    labelled rows kept from training since the world may have changed, and those of their rarer class.
    """

    now: datetime
    started_at: Sequence[datetime]
    n_new_labels: int
    n_recent: int
    n_recent_rarer: int


def stay(quiet: str) -> Decision:
    """Return the decision when nothing is proposed; `quiet` says in words what was seen."""
    return Decision("nothing", None, f"Nothing to do: {quiet}.")


def decide(proposals: Sequence[Proposal], facts: Facts, settings: RetrainingSettings) -> Decision:
    """Return what is done about the proposals, at least one: retrain, or wait for something named."""
    first = proposals[0]
    obstacle = find_obstacle(facts, settings)
    if obstacle is not None:
        return Decision("wait", first.trigger, f"Waiting: {first.reason}, but {obstacle}.")
    labels = f"{facts.n_new_labels} new labels, {facts.n_recent} of them since then kept from training"
    return Decision("retrain", first.trigger, f"Retraining: {first.reason}; {labels}.")


def find_obstacle(facts: Facts, settings: RetrainingSettings) -> str | None:
    """Return what stands against a retraining now, in words, None if nothing does."""
    cooldown = timedelta(seconds=settings.cooldown_s)
    if facts.started_at and facts.now - facts.started_at[-1] < cooldown:
        until = facts.started_at[-1] + cooldown
        began = facts.started_at[-1]
        return f"the last retraining began at {began:%H:%M:%S} UTC and the cooldown lasts until {until:%H:%M:%S}"
    today = sum(facts.now - moment < DAY for moment in facts.started_at)
    if today >= settings.max_per_day:
        return f"{today} retrainings in the last 24 hours use up the budget of {settings.max_per_day}"
    if facts.n_new_labels < settings.min_new_labels:
        return f"only {facts.n_new_labels} of {settings.min_new_labels} new labels have arrived"
    if facts.n_recent < settings.min_recent or facts.n_recent_rarer < settings.min_recent_per_class:
        return (
            f"only {facts.n_recent} labelled rows kept from training ({facts.n_recent_rarer} of the rarer class) can "
            f"judge a challenger; needed are {settings.min_recent} ({settings.min_recent_per_class})"
        )
    return None
