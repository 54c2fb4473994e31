"""Requests that are answered or refused as a whole: rows as columns, and the refusal that names the first bad row.

Not here: the forms of the protocols that do so (`web.open_inference`, `web.mlflow_scoring`), or the rules
(`validation.checks`). A whole request stands or falls where an answer has no place for a refused row.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from http import HTTPStatus
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from homeostat.data.columns import numbers, plain_cells, texts
from homeostat.deployment.serving import LiveRelease
from homeostat.errors import MediaTypeInvalid, RequestInvalid
from homeostat.monitoring.idempotency import Answered
from homeostat.records import Feature, Floats, Schema
from homeostat.validation.checks import check_table
from homeostat.validation.decoding import FEW_ROWS, Cells
from homeostat.web.answers import Answer, Judged, Refused, SentRow, judge_cells, judge_rows
from homeostat.web.bodies import decode_json, show
from homeostat.web.endpoint import Reply, Sent
from homeostat.web.problems import Problem, answer_problem

# The cells of one feature as they were sent, None or NaN for missing: plain values, or numbers as an array.
Column: TypeAlias = Sequence[object] | Floats

# A text of JSON, also one that never ends (so that it is never looked for again from its middle), or a bare NaN.
TEXT_OR_NAN = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|NaN', re.DOTALL)


def decode_python_json(body: bytes) -> object:
    """Return the JSON value in a body, in which a bare NaN is null: so Python's own writers say "missing"."""
    if b"NaN" in body:
        body = TEXT_OR_NAN.sub(lambda found: b"null" if found[0] == b"NaN" else found[0], body)
    return decode_json(body)


def require_plain(sent: Sent) -> None:
    """Raise MediaTypeInvalid for a compressed body; https://www.rfc-editor.org/rfc/rfc9110#section-15.5.16."""
    coding = sent.headers.get(b"content-encoding", b"identity")
    if coding.lower() != b"identity":
        raise MediaTypeInvalid(
            problem=f"the Content-Encoding is {coding[:40].decode('latin-1')!r}",
            expected="a body that is not compressed",
            action="send it as it is",
        )


def judge_columns(columns: Mapping[str, Column], live: LiveRelease, *, received_at: int) -> Judged:
    """Return what becomes of the rows of a table; see `web.answers.judge_cells`.

    Raises
    ------
    RequestInvalid
        The columns are not exactly those of the schema.
    """
    require_columns(columns, live.schema)
    ordered = {feature.name: columns[feature.name] for feature in live.schema.features}
    if len(next(iter(ordered.values()))) < FEW_ROWS:
        return judge_rows(to_rows(ordered), live, received_at=received_at)
    arrays = {feature.name: to_array(ordered[feature.name], feature) for feature in live.schema.features}
    checked = check_table(arrays, live.schema)
    accepted = zip(*[plain_cells(checked.columns[name]) for name in ordered], strict=True)
    found: list[Cells | None] = [next(accepted) if fits else None for fits in checked.accepted.tolist()]
    read_again = cache(lambda: to_rows(ordered))
    return judge_cells(found, lambda place: read_again()[place], live, received_at=received_at)


def to_rows(columns: Mapping[str, Column]) -> list[SentRow]:
    """Return a table as rows of plain values."""
    cells = [column.tolist() if isinstance(column, np.ndarray) else column for column in columns.values()]
    return [dict(zip(columns, row, strict=True)) for row in zip(*cells, strict=True)]


def require_columns(columns: Collection[str], schema: Schema) -> None:
    """Raise RequestInvalid unless the columns are exactly those of the schema, in any order."""
    names = [feature.name for feature in schema.features]
    found = set(columns)
    absent = next((name for name in names if name not in found), None)
    unknown = next((name for name in columns if name not in names), None)
    if absent is not None or unknown is not None:
        raise RequestInvalid(
            problem=f"the column {show(unknown)} is not known" if absent is None else f"there is no column {absent!r}",
            expected=f"the columns {', '.join(names)}",
            action="send each of them and no other, with null for what was not measured",
        )


def to_array(column: Column, feature: Feature) -> NDArray[Any]:
    """Return a column as `check_table` takes it: numbers as float64, everything else as objects."""
    if isinstance(column, np.ndarray):
        return column
    found = numbers(column) if feature.kind == "numeric" else None
    return texts(column) if found is None else found


def reply_whole(judged: Judged, answer: Callable[[Sequence[Answer]], Answered], *, path: str) -> Reply:
    """Return the reply to a request: its answer, or the refusal of the whole if one of its rows is impossible.

    Parameters
    ----------
    judged
        What became of the rows.
    answer
        Makes the answer if every row has one.
    path
        A path of the protocol, which has its own form for errors.
    """
    answers = [result for result in judged.results if isinstance(result, Answer)]
    if len(answers) == len(judged.results):
        return Reply(judged, answer(answers))
    problem = describe_refusal(judged.results)
    return Reply(judged.without_answers(), answer_problem(problem, path), problem.code)


def describe_refusal(results: Sequence[Answer | Refused]) -> Problem:
    """Return the problem of a request with an impossible row: the first of them, with its first broken rule."""
    refused = [(place, result) for place, result in enumerate(results) if isinstance(result, Refused)]
    place, result = refused[0]
    first = result.rejected[0]
    value = "missing" if first["rule"] == "required" else describe_value(first["value"])
    return Problem(
        HTTPStatus.BAD_REQUEST,
        "row-rejected",
        f"row {place} is impossible: {first['column'] or 'the row'} is {value}, against the rule {first['rule']!r}",
        first["expected"],
        f"correct or leave out {len(refused)} of the {len(results)} rows: none was answered",
    )


def describe_value(value: object) -> str:
    """Return a value in words: infinity, which JSON has no word for, by name."""
    return f"{value:.15g}" if isinstance(value, float) else msgspec.json.encode(value).decode()
