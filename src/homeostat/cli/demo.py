"""`homeostat demo`: the whole story in a scratch project, its claims, its report."""

import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console

from homeostat.cli import json_option, print_json
from homeostat.cli.init import propose_project
from homeostat.cli.output import new_console, new_table
from homeostat.cli.proposal import render_settings, write_project
from homeostat.errors import SettingsInvalid
from homeostat.simulation.demo import Story, run_story
from homeostat.simulation.report import write_report
from homeostat.simulation.table import TARGET, fetch_table


@click.command("demo")
@click.option("--data", type=click.Path(path_type=Path, dir_okay=False), help="The Pima table as CSV.")
@click.option("--seed", type=click.IntRange(min=0), help="Of the clinic's patients.  [default: the clock's]")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), help="The scratch project.")
@click.option("--keep", is_flag=True, help="Leave service and loop running.")
@json_option
def demo_command(data: Path | None, seed: int | None, folder: Path | None, *, keep: bool, as_json: bool) -> None:
    """Tell the whole story on the Pima table: train, serve, drift, retrain, swap; check every claim.

    Ends with code 1 if a claim does not hold.

    Example: homeostat demo --seed 8 --folder diabetes --keep
    """
    console = new_console(stderr=as_json)
    started = time.monotonic()
    seed = int(time.time()) if seed is None else seed
    scratch = folder or Path(tempfile.mkdtemp(prefix="homeostat-demo-"))
    scratch.mkdir(parents=True, exist_ok=True)
    if any(scratch.iterdir()):
        raise SettingsInvalid(
            problem=f"{scratch} is not empty",
            expected="a new folder",
            action="name another with --folder, or none",
        )
    table = fetch_table(scratch, data, seed=seed)
    style = "bold" if table.genuine else "bold white on red"
    console.print(f"[{style}]This runs on {table.origin}.[/] Seed {seed}, project {scratch}")
    proposal = propose_project(table.path, TARGET)
    settings = render_settings("diabetes", table.path.name, proposal)
    # Without a cooldown: that there is exactly one retraining must be the world's doing. Without a quarantine: the
    # story's outcomes arrive within seconds.
    write_project(scratch / "homeostat.toml", settings + "\n[retraining]\ncooldown_s = 0\nquarantine_s = 0\n")
    story = run_story(scratch, seed=seed, console=console, keep=keep)
    print_claims(story, console)
    report = write_report(story, scratch / "report.html", origin=table.origin, seed=seed)
    console.print(f"Report: {report}   ({time.monotonic() - started:.0f} s in all)")
    if keep:
        address, process = story.facts["address"], story.facts["process"]
        console.print(f"Still running at [bold]{address}[/]; stop it with: kill {process}")
    if as_json:
        claims = [asdict(claim) for claim in story.claims]
        print_json({"project": str(scratch), "seed": seed, "report": str(report), "claims": claims})
    sys.exit(0 if all(claim.held for claim in story.claims) else 1)


def print_claims(story: Story, console: Console) -> None:
    """Print the closing table: claim, measured."""
    table = new_table("", "claim", "measured")
    for claim in story.claims:
        table.add_row("[green]✓[/]" if claim.held else "[red]✗[/]", claim.claim, claim.measured)
    console.print()
    console.print(table)
