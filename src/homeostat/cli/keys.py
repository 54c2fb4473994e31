"""`homeostat keys create`, `list` and `revoke`: who may use the service."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from homeostat.cli import json_option, print_json, project_option
from homeostat.errors import InputError
from homeostat.project import open_project
from homeostat.records import Json
from homeostat.store.keys import SCOPES, ApiKey, Scope, create_key, id_of_token, list_keys, revoke_key

# Not a table of rich: that comes with the training libraries, and keys are made where the service alone is installed.
HEADINGS = ("key", "scopes", "created (UTC)", "expires", "rows/min", "state", "name")


@click.group("keys")
def keys_command() -> None:
    """Make, list and revoke API keys. From the first key on, the service asks every request for one.

    Example: homeostat keys create --name billing --scope predict --expires 90d
    """


@keys_command.command("create")
@click.option("--name", required=True, help="Who will use it.")
@click.option("--scope", "scopes", type=click.Choice(SCOPES), multiple=True, required=True, help="May be repeated.")
@click.option("--expires", help="A number of days, such as 90d, or a date, such as 2027-01-31.  [default: never]")
@click.option("--rows-per-minute", type=click.IntRange(1, 10**9), help="Rows it may send to predict.  [default: any]")
@project_option
@json_option
def create_command(
    name: str,
    scopes: tuple[Scope, ...],
    expires: str | None,
    rows_per_minute: int | None,
    folder: Path,
    *,
    as_json: bool,
) -> None:
    """Make a key and print its token, this once: only its hash is kept. The scope admin includes all others.

    Example: homeostat keys create --name billing --scope predict --scope label --expires 90d
    """
    now = datetime.now(UTC)
    expires_at = parse_expiry(expires, now) if expires is not None else None
    with open_project(folder) as project, project.database.write("create_key") as connection:
        key, token = create_key(
            connection, name, frozenset(scopes), expires_at=expires_at, rows_per_minute=rows_per_minute, now=now
        )
    if as_json:
        print_json({"token": token, **key_to_json(key, now)})
        return
    click.echo(token)
    # Apart from the token, so that a script may take the output as it is.
    click.echo(f"Key {key.id} ({name}): {', '.join(sorted(scopes))}. The token is shown this once.", err=True)


@keys_command.command("list")
@project_option
@json_option
def list_command(folder: Path, *, as_json: bool) -> None:
    """List every key that was ever made, oldest first; never a token.

    Example: homeostat keys list --json
    """
    now = datetime.now(UTC)
    with open_project(folder) as project, project.database.read() as connection:
        found = list_keys(connection)
    if as_json:
        print_json([key_to_json(key, now) for key in found])
        return
    if not found:
        click.echo("No key yet: homeostat keys create")
        return
    lines = [HEADINGS, *(describe_key(key, now) for key in found)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


@keys_command.command("revoke")
@click.argument("key_id", metavar="ID")
@project_option
@json_option
def revoke_command(key_id: str, folder: Path, *, as_json: bool) -> None:
    """Revoke the key ID, for good: within a second it opens nothing any more, in every process.

    Example: homeostat keys revoke 3f2a9c41
    """
    now = datetime.now(UTC)
    # Who holds a token that leaked may pass it as it is: an error would repeat only its public part.
    in_token = id_of_token(key_id.encode())
    with open_project(folder) as project, project.database.write("revoke_key") as connection:
        key = revoke_key(connection, in_token.decode() if in_token else key_id, now=now)
    if as_json:
        print_json(key_to_json(key, now))
        return
    click.echo(f"Key {key.id} ({key.name}) is revoked since {key.revoked_at:%Y-%m-%d %H:%M:%S} UTC.")


def parse_expiry(text: str, now: datetime) -> datetime:
    """Return the moment that a number of days or a date in UTC names.

    Raises
    ------
    InputError
        It is neither.
    """
    days = re.fullmatch(r"(\d+)d", text, re.ASCII)
    try:
        moment = now + timedelta(days=int(days[1])) if days else datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise InputError(
            problem=f"--expires is {text!r}",
            expected="a number of days, such as 90d, or a date, such as 2027-01-31",
            action="correct it, or leave it out for a key that does not expire",
        ) from error


def key_to_json(key: ApiKey, now: datetime) -> Json:
    """Return what may be shown of a key."""
    return {
        "id": key.id,
        "name": key.name,
        "scopes": sorted(key.scopes),
        "rows_per_minute": key.rows_per_minute,
        "created_at": key.created_at.isoformat(),
        "expires_at": key.expires_at.isoformat() if key.expires_at else None,
        "revoked_at": key.revoked_at.isoformat() if key.revoked_at else None,
        "state": key.state(now),
    }


def describe_key(key: ApiKey, now: datetime) -> tuple[str, ...]:
    """Return a key as a line of the list."""
    return (
        key.id,
        ", ".join(sorted(key.scopes)),
        f"{key.created_at:%Y-%m-%d %H:%M}",
        f"{key.expires_at:%Y-%m-%d %H:%M}" if key.expires_at else "never",
        str(key.rows_per_minute or "any"),
        key.state(now),
        key.name,
    )
