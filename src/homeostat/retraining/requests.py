"""What people and programs ask of the loop: retrain, promote, approve, roll back. Any process may ask.

Not here: carrying it out (`homeostat.loop`), or who may ask (`web.access`).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

from sqlalchemy import Connection, Row, insert, select, update

from homeostat.store.events import append_event
from homeostat.store.tables import requests

Asked: TypeAlias = Literal["retrain", "promote", "approve", "rollback"]


@dataclass(frozen=True, slots=True)
class Request:
    """Something that was asked of the loop; `outcome` and `sentence` are None until it has answered.

    `release` is the digest that it is about; None where it needs none, or means the obvious one.
    """

    id: int
    at: datetime
    kind: Asked
    release: str | None
    reason: str
    actor: str
    decided_at: datetime | None
    outcome: str | None
    sentence: str | None


def ask(
    connection: Connection, kind: Asked, *, release: str | None = None, reason: str, actor: str, now: datetime
) -> Request:
    """Ask something of the loop, in the caller's write transaction, and return it.

    `actor` says who asks, at most 80 characters: the name of a key, or of the user of a command line.
    """
    values = {"at": now, "kind": kind, "release": release, "reason": reason, "actor": actor}
    number = connection.scalar(insert(requests).values(**values).returning(requests.c.id))
    payload = {"kind": kind, "release": release, "reason": reason, "actor": actor}
    append_event(connection, "requested", payload, now=now)
    return find_request(connection, number or 0)


def find_request(connection: Connection, number: int) -> Request:
    """Return one request; sqlalchemy.exc.NoResultFound if there is none."""
    return as_request(connection.execute(select(requests).where(requests.c.id == number)).one())


def next_request(connection: Connection, *, kind: Asked | None = None) -> Request | None:
    """Return the oldest request that no loop has answered, of one kind if given; None if there is none."""
    query = select(requests).where(requests.c.outcome.is_(None)).order_by(requests.c.id).limit(1)
    if kind is not None:
        query = query.where(requests.c.kind == kind)
    row = connection.execute(query).first()
    return as_request(row) if row else None


def list_pending(connection: Connection) -> list[Request]:
    """Return the requests that no loop has answered, oldest first."""
    query = select(requests).where(requests.c.outcome.is_(None)).order_by(requests.c.id)
    return [as_request(row) for row in connection.execute(query)]


def answer_request(connection: Connection, request: Request, *, outcome: str, sentence: str, now: datetime) -> None:
    """Store what became of a request: `begun` (a cycle carries it out) or `refused`, in the caller's transaction."""
    values = {"outcome": outcome, "sentence": sentence, "decided_at": now}
    connection.execute(update(requests).where(requests.c.id == request.id).values(**values))
    if outcome == "refused":
        payload = {"kind": request.kind, "release": request.release, "actor": request.actor, "sentence": sentence}
        append_event(connection, "request_refused", payload, now=now)


def settle_request(connection: Connection, number: int, *, outcome: str, sentence: str) -> None:
    """Store how the cycle has ended that carried out a request, in the caller's transaction."""
    connection.execute(update(requests).where(requests.c.id == number).values(outcome=outcome, sentence=sentence))


def as_request(row: Row[tuple[object, ...]]) -> Request:
    """Return a row of the table as a record."""
    return Request(
        row.id, row.at, row.kind, row.release, row.reason, row.actor, row.decided_at, row.outcome, row.sentence
    )
