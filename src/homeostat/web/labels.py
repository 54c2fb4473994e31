"""POST /v1/labels: outcomes by prediction id, alone or many at once, each answered in its place.

Not here: which outcome counts (`monitoring.labels`).
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any

import msgspec
from fastapi import FastAPI, Request, Response
from sqlalchemy.exc import SQLAlchemyError

from homeostat.errors import RequestInvalid, RequestTooLarge
from homeostat.monitoring.labels import LabelItem, LabelOutcome, record_labels
from homeostat.monitoring.predictions import busy
from homeostat.records import Json, Target
from homeostat.web.bodies import decode_json, read_body, show
from homeostat.web.openapi import describe_labels
from homeostat.web.problems import Problem, refuse
from homeostat.web.worker import Worker

# Who sent the outcome; with keys it will be the key's owner.
SOURCE = "http"


class SentLabel(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One outcome as the sender writes it."""

    id: Annotated[str, msgspec.Meta(max_length=200)]
    label: Any  # Any: a wrong value is answered in its place, not refused as malformed


class SentLabels(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Many outcomes at once."""

    labels: list[SentLabel]


def add_labels(app: FastAPI, worker: Worker) -> None:
    """Add the route to the application."""
    limits, target = worker.project.settings.serving, worker.project.schema.target

    async def label(request: Request) -> Response:
        body = await read_body(request, limit_bytes=limits.max_body_bytes)
        items, single = parse_labels(decode_json(body), max_items=limits.max_rows)
        outcomes = await keep(items, worker)
        for outcome in outcomes:
            worker.metrics.labels.labels(outcome.status).inc()
        problem = problem_of_outcome(outcomes[0], target) if single else None
        if problem is not None:
            return refuse(request, problem)
        answers = [outcome_to_json(outcome) for outcome in outcomes]
        answer = answers[0] if single else {"outcomes": answers}
        return Response(msgspec.json.encode(answer), media_type="application/json")

    app.post("/v1/labels", **describe_labels(worker.project.schema))(label)


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


async def keep(items: Sequence[LabelItem], worker: Worker) -> list[LabelOutcome]:
    """Return what became of the outcomes once they are on disk; an I/O error ends the log as one of its own would."""
    worker.log.require_whole()
    database, target = worker.project.database, worker.project.schema.target
    try:
        return await asyncio.to_thread(
            record_labels, database, items, target=target, source=SOURCE, now=datetime.now(UTC)
        )
    except SQLAlchemyError as error:
        raise busy(error) or worker.log.fail(error) from error


def outcome_to_json(outcome: LabelOutcome) -> Json:
    """Return what became of one outcome as it is answered."""
    answer = {"id": outcome.id, "status": outcome.status, "label": show(outcome.label)}
    return {**answer, "standing": outcome.standing} if outcome.status == "conflicting" else answer


def problem_of_outcome(outcome: LabelOutcome, target: Target) -> Problem | None:
    """Return the problem that a single outcome is answered with, None if it stands."""
    values = f"{target.negative!r} or {target.positive!r}"
    problems = {
        "unknown": (HTTPStatus.NOT_FOUND, f"no prediction has the id {outcome.id!r}", "an id that was answered"),
        "invalid": (HTTPStatus.UNPROCESSABLE_ENTITY, f"the label is {show(outcome.label)!r}", values),
        "conflicting": (
            HTTPStatus.CONFLICT,
            f"the label is {outcome.label!r}, and {outcome.standing!r} was recorded before",
            "one outcome for each prediction",
        ),
    }
    if outcome.status not in problems:
        return None
    status, detail, expected = problems[outcome.status]
    action = "correct the id or the label; what was recorded first stands"
    return Problem(
        status, f"label-{outcome.status}", detail, expected, action, more={"outcome": outcome_to_json(outcome)}
    )
