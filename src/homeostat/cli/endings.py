"""How a command ends: done, refused in three parts, used wrongly, interrupted, or with nobody reading any more.

Not here: what a command does. Only a defect of ours ends with a traceback.
"""

import errno
import json
import os
import re
import sys
from collections.abc import Sequence

import click

from homeostat.cli.terminal import wants_colour
from homeostat.errors import HomeostatError, InputError, StateError, StorageFailed, UsageInvalid, error_to_json, nearest

PROGRAM = "homeostat"
REFUSED, USED_WRONGLY = 1, 2
# What a shell calls the end by SIGINT and by SIGPIPE: 128 and the number of the signal.
INTERRUPTED, UNREAD = 130, 141
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO})


def run(command: click.Group, arguments: Sequence[str]) -> int:
    """Run a command line and return the exit code of the process."""
    try:
        with command.make_context(PROGRAM, list(arguments), color=wants_colour(sys.stdout)) as context:
            command.invoke(context)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("Interrupted.", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        leave_pipe()
        return UNREAD
    except foreseen() as error:
        return refuse(error, as_json="--json" in arguments)
    return 0


def refuse(error: Exception, *, as_json: bool) -> int:
    """Tell of an error that is no defect, and return the exit code."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return USED_WRONGLY
    if isinstance(error, click.ClickException):
        tell_error(describe_usage(error), as_json=as_json)
        return USED_WRONGLY
    if isinstance(error, OSError):
        error = describe_system(error)
    tell_error(error if isinstance(error, HomeostatError) else describe_database(error), as_json=as_json)
    return REFUSED


def tell_error(error: HomeostatError, *, as_json: bool) -> None:
    """Print an error in its three parts, as JSON if the result would have been."""
    if as_json:
        click.echo(json.dumps({"error": error_to_json(error)}), err=True)
        return
    colour = wants_colour(sys.stderr)
    click.echo(f"{click.style('Error:', fg='red', bold=True)} {error.problem}", err=True, color=colour)
    click.echo(f"  expected  {error.expected}", err=True)
    click.echo(f"  to do     {error.action}", err=True)


def describe_usage(error: click.ClickException) -> UsageInvalid:
    """Return a command line's mistake in three parts, with the nearest name where one was misspelled."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    path = context.command_path if context else PROGRAM
    problem = (error.format_message() if isinstance(error, click.BadParameter) else error.message).rstrip(".")
    known = known_names(error, context)
    near = nearest(misspelled(error, problem), known)
    usage = context.command.get_usage(context).removeprefix("Usage: ") if context else f"{PROGRAM} COMMAND"
    return UsageInvalid(
        problem=problem,
        expected=f"one of {', '.join(known)}" if known else usage,
        action=f"did you mean {near!r}? `{path} --help` explains it" if near else f"see `{path} --help`",
    )


def misspelled(error: click.ClickException, problem: str) -> str:
    """Return the name that is none, as the error has it, or its message."""
    if isinstance(error, click.NoSuchOption):
        return error.option_name
    quoted = re.search(r"command '([^']*)'|'([^']*)' is not one of", problem)
    return next(filter(None, quoted.groups()), "") if quoted else ""


def known_names(error: click.ClickException, context: click.Context | None) -> list[str]:
    """Return the names among which the one that was misspelled should have been; none where no name was."""
    if isinstance(error, click.BadParameter):
        kind = error.param.type if error.param else None
        return [str(choice) for choice in kind.choices] if isinstance(kind, click.Choice) else []
    if context is None:
        return []
    if isinstance(error, click.NoSuchOption):
        options = [one for one in context.command.get_params(context) if isinstance(one, click.Option)]
        return [name for one in options if not one.hidden for name in one.opts if name.startswith("--")]
    return context.command.list_commands(context) if isinstance(context.command, click.Group) else []


def describe_system(error: OSError) -> HomeostatError:
    """Return in three parts what the system refused: a file of somebody else, a folder in the place of a file."""
    where = f"{error.filename}: " if error.filename else ""
    problem = f"{where}{error.strerror or error}"
    if error.errno in FULL:
        return StorageFailed(problem=problem, expected="a disk with room that keeps what it is given", action="free it")
    return InputError(
        problem=problem,
        expected="files and folders that are there and may be read and written",
        action="correct the path, or its permissions",
    )


def foreseen() -> tuple[type[Exception], ...]:
    """Return the errors that are no defect; those of the database only if its library, which takes long, was loaded."""
    loaded = sys.modules.get("sqlalchemy.exc")
    return (HomeostatError, click.ClickException, OSError, *((loaded.SQLAlchemyError,) if loaded else ()))


def describe_database(error: Exception) -> StateError:
    """Return in three parts what is wrong with the database."""
    return StateError(
        problem=f"the database cannot be used: {str(error).splitlines()[0]}",
        expected="a database that can be read and written",
        action="see store.database in homeostat.toml; restore a backup if the file is damaged",
    )


def leave_pipe() -> None:
    """Put nothing in the place of the pipe that nobody reads: the interpreter flushes into it once more at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
