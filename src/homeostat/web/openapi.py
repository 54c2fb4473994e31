"""How predict and labels are described in /openapi.json and /docs: forms of requests and answers, from the schema.

Not here: what the routes do. The bodies are judged by the rules, never by these models.
"""

from typing import Any, Literal

from pydantic import BaseModel, Field, TypeAdapter

from homeostat.records import Feature, Json, Label, Schema, Target
from homeostat.validation.checks import FLOAT32_MAX, describe_range
from homeostat.web.bodies import MAX_ID_LENGTH


class Violation(BaseModel):
    """One value that breaks one rule."""

    column: str = Field(description="Empty if the row as a whole has no answer.")
    value: Any = Field(description="As it was sent, cut if it is long.")
    rule: str
    expected: str


class Prediction(BaseModel):
    """One answered row, durably stored."""

    id: str = Field(description="Send the outcome to /v1/labels under this id.")
    probability: float = Field(ge=0, le=1, description="Of the positive class.")
    label: int | str = Field(description="The positive value from a probability of 0.5 on, else the negative one.")
    release: str = Field(description="The digest of the release that answered.")


class Rejection(BaseModel):
    """One impossible row of a batch."""

    rejected: list[Violation]


class Predictions(BaseModel):
    """The answers to a batch, in the order of its rows."""

    predictions: list[Prediction | Rejection]


class Outcome(BaseModel):
    """What became of one label."""

    id: str
    status: Literal["recorded", "repeated", "conflicting", "unknown", "invalid"]
    label: Any = Field(description="As it was sent.")
    standing: int | str | None = Field(default=None, description="If conflicting: the label that stands.")
    code: int | None = Field(default=None, description="In a list: the status that the outcome alone would have had.")


class Outcomes(BaseModel):
    """What became of many labels, in order."""

    outcomes: list[Outcome]


class Problem(BaseModel):
    """A refusal (RFC 9457): `code` is stable, `expected` and `action` say what to send instead."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    expected: str
    action: str


class RowProblem(Problem):
    """A rejected row, with every rule it breaks."""

    code: Literal["row-rejected"]
    rejected: list[Violation] = Field(min_length=1)


class ReusedProblem(Problem):
    """An Idempotency-Key that came with another request before."""

    code: Literal["idempotency-key-reused"]


class Asked(BaseModel):
    """Something that was asked of the loop, and what became of it."""

    request: int = Field(description="Its number: GET /v1/requests/NUMBER tells what becomes of it.")
    kind: Literal["retrain", "promote", "approve", "rollback"]
    release: str | None = Field(description="The digest that it is about.")
    reason: str
    actor: str
    at: str
    decided_at: str | None = Field(description="When a loop took it up or refused it.")
    outcome: str | None = Field(
        description="Null while it waits; begun; refused; or how its cycle has ended, such as promoted or rolled_back."
    )
    sentence: str


class LabelProblem(Problem):
    """A label that was not recorded."""

    code: Literal["label-unknown", "label-conflicting", "label-invalid"]
    outcome: Outcome


def describe_predict(schema: Schema) -> dict[str, Any]:
    """Return the keyword arguments of the route that describe it."""
    row = describe_row(schema)
    batch = describe_list("rows", row, {"type": "object", "title": "Any other row: it is rejected in its place"})
    examples = {
        "row": {"summary": "One row", "value": example_row(schema)},
        "rows": {"summary": "Many rows", "value": {"rows": [example_row(schema)]}},
    }
    return {
        "tags": ["predictions"],
        "summary": "Answer one row, or many as {rows: [...]}",
        "description": "An answered row is in the log before the answer leaves; an impossible one is kept too.",
        "response_model": None,
        "responses": {
            200: {"model": Prediction | Predictions, "description": "One answer, or one for each row."},
            422: problem_response(
                RowProblem | ReusedProblem,
                "The single row is impossible and was stored as rejected, or the Idempotency-Key is not new.",
            ),
            **common_problems(),
        },
        "openapi_extra": {"requestBody": request_body({"anyOf": [row, batch]}, examples)},
    }


def describe_labels(schema: Schema) -> dict[str, Any]:
    """Return the keyword arguments of the route that describe it."""
    target = schema.target
    label = describe_label(target)
    other = {**label, "title": "Any other label: it is invalid in its place"}
    other["properties"] = {**label["properties"], "label": {}}
    many = describe_list("labels", label, other)
    example = {"id": "018bcfe5-687b-7c5e-9a3f-0d6f7e1c2b4a", "label": target.positive}
    examples = {
        "label": {"summary": "One outcome", "value": example},
        "labels": {"summary": "Many outcomes", "value": {"labels": [example]}},
    }
    return {
        "tags": ["predictions"],
        "summary": "Report the outcome of one prediction, or of many as {labels: [...]}",
        "description": "One outcome for each prediction: the same again is fine, another one is refused.",
        "response_model": None,
        "responses": {
            200: {"model": Outcome | Outcomes, "description": "What became of the label, or of each one."},
            404: problem_response(LabelProblem, "No prediction has the id."),
            409: problem_response(LabelProblem, "Another label was recorded before, and stands."),
            422: problem_response(
                LabelProblem | ReusedProblem,
                "The label is not one of the target's two values, or the Idempotency-Key is not new.",
            ),
            **common_problems(),
        },
        "openapi_extra": {"requestBody": request_body({"anyOf": [label, many]}, examples)},
    }


def describe_asking(kind: str, body: Json) -> dict[str, Any]:
    """Return the keyword arguments of a route that asks something of the loop."""
    summaries = {
        "retrain": "Ask for a retraining",
        "promote": "Ask for a release to be taken to the gate, and into production if it passes",
        "approve": "Approve a release that passed the gate and waits; the newest, unless one is named",
        "rollback": "Ask for the last good release to be put back",
    }
    examples = {"moved": {"summary": "With a reason", "value": {"reason": "the laboratory has changed its method"}}}
    if "release" in body["properties"]:
        examples["moved"]["value"] = {"release": "2", "reason": "it was better"}
    return {
        "tags": ["control"],
        "summary": summaries[kind],
        "description": "The next turn of a loop carries it out, through the same checks as everything else.",
        "response_model": None,
        "status_code": 202,
        "responses": {
            202: {"model": Asked, "description": "It waits for a loop."},
            404: problem_response(Problem, "No release, or more than one, has this name; or none is in production."),
            409: problem_response(Problem, "It is done, or asked for, already; or there is nothing to do it with."),
            422: problem_response(ReusedProblem, "The Idempotency-Key is not new."),
            **common_problems(),
        },
        "openapi_extra": {"requestBody": request_body(body, examples)},
    }


def describe_request() -> dict[str, Any]:
    """Return the keyword arguments of the route that tells what became of a request."""
    return {
        "tags": ["control"],
        "summary": "What was asked of the loop, and what became of it",
        "response_model": None,
        "responses": {
            200: {"model": Asked, "description": "The request."},
            404: problem_response(Problem, "There is no such request."),
            422: problem_response(Problem, "The number is none."),
        },
    }


def describe_list(name: str, right: Json, wrong: Json) -> Json:
    """Return the JSON Schema of many items in one body: a wrong one is answered in its place, and stops no other."""
    items = {"type": "array", "items": {"anyOf": [right, wrong]}}
    return {"type": "object", "properties": {name: items}, "required": [name], "additionalProperties": False}


def describe_row(schema: Schema) -> Json:
    """Return the JSON Schema of one row: what it admits is accepted, and nothing else."""
    return {
        "type": "object",
        "title": "Row",
        "properties": {feature.name: describe_feature(feature) for feature in schema.features},
        "required": [feature.name for feature in schema.features],
        "additionalProperties": False,
    }


def describe_feature(feature: Feature) -> Json:
    """Return the JSON Schema of one feature; null is a value that was not measured."""
    if feature.kind == "categorical":
        return {"type": ["string", "integer", "boolean", "null"], "description": "a category"}
    # Wider than float32 is no number that the model can hold.
    low = -FLOAT32_MAX if feature.low is None else max(feature.low, -FLOAT32_MAX)
    high = FLOAT32_MAX if feature.high is None else min(feature.high, FLOAT32_MAX)
    others = feature.missing if feature.booleans is None else (*feature.missing, False, True)
    return {
        "anyOf": [{"type": "number", "minimum": low, "maximum": high}, {"enum": [*others, None]}],
        "description": describe_range(feature),
    }


def describe_label(target: Target) -> Json:
    """Return the JSON Schema of one outcome."""
    return {
        "type": "object",
        "title": "Label",
        "properties": {
            "id": {"type": "string", "maxLength": MAX_ID_LENGTH},
            "label": {"enum": [target.negative, target.positive]},
        },
        "required": ["id", "label"],
        "additionalProperties": False,
    }


def example_row(schema: Schema) -> Json:
    """Return a possible row: the middle of each range, null where there is none."""
    return {feature.name: example_cell(feature) for feature in schema.features}


def example_cell(feature: Feature) -> Label | float | None:
    """Return a possible value of a feature."""
    if feature.low is None or feature.high is None:
        return None
    return round((feature.low + feature.high) / 2)


def request_body(schema: Json, examples: Json) -> Json:
    """Return the description of a JSON body."""
    return {"required": True, "content": {"application/json": {"schema": schema, "examples": examples}}}


def common_problems() -> dict[int | str, dict[str, Any]]:
    """Return the problems that every route with a body answers."""
    return {
        400: problem_response(Problem, "The body is no request."),
        413: problem_response(Problem, "The body is too large, or has too many rows."),
        503: problem_response(Problem, "No release answers yet, or the log cannot be written; see Retry-After."),
    }


def problem_response(problems: Any, description: str) -> dict[str, Any]:  # Any: a model, or several in a union
    """Return the description of a problem answer."""
    schema = TypeAdapter(problems).json_schema(ref_template="#/components/schemas/{model}", mode="serialization")
    schemas = schema.pop("$defs", {})
    return {"description": description, "content": {"application/problem+json": {"schema": inline(schema, schemas)}}}


def inline(schema: Any, schemas: Json) -> Any:  # Any: any part of a JSON Schema
    """Return a JSON Schema without references: FastAPI takes no further components."""
    if isinstance(schema, list):
        return [inline(part, schemas) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return inline(schemas[schema["$ref"].rsplit("/", 1)[-1]], schemas)
    return {name: inline(part, schemas) for name, part in schema.items()}
