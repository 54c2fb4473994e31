"""An experiment manager that is a server: runs, files and the alias go through HTTP, and it may be away for a while."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from homeostat.deployment.registry import require_production
from homeostat.loop import begin_by_hand, tick
from homeostat.project import Project, open_project
from homeostat.records import Json
from homeostat.retraining.telling import hide_login
from homeostat.retraining.tracking_watch import keep_in_step
from homeostat.store.events import read_events
from homeostat.store.leases import take_lease
from tests.retraining.clinic import write_project
from tests.system.story import write_settings

API = "api/2.0/mlflow"


class Server:
    """A tracking server on this machine that can go and come again: MLflow's own, with its files behind it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--serve-artifacts", "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self.folder / 'server.db'}", "--port", str(self.port)]
        command += ["--artifacts-destination", str(self.folder / "files"), "--host", "127.0.0.1"]
        wishes = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        self._process = subprocess.Popen(
            command,
            env=os.environ | wishes,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"{self.url}/health").is_success:
                    return
            except httpx.TransportError:
                time.sleep(0.1)
        raise AssertionError("the tracking server did not begin to answer")

    def stop(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def runs(self) -> list[dict[str, str]]:
        """Return the attempts, each as its tags."""
        experiment = self._get("experiments/get-by-name", experiment_name="clinic")["experiment"]["experiment_id"]
        asked = {"experiment_ids": [experiment], "filter": "tags.`homeostat.trigger` LIKE '%'"}
        found = httpx.post(f"{self.url}/{API}/runs/search", json=asked).json()["runs"]
        return [{tag["key"]: tag["value"] for tag in run["data"]["tags"]} for run in found]

    def production(self) -> str:
        """Return the release that the alias names."""
        found = self._get("registered-models/alias", name="clinic", alias="production")["model_version"]
        return next(str(tag["value"]) for tag in found["tags"] if tag["key"] == "homeostat.release")

    def _get(self, path: str, **params: str) -> Json:
        answer = httpx.get(f"{self.url}/{API}/{path}", params=params)
        assert answer.is_success, answer.text
        found: Json = answer.json()
        return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def project(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The clinic, trained once while the server was away; then it came, and the loop has looked after it."""
    settings = write_settings(tracked=True) + f'[store]\ntracking = "{server.url}"\n'
    folder = write_project(tmp_path_factory.mktemp("remote") / "project", settings=settings)
    with open_project(folder) as project, pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        begin_by_hand(project, reason="a test")
        assert list(tick(project))[-1].outcome == "promoted"
        server.start()
        look(project, after_s=0)  # counts from here: a first look has had no time for anything to be missed
        look(project, after_s=120)
        yield project


def look(project: Project, *, after_s: float) -> None:
    now = datetime.now(UTC) + timedelta(seconds=after_s)
    keep_in_step(project, take_lease(project.database, now=datetime.now(UTC)), now=now)


def test_a_server_that_is_away_stands_in_nobodys_way_and_that_is_in_the_log(project: Project) -> None:
    with project.database.read() as connection:
        failed = list(read_events(connection, kind="tracking_failed"))

    assert [event.payload["part"] for event in failed] == ["track", "mirror"]
    assert "Connection refused" in failed[0].payload["problem"]


def test_what_it_has_missed_is_told_once_it_is_there_and_the_alias_follows(server: Server, project: Project) -> None:
    with project.database.read() as connection:
        production = require_production(connection).release

    (tags,) = server.runs()

    assert (tags["homeostat.release"], tags["homeostat.outcome"]) == (production, "promoted")
    assert server.production() == production


def test_files_go_through_the_server(server: Server, project: Project) -> None:
    kept = {path.name for path in (server.folder / "files").rglob("*") if path.is_file()}

    assert {"MLmodel", "model.onnx", "roc.png", "lineage.json"} <= kept
    assert not (project.folder / ".homeostat" / "tracking").exists()


def test_no_login_of_the_server_comes_into_the_log() -> None:
    url = "https://me:pass%20word@mlflow.example/team"

    said = hide_login(f"HTTPSConnectionPool: {url}/api failed for pass%20word", url)

    assert said == "HTTPSConnectionPool: https://mlflow.example/team/api failed for ..."
