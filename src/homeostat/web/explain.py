"""POST /v1/explain: why rows are answered as they are, by one release, or by two and what has changed between them.

Not here: computing it (`deployment.explaining`, in the process of `web.explainer`), or who may ask (`web.access`).
Nothing is kept: a row that is explained is no prediction, and is written to no log.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec
from fastapi import FastAPI, Request, Response
from sqlalchemy import Connection
from starlette.requests import ClientDisconnect

from homeostat.deployment.explaining_subject import Subject, find_subject
from homeostat.errors import ReleaseMissing, RequestInvalid, RequestTooLarge
from homeostat.records import Json, Schema
from homeostat.web.answers import SentRow
from homeostat.web.bodies import MAX_ID_LENGTH, decode_json, kind_of, receive_body, refuse_depth, show
from homeostat.web.endpoint import THREAD_BYTES
from homeostat.web.explainer import require_libraries
from homeostat.web.openapi_explain import describe_explain
from homeostat.web.predict import parse_row, rejected_row
from homeostat.web.problems import Problem, refuse
from homeostat.web.routes import ask, to_json
from homeostat.web.senders import SENDER
from homeostat.web.worker import Worker

Found = TypeVar("Found")
MAX_ROWS = 100
MAX_BODY_BYTES = 1_000_000
MAX_NAME = 64
OPTIONS = ("release", "compare")


@dataclass(frozen=True, slots=True)
class Question:
    """What a body asks: rows, or the id of a prediction; and the names of releases. `alone`: the row is no batch."""

    rows: Sequence[SentRow]
    prediction: str | None
    release: str | None
    compare: str | None
    alone: bool

    @property
    def names_nothing(self) -> bool:
        """Whether nothing has to be looked up."""
        return self.prediction is None and self.release is None and self.compare is None

    def find(self, connection: Connection, live: str) -> Subject:
        """Return what is explained; errors as `explaining_subject.find_subject`."""
        return find_subject(
            connection,
            self.rows,
            prediction=self.prediction,
            release=self.release,
            compare=self.compare,
            live=live,
        )


def add_explain(app: FastAPI, worker: Worker) -> None:
    """Add the route to the application."""
    limit = min(worker.project.settings.serving.max_body_bytes, MAX_BODY_BYTES)

    async def explain(request: Request) -> Response:
        require_libraries()
        body = await receive_body(request.receive, dict(request.scope["headers"]), limit_bytes=limit)
        if body is None:
            raise ClientDisconnect
        live = worker.require_live()
        question = await aside(body, parse_question, body, live.schema)
        request.scope[SENDER].take_rows(max(len(question.rows), 1), time.monotonic())
        try:
            subject = await find(worker, question, live.digest)
        except ReleaseMissing as error:
            # To a prediction a missing release means that the service cannot answer yet; here it is about a name.
            problem = Problem(HTTPStatus.NOT_FOUND, error.code, error.problem, error.expected, error.action)
            return refuse(request, problem)
        answer = await worker.explainer.ask(await aside(body, encode_question, subject))
        return answer_explanations(request, question, subject, answer["explanations"])

    app.post("/v1/explain", **describe_explain(worker.project.schema))(explain)


async def aside(body: bytes, work: Callable[..., Found], *arguments: Any) -> Found:
    """Return what some work comes to: done in a thread if the body is large, as predictions are judged."""
    # Any above: the arguments are those of the work.
    return await asyncio.to_thread(work, *arguments) if len(body) > THREAD_BYTES else work(*arguments)


async def find(worker: Worker, question: Question, live: str) -> Subject:
    """Return what is explained; errors as `explaining_subject.find_subject`."""
    if question.names_nothing:
        return Subject(question.rows, live)
    return await ask(worker, lambda connection: question.find(connection, live))


# --- the question -------------------------------------------------------------------------------------------------


def parse_question(body: bytes, schema: Schema) -> Question:
    """Return what a body asks.

    A feature may be called `rows`, `id`, `release` or `compare` too: in a row alone such a field is the feature, and
    the batch, whose `rows` is an array, is the form in which both can be sent.

    Raises
    ------
    RequestInvalid
        The body is none of the three forms.
    RequestTooLarge
        There are too many rows.
    """
    document = decode_json(body)
    if not isinstance(document, dict):
        raise invalid(f"the body is {kind_of(document)}", "an object")
    features = {feature.name for feature in schema.features}
    if isinstance(document.get("rows"), list):
        return parse_batch(document)
    options = [name for name in OPTIONS if name not in features]
    named = {name: parse_name(name, document[name]) for name in options if name in document}
    rest = {name: value for name, value in document.items() if name not in named}
    release, compare = named.get("release"), named.get("compare")
    if "id" in rest and "id" not in features:
        return Question((), parse_id(rest), release, compare, alone=True)
    if "rows" in rest and "rows" not in features:
        raise invalid(f"rows is {kind_of(rest['rows'])}", "an array of rows")
    return Question((parse_row(rest, "the body"),), None, release, compare, alone=True)


def parse_batch(document: Mapping[str, object]) -> Question:
    """Return what a body with an array of rows asks."""
    rows: list[object] = document["rows"]  # type: ignore[assignment]  # the caller has looked
    beside = next((key for key in document if key not in {"rows", *OPTIONS}), None)
    if beside is not None:
        raise invalid(f"there is a field {show(beside)!r} beside rows", "release and compare at most")
    if len(rows) > MAX_ROWS:
        raise RequestTooLarge(
            problem=f"there are {len(rows)} rows",
            expected=f"at most {MAX_ROWS} rows",
            action="send them in several requests",
        )
    release, compare = (parse_name(name, document[name]) if name in document else None for name in OPTIONS)
    parsed = [parse_row(row, f"rows[{at}]") for at, row in enumerate(rows)]
    return Question(parsed, None, release, compare, alone=False)


def parse_name(field: str, value: object) -> str:
    """Return the name of a release; RequestInvalid if it can be none."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME:
        raise invalid(f"{field} is {show(value)!r}", f"a release's number or digest, a text of 1 to {MAX_NAME} letters")
    return value


def parse_id(rest: Mapping[str, object]) -> str:
    """Return the id of a prediction; RequestInvalid if it can be none, or if there is more."""
    value = rest["id"]
    if not isinstance(value, str) or not 0 < len(value) <= MAX_ID_LENGTH:
        raise invalid(f"id is {show(value)!r}", "the id that a prediction was answered with")
    if len(rest) > 1:
        beside = next(key for key in rest if key != "id")
        raise invalid(f"there is a field {show(beside)!r} beside id", "release and compare at most")
    return value


def invalid(problem: str, expected: str) -> RequestInvalid:
    """Return the error for a body of another form."""
    forms = 'send {"column": value, ...}, {"rows": [...]} or {"id": "..."}, with "release" and "compare" if you like'
    return RequestInvalid(problem=problem, expected=expected, action=forms)


def encode_question(subject: Subject) -> bytes:
    """Return what the process that explains is asked; RequestInvalid for rows that are nested too deeply."""
    with refuse_depth():
        return msgspec.json.encode(subject.question())


# --- the answer ---------------------------------------------------------------------------------------------------


def answer_explanations(request: Request, question: Question, subject: Subject, found: Sequence[Json]) -> Response:
    """Return the answer: a row alone as an object of its own, and as a problem if it is impossible."""
    told = [with_values(row, one) for row, one in zip(subject.rows, found, strict=True)]
    if not question.alone:
        return to_json({"explanations": told})
    (one,) = told
    if "rejected" in one:
        return refuse(request, rejected_row(one["rejected"]))
    if subject.answered is not None:
        one = {"id": question.prediction, "answered": subject.answered, **one}
    return to_json(one)


def with_values(row: SentRow, told: Json) -> Json:
    """Return an explanation; where it is a refusal, with each value as it was sent."""
    if "rejected" not in told:
        return told
    return {
        "rejected": [
            {
                "column": show(broken["column"]),
                "value": show(row.get(broken["column"])),
                "rule": broken["rule"],
                "expected": broken["expected"],
            }
            for broken in told["rejected"]
        ]
    }
