"""`homeostat train`: one attempt by hand."""

import time
from collections.abc import Iterator
from pathlib import Path

import click

from homeostat.cli import json_option, print_json, project_option
from homeostat.cli.loop import telling
from homeostat.cli.progress import look_at_attempt, showing
from homeostat.errors import LeaseHeld
from homeostat.loop import Advance, begin_by_hand, give_back, tick
from homeostat.project import Project, open_project
from homeostat.records import Json
from homeostat.retraining.cycles import Cycle, newest_cycles
from homeostat.retraining.tracking_watch import tell_now

FOLLOW_S = 0.5


@click.command("train")
@click.option("--reason", default="asked for by hand", show_default=True, help="Kept in the history.")
@project_option
@json_option
@click.pass_context
def train_command(context: click.Context, reason: str, folder: Path, *, as_json: bool) -> None:
    """Run the loop's own steps once: snapshot, search, fit, track, gate, promote.

    Ends with code 1 if the gate refuses the challenger; one that waits for approval is no refusal.

    Example: homeostat train --reason "a new season"
    """
    done: list[Json] = []
    with open_project(folder) as project, telling(project):
        if not begin_by_hand(project, reason=reason):
            click.echo("A cycle is under way already: going on with that one.", err=as_json)
        with showing(look_at_attempt(project, "Training"), as_json=as_json):
            try:
                for advance in turn(project):
                    done.append({"sentence": advance.sentence, "outcome": advance.outcome})
                    click.echo(advance.sentence, err=as_json)
            finally:
                tell_now(project)
                give_back(project)
    if as_json:
        print_json({"outcome": done[-1]["outcome"], "steps": [step["sentence"] for step in done]})
    context.exit(0 if done[-1]["outcome"] in {"promoted", "held"} else 1)


def turn(project: Project) -> Iterator[Advance]:
    """Turn the open cycle here; while a loop holds the lease, follow what that one does with it."""
    said = ""
    while (cycle := newest_cycle(project)).step is not None:
        try:
            yield from tick(project)
        except LeaseHeld as error:
            if not said:
                yield Advance(f"{error.problem}: it does the work, this follows.", idle=False)
            if cycle.step != said:
                yield Advance(f"Next step: {cycle.step}.", idle=False)
            said = cycle.step
            time.sleep(FOLLOW_S)
        else:
            return
    yield Advance(f"The cycle has ended: {cycle.outcome}.", idle=True, outcome=cycle.outcome)


def newest_cycle(project: Project) -> Cycle:
    """Return the cycle that was opened last."""
    with project.database.read() as connection:
        return newest_cycles(connection, limit=1)[-1]
