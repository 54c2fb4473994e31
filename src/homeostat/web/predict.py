"""POST /v1/predict: what becomes of the rows of one request, from the bytes that came in to the bytes that go out.

Not here: the rules (`validation.checks`), which release answers (`deployment.serving`), or when a row counts as kept
(`monitoring.predictions`). A body is a batch exactly if its `rows` is an array: a feature may be called `rows` too,
because no feature's value is an array.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from itertools import islice

import msgspec
from fastapi import FastAPI, Request, Response

from homeostat.data.columns import stack_rows
from homeostat.deployment.serving import LiveRelease
from homeostat.errors import RequestInvalid, RequestTooLarge
from homeostat.monitoring.metrics import Metrics
from homeostat.monitoring.predictions import Rejection, Values, new_prediction_id, prediction_values, rejection_values
from homeostat.records import Json, Label, Prediction, Row, Schema, Violation
from homeostat.training.scoring import POSITIVE_FROM
from homeostat.validation.checks import check_row
from homeostat.validation.schema import class_label
from homeostat.web.bodies import decode_json, kind_of, read_body, show
from homeostat.web.openapi import describe_predict
from homeostat.web.problems import Problem, refuse
from homeostat.web.worker import Worker

# A body beyond this is judged in a thread: some 200 rows take longer than the 0.1 ms that the thread costs.
THREAD_BYTES = 32_768
# Each unknown field is compared with every column: more of them are not named.
MAX_UNKNOWN_FIELDS = 20
# An accepted row that the graph has no number for: a model that overflows must not stop the log.
NO_ANSWER = Violation("", None, "answer", "a row that the model has an answer to")


@dataclass(frozen=True, slots=True)
class Reply:
    """What a request is answered with once its lines are kept: `answer`, or `problem` if there is one.

    `labels` and `violations` count the answered rows by label, and the broken rules by column and rule.
    """

    predicted: Sequence[Values]
    rejected: Sequence[Values]
    labels: Counter[Label]
    violations: Counter[tuple[str, str]]
    answer: bytes
    problem: Problem | None


def add_predict(app: FastAPI, worker: Worker) -> None:
    """Add the route to the application."""
    limits = worker.project.settings.serving

    async def predict(request: Request) -> Response:
        live = worker.require_live()
        body = await read_body(request, limit_bytes=limits.max_body_bytes)
        now = datetime.now(UTC)
        if len(body) > THREAD_BYTES:
            reply = await asyncio.to_thread(judge, body, live, max_rows=limits.max_rows, now=now)
        else:
            reply = judge(body, live, max_rows=limits.max_rows, now=now)
        await worker.log.append(reply.predicted, reply.rejected)
        count(reply, live.schema, worker.metrics)
        if reply.problem is not None:
            return refuse(request, reply.problem)
        return Response(reply.answer, media_type="application/json")

    description = describe_predict(worker.project.schema)
    app.post("/v1/predict", **description)(predict)


def judge(body: bytes, live: LiveRelease, *, max_rows: int, now: datetime) -> Reply:
    """Return what the rows in a body, received at `now`, are answered with.

    Raises
    ------
    RequestInvalid
        The body is not a row and not a batch of rows.
    RequestTooLarge
        The batch has more than `max_rows` rows.
    """
    document = decode_json(body)
    try:
        rows = parse_batch(document, live.schema, max_rows=max_rows)
        if rows is None:
            return reply_to_row(judge_rows([parse_row(document, "the body")], live, now=now)[0])
        return reply_to_batch(judge_rows(rows, live, now=now))
    except RecursionError as error:
        raise RequestInvalid(
            problem="the body is nested too deeply", expected="rows of plain values", action="send plain values"
        ) from error


def parse_batch(document: object, schema: Schema, *, max_rows: int) -> list[Mapping[str, object]] | None:
    """Return the rows of a batch, None if the document is no batch."""
    rows = document.get("rows") if isinstance(document, dict) else None
    if not isinstance(document, dict) or "rows" not in document:
        return None
    if not isinstance(rows, list):
        if any(feature.name == "rows" for feature in schema.features):
            return None
        raise invalid(f"rows is {kind_of(rows)}", "an array of rows")
    if len(document) > 1:
        beside = next(key for key in document if key != "rows")
        raise invalid(f"there is a field {show(beside)!r} beside rows", "rows alone")
    if len(rows) > max_rows:
        raise RequestTooLarge(
            problem=f"there are {len(rows)} rows",
            expected=f"at most {max_rows} rows",
            action="send them in several requests, or raise serving.max_rows",
        )
    return [parse_row(row, f"rows[{index}]") for index, row in enumerate(rows)]


def parse_row(document: object, where: str) -> Mapping[str, object]:
    """Return a row as a mapping; RequestInvalid if it is anything else."""
    if not isinstance(document, dict):
        raise invalid(f"{where} is {kind_of(document)}", "a row as an object of column names and values")
    return document


def invalid(problem: str, expected: str) -> RequestInvalid:
    """Return the error for a body of another form."""
    return RequestInvalid(problem=problem, expected=expected, action='send {"column": value, ...} or {"rows": [...]}')


def judge_rows(
    rows: Sequence[Mapping[str, object]], live: LiveRelease, *, now: datetime
) -> list[Prediction | Rejection]:
    """Return what becomes of each row, in order; all accepted ones are scored in one call of the graph."""
    checked = [check_row(bound_unknown(row, live.schema), live.schema) for row in rows]
    probabilities = iter(score([one.row for one in checked if not one.violations], live))
    judged: list[Prediction | Rejection] = []
    for row, one in zip(rows, checked, strict=True):
        probability = math.nan if one.violations else next(probabilities)
        if math.isfinite(probability):
            judged.append(predict_row(one.row, probability, live, now=now))
        else:
            violations = [violation_to_json(violation) for violation in one.violations or (NO_ANSWER,)]
            judged.append(Rejection(now, msgspec.json.encode(row), violations))
    return judged


def bound_unknown(row: Mapping[str, object], schema: Schema) -> Mapping[str, object]:
    """Return a row without all but its first unknown fields, if it has very many."""
    if len(row) <= len(schema.features) + MAX_UNKNOWN_FIELDS:
        return row
    names = {feature.name for feature in schema.features}
    unknown = islice((key for key in row if key not in names), MAX_UNKNOWN_FIELDS)
    return {key: row[key] for key in (*(names & row.keys()), *unknown)}


def score(rows: Sequence[Row], live: LiveRelease) -> list[float]:
    """Return the probability of the positive class for each accepted row."""
    return [float(p) for p in live.graph.score(stack_rows(rows, live.schema))] if rows else []


def predict_row(row: Row, probability: float, live: LiveRelease, *, now: datetime) -> Prediction:
    """Return the prediction for one row: positive from one half on."""
    label = class_label(live.schema.target, positive=probability >= POSITIVE_FROM)
    return Prediction(new_prediction_id(now), now, live.digest, row, probability, label)


def reply_to_row(judged: Prediction | Rejection) -> Reply:
    """Return the reply to a single row: a rejected one is a problem."""
    problem = rejected_row(judged.violations) if isinstance(judged, Rejection) else None
    return prepare_reply([judged], answer_to(judged), problem)


def reply_to_batch(judged: Sequence[Prediction | Rejection]) -> Reply:
    """Return the reply to a batch: each row in its place."""
    return prepare_reply(judged, {"predictions": [answer_to(one) for one in judged]}, None)


def prepare_reply(judged: Sequence[Prediction | Rejection], answer: Json, problem: Problem | None) -> Reply:
    """Return a reply with everything done that takes time in a large batch."""
    predictions = [one for one in judged if isinstance(one, Prediction)]
    rejections = [one for one in judged if isinstance(one, Rejection)]
    return Reply(
        [prediction_values(one) for one in predictions],
        [rejection_values(one) for one in rejections],
        Counter(one.label for one in predictions),
        Counter((violation["column"], violation["rule"]) for one in rejections for violation in one.violations),
        msgspec.json.encode(answer),
        problem,
    )


def answer_to(judged: Prediction | Rejection) -> Json:
    """Return what one row is answered with."""
    if isinstance(judged, Rejection):
        return {"rejected": judged.violations}
    return {
        "id": judged.id,
        "probability": judged.probability,
        "label": judged.label,
        "release": judged.release,
    }


def violation_to_json(violation: Violation) -> Json:
    """Return one broken rule as it is answered and stored."""
    return {
        "column": show(violation.column),
        "value": show(violation.value),
        "rule": violation.rule,
        "expected": violation.expected,
    }


def rejected_row(rejected: Sequence[Json]) -> Problem:
    """Return the problem that a rejected single row is answered with."""
    first = rejected[0]
    value = "missing" if first["rule"] == "required" else msgspec.json.encode(first["value"]).decode()
    more = f" (and {len(rejected) - 1} more)" if len(rejected) > 1 else ""
    return Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "row-rejected",
        f"{first['column']} is {value}{more}",
        first["expected"],
        "correct the value, or send null if it was not measured",
        more={"rejected": rejected},
    )


def count(reply: Reply, schema: Schema, metrics: Metrics) -> None:
    """Count the rows of a request that are kept."""
    for label, n_rows in reply.labels.items():
        metrics.predictions.labels(str(label)).inc(n_rows)
    metrics.rejected.inc(len(reply.rejected))
    metrics.count_violations(reply.violations, {feature.name for feature in schema.features})
