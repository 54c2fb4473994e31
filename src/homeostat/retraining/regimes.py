"""What kind of change a watch has seen: none, one of the features, or one of the rule that outcomes follow.

Not here: the tests (`monitoring.concept`, `monitoring.sources`, `monitoring.guard`), or what is retrained on
(`retraining.selection`) and judged by (`deployment.gate`) after each kind.
"""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime

from sqlalchemy import Connection

from homeostat.errors import StateError
from homeostat.monitoring.concept import alarm_at, still_contradicts
from homeostat.monitoring.dating import count_since, describe_since
from homeostat.monitoring.drift_checks import date_change
from homeostat.monitoring.outcomes import find_hearing
from homeostat.monitoring.sources import Hearing, count_sources, find_carriers
from homeostat.project import Project
from homeostat.records import Change, Promotion

# A change of the rule counts as confirmed if so many senders say so, and still do without any one of them.
MIN_SOURCES = 2


def judge_change(
    connection: Connection,
    project: Project,
    promotion: Promotion,
    *,
    now: datetime,  # noqa: ARG001  the signature of all that a turn gathers
) -> Change:
    """Return what has changed since a promotion, with the figures it rests on; one small read.

    A change of the rule that is over is none any more: outcomes that follow again speak against it. Where the features
    have moved, more wrong answers alone do not tell it: rows may have become harder, each outcome as likely as was
    said. The residuals then must say so.
    """
    rules = project.settings.monitoring
    moved = date_change(connection, epoch=promotion.epoch, rule=rules.trigger)
    hearing = recall_hearing(connection, epoch=promotion.epoch)
    risk_counts = moved is None
    if hearing and still_contradicts(hearing.everyone.concept, alarm_at(rules.alpha_life), risk_counts=risk_counts):
        return describe_concept_change(hearing, moved, alpha=rules.alpha_life)
    n_sources = count_sources(hearing, since=moved or 0) if hearing else 0
    said = "the outcomes judged so far follow the probabilities" if n_sources else "no outcome has been judged yet"
    if moved is not None:
        sentence = f"the features have moved since about row {moved}; {said}"
        return Change("data", moved, n_sources, confirmed=False, sentence=sentence)
    return Change("none", None, n_sources, confirmed=False, sentence=f"the features have not moved; {said}")


def describe_concept_change(hearing: Hearing, moved: int | None, *, alpha: float) -> Change:
    """Return a change of the rule: `confirmed` if several senders say so, and no single one of them carries it."""
    figures = count_since(hearing.everyone)
    since = figures["since"]
    n_sources = count_sources(hearing, since=since or 0)
    carriers = find_carriers(hearing, alpha=alpha, risk_counts=moved is None)
    parts = [f"outcomes no longer follow the features since about row {since}: {describe_since(figures)}"]
    parts += [describe_carriers(n_sources, carriers)]
    parts += [] if moved is None else [f"the features have moved too, since about row {moved}"]
    is_confirmed = n_sources >= MIN_SOURCES and not carriers
    return Change("concept", since, n_sources, is_confirmed, "; ".join(parts))


def describe_carriers(n_sources: int, carriers: Sequence[str]) -> str:
    """Return in words whether a single sender could have feigned it."""
    if n_sources < MIN_SOURCES:
        return "all from one source: not confirmed"
    if not carriers:
        return f"{n_sources} sources, none of them alone"
    return (
        f"{n_sources} sources, but without {' or without '.join(map(repr, carriers))} it does not show: not confirmed"
    )


def recall_hearing(connection: Connection, *, epoch: int) -> Hearing | None:
    """Return what the outcomes of a watch say, None if none was judged, or another version has judged them."""
    with suppress(StateError):
        return find_hearing(connection, epoch=epoch)
    return None
