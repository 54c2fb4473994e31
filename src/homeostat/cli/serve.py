"""`homeostat serve` and `up`: the service alone, or the service with the loop beside it."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from homeostat.cli import project_option
from homeostat.web.server import run

STOP_S = 60


def address_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add `--host` and `--port`."""
    command = click.option("--port", type=click.IntRange(0, 65535), help="0 is any free port.  [default: settings]")(
        command
    )
    return click.option("--host", help="A loopback address.  [default: settings]")(command)


@click.command("serve")
@address_options
@project_option
@click.option("--until-stdin-closes", is_flag=True, hidden=True, help="End with the process that started this one.")
def serve_command(host: str | None, port: int | None, folder: Path, *, until_stdin_closes: bool) -> None:
    """Answer requests with the release in production, and follow every promotion. Prints the address."""
    if until_stdin_closes:
        threading.Thread(target=drain_at_end_of_input, daemon=True).start()
    sys.exit(run(folder, host=host, port=port))


def drain_at_end_of_input() -> None:
    """Stop this process as SIGTERM does once its standard input ends: its parent is gone, however it died."""
    # Not sys.stdin: its lock, held by this waiting thread, would be missed when the interpreter ends.
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


@click.command("up")
@address_options
@project_option
def up_command(host: str | None, port: int | None, folder: Path) -> None:
    """Run everything: the service and the loop. SIGTERM or Ctrl-C stops both; requests under way are finished."""
    from homeostat.cli.loop import run_loop  # noqa: PLC0415  `serve` must not import what trains
    from homeostat.project import open_project  # noqa: PLC0415  as above

    with service(folder, host, port) as child:
        with open_project(folder) as project:
            run_loop(project, keep_going=lambda: child.poll() is None)
        ended = child.poll()
    if ended is not None:
        click.echo(f"The service ended by itself with code {ended}.", err=True)
        sys.exit(ended or 1)


@contextmanager
def service(folder: Path, host: str | None, port: int | None) -> Iterator[subprocess.Popen[bytes]]:
    """Run `homeostat serve` in a process of its own, and end it with this one."""
    command = [sys.executable, "-m", "homeostat", "serve", "--until-stdin-closes", "--project", str(folder)]
    command += ["--host", host] if host else []
    command += ["--port", str(port)] if port is not None else []
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as child:  # noqa: S603  our own
        try:
            yield child
        finally:
            child.terminate()
            child.wait(STOP_S)
