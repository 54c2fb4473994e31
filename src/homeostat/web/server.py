"""The process that listens: where it may listen, how it stops, and with which code it exits.

Not here: routes (`web.app`).
"""

import asyncio
import ipaddress
import os
import signal
import socket
from pathlib import Path
from types import FrameType

import click
import uvicorn

from homeostat.errors import SettingsInvalid
from homeostat.project import Project, open_project
from homeostat.web.app import create_app, put_in_front
from homeostat.web.worker import Worker

# The disk failed under the log: whether the last rows are kept is unknown, and only a new start may write again.
EXIT_LOG_FAILED = os.EX_IOERR  # 74, "error while doing I/O on some file" (sysexits.h)
# Longer than any proxy keeps an idle connection: the side that opened it must be the one that closes it, or a request
# is lost on the way.
KEEP_ALIVE_S = 75
DRAIN_S = 30


class Server(uvicorn.Server):
    """A server that says once where it listens, and drains when it is told to stop or when its log fails."""

    def __init__(self, config: uvicorn.Config, worker: Worker) -> None:
        super().__init__(config)
        self.worker = worker

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the application, listen, and print the address: from then on requests are answered."""
        await super().startup(sockets)
        if self.started and sockets:
            host, port = sockets[0].getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            click.echo(f"http://{shown}:{port}")

    async def main_loop(self) -> None:
        """Serve until a signal, or until the log fails."""
        watch = asyncio.create_task(self._stop_when_log_fails())
        await super().main_loop()
        watch.cancel()

    async def _stop_when_log_fails(self) -> None:
        await self.worker.log.failed.wait()
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  the signature is uvicorn's
        """Stop on SIGTERM and SIGINT; a second SIGINT does not wait for open requests."""
        # Not uvicorn's own: it raises the signal again after the drain, and the exit code would be 143, not 0.
        self.worker.drain()
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True


def run(folder: Path, *, host: str | None = None, port: int | None = None) -> int:
    """Serve the project in a folder until told to stop, and return the exit code: 0, or 74 if the log failed.

    Prints one line, the address, once requests are answered. Port 0 is any free one; None is what the settings say.

    Raises
    ------
    SettingsInvalid
        The address is not one of this machine's own, or is taken.
    """
    with open_project(folder) as project:
        serving = project.settings.serving
        with listen(host or serving.host, serving.port if port is None else port) as listener:
            return serve(project, listener)


def serve(project: Project, listener: socket.socket) -> int:
    """Serve a project on an open socket until told to stop, and return the exit code."""
    server = build_server(project)
    server.run(sockets=[listener])
    failure = server.worker.log.failure
    if failure is None:
        return os.EX_OK
    click.echo(str(failure), err=True)
    return EXIT_LOG_FAILED


def build_server(project: Project) -> Server:
    """Return the server of a project, not running yet."""
    app = create_app(project)
    config = uvicorn.Config(
        put_in_front(app),
        http="httptools",
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_S,
    )
    return Server(config, app.state.worker)


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket on a loopback address.

    Raises
    ------
    SettingsInvalid
        The address is not a loopback address, or is taken.
    """
    if not is_loopback(host):
        raise SettingsInvalid(
            problem=f"serving.host is {host!r}",
            expected="127.0.0.1, ::1 or localhost: without keys, the service answers this machine only",
            action="set serving.host to 127.0.0.1, and put a proxy that asks for credentials in front",
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise SettingsInvalid(
            problem=f"{host}:{port} cannot be listened on: {error.strerror}",
            expected="a free port",
            action="stop what listens there, or choose another with serving.port (0 is any free one)",
        ) from error


def is_loopback(host: str) -> bool:
    """Return whether an address reaches this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
