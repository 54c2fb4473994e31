"""A request with an Idempotency-Key may be sent again and again: it is done once, and answered as the first time."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import pytest

from homeostat.project import Project, open_project
from homeostat.store.keys import create_key

Row: TypeAlias = dict[str, Any]
Start: TypeAlias = Callable[..., tuple[Any, str]]
Connect: TypeAlias = Callable[..., httpx.Client]
N_AT_ONCE = 20


@pytest.fixture
def make_token(trained_project: Path) -> Callable[[], str]:
    """Make an API key before the service starts; return its token."""

    def make() -> str:
        with open_project(trained_project) as project, project.database.write() as connection:
            return create_key(connection, "test", frozenset({"predict"}), now=datetime.now(UTC))[1]

    return make


@pytest.fixture
def connect() -> Iterator[Callable[..., httpx.Client]]:
    """Open clients of an address, closed at the end."""
    with ExitStack() as opened:
        yield lambda address, **more: opened.enter_context(httpx.Client(base_url=address, timeout=60, **more))


@contextmanager
def hold_the_database(folder: Path) -> Iterator[None]:
    """Let nobody write: every commit waits until the end of the context."""
    with closing(sqlite3.connect(folder / ".homeostat" / "homeostat.db", isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


def send(client: httpx.Client, body: Any, key: str | bytes, path: str = "/v1/predict") -> httpx.Response:
    return client.post(path, json=body, headers={b"Idempotency-Key": key if isinstance(key, bytes) else key.encode()})


def count_lines(folder: Path, table: str = "predictions") -> int:
    """Return the lines of a table, as a reader that is none of our code finds them."""
    with sqlite3.connect(folder / ".homeostat" / "homeostat.db") as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608  our own table


def assert_is_replay(again: httpx.Response, first: httpx.Response) -> None:
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["content-type"] == first.headers["content-type"]
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers


def assert_is_problem(answer: httpx.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def bodies_of(row: Row) -> dict[str, Any]:
    """Return a body for each way to be answered."""
    return {
        "a row": row,
        "an impossible row": {**row, "Age": 250},
        "a batch": {"rows": [row, {**row, "Age": 250}, {**row, "Glucose": 90}]},
        "an empty batch": {"rows": []},
    }


@pytest.mark.parametrize("kind", ["a row", "an impossible row", "a batch", "an empty batch"])
def test_the_same_request_gets_the_same_answer_and_is_kept_once(
    client: httpx.Client, project: Project, row: Row, kind: str
) -> None:
    body = bodies_of(row)[kind]
    first = send(client, body, "k")
    kept = [count_lines(project.folder, table) for table in ("predictions", "rejections")]

    again = send(client, body, "k")

    assert_is_replay(again, first)
    assert [count_lines(project.folder, table) for table in ("predictions", "rejections")] == kept


def test_a_request_sent_again_is_counted_once_as_rows_and_twice_as_requests(client: httpx.Client, row: Row) -> None:
    body = {"rows": [row, {**row, "Age": 250}]}

    answers = [send(client, body, "k") for _ in range(3)]

    metrics = client.get("/metrics").text
    label = answers[0].json()["predictions"][0]["label"]
    assert f'homeostat_predictions_total{{label="{label}"}} 1.0' in metrics
    assert "homeostat_rejected_rows_total 1.0" in metrics
    assert 'homeostat_http_requests_total{route="/v1/predict",status="200"} 3.0' in metrics


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/labels"])
def test_another_request_under_the_same_key_is_refused(client: httpx.Client, row: Row, path: str) -> None:
    body = row if path == "/v1/predict" else {"id": "none", "label": 1}
    send(client, body, "k", path)

    other = send(client, {**body, "label": 0} if "id" in body else {**body, "Age": 30}, "k", path)

    assert_is_problem(other, 422, "idempotency-key-reused")


def test_the_same_body_for_another_route_is_another_request(client: httpx.Client, project: Project) -> None:
    first = send(client, {"rows": []}, "k")

    other = send(client, {"labels": []}, "k", "/v1/labels")

    assert first.status_code == 200
    assert_is_problem(other, 422, "idempotency-key-reused")
    assert count_lines(project.folder, "labels") == 0


def test_a_request_that_was_no_request_leaves_its_key_free(client: httpx.Client, row: Row) -> None:
    refused = client.post("/v1/predict", content=b"{", headers={"Idempotency-Key": "k"})

    assert_is_problem(refused, 400, "request-invalid")
    assert send(client, row, "k").status_code == 200


@pytest.mark.parametrize("label", [1, 0, "none of the two"])
def test_an_outcome_sent_again_gets_the_first_answer(
    client: httpx.Client, project: Project, row: Row, label: object
) -> None:
    body = {"id": client.post("/v1/predict", json=row).json()["id"], "label": label}
    first = send(client, body, "k", "/v1/labels")

    again = send(client, body, "k", "/v1/labels")

    assert_is_replay(again, first)
    assert count_lines(project.folder, "labels") == (first.status_code == 200)


def test_outcomes_sent_again_are_still_called_recorded(client: httpx.Client, row: Row) -> None:
    ids = [client.post("/v1/predict", json=row).json()["id"] for _ in range(3)]
    body = {"labels": [{"id": id_, "label": 1} for id_ in (*ids, "none")]}
    first = send(client, body, "k", "/v1/labels")

    again = send(client, body, "k", "/v1/labels")

    assert_is_replay(again, first)
    assert [one["status"] for one in again.json()["outcomes"]] == ["recorded"] * 3 + ["unknown"]


def test_the_keys_of_different_senders_do_not_meet(
    start_process: Start, connect: Connect, trained_project: Path, row: Row, make_token: Callable[[], str]
) -> None:
    tokens = [make_token(), make_token()]
    _, address = start_process()
    clients = [connect(address, headers={"Authorization": f"Bearer {token}"}) for token in tokens]

    first, second, again = (send(client, row, "k") for client in (*clients, clients[0]))

    assert first.json()["id"] != second.json()["id"]
    assert_is_replay(again, first)
    assert count_lines(trained_project) == 2


@pytest.mark.parametrize("key", [b"", b"x" * 201, "schlüssel".encode(), b"\xff"])
@pytest.mark.parametrize("path", ["/v1/predict", "/v1/labels"])
def test_a_key_that_is_none_is_refused(client: httpx.Client, row: Row, key: bytes, path: str) -> None:
    answer = send(client, row if path == "/v1/predict" else {"labels": []}, key, path)

    assert_is_problem(answer, 400, "request-invalid")
    assert "Idempotency-Key" in answer.json()["detail"]


def test_a_key_of_two_hundred_characters_is_taken(client: httpx.Client, row: Row) -> None:
    first = send(client, row, "x" * 200)

    assert_is_replay(send(client, row, "x" * 200), first)


def test_twenty_equal_requests_at_once_are_one_row(client: httpx.Client, project: Project, row: Row) -> None:
    with ThreadPoolExecutor(N_AT_ONCE) as pool:
        answers = list(pool.map(lambda _: send(client, row, "k"), range(N_AT_ONCE)))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert sum("idempotency-replayed" in answer.headers for answer in answers) == N_AT_ONCE - 1
    assert count_lines(project.folder) == 1


def test_after_a_kill_and_a_new_start_the_answer_is_still_the_first(
    start_process: Start, connect: Connect, trained_project: Path, row: Row
) -> None:
    body = {"rows": [row, {**row, "Age": 250}]}
    process, address = start_process()
    first = send(connect(address), body, "k")
    process.kill()
    process.wait()

    _, address = start_process()
    again = send(connect(address), body, "k")

    assert_is_replay(again, first)
    assert count_lines(trained_project) == 1


def test_where_answers_do_not_wait_for_the_disk_one_with_a_key_does(
    start_process: Start, connect: Connect, trained_project: Path, row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOMEOSTAT_SERVING__DURABILITY", "relaxed")
    client = connect(start_process()[1])
    with ThreadPoolExecutor(1) as pool:
        with hold_the_database(trained_project):
            without = client.post("/v1/predict", json=row)
            waiting = pool.submit(send, client, row, "k")
            time.sleep(0.5)
            answered_early = waiting.done()
        first = waiting.result()

    assert (without.status_code, first.status_code, answered_early) == (200, 200, False)
    assert_is_replay(send(client, row, "k"), first)
    assert count_lines(trained_project) == 2


def test_a_key_is_forgotten_when_its_time_is_over(
    start_process: Start, connect: Connect, trained_project: Path, row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOMEOSTAT_SERVING__IDEMPOTENCY_S", "0.5")
    client = connect(start_process()[1])
    first = send(client, row, "k")
    time.sleep(0.6)

    later = send(client, {**row, "Age": 30}, "k")

    assert later.status_code == 200
    assert later.json()["id"] != first.json()["id"]
    assert count_lines(trained_project) == 2
