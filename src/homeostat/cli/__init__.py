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
from click.shell_completion import CompletionItem

from homeostat.cli.completion import answer_shell
from homeostat.cli.endings import run
from homeostat.errors import StateError

# Command name to module and summary, by sections: importing all would take seconds before the first letter of help.
SECTIONS = {
    "Start": {
        "demo": ("demo", "Tell the whole story on the Pima table; check every claim."),
        "init": ("init", "Infer a schema from a table, say why, write homeostat.toml."),
        "check": ("project", "Validate a table: accepted, rejected, each reason."),
        "train": ("train", "Run the loop's own steps once, by hand."),
    },
    "Run": {
        "up": ("serve", "Run everything: the service and the loop."),
        "serve": ("serve", "Answer requests with the release in production."),
        "loop": ("loop", "Run the worker: watch, decide, retrain, for ever."),
        "tick": ("loop", "Advance the loop until it is idle; say what was decided."),
        "keys": ("keys", "Make, list and revoke API keys."),
        "notify": ("notify", "Try the receiver of notifications; say how far it has come."),
        "completion": ("completion", "Print the script by which a shell completes commands."),
    },
    "Look": {
        "status": ("project", "Show the state now."),
        "doctor": ("doctor", "Say what is installed, reachable, stale or wrong, and what to do."),
        "drift": ("drift", "Show the newest drift check; write it as a page."),
        "performance": ("performance", "Show how well it predicts: expected, and measured by outcomes."),
        "runs": ("runs", "Compare the tracked runs; open MLflow's pages."),
        "releases": ("releases", "List the releases."),
        "history": ("history", "Show who was in production when, and why."),
        "events": ("events", "Print the event log; follow it."),
        "explain": ("explain", "Show why a row has its score, and what the model goes by."),
        "report": ("report", "Write a page about a release, a drift check or a cycle."),
    },
    "Act": {
        "predict": ("data", "Score a file."),
        "label": ("data", "Record outcomes from a file."),
        "promote": ("requests", "Take a release to the gate, and into production if it passes."),
        "approve": ("requests", "Approve a release that passed the gate and waits."),
        "rollback": ("requests", "Go back to the last good release."),
    },
    "Prove": {
        "verify": ("releases", "Verify the logs, every byte, every golden row."),
        "reproduce": ("reproduce", "Train a release again from its lineage; compare."),
        "replay": ("replay", "Run the loop over recorded history; compare policies."),
    },
}
MODULES = {name: told for section in SECTIONS.values() for name, told in section.items()}

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

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands that begin so, without importing any."""
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        found = [name for name in MODULES if name.startswith(incomplete)]
        return [CompletionItem(name, help=MODULES[name][1]) for name in found]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  click's
        """Write the commands in their sections without importing any."""
        width = max(map(len, MODULES))
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), summary) for name, (_, summary) in commands.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 100},
)
@click.version_option(package_name="homeostat", help="Show the version.")
def group() -> None:
    """Homeostat: a learning service for tabular data that keeps itself valid.

    Every command explains itself: `homeostat COMMAND --help`. Exit codes: 0 done, 1 a refusal or a finding, 2 wrong
    usage.

    Example: homeostat init patients.csv --target Outcome
    """


def main() -> None:
    """Run the command line, or answer the shell that completes one, and end the process with its code."""
    answered = answer_shell(group)
    sys.exit(run(group, sys.argv[1:]) if answered is None else answered)


def project_option(command: Command) -> Command:
    """Add `--project DIR`."""
    return click.option(
        "--project",
        "folder",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path(),
        help="The project folder.",
    )(command)


def json_option(command: Command) -> Command:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(command)


def print_json(content: object) -> None:
    """Print a result as JSON."""
    click.echo(json.dumps(content, indent=2, default=str))
