"""`homeostat runs`: the attempts side by side, two of them in detail, and MLflow's own pages.

Not here: the runs themselves (`training.tracking_runs`), or the process that shows the pages (`cli.tracking_pages`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from homeostat.cli import json_option, print_json, project_option
from homeostat.cli.output import new_console, new_table
from homeostat.cli.tracking_pages import show_pages
from homeostat.errors import InputError, StateError
from homeostat.project import Project, open_project
from homeostat.records import Json
from homeostat.retraining.cycles import list_cycles
from homeostat.retraining.telling import hide_login

if TYPE_CHECKING:
    from mlflow.entities import Run

SIDES = ("cross_validation", "anchor", "recent")


@click.command("runs")
@click.option("--compare", nargs=2, metavar="A B", help="Two runs: what differs. Each by the beginning of its id.")
@click.option("--ui", is_flag=True, help="Open MLflow's own pages on this project until Ctrl-C.")
@click.option("--open", "opens", is_flag=True, help="With --ui: open a browser too, also without a terminal.")
@click.option("--port", type=click.IntRange(0, 65_535), default=5_000, show_default=True, help="With --ui; 0: any.")
@project_option
@json_option
def runs_command(
    folder: Path, compare: tuple[str, str] | None, port: int, *, ui: bool, opens: bool, as_json: bool
) -> None:
    """Compare the tracked runs, newest first.

    Example: homeostat runs --project clinic
    """
    with open_project(folder) as project:
        if ui:
            show_pages(project, port=port, opens=opens)
            return
        told = [tell_run(run) for run in find_runs(project)]
        with project.database.read() as connection:
            # A cycle whose attempt MLflow did not take has no run.
            outcomes = {c.record.get("track", {}).get("run_id"): c.outcome for c in list_cycles(connection)}
    for one in told:
        one["outcome"] = outcomes.get(one["run_id"])
    if compare:
        compare_runs([find_run(told, name) for name in compare], as_json=as_json)
    elif as_json:
        print_json(told)
    else:
        print_runs(told)


def find_runs(project: Project) -> "Sequence[Run]":
    """Return the project's runs, newest first.

    Raises
    ------
    StateError
        MLflow cannot be asked.
    """
    from homeostat.training.tracking import list_runs, open_client  # noqa: PLC0415, I001  MLflow takes a second to import
    from mlflow.exceptions import MlflowException  # noqa: PLC0415  after what says what it must not send

    try:
        return list_runs(open_client(project.tracking_url), project.settings.project.name)
    except MlflowException as error:
        raise StateError(
            problem=f"MLflow cannot be asked: {hide_login(str(error).splitlines()[0], project.tracking_url)}",
            expected=f"a store that answers at {hide_login(project.tracking_url, project.tracking_url)}",
            action="see store.tracking in homeostat.toml; `homeostat releases` lists what was trained",
        ) from error


def tell_run(run: "Run") -> Json:
    """Return a run as a JSON object."""
    return {
        "run_id": run.info.run_id,
        "name": run.info.run_name,
        "status": run.info.status,
        "outcome": None,
        "started_at": run.info.start_time,
        "parameters": run.data.params,
        "metrics": run.data.metrics,
        "tags": {key: value for key, value in run.data.tags.items() if key.startswith("homeostat.")},
    }


def print_runs(told: Sequence[Json]) -> None:
    """Print the runs as a table."""
    table = new_table("id", "run", "family", "AUC, cross-validated", "AUC, anchor", "AUC, recent", "outcome")
    for run in told:
        cells = [describe(run["metrics"], f"{side}_auc") for side in SIDES]
        outcome = run["outcome"] or (run["status"].lower() if run["status"] != "FINISHED" else "")
        table.add_row(run["run_id"][:8], str(run["name"]), run["parameters"].get("family", ""), *cells, outcome)
    new_console().print(table if told else "No run yet: homeostat train")


def describe(metrics: Json, name: str) -> str:
    """Return a metric, with its interval if it has one."""
    if name not in metrics:
        return "-"
    if f"{name}_low" not in metrics:
        return f"{metrics[name]:.4g}"
    return f"{metrics[name]:.3f} [{metrics[f'{name}_low']:.3f}, {metrics[f'{name}_high']:.3f}]"


# --- two of them --------------------------------------------------------------------------------------------------


def find_run(told: Sequence[Json], name: str) -> Json:
    """Return the run that a name means: the beginning of its id, or of the release's digest.

    Raises
    ------
    InputError
        No run, or more than one, is called so.
    """
    ids = [(run["run_id"], run["tags"].get("homeostat.release", "")) for run in told]
    found = [
        run
        for run, (run_id, release) in zip(told, ids, strict=True)
        if name in {run_id[: len(name)], release[: len(name)]}
    ]
    if len(found) != 1:
        raise InputError(
            problem=f"{len(found)} runs are called {name!r}",
            expected="the beginning of one run's id or of its release's digest",
            action="see `homeostat runs`",
        )
    return found[0]


def is_called(run: Json, name: str) -> bool:
    """Return whether a name is the beginning of a run's id or of its release's digest."""
    return any(known.startswith(name) for known in (run["run_id"], run["tags"].get("homeostat.release", "")))


def compare_runs(pair: Sequence[Json], *, as_json: bool) -> None:
    """Print in what two runs differ: parameters and metrics."""
    names = dict.fromkeys(key for run in pair for key in (*run["parameters"], *main_figures(run["metrics"])))
    differing: Json = {}
    for name in names:
        cells = [run["parameters"].get(name, describe(run["metrics"], name)) for run in pair]
        if len(set(cells)) > 1:
            differing[name] = cells
    if as_json:
        print_json({"runs": [run["run_id"] for run in pair], "different": differing})
        return
    table = new_table("", *(f"{run['run_id'][:8]}: {run['name']}" for run in pair))
    for name, cells in differing.items():
        table.add_row(name, *cells)
    new_console().print(table if differing else "They differ in nothing that is tracked.")


def main_figures(metrics: Json) -> list[str]:
    """Return the names of metrics, without those that are the ends of an interval."""
    return [name for name in sorted(metrics) if name.removesuffix("_low").removesuffix("_high") == name]
