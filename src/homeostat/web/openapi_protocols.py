"""How the Open Inference Protocol and MLflow's scoring are described in /openapi.json and /docs, from the schema.

Not here: what the routes do. The bodies are judged by the rules, never by these models.
"""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, Field

from homeostat.records import Feature, Json, Schema
from homeostat.web.openapi import Prediction, describe_row, example_cell, example_row

BYTES: Json = {"schema": {"type": "string", "format": "binary"}}
STATUSES: Mapping[int, str] = {
    400: "The body is no request, or one of its rows is impossible: none is answered, the impossible ones are kept.",
    404: "No such model, or not this version of it.",
    413: "The body is too large, or has too many rows.",
    415: "The body is of another media type, or compressed.",
    422: "The Idempotency-Key came with another request before.",
    503: "No release answers yet, or the log cannot be written; see Retry-After.",
}


class ResponseOutput(BaseModel):
    """One output tensor; if `parameters.binary_data_size` is there, as many bytes behind the JSON are its data."""

    name: str
    datatype: str
    shape: list[int]
    data: list[float | int | str] | None = None
    parameters: dict[str, Any] | None = None


class InferResponse(BaseModel):
    """The output tensors: probability of the positive class, label, and the id to send the outcome under."""

    model_name: str
    model_version: str
    id: str | None = Field(default=None, description="That of the request, if it has one.")
    outputs: list[ResponseOutput]


class Records(BaseModel):
    """The answers, in the order of the rows."""

    predictions: list[Prediction]


class InferProblem(BaseModel):
    """A refusal, as the Open Inference Protocol has it."""

    error: str


class ScoringProblem(BaseModel):
    """A refusal, as MLflow has it."""

    error_code: str
    message: str


def describe_path(path: str, model: str) -> list[Json]:
    """Return the description of the parameters in a path: the one model, and the release that answers."""
    digest = {"type": "string", "pattern": "^[0-9a-f]{12,64}$", "description": "The digest, or its beginning."}
    schemas: Mapping[str, Json] = {"name": {"type": "string", "enum": [model]}, "version": digest}
    return [
        {"name": name, "in": "path", "required": True, "schema": schemas[name]} for name in re.findall(r"{(\w+)}", path)
    ]


def describe_problems(model: type[BaseModel], *statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the description of refusals with these statuses, in the form that a protocol has for them."""
    return {status: {"model": model, "description": STATUSES[status]} for status in statuses}


def describe_health() -> dict[str, Any]:
    """Return the keyword arguments of a route that describe it as yes or no, without a body."""
    no = {HTTPStatus.BAD_REQUEST.value: {"description": "Not now; /readyz?verbose says why."}}
    return {"tags": ["open inference"], "response_class": Response, "responses": no}


def describe_ready(path: str, model: str) -> dict[str, Any]:
    """Return the keyword arguments of a route that describe it as yes or no for the model in its path."""
    health = describe_health()
    responses = {**health["responses"], **describe_problems(InferProblem, 404)}
    return {**health, "responses": responses, "openapi_extra": {"parameters": describe_path(path, model)}}


def describe_metadata(path: str, model: str) -> dict[str, Any]:
    """Return the keyword arguments of a route that describe it as the metadata of the model in its path."""
    return {
        "tags": ["open inference"],
        "responses": describe_problems(InferProblem, 404, 503),
        "openapi_extra": {"parameters": describe_path(path, model)},
    }


def describe_infer(schema: Schema, path: str, model: str) -> dict[str, Any]:
    """Return the keyword arguments of an infer route that describe it."""
    request = {
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "parameters": {"type": "object"},
            "inputs": {"type": "array", "items": describe_input()},
            "outputs": {"type": "array", "items": describe_output()},
        },
        "required": ["inputs"],
    }
    example = {"id": "42", "inputs": [example_input(feature) for feature in schema.features]}
    content = {"application/json": {"schema": request, "example": example}, "application/octet-stream": BYTES}
    return {
        "tags": ["open inference"],
        "summary": "Answer the rows of input tensors, one for each feature",
        "response_model": None,
        "responses": {
            200: {
                "model": InferResponse,
                "description": "One element of each output for each row.",
                "content": {"application/octet-stream": BYTES},
            },
            **describe_problems(InferProblem, *STATUSES),
        },
        "openapi_extra": {
            "parameters": describe_path(path, model),
            "requestBody": {"required": True, "content": content},
        },
    }


def describe_input() -> Json:
    """Return the JSON Schema of an input tensor."""
    cell = {"type": ["number", "string", "null", "array"]}
    return {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "shape": {"type": "array", "items": {"type": "integer"}},
            "datatype": {"type": "string"},
            "parameters": {"type": "object"},
            "data": {"type": "array", "items": cell},
        },
        "required": ["name", "shape", "datatype"],
    }


def describe_output() -> Json:
    """Return the JSON Schema of an output that is asked for."""
    names = {"enum": ["probability", "label", "id"]}
    return {"type": "object", "properties": {"name": names, "parameters": {"type": "object"}}, "required": ["name"]}


def example_input(feature: Feature) -> Json:
    """Return a tensor of one possible value."""
    datatype = "FP64" if feature.kind == "numeric" else "BYTES"
    return {"name": feature.name, "shape": [1], "datatype": datatype, "data": [example_cell(feature)]}


def describe_invocations(schema: Schema) -> dict[str, Any]:
    """Return the keyword arguments of the route that describe it."""
    row = describe_row(schema)
    rows = {"type": "array", "items": row}
    lists = {"type": "array", "items": {"type": "array"}}
    columns = {"type": "object", "additionalProperties": {"type": "array"}}
    names = {"type": "array", "items": {"type": "string"}}
    split = {"type": "object", "properties": {"columns": names, "index": {}, "data": lists}}
    tensors = {"anyOf": [rows, lists, columns, row]}
    forms = {"dataframe_split": split, "dataframe_records": rows, "instances": tensors, "inputs": tensors}
    example = example_row(schema)
    request = {
        "anyOf": [
            {"type": "object", "title": name, "properties": {name: form}, "required": [name]}
            for name, form in forms.items()
        ]
    }
    value = {"dataframe_split": {"columns": list(example), "data": [list(example.values())]}}
    content = {
        "application/json": {"schema": request, "example": value},
        "text/csv": {"schema": {"type": "string"}, "example": example_csv(example)},
    }
    media_type = HTTPStatus.UNSUPPORTED_MEDIA_TYPE.value
    return {
        "tags": ["mlflow"],
        "summary": "Answer the rows of a table, written in one of MLflow's forms",
        "response_model": None,
        "responses": {
            200: {"model": Records, "description": "One record for each row."},
            **describe_problems(ScoringProblem, 400, 413, 422, 503),
            media_type: {"description": STATUSES[media_type], "content": {"text/plain": {}}},
        },
        "openapi_extra": {"requestBody": {"required": True, "content": content}},
    }


def example_csv(row: Json) -> str:
    """Return a row as CSV with its header."""
    cells = ("" if value is None else str(value) for value in row.values())
    return f"{','.join(row)}\n{','.join(cells)}\n"


def describe_ping() -> dict[str, Any]:
    """Return the keyword arguments of a route that describe it as yes or no in plain text."""
    no = {HTTPStatus.SERVICE_UNAVAILABLE.value: {"description": "Not now.", "content": {"text/plain": {}}}}
    return {"tags": ["mlflow"], "response_class": PlainTextResponse, "responses": no}
