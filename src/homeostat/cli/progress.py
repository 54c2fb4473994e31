"""A line that moves while something long goes on: on standard error, on a terminal, and never beside JSON.

Not here: how far an attempt has come (`retraining.progress`).
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from sqlalchemy.exc import SQLAlchemyError

from homeostat.cli.output import new_console
from homeostat.cli.terminal import is_watched
from homeostat.project import Project
from homeostat.retraining.cycles import find_open_cycle
from homeostat.retraining.progress import read_progress

PER_SECOND, BAR_WIDTH = 4.0, 30


@dataclass(frozen=True, slots=True)
class Stage:
    """What goes on, in words, and how much of how much is done; a total of 0 is not known."""

    words: str
    done: int = 0
    total: int = 0


@contextmanager
def showing(look: Callable[[], Stage], *, as_json: bool) -> Iterator[None]:
    """Show on a terminal what `look` says goes on, until the block ends; what is printed meanwhile stands above it."""
    if as_json or not is_watched(sys.stderr):
        yield
        return
    spinner, begun = Spinner("dots"), time.monotonic()

    def draw() -> RenderableType:
        stage = look()
        parts: list[RenderableType] = [spinner, stage.words]
        if stage.total:
            parts += [ProgressBar(stage.total, stage.done, width=BAR_WIDTH), f"{stage.done}/{stage.total}"]
        line = Table.grid(padding=(0, 1))
        line.add_row(*parts, f"[dim]{time.monotonic() - begun:.0f} s[/]")
        return line

    # A result that goes into a file must not be caught on its way there.
    caught = is_watched(sys.stdout)
    console = new_console(stderr=True)
    with Live(
        get_renderable=draw, console=console, transient=True, refresh_per_second=PER_SECOND, redirect_stdout=caught
    ):
        yield


def look_at_attempt(project: Project, words: str) -> Callable[[], Stage]:
    """Return what looks how far the open cycle of a project has come; what it does not learn it leaves out."""

    def look() -> Stage:
        try:
            with project.database.read() as connection:
                cycle = find_open_cycle(connection)
        except SQLAlchemyError:
            cycle = None
        step = f"{words}: {cycle.step}" if cycle is not None and cycle.step else words
        told = read_progress(project.folder)
        return Stage(f"{step}, {told.words}", told.done, told.total) if told is not None else Stage(step)

    return look
