"""What /openapi.json says of the routes in common: keys, quotas, requests sent again, and what those answer that look.

Not here: the forms of rows, labels and their answers (`web.openapi`). What a route says itself stands.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from fastapi import FastAPI

from homeostat.records import Json
from homeostat.web.access import EXPLAIN, OPEN, PREDICT, ROUTES
from homeostat.web.admission import ALWAYS
from homeostat.web.endpoint import MAX_KEY_LENGTH
from homeostat.web.keyring import Keyring
from homeostat.web.openapi import Problem, problem_response
from homeostat.web.problems import MLFLOW_CODES

RETRY_AFTER: Json = {"Retry-After": {"required": True, "schema": {"type": "integer"}, "description": "Seconds."}}
CHALLENGE: Json = {"WWW-Authenticate": {"required": True, "schema": {"const": "Bearer"}}}
REPLAYED: Json = {
    "Idempotency-Replayed": {
        "schema": {"const": "true"},
        "description": "There if the same request was answered before: nothing was done again.",
    }
}
IDEMPOTENCY_KEY: Json = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "A name for this request, such as a random UUID: sent again, it gets the first answer again.",
    # Blanks around a header's value are no part of it.
    "schema": {"type": "string", "maxLength": MAX_KEY_LENGTH, "pattern": "^[!-~]([ -~]*[!-~])?$"},
}
SCHEMES: Json = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key that `homeostat keys create` made."},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key."},
}
KEYS: list[Json] = [{name: []} for name in SCHEMES]
NO_KEY: Json = {}
UNAUTHORIZED, FORBIDDEN, TOO_MANY, UNAVAILABLE = "401", "403", "429", "503"
REFUSALS: Mapping[str, str] = MappingProxyType(
    {
        UNAUTHORIZED: "Keys are asked for, and there is no valid one.",
        FORBIDDEN: "The key has none of the scopes that open this route.",
        TOO_MANY: "The key has sent its rows of this minute.",
        UNAVAILABLE: "Too many requests are under way, or the database cannot be read now.",
    }
)
HEADERS: Mapping[str, Json] = MappingProxyType(
    {UNAUTHORIZED: CHALLENGE, TOO_MANY: RETRY_AFTER, UNAVAILABLE: RETRY_AFTER}
)
OBJECTS: Json = {"type": "array", "items": {"type": "object"}}
OBJECT_OR_NULL: Json = {"type": ["object", "null"]}
# The answers of the routes that only look, by path and status: the members of an object.
LOOKS: Mapping[tuple[str, str], Json] = MappingProxyType(
    {
        ("/v1/status", "200"): {"ready": {"type": "boolean"}, "production": OBJECT_OR_NULL, "serving": OBJECT_OR_NULL}
        | {"decision": OBJECT_OR_NULL, "waiting": {"type": "object"}},
        ("/v1/drift", "200"): {"check": OBJECT_OR_NULL},
        ("/v1/performance", "200"): {"epoch": {"type": "integer"}, "estimated": OBJECT_OR_NULL, "checks": OBJECTS},
        ("/v1/releases", "200"): {"releases": OBJECTS},
        ("/v1/history", "200"): {"promotions": OBJECTS},
        ("/v1/events", "200"): {"events": OBJECTS},
        ("/v1/schema", "200"): {"features": OBJECTS, "digest": {"type": "string"}},
        ("/livez", "200"): {"status": {"const": "alive"}},
        ("/readyz", "200"): {"status": {"const": "ready"}},
        ("/readyz", "503"): {"status": {"const": "not ready"}},
    }
)
VERBOSE: Json = {"name": "verbose", "in": "query", "allowEmptyValue": True, "schema": {"type": "string"}}
# Of these routes each row counts towards the quota of a key.
TAKE_ROWS = frozenset({PREDICT, EXPLAIN})
# Answers that are kept for a request that is sent again.
KEPT = frozenset({"200", "202", "404", "409", "422"})


class DescribedApp(FastAPI):
    """An application whose description says of each route what is true of all of its kind."""

    def openapi(self) -> dict[str, Any]:
        """Return the document, made once; whether keys are asked for is said as it is now."""
        if self.openapi_schema is None:
            describe_all(super().openapi())
        document = self.openapi_schema or {}
        keyring: Keyring = self.state.worker.keyring
        document["security"] = KEYS if keyring.asked else [NO_KEY, *KEYS]
        return document


def describe_all(document: Json) -> None:
    """Add to a document, in place, what its routes share."""
    document["components"]["securitySchemes"] = SCHEMES
    for (path, status), members in LOOKS.items():
        document["paths"][path]["get"]["responses"][status] = plain_response("The answer.", **members)
    for path in ("/v1/events", "/v1/history"):
        document["paths"][path]["get"]["responses"]["422"] = problem_response(Problem, "A parameter is wrong.")
    document["paths"]["/readyz"]["get"]["parameters"] = [VERBOSE]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            asks = method == "post" and ROUTES[path] != EXPLAIN
            describe_operation(operation, path, changes_something=asks)


def describe_operation(operation: Json, path: str, *, changes_something: bool) -> None:
    """Add to the description of one route, in place, what it shares with others."""
    scopes = ROUTES[path]
    if scopes is OPEN:
        operation["security"] = []
    responses = operation["responses"]
    for status in find_refusals(path, takes_rows=scopes in TAKE_ROWS):
        response = responses.setdefault(status, describe_refusal(path, REFUSALS[status]))
        response.setdefault("headers", {}).update(HEADERS.get(status, {}))
    if changes_something:
        operation.setdefault("parameters", []).append(IDEMPOTENCY_KEY)
        for status in KEPT & responses.keys():
            responses[status].setdefault("headers", {}).update(REPLAYED)


def find_refusals(path: str, *, takes_rows: bool) -> list[str]:
    """Return the statuses with which a route may be refused before it is asked."""
    found = [] if ROUTES[path] is OPEN else [UNAUTHORIZED, FORBIDDEN]
    found += [TOO_MANY] if takes_rows else []
    return found if path in ALWAYS else [*found, UNAVAILABLE]


def describe_refusal(path: str, description: str) -> Json:
    """Return the description of a refusal, in the form that the protocol of a path has (`problems.render_problem`)."""
    if path == "/v2" or path.startswith("/v2/"):
        return plain_response(description, error={"type": "string"})
    if path == "/invocations":
        codes = {"enum": sorted({*MLFLOW_CODES.values(), "INTERNAL_ERROR"})}
        return plain_response(description, error_code=codes, message={"type": "string"})
    return {**problem_response(Problem, description)}


def plain_response(description: str, **members: Json) -> Json:
    """Return the description of an answer that is a JSON object with these members."""
    schema = {"type": "object", "properties": members, "required": list(members)}
    return {"description": description, "content": {"application/json": {"schema": schema}}}
