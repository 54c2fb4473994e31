"""The record of what outcomes said: one line per window of predictions, and how many outcomes are there now.

Not here: judging the windows (`monitoring.outcomes`). The service imports this.
"""

import json
from datetime import datetime

import msgspec
from sqlalchemy import Connection, Row, Select, Subquery, func, insert, select

from homeostat.records import Json
from homeostat.store.tables import drift_checks, labels, outcome_checks, predictions, promotions

# Checks that a description shows; predictions whose outcomes it counts on either side of the last that was judged.
SHOWN = 20
COUNTED = 10_000


def append_outcome_check(
    connection: Connection, report: Json, *, epoch: int, window: tuple[int, int], release: str, now: datetime
) -> None:
    """Store one check of the outcomes of the predictions `window[0]` to `window[1]` (observed numbers, inclusive)."""
    first, last = window
    line = {"epoch": epoch, "first_seq": first, "last_seq": last, "checked_at": now, "release": release}
    connection.execute(insert(outcome_checks).values(**line, report=json.dumps(report, allow_nan=False)))


def last_judged(connection: Connection, *, epoch: int) -> int | None:
    """Return the last observed number whose outcomes were judged on this watch, None before the first."""
    ours = outcome_checks.c.epoch == epoch
    last: int | None = connection.scalar(select(func.max(outcome_checks.c.last_seq)).where(ours))
    return last


def latest_outcome_check(connection: Connection) -> Json | None:
    """Return the newest check of the release in production, None before its first."""
    epoch = connection.scalar(select(func.max(promotions.c.epoch)))
    checks = newest_outcome_checks(connection, epoch=epoch or 0, limit=1)
    return checks[0] if checks else None


def newest_outcome_checks(connection: Connection, *, epoch: int, limit: int) -> list[Json]:
    """Return the newest checks of one watch, oldest first."""
    query = select(outcome_checks).where(outcome_checks.c.epoch == epoch)
    newest = connection.execute(query.order_by(outcome_checks.c.last_seq.desc()).limit(limit)).all()
    return [as_outcome_check(row) for row in reversed(newest)]


def as_outcome_check(row: Row[tuple[object, ...]]) -> Json:
    """Return a row of the table as a JSON object."""
    return {
        "id": row.id,
        "epoch": row.epoch,
        "first_seq": row.first_seq,
        "last_seq": row.last_seq,
        "checked_at": row.checked_at.isoformat(),
        "release": row.release,
        "report": msgspec.json.decode(row.report),
    }


def describe_current_outcomes(connection: Connection) -> Json:
    """Return what outcomes say of the release in production; see `describe_outcomes`."""
    epoch = connection.scalar(select(func.max(promotions.c.epoch)))
    return describe_outcomes(connection, epoch=epoch or 0)


def describe_outcomes(connection: Connection, *, epoch: int) -> Json:
    """Return what is known of the performance on one watch.

    Returns
    -------
    Json
        `estimated`: what the newest drift check expects, None if it says nothing. `checks`: the newest checks of
        outcomes, oldest first, each with what was expected of its window. `judged`: how many predictions of the newest
        windows have an outcome by now; `n_late` of these came after their window was judged and count for no test.
        `waiting`: the same of the predictions that are to be judged next.
    """
    checks = newest_outcome_checks(connection, epoch=epoch, limit=SHOWN)
    expected = find_estimates(connection, epoch=epoch, checks=checks)
    return {
        "epoch": epoch,
        "estimated": newest_estimate(connection, epoch=epoch),
        "checks": [{**check, "estimated": expected.get(check["first_seq"])} for check in checks],
        "judged": count_judged(connection, epoch=epoch, checks=checks),
        "waiting": count_waiting(connection, epoch=epoch, last=checks[-1]["last_seq"] if checks else 0),
    }


def newest_estimate(connection: Connection, *, epoch: int) -> Json | None:
    """Return what the newest drift check of a watch expects, with its window."""
    ours = select(drift_checks).where(drift_checks.c.epoch == epoch)
    check = connection.execute(ours.order_by(drift_checks.c.last_seq.desc()).limit(1)).first()
    figures = msgspec.json.decode(check.report).get("estimated") if check else None
    return {"first_seq": check.first_seq, "last_seq": check.last_seq, **figures} if check and figures else None


def find_estimates(connection: Connection, *, epoch: int, checks: list[Json]) -> dict[int, Json | None]:
    """Return what the drift checks expected of these windows, by the first number of each: windows are the same."""
    places = [check["first_seq"] for check in checks]
    query = select(drift_checks.c.first_seq, drift_checks.c.report)
    query = query.where(drift_checks.c.epoch == epoch, drift_checks.c.first_seq.in_(places))
    return {row.first_seq: msgspec.json.decode(row.report).get("estimated") for row in connection.execute(query)}


def count_judged(connection: Connection, *, epoch: int, checks: list[Json]) -> Json:
    """Return how many predictions of the newest windows have an outcome by now, and how many of these came late."""
    last = checks[-1]["last_seq"] if checks else 0
    recent = [check for check in checks if check["first_seq"] > last - COUNTED] or checks[-1:]
    first = recent[0]["first_seq"] if recent else 0
    rows = watched_rows(epoch).where(predictions.c.observed_seq.between(first, last))
    counted = count_outcomes(connection, rows.subquery())
    known_then = sum(check["report"]["n_outcomes"] for check in recent)
    # A prediction can have been deleted since, with its outcome.
    return {**counted, "n_late": max(0, counted["n_labelled"] - known_then)}


def count_waiting(connection: Connection, *, epoch: int, last: int) -> Json:
    """Return how many of the first `COUNTED` predictions that were not judged yet have an outcome by now."""
    rows = watched_rows(epoch).where(predictions.c.observed_seq > last)
    return count_outcomes(connection, rows.order_by(predictions.c.observed_seq).limit(COUNTED).subquery())


def watched_rows(epoch: int) -> Select[tuple[str, datetime, int | None]]:
    """Return the query for the predictions of one watch."""
    columns = (predictions.c.id, predictions.c.received_at, predictions.c.observed_seq)
    return select(*columns).where(predictions.c.epoch == epoch)


def count_outcomes(connection: Connection, rows: Subquery) -> Json:
    """Return how many rows there are, how many have an outcome, and since when the oldest of the others waits."""
    joined = rows.outerjoin(labels, labels.c.prediction == rows.c.id)
    counted = connection.execute(select(func.count(), func.count(labels.c.prediction)).select_from(joined)).one()
    waiting = select(rows.c.received_at).select_from(joined).where(labels.c.prediction.is_(None))
    oldest = connection.execute(waiting.order_by(rows.c.observed_seq).limit(1)).scalar()
    return {
        "n_rows": counted[0],
        "n_labelled": counted[1],
        "labelled_share": counted[1] / counted[0] if counted[0] else None,
        "unlabelled_since": None if oldest is None else oldest.isoformat(),
    }
