"""`homeostat promote`, `approve` and `rollback`: what a person asks of the loop, and what becomes of it.

Not here: what is refused at once (`retraining.asking`), or carrying it out (`homeostat.loop`).
"""

import getpass
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click
from sqlalchemy import Connection

from homeostat.cli import Command, json_option, print_json, project_option
from homeostat.cli.completion import complete_release
from homeostat.errors import LeaseHeld
from homeostat.project import Project, open_project
from homeostat.retraining.asking import place, tell_request
from homeostat.retraining.cycles import find_open_cycle
from homeostat.retraining.requests import Asked, Request, find_request
from homeostat.store.leases import LIFETIME, find_last_renewal, find_lease, is_gone

FOLLOW_S = 0.5
BY_HAND = "asked for by hand"
# What a request has come to: nothing yet, or a cycle that is under way. Then, how that has ended.
UNSETTLED, DONE = frozenset({None, "begun"}), frozenset({"promoted", "rolled_back"})


def now_option(command: Command) -> Command:
    """Add `--now`."""
    return click.option("--now", "at_once", is_flag=True, help="Run the tick that carries it out here.")(command)


@click.command("promote")
@click.argument("release", shell_complete=complete_release)
@click.option("--reason", required=True, help="Kept in the history.")
@now_option
@project_option
@json_option
@click.pass_context
def promote_command(
    context: click.Context, release: str, reason: str, folder: Path, *, at_once: bool, as_json: bool
) -> None:
    """Ask for RELEASE (number, digest or its beginning) to be promoted; it has to pass the gate.

    With --now, ends with code 1 unless it is in production then.

    Example: homeostat promote 2 --reason "the one of March was better" --now
    """
    context.exit(carry_out(folder, "promote", name=release, reason=reason, at_once=at_once, as_json=as_json))


@click.command("approve")
@click.argument("release", required=False, shell_complete=complete_release)
@click.option("--reason", default=BY_HAND, show_default=True, help="Kept in the history.")
@now_option
@project_option
@json_option
@click.pass_context
def approve_command(
    context: click.Context, release: str | None, reason: str, folder: Path, *, at_once: bool, as_json: bool
) -> None:
    """Approve RELEASE, or the newest one that passed the gate and waits for a person's word.

    The gate judges it once more, by the labels that have arrived meanwhile. With --now, ends with code 1 unless it is
    in production then.

    Example: homeostat approve 3 --reason "looked at by the ward" --now
    """
    context.exit(carry_out(folder, "approve", name=release, reason=reason, at_once=at_once, as_json=as_json))


@click.command("rollback")
@click.option("--reason", default=BY_HAND, show_default=True, help="Kept in the history.")
@now_option
@project_option
@json_option
@click.pass_context
def rollback_command(context: click.Context, reason: str, folder: Path, *, at_once: bool, as_json: bool) -> None:
    """Go back to the last good release; the one in production is barred until new labels arrive.

    It comes before whatever else is under way. With --now, ends with code 1 unless that is done then.

    Example: homeostat rollback --reason "complaints since noon" --now
    """
    context.exit(carry_out(folder, "rollback", name=None, reason=reason, at_once=at_once, as_json=as_json))


def ask_by_hand(project: Project, kind: Asked, *, name: str | None, reason: str, actor: str) -> Request:
    """Place a request of a person, and return it; what can be refused at once raises."""
    with project.database.write("ask_by_hand") as connection:
        return place(connection, kind, name=name, reason=reason, actor=actor, now=datetime.now(UTC))


def carry_out(folder: Path, kind: Asked, *, name: str | None, reason: str, at_once: bool, as_json: bool) -> int:
    """Ask, run the tick here if that is wished, tell what was done, and return the exit code."""
    steps: list[str] = []
    with open_project(folder) as project:
        request = ask_by_hand(project, kind, name=name, reason=reason, actor=who())
        say(describe_request(request), as_json=as_json)
        if at_once:
            for sentence in turn(project, request):
                if sentence not in steps[-1:]:  # a cycle ends with the sentence of its last step
                    steps.append(sentence)
                    say(sentence, as_json=as_json)
        with project.database.read() as connection:
            request = find_request(connection, request.id)
            later = describe_loop(connection, now=datetime.now(UTC))
    if as_json:
        print_json({**tell_request(request), "steps": steps, "loop": later})
    elif request.outcome in UNSETTLED:
        click.echo(f"It is not carried out yet. {later}")
    return int(at_once and request.outcome not in DONE)


def say(sentence: str, *, as_json: bool) -> None:
    """Tell a person what is done; beside JSON, apart from it."""
    click.echo(sentence, err=as_json)


def who() -> str:
    """Return who asks: the user of this command line, as far as the machine knows."""
    try:
        return f"cli:{getpass.getuser()}"
    except (OSError, KeyError):  # a container whose user has no name
        return "cli"


def describe_request(request: Request) -> str:
    """Return what was asked in a sentence."""
    about = f" release {request.release[:12]}" if request.release else ""
    verb = "go back from" if request.kind == "rollback" else request.kind
    return f"Request {request.id}: {verb}{about}."


def describe_loop(connection: Connection, *, now: datetime) -> str:
    """Return who will carry a request out: a loop that runs now, or whoever starts one."""
    lease, seen_at = find_lease(connection), find_last_renewal(connection)
    if lease is not None and seen_at is not None and now - seen_at < LIFETIME and not is_gone(lease.holder):
        return f"A loop is running ({lease.holder}): it does so with its next turn."
    seen = "no loop has run here yet" if seen_at is None else f"one was last seen {seen_at:%Y-%m-%d %H:%M:%S} UTC"
    return f"No loop is running ({seen}): `homeostat tick`, `loop` or `up` does so."


def turn(project: Project, request: Request) -> Iterator[str]:
    """Turn the loop here until the request is settled, or waits for something that no turn of the loop can bring.

    While a loop holds the lease, follow what that one does with it. The receiver of notifications is told meanwhile.
    """
    from homeostat.cli.loop import telling  # noqa: PLC0415  it trains: asking must not need what training does

    with telling(project):
        yield from follow(project, request)


def follow(project: Project, request: Request) -> Iterator[str]:
    """Turn the loop, or follow the one that holds the lease."""
    from homeostat.loop import tick  # noqa: PLC0415  as above

    said: str | None = None
    while look(project, request).outcome in UNSETTLED:
        idle = False
        try:
            for done in tick(project):
                yield done.sentence
                idle = done.idle
        except LeaseHeld as error:
            step = find_step(project)
            if said is None:
                yield f"{error.problem}: it does the work, this follows."
            if step not in {None, said}:
                yield f"Next step: {step}."
            said = step or ""
            time.sleep(FOLLOW_S)
        if idle:
            return
    yield str(look(project, request).sentence)


def look(project: Project, request: Request) -> Request:
    """Return the request as it stands now."""
    with project.database.read() as connection:
        return find_request(connection, request.id)


def find_step(project: Project) -> str | None:
    """Return the next step of the open cycle, None without one."""
    with project.database.read() as connection:
        cycle = find_open_cycle(connection)
    return cycle.step if cycle else None
