"""`homeostat releases` and `verify`: what exists, and whether it and its history are as they were written."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from homeostat.cli import json_option, print_json, project_option
from homeostat.cli.completion import complete_release
from homeostat.cli.output import new_console, new_table
from homeostat.cli.progress import Stage, showing
from homeostat.deployment.artifacts import check_golden, find_release, open_release
from homeostat.deployment.history import find_disagreements
from homeostat.deployment.registry import current_promotion, list_releases, resolve_release
from homeostat.errors import ArtifactError, ReleaseMissing, error_to_json
from homeostat.project import Project, open_project
from homeostat.records import Json
from homeostat.store.events import Finding, find_breaks, find_last
from homeostat.training.scoring import Graph


@click.command("releases")
@project_option
@json_option
def releases_command(folder: Path, *, as_json: bool) -> None:
    """List the releases, with their figures and which one is in production.

    Example: homeostat releases --json
    """
    with open_project(folder) as project, project.database.read() as connection:
        found = list_releases(connection)
        promotion = current_promotion(connection)
    live = promotion.release if promotion else None
    if as_json:
        print_json(
            [
                {
                    "number": r.number,
                    "digest": r.digest,
                    "production": r.digest == live,
                    "created_at": r.created_at.isoformat(),
                    "family": r.family,
                    "snapshot": r.snapshot,
                    "run_id": r.run_id,
                    "metrics": r.metrics,
                }
                for r in found
            ]
        )
        return
    table = new_table("release", "digest", "created (UTC)", "family", "AUC, anchor", "")
    for r in found:
        auc = r.metrics["anchor"]["auc"]
        figures = f"{auc['value']:.3f} [{auc['low']:.3f}, {auc['high']:.3f}]"
        live_word = "[green]production[/]" if r.digest == live else ""
        table.add_row(str(r.number), r.digest[:12], f"{r.created_at:%Y-%m-%d %H:%M:%S}", r.family, figures, live_word)
    new_console().print(table if found else "No release yet: homeostat train")


@click.command("verify")
@click.argument("name", required=False, shell_complete=complete_release)
@project_option
@json_option
@click.pass_context
def verify_command(context: click.Context, name: str | None, folder: Path, *, as_json: bool) -> None:
    """Verify the event log, the promotion log, and every byte and golden row of release NAME (all by default).

    Everything that is not as it was written is told, with its line of the event log; then the command ends with code 1.

    Example: homeostat verify 3
    """
    with open_project(folder) as project:
        with project.database.read() as connection:
            chosen = [resolve_release(connection, name)] if name else list_releases(connection)
            events, promotions = find_breaks(connection), find_disagreements(connection)
            last, digest = find_last(connection)
        results: list[Json] = []
        with showing(lambda: Stage("Verifying releases", len(results), len(chosen)), as_json=as_json):
            for registered in chosen:
                results.append(verify_release(project, registered.digest))  # noqa: PERF401  they are counted meanwhile
    wrong = bool(events or promotions or any("error" in result for result in results))
    if as_json:
        print_json(
            {
                "whole": not wrong,
                "events": {"last": last, "digest": digest, "findings": [asdict(finding) for finding in events]},
                "promotions": {"findings": [asdict(finding) for finding in promotions]},
                "releases": results,
            }
        )
        context.exit(int(wrong))
    click.echo("The event log is not whole:" if events else f"The event log is whole: {last} lines, the last {digest}.")
    print_findings(events)
    click.echo("The promotion log does not agree with it:" if promotions else "The promotion log agrees with it.")
    print_findings(promotions)
    for result in results:
        click.echo(describe_result(result))
    if wrong:
        click.echo("Compare with a backup, and ask who can write to the project.")
    context.exit(int(wrong))


def verify_release(project: Project, digest: str) -> Json:
    """Return what the verification of one release has found."""
    try:
        release = open_release(find_release(digest, project.blobs))
        difference = check_golden(release, Graph(release.graph, release.schema))
    except (ArtifactError, ReleaseMissing) as error:
        return {"release": digest, "error": error_to_json(error)}
    rows = len(release.golden.expected)
    return {"release": digest, "golden_rows": rows, "largest_difference": difference}


def print_findings(findings: Sequence[Finding]) -> None:
    """Print what is not as it was written."""
    for finding in findings:
        click.echo(f"  {finding.sentence}")


def describe_result(result: Json) -> str:
    """Return what the verification of one release has found, in a sentence."""
    release = f"Release {result['release'][:12]}"
    if "error" in result:
        error = result["error"]
        return f"{release} is not whole: {error['problem']}; {error['action']}."
    rows, difference = result["golden_rows"], result["largest_difference"]
    return f"{release}: every byte verified, {rows} golden rows answered within {difference:.1g}."
