"""`homeostat notify`: send the receiver of notifications a trial, and show how far it has come in the event log.

Not here: the notifications themselves, which `loop`, `up`, `tick` and `train` send (`notifications.delivery`).
"""

from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import click

from homeostat.cli import json_option, print_json, project_option
from homeostat.errors import StateError
from homeostat.notifications.delivery import Receiver, find_receiver, open_client, post
from homeostat.notifications.messages import build_trial
from homeostat.notifications.outbox import count_waiting, find_cursor
from homeostat.project import Project, open_project
from homeostat.records import Json
from homeostat.settings import FILE_NAME


@click.command("notify")
@project_option
@json_option
@click.pass_context
def notify_command(context: click.Context, folder: Path, *, as_json: bool) -> None:
    """Send the receiver of notifications a trial, and show how far it has come in the event log.

    The trial is signed and of the form of any notification, its type is homeostat.trial, and no event stands behind it.
    Ends with code 1 if it was not taken.

    Example: homeostat notify --json
    """
    with open_project(folder) as project:
        receiver = find_receiver(project.settings)
        if receiver is None:
            raise StateError(
                problem="nobody is told of events",
                expected="an address in notifications.url",
                action=f"set it in {FILE_NAME}, and notifications.secret in HOMEOSTAT_NOTIFICATIONS__SECRET",
            )
        problem = try_receiver(receiver)
        place = find_place(project, receiver)
    result = {"taken": problem is None, "problem": problem, "signed": receiver.key is not None, "place": place}
    if as_json:
        print_json(result)
    else:
        click.echo(describe_trial(receiver, problem))
        click.echo(describe_place(place))
    context.exit(0 if problem is None else 1)


def try_receiver(receiver: Receiver) -> str | None:
    """Send a trial and return what went wrong, None if it was taken."""
    now = datetime.now(UTC)
    trial = build_trial(receiver.project, number=uuid4().hex, now=now)
    with open_client() as http:
        trouble = post(http, receiver, trial, now=now)
    return None if trouble is None else trouble.problem


def find_place(project: Project, receiver: Receiver) -> Json | None:
    """Return how far the receiver has come, None if it is new."""
    with project.database.read() as connection:
        cursor = find_cursor(connection, receiver.target)
        if cursor is None:
            return None
        waiting = count_waiting(connection, cursor, receiver.kinds)
    next_at = cursor.next_at.isoformat() if cursor.next_at else None
    return {"up_to": cursor.last_seq, "waiting": waiting, "problem": cursor.problem, "next_at": next_at}


def describe_trial(receiver: Receiver, problem: str | None) -> str:
    """Return in words what became of the trial."""
    signed = "signed" if receiver.key else "not signed: notifications.secret is not set"
    return f"The receiver took the trial ({signed})." if problem is None else f"The receiver did not: {problem}."


def describe_place(place: Json | None) -> str:
    """Return in words how far a receiver has come."""
    if place is None:
        return "It is new: it is told what happens once `homeostat loop`, `up`, `tick` or `train` has started."
    waiting = f"{place['waiting']} more wait" if place["waiting"] else "nothing waits"
    trouble = f"; {place['problem']}, next attempt after {place['next_at']}" if place["problem"] else ""
    return f"It has come to event {place['up_to']} of the log; {waiting}{trouble}."
