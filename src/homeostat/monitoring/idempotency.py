"""Requests that may be sent again: what an Idempotency-Key was answered with the first time, in the same transaction.

Not here: the header (`web.endpoint`), or deleting old keys (`monitoring.retention`).
https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, delete, insert, select

from homeostat.errors import IdempotencyReused
from homeostat.store.tables import answers


class Answered(NamedTuple):
    """The answer to a request: its status, its headers by lower-case name, and its bytes."""

    status: int
    headers: Mapping[str, str]
    content: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """A request that names itself. `owner` is who sent it, `body` the SHA-256 of what it asks (hexadecimal).

    Claims made before `remembered_since` are forgotten.
    """

    owner: str
    key: str
    body: str
    remembered_since: datetime
    made_at: datetime


def find_answer(connection: Connection, claim: Claim) -> Answered | None:
    """Return what the same request was answered with before, None if this is the first.

    Raises
    ------
    IdempotencyReused
        The key was sent with another body before.
    """
    mine = (answers.c.owner == claim.owner) & (answers.c.key == claim.key)
    found = connection.execute(select(answers).where(mine)).one_or_none()
    if found is None:
        return None
    if found.created_at < claim.remembered_since:
        connection.execute(delete(answers).where(mine))
        return None
    if found.body != claim.body:
        raise IdempotencyReused(
            problem=f"the Idempotency-Key {claim.key!r} came with another request before",
            expected="a key of its own for each request",
            action="send the same body again, or take a new key",
        )
    return Answered(found.status, json.loads(found.headers), found.answer)


def keep_answer(connection: Connection, claim: Claim, answer: Answered) -> None:
    """Store what a claim is answered with, inside the write transaction in which `find_answer` found nothing."""
    values = {"owner": claim.owner, "key": claim.key, "body": claim.body, "created_at": claim.made_at}
    values |= {"status": answer.status, "headers": json.dumps(dict(answer.headers)), "answer": answer.content}
    connection.execute(insert(answers).values(values))
