"""`homeostat report`: a release, a drift check or a cycle as one file, and the model card in three formats.

Not here: what a report says (`web.release_page`, `web.drift_page`, `web.cycle_page`), or the card
(`deployment.model_card`).
"""

import json
from pathlib import Path

import click
from sqlalchemy import Connection

from homeostat.cli import json_option, print_json, project_option
from homeostat.cli.drift import write_page
from homeostat.deployment.dossiers import open_dossier
from homeostat.deployment.model_card import describe_model
from homeostat.deployment.registry import RegisteredRelease, require_production, resolve_release
from homeostat.errors import InputError
from homeostat.monitoring.drift_checks import leaf_through_checks
from homeostat.project import Project, open_project
from homeostat.web.card_formats import to_markdown
from homeostat.web.contents import Content, to_document
from homeostat.web.cycle_page import describe_cycle
from homeostat.web.drift_facts import describe_numbered
from homeostat.web.release_facts import gather_facts, know
from homeostat.web.release_page import describe_release

NEWEST = "newest"
ENDINGS = {"html": "html", "markdown": "md", "json": "json"}


@click.command("report")
@click.option("--release", "name", metavar="NAME", help="A release: its number, its digest or the beginning of it.")
@click.option(
    "--drift", "check", is_flag=False, flag_value=NEWEST, metavar="[N]", help="A drift check; without N the newest."
)
@click.option("--cycle", type=click.IntRange(min=1), metavar="N", help="A cycle of the loop.")
@click.option(
    "--format",
    "form",
    type=click.Choice(list(ENDINGS)),
    default="html",
    show_default=True,
    help="Of a release: the page, or its model card as Markdown (with front matter) or JSON.",
)
@click.option("-o", "--output", "path", type=click.Path(path_type=Path), help="The file, - for standard output.")
@project_option
@json_option
def report_command(
    *,
    name: str | None,
    check: str | None,
    cycle: int | None,
    form: str,
    path: Path | None,
    folder: Path,
    as_json: bool,
) -> None:
    """Write a report as one file that opens anywhere: about the release in production, or about what is named.

    Example: homeostat report --release 2 --format markdown -o README.md
    """
    asked = [option for option, value in (("--release", name), ("--drift", check), ("--cycle", cycle)) if value]
    if len(asked) > 1:
        raise click.UsageError(f"{' and '.join(asked)} are two reports: ask for one at a time.")
    if form != "html" and (check or cycle):
        raise click.UsageError(f"--format {form} is of a release; {asked[0]} is written as html.")
    with open_project(folder) as project, project.database.read() as connection:
        if check:
            title, text = report_check(connection, project, check)
        elif cycle:
            title, text = report_cycle(connection, project, cycle)
        else:
            title, text = report_release(connection, project, name, form)
    if str(path) == "-":
        click.echo(text, nl=False)
        return
    target = path or Path(f"{title}.{ENDINGS[form]}")
    write_page(target, text)
    if as_json:
        print_json({"report": title, "format": form, "file": str(target), "size_bytes": len(text.encode())})
        return
    click.echo(f"Written to {target}: {title.replace('-', ' ')}, {len(text.encode()) / 1000:.0f} kB.")


def report_release(connection: Connection, project: Project, name: str | None, form: str) -> tuple[str, str]:
    """Return the title and the text of a report about a release; about the one in production if none is named.

    Raises
    ------
    ReleaseMissing
        No release has this name, or none is in production; or, of a card, it is not in the store.
    ArtifactCorrupt
        Of a card: the release is damaged.
    """
    registered = resolve_release(connection, name or require_production(connection).release)
    title = f"release-{registered.number}"
    if form == "html":
        return title, in_one_file(describe_release(connection, project, registered), project)
    card = describe_card(connection, project, registered)
    return title, to_markdown(card) if form == "markdown" else json.dumps(card, indent=2) + "\n"


def describe_card(connection: Connection, project: Project, registered: RegisteredRelease) -> dict[str, object]:
    """Return the model card of a release; see `report_release`."""
    release = open_dossier(registered.digest, project.blobs).release
    return describe_model(release, know(connection, project, gather_facts(connection, project, registered)))


def report_check(connection: Connection, project: Project, name: str) -> tuple[str, str]:
    """Return the title and the text of a report about a drift check.

    Raises
    ------
    InputError
        There is none of this number, or none at all.
    """
    newest = leaf_through_checks(connection, limit=1)
    if not newest:
        raise InputError(
            problem="no window has been checked yet",
            expected="a drift check: the loop checks each complete window of accepted rows once",
            action="send rows to the service and let `homeostat up` or `homeostat tick` run",
        )
    last = newest[0]["id"]
    number = last if name == NEWEST else int(name) if name.isascii() and name.isdigit() else 0
    content = describe_numbered(connection, project, number) if 0 < number <= last else None
    if content is None:
        raise missing(f"drift check {name}", f"a number from 1 to {last}, or none for the newest")
    return f"drift-{number}", in_one_file(content, project)


def report_cycle(connection: Connection, project: Project, number: int) -> tuple[str, str]:
    """Return the title and the text of a report about a cycle; InputError if there is none of this number."""
    content = describe_cycle(connection, number)
    if content is None:
        raise missing(f"cycle {number}", "the number of a cycle, as the event log names it")
    return f"cycle-{number}", in_one_file(content, project)


def missing(what: str, expected: str) -> InputError:
    """Return the three-part error for something of which there is none."""
    return InputError(problem=f"there is no {what}", expected=expected, action="see `homeostat events`")


def in_one_file(content: Content, project: Project) -> str:
    """Return a page as one file."""
    return to_document(content, project=project.settings.project.name)
