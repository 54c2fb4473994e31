"""POST /v1/retrain, promote, approve, rollback: what is asked of the loop; GET /v1/requests/{id}: what became of it.

Not here: what is refused at once (`retraining.asking`), who may ask (`web.access`), or carrying it out: the service
answers before a loop does that.
"""

import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from http import HTTPStatus
from types import MappingProxyType
from typing import Annotated, TypeAlias

import msgspec
from fastapi import FastAPI, Path, Request, Response
from sqlalchemy import Connection
from sqlalchemy.exc import NoResultFound
from starlette.requests import ClientDisconnect

from homeostat.errors import ReleaseMissing, RequestInvalid, StateError
from homeostat.monitoring.idempotency import Answered, Claim, find_answer, keep_answer
from homeostat.project import Project
from homeostat.records import Json
from homeostat.retraining.asking import MAX_REASON, NO_REASON, place, tell_request
from homeostat.retraining.requests import Asked, find_request
from homeostat.store.keys import list_keys
from homeostat.store.tables import EPOCH
from homeostat.web.bodies import decode_json, receive_body
from homeostat.web.endpoint import JSON, REPLAYED, Sent, claim_of, sender_of
from homeostat.web.openapi import describe_asking, describe_request
from homeostat.web.problems import Problem, refuse
from homeostat.web.routes import ask, to_json
from homeostat.web.worker import Worker

Reason: TypeAlias = Annotated[
    str, msgspec.Meta(min_length=1, max_length=MAX_REASON, description="Kept in the history.")
]
Name: TypeAlias = Annotated[
    str, msgspec.Meta(min_length=1, max_length=64, description="A release: its number, digest or the beginning of it.")
]
# No request is numbered beyond.
LAST_NUMBER = 2**53


class Wish(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A body that needs no reason."""

    reason: Reason = NO_REASON


class ReasonedWish(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A body that needs a reason."""

    reason: Reason


class ReasonedWishForRelease(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A body about a release that needs a reason."""

    release: Name
    reason: Reason


class WishForRelease(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A body that may be about a release."""

    release: Name | None = None
    reason: Reason = NO_REASON


Body: TypeAlias = Wish | ReasonedWish | ReasonedWishForRelease | WishForRelease
FORMS: Mapping[Asked, type[Body]] = MappingProxyType(
    {"retrain": Wish, "promote": ReasonedWishForRelease, "approve": WishForRelease, "rollback": ReasonedWish}
)


def add_asking(app: FastAPI, worker: Worker) -> None:
    """Add the routes to the application."""
    for kind in FORMS:
        add_kind(app, worker, kind)

    @app.get("/v1/requests/{id}", **describe_request())
    async def request_by_number(
        request: Request, number: Annotated[int, Path(alias="id", ge=1, le=LAST_NUMBER)]
    ) -> Response:
        try:
            return to_json(tell_request(await ask(worker, lambda connection: find_request(connection, number))))
        except NoResultFound:
            parts = f"there is no request {number}", "the number of one that was answered with 202", "correct it"
            return refuse(request, Problem(HTTPStatus.NOT_FOUND, "request-missing", *parts))


def add_kind(app: FastAPI, worker: Worker, kind: Asked) -> None:
    """Add the route for one kind of request."""
    limits = worker.project.settings.serving

    async def asked(request: Request) -> Response:
        headers = dict(request.scope["headers"])
        body = await receive_body(request.receive, headers, limit_bytes=limits.max_body_bytes)
        if body is None:
            raise ClientDisconnect
        sent = Sent(body, headers, {}, limits.max_rows, time.time_ns() // 1000)
        wish = parse_body(body, kind)
        claim = claim_of(sent, request.scope, remember_s=limits.idempotency_s)
        now = EPOCH + timedelta(microseconds=sent.received_at)
        answer = await put(worker, kind, wish, claim=claim, sender=sender_of(request.scope), now=now)
        if isinstance(answer, Problem):
            return refuse(request, answer)
        return Response(answer.content, answer.status, dict(answer.headers))

    app.post(f"/v1/{kind}", **describe_asking(kind, schema_of_body(kind)))(asked)


async def put(
    worker: Worker, kind: Asked, wish: Body, *, claim: Claim | None, sender: str, now: datetime
) -> Answered | Problem:
    """Return what `write` does, or why it cannot write (`Worker.write`)."""
    return await worker.write(partial(write, worker.project, kind, wish, claim=claim, sender=sender, now=now))


def parse_body(body: bytes, kind: Asked) -> Body:
    """Return what a body says; RequestInvalid if it is not of the form of its route."""
    form = FORMS[kind]
    try:
        parsed: Body = msgspec.convert(decode_json(body), form)
    except (msgspec.ValidationError, RecursionError) as error:
        raise RequestInvalid(
            problem=f"the body asks for nothing: {error}",
            expected=f"an object with {' and '.join(form.__struct_fields__)}, and nothing else",
            action="see /docs",
        ) from error
    return parsed


def schema_of_body(kind: Asked) -> Json:
    """Return the JSON Schema of the body of one kind of request."""
    schema: Json = msgspec.json.schema_components([FORMS[kind]])[1][FORMS[kind].__name__]
    return schema


def write(
    project: Project, kind: Asked, wish: Body, *, claim: Claim | None, sender: str, now: datetime
) -> Answered | Problem:
    """Ask in one transaction; return the answer, the one that the same request got before, or why it is refused."""
    name: str | None = getattr(wish, "release", None)
    with project.database.write("ask") as connection:
        earlier = find_answer(connection, claim) if claim else None
        if earlier is not None:
            return earlier._replace(headers={**earlier.headers, **REPLAYED})
        actor = name_actor(connection, sender)
        try:
            request = place(connection, kind, name=name, reason=wish.reason, actor=actor, now=now)
        except StateError as error:
            # To a prediction a missing release means that the service cannot answer yet; here it is about a name.
            status = HTTPStatus.NOT_FOUND if isinstance(error, ReleaseMissing) else HTTPStatus.CONFLICT
            return Problem(status, error.code, error.problem, error.expected, error.action)
        headers = {**JSON, "location": f"/v1/requests/{request.id}"}
        answer = Answered(HTTPStatus.ACCEPTED, headers, msgspec.json.encode(tell_request(request)))
        if claim is not None:
            keep_answer(connection, claim, answer)
    return answer


def name_actor(connection: Connection, sender: str) -> str:
    """Return who asks: the id of a key, as labels have it too, with the name that it was given."""
    names = {f"key:{key.id}": key.name for key in list_keys(connection)}
    return f"{sender} {names[sender]}" if sender in names else sender
