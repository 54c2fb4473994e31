"""The command line: one file per group of commands, imported only when one of its commands runs.

Not here: any work. Exit codes: 0 done, 1 a refusal or a finding the user asked to know about, 2 wrong usage.
"""

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from homeostat import __version__
from homeostat.errors import HomeostatError, error_to_json

# Command name to module: importing all of them would take a second before the first letter is printed.
MODULES = {
    "demo": "demo",
    "init": "project",
    "check": "project",
    "status": "project",
    "train": "train",
    "runs": "train",
    "up": "serve",
    "serve": "serve",
    "loop": "loop",
    "tick": "loop",
    "drift": "loop",
    "releases": "releases",
    "history": "releases",
    "verify": "releases",
    "predict": "data",
    "label": "data",
}

Command = TypeVar("Command", bound=Callable[..., Any])


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports each when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """Return the names in the order of the story."""
        return list(MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  click's signature
        """Return the command, imported now."""
        if cmd_name not in MODULES:
            return None
        module = importlib.import_module(f"homeostat.cli.{MODULES[cmd_name]}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def group() -> None:
    """Homeostat: a learning service for tabular data that keeps itself valid."""


def main() -> None:
    """Run the command line; an error on purpose is told in its three parts and ends with code 1."""
    try:
        group()
    except HomeostatError as error:
        if "--json" in sys.argv:
            click.echo(json.dumps({"error": error_to_json(error)}), err=True)
        else:
            click.echo(f"{click.style('Error:', fg='red', bold=True)} {error.problem}", err=True)
            click.echo(f"  expected  {error.expected}", err=True)
            click.echo(f"  to do     {error.action}", err=True)
        sys.exit(1)


def project_option(command: Command) -> Command:
    """Add `--project DIR`."""
    return click.option(
        "--project",
        "folder",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path(),
        help="The project folder.  [default: .]",
    )(command)


def json_option(command: Command) -> Command:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(command)


def print_json(content: object) -> None:
    """Print a result as JSON."""
    click.echo(json.dumps(content, indent=2, default=str))
