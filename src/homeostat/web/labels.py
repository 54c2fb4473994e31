"""POST /v1/labels: outcomes by prediction id, alone or many at once, each answered in its place.

Not here: which outcome counts (`monitoring.labels`).
"""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from http import HTTPStatus
from types import MappingProxyType
from typing import Annotated, Any

import msgspec
from fastapi import FastAPI, Request, Response
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import ClientDisconnect

from homeostat.errors import RequestInvalid, RequestTooLarge
from homeostat.monitoring.idempotency import Answered, Claim, find_answer, keep_answer
from homeostat.monitoring.labels import LabelItem, LabelOutcome, LabelStatus, write_labels
from homeostat.monitoring.predictions import afresh, busy
from homeostat.project import Project
from homeostat.records import Json, Target
from homeostat.store.tables import EPOCH
from homeostat.web.bodies import MAX_ID_LENGTH, decode_json, receive_body, show
from homeostat.web.endpoint import JSON, REPLAYED, THREAD_BYTES, Sent, claim_of, sender_of
from homeostat.web.openapi import describe_labels
from homeostat.web.problems import Problem, answer_problem
from homeostat.web.worker import Worker

# The status of a single outcome.
STATUSES: Mapping[LabelStatus, int] = MappingProxyType(
    {"recorded": 200, "repeated": 200, "unknown": 404, "conflicting": 409, "invalid": 422}
)


class SentLabel(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One outcome as the sender writes it."""

    id: Annotated[str, msgspec.Meta(max_length=MAX_ID_LENGTH)]
    label: Any  # Any: a wrong value is answered in its place, not refused as malformed


class SentLabels(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Many outcomes at once."""

    labels: list[SentLabel]


def add_labels(app: FastAPI, worker: Worker) -> None:
    """Add the route to the application."""
    limits = worker.project.settings.serving
    # One, as for rows: with more, each turn of the event loop waits for all of them.
    thread = ThreadPoolExecutor(1, "labels")

    async def label(request: Request) -> Response:
        headers = dict(request.scope["headers"])
        body = await receive_body(request.receive, headers, limit_bytes=limits.max_body_bytes)
        if body is None:
            raise ClientDisconnect
        sent = Sent(body, headers, {}, limits.max_rows, time.time_ns() // 1000)
        claim = claim_of(sent, request.scope, remember_s=limits.idempotency_s)
        read = partial(read_labels, body, max_items=limits.max_rows)
        large = len(body) > THREAD_BYTES
        items, single = await asyncio.get_running_loop().run_in_executor(thread, read) if large else read()
        outcomes = Outcomes(items, sender_of(request.scope), sent.received_at, claim, single)
        answer = await keep(outcomes, worker, thread)
        return Response(answer.content, answer.status, dict(answer.headers))

    app.post("/v1/labels", **describe_labels(worker.project.schema))(label)


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The outcomes of one request: who sent them, when, under which claim; `single` if there was no list."""

    items: Sequence[LabelItem]
    source: str
    received_at: int
    claim: Claim | None
    single: bool


def read_labels(body: bytes, *, max_items: int) -> tuple[list[LabelItem], bool]:
    """Return the outcomes in a body as it was sent; errors as `parse_labels`, and for what is no JSON."""
    return parse_labels(decode_json(body), max_items=max_items)


def parse_labels(document: object, *, max_items: int) -> tuple[list[LabelItem], bool]:
    """Return the outcomes in a body, and whether it is a single one.

    Raises
    ------
    RequestInvalid
        The body is neither of the two forms.
    RequestTooLarge
        There are more than `max_items` outcomes.
    """
    single = not (isinstance(document, dict) and "labels" in document)
    try:
        sent = [msgspec.convert(document, SentLabel)] if single else msgspec.convert(document, SentLabels).labels
        items = [LabelItem(item.id, item.label if is_plain(item.label) else show(item.label)) for item in sent]
    except (msgspec.ValidationError, RecursionError) as error:
        raise RequestInvalid(
            problem=f"the body holds no outcomes: {error}",
            expected='{"id": ..., "label": ...} or {"labels": [{"id": ..., "label": ...}, ...]}',
            action="send the id that the prediction was answered with, and its outcome",
        ) from error
    if len(sent) > max_items:
        raise RequestTooLarge(
            problem=f"there are {len(sent)} outcomes",
            expected=f"at most {max_items}",
            action="send them in several requests, or raise serving.max_rows",
        )
    return items, single


def is_plain(value: object) -> bool:
    """Return whether a JSON value is neither an array nor an object."""
    return not isinstance(value, list | dict)


async def keep(sent: Outcomes, worker: Worker, thread: ThreadPoolExecutor) -> Answered:
    """Return the answer once the outcomes are on disk; an I/O error ends the log as one of its own would."""
    worker.log.require_whole()
    try:
        answer, outcomes = await asyncio.get_running_loop().run_in_executor(thread, write, sent, worker.project)
    except SQLAlchemyError as error:
        raise busy(error) or afresh(worker.log.fail(error)) from error
    for status, n_outcomes in Counter(outcome.status for outcome in outcomes).items():
        worker.metrics.labels.labels(status).inc(n_outcomes)
    if answer.status != HTTPStatus.OK and outcomes:
        worker.metrics.errors.labels(f"label-{outcomes[0].status}").inc()
    return answer


def write(sent: Outcomes, project: Project) -> tuple[Answered, Sequence[LabelOutcome]]:
    """Write outcomes in one transaction; return the answer and what became of each, nothing if it came before."""
    target = project.schema.target
    with project.database.write("label_request") as connection:
        earlier = find_answer(connection, sent.claim) if sent.claim else None
        if earlier is not None:
            return earlier._replace(headers={**earlier.headers, **REPLAYED}), ()
        received_at = EPOCH + timedelta(microseconds=sent.received_at)
        outcomes = write_labels(connection, sent.items, target=target, source=sent.source, now=received_at)
        answer = answer_one(outcomes[0], target) if sent.single else answer_many(outcomes)
        if sent.claim is not None:
            keep_answer(connection, sent.claim, answer)
    return answer, outcomes


def answer_one(outcome: LabelOutcome, target: Target) -> Answered:
    """Return the answer to a single outcome: one that does not stand is a problem."""
    problem = problem_of_outcome(outcome, target)
    if problem is None:
        return Answered(HTTPStatus.OK, JSON, msgspec.json.encode(outcome_to_json(outcome)))
    return answer_problem(problem, "/v1/labels")


def answer_many(outcomes: Sequence[LabelOutcome]) -> Answered:
    """Return the answer to many outcomes: each in its place, with the status that it alone would have had."""
    answers = [{**outcome_to_json(outcome), "code": STATUSES[outcome.status]} for outcome in outcomes]
    return Answered(HTTPStatus.OK, JSON, msgspec.json.encode({"outcomes": answers}))


def outcome_to_json(outcome: LabelOutcome) -> Json:
    """Return what became of one outcome as it is answered."""
    answer = {"id": outcome.id, "status": outcome.status, "label": show(outcome.label)}
    return {**answer, "standing": outcome.standing} if outcome.status == "conflicting" else answer


def problem_of_outcome(outcome: LabelOutcome, target: Target) -> Problem | None:
    """Return the problem that a single outcome is answered with, None if it stands."""
    values = f"{target.negative!r} or {target.positive!r}"
    problems = {
        "unknown": (f"no prediction has the id {outcome.id!r}", "an id that was answered"),
        "invalid": (f"the label is {show(outcome.label)!r}", values),
        "conflicting": (
            f"the label is {outcome.label!r}, and {outcome.standing!r} was recorded before",
            "one outcome for each prediction",
        ),
    }
    if outcome.status not in problems:
        return None
    detail, expected = problems[outcome.status]
    action = "correct the id or the label; what was recorded first stands"
    status = STATUSES[outcome.status]
    return Problem(
        status, f"label-{outcome.status}", detail, expected, action, more={"outcome": outcome_to_json(outcome)}
    )
