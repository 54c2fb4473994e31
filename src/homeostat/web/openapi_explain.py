"""How /v1/explain is described in /openapi.json and /docs.

Not here: what the route does. The bodies are judged by the rules, never by these models.
"""

from typing import Any

from pydantic import BaseModel, Field

from homeostat.records import Json, Schema
from homeostat.web.bodies import MAX_ID_LENGTH
from homeostat.web.openapi import (
    Problem,
    Rejection,
    RowProblem,
    common_problems,
    describe_row,
    example_row,
    problem_response,
    request_body,
)

NAME: Json = {
    "type": "string",
    "minLength": 1,
    "maxLength": 64,
    "description": "A release: its number, digest or the beginning of it.",
}
LINKS: Json = {"release": NAME, "compare": NAME}


class Contribution(BaseModel):
    """What one feature of a row adds to the log-odds of the answer."""

    feature: str
    value: float | str | None = Field(description="As the release takes it.")
    missing: bool = Field(description="Whether that value means: not measured.")
    contribution: float


class Explained(BaseModel):
    """Why a release answers a row as it does: `base` and the contributions sum to `log_odds`."""

    release: str
    probability: float = Field(ge=0, le=1)
    label: int | str
    base: float = Field(description="The log-odds of the average training row.")
    log_odds: float = Field(description="Of the probability.")
    contributions: list[Contribution] = Field(description="Largest first.")
    sentence: str


class Difference(BaseModel):
    """By how much the part of one feature differs between two releases."""

    feature: str
    value: float | str | None
    missing: bool
    before: float
    after: float
    difference: float


class Change(BaseModel):
    """Why the answer to a row has changed: `base` and the differences sum to `log_odds`."""

    from_: str = Field(alias="from", description="The release that was registered first.")
    to: str
    log_odds: float
    base: float
    differences: list[Difference] = Field(description="Largest first.")
    sentence: str


class Answered(BaseModel):
    """What a stored prediction was answered with."""

    release: str
    probability: float
    at: str


class Explanation(Explained):
    """The same, with the other release and the change if one was named, and the prediction if an id was sent."""

    id: str | None = None
    answered: Answered | None = None
    compare: Explained | None = None
    change: Change | None = None


class Explanations(BaseModel):
    """The explanations of a batch, in the order of its rows."""

    explanations: list[Explanation | Rejection]


def describe_explain(schema: Schema) -> dict[str, Any]:
    """Return the keyword arguments of the route that describe it."""
    row, names = describe_row(schema), {feature.name for feature in schema.features}
    links = {name: form for name, form in LINKS.items() if name not in names}
    alone = {**row, "title": "Row to explain", "properties": {**links, **row["properties"]}}
    other = {"type": "object", "title": "Any other row: it is rejected in its place"}
    # Their number is said in words: too many are refused as too large (413), not as a body of another form.
    rows = {"type": "array", "items": {"anyOf": [row, other]}, "description": "At most 100."}
    forms = [alone, describe_form("rows", rows)]
    if "id" not in names:
        forms.append(describe_form("id", {"type": "string", "minLength": 1, "maxLength": MAX_ID_LENGTH}))
    examples = {
        "row": {"summary": "One row", "value": example_row(schema)},
        "rows": {"summary": "Many rows", "value": {"rows": [example_row(schema)]}},
    }
    return {
        "tags": ["predictions"],
        "summary": "Explain the answer to one row, to {rows: [...]}, or to the prediction {id: ...}",
        "description": "What each feature adds to the log-odds (SHAP values of the native model), and with `compare`"
        " why the answer differs between two releases. Nothing is stored.",
        "response_model": None,
        "responses": {
            200: {"model": Explanation | Explanations, "description": "One explanation, or one for each row."},
            404: problem_response(Problem, "No release has this name, or no prediction this id."),
            409: problem_response(Problem, "The release holds nothing that explains its answers."),
            422: problem_response(RowProblem, "The single row is impossible."),
            501: problem_response(Problem, "Only the service is installed here, and nothing that explains."),
            **common_problems(),
        },
        "openapi_extra": {"requestBody": request_body({"anyOf": forms}, examples)},
    }


def describe_form(name: str, content: Json) -> Json:
    """Return the JSON Schema of a body with one member and the names of releases."""
    return {
        "type": "object",
        "properties": {name: content, **LINKS},
        "required": [name],
        "additionalProperties": False,
    }
