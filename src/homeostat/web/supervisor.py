"""Several worker processes behind one listening socket: started, watched, replaced one by one, stopped.

Not here: what a worker does (`web.server`). The supervisor answers no request and imports nothing that could.
"""

import asyncio
import itertools
import os
import signal
import socket
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import click
from prometheus_client.multiprocess import mark_process_dead

from homeostat.monitoring.metrics import SHARED
from homeostat.project import open_project
from homeostat.web.listening import Wishes, find_certificate, open_listener

# A worker that ends within this time of its start died early; after so many early deaths in a row nothing will help.
EARLY_S = 5.0
MAX_EARLY_DEATHS = 5
BACKOFF_S = 0.1
# What a worker ends with when the disk failed under its log (`web.server`). All of them write to the same file: only a
# new start of everything may write again.
LOG_FAILED = os.EX_IOERR
# Beyond the grace: a worker drains for at most 30 s, and one that still runs then does not listen to signals.
STOP_S = 45.0
START_S = 60.0
# Counts that end with the service need no disk; where the system has no such folder, any temporary one does.
SHARED_MEMORY = "/dev/shm"  # noqa: S108  a new folder in it, for this user alone


@dataclass(frozen=True, slots=True)
class Plan:
    """How workers are started: a command, to which each one's place is added, and what it inherits."""

    command: Sequence[str]
    environment: Mapping[str, str]
    metrics: Path
    n_workers: int
    stop_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Child:
    """A worker that answers. `ended` becomes its exit code."""

    process: Process
    ended: asyncio.Task[int]
    address: str
    answers_since: float


class WorkerDied(Exception):
    """A worker ended before it answered."""

    def __init__(self, code: int) -> None:
        super().__init__(f"a worker ended with code {code}")
        self.code = code


def run(folder: Path, wishes: Wishes, *, n_workers: int) -> int:
    """Serve the project in a folder with several processes until told to stop, and return the exit code.

    Prints one line, the address, once all of them answer. SIGTERM and SIGINT are passed on, SIGHUP replaces the
    workers one by one. The code is 0, 74 if the log of a worker failed, or that of a worker that died again and again.

    Raises
    ------
    SettingsInvalid
        The address or the certificate cannot be used.
    """
    with open_project(folder) as project:
        certificate = find_certificate(project, wishes)
        grace_s = project.settings.serving.grace_s
        listener = open_listener(project, wishes)
    command = [sys.executable, "-m", "homeostat", "serve", "--until-stdin-closes", "--project", str(folder)]
    command += ["--listen-fd", str(listener.fileno())]
    if certificate is not None:
        command += ["--certfile", str(certificate.certfile)]
        command += ["--keyfile", str(certificate.keyfile)] if certificate.keyfile else []
    memory = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
    with listener, tempfile.TemporaryDirectory(prefix="homeostat-metrics-", dir=memory) as metrics:
        plan = Plan(command, {**os.environ, SHARED: metrics}, Path(metrics), n_workers, grace_s + STOP_S)
        return asyncio.run(Supervisor(plan, listener).supervise())


class Supervisor:
    """Keeps the workers of a plan answering on a listening socket. Use it once, in the event loop it is made in."""

    def __init__(self, plan: Plan, listener: socket.socket) -> None:
        self._plan = plan
        self._listener = listener
        self._workers: list[Child] = []
        # By place, a number that no other living process has: also those that do not answer yet, or not any more.
        self._processes: dict[int, Process | None] = {}
        self._endings: set[asyncio.Task[int]] = set()
        self._stopping = asyncio.Event()
        self._replacing = asyncio.Event()
        self._code = os.EX_OK
        # Held by whoever puts one worker in the place of another.
        self._changing = asyncio.Lock()

    async def supervise(self) -> int:
        """Start the workers, keep them answering until told to stop, and return the exit code."""
        loop = asyncio.get_running_loop()
        for sig in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(sig, self._stop, sig)
        loop.add_signal_handler(signal.SIGHUP, self._replacing.set)
        try:
            self._workers += await asyncio.gather(*(self._start() for _ in range(self._plan.n_workers)))
        except WorkerDied as died:
            self._stop(signal.SIGTERM, code=died.code)
        else:
            click.echo(self._workers[0].address)
            await asyncio.gather(self._replace_when_told(), *(self._keep(index) for index in range(len(self._workers))))
        await asyncio.gather(*self._endings)
        return next((code for code in (self._code, *(worker.ended.result() for worker in self._workers)) if code), 0)

    def _stop(self, sig: signal.Signals, *, code: int = os.EX_OK) -> None:
        """Pass a signal on to every worker, and start none from now on."""
        if not self._stopping.is_set():
            self._code = code
            self._stopping.set()
            self._replacing.set()
            self._listener.close()  # or what nobody accepts any more would wait for ever
            asyncio.get_running_loop().call_later(self._plan.stop_s, self._send, signal.SIGKILL)
        self._send(sig)

    def _send(self, sig: signal.Signals) -> None:
        for process in self._processes.values():
            if process is not None and process.returncode is None:
                process.send_signal(sig)

    async def _start(self, *options: str) -> Child:
        """Return a new worker once it answers; WorkerDied if it ends before, or takes too long."""
        place = next(number for number in itertools.count(1) if number not in self._processes)
        self._processes[place] = None
        process = await asyncio.create_subprocess_exec(
            *self._plan.command,
            *("--place", str(place)),
            *options,
            env=self._plan.environment,
            stdin=PIPE,
            stdout=PIPE,
            pass_fds=(self._listener.fileno(),),
            start_new_session=True,  # Ctrl-C reaches the supervisor alone, which passes it on
        )
        self._processes[place] = process
        ended = asyncio.create_task(self._await_end(process, place))
        self._endings.add(ended)
        ended.add_done_callback(self._endings.discard)
        if self._stopping.is_set():
            process.terminate()
        try:
            address = await asyncio.wait_for(read_line(process), START_S)
        except TimeoutError:
            process.kill()
            address = ""
        if not address:
            raise WorkerDied(await ended)
        return Child(process, ended, address, time.monotonic())

    async def _await_end(self, process: Process, place: int) -> int:
        """Return the exit code of a worker once it has ended; a signal's as a shell tells it."""
        code = await process.wait()
        mark_process_dead(place, str(self._plan.metrics))  # type: ignore[no-untyped-call]  # the library types nothing here
        del self._processes[place]
        return code if code >= 0 else 128 - code

    async def _keep(self, index: int) -> None:
        """Put a new worker in the place of each one that dies, until told to stop."""
        n_early = 0
        while not self._stopping.is_set():
            child = self._workers[index]
            code = await child.ended
            if self._stopping.is_set():
                return
            if code == LOG_FAILED:
                self._stop(signal.SIGTERM, code=code)
                return
            async with self._changing:
                if self._workers[index] is not child:
                    continue
                died_early = time.monotonic() - child.answers_since < EARLY_S
                n_early = await self._revive(index, code, n_early=n_early + 1 if died_early else 0)

    async def _revive(self, index: int, code: int, *, n_early: int) -> int:
        """Start a worker for one that died; return how many have died early in a row by now."""
        while not self._stopping.is_set():
            if n_early >= MAX_EARLY_DEATHS:
                self._stop(signal.SIGTERM, code=code)
                break
            click.echo(f"A worker ended with code {code}; another is started.", err=True)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), BACKOFF_S * (2**n_early - 1))
                break
            try:
                self._workers[index] = await self._start()
                break
            except WorkerDied as died:
                code, n_early = died.code, n_early + 1
        return n_early

    async def _replace_when_told(self) -> None:
        """Replace all workers at each SIGHUP, until told to stop."""
        while await self._replacing.wait() and not self._stopping.is_set():
            self._replacing.clear()
            await self._replace_all()

    async def _replace_all(self) -> None:
        """Put a new worker in the place of each old one; the first that is not ready to answer ends this."""
        for index in range(len(self._workers)):
            async with self._changing:
                if self._stopping.is_set():
                    return
                try:
                    new = await self._start("--only-if-ready")
                except WorkerDied as died:
                    click.echo(f"The new worker ended with code {died.code}; the old ones go on.", err=True)
                    return
                old, self._workers[index] = self._workers[index], new
            if old.process.returncode is None:
                old.process.terminate()
            await old.ended


async def read_line(process: Process) -> str:
    """Return the first line that a process prints, empty if it ends without one."""
    return (await process.stdout.readline()).decode().strip() if process.stdout else ""
