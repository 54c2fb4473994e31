"""`homeostat doctor`: what is installed, what can be reached, what is stale or wrong, and what to do about it.

Not here: looking (`cli.installation`, `cli.reachability`, `cli.condition`). It changes nothing.
"""

import sqlite3
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click

from homeostat.cli import json_option, print_json, project_option
from homeostat.cli.condition import look_at_access, look_at_state
from homeostat.cli.findings import Finding, Findings, refused
from homeostat.cli.installation import look_at_installation
from homeostat.cli.reachability import find_database, look_at_places, look_at_settings, read_version
from homeostat.errors import HomeostatError
from homeostat.project import open_project, read_settings, schema_of
from homeostat.settings import FILE_NAME, Settings
from homeostat.store.tables import SCHEMA_VERSION

COLOURS = {"ok": "green", "warning": "yellow", "wrong": "red"}


@click.command("doctor")
@project_option
@json_option
@click.pass_context
def doctor_command(context: click.Context, folder: Path, *, as_json: bool) -> None:
    """Look at everything that the project needs: what is installed, reachable, stale or wrong, and what to do.

    Nothing is changed, made or sent. Ends with code 1 if something is wrong; a warning is not.

    Example: homeostat doctor --project clinic
    """
    found = []
    for finding in examine(folder.resolve(), now=datetime.now(UTC)):
        found.append(finding)
        if not as_json:
            tell(finding)
    wrong, warnings = (sum(one.state == state for one in found) for state in ("wrong", "warning"))
    if as_json:
        print_json([asdict(finding) for finding in found])
    else:
        click.echo(f"{len(found)} findings: {wrong} wrong, {warnings} warnings.")
    context.exit(int(wrong > 0))


def examine(folder: Path, *, now: datetime) -> Findings:
    """Find everything, each thing as it is looked at."""
    yield from look_at_installation()
    try:
        settings = read_settings(folder)
        schema_of(settings)
    except HomeostatError as error:
        yield refused("settings", FILE_NAME, error)
        return
    sentence = f"{folder / FILE_NAME} is read: {len(settings.features)} features."
    yield Finding("settings", FILE_NAME, "ok", sentence)
    yield from look_at_settings(settings)
    yield from look_at_places(folder, settings)
    if not is_up_to_date(folder, settings):
        return  # opening it would change it
    try:
        with open_project(folder) as project:
            yield from look_at_state(project, now=now)
            yield from look_at_access(project, now=now)
    except HomeostatError as error:
        yield refused("state", "project", error)


def is_up_to_date(folder: Path, settings: Settings) -> bool:
    """Return whether the database is there, and of the version that opening it leaves as it is."""
    path = find_database(folder, settings)
    try:
        return path is not None and path.exists() and read_version(path) == SCHEMA_VERSION
    except sqlite3.Error:
        return False


def tell(finding: Finding) -> None:
    """Print a finding for a person."""
    state = click.style(f"{finding.state:<8}", fg=COLOURS[finding.state], bold=finding.state == "wrong")
    click.echo(f"{state} {finding.group:<10} {finding.name:<22} {finding.sentence}")
    if finding.action:
        click.echo(f"{'':<42} to do: {finding.action}")
