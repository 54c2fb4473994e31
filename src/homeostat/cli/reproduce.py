"""`homeostat reproduce`: train a release again from its lineage, and see whether the same comes out.

Not here: how it is made again and compared (`retraining.reproduction`).
"""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from homeostat.cli import json_option, print_json, project_option
from homeostat.cli.completion import complete_release
from homeostat.cli.progress import Stage, showing
from homeostat.deployment.registry import resolve_release
from homeostat.project import open_project
from homeostat.retraining.attempt import run_part


@click.command("reproduce")
@click.argument("name", shell_complete=complete_release)
@click.option("--search", "with_search", is_flag=True, help="Repeat the search too, not only the fit.")
@project_option
@json_option
@click.pass_context
def reproduce_command(context: click.Context, name: str, folder: Path, *, with_search: bool, as_json: bool) -> None:
    """Train release NAME (number or digest) again from its lineage, and compare what comes out.

    On the machine and with the versions that trained it, every byte but its times is the same. Elsewhere its figures
    and its answers to the golden rows must be the same within 1e-6. Ends with code 1 if they are not. Nothing is kept.

    Example: homeostat reproduce 3 --search
    """
    with open_project(folder) as project:
        with project.database.read() as connection:
            digest = resolve_release(connection, name).digest
        look = partial(Stage, "Training again")
        with TemporaryDirectory(prefix="homeostat-") as scratch, showing(look, as_json=as_json):
            request = {"release": digest, "with_search": with_search, "scratch": scratch}
            report = run_part("reproduce", project, request, while_waiting=lambda: None)
    if as_json:
        print_json(report)
    else:
        if with_search:
            same = "the same configuration" if report["search_found_the_same"] else "another configuration"
            click.echo(f"The search was repeated and found {same}.")
        click.echo(report["sentence"])
    context.exit(1 if report["verdict"] == "different" else 0)
