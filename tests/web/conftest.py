"""The service as a user meets it: over HTTP, in a thread of the test or as a process of its own."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from tritonclient.http import InferenceServerClient

from homeostat.deployment.artifacts import find_release, open_release, pack_release
from homeostat.deployment.registry import promote, register_release, require_production
from homeostat.project import Project, open_project
from homeostat.records import Criterion, GateResult
from homeostat.web.listening import listen
from homeostat.web.server import Server, build_server

START_S = 30


@pytest.fixture
def project(trained_project: Path) -> Iterator[Project]:
    with open_project(trained_project) as opened:
        yield opened


@pytest.fixture
def server(project: Project) -> Iterator[Server]:
    """A real server on a loopback port, in a thread; `client` speaks to it."""
    server = build_server(project)
    listener = listen("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    server.config.port = listener.getsockname()[1]
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.01)
    yield server
    server.should_exit = True
    thread.join()


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{server.config.port}", timeout=60) as opened:
        yield opened


@pytest.fixture
def row() -> dict[str, object]:
    """The first row of the table, with Insulin not measured."""
    return {
        "Pregnancies": 6,
        "Glucose": 148,
        "BloodPressure": 72,
        "SkinThickness": 35,
        "Insulin": 0,
        "BMI": 33.6,
        "DiabetesPedigreeFunction": 0.627,
        "Age": 50,
    }


@pytest.fixture
def rows(row: dict[str, object]) -> list[dict[str, object]]:
    """Three rows that are possible."""
    return [row, {**row, "Glucose": 90, "BMI": 21.9}, {**row, "Age": 81, "DiabetesPedigreeFunction": 0.101}]


@pytest.fixture
def triton(server: Server) -> Iterator[InferenceServerClient]:
    """Triton's client, connected to the server."""
    with InferenceServerClient(f"127.0.0.1:{server.config.port}") as opened:
        yield opened


@pytest.fixture
def start_process(trained_project: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[str], str]]]:
    """Start `homeostat serve` on a free port; return the process and its address once it answers."""
    started: list[subprocess.Popen[str]] = []

    def start(*options: str) -> tuple[subprocess.Popen[str], str]:
        command = [sys.executable, "-m", "homeostat", "serve", "--project", str(trained_project), "--port", "0"]
        command += options
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        return process, process.stdout.readline().strip()

    yield start
    for process in started:
        process.kill()  # its workers, if it has any, end with it
        process.communicate()


@pytest.fixture
def promote_copy(project: Project) -> Callable[[str], str]:
    """Promote a release that answers as the one in production does, under another digest; return the digest."""

    def put(note: str) -> str:
        now = datetime.now(UTC)
        with project.database.read() as connection:
            current = require_production(connection)
        release = open_release(find_release(current.release, project.blobs))
        digest = pack_release(
            graph=release.graph,
            schema=release.schema,
            profile=release.profile,
            golden_inputs=release.golden.columns,
            metrics={"note": note},
            lineage=release.lineage,
            extra={},
            provenance={},
            blobs=project.blobs,
        )
        promote_digest(project, digest, epoch=current.epoch, now=now)
        return digest

    return put


@pytest.fixture
def promote_missing(project: Project) -> Callable[[], str]:
    """Promote a release that is not in the store; return its digest."""

    def put() -> str:
        with project.database.read() as connection:
            epoch = require_production(connection).epoch
        promote_digest(project, "f" * 64, epoch=epoch, now=datetime.now(UTC))
        return "f" * 64

    return put


def promote_digest(project: Project, digest: str, *, epoch: int, now: datetime) -> None:
    """Register and promote a digest past every gate."""
    with project.database.write() as connection:
        register_release(connection, digest, snapshot="s", family="f", metrics={}, run_id=None, now=now)
    verdict = GateResult((Criterion("test", passed=True, sentence="let in by a test", figures={}),))
    promote(project.database, digest, gate=verdict, expected_epoch=epoch, actor="test", reason="test", now=now)
