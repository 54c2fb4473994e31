"""MLflow's scoring protocol: which rows are in a body of /invocations, and what answers beside it.

Not here: what becomes of a row (`web.answers`). Forms, media types and errors are those of MLflow's own server:
https://github.com/mlflow/mlflow/blob/master/mlflow/pyfunc/scoring_server/__init__.py
"""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from importlib.metadata import version as version_of
from types import MappingProxyType
from typing import Any

import msgspec
from fastapi import FastAPI, Response
from fastapi.responses import PlainTextResponse

from homeostat.deployment.serving import LiveRelease
from homeostat.errors import MediaTypeInvalid, RequestInvalid
from homeostat.monitoring.idempotency import Answered
from homeostat.records import Feature
from homeostat.web.answers import Answer, Judged, judge_rows
from homeostat.web.bodies import kind_of, refuse_depth, show
from homeostat.web.endpoint import JSON, Reply, Sent
from homeostat.web.openapi_protocols import describe_ping
from homeostat.web.predict import require_at_most
from homeostat.web.tables import (
    Column,
    decode_python_json,
    judge_columns,
    reply_whole,
    require_columns,
    require_plain,
)
from homeostat.web.worker import Worker

INVOCATIONS = "/invocations"
JSON_TYPE = "application/json"
# MLflow's documentation says application/csv, its server reads text/csv.
CSV_TYPES = ("text/csv", "application/csv")
# Texts that pandas reads as "not measured", too, in every column. Its others (NA, None) may be categories.
NO_VALUE = frozenset({"", "NaN", "nan"})


def judge_invocations(sent: Sent, live: LiveRelease) -> Reply:
    """Return what the rows in a body are answered with.

    Raises
    ------
    MediaTypeInvalid
        The content type is none that MLflow names, or the body is compressed.
    RequestInvalid
        The body is in none of the forms, or its columns are not those of the schema.
    RequestTooLarge
        There are more rows than the service takes.
    """
    require_plain(sent)
    media_type = media_type_of(sent.headers.get(b"content-type", b""))
    with refuse_depth():
        judged = judge_csv(sent, live) if media_type in CSV_TYPES else judge_json(sent, live)
    return reply_whole(judged, answer_predictions, path=INVOCATIONS)


def answer_predictions(answers: Sequence[Answer]) -> Answered:
    """Return the answer for accepted rows, as MLflow answers a table: one record for each."""
    return Answered(HTTPStatus.OK, JSON, msgspec.json.encode({"predictions": answers}))


def media_type_of(header: bytes) -> str:
    """Return the media type that a Content-Type names; MediaTypeInvalid for one that MLflow refuses."""
    text = header[:200].decode("latin-1")
    media_type, *parameters = (part.strip().lower() for part in text.split(";"))
    # An empty parameter is one of MLflow's own examples: "application/json;".
    charsets = {"", "charset=utf-8", 'charset="utf-8"'}
    if media_type in {JSON_TYPE, *CSV_TYPES} and set(parameters) <= charsets:
        return media_type
    raise MediaTypeInvalid(
        problem=f"the Content-Type is {text!r}",
        expected="application/json or text/csv, in UTF-8",
        action="send the header Content-Type",
    )


def judge_json(sent: Sent, live: LiveRelease) -> Judged:
    """Return what becomes of the rows in a JSON body; `params` and anything else beside them is not looked at."""
    document = decode_python_json(sent.body)
    one_form = f"an object with exactly one of {', '.join(FORMS)}"
    if not isinstance(document, dict):
        raise invalid(f"the body is {kind_of(document)}", one_form)
    forms = [form for form in FORMS if form in document]
    if len(forms) != 1:
        raise invalid(f"the body has {len(forms)} of these forms", one_form)
    return FORMS[forms[0]](document[forms[0]], sent, live)


def judge_split(table: Any, sent: Sent, live: LiveRelease) -> Judged:
    """Return what becomes of rows as lists, with the names of their columns beside them; `index` means nothing."""
    if not isinstance(table, dict) or not table.keys() <= {"columns", "data", "index"} or "data" not in table:
        raise invalid("dataframe_split is no object of columns, index and data")
    return judge_lists(table["data"], table.get("columns"), sent, live)


def judge_lists(rows: Any, names: Any, sent: Sent, live: LiveRelease) -> Judged:
    """Return what becomes of rows as lists of cells; without names, they are in the order of the schema."""
    names = [feature.name for feature in live.schema.features] if names is None else names
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise invalid("the names of the columns are not all text")
    if not isinstance(rows, list):
        raise invalid(f"the rows are {kind_of(rows)}")
    require_at_most(sent.max_rows, len(rows))
    require_columns(names, live.schema)
    for place, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(names):
            raise invalid(f"row {place} is no array of {len(names)} cells", "a cell for each column")
    columns = zip(*rows, strict=True) if rows else ([] for _ in names)
    return judge_columns(name_columns(names, columns), live, received_at=sent.received_at)


def judge_records(rows: Any, sent: Sent, live: LiveRelease) -> Judged:
    """Return what becomes of rows as objects."""
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise invalid("the rows are not an array of objects")
    require_at_most(sent.max_rows, len(rows))
    return judge_rows(rows, live, received_at=sent.received_at)


def judge_tensors(content: Any, sent: Sent, live: LiveRelease) -> Judged:
    """Return what becomes of columns by name, of rows as objects, or of rows as lists in the order of the schema."""
    if not isinstance(content, dict):
        is_records = isinstance(content, list) and bool(content) and isinstance(content[0], dict)
        return judge_records(content, sent, live) if is_records else judge_lists(content, None, sent, live)
    if not any(isinstance(column, list) for column in content.values()):
        return judge_records([content], sent, live)
    require_columns(content, live.schema)
    lengths = {len(column) if isinstance(column, list) else None for column in content.values()}
    if len(lengths) > 1 or None in lengths:
        raise invalid("the columns are not arrays of one length")
    require_at_most(sent.max_rows, len(next(iter(content.values()))))
    return judge_columns(content, live, received_at=sent.received_at)


# How the rows are written, by the one field that holds them.
FORMS: Mapping[str, Callable[[Any, Sent, LiveRelease], Judged]] = MappingProxyType(
    {
        "dataframe_split": judge_split,
        "dataframe_records": judge_records,
        "instances": judge_tensors,
        "inputs": judge_tensors,
    }
)


def judge_csv(sent: Sent, live: LiveRelease) -> Judged:
    """Return what becomes of the lines below a header; empty cells and NaN are not measured."""
    try:
        lines = list(csv.reader(io.StringIO(sent.body.decode("utf-8-sig"), newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise invalid_csv(f"the body cannot be read: {error}") from error
    if not lines or not lines[0]:
        raise invalid_csv("there is no header line")
    header, *below = lines
    rows = [line for line in below if line or len(header) == 1]
    require_at_most(sent.max_rows, len(rows))
    for place, row in enumerate(rows):
        if row and len(row) != len(header):
            raise invalid_csv(f"row {place} has {len(row)} of {len(header)} cells")
    columns: list[Sequence[str]] = list(zip(*(row or [""] for row in rows), strict=True)) or [() for _ in header]
    if header[0] == "":  # the index, which pandas writes unless it is told not to
        header, columns = header[1:], columns[1:]
    require_columns(header, live.schema)
    features = {feature.name: feature for feature in live.schema.features}
    cells = [[read_cell(text, features[name]) for text in column] for name, column in zip(header, columns, strict=True)]
    return judge_columns(name_columns(header, cells), live, received_at=sent.received_at)


def read_cell(text: str, feature: Feature) -> float | str | None:
    """Return what a cell of CSV says; text that is no number stays for the rules."""
    text = text.strip()
    if text in NO_VALUE:
        return None
    # float() reads 1_000 as a number, which no program writes.
    if feature.kind == "categorical" or "_" in text:
        return text
    try:
        return float(text)
    except ValueError:
        return text


def name_columns(names: Sequence[str], columns: Any) -> dict[str, Column]:
    """Return columns by name; RequestInvalid for a name that stands twice."""
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise invalid(f"the column {show(twice)} is there twice", "each column once")
    return dict(zip(names, columns, strict=True))


def invalid(problem: str, expected: str = "rows in one of MLflow's forms") -> RequestInvalid:
    """Return the error for JSON of another form."""
    return RequestInvalid(
        problem=problem,
        expected=expected,
        action='send {"dataframe_split": {"columns": [...], "data": [[...], ...]}}',
    )


def invalid_csv(problem: str) -> RequestInvalid:
    """Return the error for CSV that is no table."""
    return RequestInvalid(
        problem=problem,
        expected="CSV in UTF-8, a header line and as many cells in each row",
        action="write it with pandas.DataFrame.to_csv(index=False)",
    )


def add_mlflow_scoring(app: FastAPI, worker: Worker) -> None:
    """Add the routes that only look: health and version."""

    async def ping() -> Response:
        # 503 and not MLflow's 404: a release that is not there yet will come.
        status = HTTPStatus.SERVICE_UNAVAILABLE if worker.find_obstacles() else HTTPStatus.OK
        return PlainTextResponse("\n", status)

    for path in ("/ping", "/health"):
        app.get(path, summary="Whether requests should be sent here", **describe_ping())(ping)

    @app.get("/version", tags=["mlflow"], summary="The version of Homeostat", response_class=PlainTextResponse)
    async def version() -> Response:
        # MLflow's server has MLflow's own version here; that its media type is JSON is not repeated: the text is none.
        return PlainTextResponse(version_of("homeostat"))
