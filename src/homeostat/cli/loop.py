"""`homeostat loop` and `tick`: the worker, and one turn of it."""

import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import click

from homeostat.cli import json_option, print_json, project_option
from homeostat.cli.progress import look_at_attempt, showing
from homeostat.errors import HomeostatError
from homeostat.loop import advance, give_back, tick
from homeostat.notifications.delivery import notifying
from homeostat.project import Project, open_project
from homeostat.records import Json
from homeostat.retraining.rollback import find_urgent

IDLE_S = 1.0
AFTER_ERROR_S = 10.0
# How long a command that ends waits for the receiver of notifications.
TICK_PATIENCE_S, LOOP_PATIENCE_S = 30.0, 3.0


@click.command("tick")
@project_option
@json_option
def tick_command(folder: Path, *, as_json: bool) -> None:
    """Advance the loop until it is idle, and print what was decided and why: for cron, CI, Airflow, Kubernetes.

    A cycle that was interrupted is completed first.

    Example: homeostat tick --project clinic
    """
    sentences: list[Json] = []
    with (
        open_project(folder) as project,
        telling(project),
        showing(look_at_attempt(project, "The loop"), as_json=as_json),
    ):
        for done in tick(project):
            sentences.append({"sentence": done.sentence, "outcome": done.outcome})
            if not as_json:
                click.echo(done.sentence)
    if as_json:
        print_json(sentences)


@click.command("loop")
@project_option
def loop_command(folder: Path) -> None:
    """Run the worker: watch, decide, retrain, for ever. SIGTERM or Ctrl-C ends it, the next goes on.

    Example: homeostat loop --project clinic
    """
    with open_project(folder) as project:
        run_loop(project)


@contextmanager
def telling(project: Project, *, patience_s: float = TICK_PATIENCE_S) -> Iterator[None]:
    """Tell the receiver of notifications what happens until the block ends."""
    with notifying(project.database, project.settings, say=complain, patience_s=patience_s):
        yield


def complain(sentence: str) -> None:
    """Print a line about what goes on beside the work."""
    click.echo(f"{datetime.now(UTC):%H:%M:%S} {sentence}", err=True)


def run_loop(project: Project, *, keep_going: Callable[[], bool] = lambda: True) -> None:
    """Advance until a signal, or until `keep_going` says no; print one line for whatever is no repetition.

    A signal ends the step under way too, its training process with it: the next loop goes on with the cycle.
    """
    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    with telling(project, patience_s=LOOP_PATIENCE_S):
        advance_for_ever(project, keep_going)


def advance_for_ever(project: Project, keep_going: Callable[[], bool]) -> None:
    """Advance until `keep_going` says no or a signal ends it; then give the lease back."""
    said = ""
    try:
        while keep_going():
            try:
                done = advance(project, now=datetime.now(UTC))
            except HomeostatError as error:
                click.echo(f"{datetime.now(UTC):%H:%M:%S} {error.code}: {error}", err=True)
                rest(project, AFTER_ERROR_S)
                continue
            except Exception:  # noqa: BLE001  the edge of the process: whatever one step met, the loop goes on
                click.echo(f"{datetime.now(UTC):%H:%M:%S} unexpected:\n{traceback.format_exc()}", err=True)
                rest(project, AFTER_ERROR_S)
                continue
            if done.sentence != said:
                click.echo(f"{datetime.now(UTC):%H:%M:%S} {done.sentence}")
                said = done.sentence
            if done.idle:
                time.sleep(IDLE_S)
    finally:
        give_back(project)


def rest(project: Project, seconds: float) -> None:
    """Sleep after an error, but no longer than until production must go back: that cannot wait for whatever failed."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(IDLE_S)
        with suppress(Exception):  # the next turn meets it again, and says so
            if find_urgent(project, now=datetime.now(UTC)) is not None:
                return


def leave(_signal: int, _frame: FrameType | None) -> None:
    """End the process in order; further signals must not disturb that."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(0)
