"""`homeostat check` and `status`: a project's data and its state. Not here: making a project (`cli.init`)."""

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.markup import escape

from homeostat.cli import json_option, print_json, project_option
from homeostat.cli.notify import describe_place, find_place
from homeostat.cli.output import new_console, new_table
from homeostat.data.sources import open_given, open_source
from homeostat.deployment.registry import current_promotion, resolve_release
from homeostat.monitoring.drift_checks import latest_drift_check
from homeostat.monitoring.production import count_labels
from homeostat.notifications.delivery import find_receiver
from homeostat.project import Project, dialect_of, open_project, read_settings, schema_of
from homeostat.records import Json
from homeostat.retraining.asking import describe_waiting
from homeostat.retraining.cycles import find_open_cycle, newest_cycles
from homeostat.retraining.deciding import consider
from homeostat.retraining.given_tables import check_source

SHOWN = 20


@click.command("check")
@click.argument("data", type=click.Path(path_type=Path), required=False)
@project_option
@json_option
@click.pass_context
def check_command(context: click.Context, data: Path | None, folder: Path, *, as_json: bool) -> None:
    """Validate DATA (the project's own files by default): accepted, rejected, each reason.

    Ends with code 1 if a row is rejected. Rows count from 1, the header not included.

    Example: homeostat check new_patients.csv
    """
    settings = read_settings(folder)
    schema = schema_of(settings)
    query, dialect = settings.project.query, dialect_of(settings)
    places = [] if data else settings.project.data
    sources = [open_source(place, folder=folder, query=query, dialect=dialect) for place in places]
    if data:
        sources.append(open_given(data, dialect, [feature.name for feature in schema.features]))
    results = [check_source(source, schema) for source in sources]
    if as_json:
        print_json(results)
    else:
        for result in results:
            print_check(result)
    context.exit(1 if any(result["rejected"] for result in results) else 0)


def print_check(result: Json) -> None:
    """Print the result of one check for a person."""
    console = new_console()
    console.print(
        f"[bold]{escape(result['source'])}[/]: {result['rows']} rows, {result['accepted']} accepted, "
        f"[{'red' if result['rejected'] else 'green'}]{result['rejected']} rejected[/]"
    )
    if result["unlabelled"]:
        console.print(f"{result['unlabelled']} rows have no outcome: training leaves them out")
    if not result["violations"]:
        return
    table = new_table("row", "column", "value", "rule", "expected")
    for violation in result["violations"][:SHOWN]:
        table.add_row(*(escape(str(violation[key])) for key in ("row", "column", "value", "rule", "expected")))
    console.print(table)
    rules = Counter(f"{v['column']} {v['rule']}" for v in result["violations"])
    if len(result["violations"]) > SHOWN:
        rest = ", ".join(f"{rule}: {count}" for rule, count in rules.most_common(6))
        more = f"... and {len(result['violations']) - SHOWN} more (--json lists all). Most frequent: {rest}"
        console.print(more, markup=False)


@click.command("status")
@project_option
@json_option
def status_command(folder: Path, *, as_json: bool) -> None:
    """Show the state now: production, drift, labels, the open cycle, the last decision.

    Example: homeostat status --json
    """
    with open_project(folder) as project, project.database.read() as connection:
        promotion = current_promotion(connection)
        release = resolve_release(connection, promotion.release) if promotion else None
        drift = latest_drift_check(connection)
        cycle = find_open_cycle(connection)
        last = newest_cycles(connection, limit=1)
        decision = consider(connection, project, promotion, now=datetime.now(UTC)).decision if promotion else None
        state: Json = {
            "project": project.settings.project.name,
            "release": release.number if release else None,
            "digest": promotion.release if promotion else None,
            "since": promotion.decided_at.isoformat() if promotion else None,
            "metrics": release.metrics if release else None,
            "drift_score": drift["score"] if drift else None,
            "labels": count_labels(connection),
            "cycle": {"trigger": cycle.trigger, "next_step": cycle.step} if cycle else None,
            "last_cycle": {"trigger": last[0].trigger, "outcome": last[0].outcome} if last else None,
            "waiting": describe_waiting(connection),
            "decision": decision.sentence if decision else None,
            "notifications": tell_notifications(project),
        }
    if as_json:
        print_json(state)
        return
    table = new_table("", "")
    anchor = (state["metrics"] or {}).get("anchor")
    table.add_row("project", state["project"])
    table.add_row("in production", f"release {state['release']} ({state['digest'][:12]})" if release else "nothing yet")
    if release:
        table.add_row("since", str(state["since"]))
    if anchor:
        auc = anchor["auc"]
        table.add_row("AUC on the anchor", f"{auc['value']:.3f} [{auc['low']:.3f}, {auc['high']:.3f}]")
    table.add_row("drift score", "no window checked yet" if drift is None else f"{drift['score']:.3f}")
    table.add_row("labels", str(state["labels"]))
    table.add_row("cycle", f"open, next step {cycle.step}" if cycle else "none open")
    if last and last[0].outcome:
        table.add_row(
            "last cycle", f"{last[0].outcome}, {last[0].started_at:%Y-%m-%d %H:%M:%S} UTC, by {last[0].trigger}"
        )
    for waits in describe_what_waits(state["waiting"]):
        table.add_row("waits", escape(waits))
    if state["notifications"]:
        table.add_row("notifications", escape(state["notifications"]["sentence"]))
    table.add_row("decision", escape(state["decision"] or "run `homeostat train` first"))
    new_console().print(table)


def tell_notifications(project: Project) -> Json | None:
    """Return how far the receiver of notifications has come, also in a sentence; None if nobody is told."""
    receiver = find_receiver(project.settings)
    if receiver is None:
        return None
    place = find_place(project, receiver)
    return {"place": place, "sentence": describe_place(place)}


def describe_what_waits(waiting: Json) -> list[str]:
    """Return what waits for a person or for a loop, each in a sentence."""
    held = waiting["held"]
    sentences = [f"request {asked['request']}, {asked['kind']}, for a loop" for asked in waiting["requests"]]
    if held is not None:
        sentences.append(f"release {held['number']} ({held['release'][:12]}) for approval: homeostat approve")
    return sentences
