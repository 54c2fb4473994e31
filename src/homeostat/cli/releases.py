"""`homeostat releases`, `history` and `verify`: what exists, who was in production when, and whether it is whole."""

from pathlib import Path

import click

from homeostat.cli import json_option, print_json, project_option
from homeostat.cli.output import new_console, new_table
from homeostat.deployment.artifacts import check_golden, find_release, open_release
from homeostat.deployment.registry import current_promotion, list_promotions, list_releases, resolve_release
from homeostat.errors import ArtifactCorrupt
from homeostat.project import open_project
from homeostat.records import Json
from homeostat.store.events import find_break
from homeostat.training.scoring import Graph


@click.command("releases")
@project_option
@json_option
def releases_command(folder: Path, *, as_json: bool) -> None:
    """List the releases, with their figures and which one is in production."""
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


@click.command("history")
@project_option
@json_option
def history_command(folder: Path, *, as_json: bool) -> None:
    """Show who was in production when, and why."""
    with open_project(folder) as project, project.database.read() as connection:
        promotions = list_promotions(connection)
        numbers = {r.digest: r.number for r in list_releases(connection)}
    if as_json:
        print_json(
            [
                {
                    "epoch": p.epoch,
                    "release": p.release,
                    "number": numbers[p.release],
                    "previous": p.previous,
                    "decided_at": p.decided_at.isoformat(),
                    "actor": p.actor,
                    "reason": p.reason,
                }
                for p in promotions
            ]
        )
        return
    table = new_table("epoch", "from (UTC)", "until", "release", "by", "why")
    ends = [f"{p.decided_at:%Y-%m-%d %H:%M:%S}" for p in promotions]
    for p, start, end in zip(promotions, ends, [*ends[1:], "now"], strict=True):
        table.add_row(str(p.epoch), start, end, f"{numbers[p.release]} ({p.release[:12]})", p.actor, p.reason)
    new_console().print(table if promotions else "Nothing was in production yet: homeostat train")


@click.command("verify")
@click.argument("name", required=False)
@project_option
@json_option
def verify_command(name: str | None, folder: Path, *, as_json: bool) -> None:
    """Verify the event log, and every byte and golden row of release NAME (number or digest; all by default)."""
    results: list[Json] = []
    with open_project(folder) as project:
        with project.database.read() as connection:
            broken = find_break(connection)
            chosen = [resolve_release(connection, name)] if name else list_releases(connection)
        if broken is not None:
            raise ArtifactCorrupt(
                problem=f"the event log is broken at line {broken}",
                expected="an unbroken chain of digests",
                action="compare with a backup: a line was edited, removed or reordered",
            )
        for registered in chosen:
            release = open_release(find_release(registered.digest, project.blobs))
            difference = check_golden(release, Graph(release.graph, release.schema))
            rows = len(release.golden.expected)
            results.append({"release": registered.digest, "golden_rows": rows, "largest_difference": difference})
    if as_json:
        print_json({"events": "whole", "releases": results})
        return
    click.echo("The event log is whole.")
    for result in results:
        click.echo(
            f"Release {result['release'][:12]}: every byte verified, {result['golden_rows']} golden rows answered "
            f"within {result['largest_difference']:.1g}."
        )
