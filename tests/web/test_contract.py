"""The service does what its /openapi.json says, whatever is sent: schemathesis, on a real process.

Each answer is held against the description: status, content type, headers and body; what the description admits is
accepted, and what it excludes is refused.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import pytest

from homeostat.project import open_project
from homeostat.store.keys import create_key
from homeostat.web.access import OPEN, ROUTES
from tests.conftest import Count, Tell

ROOT = Path(__file__).parents[2]
# What cannot be asked of a project with a single release.
IMPOSSIBLE = {"/v1/promote", "/v1/approve", "/v1/rollback"}
PHASES = "examples,coverage,fuzzing"
Start: TypeAlias = Callable[..., tuple[Any, str]]
# The statuses that each route answered with.
Statuses: TypeAlias = Mapping[str, set[int]]


@pytest.fixture
def fuzz(tmp_path: Path, count: Count, tell: Tell) -> Callable[..., Statuses]:
    """Run schemathesis against an address; it must find nothing."""

    def run(address: str, *options: str, description: str | None = None) -> Statuses:
        report = tmp_path / "requests.json"
        n_examples = count(short=15, soak=600)
        command = [sys.executable, "-m", "schemathesis.cli", "--no-color"]
        command += ["--config-file", str(ROOT / "tests/web/schemathesis.toml"), "run"]
        command += [description or f"{address}/openapi.json", "--url", address, "--phases", PHASES]
        command += ["--max-examples", str(n_examples), "--report-har-path", str(report), *options]
        settings = os.environ | {"PYTHONPATH": str(ROOT)}  # the hooks are found by their module's name
        found = subprocess.run(command, cwd=tmp_path, env=settings, capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stdout + found.stderr
        statuses = read_statuses(report, address)
        tell(f"schemathesis: {summarise(found.stdout)}, 0 failures")
        return statuses

    return run


def read_statuses(report: Path, address: str) -> Statuses:
    """Return the statuses that each path was answered with."""
    statuses: dict[str, set[int]] = {}
    for entry in json.loads(report.read_text())["log"]["entries"]:
        path = entry["request"]["url"].removeprefix(address).partition("?")[0]
        statuses.setdefault(path, set()).add(entry["response"]["status"])
    return statuses


def summarise(output: str) -> str:
    """Return how many requests were made."""
    return next(line.strip() for line in output.splitlines() if "generated" in line)


def make_key(folder: Path) -> str:
    """Make a key that opens everything; return its token."""
    with open_project(folder) as project, project.database.write() as connection:
        return create_key(connection, "test", frozenset({"admin"}), now=datetime.now(UTC))[1]


def test_without_keys_the_service_does_what_it_says(start_process: Start, fuzz: Callable[..., Statuses]) -> None:
    _, address = start_process()

    statuses = fuzz(address)

    assert statuses["/v1/predict"] >= {200, 400, 422}
    assert statuses["/v1/labels"] >= {200, 400, 404, 422}
    assert all(
        200 in found for path, found in statuses.items() if path in ROUTES and path not in {*IMPOSSIBLE, "/v1/retrain"}
    )
    assert statuses["/v1/retrain"] >= {202, 409}
    assert all(409 in statuses[path] or 404 in statuses[path] for path in IMPOSSIBLE)


def test_with_a_key_the_service_does_what_it_says_and_no_other_key_opens_it(
    start_process: Start, fuzz: Callable[..., Statuses], trained_project: Path
) -> None:
    token = make_key(trained_project)
    _, address = start_process()

    statuses = fuzz(address, "--header", f"Authorization: Bearer {token}")

    assert statuses["/v1/predict"] >= {200, 400, 401, 422}
    # Another key is tried where this one was let in.
    assert all(401 in statuses[path] for path in statuses if ROUTES.get(path) and path not in IMPOSSIBLE)


def test_without_a_key_every_route_but_the_open_ones_is_closed(
    start_process: Start, fuzz: Callable[..., Statuses], trained_project: Path, tmp_path: Path
) -> None:
    token = make_key(trained_project)
    _, address = start_process()
    description = tmp_path / "openapi.json"
    answer = httpx.get(f"{address}/openapi.json", headers={"Authorization": f"Bearer {token}"})
    description.write_bytes(answer.content)

    statuses = fuzz(address, "--phases", "fuzzing", description=str(description))

    closed = {path: found for path, found in statuses.items() if ROUTES.get(path) is not OPEN}
    assert set().union(*closed.values()) == {401}
