"""The events of the board: all parts at first, then what changes, for so many watchers, who hold up nobody."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import httpx

from homeostat.project import Project
from homeostat.store.keys import create_key, revoke_key
from homeostat.web.board_parts import PARTS
from homeostat.web.live import MAX_WATCHERS

Row = dict[str, Any]


def read_parts(lines: Iterator[str]) -> Iterator[dict[str, str]]:
    """Yield the parts that are sent."""
    for line in lines:
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


def find_part(parts: Iterator[dict[str, str]], name: str, words: str) -> str:
    """Return the first part of this name that holds these words."""
    return next(part["html"] for part in parts if part["id"] == name and words in part["html"])


def test_a_watcher_is_sent_every_part_and_then_those_that_change(client: httpx.Client, row: Row) -> None:
    with client.stream("GET", "/live") as answer:
        parts = read_parts(answer.iter_lines())
        first = [next(parts)["id"] for _ in PARTS]
        client.post("/v1/predict", json=row)
        changed = next(parts)

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert first == list(PARTS)
    assert (changed["id"], "1 row in the last hour" in changed["html"]) == ("traffic", True)


def test_one_watcher_too_many_is_refused_and_all_of_them_keep_nobody_else_out(client: httpx.Client, row: Row) -> None:
    with ExitStack() as watchers:
        for _ in range(MAX_WATCHERS):
            answer = watchers.enter_context(client.stream("GET", "/live"))
            assert answer.status_code == 200
        refused = client.get("/live")
        answered = client.post("/v1/predict", json=row)

    assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
    assert answered.status_code == 200


def test_who_watches_is_no_request_under_way(client: httpx.Client) -> None:
    with ExitStack() as watchers:
        for _ in range(5):
            next(read_parts(watchers.enter_context(client.stream("GET", "/live")).iter_lines()))
        time.sleep(0.3)
        metrics = client.get("/metrics").text

    under_way = metrics.partition("\nhomeostat_http_requests_in_progress ")[2].partition("\n")[0]
    assert float(under_way) <= 1  # that of the metrics itself
    assert 'route="/live"' not in metrics


def test_a_process_that_is_told_to_stop_does_not_wait_for_watchers(start_process: Callable[[], Any]) -> None:
    process, address = start_process()
    with httpx.stream("GET", f"{address}/live") as answer:
        lines = answer.iter_lines()
        next(read_parts(lines))
        started = time.monotonic()
        process.terminate()
        list(lines)
        assert process.wait(20) == 0

    assert time.monotonic() - started < 10


def test_watching_ends_with_the_key(project: Project, client: httpx.Client) -> None:
    with project.database.write() as connection:
        key, token = create_key(connection, "test", frozenset({"read"}), now=datetime.now(UTC))
    time.sleep(0.6)

    with client.stream("GET", "/live", headers={"X-API-Key": token}) as answer:
        lines = answer.iter_lines()
        next(read_parts(lines))
        with project.database.write() as connection:
            revoke_key(connection, key.id, now=datetime.now(UTC))
        started = time.monotonic()
        list(lines)

    assert time.monotonic() - started < 3


def test_the_first_key_ends_the_watching_of_who_has_none(project: Project, client: httpx.Client) -> None:
    with client.stream("GET", "/live") as answer:
        lines = answer.iter_lines()
        next(read_parts(lines))
        with project.database.write() as connection:
            create_key(connection, "test", frozenset({"read"}), now=datetime.now(UTC))
        list(lines)

    assert client.get("/live").status_code == 401


def test_whoever_comes_back_is_sent_what_has_changed_meanwhile(client: httpx.Client, row: Row) -> None:
    with client.stream("GET", "/live") as answer:
        next(read_parts(answer.iter_lines()))
    client.post("/v1/predict", json=row)
    with client.stream("GET", "/live") as answer:
        assert "1 row" in find_part(read_parts(answer.iter_lines()), "traffic", "1 row")
