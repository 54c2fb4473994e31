"""What triggers and policy rest on, gathered from the database.

Not here: what they make of it (`retraining.triggers`, `retraining.policy`).
"""

import json
from dataclasses import replace
from datetime import datetime
from itertools import takewhile

from sqlalchemy import Connection

from homeostat.data.snapshots import PRODUCTION, choose_side
from homeostat.deployment.registry import find_registered
from homeostat.monitoring.drift_checks import newest_check, newest_fired
from homeostat.monitoring.evidence import REFERENCE_ROWS
from homeostat.monitoring.production import Quarantine, count_labels_ever, labelled_since, watched_range
from homeostat.project import Project
from homeostat.records import Change, Json, Promotion
from homeostat.retraining.aftercare import on_probation
from homeostat.retraining.cycles import HAND, ROLLBACK, Cycle, newest_cycles
from homeostat.retraining.policy import Facts, find_pause
from homeostat.retraining.regimes import judge_change
from homeostat.retraining.selection import cap_sources
from homeostat.retraining.triggers import Watch

# Cycles that are looked at: more than any budget of a day, and than any row of attempts in vain that still matters.
NEWEST_CYCLES = 100
IN_VAIN = frozenset({"refused", "failed", "held"})
# An attempt that failed or was overtaken has judged nothing by the labels that it saw.
TRIED = frozenset({"promoted", "refused", "held"})
# Labelled rows that are looked at for those that judge: a loop that waits asks on every turn.
NEWEST_LABELS = 20_000


def gather_watch(connection: Connection, project: Project, promotion: Promotion, *, now: datetime) -> Watch:
    """Return what the triggers look at."""
    began = [cycle.started_at for cycle in newest_cycles(connection, limit=NEWEST_CYCLES) if is_training(cycle)]
    newest = newest_check(connection, epoch=promotion.epoch)
    fired = newest_fired(connection, epoch=promotion.epoch, rule=project.settings.monitoring.trigger)
    change = judge_change(connection, project, promotion, now=now)
    # Counting takes a walk through all labels: only if somebody asks.
    asked = project.settings.retraining.new_labels is not None
    n_new = count_new_labels(connection, project, promotion, now=now) if asked else 0
    return Watch(newest, fired, [promotion.decided_at, *began], now, change, n_new)


def gather_facts(connection: Connection, project: Project, promotion: Promotion, watched: Watch) -> Facts:
    """Return what the policy rests on; labels are counted only where nothing else decides: a loop asks each second."""
    automatic = [c for c in newest_cycles(connection, limit=NEWEST_CYCLES) if is_training(c) and c.trigger != HAND]
    in_vain = list(takewhile(lambda cycle: cycle.outcome in IN_VAIN, reversed(automatic)))
    facts = Facts(
        now=watched.now,
        started_at=[cycle.started_at for cycle in automatic],
        n_new_labels=0,
        n_recent=0,
        n_recent_rarer=0,
        n_in_vain=len(in_vain),
        probation=on_probation(connection, project, promotion),
    )
    if find_pause(facts, project.settings.retraining) is not None:
        return facts
    judging = judging_labels(connection, project, promotion, change=watched.change, now=watched.now)
    positive = sum(label == project.schema.target.positive for label in judging.values())
    return replace(
        facts,
        n_new_labels=count_new_labels(connection, project, promotion, now=watched.now),
        n_recent=len(judging),
        n_recent_rarer=min(positive, len(judging) - positive),
    )


def is_training(cycle: Cycle) -> bool:
    """Return whether a cycle trains, or has trained: not one that goes back or promotes what was there."""
    return cycle.trigger != ROLLBACK and ("search" in cycle.record or "fit" not in cycle.record)


def judging_labels(
    connection: Connection, project: Project, promotion: Promotion, *, change: Change | None, now: datetime
) -> dict[str, object]:
    """Return the labelled predictions that judge a challenger, id to label.

    They are kept from all training, out of quarantine, no more from one of several senders than may be used, and were
    observed since the world changed, or, if it did not, on this watch: so many of the newest that more would not change
    a verdict.
    """
    watched = watched_range(connection, epoch=promotion.epoch)
    if watched is None:
        return {}
    first = watched[0] if change is None or change.since is None else change.since
    rules = project.settings.retraining
    known = labelled_since(
        connection, first_seq=first, at_most=NEWEST_LABELS, quarantine=quarantine_of(project, now=now)
    )
    lines = [
        line
        for line in known
        if choose_side(line[0], origin=PRODUCTION, anchor_share=0, recent_share=rules.recent_share) == "recent"
    ]
    kept = cap_sources([line[0] for line in lines], [line[2] for line in lines], share=rules.max_source_share)
    return {row_id: json.loads(label) for (row_id, label, _), stays in zip(lines, kept, strict=True) if stays}


def quarantine_of(project: Project, *, now: datetime) -> Quarantine:
    """Return which labels are too young to be used."""
    return Quarantine(now, project.settings.retraining.quarantine_s)


def count_new_labels(connection: Connection, project: Project, promotion: Promotion, *, now: datetime) -> int:
    """Return how many labels that may be used now no attempt has seen: the champion's, or one that came to the gate."""
    registered = find_registered(connection, promotion.release)
    tried = [c.record for c in newest_cycles(connection, limit=NEWEST_CYCLES) if c.outcome in TRIED]
    attempts = [record["snapshot"] for record in tried if "snapshot" in record]
    attempts.append({} if registered is None else registered.metrics)
    seen = max(int(attempt.get("labels_seen", 0)) for attempt in attempts)
    # Labels may have been seen by a training that ran under a shorter quarantine than today's.
    return max(0, count_labels_ever(connection, quarantine_of(project, now=now)) - seen)


def describe_quiet(newest: Json | None, window: int) -> str:
    """Return the state of a watch on which nothing is proposed, in words; `newest` is its newest drift check."""
    if newest is None:
        return f"no window of {window} accepted rows is complete yet"
    rows = f"rows {newest['first_seq']} to {newest['last_seq']}"
    score, report = newest["score"], newest["report"]
    said = f"drift score {score:.3f} in the newest window ({rows}), boundary {report['boundary']:g}"
    if "guarded" not in report:
        return said
    guarded = report["guarded"]
    if report["evidence"]["gathering"]:
        return f"{said}; {report['evidence']['n_reference']} of the {REFERENCE_ROWS} rows that evidence begins with"
    return f"{said}; evidence in {len(guarded['counted'])} of {guarded['needed']} features needed"
