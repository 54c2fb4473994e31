"""`homeostat drift`: the newest drift check as a table, and as an HTML page with each feature then and now.

Not here: what the words say (`monitoring.verdicts`), or how the page looks (`web.drift_page`).
"""

import contextlib
import errno
import os
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from sqlalchemy import Connection

from homeostat.cli import json_option, print_json, project_option
from homeostat.cli.output import new_console, new_table
from homeostat.deployment.registry import current_promotion
from homeostat.errors import InputError
from homeostat.monitoring.alerts import list_alerts
from homeostat.monitoring.drift_checks import latest_drift_check
from homeostat.monitoring.verdicts import Reading, headline, list_readings, list_verdicts, short
from homeostat.project import Project, open_project
from homeostat.records import Json
from homeostat.store.blobs import write_durably
from homeostat.web.contents import to_document
from homeostat.web.drift_facts import describe_drift

NOTHING_YET = "No window has been checked yet: the loop checks each complete window of accepted rows once."
COLOURS = {"fired": "red", "quiet": "green", "gathering": "yellow"}


@click.command("drift")
@click.option("--html", "page", type=click.Path(path_type=Path), help="Write a page with pictures to this file.")
@project_option
@json_option
def drift_command(folder: Path, page: Path | None, *, as_json: bool) -> None:
    """Show the newest drift check: each feature's test, shift and evidence, and what the judgements make of them.

    Example: homeostat drift --html drift.html
    """
    with open_project(folder) as project:
        with project.database.read() as connection:
            check, alerts = latest_drift_check(connection), alerts_now(connection)
        if page is not None:
            write_page(page, render(project, check, alerts))
    if as_json:
        print_json({**(check or {}), "alerts": alerts})
        return
    console = new_console()
    show_check(console, check)
    for alert in alerts:
        console.print(f"[red]alert[/] {plain(alert['sentence'])}", soft_wrap=True)
    if page is not None:
        console.print(f"Pictures: {plain(str(page))}", soft_wrap=True)


def alerts_now(connection: Connection) -> list[Json]:
    """Return the alerts of the watch under way, oldest first."""
    promotion = current_promotion(connection)
    return list_alerts(connection, epoch=promotion.epoch) if promotion else []


def show_check(console: Console, check: Json | None) -> None:
    """Print the table of a check, and its verdicts."""
    if check is None:
        console.print(NOTHING_YET, soft_wrap=True)
        return
    readings = list_readings(check)
    if readings:
        console.print(lay_out(readings))
    rows = f"rows {check['first_seq']} to {check['last_seq']} against {check['report']['n_reference']}"
    console.print(f"[bold]{headline(check)}[/] ({rows}, checked {check['checked_at'][:16]} UTC)", soft_wrap=True)
    grid = Table.grid(padding=(0, 2))
    for verdict in list_verdicts(check):
        colour = COLOURS.get(verdict.mark, "default")
        grid.add_row(verdict.judge, f"[{colour}]{verdict.mark}[/]", plain(verdict.sentence))
    console.print(grid)


def lay_out(readings: list[Reading]) -> Table:
    """Return the table of the features; what no feature has, no column is given to."""
    corrected = any(reading.adjusted is not None for reading in readings)
    evident = any(reading.evidence for reading in readings)
    table = new_table("feature", "", "shift", "test", "stat.", "p")
    for name in ["p adj."] * corrected + ["evidence", "since row"] * evident:
        table.add_column(name)
    for column in table.columns:
        column.justify = "right" if column.header in ("stat.", "p", "p adj.", "since row") else "left"
        column.no_wrap = column.header not in ("feature", "shift")
    for r in readings:
        cells = [plain(r.name), "[red]drifted[/]" if r.drifted else "", plain(r.shift), r.test]
        cells += [f"{r.statistic:.3f}", short(r.p_value)]
        cells += [short(r.adjusted) if r.adjusted is not None else ""] * corrected
        cells += name_evidence(r) if evident else []
        table.add_row(*cells)
    return table


def plain(text: str) -> str:
    """Return the text of a stranger as text: no markup, and nothing that a terminal would obey."""
    return escape("".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text))


def name_evidence(reading: Reading) -> list[str]:
    """Return the evidence on a feature and since when, as cells."""
    if reading.evidence is None:
        return ["", ""]
    words, since = reading.evidence.words, reading.evidence.since
    return [f"[red]{words}[/]" if reading.counted else words, "" if since is None else str(since)]


def render(project: Project, check: Json | None, alerts: list[Json]) -> str:
    """Return the page of a check as one file.

    Raises
    ------
    ReleaseMissing, ArtifactCorrupt
        The release that holds the baseline is not in the store, or is damaged.
    """
    with project.database.read() as connection:
        content = describe_drift(connection, project, check, alerts=alerts)
    return to_document(content, project=project.settings.project.name)


def write_page(path: Path, text: str) -> None:
    """Write a page whole or not at all: a reader never meets half of it.

    Raises
    ------
    InputError
        There cannot be a file of this name.
    """
    # The file itself and not a link to it: renamed onto /dev/stdout, the page would take that name from everybody.
    target = Path(os.path.realpath(path))
    temporary = target.parent / f".{target.name}.{os.getpid()}.incomplete"
    try:
        if target.exists() and not target.is_file():
            raise IsADirectoryError(errno.EISDIR, "it is no file")
        write_durably(temporary, text.encode(), place="page.write")
        temporary.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise InputError(
            problem=f"{path} cannot be written: {error.strerror}",
            expected="the name of a file, in a folder that may be written to",
            action="make the folder, or name another file",
        ) from error
