"""How every refusal and every failure is answered: one table from errors to HTTP, in the form of RFC 9457.

Not here: what is wrong with a request (the routes) or the errors themselves (`errors`).
https://www.rfc-editor.org/rfc/rfc9457
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import MappingProxyType

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Scope, Send

from homeostat.errors import (
    DeadlineExceeded,
    ExplainerFailed,
    ExplainerMissing,
    HomeostatError,
    IdempotencyReused,
    KeyInvalid,
    LogBusy,
    LogFailed,
    MediaTypeInvalid,
    ModelMissing,
    Overloaded,
    PredictionMissing,
    QuotaExceeded,
    ReleaseMissing,
    ReleaseUnexplained,
    RequestInvalid,
    RequestTooLarge,
    ScopeMissing,
)
from homeostat.monitoring.idempotency import Answered
from homeostat.records import Json
from homeostat.web.page_responses import PAGE, wants_page
from homeostat.web.rendering import render_page

MEDIA_TYPE = "application/problem+json"
# The answer of an error is that of its nearest ancestor here: status, and seconds after which to try again.
ANSWERS: Mapping[type[HomeostatError], tuple[HTTPStatus, int | None]] = MappingProxyType(
    {
        RequestTooLarge: (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, None),
        MediaTypeInvalid: (HTTPStatus.UNSUPPORTED_MEDIA_TYPE, None),
        IdempotencyReused: (HTTPStatus.UNPROCESSABLE_ENTITY, None),
        RequestInvalid: (HTTPStatus.BAD_REQUEST, None),
        PredictionMissing: (HTTPStatus.NOT_FOUND, None),
        ModelMissing: (HTTPStatus.NOT_FOUND, None),
        KeyInvalid: (HTTPStatus.UNAUTHORIZED, None),
        ScopeMissing: (HTTPStatus.FORBIDDEN, None),
        QuotaExceeded: (HTTPStatus.TOO_MANY_REQUESTS, None),
        ReleaseMissing: (HTTPStatus.SERVICE_UNAVAILABLE, 5),
        Overloaded: (HTTPStatus.SERVICE_UNAVAILABLE, 1),
        ReleaseUnexplained: (HTTPStatus.CONFLICT, None),
        ExplainerMissing: (HTTPStatus.NOT_IMPLEMENTED, None),
        ExplainerFailed: (HTTPStatus.SERVICE_UNAVAILABLE, 1),
        LogBusy: (HTTPStatus.SERVICE_UNAVAILABLE, 1),
        DeadlineExceeded: (HTTPStatus.SERVICE_UNAVAILABLE, 5),
        LogFailed: (HTTPStatus.SERVICE_UNAVAILABLE, 5),
        HomeostatError: (HTTPStatus.INTERNAL_SERVER_ERROR, None),
    }
)
# What MLflow calls a status (ERROR_CODE_TO_HTTP_STATUS in
# https://github.com/mlflow/mlflow/blob/master/mlflow/exceptions.py); it has no name for 413 and 422.
MLFLOW_CODES: Mapping[int, str] = MappingProxyType(
    {
        400: "BAD_REQUEST",
        401: "UNAUTHENTICATED",
        403: "PERMISSION_DENIED",
        404: "RESOURCE_DOES_NOT_EXIST",
        413: "BAD_REQUEST",
        422: "INVALID_PARAMETER_VALUE",
        429: "REQUEST_LIMIT_EXCEEDED",
        503: "TEMPORARILY_UNAVAILABLE",
    }
)
# The codes of problems that are no error of ours: status, when, and what to do.
HTTP_CODES: Mapping[str, tuple[HTTPStatus, str, str]] = MappingProxyType(
    {
        "row-rejected": (
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "A row breaks a rule of the schema; `rejected` lists each value.",
            "correct the values, or the range in `homeostat.toml` if they are possible.",
        ),
        "label-unknown": (
            HTTPStatus.NOT_FOUND,
            "An outcome for a prediction that is not known here, or was deleted.",
            "send the id that the prediction was answered with.",
        ),
        "label-conflicting": (
            HTTPStatus.CONFLICT,
            "An outcome other than the one that was recorded; the first stands.",
            "find out which is right.",
        ),
        "label-invalid": (
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "An outcome that is no value of the target.",
            "send one of `project.target_values`.",
        ),
        "request-missing": (
            HTTPStatus.NOT_FOUND,
            "There is no request with this number.",
            "use the number that the answer 202 gave.",
        ),
        "route-missing": (HTTPStatus.NOT_FOUND, "There is no such route.", "see /docs."),
        "method-not-allowed": (HTTPStatus.METHOD_NOT_ALLOWED, "The route has no such method.", "see /docs."),
        "parameter-invalid": (HTTPStatus.UNPROCESSABLE_ENTITY, "A parameter in the query is wrong.", "correct it."),
        "database-unavailable": (
            HTTPStatus.SERVICE_UNAVAILABLE,
            "The database cannot be read now.",
            "send it again after Retry-After; look at the disk.",
        ),
        "internal": (
            HTTPStatus.INTERNAL_SERVER_ERROR,
            "The service failed in a way that nobody foresaw.",
            "report it, with the service's log.",
        ),
    }
)
# What nginx calls a request whose sender went away; nobody reads the answer.
CLIENT_CLOSED_REQUEST = 499

logger = logging.getLogger("homeostat.web")


@dataclass(frozen=True, slots=True)
class Problem:
    """A refusal in three parts, with what HTTP needs. `more` holds further members of the answer."""

    status: int
    code: str
    detail: str
    expected: str
    action: str
    headers: Mapping[str, str] = field(default_factory=dict)
    more: Json = field(default_factory=dict)


# An error that nobody foresaw.
FAILURE = Problem(500, "internal", "the service failed", "an answer", "report this, with the service's log")
NO_DATABASE = Problem(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "database-unavailable",
    "the database did not answer",
    "a database that can be read",
    "send the request again in a moment",
    headers={"Retry-After": "5"},
)


def problem_to_json(problem: Problem) -> Json:
    """Return the members of an RFC 9457 answer, with our own three parts and code beside them."""
    return {
        "type": f"urn:homeostat:problem:{problem.code}",
        "title": problem.code.replace("-", " ").capitalize(),
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
        "expected": problem.expected,
        "action": problem.action,
        **problem.more,
    }


def render_problem(problem: Problem, path: str) -> tuple[bytes, str]:
    """Return the bytes and the media type of a problem, in the form that the protocol of a path has for errors."""
    sentence = f"{problem.detail}; expected {problem.expected}; {problem.action}"
    # https://github.com/kserve/kserve/blob/master/docs/predict-api/v2/required_api.md#inference-response-json-error-object
    if path == "/v2" or path.startswith("/v2/"):
        return msgspec.json.encode({"error": sentence}), "application/json"
    # https://github.com/mlflow/mlflow/blob/master/mlflow/pyfunc/scoring_server/__init__.py: an MlflowException as JSON,
    # but plain text for a content type that it does not read.
    if path == "/invocations" and problem.status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
        return sentence.encode(), "text/plain; charset=utf-8"
    if path == "/invocations":
        code = MLFLOW_CODES.get(problem.status, "INTERNAL_ERROR")
        return msgspec.json.encode({"error_code": code, "message": sentence}), "application/json"
    return msgspec.json.encode(problem_to_json(problem)), MEDIA_TYPE


def answer_problem(problem: Problem, path: str) -> Answered:
    """Return the answer for a problem of a request to a path, as it is sent and as it is kept under a key."""
    content, media_type = render_problem(problem, path)
    return Answered(problem.status, {"content-type": media_type, **problem.headers}, content)


def answer_asker(problem: Problem, scope: Scope) -> Answered:
    """Return the answer for a problem of a request: a page for a browser, else what `answer_problem` says."""
    if not wants_page(scope["headers"]):
        return answer_problem(problem, scope["path"])
    said = problem_to_json(problem)
    page = render_page("problem.html.jinja", project="Homeostat", places={}, problem=said)
    headers = {**PAGE, "content-type": "text/html; charset=utf-8", **problem.headers}
    return Answered(problem.status, headers, page.encode())


def refuse(request: Request, problem: Problem) -> Response:
    """Return the answer for a problem, and count it."""
    request.app.state.worker.metrics.errors.labels(problem.code).inc()
    answer = answer_asker(problem, request.scope)
    return Response(answer.content, answer.status, dict(answer.headers))


async def send_problem(send: Send, problem: Problem, scope: Scope) -> None:
    """Answer a problem where there is no framework."""
    answer = answer_asker(problem, scope)
    await send_bytes(send, answer.status, answer.headers, answer.content)


async def send_bytes(send: Send, status: int, headers: Mapping[str, str], content: bytes) -> None:
    """Answer with bytes where there is no framework."""
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    encoded.append((b"content-length", b"%d" % len(content)))
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": content})


def problem_of(error: HomeostatError) -> Problem:
    """Return the problem that one of our errors is answered with."""
    status, retry_after_s = next(ANSWERS[kind] for kind in type(error).__mro__ if kind in ANSWERS)
    if isinstance(error, QuotaExceeded):
        retry_after_s = error.retry_after_s
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    return Problem(status, error.code, error.problem, error.expected, error.action, headers)


async def refuse_error(request: Request, error: HomeostatError) -> Response:
    """Answer one of our errors."""
    return refuse(request, problem_of(error))


async def refuse_http(request: Request, error: HTTPException) -> Response:
    """Answer what the framework refuses: an unknown route, a wrong method."""
    phrase = HTTPStatus(error.status_code).phrase
    method, path = request.method, request.url.path[:200]
    if error.status_code == HTTPStatus.NOT_FOUND:
        parts = "route-missing", f"there is no {path}", "a route that /openapi.json lists", "see /docs"
    elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = (error.headers or {}).get("Allow", "another method")
        parts = "method-not-allowed", f"{path} does not answer {method}", allowed, "see /docs"
    else:
        parts = phrase.lower().replace(" ", "-"), str(error.detail), "a request as /openapi.json says", "see /docs"
    return refuse(request, Problem(error.status_code, *parts, headers=dict(error.headers or {})))


async def refuse_parameter(request: Request, error: RequestValidationError) -> Response:
    """Answer a query parameter that is not of the declared form."""
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"][1:])
    detail = f"the parameter {name} is {str(first['input'])[:200]!r}"
    expected = str(first["msg"]).removeprefix("Input should be ")
    return refuse(request, Problem(422, "parameter-invalid", detail, expected, "correct the parameter"))


async def refuse_database(request: Request, error: SQLAlchemyError) -> Response:
    """Answer a question that the database cannot answer now."""
    logger.error("the database did not answer: %s", error)
    return refuse(request, NO_DATABASE)


async def refuse_failure(request: Request, error: Exception) -> Response:  # noqa: ARG001  the framework logs the error
    """Answer an error that nobody foresaw; the server logs its trace."""
    return refuse(request, FAILURE)


async def close_quietly(request: Request, error: ClientDisconnect) -> Response:  # noqa: ARG001  the framework's signature
    """Answer nobody: the sender went away in the middle of the request."""
    return Response(status_code=CLIENT_CLOSED_REQUEST)


def answer_problems(app: FastAPI) -> None:
    """Make every error of an application a problem+json answer."""
    app.exception_handler(HomeostatError)(refuse_error)
    app.exception_handler(HTTPException)(refuse_http)
    app.exception_handler(RequestValidationError)(refuse_parameter)
    app.exception_handler(SQLAlchemyError)(refuse_database)
    app.exception_handler(ClientDisconnect)(close_quietly)
    app.exception_handler(Exception)(refuse_failure)
