"""The append-only, hash-chained event log: every decision and every change of production, in order.

Not here: who decides. Payloads hold counts, digests and ids, never feature values, so that erasure can reach
everything.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, insert, select

from homeostat.records import Json
from homeostat.store.tables import EPOCH, events

GENESIS = "0" * 64


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the log; `digest` covers the line and, through `previous`, every line before it."""

    seq: int
    at: datetime
    kind: str
    payload: Json
    previous: str
    digest: str


def append_event(connection: Connection, kind: str, payload: Json, *, now: datetime) -> Event:
    """Append to the log inside the caller's write transaction, and return the new line."""
    last = connection.execute(select(events.c.seq, events.c.digest).order_by(events.c.seq.desc()).limit(1)).first()
    seq, previous = (last.seq + 1, last.digest) if last else (1, GENESIS)
    text = json.dumps(payload, sort_keys=True)
    digest = chain_digest(seq, now, kind, text, previous)
    connection.execute(
        insert(events).values(seq=seq, at=now, kind=kind, payload=text, previous=previous, digest=digest)
    )
    return Event(seq, now, kind, payload, previous, digest)


def chain_digest(seq: int, at: datetime, kind: str, payload: str, previous: str) -> str:
    """Return the SHA-256 that names one line of the log."""
    micros = (at - EPOCH) // timedelta(microseconds=1)
    return hashlib.sha256(json.dumps([seq, micros, kind, payload, previous]).encode()).hexdigest()


def read_events(connection: Connection, *, after: int = 0, kind: str | None = None) -> Iterator[Event]:
    """Yield the lines after number `after`, oldest first, of one kind if given."""
    query = select(events).where(events.c.seq > after).order_by(events.c.seq)
    if kind is not None:
        query = query.where(events.c.kind == kind)
    for row in connection.execute(query):
        yield Event(row.seq, row.at, row.kind, json.loads(row.payload), row.previous, row.digest)


def newest_events(connection: Connection, kind: str, *, limit: int) -> list[Event]:
    """Return the newest lines of one kind, oldest first."""
    query = select(events).where(events.c.kind == kind).order_by(events.c.seq.desc()).limit(limit)
    rows = reversed(connection.execute(query).all())
    return [Event(row.seq, row.at, row.kind, json.loads(row.payload), row.previous, row.digest) for row in rows]


def latest_event(connection: Connection, kind: str) -> Event | None:
    """Return the newest line of one kind, None if there is none."""
    found = newest_events(connection, kind, limit=1)
    return found[0] if found else None


def find_break(connection: Connection) -> int | None:
    """Return the number of the first line that was edited, removed or reordered; None if the chain is whole.

    Lines that were cut off at the end leave a shorter chain that is whole: only a digest kept elsewhere shows them.
    """
    previous, expected = GENESIS, 1
    for row in connection.execute(select(events).order_by(events.c.seq)):
        digest = chain_digest(row.seq, row.at, row.kind, row.payload, previous)
        if row.seq != expected or row.previous != previous or row.digest != digest:
            return expected
        previous, expected = row.digest, expected + 1
    return None
