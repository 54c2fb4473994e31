"""Logging in with a key, over HTTP: what a session opens, when it ends, and what no other site can do with it."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from homeostat.project import Project
from homeostat.store.keys import create_key, hash_token, revoke_key
from homeostat.store.tables import sessions
from homeostat.web.login import ATTEMPTS_PER_MINUTE, keep_local

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
COOKIE = "homeostat-pima"


@pytest.fixture
def tokens(project: Project) -> dict[str, str]:
    """A key for each of these scopes, made before the service starts."""
    with project.database.write() as connection:
        return {
            scope: create_key(connection, f"{scope} key", frozenset({scope}), now=datetime.now(UTC))[1]
            for scope in ("read", "admin", "predict")
        }


@pytest.fixture
def browser(tokens: dict[str, str], client: httpx.Client) -> httpx.Client:  # noqa: ARG001  keys come first
    """A client that keeps cookies and asks for pages, as a browser does."""
    client.headers.update({**BROWSER, "Origin": f"http://{client.base_url.host}:{client.base_url.port}"})
    return client


def log_in(browser: httpx.Client, token: str, **fields: str) -> httpx.Response:
    return browser.post("/login", data={"key": token, **fields})


def csrf_in(page: httpx.Response) -> str:
    return page.text.partition('name="csrf" value="')[2].partition('"')[0]


def wait_for_login(browser: httpx.Client, path: str = "/docs") -> float:
    """Return the seconds until a path leads to the login."""
    started = time.monotonic()
    while browser.get(path).status_code != 303 and time.monotonic() < started + 10:
        time.sleep(0.02)
    return time.monotonic() - started


def test_a_browser_without_a_key_is_led_to_the_login_and_back(browser: httpx.Client, tokens: dict[str, str]) -> None:
    led = browser.get("/docs?a=1")
    assert (led.status_code, led.headers["location"]) == (303, "/login?next=/docs%3Fa%3D1")

    page = browser.get(led.headers["location"])
    assert 'value="/docs?a=1"' in page.text

    back = log_in(browser, tokens["read"], next="/docs?a=1")
    assert (back.status_code, back.headers["location"]) == (303, "/docs?a=1")
    assert browser.get("/docs").status_code == 200


def test_a_program_is_told_in_its_own_form(browser: httpx.Client) -> None:
    answer = browser.get("/docs", headers={"Accept": "*/*"})

    assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")


def test_the_cookie_is_for_this_service_alone_and_the_database_does_not_hold_it(
    browser: httpx.Client, tokens: dict[str, str], project: Project
) -> None:
    cookie = log_in(browser, tokens["read"]).headers["set-cookie"]

    token = browser.cookies[COOKIE]
    with project.database.read() as connection:
        kept = connection.execute(sessions.select()).one()
    assert cookie == f"{COOKIE}={token}; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict"
    assert (kept.hash, kept.key) == (hash_token(token.encode()), tokens["read"][3:15])


def test_behind_tls_the_cookie_never_travels_without_it(browser: httpx.Client, tokens: dict[str, str]) -> None:
    answer = browser.post("/login", data={"key": tokens["read"]}, headers={"X-Forwarded-Proto": "https"})

    assert answer.headers["set-cookie"].endswith("; Secure")


def test_a_wrong_key_and_one_that_may_not_read_get_no_cookie(browser: httpx.Client, tokens: dict[str, str]) -> None:
    wrong, other = log_in(browser, "hs_wrong"), log_in(browser, tokens["predict"])

    assert (wrong.status_code, other.status_code, dict(browser.cookies)) == (401, 401, {})
    assert "no valid API key" in wrong.text.lower() or "valid API key" in wrong.text
    assert "needs the scope read" in other.text
    assert tokens["predict"] not in other.text


def test_revoking_the_key_ends_the_session_at_once(
    browser: httpx.Client, tokens: dict[str, str], project: Project
) -> None:
    log_in(browser, tokens["read"])
    assert browser.get("/docs").status_code == 200

    with project.database.write() as connection:
        revoke_key(connection, tokens["read"][3:15], now=datetime.now(UTC))

    assert wait_for_login(browser) < 1


def test_every_worker_accepts_the_session_of_another(
    tokens: dict[str, str], start_process: Callable[..., tuple[object, str]]
) -> None:
    _, address = start_process("--workers", "2")
    cookie = httpx.post(f"{address}/login", data={"key": tokens["read"]}).headers["set-cookie"].partition(";")[0]

    # Each on a connection of its own: the kernel spreads them over the workers.
    answers = [httpx.get(f"{address}/docs", headers={"Cookie": cookie}).status_code for _ in range(20)]

    assert answers == [200] * 20


def test_a_session_ends_when_its_time_is_over(browser: httpx.Client, tokens: dict[str, str], project: Project) -> None:
    log_in(browser, tokens["read"])
    with project.database.write() as connection:
        connection.execute(sessions.update().values(expires_at=datetime.now(UTC) - timedelta(seconds=1)))

    assert browser.get("/docs").status_code == 303
    log_in(browser, tokens["read"])
    with project.database.read() as connection:
        assert len(connection.execute(sessions.select()).all()) == 1


def test_logging_out_ends_the_session_for_whoever_has_the_cookie(browser: httpx.Client, tokens: dict[str, str]) -> None:
    log_in(browser, tokens["read"])
    stolen, csrf = browser.cookies[COOKIE], csrf_in(browser.get("/docs"))

    assert browser.post("/logout", data={"csrf": "x" * 64}).status_code == 403
    out = browser.post("/logout", data={"csrf": csrf})

    assert (out.status_code, out.headers["location"]) == (303, "/login")
    assert browser.get("/docs", headers={"Cookie": f"{COOKIE}={stolen}"}).status_code == 303


def test_a_session_opens_what_its_key_opens_and_changes_nothing_but_by_forms(
    browser: httpx.Client, tokens: dict[str, str], row: dict[str, Any]
) -> None:
    log_in(browser, tokens["admin"])

    assert browser.get("/v1/status", headers={"Accept": "*/*"}).status_code == 200
    refused = [browser.post("/v1/retrain", json={}), browser.post("/v1/predict", json=row)]
    assert [answer.status_code for answer in refused] == [403, 403]


def test_no_page_of_another_site_may_send_a_form(browser: httpx.Client, tokens: dict[str, str]) -> None:
    log_in(browser, tokens["read"])
    csrf = csrf_in(browser.get("/docs"))
    foreign = {"Origin": "http://elsewhere.example"}

    assert browser.post("/logout", data={"csrf": csrf}, headers=foreign).status_code == 403
    assert browser.post("/login", data={"key": tokens["admin"]}, headers=foreign).status_code == 403
    assert browser.get("/docs").status_code == 200


def test_attempts_are_limited_in_rate(browser: httpx.Client, tokens: dict[str, str]) -> None:
    answers = [log_in(browser, "hs_wrong") for _ in range(ATTEMPTS_PER_MINUTE + 1)]

    assert {answer.status_code for answer in answers[:-1]} == {401}
    assert (answers[-1].status_code, int(answers[-1].headers["retry-after"]) > 0) == (429, True)
    assert log_in(browser, tokens["read"]).status_code == 429


@pytest.mark.parametrize(
    "path",
    ["//elsewhere.example", "/\\elsewhere.example", "https://elsewhere.example", "/\t/elsewhere.example", "", "x"],
)
def test_the_login_leads_nowhere_else(path: str) -> None:
    assert keep_local(path) == "/"


def test_every_page_has_the_headers_of_every_page(browser: httpx.Client, tokens: dict[str, str]) -> None:
    login = browser.get("/login")
    log_in(browser, tokens["read"])

    for page in (login, browser.get("/docs"), browser.get("/nothing")):
        assert "unsafe" not in page.headers["content-security-policy"]
        assert page.headers["x-content-type-options"] == "nosniff"
        assert page.headers["cache-control"] == "no-store"


def test_a_file_of_the_pages_is_sent_once(browser: httpx.Client) -> None:
    first = browser.get("/static/homeostat.css")
    again = browser.get("/static/homeostat.css", headers={"If-None-Match": first.headers["etag"]})

    assert (first.status_code, first.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert (again.status_code, again.content) == (304, b"")
    assert browser.get("/static/app.py").status_code == 404
