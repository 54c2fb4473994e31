"""The process that answers: how it stops without losing a request, and with which code it exits.

Not here: routes (`web.app`), where it may listen (`web.listening`), or several of them (`web.supervisor`).
"""

import asyncio
import os
import resource
import shutil
import signal
import socket
import sys
import time
from pathlib import Path
from types import FrameType

import click
import uvicorn

from homeostat.monitoring.metrics import SHARED, count_as
from homeostat.project import Project, open_project
from homeostat.web.app import create_app, put_in_front
from homeostat.web.endpoint import UNDER_WAY
from homeostat.web.listening import BACKLOG, Certificate, Wishes, address_of, find_certificate, open_listener
from homeostat.web.turns import MAX_CONNECTIONS, TurnProtocol, Turns
from homeostat.web.worker import Worker

# The disk failed under the log: whether the last rows are kept is unknown, and only a new start may write again.
EXIT_LOG_FAILED = os.EX_IOERR  # 74, "error while doing I/O on some file" (sysexits.h)
# Longer than any proxy keeps an idle connection: the side that opened it must be the one that closes it, or a request
# is lost on the way.
KEEP_ALIVE_S = 75
DRAIN_S = 30
SWITCH_S = 0.001
# What a process has open beside its connections.
SPARE_FILES = 256
# libuv accepts one connection from each listener at each look. With one listener, 1,000 that came at once took 4 s.
ACCEPTED_AT_ONCE = 16
# After the last connection was accepted: the time that its request may take to arrive.
SETTLE_S = 0.25
CLOSE = (b"connection", b"close")


class Server(uvicorn.Server):
    """A server that says once where it listens, and drains when it is told to stop or when its log fails.

    SIGTERM and SIGHUP: not ready at once; for `grace_s` requests are still taken, and each answer asks its sender to
    close the connection; then the listener and idle connections are closed and requests under way are finished. SIGINT
    leaves out the grace.
    """

    def __init__(self, config: uvicorn.Config, worker: Worker, *, only_if_ready: bool = False) -> None:
        super().__init__(config)
        self.worker = worker
        self.only_if_ready = only_if_ready
        self.unready: list[str] = []
        self._grace_ends_at: float | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the application, listen, and print the address: from then on requests are answered."""
        await super().startup(sockets=[])  # the application alone: a worker that is not ready must take no request
        self.lifespan.state[UNDER_WAY] = self.server_state.tasks
        if self.only_if_ready and (obstacles := self.worker.find_obstacles()):
            self.unready = obstacles
            self.should_exit = True
            return
        self.worker.observe()
        self.turns = Turns()
        loop = asyncio.get_running_loop()
        for listener in sockets or []:
            for _ in range(ACCEPTED_AT_ONCE):
                opened = await loop.create_server(
                    self._accept, sock=listener.dup(), ssl=self.config.ssl, backlog=BACKLOG
                )
                self.servers.append(opened)
            click.echo(address_of(listener, tls=self.config.is_ssl))

    def _accept(self) -> asyncio.Protocol:
        return TurnProtocol(self.config, self.server_state, self.lifespan.state, self.turns)

    async def main_loop(self) -> None:
        """Serve until a signal, or until the log fails."""
        watch = asyncio.create_task(self._stop_when_log_fails())
        await super().main_loop()
        watch.cancel()

    async def _stop_when_log_fails(self) -> None:
        await self.worker.log.failed.wait()
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Return whether to stop; called ten times a second."""
        if self._grace_ends_at is not None and time.monotonic() >= self._grace_ends_at:
            self.should_exit = True
        self.worker.metrics.in_progress.set(len(self.server_state.tasks))
        self.worker.observe()
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  the signature is uvicorn's
        """Stop on SIGTERM, SIGHUP and SIGINT; a second SIGINT does not wait for open requests."""
        # Not uvicorn's own: it raises the signal again after the drain, and the exit code would be 143, not 0.
        self.worker.drain()
        self._ask_to_close()
        if sig == signal.SIGINT:
            self.force_exit = self.should_exit
            self.should_exit = True
        elif self._grace_ends_at is None:
            self._grace_ends_at = time.monotonic() + self.worker.project.settings.serving.grace_s

    def _ask_to_close(self) -> None:
        # uvicorn puts these headers before the application's; the list that is used now is also that of every request
        # under way, the other is where the next one comes from.
        for headers in (self.server_state.default_headers, self.config.encoded_headers):
            if CLOSE not in headers:
                headers.append(CLOSE)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more, answer what was accepted, finish, and close the application."""
        self.worker.drain()  # also if no signal came: whoever watches would be waited for
        self._ask_to_close()
        for server in self.servers:
            server.close()
        await asyncio.sleep(SETTLE_S)
        await super().shutdown(sockets)


def run(folder: Path, wishes: Wishes) -> int:
    """Serve the project in a folder until told to stop, and return the exit code: 0, or 74 if the log failed.

    Prints one line, the address, once requests are answered.

    Raises
    ------
    SettingsInvalid
        The address or the certificate cannot be used.
    """
    with open_project(folder) as project:
        certificate = find_certificate(project, wishes)
        with open_listener(project, wishes) as listener:
            return serve(build_server(project, certificate), listener)


def run_worker(folder: Path, wishes: Wishes, *, listen_fd: int, place: int, only_if_ready: bool) -> int:
    """Serve as `run` does, as one of several: on a socket that is open already, counting in files of its own."""
    count_as(place)
    supervisor = os.getppid()
    with open_project(folder) as project, socket.socket(fileno=listen_fd) as listener:
        certificate = find_certificate(project, wishes)
        code = serve(build_server(project, certificate, only_if_ready=only_if_ready), listener)
    if os.getppid() != supervisor:  # it was killed, and could not clean up
        shutil.rmtree(os.environ[SHARED], ignore_errors=True)
    return code


def serve(server: Server, listener: socket.socket) -> int:
    """Answer on an open socket until told to stop, and return the exit code."""
    # 1 ms, not 5: what another thread computes (metrics, a large body) holds up the event loop for this long at a time.
    sys.setswitchinterval(SWITCH_S)
    allow_open_files(MAX_CONNECTIONS + SPARE_FILES)
    signal.signal(signal.SIGHUP, server.handle_exit)  # its terminal is gone, or somebody takes it for a supervisor
    server.run(sockets=[listener])
    if server.unready:
        click.echo(f"not ready: {'; '.join(server.unready)}", err=True)
        return os.EX_UNAVAILABLE
    failure = server.worker.log.failure
    if failure is None:
        return os.EX_OK
    click.echo(str(failure), err=True)
    return EXIT_LOG_FAILED


def allow_open_files(n_files: int) -> None:
    """Let this process open so many files, or as many as the system allows: shells often grant 1,024 only."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < n_files:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (n_files if hard == resource.RLIM_INFINITY else min(n_files, hard), hard)
        )


def build_server(project: Project, certificate: Certificate | None = None, *, only_if_ready: bool = False) -> Server:
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
        ssl_certfile=None if certificate is None else certificate.certfile,
        ssl_keyfile=None if certificate is None else certificate.keyfile,
    )
    config.load()  # now, not in the event loop: a signal that comes early finds everything there
    return Server(config, app.state.worker, only_if_ready=only_if_ready)
