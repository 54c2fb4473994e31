"""What triggers and policy rest on, gathered from the database.

Not here: what they make of it (`retraining.triggers`, `retraining.policy`).
"""

import json
from datetime import datetime

from sqlalchemy import Connection

from homeostat.data.snapshots import PRODUCTION, choose_side
from homeostat.deployment.registry import find_registered
from homeostat.monitoring.drift_checks import date_change, newest_check, newest_fired
from homeostat.monitoring.evidence import REFERENCE_ROWS
from homeostat.monitoring.production import count_labels_ever, labelled_since, watched_range
from homeostat.project import Project
from homeostat.records import Json, Promotion
from homeostat.retraining.cycles import HAND, list_cycles
from homeostat.retraining.policy import Facts
from homeostat.retraining.triggers import Watch

# Labelled rows that are looked at for those that judge: a loop that waits asks on every turn.
NEWEST_LABELS = 20_000


def gather_watch(connection: Connection, project: Project, promotion: Promotion, *, now: datetime) -> Watch:
    """Return what the triggers look at."""
    began = [cycle.started_at for cycle in list_cycles(connection)]
    newest = newest_check(connection, epoch=promotion.epoch)
    fired = newest_fired(connection, epoch=promotion.epoch, rule=project.settings.monitoring.trigger)
    return Watch(newest, fired, max([promotion.decided_at, *began]), now)


def gather_facts(connection: Connection, project: Project, promotion: Promotion, *, now: datetime) -> Facts:
    """Return what the policy rests on."""
    judging = judging_labels(connection, project, promotion)
    positive = sum(label == project.schema.target.positive for label in judging.values())
    return Facts(
        now=now,
        started_at=[cycle.started_at for cycle in list_cycles(connection) if cycle.trigger != HAND],
        n_new_labels=count_labels_ever(connection) - labels_seen(connection, promotion),
        n_recent=len(judging),
        n_recent_rarer=min(positive, len(judging) - positive),
    )


def judging_labels(connection: Connection, project: Project, promotion: Promotion) -> dict[str, object]:
    """Return the labelled predictions that judge a challenger, id to label.

    They are kept from all training, and were observed since the world moved, or, if it did not, on this watch: so many
    of the newest that more would not change a verdict.
    """
    watched = watched_range(connection, epoch=promotion.epoch)
    if watched is None:
        return {}
    moved = date_change(connection, epoch=promotion.epoch, rule=project.settings.monitoring.trigger)
    since = labelled_since(connection, first_seq=moved if moved is not None else watched[0], at_most=NEWEST_LABELS)
    share = project.settings.retraining.recent_share
    return {
        row_id: json.loads(label)
        for row_id, label in since
        if choose_side(row_id, origin=PRODUCTION, anchor_share=0, recent_share=share) == "recent"
    }


def labels_seen(connection: Connection, promotion: Promotion) -> int:
    """Return how many labels there were when the snapshot of the release in production was taken."""
    registered = find_registered(connection, promotion.release)
    return 0 if registered is None else int(registered.metrics.get("labels_seen", 0))


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
