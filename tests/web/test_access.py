"""Who may use which route: every route, every scope, every way to spell a path or a key, on a running service."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from itertools import product
from typing import Any

import httpx
import pytest
from starlette.routing import BaseRoute, Route

from homeostat.project import Project
from homeostat.store.events import read_events
from homeostat.store.keys import SCOPES, create_key, revoke_key
from homeostat.web.access import OPEN, PARAMETER, PROBES, ROUTES
from homeostat.web.app import create_app, find_endpoints

Row = dict[str, Any]
MakeKey = Callable[..., str]
OPEN_ROUTES = PROBES | {"/login", "/static/{name}"}
CLOSED_ROUTES = sorted(ROUTES.keys() - OPEN_ROUTES)
# What may not be taken for a route that the table holds: the router knows none of these.
DISGUISES = [
    "{}/",
    "/{}",
    "{}//",
    "{}%00",
    "{}%0a",
    "{}%20",
    "{}%3f",
    "{};",
    "{}/.",
    "/x/..{}",
    "/.{}",
    "/%2f{}",
    "{}%2f",
]


@pytest.fixture
def make_key(project: Project) -> MakeKey:
    """Make a key with these scopes, before the service starts or while it runs; return its token."""

    def make(*scopes: Any, **properties: Any) -> str:
        with project.database.write() as connection:
            made = create_key(connection, "test", frozenset(scopes), now=datetime.now(UTC), **properties)
        return made[1]

    return make


@pytest.fixture
def tokens(make_key: MakeKey) -> dict[str, str]:
    """A key for each scope; ask for it before `client`, so that the service starts with them."""
    return {scope: make_key(scope) for scope in SCOPES}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def concrete(route: str) -> str:
    """Return a path that a route with parameters answers."""
    return PARAMETER.sub("pima", route)


def wait_for_status(client: httpx.Client, status: int, *, path: str = "/v1/status", **request: Any) -> float:
    """Return the seconds until a path is answered with a status."""
    started = time.monotonic()
    while client.get(path, **request).status_code != status and time.monotonic() < started + 10:
        time.sleep(0.01)
    return time.monotonic() - started


def status_of(client: httpx.Client, path: str, **request: Any) -> int:
    """Return the status of a path that is sent as it is: httpx would tidy it up."""
    with closing(HTTPConnection(client.base_url.host, client.base_url.port or 0)) as connection:
        connection.request("GET", path, **request)
        return connection.getresponse().status


def leaves(routes: list[BaseRoute]) -> Iterator[str]:
    """Return the path of every route; a mount or a web socket has no place in the table."""
    for route in routes:
        assert isinstance(route, Route), f"{route!r} is no plain route: web.access cannot tell who may use it"
        yield route.path


def test_every_route_of_the_application_has_a_line_in_the_table(project: Project) -> None:
    lines = {PARAMETER.sub("{}", route) for route in ROUTES}

    answered = {*leaves(create_app(project).routes), *(endpoint.route for endpoint in find_endpoints("m").values())}
    missing = {PARAMETER.sub("{}", route) for route in answered} - lines

    assert missing == set(), "add a line for each of these to ROUTES in web/access.py: nobody can use it without"


def test_open_without_a_key_are_exactly_the_probes_the_login_and_the_files_of_pages() -> None:
    assert {route for route, openers in ROUTES.items() if openers is OPEN} == OPEN_ROUTES
    assert set().union(*ROUTES.values()) <= set(SCOPES)


@pytest.mark.usefixtures("tokens")
def test_no_closed_route_answers_without_a_key(client: httpx.Client) -> None:
    for route, method in product(CLOSED_ROUTES, ["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"]):
        answer = client.request(method, concrete(route))

        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), (method, route)


def test_every_wrong_scope_is_refused_and_every_right_one_is_not(tokens: dict[str, str], client: httpx.Client) -> None:
    for route, scope in product(CLOSED_ROUTES, SCOPES):
        answer = client.post(concrete(route), headers=bearer(tokens[scope]))

        refused = answer.status_code in {401, 403}
        assert refused == (scope != "admin" and scope not in ROUTES[route]), (route, scope, answer.text)
        assert answer.status_code != 401


def test_the_probes_answer_without_a_key_and_with_a_wrong_one(tokens: dict[str, str], client: httpx.Client) -> None:
    for route, headers in product(["/livez", "/readyz"], [{}, bearer("wrong"), bearer(tokens["label"])]):
        assert client.get(route, headers=headers).status_code == 200


def test_why_the_service_is_not_ready_is_told_to_readers_only(tokens: dict[str, str], client: httpx.Client) -> None:
    assert client.get("/readyz?verbose").json() == {"status": "ready"}
    assert client.get("/readyz?verbose", headers=bearer(tokens["predict"])).json() == {"status": "ready"}
    assert "durability" in client.get("/readyz?verbose", headers=bearer(tokens["read"])).json()


def test_a_missing_scope_names_the_scopes_that_would_do(tokens: dict[str, str], client: httpx.Client) -> None:
    answer = client.get("/v1/status", headers=bearer(tokens["predict"]))

    assert (answer.status_code, answer.json()["code"]) == (403, "scope-missing")
    assert answer.json()["expected"] == "a key with the scope read, or admin"
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("disguise", DISGUISES)
def test_a_path_spelled_in_another_way_opens_nothing(
    tokens: dict[str, str], client: httpx.Client, disguise: str
) -> None:
    for route in ["/livez", "/readyz", "/v1/status", "/v1/predict"]:
        path = disguise.format(route)
        assert status_of(client, path) == 401, path
        assert status_of(client, path, headers=bearer(tokens["admin"])) == 404, path


@pytest.mark.usefixtures("tokens")
def test_upper_case_is_another_path(client: httpx.Client) -> None:
    assert client.get("/LIVEZ").status_code == client.get("/V1/status").status_code == 401


def test_an_encoded_letter_is_the_letter_for_the_table_as_for_the_router(
    tokens: dict[str, str], client: httpx.Client
) -> None:
    assert status_of(client, "/%6civez") == 200
    assert status_of(client, "/v1/%73tatus") == 401
    assert status_of(client, "/v1/%73tatus", headers=bearer(tokens["label"])) == 403
    assert status_of(client, "/v1/%73tatus", headers=bearer(tokens["read"])) == 200


@pytest.mark.parametrize(
    "path", ["/v1", "/v1/retire", "/nothing", "/v2/models", "/v2/models/a/infer/b", "/static", "/static/x/y.js"]
)
def test_an_unknown_path_is_401_for_strangers_and_404_for_any_key(
    tokens: dict[str, str], client: httpx.Client, path: str
) -> None:
    assert client.get(path).status_code == 401
    assert {client.get(path, headers=bearer(token)).status_code for token in tokens.values()} == {404}


@pytest.mark.usefixtures("tokens")
def test_an_upgrade_to_a_web_socket_is_refused(client: httpx.Client) -> None:
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "eA==",
        "Sec-WebSocket-Version": "13",
    }

    assert client.get("/v1/status", headers=upgrade).status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([("authorization", "Bearer {}")], 200),
        ([("AUTHORIZATION", "bEARER   {}")], 200),
        ([("x-api-key", "{}")], 200),
        ([("authorization", "Basic cHJveHk6cGFzc3dvcmQ="), ("x-api-key", "{}")], 200),
        ([("authorization", "Bearer {}"), ("authorization", "Bearer x")], 401),
        ([("authorization", "Bearer {}"), ("x-api-key", "{}")], 401),
        ([("authorization", "{}")], 401),
        ([("authorization", "Basic {}")], 401),
        ([("authorization", "Bearer {},{}")], 401),
        ([("cookie", "Authorization={}")], 401),
    ],
)
def test_a_token_comes_in_one_of_two_headers_and_alone(
    tokens: dict[str, str], client: httpx.Client, headers: list[tuple[str, str]], status: int
) -> None:
    sent = [(name, value.replace("{}", tokens["read"])) for name, value in headers]

    assert client.get("/v1/status", headers=sent).status_code == status


def test_every_wrong_token_is_answered_in_the_same_words(
    tokens: dict[str, str], project: Project, client: httpx.Client
) -> None:
    right = tokens["read"]
    with project.database.write() as connection:
        revoke_key(connection, tokens["label"][3:15], now=datetime.now(UTC))
    wait_for_status(client, 401, headers=bearer(tokens["label"]))
    wrong = ["~", "x", right[:-1], right + "x", right[:-2] + "xx", right.upper(), f"hs_{'a' * 12}{right[15:]}"]
    wrong += [tokens["label"][:16] + right[16:], right[:16] + tokens["label"][16:]]

    answers = [client.get("/v1/status", headers=bearer(token)) for token in wrong]

    assert {answer.text for answer in answers} == {client.get("/v1/status").text}
    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(401, "key-invalid")}


def test_a_revoked_key_stops_working_within_a_second(
    tokens: dict[str, str], project: Project, client: httpx.Client
) -> None:
    assert client.get("/v1/status", headers=bearer(tokens["read"])).status_code == 200
    with project.database.write() as connection:
        revoke_key(connection, tokens["read"][3:15], now=datetime.now(UTC))

    assert wait_for_status(client, 401, headers=bearer(tokens["read"])) < 1
    detail = client.get("/v1/status", headers=bearer(tokens["read"])).json()["detail"]
    assert detail.startswith(f"the key {tokens['read'][3:15]} was revoked at ")


@pytest.mark.usefixtures("tokens")
def test_a_key_stops_working_when_it_expires(make_key: MakeKey, client: httpx.Client) -> None:
    expires_at = datetime.now(UTC) + timedelta(seconds=2.5)
    token = make_key("read", expires_at=expires_at)
    wait_for_status(client, 200, headers=bearer(token))
    assert datetime.now(UTC) < expires_at

    wait_for_status(client, 401, headers=bearer(token))

    assert datetime.now(UTC) >= expires_at
    assert "expired at" in client.get("/v1/status", headers=bearer(token)).json()["detail"]


def test_the_first_key_locks_a_running_service_and_revoking_the_last_does_not_open_it(
    client: httpx.Client, make_key: MakeKey, project: Project
) -> None:
    assert client.get("/v1/status").status_code == 200
    token = make_key("read")
    assert wait_for_status(client, 401) < 1
    assert client.get("/v1/status", headers=bearer(token)).status_code == 200

    with project.database.write() as connection:
        revoke_key(connection, token[3:15], now=datetime.now(UTC))
    wait_for_status(client, 401, headers=bearer(token))
    time.sleep(0.5)
    assert client.get("/v1/status").status_code == 401


def test_without_any_key_an_unknown_path_is_404(client: httpx.Client) -> None:
    answer = client.get("/v1/retire")

    assert (answer.status_code, answer.json()["code"]) == (404, "route-missing")
    assert status_of(client, "/v1/status%0a") == 404


def test_an_inference_client_is_refused_in_the_form_of_its_protocol(
    tokens: dict[str, str], client: httpx.Client
) -> None:
    v2 = client.post("/v2/models/pima/infer")
    mlflow = client.post("/invocations", headers=bearer(tokens["read"]))

    assert (v2.status_code, list(v2.json())) == (401, ["error"])
    assert (mlflow.status_code, mlflow.json()["error_code"]) == (403, "PERMISSION_DENIED")


def test_a_label_names_the_key_that_sent_it(
    tokens: dict[str, str], client: httpx.Client, row: Row, project: Project
) -> None:
    answered = client.post("/v1/predict", json=row, headers=bearer(tokens["predict"])).json()
    client.post("/v1/labels", json={"id": answered["id"], "label": 1}, headers=bearer(tokens["label"]))

    with project.database.read() as connection:
        source = connection.exec_driver_sql("SELECT source FROM labels").scalar_one()
    assert source == f"key:{tokens['label'][3:15]}"


@pytest.mark.usefixtures("tokens")
def test_rows_beyond_the_quota_are_429_until_the_time_that_the_answer_names(
    make_key: MakeKey, client: httpx.Client, row: Row
) -> None:
    client.headers["authorization"] = f"Bearer {make_key('predict', rows_per_minute=600)}"
    wait_for_status(client, 405, path="/v1/predict")
    assert client.post("/v1/predict", json={"rows": [row] * 600}).status_code == 200

    refused = client.post("/v1/predict", json={"rows": [row] * 30})
    assert (refused.status_code, refused.json()["code"]) == (429, "quota-exceeded")
    assert 1 <= int(refused.headers["retry-after"]) <= 3
    time.sleep(int(refused.headers["retry-after"]))
    assert client.post("/v1/predict", json={"rows": [row] * 30}).status_code == 200


def test_refusals_are_counted_by_their_code(tokens: dict[str, str], client: httpx.Client) -> None:
    client.get("/v1/status")
    client.get("/v1/status", headers=bearer(tokens["predict"]))

    metrics = client.get("/metrics", headers=bearer(tokens["read"])).text

    assert 'homeostat_http_errors_total{code="key-invalid"} 1.0' in metrics
    assert 'homeostat_http_errors_total{code="scope-missing"} 1.0' in metrics
    assert 'homeostat_http_requests_total{route="/v1/status",status="401"} 1.0' in metrics


def test_a_token_is_in_no_file_no_event_and_no_output(
    make_key: MakeKey, project: Project, start_process: Callable[[], Any], row: Row
) -> None:
    token = make_key("predict")
    process, address = start_process()
    for headers, path in product([bearer(token), bearer(token[:-1] + "~")], ["/v1/predict", "/v1/status", "/nothing"]):
        httpx.post(f"{address}{path}", json=row, headers=headers)
    process.terminate()

    output = "".join(process.communicate())
    files = [path.read_bytes() for path in project.folder.rglob("*") if path.is_file()]
    with project.database.read() as connection:
        events = str(list(read_events(connection)))
    assert not any(token[16:-1].encode() in content for content in [*files, output.encode(), events.encode()])


def test_without_keys_no_page_of_another_site_may_send_anything(client: httpx.Client, row: Row) -> None:
    own = f"http://{client.base_url.host}:{client.base_url.port}"

    foreign = client.post("/v1/predict", json=row, headers={"Origin": "http://elsewhere.example"})
    assert (foreign.status_code, foreign.json()["code"]) == (403, "access-refused")
    assert client.post("/v1/predict", json=row, headers={"Origin": own}).status_code == 200
    assert client.post("/v1/predict", json=row, headers={"Origin": "null"}).status_code == 403


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "127.8.9.10", "[::1]", "[::1]:8000"])
def test_without_keys_every_name_of_this_machine_is_answered(client: httpx.Client, host: str) -> None:
    assert client.get("/v1/status", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["elsewhere.example", "elsewhere.example:8000", "localhost.elsewhere.example", "192.168.0.7", "[::2]", ""]
)
def test_without_keys_a_name_that_was_made_to_lead_here_opens_nothing(
    client: httpx.Client, host: str, row: Row
) -> None:
    sent = {"Host": host, "Origin": f"http://{host}"}

    answers = [client.get("/v1/status", headers=sent), client.post("/v1/predict", json=row, headers=sent)]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(403, "access-refused")] * 2
    assert client.get("/livez", headers=sent).status_code == 200


@pytest.mark.usefixtures("tokens")
def test_behind_keys_any_name_may_lead_here(client: httpx.Client, tokens: dict[str, str]) -> None:
    named = {**bearer(tokens["read"]), "Host": "models.example"}

    assert client.get("/v1/status", headers=named).status_code == 200
