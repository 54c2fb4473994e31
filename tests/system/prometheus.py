"""Prometheus itself: a server on a free port that scrapes one service by the example in `deploy/prometheus`.

Not here: what the rules say (`test_alert_rules`), or what becomes of the service (`test_prometheus`).
"""

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

DEPLOY = Path(__file__).parents[2] / "deploy" / "prometheus"
RULES, EXAMPLE, CASES = DEPLOY / "alerts.yml", DEPLOY / "prometheus.yml", DEPLOY / "alerts_test.yml"
PATIENCE_S = 60
STOP_S = 10


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A server that scrapes."""

    address: str

    def ask(self, query: str) -> dict[str, float]:
        """Return the value of each series that a query finds now, by its labels but for job and instance."""
        found = httpx.get(f"{self.address}/api/v1/query", params={"query": query}).json()["data"]["result"]
        return {label_text(one["metric"]): float(one["value"][1]) for one in found}

    def find_firing(self) -> dict[str, dict[str, Any]]:
        """Return every alert that fires now, by its name."""
        alerts = httpx.get(f"{self.address}/api/v1/alerts").json()["data"]["alerts"]
        return {alert["labels"]["alertname"]: alert for alert in alerts if alert["state"] == "firing"}


def label_text(metric: dict[str, str]) -> str:
    return ",".join(f"{k}={v}" for k, v in sorted(metric.items()) if k not in {"__name__", "job", "instance"})


def find_program(name: str) -> str:
    """Return where a program of Prometheus lies; without it the tests fail, for a skipped one proves nothing."""
    program = shutil.which(name)
    if program is None:
        pytest.fail(f"{name} is missing: apt-get install --no-install-recommends prometheus")
    return program


def wait_for(holds: Callable[[], object]) -> None:
    """Return once something holds; fail if it does not in time."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        port: int = opened.getsockname()[1]
        return port


def write_config(folder: Path, *, target: str, token: str) -> Path:
    """Write the example and the rules as they are, but for the pace, the target, and how long a rule waits."""
    config = EXAMPLE.read_text()
    for here, there in ((": 15s", ": 500ms"), ("127.0.0.1:8000", target)):
        assert here in config
        config = config.replace(here, there)
    # Only `for`: what an alert looks at, and over which time, stays. Not 0: one slow scrape is no service that is down.
    (folder / RULES.name).write_text(re.sub(r"\bfor: \w+", "for: 2s", RULES.read_text()))
    (folder / "homeostat.token").write_text(token)
    (folder / EXAMPLE.name).write_text(config)
    return folder / EXAMPLE.name


@contextmanager
def scrape(target: str, token: str, *, folder: Path) -> Iterator[Prometheus]:
    """Let Prometheus scrape a service from the entry of the context to its end.

    Parameters
    ----------
    target
        Host and port of the service.
    token
        That of a key which may read.
    folder
        An empty one, for its settings and its data.
    """
    listen = f"127.0.0.1:{free_port()}"
    command = [find_program("prometheus"), f"--config.file={write_config(folder, target=target, token=token)}"]
    command += [f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={listen}"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_for(lambda: process.poll() is not None or is_ready(f"http://{listen}"))
        assert process.poll() is None, (folder / "log").read_text()
        yield Prometheus(f"http://{listen}")
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def is_ready(address: str) -> bool:
    try:
        return httpx.get(f"{address}/-/ready").is_success
    except httpx.TransportError:
        return False
