"""A server under measurement: started on its own core until its first answer, weighed, and stopped.

Not here: which servers there are (`bench.contestants`), or what is sent to them (`bench.load`).
"""

import http.client
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

SERVER_CORE, LOAD_CORE = 0, 1
START_S, STOP_S = 60.0, 30.0
POLL_S, BACKLOG_POLL_S = 0.002, 0.05


class NotServingError(Exception):
    """A server ended or did not answer; the message is its own first complaint."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers, and the seconds from its start to its first answer."""

    process: subprocess.Popen[bytes]
    port: int
    cold_s: float


@contextmanager
def start(
    command: Sequence[str], port: int, *, environment: Mapping[str, str], probe: tuple[str, bytes], log: Path
) -> Iterator[Running]:
    """Run a server on its core, yield it once it answers `probe` (path and body) with 200, and stop it.

    Raises
    ------
    NotServingError
        It ended before, or did not answer in time.
    """
    pinned = ["taskset", "--cpu-list", str(SERVER_CORE), *command]
    started = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            pinned, stdout=output, stderr=output, env={**os.environ, **environment}, start_new_session=True
        )
    try:
        await_answer(process, port, probe, log)
        yield Running(process, port, time.monotonic() - started)
    finally:
        stop(process)


def await_answer(process: subprocess.Popen[bytes], port: int, probe: tuple[str, bytes], log: Path) -> None:
    """Return once the server has answered a prediction."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise NotServingError(find_complaint(log) or f"ended with code {process.returncode}")
        try:
            status, _ = post(port, *probe)
        except (OSError, http.client.HTTPException):
            status = 0
        if status == http.client.OK:
            return
        time.sleep(POLL_S)
    raise NotServingError(f"no answer within {START_S:.0f} s: {find_complaint(log)}")


def find_complaint(log: Path) -> str:
    """Return why a server did not start: the problem in our words, the last line of a traceback otherwise."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() or [""]
    return next((line.removeprefix("Error: ") for line in lines if line.startswith("Error: ")), lines[-1])


def post(port: int, path: str, body: bytes) -> tuple[int, bytes]:
    """Return status and body of one answer, over a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_S)
    try:
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def await_backlog(port: int) -> float:
    """Return the seconds until our service has written every row that it has answered."""
    started = time.monotonic()
    while time.monotonic() - started < START_S:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_S)
        connection.request("GET", "/readyz?verbose")
        pending = json.loads(connection.getresponse().read())["pending_rows"]
        connection.close()
        if not pending:
            break
        time.sleep(BACKLOG_POLL_S)
    return time.monotonic() - started


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server as an operator would; whatever is left of its processes after that is killed."""
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        print(f"{process.args!r} did not stop within {STOP_S:.0f} s")
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def free_port() -> int:
    """Return a port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def processes_of(running: Running) -> dict[int, list[str]]:
    """Return the fields of /proc/PID/stat after the name, by PID, of a server and all that it started."""
    alive: dict[int, list[str]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            alive[int(stat.parent.name)] = stat.read_text().rpartition(")")[2].split()
    root = running.process.pid
    # Of its session, or a child of what is found already: workers may be in sessions of their own.
    found = {pid: fields for pid, fields in alive.items() if int(fields[3]) == root}
    while more := {pid: f for pid, f in alive.items() if int(f[1]) in found and pid not in found}:
        found |= more
    return found


def measure_memory(running: Running) -> float:
    """Return the resident memory of a server's processes in megabytes; what they share is counted in each."""
    return sum(resident_kb(pid) for pid in processes_of(running)) * 1024 / 1e6


def resident_kb(pid: int) -> int:
    """Return VmRSS of a process, 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), 0)


def processor_seconds(running: Running) -> dict[int, float]:
    """Return the processor time that each of a server's processes has used."""
    ticks = os.sysconf("SC_CLK_TCK")
    return {pid: (int(fields[11]) + int(fields[12])) / ticks for pid, fields in processes_of(running).items()}
