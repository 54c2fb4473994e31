"""How far a receiver has come in the event log: the log itself is the outbox, and a line of a table the cursor.

Not here: sending (`notifications.delivery`), or how long is waited between attempts (`notifications.messages`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, func, insert, select, true, update

from homeostat.notifications.messages import MAX_REFUSALS, Trouble, choose_wait, count_attempts
from homeostat.store.events import Event, append_event, read_events
from homeostat.store.tables import deliveries, events

# Never sent itself: the receiver that it tells of is the one that would not have it.
FAILED = "notification_failed"


@dataclass(frozen=True, slots=True)
class Cursor:
    """A receiver's place: every line up to `last_seq` was taken, left out, or is of a kind that it is not told.

    `attempts` and `problem` are of the line that follows; the next attempt at it is due at `next_at`.
    """

    target: str
    last_seq: int
    attempts: int
    next_at: datetime | None
    problem: str | None


def begin_at_end(connection: Connection, target: str) -> None:
    """Give a new receiver its place at the end of the log: it is told what happens, not what has happened."""
    if find_cursor(connection, target) is None:
        last = connection.scalar(select(func.max(events.c.seq))) or 0
        connection.execute(insert(deliveries).values(target=target, last_seq=last, attempts=0))


def find_cursor(connection: Connection, target: str) -> Cursor | None:
    """Return a receiver's place, None if it is new."""
    row = connection.execute(select(deliveries).where(deliveries.c.target == target)).first()
    return Cursor(row.target, row.last_seq, row.attempts, row.next_at, row.problem) if row else None


def next_event(connection: Connection, cursor: Cursor, kinds: Sequence[str]) -> Event | None:
    """Return the oldest line after a place that is of one of these kinds (none: of any), None if there is none."""
    found = connection.scalar(select(func.min(events.c.seq)).where(still_to_tell(cursor, kinds)))
    return None if found is None else next(read_events(connection, after=found - 1))


def count_waiting(connection: Connection, cursor: Cursor, kinds: Sequence[str]) -> int:
    """Return how many lines a receiver is still to be told."""
    return connection.scalar(select(func.count()).select_from(events).where(still_to_tell(cursor, kinds))) or 0


def still_to_tell(cursor: Cursor, kinds: Sequence[str]) -> ColumnElement[bool]:
    """Return the condition for the lines after a place that are of one of these kinds (none: of any)."""
    wanted = events.c.kind.in_(kinds) if kinds else true()
    return (events.c.seq > cursor.last_seq) & wanted & (events.c.kind != FAILED)


def move_on(connection: Connection, cursor: Cursor, event: Event) -> None:
    """Record that a line is done with."""
    put(connection, cursor, last_seq=event.seq, attempts=0, next_at=None, problem=None)


def try_later(connection: Connection, cursor: Cursor, event: Event, trouble: Trouble, *, now: datetime) -> bool:
    """Record a failed attempt, and return whether there will be another one; if not, the log says so."""
    attempts = count_attempts(cursor.attempts, trouble)
    if attempts > MAX_REFUSALS:
        payload = {"event": event.seq, "kind": event.kind, "attempts": attempts, "problem": trouble.problem}
        append_event(connection, FAILED, payload, now=now)
        move_on(connection, cursor, event)
        return False
    next_at = now + choose_wait(event.digest, attempts, trouble)
    put(connection, cursor, last_seq=cursor.last_seq, attempts=attempts, next_at=next_at, problem=trouble.problem)
    return True


def put(
    connection: Connection,
    cursor: Cursor,
    *,
    last_seq: int,
    attempts: int,
    next_at: datetime | None,
    problem: str | None,
) -> None:
    """Overwrite a receiver's line."""
    values = {"last_seq": last_seq, "attempts": attempts, "next_at": next_at, "problem": problem}
    connection.execute(update(deliveries).where(deliveries.c.target == cursor.target).values(**values))
