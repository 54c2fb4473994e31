"""Deciding whether to retrain: the triggers are heard, the policy answers, and the log is told what is new in that.

Not here: the triggers (`retraining.triggers`), the policy (`retraining.policy`), or opening a cycle (`homeostat.loop`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from homeostat.project import Project
from homeostat.records import Decision, Promotion, Proposal
from homeostat.retraining.facts import describe_quiet, gather_facts, gather_watch
from homeostat.retraining.policy import decide, stay
from homeostat.retraining.triggers import Watch, propose
from homeostat.store.events import append_event, latest_event, newest_events

# Proposals of the log that are looked at to know which were heard already.
HEARD = 20


@dataclass(frozen=True, slots=True)
class Considered:
    """What was seen on a watch, what the triggers propose, and what is done about it."""

    watched: Watch
    proposals: Sequence[Proposal]
    decision: Decision


def consider(connection: Connection, project: Project, promotion: Promotion, *, now: datetime) -> Considered:
    """Hear the triggers and decide."""
    watched = gather_watch(connection, project, promotion, now=now)
    proposals = propose(watched, project.settings.monitoring, project.settings.retraining)
    if not proposals:
        quiet = describe_quiet(watched.newest, project.settings.monitoring.window)
        return Considered(watched, proposals, stay(quiet))
    facts = gather_facts(connection, project, promotion, watched)
    return Considered(watched, proposals, decide(proposals, facts, project.settings.retraining))


def record_decision(connection: Connection, considered: Considered, *, epoch: int) -> None:
    """Append what is new to the log: proposals that were not heard before, and the decision if it is another one.

    One that only repeats the last with newer figures is not told again, unless a trigger has been heard for the first
    time.
    """
    heard = record_proposals(connection, considered, epoch=epoch)
    decision, last = considered.decision, latest_event(connection, "decision")
    told = {"action": decision.action, "trigger": decision.trigger, "obstacle": decision.obstacle}
    if not heard and last is not None and {name: last.payload.get(name) for name in told} == told:
        return
    append_event(connection, "decision", {**told, "sentence": decision.sentence}, now=considered.watched.now)


def record_proposals(connection: Connection, considered: Considered, *, epoch: int) -> bool:
    """Append each proposal when its trigger is first heard on this watch, or since the last training; return if any.

    Whatever the policy makes of it: that a trigger fired while outcomes are missing is news too.
    """
    watched = considered.watched
    known = {
        event.payload["trigger"]
        for event in newest_events(connection, "triggered", limit=HEARD)
        if event.payload["epoch"] == epoch and event.at >= watched.last_trained_at
    }
    fresh = [proposal for proposal in considered.proposals if proposal.trigger not in known]
    for proposal in fresh:
        payload = {"trigger": proposal.trigger, "reason": proposal.reason, "epoch": epoch}
        append_event(connection, "triggered", payload, now=watched.now)
    return bool(fresh)
