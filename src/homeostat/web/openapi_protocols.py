"""How the Open Inference Protocol and MLflow's scoring are described in /openapi.json and /docs, from the schema.

Not here: what the routes do. The bodies are judged by the rules, never by these models.
"""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, Field

from homeostat.records import Feature, Json, Schema
from homeostat.web.openapi import Prediction, describe_feature, describe_row, example_cell, example_row

PATH_PARAMETERS: Mapping[str, str] = {
    "name": "The name of the project.",
    "version": "The digest of the release that answers, or its first 12 digits or more.",
}
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


def describe_path(path: str) -> Json:
    """Return the description of the parameters in a path."""
    return {
        "parameters": [
            {
                "name": name,
                "in": "path",
                "required": True,
                "schema": {"type": "string"},
                "description": PATH_PARAMETERS[name],
            }
            for name in re.findall(r"{(\w+)}", path)
        ]
    }


def describe_infer(schema: Schema, path: str) -> dict[str, Any]:
    """Return the keyword arguments of an infer route that describe it."""
    request = {
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "parameters": {"type": "object"},
            "inputs": {"type": "array", "items": describe_input(schema)},
            "outputs": {"type": "array", "items": describe_output()},
        },
        "required": ["inputs"],
    }
    example = {"id": "42", "inputs": [example_input(feature) for feature in schema.features]}
    content = {"application/json": {"schema": request, "example": example}, "application/octet-stream": {}}
    return {
        "tags": ["open inference"],
        "summary": "Answer the rows of input tensors, one for each feature",
        "response_model": None,
        "responses": {200: {"model": InferResponse, "description": "One element of each output for each row."}}
        | {status: {"model": InferProblem, "description": words} for status, words in STATUSES.items()},
        "openapi_extra": {**describe_path(path), "requestBody": {"required": True, "content": content}},
    }


def describe_input(schema: Schema) -> Json:
    """Return the JSON Schema of an input tensor."""
    cell = {"anyOf": [*(describe_feature(feature) for feature in schema.features[:1]), {"type": "array"}]}
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
    split = {"type": "object", "properties": {"columns": names, "index": {"type": "array"}, "data": lists}}
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
    problems = {status: words for status, words in STATUSES.items() if status != HTTPStatus.NOT_FOUND}
    return {
        "tags": ["mlflow"],
        "summary": "Answer the rows of a table, written in one of MLflow's forms",
        "response_model": None,
        "responses": {200: {"model": Records, "description": "One record for each row."}}
        | {status: {"model": ScoringProblem, "description": words} for status, words in problems.items()},
        "openapi_extra": {"requestBody": {"required": True, "content": content}},
    }


def example_csv(row: Json) -> str:
    """Return a row as CSV with its header."""
    cells = ("" if value is None else str(value) for value in row.values())
    return f"{','.join(row)}\n{','.join(cells)}\n"
