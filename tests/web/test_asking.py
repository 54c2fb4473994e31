"""What is asked of the loop over HTTP: accepted once, kept under a number, refused with the reason."""

from datetime import UTC, datetime

import httpx
import pytest

from homeostat.deployment.registry import register_release
from homeostat.project import Project
from homeostat.retraining.requests import answer_request, list_pending, next_request
from homeostat.store.events import append_event, read_events
from homeostat.store.keys import create_key
from tests.web.test_access import bearer

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = "f" * 64
REFUSED: list[tuple[str, object, int, str]] = [
    ("/v1/promote", {"release": "999999", "reason": "r"}, 404, "release-missing"),
    ("/v1/promote", {"release": "1", "reason": "r"}, 409, "state"),
    ("/v1/approve", {}, 409, "state"),
    ("/v1/rollback", {"reason": "r"}, 409, "state"),
    ("/v1/promote", {"release": "2"}, 400, "request-invalid"),
    ("/v1/promote", {"release": "2", "reason": ""}, 400, "request-invalid"),
    ("/v1/promote", {"release": 2, "reason": "r"}, 400, "request-invalid"),
    ("/v1/rollback", {}, 400, "request-invalid"),
    ("/v1/rollback", {"reason": "r", "release": "1"}, 400, "request-invalid"),
    ("/v1/approve", {"reason": "x" * 1001}, 400, "request-invalid"),
    ("/v1/retrain", [], 400, "request-invalid"),
]


@pytest.fixture
def client(client: httpx.Client, project: Project) -> httpx.Client:
    """The service of a project that has a second release."""
    with project.database.write() as connection:
        register_release(connection, SECOND, snapshot="s", family="f", metrics={}, run_id=None, now=NOW)
    return client


def test_a_promotion_that_is_asked_for_waits_under_the_number_that_is_answered(
    client: httpx.Client, project: Project
) -> None:
    answer = client.post("/v1/promote", json={"release": "2", "reason": "it was better"})

    told = answer.json()
    with project.database.read() as connection:
        (request,) = list_pending(connection)
    assert (answer.status_code, answer.headers["location"]) == (202, f"/v1/requests/{request.id}")
    assert (told["request"], told["release"], told["outcome"]) == (request.id, SECOND, None)
    assert (request.kind, request.reason, request.actor) == ("promote", "it was better", "http")


def test_what_became_of_a_request_is_told(client: httpx.Client, project: Project) -> None:
    where = client.post("/v1/retrain", json={}).headers["location"]
    waiting = client.get(where).json()
    with project.database.write() as connection:
        request = next_request(connection)
        assert request is not None
        answer_request(connection, request, outcome="refused", sentence="Not today.", now=NOW)

    told = client.get(where).json()

    assert (waiting["outcome"], waiting["decided_at"]) == (None, None)
    assert (told["outcome"], told["sentence"], told["decided_at"]) == ("refused", "Not today.", NOW.isoformat())


def test_what_is_no_request_or_makes_no_sense_is_refused_and_leaves_nothing(
    client: httpx.Client, project: Project
) -> None:
    for path, body, status, code in REFUSED:
        answer = client.post(path, json=body)

        assert (answer.status_code, answer.json()["code"]) == (status, code), (path, body)
        assert answer.headers["content-type"] == "application/problem+json"
        assert "retry-after" not in answer.headers
    with project.database.read() as connection:
        assert list_pending(connection) == []


def test_a_refusal_says_which_members_a_body_has(client: httpx.Client) -> None:
    expected = client.post("/v1/promote", json={"digest": "2"}).json()["expected"]

    assert expected == "an object with release and reason, and nothing else"


def test_a_request_that_is_sent_again_is_asked_once(client: httpx.Client, project: Project) -> None:
    key = {"Idempotency-Key": "once"}
    first, again = (client.post("/v1/retrain", json={"reason": "r"}, headers=key) for _ in range(2))
    other = client.post("/v1/retrain", json={"reason": "s"}, headers=key)

    assert (again.status_code, again.content) == (202, first.content)
    assert (again.headers["idempotency-replayed"], again.headers["location"]) == ("true", first.headers["location"])
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")
    with project.database.read() as connection:
        assert len(list_pending(connection)) == 1


def test_what_was_refused_may_be_sent_again_under_the_same_key(client: httpx.Client, project: Project) -> None:
    key, body = {"Idempotency-Key": "later"}, {"release": "3", "reason": "r"}
    refused = client.post("/v1/promote", json=body, headers=key)
    with project.database.write() as connection:
        register_release(connection, "e" * 64, snapshot="s", family="f", metrics={}, run_id=None, now=NOW)

    assert (refused.status_code, client.post("/v1/promote", json=body, headers=key).status_code) == (404, 202)


def test_the_key_that_asked_is_named_in_the_request_and_in_its_event(project: Project, client: httpx.Client) -> None:
    with project.database.write() as connection:
        key, token = create_key(connection, "nightly job", frozenset({"admin"}), now=NOW)
    while client.get("/v1/status").status_code != 401:
        pass  # the service looks for keys four times a second

    client.post("/v1/retrain", json={"reason": "r"}, headers=bearer(token))

    with project.database.read() as connection:
        actors = [event.payload["actor"] for event in read_events(connection, kind="requested")]
    assert actors == [f"key:{key.id} nightly job"]


def test_a_number_of_no_request_is_a_problem(client: httpx.Client) -> None:
    answers = [client.get(f"/v1/requests/{number}") for number in ("7", "0", "x", "9" * 40)]

    assert [answer.status_code for answer in answers] == [404, 422, 422, 422]
    assert [answer.json()["code"] for answer in answers] == ["request-missing", *["parameter-invalid"] * 3]


def test_the_status_shows_the_newest_decision_and_what_waits(client: httpx.Client, project: Project) -> None:
    asked = client.post("/v1/retrain", json={"reason": "r"}).json()
    with project.database.write() as connection:
        for sentence in ("Nothing.", "It waits."):
            append_event(connection, "decision", {"action": "wait", "trigger": None, "sentence": sentence}, now=NOW)

    status = client.get("/v1/status").json()

    assert status["decision"]["sentence"] == "It waits."
    assert status["waiting"] == {"cycle": None, "held": None, "requests": [asked]}
