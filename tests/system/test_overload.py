"""Ten times the requests that the service takes: what it accepts is kept, the rest is refused at once, and it lives.

Not here: the order in which connections are read (`tests/web/test_turns.py`).
"""

import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from homeostat.records import Json
from tests.conftest import Count, Tell
from tests.system.load import ROW
from tests.system.serving_process import Serving, serve

LIMIT = 32
N_CONNECTIONS = 10 * LIMIT
LIVEZ = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@pytest.fixture
def serving(trained_project: Path) -> Iterator[Serving]:
    with serve(trained_project, settings={"HOMEOSTAT_SERVING__MAX_CONCURRENCY": str(LIMIT)}) as started:
        yield started


def port_of(serving: Serving) -> int:
    return int(serving.address.rpartition(":")[2])


def memory_mb(serving: Serving) -> float:
    pages = Path(f"/proc/{serving.process.pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6


def ask_whether_alive(serving: Serving) -> float:
    """Return the milliseconds until a new connection is told that the process lives."""
    asked = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port_of(serving)), timeout=30) as connection:
        connection.sendall(LIVEZ)
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
    return (time.perf_counter() - asked) * 1000


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))]


def watch(serving: Serving, *, until: Callable[[], bool]) -> tuple[list[float], list[float]]:
    """Return how long /livez took and what memory was held, again and again until something holds."""
    waited_ms, held_mb = [], []
    while not until():
        waited_ms.append(ask_whether_alive(serving))
        held_mb.append(memory_mb(serving))
        time.sleep(0.02)
    return waited_ms, held_mb


def kept_ids(folder: Path) -> set[str]:
    with closing(sqlite3.connect(folder / ".homeostat" / "homeostat.db")) as connection:
        return {line[0] for line in connection.execute("SELECT id FROM predictions")}


def flood(serving: Serving, seconds: float) -> subprocess.Popen[str]:
    program = str(Path(__file__).with_name("flood.py"))
    command = [sys.executable, program, str(port_of(serving)), str(N_CONNECTIONS), str(seconds), json.dumps(ROW)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_ten_times_the_load_is_survived_and_forgotten(
    serving: Serving, trained_project: Path, count: Count, tell: Tell
) -> None:
    ask_whether_alive(serving)
    at_rest_mb = memory_mb(serving)

    sent = flood(serving, count(short=6, soak=60))
    # Read in a thread: the account is larger than a pipe, and its end is what the watch waits for.
    with ThreadPoolExecutor(1) as pool:
        told = pool.submit(sent.communicate)
        waited_ms, held_mb = watch(serving, until=told.done)
    account = json.loads(told.result()[0])
    recovered_ms = [ask_whether_alive(serving) for _ in range(20)]
    answered = httpx.post(f"{serving.address}/v1/predict", json=ROW)

    assert account["broken"] == []
    assert set(account["refusals"]) == {"503 overloaded 1"}
    assert len(account["ids"]) > 0
    assert kept_ids(trained_project) == {*account["ids"], answered.json()["id"]}
    # In the long form nothing else runs; beside other work the slowest of a hundred tells of that work.
    assert quantile(waited_ms, count(short=50, soak=99) / 100) < 100
    assert max(held_mb) < at_rest_mb + 30
    assert quantile(recovered_ms, 0.5) < 100
    tell(describe(account, waited_ms, [at_rest_mb, max(held_mb)]))


def describe(account: dict[str, Any], waited_ms: list[float], memory: list[float]) -> str:
    livez = " ".join(f"{share:.0%} {quantile(waited_ms, share):.0f} ms" for share in (0.5, 0.99, 1))
    accepted = f"99% after {quantile(account['waited_s'], 0.99) * 1000:.0f} ms"
    n_refused = sum(account["refusals"].values())
    return (
        f"overload: {len(account['ids'])} accepted ({accepted}), all kept, {n_refused} refused; /livez {livez} "
        f"({len(waited_ms)} times); memory {memory[0]:.0f} -> {memory[1]:.0f} MB; load {os.getloadavg()[0]:.1f}"
    )


def test_one_request_too_many_is_refused_at_once_and_those_before_it_are_answered(
    serving: Serving, trained_project: Path
) -> None:
    def send(_: int) -> httpx.Response:
        return httpx.post(f"{serving.address}/v1/predict", json=ROW, timeout=60)

    with ThreadPoolExecutor(LIMIT) as pool, closing(open_database(trained_project)) as database:
        database.execute("BEGIN IMMEDIATE")  # every commit waits
        waiting = [pool.submit(send, place) for place in range(LIMIT)]
        wait_for_requests(serving, LIMIT)
        refused = send(LIMIT)
        alive_ms = ask_whether_alive(serving)
        database.execute("ROLLBACK")
        answers = [future.result() for future in waiting]

    assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
    assert refused.headers["retry-after"] == "1"
    assert refused.elapsed.total_seconds() < 1
    assert alive_ms < 1000
    assert {answer.status_code for answer in answers} == {200}


def open_database(folder: Path) -> sqlite3.Connection:
    return sqlite3.connect(folder / ".homeostat" / "homeostat.db", isolation_level=None)


def wait_for_requests(serving: Serving, n_requests: int) -> None:
    """Return once so many rows wait for their commit."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        state: Json = httpx.get(f"{serving.address}/readyz?verbose").json()
        if state["pending_rows"] >= n_requests:
            return
        time.sleep(0.01)
    raise AssertionError("the requests did not arrive")
