"""`homeostat completion`: the script by which a shell completes commands, options, releases and kinds of events.

Not here: commands and options, which click knows. Whatever goes wrong with a value completes nothing and says nothing.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem, get_completion_class, shell_complete

from homeostat.errors import HomeostatError

PROGRAM, VARIABLE = "homeostat", "_HOMEOSTAT_COMPLETE"
SHELLS = ("bash", "zsh", "fish")


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion_command(context: click.Context, shell: str) -> None:
    """Print the script by which SHELL completes commands, options, scopes, releases and kinds of events.

    In ~/.bashrc or ~/.zshrc: eval "$(homeostat completion bash)". For fish, write the output to
    ~/.config/fish/completions/homeostat.fish.

    Example: homeostat completion bash
    """
    script = get_completion_class(shell)
    if script is not None:  # all of SHELLS are click's own
        click.echo(script(context.find_root().command, {}, PROGRAM, VARIABLE).source())


def answer_shell(command: click.Command) -> int | None:
    """Answer a shell that asks for completions, and return the exit code; None if none asks."""
    asked = os.environ.get(VARIABLE)
    return shell_complete(command, {}, PROGRAM, VARIABLE, asked) if asked else None


def complete_release(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the releases whose number or digest begins so, the newest first."""
    from homeostat.store.tables import releases  # noqa: PLC0415  commands complete without a database

    items = []
    for release in read(context, releases.select().order_by(releases.c.number.desc())):
        name = str(release.number) if str(release.number).startswith(incomplete) else release.digest[:12]
        if name.startswith(incomplete):
            items.append(CompletionItem(name, help=f"{release.digest[:12]}, {release.created_at:%Y-%m-%d %H:%M} UTC"))
    return items


def complete_kind(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the kinds of events in the log that begin so."""
    from sqlalchemy import select  # noqa: PLC0415  as above

    from homeostat.store.tables import events  # noqa: PLC0415  as above

    found = read(context, select(events.c.kind).distinct().order_by(events.c.kind))
    return [CompletionItem(event.kind) for event in found if event.kind.startswith(incomplete)]


def read(context: click.Context, query: Any) -> Sequence[Any]:  # Any: commands complete without SQLAlchemy
    """Return lines of the project's database; none where there is no database: completing must not make one."""
    from sqlalchemy import make_url  # noqa: PLC0415  as above
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415  as above

    from homeostat.project import open_project, read_settings  # noqa: PLC0415  as above
    from homeostat.store.database import resolve_url  # noqa: PLC0415  as above

    folder = Path(context.params.get("folder") or ".").resolve()
    with suppress(HomeostatError, SQLAlchemyError, OSError):
        location = make_url(resolve_url(read_settings(folder).store.database, folder))
        if location.get_backend_name() != "sqlite" or Path(location.database or "").is_file():
            with open_project(folder) as project, project.database.read() as connection:
                return connection.execute(query).all()
    return []
