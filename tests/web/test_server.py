"""The process: where it may listen, what it prints, how it stops, and that nothing answered is lost as it does."""

import asyncio
import json
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import insert

from homeostat.errors import SettingsInvalid
from homeostat.project import Project, open_project
from homeostat.store.tables import keys
from homeostat.web.listening import Wishes, listen, open_listener
from homeostat.web.server import EXIT_LOG_FAILED, run
from homeostat.web.worker import Worker
from tests.web.senders import Senders, kept_ids

Row = dict[str, Any]
Start = Callable[..., tuple[subprocess.Popen[str], str]]
# Serves in the main thread, asks itself from another, and prints what it has loaded by then.
ANSWER_ONCE = """
import json, os, signal, sys, threading, urllib.request
from pathlib import Path
from homeostat.project import open_project
from homeostat.web import server
from homeostat.web.listening import listen

def ask(port):
    answer = urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/predict", sys.argv[2].encode())
    assert answer.status == 200
    print(json.dumps(list(sys.modules)))
    os.kill(os.getpid(), signal.SIGINT)

with open_project(Path(sys.argv[1])) as project, listen("127.0.0.1", 0) as listener:
    threading.Thread(target=ask, args=[listener.getsockname()[1]]).start()
    server.serve(server.build_server(project), listener)
"""


def test_the_process_prints_its_address_and_nothing_else(start_process: Start, row: Row) -> None:
    process, address = start_process()

    assert httpx.post(f"{address}/v1/predict", json=row).status_code == 200
    process.send_signal(signal.SIGTERM)
    assert process.communicate() == ("", "")
    assert process.returncode == 0


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_under_load_drains_and_exits_with_0(
    start_process: Start, trained_project: Path, row: Row, sent: signal.Signals
) -> None:
    process, address = start_process()
    senders = Senders(address, row)
    senders.wait_for(50)

    process.send_signal(sent)
    assert process.wait(30) == 0

    senders.stop()
    assert sorted(senders.acknowledged) == sorted(kept_ids(trained_project))


def test_no_request_fails_while_releases_are_replaced(
    start_process: Start, promote_copy: Callable[[str], str], row: Row
) -> None:
    _, address = start_process()
    senders = Senders(address, row)

    for place in range(10):
        last = promote_copy(f"swap {place}")
        time.sleep(0.5)
    senders.stop()

    assert senders.failures == []
    assert last in senders.releases
    assert len(senders.releases) >= 8


def test_a_disk_that_fails_ends_the_process_with_its_code(
    start_process: Start, trained_project: Path, row: Row
) -> None:
    process, address = start_process()
    senders = Senders(address, row)
    time.sleep(0.3)

    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1, 1))
    assert process.wait(30) == EXIT_LOG_FAILED
    senders.stop()

    assert any("log-failed" in failure for failure in senders.failures)
    assert set(senders.acknowledged) <= set(kept_ids(trained_project))


def test_after_a_failed_disk_a_new_process_recovers(start_process: Start, row: Row) -> None:
    process, address = start_process()
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1, 1))
    assert httpx.post(f"{address}/v1/predict", json=row).status_code == 503
    process.wait(30)

    _, address = start_process()

    assert httpx.get(f"{address}/readyz").status_code == 200
    assert httpx.post(f"{address}/v1/predict", json=row).status_code == 200


def test_a_worker_whose_log_failed_is_not_ready(project: Project) -> None:
    async def obstacles() -> list[str]:
        async with Worker(project) as worker:
            worker.log.fail(OSError("no space"))
            return worker.find_obstacles()

    assert asyncio.run(obstacles()) == ["the log met an I/O error"]


def test_a_process_that_has_answered_has_loaded_nothing_that_trains(trained_project: Path, row: Row) -> None:
    command = [sys.executable, "-c", ANSWER_ONCE, str(trained_project), json.dumps(row)]

    loaded = set(json.loads(subprocess.check_output(command, text=True).splitlines()[-1]))

    assert "onnxruntime" in loaded
    assert not loaded & {"polars", "lightgbm", "sklearn", "scipy", "mlflow", "pandas", "optuna", "onnx", "matplotlib"}


def test_a_process_that_was_told_to_stop_answers_for_a_while_and_asks_senders_to_go(
    start_process: Start, row: Row
) -> None:
    process, address = start_process()
    with httpx.Client(base_url=address) as client:
        assert "connection" not in client.get("/livez").headers
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)

        answer = client.post("/v1/predict", json=row)
        ready = client.get("/readyz")

    assert (answer.status_code, answer.headers["connection"]) == (200, "close")
    assert (ready.status_code, ready.headers["connection"]) == (503, "close")
    assert process.wait(30) == 0


def test_a_request_that_was_begun_before_the_end_is_answered(start_process: Start, row: Row) -> None:
    process, address = start_process()
    body = json.dumps(row).encode()
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as slow:
        slow.sendall(
            b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:9]
        )
        time.sleep(0.3)  # until it has begun: what nobody has read by the end is not answered
        process.send_signal(signal.SIGINT)
        time.sleep(1)
        slow.sendall(body[9:])

        answer = slow.recv(4096)

    assert answer.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in answer
    assert process.wait(30) == 0


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.10", "example.org", "127.0.0.1.example.org", ""])  # noqa: S104  refused
def test_without_keys_the_service_listens_on_this_machine_only(host: str) -> None:
    with pytest.raises(SettingsInvalid, match="this machine only"):
        listen(host, 0)


def test_who_may_not_listen_beyond_this_machine_is_told_how_to_make_a_key() -> None:
    with pytest.raises(SettingsInvalid) as refused:
        listen("0.0.0.0", 0)  # noqa: S104  refused

    assert "homeostat keys create" in refused.value.action


def test_with_a_key_the_service_may_listen_beyond_this_machine(project: Project) -> None:
    wishes = Wishes(host="0.0.0.0", port=0)  # noqa: S104  every request is asked for its key
    with project.database.write() as connection:
        values = {"id": "k", "name": "clinic", "hash": "0" * 64, "scopes": "[]", "created_at": datetime.now(UTC)}
        connection.execute(insert(keys).values(**values))

    with open_listener(project, wishes) as listener:
        assert listener.getsockname()[0] == "0.0.0.0"  # noqa: S104  as above


def test_where_keys_are_required_the_service_may_listen_beyond_this_machine(
    trained_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOMEOSTAT_SERVING__AUTHENTICATION", "required")

    with open_project(trained_project) as project, open_listener(project, Wishes(host="0.0.0.0", port=0)) as listener:  # noqa: S104
        assert listener.getsockname()[0] == "0.0.0.0"  # noqa: S104  as above


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "localhost"])
def test_every_loopback_address_may_be_listened_on(host: str) -> None:
    with listen(host, 0) as listener:
        assert listener.getsockname()[0].startswith("127.")


def test_a_port_that_is_taken_is_refused_by_name(trained_project: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(SettingsInvalid, match=f"127.0.0.1:{port}"):
            run(trained_project, Wishes(port=port))


def test_a_project_without_a_release_is_served_but_not_ready(
    start_process: Start, trained_project: Path, row: Row
) -> None:
    with open_project(trained_project) as project, project.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM promotions")

    _, address = start_process()

    assert httpx.get(f"{address}/livez").status_code == 200
    assert httpx.get(f"{address}/readyz").status_code == 503
    answer = httpx.post(f"{address}/v1/predict", json=row)
    assert (answer.status_code, answer.json()["code"]) == (503, "release-missing")
    assert int(answer.headers["retry-after"]) > 0
