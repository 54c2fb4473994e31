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
from sqlalchemy.exc import SQLAlchemyError

from homeostat.errors import HomeostatError, StateError, error_to_json

# Command name to module and summary: importing all of them would take seconds before the first letter of help.
MODULES = {
    "demo": ("demo", "Tell the whole story on the Pima table; check every claim."),
    "init": ("project", "Infer a schema from a table, say why, write homeostat.toml."),
    "check": ("project", "Validate a table: accepted, rejected, each reason."),
    "train": ("train", "Run the loop's own steps once, by hand."),
    "up": ("serve", "Run everything: the service and the loop."),
    "serve": ("serve", "Answer requests with the release in production."),
    "loop": ("loop", "Run the worker: watch, decide, retrain, for ever."),
    "tick": ("loop", "Advance the loop until it is idle; say what was decided."),
    "status": ("project", "Show the state now."),
    "drift": ("drift", "Show the newest drift check; write it as a page."),
    "performance": ("performance", "Show how well it predicts: expected, and measured by outcomes."),
    "runs": ("train", "Compare the tracked runs."),
    "releases": ("releases", "List the releases."),
    "history": ("history", "Show who was in production when, and why."),
    "events": ("events", "Print the event log; follow it."),
    "promote": ("requests", "Take a release to the gate, and into production if it passes."),
    "approve": ("requests", "Approve a release that passed the gate and waits."),
    "rollback": ("requests", "Go back to the last good release."),
    "verify": ("releases", "Verify the logs, every byte, every golden row."),
    "reproduce": ("reproduce", "Train a release again from its lineage; compare."),
    "predict": ("data", "Score a file."),
    "label": ("data", "Record outcomes from a file."),
    "replay": ("replay", "Run the loop over recorded history; compare policies."),
    "notify": ("notify", "Try the receiver of notifications; say how far it has come."),
    "keys": ("keys", "Make, list and revoke API keys."),
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
        try:
            module = importlib.import_module(f"homeostat.cli.{MODULES[cmd_name][0]}")
        except ModuleNotFoundError as error:
            raise StateError(
                problem=f"`homeostat {cmd_name}` needs the module {error.name!r}, which is not installed",
                expected="the training libraries",
                action="pip install 'homeostat[train]'",
            ) from error
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  click's
        """Write the list of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in MODULES.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="homeostat")
def group() -> None:
    """Homeostat: a learning service for tabular data that keeps itself valid."""


def main() -> None:
    """Run the command line; an error on purpose is told in its three parts and ends with code 1."""
    try:
        group()
    except HomeostatError as error:
        tell_error(error)
    except SQLAlchemyError as error:
        tell_error(
            StateError(
                problem=f"the database cannot be used: {str(error).splitlines()[0]}",
                expected="a database that can be read and written",
                action="see store.database in homeostat.toml; restore a backup if the file is damaged",
            )
        )
    sys.exit(1)


def tell_error(error: HomeostatError) -> None:
    """Print an error in its three parts, as JSON if the result would have been."""
    if "--json" in sys.argv:
        click.echo(json.dumps({"error": error_to_json(error)}), err=True)
        return
    click.echo(f"{click.style('Error:', fg='red', bold=True)} {error.problem}", err=True)
    click.echo(f"  expected  {error.expected}", err=True)
    click.echo(f"  to do     {error.action}", err=True)


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
