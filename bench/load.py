"""The load: as fast as a server answers (wrk), or at fixed moments whatever it does (an open loop).

Not here: what the figures mean (`bench.serving`, `bench.swaps`).
"""

import http.client
import json
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

from bench.processes import LOAD_CORE
from homeostat.records import Json

SCRIPT = Path(__file__).parent / "wrk_post.lua"
SENDERS = 16
# A connection is closed and made anew after so many requests, so that every worker gets its share of them.
REQUESTS_PER_CONNECTION = 50
TIMEOUT_S = 10.0


def drive(port: int, path: str, body: Path, *, connections: int, seconds: int) -> Json:
    """Return what wrk measured: requests, seconds, p50_ms, p99_ms, refused (not 2xx or 3xx), broken (sockets)."""
    command = ["taskset", "--cpu-list", str(LOAD_CORE), "wrk", "--threads", "1", "--connections", str(connections)]
    command += ["--duration", f"{seconds}s", "--timeout", f"{TIMEOUT_S:.0f}s", "--script", str(SCRIPT)]
    command += [f"http://127.0.0.1:{port}{path}", "--", str(body)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    measured: Json = json.loads(printed.splitlines()[-1])
    return measured


@dataclass(frozen=True, slots=True)
class Answered:
    """One request of the open loop: when it was due, how long the answer took from then, and who answered.

    `due_s` is on the monotonic clock, which all processes of the machine share. `release` is empty after a failure.
    """

    due_s: float
    latency_ms: float
    release: str
    failure: str


def send_steadily(port: int, path: str, body: bytes, *, per_second: float, seconds: float) -> list[Answered]:
    """Send requests at fixed moments, and return all of them by the moment at which they were due.

    A late answer delays no other request's moment: its successor on the connection counts the wait as its own.
    """
    started = time.monotonic() + 0.1
    n_requests = int(per_second * seconds)
    moments = [started + place / per_second for place in range(n_requests)]
    with ThreadPoolExecutor(SENDERS) as pool:
        lanes = [moments[lane::SENDERS] for lane in range(SENDERS)]
        sent = chain.from_iterable(pool.map(partial(send_lane, port, path, body), lanes))
    return sorted(sent, key=lambda answered: answered.due_s)


def send_lane(port: int, path: str, body: bytes, moments: list[float]) -> list[Answered]:
    """Send one request at each moment over one connection at a time."""
    answered: list[Answered] = []
    for first in range(0, len(moments), REQUESTS_PER_CONNECTION):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
        answered += send_over(connection, path, body, moments[first : first + REQUESTS_PER_CONNECTION])
        connection.close()
    return answered


def send_over(
    connection: http.client.HTTPConnection, path: str, body: bytes, moments: list[float]
) -> Iterator[Answered]:
    """Yield what became of the request of each moment; a connection that failed is made anew."""
    for due in moments:
        time.sleep(max(0.0, due - time.monotonic()))
        release, failure = "", ""
        try:
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            content = response.read()
            if response.status == http.client.OK:
                release = json.loads(content)["release"]
            else:
                failure = f"{response.status}: {content[:200]!r}"
        except (OSError, http.client.HTTPException) as error:
            failure = repr(error)
            connection.close()
        yield Answered(due, (time.monotonic() - due) * 1e3, release, failure)
