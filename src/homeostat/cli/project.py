"""`homeostat init`, `check` and `status`: a project, its data, its state."""

import json
import math
import re
import tomllib
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from numpy.typing import NDArray
from rich.markup import escape

from homeostat.cli import json_option, print_json, project_option
from homeostat.cli.output import new_console, new_table
from homeostat.data.sources import Source, as_cells, guess_kinds, open_given, open_source, source_dialect
from homeostat.deployment.registry import current_promotion, resolve_release
from homeostat.errors import SettingsInvalid
from homeostat.monitoring.drift_checks import latest_drift_check
from homeostat.monitoring.production import count_labels
from homeostat.project import dialect_of, open_project, read_settings, schema_of
from homeostat.records import Json, Schema, Target, Violation
from homeostat.retraining.asking import describe_waiting
from homeostat.retraining.cycles import find_open_cycle, newest_cycles
from homeostat.retraining.deciding import consider
from homeostat.retraining.labelled_tables import read_labels
from homeostat.settings import FILE_NAME, parse_settings
from homeostat.store.blobs import write_durably
from homeostat.validation.checks import check_table, require_columns
from homeostat.validation.inference import Guess, infer_features, infer_target

SHOWN = 20


@click.command("init")
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--target", required=True, help="The outcome column.")
@click.option("--name", help="The project's name.  [default: the folder's]")
@click.option("--force", is_flag=True, help="Replace an existing homeostat.toml.")
@project_option
@json_option
def init_command(data: Path, target: str, name: str | None, folder: Path, *, force: bool, as_json: bool) -> None:
    """Infer a schema from DATA (CSV or Parquet), say why, and write homeostat.toml.

    Example: homeostat init pima.csv --target Outcome
    """
    path = folder / FILE_NAME
    if path.exists() and not force:
        raise SettingsInvalid(
            problem=f"{path} exists already", expected="a folder without one", action="pass --force to replace it"
        )
    guesses, found, reason = guess_schema(data.resolve(), target)
    text = render_settings(name or project_name(folder), locate(data, folder), guesses, found, reason)
    write_project(path, text)
    if as_json:
        print_json({"settings": str(path), "target": reason, "columns": [as_guess(guess) for guess in guesses]})
        return
    console = new_console()
    console.print(f"Target [bold]{escape(target)}[/]: {escape(reason)}.")
    for guess in guesses:
        console.print(guess.column, style="bold" if guess.feature else "dim", markup=False)
        for words in guess.reasons:
            console.print(f"  {words}", style="dim", markup=False)
    console.print(f"\nWrote {escape(str(path))}. Read it, correct what is wrong, then: [bold]homeostat train[/]")


def guess_schema(data: Path, target: str) -> tuple[list[Guess], Target, str]:
    """Return the guesses for a data file, its target, and the reason for the order of the target's values."""
    frame = open_source(str(data), folder=data.parent).read()
    require_columns(frame.columns, [target])
    cells: dict[str, NDArray[Any]] = as_cells(frame, guess_kinds(frame))
    outcome = cells.pop(target)
    guesses = infer_features(cells)
    found, reason = infer_target(target, outcome)
    return guesses, found, reason


def project_name(folder: Path) -> str:
    """Return the folder's name with a dash for whatever a project's name cannot hold."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", folder.resolve().name).strip("-._")[:60] or "project"


def locate(data: Path, folder: Path) -> str:
    """Return the data's path as the settings should hold it: relative if it lies below the project."""
    resolved, root = data.resolve(), folder.resolve()
    return str(resolved.relative_to(root)) if resolved.is_relative_to(root) else str(resolved)


def render_settings(name: str, data: str, guesses: list[Guess], target: Target, reason: str) -> str:
    """Return the text of homeostat.toml, each guess with its reason in a comment."""
    values = json.dumps([target.negative, target.positive], ensure_ascii=False)
    lines = [
        "# Written by `homeostat init`. Every guess has its reason beside it: correct what is wrong.",
        "[project]",
        f"name = {json.dumps(name)}",
        f"data = [{json.dumps(data, ensure_ascii=False)}]",
        f"target = {json.dumps(target.name, ensure_ascii=False)}",
        f"target_values = {values}  # negative, positive: {reason}",
    ]
    for guess in guesses:
        lines += ["", *(f"# {words}" for words in guess.reasons)]
        if guess.feature is None:
            lines.append(f"# [features.{json.dumps(guess.column, ensure_ascii=False)}]")
            continue
        feature = guess.feature
        lines += [f"[features.{json.dumps(feature.name, ensure_ascii=False)}]", f'kind = "{feature.kind}"']
        if feature.kind == "numeric":
            lines.append(f"range = [{feature.low:g}, {feature.high:g}]")
        if feature.missing:
            lines.append(f"missing = [{', '.join(f'{marker:g}' for marker in feature.missing)}]")
    return "\n".join(lines) + "\n"


def write_project(path: Path, text: str) -> None:
    """Write homeostat.toml whole or not at all, after reading it back as settings."""
    schema_of(parse_settings(tomllib.loads(text)))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".incomplete")
    write_durably(temporary, text.encode(), place="settings_file.write")
    temporary.rename(path)


def as_guess(guess: Guess) -> Json:
    """Return a guess as a JSON object."""
    feature = guess.feature
    if feature is None:
        return {"column": guess.column, "used": False, "reasons": guess.reasons}
    content = {"kind": feature.kind, "range": [feature.low, feature.high], "missing": feature.missing}
    return {"column": guess.column, "used": True, **content, "reasons": guess.reasons}


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


def check_source(source: Source, schema: Schema) -> Json:
    """Return the result of checking one file or query; the target is checked where the table has it."""
    frame = source.read()
    require_columns(frame.columns, [feature.name for feature in schema.features])
    checked = check_table(as_cells(frame, {f.name: f.kind for f in schema.features}, source_dialect(source)), schema)
    violations = list(checked.violations)
    target = schema.target
    if target.name in frame.columns:
        values = frame[target.name].to_list()
        expected = f"{target.negative!r} or {target.positive!r}"
        wrong = [row for row, label in enumerate(read_labels(values, target)) if label < 0]
        violations += [Violation(target.name, values[row], "target", expected, row) for row in wrong]
    rejected = {violation.row for violation in violations}
    return {
        "source": source.name,
        "rows": frame.height,
        "accepted": frame.height - len(rejected),
        "rejected": len(rejected),
        "violations": [
            {
                "row": (v.row or 0) + 1,
                "column": v.column,
                "value": str(v.value) if v.value in (math.inf, -math.inf) else v.value,  # JSON knows no infinity
                "rule": v.rule,
                "expected": v.expected,
            }
            for v in sorted(violations, key=lambda v: v.row or 0)
        ],
    }


def print_check(result: Json) -> None:
    """Print the result of one check for a person."""
    console = new_console()
    console.print(
        f"[bold]{escape(result['source'])}[/]: {result['rows']} rows, {result['accepted']} accepted, "
        f"[{'red' if result['rejected'] else 'green'}]{result['rejected']} rejected[/]"
    )
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
    table.add_row("decision", escape(state["decision"] or "run `homeostat train` first"))
    new_console().print(table)


def describe_what_waits(waiting: Json) -> list[str]:
    """Return what waits for a person or for a loop, each in a sentence."""
    held = waiting["held"]
    sentences = [f"request {asked['request']}, {asked['kind']}, for a loop" for asked in waiting["requests"]]
    if held is not None:
        sentences.append(f"release {held['number']} ({held['release'][:12]}) for approval: homeostat approve")
    return sentences
