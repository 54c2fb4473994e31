"""Very many connections: which wait, and which are closed."""

import json
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from homeostat.web import turns
from homeostat.web.server import Server

Row = dict[str, Any]
Start = Callable[..., tuple[subprocess.Popen[str], str]]
ASK = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"


def answered(connection: socket.socket) -> bool:
    """Send a request, and return whether it is answered."""
    try:
        connection.sendall(ASK)
        return connection.recv(4096).startswith(b"HTTP/1.1 200")
    except ConnectionError:
        return False


def test_an_idle_connection_is_closed_when_there_are_too_many(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "MAX_CONNECTIONS", 5)
    address = ("127.0.0.1", server.config.port)

    opened = []
    for _ in range(12):
        opened.append(socket.create_connection(address, timeout=30))
        assert answered(opened[-1])
    still_open = [connection for connection in opened if answered(connection)]
    for connection in opened:
        connection.close()

    assert len(still_open) == 5


def test_every_connection_of_very_many_has_its_turn(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "FREE", 3)
    address = ("127.0.0.1", server.config.port)
    opened = [socket.create_connection(address, timeout=30) for _ in range(20)]

    for _ in range(5):
        for connection in opened:
            connection.sendall(ASK)
        assert all(connection.recv(4096).startswith(b"HTTP/1.1 200") for connection in opened)
    for connection in opened:
        connection.close()


def test_a_process_without_a_free_descriptor_refuses_and_goes_on_when_it_has_some(
    start_process: Start, row: Row
) -> None:
    process, address = start_process()
    with httpx.Client(base_url=address) as client:
        client.get("/livez")
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (64, 64))
        port = int(address.rpartition(":")[2])
        idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]
        time.sleep(0.5)  # measured ten times a second, the process reads a file each time

        assert client.post("/v1/predict", json=row).status_code == 503
        for connection in idle:
            connection.close()
        time.sleep(0.5)
        assert client.post("/v1/predict", json=row).status_code == 200


def test_the_process_tells_that_it_lives_while_very_many_connections_send(start_process: Start, row: Row) -> None:
    _, address = start_process()
    program, port = str(Path(__file__).with_name("hammer.py")), address.rpartition(":")[2]
    waited_s = []

    with subprocess.Popen([sys.executable, program, port, "500", json.dumps(row)], stdin=subprocess.PIPE) as hammer:
        time.sleep(2)
        one_connection_each = httpx.Limits(max_keepalive_connections=0)
        with httpx.Client(base_url=address, timeout=30, limits=one_connection_each) as client:
            for _ in range(15):
                asked = time.perf_counter()
                assert client.get("/livez").status_code == 200
                waited_s.append(time.perf_counter() - asked)
        hammer.terminate()

    # Some 20 ms where the processors are free; read in the order of arrival it was 4 s.
    assert sorted(waited_s)[7] < 0.3
