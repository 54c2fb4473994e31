"""The append-only, hash-chained event log: every decision and every change of production, in order.

Not here: who decides. Payloads hold counts, digests and ids, never feature values, so that erasure can reach
everything.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import itemgetter
from typing import TypeAlias

from sqlalchemy import Connection, Row, insert, select, update

from homeostat.errors import ArtifactCorrupt
from homeostat.records import Json
from homeostat.store.tables import EPOCH, event_head, events

GENESIS = "0" * 64
# The one line of the table of the head, and the schema version that brought it.
HEAD, FIRST_WITH_HEAD = 1, 5
# What is wrong with consecutive lines: the kind of fault, the first line and the last.
Fault: TypeAlias = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the log; `digest` covers the line and, through `previous`, every line before it."""

    seq: int
    at: datetime
    kind: str
    payload: Json
    previous: str
    digest: str


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it was written: `line` is its first line of the log, None if none tells of it."""

    line: int | None
    sentence: str


# --- writing ------------------------------------------------------------------------------------------------------


def append_event(connection: Connection, kind: str, payload: Json, *, now: datetime) -> Event:
    """Append to the log inside the caller's write transaction, and return the new line."""
    last, head = find_last(connection), find_head(connection)
    # After the head, should the log have been cut off: the lines that are missing would be numbered anew otherwise.
    seq, previous = max(last, head or last, key=itemgetter(0))
    seq, text = seq + 1, json.dumps(payload, sort_keys=True)
    digest = chain_digest(seq, now, kind, text, previous)
    connection.execute(
        insert(events).values(seq=seq, at=now, kind=kind, payload=text, previous=previous, digest=digest)
    )
    write_head = insert(event_head).values(id=HEAD) if head is None else update(event_head)
    connection.execute(write_head.values(seq=seq, digest=digest))
    return Event(seq, now, kind, payload, previous, digest)


def find_last(connection: Connection) -> tuple[int, str]:
    """Return the number and the digest of the last line that there is."""
    last = connection.execute(select(events.c.seq, events.c.digest).order_by(events.c.seq.desc()).limit(1)).first()
    return (last.seq, last.digest) if last else (0, GENESIS)


def find_head(connection: Connection) -> tuple[int, str] | None:
    """Return the number and the digest of the line that was appended last; None if there never was one."""
    head = connection.execute(select(event_head.c.seq, event_head.c.digest)).first()
    return (head.seq, head.digest) if head else None


def keep_head(connection: Connection) -> None:
    """Note the last line of a log that was written before there was a place for that."""
    seq, digest = find_last(connection)
    if seq and find_head(connection) is None:
        connection.execute(insert(event_head).values(id=HEAD, seq=seq, digest=digest))


def chain_digest(seq: int, at: datetime, kind: str, payload: str, previous: str) -> str:
    """Return the SHA-256 that names one line of the log."""
    micros = (at - EPOCH) // timedelta(microseconds=1)
    return hashlib.sha256(json.dumps([seq, micros, kind, payload, previous]).encode()).hexdigest()


# --- reading ------------------------------------------------------------------------------------------------------


def read_events(connection: Connection, *, after: int = 0, kind: str | None = None) -> Iterator[Event]:
    """Yield the lines after number `after`, oldest first, of one kind if given.

    Raises
    ------
    ArtifactCorrupt
        A line is not JSON any more.
    """
    query = select(events).where(events.c.seq > after).order_by(events.c.seq)
    if kind is not None:
        query = query.where(events.c.kind == kind)
    yield from map(as_event, connection.execute(query))


def newest_events(connection: Connection, kind: str, *, limit: int) -> list[Event]:
    """Return the newest lines of one kind, oldest first."""
    query = select(events).where(events.c.kind == kind).order_by(events.c.seq.desc()).limit(limit)
    return [as_event(row) for row in reversed(connection.execute(query).all())]


def latest_event(connection: Connection, kind: str) -> Event | None:
    """Return the newest line of one kind, None if there is none."""
    found = newest_events(connection, kind, limit=1)
    return found[0] if found else None


def as_event(row: Row[tuple[object, ...]]) -> Event:
    """Return a row of the table as a record."""
    try:
        payload: Json = json.loads(row.payload)
    except ValueError as error:
        raise ArtifactCorrupt(
            problem=f"line {row.seq} of the event log is no JSON: {error}",
            expected="lines as they were written",
            action="run `homeostat verify`, and compare with a backup",
        ) from error
    return Event(row.seq, row.at, row.kind, payload, row.previous, row.digest)


# --- verifying ----------------------------------------------------------------------------------------------------


def find_breaks(connection: Connection) -> list[Finding]:
    """Return every place at which lines were edited, removed, put elsewhere, added or cut off; none if all is whole.

    Whoever can write the whole database can also write a whole log anew: only a digest that was noted elsewhere shows
    that.
    """
    found: list[Fault] = []
    last, digest, sound = 0, GENESIS, True
    for row in connection.execute(select(events).order_by(events.c.seq)):
        edited = row.digest != chain_digest(row.seq, row.at, row.kind, row.payload, row.previous)
        if row.seq > last + 1:
            found.append(("missing", last + 1, row.seq - 1))
        if edited:
            found.append(("edited", row.seq, row.seq))
        elif row.previous != digest and sound and row.seq == last + 1:
            found.append(("unlinked", row.seq, row.seq))
        last, digest, sound = row.seq, row.digest, not edited
    found += compare_with_head(last, digest, find_head(connection))
    return [describe(fault) for fault in join_neighbours(found)]


def compare_with_head(last: int, digest: str, head: tuple[int, str] | None) -> list[Fault]:
    """Return what the record of the last line says against the last line that there is."""
    if head is None:
        return [("headless", last, last)] if last else []
    if last < head[0]:
        return [("cut off", last + 1, head[0])]
    if last > head[0]:
        return [("added", head[0] + 1, last)]
    return [("replaced", last, last)] if digest != head[1] else []


def join_neighbours(found: Iterable[Fault]) -> list[Fault]:
    """Return the faults with those of one kind in consecutive lines as one."""
    joined: list[Fault] = []
    for what, first, last in found:
        if joined and joined[-1][0] == what and joined[-1][2] == first - 1:
            joined[-1] = (what, joined[-1][1], last)
        else:
            joined.append((what, first, last))
    return joined


def describe(fault: Fault) -> Finding:
    """Return a fault in a sentence."""
    what, first, last = fault
    lines, were = (f"line {first}", "was") if first == last else (f"lines {first} to {last}", "were")
    sentences = {
        "missing": f"{lines} {were} removed",
        "edited": f"{lines} {were} edited, or moved from another place",
        "unlinked": f"{lines} {were} not written after the line before: one of them is not the one that stood there",
        "cut off": f"{lines} {were} cut off at the end",
        "added": f"{lines} {were} added by something else than Homeostat",
        "replaced": f"{lines} {were} put in the place of another",
        "headless": f"the record of the last line was removed; now {lines} is the last",
    }
    return Finding(first, sentences[what])


def find_break(connection: Connection) -> int | None:
    """Return the number of the first line that is not as it was written; None if the log is whole."""
    return min((finding.line or 0 for finding in find_breaks(connection)), default=None)
