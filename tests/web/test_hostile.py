"""Whatever the bytes, the service answers with a refusal or a result, and goes on."""

from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

COLUMNS = (
    "Pregnancies",
    "Glucose",
    "BloodPressure",
    "SkinThickness",
    "Insulin",
    "BMI",
    "DiabetesPedigreeFunction",
    "Age",
)
# One server answers all examples: none of them changes what the next one is answered.
one_server = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

numbers = st.integers() | st.floats() | st.sampled_from([10**309, -(10**400), 2**63, 2**64, 3.5e38, -1e308, 5e-324])
cells = st.none() | st.booleans() | numbers | st.text(max_size=20) | st.sampled_from(["", "NaN", 0])
values = st.recursive(
    cells, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
names = st.sampled_from((*COLUMNS, "rows", "labels", "id", "label", "release", "compare")) | st.text(max_size=12)
objects = st.dictionaries(names, values, max_size=12)
near_rows = st.fixed_dictionaries(dict.fromkeys(COLUMNS, cells))
near_labels = st.fixed_dictionaries({"id": st.text(max_size=40), "label": values})
anything = values | objects | near_rows | near_labels
batches = st.lists(anything, max_size=4)
hostile_json = anything | st.fixed_dictionaries({"rows": batches}) | st.fixed_dictionaries({"labels": batches})
routes = pytest.mark.parametrize("route", ["/v1/predict", "/v1/labels", "/v1/explain"])


def assert_no_failure(answer: httpx.Response) -> None:
    assert answer.status_code < 500
    assert answer.status_code == 200 or answer.headers["content-type"] == "application/problem+json"


@routes
@one_server
@given(document=hostile_json)
def test_no_json_makes_the_service_fail(client: httpx.Client, route: str, document: Any) -> None:
    try:
        body = msgspec.json.encode(document)
    except UnicodeEncodeError:  # a lone surrogate: only its escape is JSON
        body = repr(document).encode("ascii", "backslashreplace")

    assert_no_failure(client.post(route, content=body))


@routes
@one_server
@given(body=st.binary(max_size=300))
def test_no_bytes_make_the_service_fail(client: httpx.Client, route: str, body: bytes) -> None:
    assert_no_failure(client.post(route, content=body))


@routes
@one_server
@given(data=st.data(), document=objects)
def test_no_damaged_json_makes_the_service_fail(
    client: httpx.Client, route: str, data: st.DataObject, document: dict[str, Any]
) -> None:
    body = bytearray(repr(document).replace("'", '"').encode("utf-8", "surrogatepass"))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))

    assert_no_failure(client.post(route, content=bytes(body)))


@one_server
@given(path=st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="#?"), max_size=30))
def test_no_path_makes_the_service_fail(client: httpx.Client, path: str) -> None:
    assert client.get(f"/v1/{path}").status_code < 500


@one_server
@given(query=st.dictionaries(st.sampled_from(["after", "kind", "limit", "x"]), st.text(max_size=30)))
def test_no_query_makes_the_service_fail(client: httpx.Client, query: dict[str, str]) -> None:
    try:
        answer = client.get("/v1/events", params=query)
    except UnicodeEncodeError:  # a lone surrogate has no place in an address
        return

    assert answer.status_code < 500
