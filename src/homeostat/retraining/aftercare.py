"""Whether the release in production must go, by what its workers, its answers and the outcomes say.

Not here: the alarms (`monitoring.bake`), or putting the last good release back (`retraining.rollback`). A probation is
measured in answered rows, so that a quiet night only extends it.
"""

import math
import time
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np
from sqlalchemy import Connection, Select, exists, func, select

from homeostat.deployment.registry import current_promotion
from homeostat.deployment.restoring import last_good
from homeostat.errors import HomeostatError
from homeostat.monitoring.alerts import list_alerts, raise_alert
from homeostat.monitoring.bake import (
    LEAST_TIMED,
    Served,
    judge_errors,
    judge_latency,
    judge_output,
    judge_silence,
)
from homeostat.monitoring.latencies import N_BUCKETS
from homeostat.monitoring.succession import judge_outcomes_since
from homeostat.monitoring.succession_checks import (
    UNUSABLE,
    judge_succession,
    open_predecessor,
    open_promoted,
    restore_succession,
    score_again,
)
from homeostat.monitoring.worker_reports import (
    WorkerReport,
    are_awaited,
    find_silent,
    has_passed,
    have_reported,
    longest_pause_s,
    read_reports,
    silences,
)
from homeostat.project import Project
from homeostat.records import Alert, Breach, Promotion, Release
from homeostat.settings import RetrainingSettings
from homeostat.store.events import append_event, latest_event
from homeostat.store.leases import Lease, require_lease
from homeostat.store.tables import events, predictions

# How often a loop looks whether a worker that seems silent speaks again.
LOOK_S = 0.25
# Answers that are compared at most, however long a probation is: they are read on every turn.
MOST_COMPARED = 10_000
# The alert on a release that must go while no other is left.
STRANDED = "stranded"


class Answered(NamedTuple):
    """One row that the release has answered, as it was stored."""

    row: bytes
    probability: float


def find_breach(project: Project, *, now: datetime) -> Breach | None:
    """Return why the release in production must go, None if it may stay or if there is none to go back to."""
    with project.database.read() as connection:
        promotion = current_promotion(connection)
        if promotion is None or last_good(connection) is None:
            return None
    return judge_promotion(project, promotion, now=now)


def judge_promotion(project: Project, promotion: Promotion, *, now: datetime) -> Breach | None:
    """Return what speaks against the release in production, whether or not there is one to go back to."""
    rules = project.settings.retraining
    with project.database.read() as connection:
        succession = restore_succession(connection, epoch=promotion.epoch)
        breach = find_refusal(connection, promotion)
        breach = breach or judge_outcomes_since(succession, alpha=project.settings.monitoring.alpha_life)
        if breach is not None or not rules.bake_rows or has_passed(connection, promotion):
            return breach
        if is_proven(connection, promotion):
            return None
        reports = read_reports(connection)
        breach = judge_service(reports, promotion, rules)
        # The first release is on no probation: its workers report only when there is something new.
        if breach is not None or not are_awaited(connection, promotion, rules):
            return breach
        answers = read_answers(connection, promotion, at_most=min(rules.bake_rows, MOST_COMPARED))
    return judge_answers(project, promotion, answers) or judge_silences(project, reports, promotion, now=now)


def look_after(project: Project, release: Release, promotion: Promotion, *, lease: Lease, now: datetime) -> None:
    """Compare the release in production with its predecessor where outcomes allow it, and end its probation in time.

    LeaseHeld if another loop took the lease meanwhile.
    """
    predecessor = open_predecessor(project, promotion)
    judge_succession(project.database, release, predecessor, promotion, project.settings, lease=lease, now=now)
    tell_stranded(project, promotion, lease=lease, now=now)
    conclude_bake(project, promotion, lease=lease, now=now)


def tell_stranded(project: Project, promotion: Promotion, *, lease: Lease, now: datetime) -> None:
    """Raise an alert, once on each watch, if the release in production must go and there is none to go back to."""
    with project.database.read() as connection:
        if last_good(connection) is not None:
            return
        if any(alert["kind"] == STRANDED for alert in list_alerts(connection, epoch=promotion.epoch)):
            return
    breach = judge_promotion(project, promotion, now=now)
    if breach is None:
        return
    sentence = f"{breach.sentence}; there is no earlier release to go back to"
    with project.database.write("tell_stranded") as connection:
        require_lease(connection, lease)
        alert = Alert(STRANDED, breach.alarm, sentence, breach.figures)
        raise_alert(connection, alert, epoch=promotion.epoch, now=now)


# --- the alarms of a probation ------------------------------------------------------------------------------------


def find_refusal(connection: Connection, promotion: Promotion) -> Breach | None:
    """Return a breach if a service could not load the release."""
    event = latest_event(connection, "release_refused")
    if event is None or event.payload["epoch"] != promotion.epoch:
        return None
    return Breach(
        "refused", f"a service could not load it: {event.payload['problem']}", {"code": event.payload["code"]}
    )


def judge_service(reports: list[WorkerReport], promotion: Promotion, rules: RetrainingSettings) -> Breach | None:
    """Return a breach by what the workers have counted."""
    served = add_up(reports, epoch=promotion.epoch)
    earlier = sorted({one.epoch for one in reports if one.epoch < promotion.epoch}, reverse=True)
    before = (add_up(reports, epoch=epoch) for epoch in earlier)
    timed = next((one for one in before if one.latency.sum() >= LEAST_TIMED), None)
    errors = judge_errors(served, share=rules.bake_error_share)
    return errors or judge_latency(served, timed, ratio=rules.bake_latency_ratio)


def add_up(reports: list[WorkerReport], *, epoch: int) -> Served:
    """Return what all workers together say of one promotion."""
    ours = [one for one in reports if one.epoch == epoch]
    latency = np.array([one.latency for one in ours], dtype=np.int64).reshape(-1, N_BUCKETS).sum(axis=0)
    return Served(sum(one.answered for one in ours), sum(one.failed for one in ours), latency)


def judge_answers(project: Project, promotion: Promotion, answers: list[Answered]) -> Breach | None:
    """Return a breach by what the release has answered to distinct rows, or if it cannot be opened.

    Where its predecessor gives these rows the same answers, the world has moved and not the release: going back would
    change nothing.
    """
    try:
        release = open_promoted(project, promotion.release)
    except UNUSABLE as error:
        problem, code = (error.problem, error.code) if isinstance(error, HomeostatError) else (error, "unreadable")
        return Breach("refused", f"it cannot be opened: {problem}", {"code": code})
    distinct: dict[bytes, float] = {}
    for answer in answers:
        distinct.setdefault(answer.row, answer.probability)
    scores = np.array(list(distinct.values()))
    breach = judge_output(scores, release.held_out)
    if breach is None:
        return None
    before = score_again(project, promotion, release, list(distinct)[: int(breach.figures["rows"])])
    return breach if before is None or judge_output(scores, before) is not None else None


def judge_silences(
    project: Project, reports: list[WorkerReport], promotion: Promotion, *, now: datetime
) -> Breach | None:
    """Return a breach if a worker is alive, answers with the release, and has stopped reporting.

    The age of a report proves nothing: perhaps the machine slept, or a clock was set. So a worker that seems silent is
    watched for as long as one that lives may take for another word, and one that speaks is none. That begins before the
    limit is reached where it can: then the limit is exceeded by less.
    """
    limit_s = project.settings.retraining.bake_silence_s
    word_s = longest_pause_s(limit_s)
    suspects = find_silent(reports, epoch=promotion.epoch, now=now, after_s=max(limit_s - word_s, word_s))
    # Looks are counted, not seconds: of a pause in which this process too stood still, a worker has had nothing.
    for _ in range(math.ceil(word_s / LOOK_S)):
        if not suspects:
            return None
        time.sleep(LOOK_S)
        with project.database.read() as connection:
            later = read_reports(connection)
        suspects = [one for one in suspects if one in later]
    then = now + timedelta(seconds=word_s)
    return judge_silence(silences(suspects, epoch=promotion.epoch, now=then), limit_s=limit_s)


# --- how far the probation is -------------------------------------------------------------------------------------


def on_probation(connection: Connection, project: Project, promotion: Promotion) -> str | None:
    """Return that the release in production is on probation and how far, in a sentence; None if it is not."""
    bake_rows = project.settings.retraining.bake_rows
    if not bake_rows or has_passed(connection, promotion) or last_good(connection) is None:
        return None
    if is_proven(connection, promotion):
        return None
    n_rows, _ = count_answers(connection, promotion, at_most=bake_rows)
    return f"release {promotion.release[:12]} is on probation: {n_rows} of {bake_rows} rows answered"


def conclude_bake(project: Project, promotion: Promotion, *, lease: Lease, now: datetime) -> bool:
    """Append `bake_passed` once the release has answered enough rows without a breach; return whether this did it.

    A report of each worker must be newer than the last of these rows: as many rows can come between two reports.
    """
    bake_rows = project.settings.retraining.bake_rows
    with project.database.read() as connection:
        if on_probation(connection, project, promotion) is None:
            return False
        (n_rows, newest), reports = count_answers(connection, promotion, at_most=bake_rows), read_reports(connection)
    if n_rows < bake_rows or newest is None:
        return False
    pause = timedelta(seconds=longest_pause_s(project.settings.retraining.bake_silence_s))
    # Rows of a moment that is still to come: a clock was set back, and whoever lives has reported by the new one.
    since = newest if newest <= now else now - pause
    if not have_reported(reports, promotion, since=since, alive_since=now - pause):
        return False
    if find_breach(project, now=now) is not None:
        return False
    served = add_up(reports, epoch=promotion.epoch)
    figures = {"rows": n_rows, "answered": served.answered, "failed": served.failed}
    payload = {"release": promotion.release, "epoch": promotion.epoch, "figures": figures}
    with project.database.write("conclude_bake") as connection:
        require_lease(connection, lease)
        append_event(connection, "bake_passed", payload, now=now)
    return True


def is_proven(connection: Connection, promotion: Promotion) -> bool:
    """Return whether production went back to a release that has passed its probation before."""
    event = latest_event(connection, "rolled_back")
    if event is None or event.payload["epoch"] != promotion.epoch:
        return False
    passed = (events.c.kind == "bake_passed") & events.c.payload.contains(f'"{promotion.release}"')
    return bool(connection.scalar(select(exists().where(passed))))


def count_answers(connection: Connection, promotion: Promotion, *, at_most: int) -> tuple[int, datetime | None]:
    """Return how many rows the release has answered since this promotion, and when the newest of the first came."""
    n_rows, newest = 0, None
    for query in answered_rows(promotion):
        first = query.limit(at_most - n_rows).subquery()
        count, latest = connection.execute(select(func.count(), func.max(first.c.received_at))).one()
        n_rows, newest = n_rows + count, latest if newest is None else max(newest, latest or newest)
    return n_rows, newest


def read_answers(connection: Connection, promotion: Promotion, *, at_most: int) -> list[Answered]:
    """Return what the release has answered since this promotion, the first rows alone, in order."""
    found: list[Answered] = []
    for query in answered_rows(promotion):
        lines = connection.execute(query.limit(at_most - len(found)))
        found += [Answered(line.row, line.probability) for line in lines]
    return found


def answered_rows(promotion: Promotion) -> tuple[Select[tuple[bytes, float, datetime]], ...]:
    """Return two queries, each along an index: rows that a loop has seen, then those that came while it was busy."""
    ours = select(predictions.c.row, predictions.c.probability, predictions.c.received_at)
    ours = ours.where(predictions.c.release == promotion.release)
    seen = ours.where(predictions.c.epoch == promotion.epoch).order_by(predictions.c.observed_seq)
    return seen, ours.where(predictions.c.observed_seq.is_(None)).order_by(predictions.c.seq)
