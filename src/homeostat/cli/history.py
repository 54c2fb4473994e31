"""`homeostat history`: who was in production when, or at one moment, and why.

Not here: the answer itself (`deployment.history`).
"""

from datetime import UTC, datetime
from pathlib import Path

import click
from rich.markup import escape

from homeostat.cli import json_option, print_json, project_option
from homeostat.cli.output import new_console, new_table
from homeostat.deployment.history import Move, find_move, read_moves
from homeostat.deployment.registry import list_releases
from homeostat.errors import InputError
from homeostat.project import open_project
from homeostat.records import Json

# How a person calls the ways in which a release came into production.
WORDS = {"promoted": "promoted", "rolled_back": "rolled back to"}


@click.command("history")
@click.option("--at", "text", metavar="TIME", help="Who was in production then: 2026-03-01, 2026-03-01T14:30, ...Z.")
@project_option
@json_option
def history_command(text: str | None, folder: Path, *, as_json: bool) -> None:
    """Show who was in production when, and why; with --at TIME, at one moment.

    TIME is a date (its first moment) or a date with a time, of this machine's zone unless it ends with Z or an offset.

    Example: homeostat history --at 2026-03-01T14:30
    """
    at = None if text is None else parse_moment(text)
    with open_project(folder) as project, project.database.read() as connection:
        moves = read_moves(connection) if at is None else [find_move(connection, at)]
        numbers = {release.digest: release.number for release in list_releases(connection)}
    found = [move for move in moves if move is not None]
    if at is not None:
        live = found[0] if found else None
        if as_json:
            print_json({"at": at.isoformat(), "production": live and move_to_json(live, numbers)})
        else:
            click.echo(describe_moment(at, live, numbers))
    elif as_json:
        print_json([move_to_json(move, numbers) for move in found])
    else:
        print_moves(found, numbers)


def parse_moment(text: str) -> datetime:
    """Return the moment that a person means, in UTC.

    Raises
    ------
    InputError
        It is no date and no time, or has not come yet.
    """
    try:
        # Without a zone it is the wall clock of whoever asks.
        moment = datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InputError(
            problem=f"--at is {text!r}",
            expected="a date, such as 2026-03-01, or a time of one, such as 2026-03-01T14:30 or 2026-03-01T13:30:00Z",
            action="correct it; without Z or an offset it is the time of this machine's zone",
        ) from error
    if moment > datetime.now(UTC):
        raise InputError(
            problem=f"--at {text} has not come yet", expected="a moment of the past", action="leave --at out for all"
        )
    return moment


def move_to_json(move: Move, numbers: dict[str, int]) -> Json:
    """Return a move of production as a JSON object."""
    promotion = move.promotion
    return {
        "epoch": promotion.epoch,
        "how": move.how,
        "release": promotion.release,
        "number": numbers.get(promotion.release),
        "previous": promotion.previous,
        "decided_at": promotion.decided_at.isoformat(),
        "until": move.until.isoformat() if move.until else None,
        "actor": promotion.actor,
        "reason": promotion.reason,
        "line": move.line,
    }


def describe_moment(at: datetime, live: Move | None, numbers: dict[str, int]) -> str:
    """Return who was in production at a moment, and why, in two sentences."""
    then = f"{at:%Y-%m-%d %H:%M:%S} UTC"
    if live is None:
        return f"At {then} nothing was in production yet."
    promotion, until = live.promotion, f"{live.until:%Y-%m-%d %H:%M:%S} UTC" if live.until else "now"
    return (
        f"At {then} {name_release(promotion.release, numbers)} was in production: epoch {promotion.epoch}, "
        f"{WORDS[live.how]} {promotion.decided_at:%Y-%m-%d %H:%M:%S} UTC by {promotion.actor}, until {until}.\n"
        f"Why: {promotion.reason} (line {live.line} of the event log)"
    )


def print_moves(moves: list[Move], numbers: dict[str, int]) -> None:
    """Print all moves of production as a table."""
    if not moves:
        click.echo("Nothing was in production yet: homeostat train")
        return
    table = new_table("epoch", "from (UTC)", "until", "release", "how", "by", "why")
    for move in moves:
        promotion = move.promotion
        until = f"{move.until:%Y-%m-%d %H:%M:%S}" if move.until else "now"
        table.add_row(
            str(promotion.epoch),
            f"{promotion.decided_at:%Y-%m-%d %H:%M:%S}",
            until,
            escape(name_release(promotion.release, numbers).removeprefix("release ")),
            WORDS[move.how],
            escape(promotion.actor),
            escape(promotion.reason),
        )
    new_console().print(table)


def name_release(digest: str, numbers: dict[str, int]) -> str:
    """Return a release by its number and the beginning of its digest."""
    return f"release {numbers.get(digest, '?')} ({digest[:12]})"
