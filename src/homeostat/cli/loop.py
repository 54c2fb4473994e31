"""`homeostat loop`, `tick` and `drift`: the worker, one turn of it, and what it last saw."""

import signal
import sys
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import click
from rich.markup import escape

from homeostat.cli import json_option, print_json, project_option
from homeostat.cli.output import new_console, new_table
from homeostat.errors import HomeostatError
from homeostat.loop import advance, give_back, tick
from homeostat.monitoring.drift_checks import latest_drift_check
from homeostat.project import Project, open_project
from homeostat.records import Json

SHORT_NAMES = {"kolmogorov-smirnov": "KS", "chi-square": "chi2"}
IDLE_S = 1.0
AFTER_ERROR_S = 10.0


@click.command("tick")
@project_option
@json_option
def tick_command(folder: Path, *, as_json: bool) -> None:
    """Advance the loop until it is idle, and print what was decided and why: for cron, CI, Airflow, Kubernetes.

    A cycle that was interrupted is completed first.
    """
    sentences: list[Json] = []
    with open_project(folder) as project:
        for done in tick(project):
            sentences.append({"sentence": done.sentence, "outcome": done.outcome})
            if not as_json:
                click.echo(done.sentence)
    if as_json:
        print_json(sentences)


@click.command("loop")
@project_option
def loop_command(folder: Path) -> None:
    """Run the worker: watch, decide, retrain, for ever. SIGTERM or Ctrl-C ends it, the next goes on."""
    with open_project(folder) as project:
        run_loop(project)


def run_loop(project: Project, *, keep_going: Callable[[], bool] = lambda: True) -> None:
    """Advance until a signal, or until `keep_going` says no; print one line for whatever is no repetition.

    A signal ends the step under way too, its training process with it: the next loop goes on with the cycle.
    """
    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    said = ""
    try:
        while keep_going():
            try:
                done = advance(project, now=datetime.now(UTC))
            except HomeostatError as error:
                click.echo(f"{datetime.now(UTC):%H:%M:%S} {error.code}: {error}", err=True)
                time.sleep(AFTER_ERROR_S)
                continue
            except Exception:  # noqa: BLE001  the edge of the process: whatever one step met, the loop goes on
                click.echo(f"{datetime.now(UTC):%H:%M:%S} unexpected:\n{traceback.format_exc()}", err=True)
                time.sleep(AFTER_ERROR_S)
                continue
            if done.sentence != said:
                click.echo(f"{datetime.now(UTC):%H:%M:%S} {done.sentence}")
                said = done.sentence
            if done.idle:
                time.sleep(IDLE_S)
    finally:
        give_back(project)


def leave(_signal: int, _frame: FrameType | None) -> None:
    """End the process in order; further signals must not disturb that."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(0)


@click.command("drift")
@project_option
@json_option
def drift_command(folder: Path, *, as_json: bool) -> None:
    """Show the newest drift check: each feature's test, then and now, and the score."""
    with open_project(folder) as project, project.database.read() as connection:
        check = latest_drift_check(connection)
    if as_json:
        print_json(check)
        return
    console = new_console()
    if check is None:
        console.print("No window has been checked yet.")
        return
    report = check["report"]
    table = new_table("feature", "test", "statistic", "p-value", "", "then", "now")
    for feature in report["features"]:
        verdict = "[red]drifted[/]" if feature["drifted"] else ""
        test = f"{SHORT_NAMES.get(feature['test'], feature['test'])}, {feature['method']}"
        figures = [f"{feature['statistic']:.3f}", f"{feature['p_value']:.2g}", verdict]
        table.add_row(escape(feature["name"]), test, *figures, describe(feature["then"]), describe(feature["now"]))
    console.print(table)
    moved = sum(feature["drifted"] for feature in report["features"])
    console.print(
        f"Rows {check['first_seq']} to {check['last_seq']}: {moved} of {len(report['features'])} features drifted, "
        f"score {check['score']:.3f}, boundary {report['boundary']:g}: {'[red]fired[/]' if check['fired'] else 'quiet'}"
    )


def describe(state: Json) -> str:
    """Return where a feature stands, in a few figures."""
    missing = f", {state['missing_share']:.0%} missing" if state["missing_share"] else ""
    if "mode" in state:
        return f"mostly {state['mode']}{missing}"
    if state["median"] is None:
        return missing.removeprefix(", ")
    low, high = state["quartiles"]
    return f"median {state['median']:g} ({low:g} to {high:g}){missing}"
