"""The page /docs: every operation that /openapi.json describes, readable offline.

Not here: the descriptions (`web.description`, `web.openapi`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from fastapi import FastAPI, Request, Response

from homeostat.records import Json
from homeostat.web.access import ROUTES
from homeostat.web.page_responses import answer_page

# How a tag is written that is a name.
NAMES: Mapping[str, str] = MappingProxyType({"mlflow": "MLflow", "open inference": "Open Inference Protocol"})


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: `parameters` are rows of name, place and meaning; `answers` rows of status and meaning.

    `body` is the JSON Schema of what is sent, indented; empty if nothing is.
    """

    method: str
    path: str
    summary: str
    description: str
    scopes: str
    parameters: tuple[tuple[str, str, str], ...]
    body: str
    answers: tuple[tuple[str, str], ...]


def add_operations(app: FastAPI) -> None:
    """Add the route to the application."""

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        return answer_page(request, "operations.html.jinja", place="", groups=group_operations(app.openapi()))


def group_operations(document: Json) -> dict[str, list[Operation]]:
    """Return the operations of an OpenAPI document by the name of their tag, in its order."""
    groups: dict[str, list[Operation]] = {}
    for path, operations in document["paths"].items():
        for method, said in operations.items():
            tag = next(iter(said.get("tags", ())), "other")
            groups.setdefault(NAMES.get(tag, tag.capitalize()), []).append(read_operation(method, path, said))
    return groups


def read_operation(method: str, path: str, said: Json) -> Operation:
    """Return what a document says of one operation."""
    content = next(iter(said.get("requestBody", {}).get("content", {}).values()), None)
    return Operation(
        method.upper(),
        path,
        said.get("summary", ""),
        said.get("description", ""),
        " or ".join(sorted(ROUTES[path])),
        tuple((one["name"], one["in"], one.get("description", "")) for one in said.get("parameters", ())),
        json.dumps(content["schema"], indent=2, ensure_ascii=False) if content else "",
        tuple((status, answer.get("description", "")) for status, answer in sorted(said["responses"].items())),
    )
