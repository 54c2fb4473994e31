"""MLflow's own pages on a project's runs: a process of MLflow on this machine, or the address of a server.

Not here: what is tracked. The pages have no login, so they are served to this machine alone; MLflow itself refuses
requests that come under another name than this machine's (DNS rebinding) or from a page of another origin.
"""

import importlib.metadata
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from urllib.parse import urlsplit

import click
import httpx

from homeostat.cli.loop import leave
from homeostat.errors import InputError, StateError
from homeostat.project import Project
from homeostat.retraining.telling import hide_login

HOST = "127.0.0.1"
SERVERS = ("http", "https")
PATIENCE_S, POLL_S = 60.0, 0.2


def show_pages(project: Project, *, port: int, opens: bool) -> None:
    """Show MLflow's pages until Ctrl-C; where the runs are on a server, say where that is."""
    url = project.tracking_url
    if urlsplit(url).scheme in SERVERS:
        announce(hide_login(url, url), opens=opens)
        return
    require_pages()
    address = f"http://{HOST}:{choose_port(port)}"
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, leave)
    process = start_pages(url, urlsplit(address).port or port)
    try:
        wait_until_ready(address, process)
        announce(find_page(address, project.settings.project.name), opens=opens)
        click.echo("Ctrl-C ends it.")
        process.wait()
    finally:
        # The whole group: MLflow starts a server of its own.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def require_pages() -> None:
    """Raise StateError unless the extra is installed that brings MLflow's pages."""
    try:
        importlib.metadata.version("mlflow")
    except importlib.metadata.PackageNotFoundError as error:
        raise StateError(
            problem="MLflow's pages are not installed: only its client is",
            expected="the extra mlflow-ui",
            action="pip install 'homeostat[mlflow-ui]'; `homeostat runs` lists the runs without it",
        ) from error


def choose_port(port: int) -> int:
    """Return a port that nobody listens on: this one, or any if it is 0."""
    try:
        with socket.create_server((HOST, port)) as server:
            return int(server.getsockname()[1])
    except OSError as error:
        raise InputError(
            problem=f"port {port} is taken: {error.strerror}",
            expected="a port that nobody listens on",
            action="give another with --port, or --port 0 for any",
        ) from error


def start_pages(url: str, port: int) -> subprocess.Popen[bytes]:
    """Start MLflow's server on a store; whatever it has to say goes to the standard error."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    # The store in the environment: it may hold a password, and anybody on the machine can list arguments.
    wishes = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment = os.environ | wishes | {"MLFLOW_BACKEND_STORE_URI": url}
    return subprocess.Popen(  # noqa: S603  our own interpreter
        command, env=environment, stdout=sys.stderr, start_new_session=True
    )


def wait_until_ready(address: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until the pages answer; StateError if they never do."""
    deadline = time.monotonic() + PATIENCE_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(f"{address}/health").is_success:
                return
        except httpx.TransportError:
            time.sleep(POLL_S)
    raise StateError(
        problem="MLflow's server did not begin to answer",
        expected=f"pages at {address} within {PATIENCE_S:g} seconds",
        action="see what it said above; try `python -m mlflow server --help`",
    )


def find_page(address: str, project: str) -> str:
    """Return the address of the page that lists the project's runs; the front page before there are any."""
    found = httpx.get(f"{address}/api/2.0/mlflow/experiments/get-by-name", params={"experiment_name": project})
    if not found.is_success:
        return address
    return f"{address}/#/experiments/{found.json()['experiment']['experiment_id']}"


def announce(address: str, *, opens: bool) -> None:
    """Print an address, and open it where somebody watches or has asked for it."""
    click.echo(f"MLflow's pages: {address}")
    if opens or sys.stdout.isatty():
        click.launch(address)
