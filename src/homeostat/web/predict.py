"""POST /v1/predict: which rows are in a body, and the form of the answer.

Not here: what becomes of a row (`web.answers`), or how a request is read and kept (`web.endpoint`). A body is a batch
exactly if its `rows` is an array: a feature may be called `rows` too, because no feature's value is an array.
"""

from collections.abc import Sequence
from functools import cache
from http import HTTPStatus

import msgspec

from homeostat.deployment.serving import LiveRelease
from homeostat.errors import RequestInvalid, RequestTooLarge
from homeostat.monitoring.idempotency import Answered
from homeostat.records import Json, Schema
from homeostat.web.answers import Judged, Refused, SentRow, judge_cells, judge_rows
from homeostat.web.bodies import decode_json, kind_of, refuse_depth, show
from homeostat.web.endpoint import JSON, Reply, Sent
from homeostat.web.problems import Problem, answer_problem


def judge_predict(sent: Sent, live: LiveRelease) -> Reply:
    """Return what the rows in a body are answered with; a row that is accepted at once need not come here.

    Raises
    ------
    RequestInvalid
        The body is not a row and not a batch of rows.
    RequestTooLarge
        The batch has more rows than the service takes.
    """
    batch = live.decoder.decode_batch(sent.body)
    if batch is None:
        return judge_document(sent, live)
    require_at_most(sent.max_rows, len(batch))
    read_again = cache(lambda: parse_batch(decode_json(sent.body), live.schema, max_rows=sent.max_rows) or ())
    return reply_to_batch(judge_cells(batch, lambda place: read_again()[place], live, received_at=sent.received_at))


def judge_document(sent: Sent, live: LiveRelease) -> Reply:
    """Return the answer to a body that the decoder leaves to the rules; errors as `judge_predict`."""
    document = decode_json(sent.body)
    with refuse_depth():
        rows = parse_batch(document, live.schema, max_rows=sent.max_rows)
        if rows is None:
            return reply_to_row(judge_rows([parse_row(document, "the body")], live, received_at=sent.received_at))
        return reply_to_batch(judge_rows(rows, live, received_at=sent.received_at))


def parse_batch(document: object, schema: Schema, *, max_rows: int) -> list[SentRow] | None:
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
    require_at_most(max_rows, len(rows))
    return [parse_row(row, f"rows[{index}]") for index, row in enumerate(rows)]


def parse_row(document: object, where: str) -> SentRow:
    """Return a row as a mapping; RequestInvalid if it is anything else."""
    if not isinstance(document, dict):
        raise invalid(f"{where} is {kind_of(document)}", "a row as an object of column names and values")
    return document


def require_at_most(max_rows: int, n_rows: int) -> None:
    """Raise RequestTooLarge for more rows than the service takes at once."""
    if n_rows > max_rows:
        raise RequestTooLarge(
            problem=f"there are {n_rows} rows",
            expected=f"at most {max_rows} rows",
            action="send them in several requests, or raise serving.max_rows",
        )


def invalid(problem: str, expected: str) -> RequestInvalid:
    """Return the error for a body of another form."""
    return RequestInvalid(problem=problem, expected=expected, action='send {"column": value, ...} or {"rows": [...]}')


def reply_to_row(judged: Judged) -> Reply:
    """Return the reply to a single row: a rejected one is a problem."""
    (result,) = judged.results
    if not isinstance(result, Refused):
        return Reply(judged, Answered(200, JSON, msgspec.json.encode(result)))
    problem = rejected_row(result.rejected)
    return Reply(judged, answer_problem(problem, "/v1/predict"), problem.code)


def reply_to_batch(judged: Judged) -> Reply:
    """Return the reply to a batch: each row in its place."""
    return Reply(judged, Answered(200, JSON, msgspec.json.encode({"predictions": judged.results})))


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
