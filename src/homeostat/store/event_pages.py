"""The event log as a person leafs through it: newest first, by kind, by what a line mentions.

Not here: writing the log, or reading it in its own order (`store.events`).
"""

from datetime import datetime

from sqlalchemy import Connection, Select, select

from homeostat.store.events import Event, as_event, chain_digest
from homeostat.store.tables import events


def leaf_through(
    connection: Connection, *, limit: int, before: int | None = None, kind: str = "", mentions: str = ""
) -> list[Event]:
    """Return the newest lines, newest first: those before number `before`, of one kind, that hold a text, if given.

    Raises
    ------
    ArtifactCorrupt
        A line is not JSON any more.
    """
    query: Select[tuple[object, ...]] = select(events).order_by(events.c.seq.desc()).limit(limit)
    if before is not None:
        query = query.where(events.c.seq < before)
    if kind:
        query = query.where(events.c.kind == kind)
    if mentions:
        query = query.where(events.c.payload.contains(mentions, autoescape=True))
    return [as_event(row) for row in connection.execute(query)]


def find_event(connection: Connection, number: int) -> Event | None:
    """Return one line of the log, None if there is no such line."""
    row = connection.execute(select(events).where(events.c.seq == number)).first()
    return as_event(row) if row else None


def read_between(connection: Connection, first: datetime, last: datetime | None, *, limit: int) -> list[Event]:
    """Return the lines from one moment to another, both included, oldest first; to the end if there is no other."""
    query = select(events).where(events.c.at >= first).order_by(events.c.seq).limit(limit)
    if last is not None:
        query = query.where(events.c.at <= last)
    return [as_event(row) for row in connection.execute(query)]


def is_as_written(connection: Connection, event: Event) -> bool:
    """Return whether a line has its own digest, which is over its text, and not over what that means."""
    text = connection.scalar(select(events.c.payload).where(events.c.seq == event.seq))
    return event.digest == chain_digest(event.seq, event.at, event.kind, str(text), event.previous)


def list_kinds(connection: Connection) -> list[str]:
    """Return the kinds of events that there are, by name."""
    return list(connection.scalars(select(events.c.kind).distinct().order_by(events.c.kind)))
