"""How long rows, outcomes, rejected rows and remembered answers are kept, and how they go beside a live service.

Not here: snapshots and releases, which are blobs. What the loop still needs is never deleted, however old it is: rows
that it has not numbered, and rows of the watch under way that no drift check has covered, or whose outcomes are yet to
be judged.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Row,
    Subquery,
    Table,
    delete,
    func,
    insert,
    select,
    tuple_,
    update,
)

from homeostat.deployment.registry import current_promotion
from homeostat.monitoring.drift_checks import last_checked
from homeostat.monitoring.outcome_checks import last_judged
from homeostat.settings import Settings
from homeostat.store.database import Database
from homeostat.store.events import append_event
from homeostat.store.leases import Lease, require_lease
from homeostat.store.tables import answers, labels, predictions, rejections, retention

EVERY = timedelta(hours=1)
LONGEST = timedelta(days=300_000)
# Lines deleted, and pages given back to the disk, in one transaction: the log's writers wait for it.
BLOCK = 1_000
PAGES = 200
# Transactions in one turn of the loop: its lease must be renewed, and new windows be checked, in between.
STEPS_PER_TURN = 200
THE_LINE = 1


@dataclass(frozen=True, slots=True)
class Periods:
    """How long each kind of line is kept.

    `await_outcomes` says whether predictions are also kept until their outcomes were judged.
    """

    predictions: timedelta
    rejections: timedelta
    answers: timedelta
    await_outcomes: bool = False


def periods_of(settings: Settings) -> Periods:
    """Return the periods that the settings declare; `inf`, or what no calendar holds, is for ever."""
    keep, longest_days = settings.store, LONGEST / timedelta(days=1)
    return Periods(
        timedelta(days=min(keep.keep_predictions_days, longest_days)),
        timedelta(days=min(keep.keep_rejections_days, longest_days)),
        timedelta(seconds=min(settings.serving.idempotency_s, LONGEST.total_seconds())),
        # Predictions that are to go before they are old enough to be judged never will be.
        await_outcomes=settings.monitoring.maturity_s < 86_400 * keep.keep_predictions_days,
    )


def clear_expired(
    database: Database, periods: Periods, *, lease: Lease, now: datetime, n_steps: int = STEPS_PER_TURN
) -> bool:
    """Delete what is older than its period, at most once an hour, and return whether nothing is left to do now.

    It takes short transactions, `n_steps` at the most; a run that was killed or did not come to its end goes on in the
    next call. At its end one event tells how much was deleted.

    Raises
    ------
    LeaseHeld
        Another loop took the lease meanwhile; what was deleted until then stays deleted.
    """
    with database.read() as connection:
        if not is_due(connection, now=now):
            return True
    for _ in range(n_steps):
        if not delete_block(database, periods, lease=lease, now=now) and not database.give_back(PAGES):
            finish(database, lease=lease, now=now)
            return True
    return False


def is_due(connection: Connection, *, now: datetime) -> bool:
    """Return whether an hour has passed since the last run ended, or the clock was turned back since."""
    ran_at = connection.scalar(select(retention.c.ran_at))
    return ran_at is None or not ran_at <= now < ran_at + EVERY


def delete_block(database: Database, periods: Periods, *, lease: Lease, now: datetime) -> int:
    """Delete some expired lines, of one kind, in one transaction, and return how many; 0 if none is left."""
    with database.write("delete_expired") as connection:
        require_lease(connection, lease)
        deleted = (
            delete_predictions(connection, periods, now=now)
            or delete_rejections(connection, before=now - periods.rejections, now=now)
            or delete_answers(connection, before=now - periods.answers)
        )
        if deleted:
            line = read_line(connection)
            change_line(connection, {"untold": json.dumps(Counter(json.loads(line.untold)) + Counter(deleted))})
    return sum(deleted.values())


def delete_predictions(connection: Connection, periods: Periods, *, now: datetime) -> Mapping[str, int]:
    """Delete predictions with their labels, and return how many of each."""
    head = oldest(predictions, predictions.c.observed_seq, predictions.c.epoch, now=now)
    done = is_done_with(connection, head, await_outcomes=periods.await_outcomes)
    expired = select(head.c.seq).where(head.c.received_at < now - periods.predictions, done)
    chosen = predictions.c.seq.in_(expired)
    last = connection.scalar(select(func.max(predictions.c.observed_seq)).where(chosen))
    if last is None:
        return {}
    of_chosen = labels.c.prediction.in_(select(predictions.c.id).where(chosen))
    n_labels = connection.execute(delete(labels).where(of_chosen)).rowcount
    n_predictions = connection.execute(delete(predictions).where(chosen)).rowcount
    line = read_line(connection)
    change_line(connection, {"last_seq": max(line.last_seq, last), "labels": line.labels + n_labels})
    return {"predictions": n_predictions, "labels": n_labels}


def oldest(table: Table, *columns: Column[Any], now: datetime) -> Subquery:
    """Return the first lines of a table that is in the order of time, which has no index by time.

    A line from the future, of a clock that was wrong, is passed over: it must not keep those behind it for years.
    """
    query = select(table.c.seq, table.c.received_at, *columns).where(table.c.received_at <= now)
    return query.order_by(table.c.seq).limit(BLOCK).subquery()


def is_done_with(connection: Connection, rows: Subquery, *, await_outcomes: bool) -> ColumnElement[bool]:
    """Return the condition under which the loop needs a prediction no more."""
    promotion = current_promotion(connection)
    epoch = promotion.epoch if promotion else 0
    covered = last_checked(connection, epoch=epoch) or 0
    if await_outcomes:
        covered = min(covered, last_judged(connection, epoch=epoch) or 0)
    return rows.c.observed_seq.is_not(None) & ((rows.c.epoch != epoch) | (rows.c.observed_seq <= covered))


def delete_rejections(connection: Connection, *, before: datetime, now: datetime) -> Mapping[str, int]:
    """Delete rejected rows, and return how many."""
    head = oldest(rejections, now=now)
    expired = select(head.c.seq).where(head.c.received_at < before)
    return told("rejections", connection.execute(delete(rejections).where(rejections.c.seq.in_(expired))).rowcount)


def delete_answers(connection: Connection, *, before: datetime) -> Mapping[str, int]:
    """Delete remembered answers, and return how many."""
    name = (answers.c.owner, answers.c.key)
    expired = select(*name).where(answers.c.created_at < before).order_by(answers.c.created_at).limit(BLOCK)
    return told("answers", connection.execute(delete(answers).where(tuple_(*name).in_(expired))).rowcount)


def told(kind: str, n_lines: int) -> Mapping[str, int]:
    """Return a count with its name, nothing if it is 0."""
    return {kind: n_lines} if n_lines else {}


def finish(database: Database, *, lease: Lease, now: datetime) -> None:
    """End a run: say in the event log what was deleted, remember the moment, and let the file shrink."""
    with database.write("finish_retention") as connection:
        require_lease(connection, lease)
        deleted = json.loads(read_line(connection).untold)
        if deleted:
            append_event(connection, "retention_ran", deleted, now=now)
        change_line(connection, {"ran_at": now, "untold": "{}"})
    database.checkpoint()


def read_line(connection: Connection) -> Row[tuple[Any, ...]]:
    """Return the one line of what was deleted so far; made before it is first needed."""
    row = connection.execute(select(retention)).first()
    if row is None:
        connection.execute(insert(retention).values(id=THE_LINE, last_seq=0, labels=0, untold="{}"))
    return row or connection.execute(select(retention)).one()


def change_line(connection: Connection, values: Mapping[str, object]) -> None:
    """Write into the one line."""
    connection.execute(update(retention).values(**values))
