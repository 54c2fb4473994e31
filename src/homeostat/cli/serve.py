"""`homeostat serve` and `up`: the service alone, or the service with the loop beside it."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from homeostat.cli import project_option
from homeostat.project import read_settings
from homeostat.web.listening import Wishes

FILE = click.Path(path_type=Path, dir_okay=False)
SERVING_OPTIONS = (
    click.option("--host", help="Beyond this machine only with keys.  [default: settings]"),
    click.option("--port", type=click.IntRange(0, 65535), help="0 is any free port.  [default: settings]"),
    click.option("--workers", type=click.IntRange(1, 64), help="Processes that answer.  [default: settings]"),
    click.option("--certfile", type=FILE, help="A TLS certificate chain.  [default: settings]"),
    click.option("--keyfile", type=FILE, help="Its private key.  [default: settings]"),
)
# Overrides `homeostat.toml`, as any such variable does.
WORKERS = "HOMEOSTAT_SERVING__WORKERS"


def serving_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add what may differ from the settings."""
    for option in reversed(SERVING_OPTIONS):
        command = option(command)
    return command


@click.command("serve")
@serving_options
@project_option
@click.option("--until-stdin-closes", is_flag=True, hidden=True, help="End with the process that started this one.")
@click.option("--listen-fd", type=int, hidden=True, help="Be a worker: answer on this open socket.")
@click.option("--place", type=int, hidden=True, help="The number of this worker.")
@click.option("--only-if-ready", is_flag=True, hidden=True, help="End if no release passes its checks.")
def serve_command(
    folder: Path,
    workers: int | None,
    listen_fd: int | None,
    place: int | None,
    *,
    until_stdin_closes: bool,
    only_if_ready: bool,
    **wishes: Any,  # Any: click hands over by name what `Wishes` declares
) -> None:
    """Answer requests with the release in production, and follow every promotion. Prints the address.

    With several workers, SIGHUP replaces them one by one, and no request fails.

    Example: homeostat serve --port 8000 --workers 2
    """
    if until_stdin_closes:
        threading.Thread(target=drain_at_end_of_input, daemon=True).start()
    if listen_fd is not None and place is not None:
        from homeostat.web.server import run_worker  # noqa: PLC0415  only what the process needs: it starts in 1 s

        sys.exit(run_worker(folder, Wishes(**wishes), listen_fd=listen_fd, place=place, only_if_ready=only_if_ready))
    if workers is not None:
        os.environ[WORKERS] = str(workers)  # for every worker as well: each grants its share of a quota
    n_workers = read_settings(folder).serving.workers
    if n_workers > 1:
        from homeostat.web import supervisor  # noqa: PLC0415  as above

        sys.exit(supervisor.run(folder, Wishes(**wishes), n_workers=n_workers))
    from homeostat.web import server  # noqa: PLC0415  as above

    sys.exit(server.run(folder, Wishes(**wishes)))


def drain_at_end_of_input() -> None:
    """Stop this process as SIGTERM does once its standard input ends: its parent is gone, however it died."""
    # Not sys.stdin: its lock, held by this waiting thread, would be missed when the interpreter ends.
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


@click.command("up")
@serving_options
@project_option
def up_command(folder: Path, **options: object) -> None:
    """Run everything: the service and the loop. SIGTERM or Ctrl-C stops both; requests under way are finished.

    Example: homeostat up --port 8000
    """
    from homeostat.cli.loop import run_loop  # noqa: PLC0415  `serve` must not import what trains
    from homeostat.project import open_project  # noqa: PLC0415  as above

    with service(folder, options) as child:
        with open_project(folder) as project:
            run_loop(project, keep_going=lambda: child.poll() is None)
        ended = child.poll()
    if ended is not None:
        click.echo(f"The service ended by itself with code {ended}.", err=True)
        sys.exit(ended or 1)


@contextmanager
def service(folder: Path, options: Mapping[str, object]) -> Iterator[subprocess.Popen[bytes]]:
    """Run `homeostat serve` in a process of its own, and end it with this one."""
    command = [sys.executable, "-m", "homeostat", "serve", "--until-stdin-closes", "--project", str(folder)]
    for name, value in options.items():
        command += [f"--{name}", str(value)] if value is not None else []
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as child:  # noqa: S603  our own
        try:
            yield child
        finally:
            child.terminate()
            child.wait()  # it bounds its own stop, after a grace that may be long
