"""`homeostat performance`: how well the release in production predicts, expected and measured.

Not here: the figures (`monitoring.performance`, `monitoring.concept`).
"""

from pathlib import Path

import click
from rich.table import Table

from homeostat.cli import json_option, print_json, project_option
from homeostat.cli.output import new_console, new_table
from homeostat.monitoring.outcome_checks import describe_current_outcomes
from homeostat.monitoring.verdicts import FIGURES
from homeostat.project import open_project
from homeostat.records import Json

TESTS = {"risk": "Risk (wrong answers)", "residual": "Residuals (outcome less probability)"}
# The largest unit of which there are two: 36 hours are hours, 50 are days.
UNITS = (("days", 86_400.0), ("h", 3_600.0), ("min", 60.0))


@click.command("performance")
@project_option
@json_option
def performance_command(folder: Path, *, as_json: bool) -> None:
    """Show how well the release in production predicts: expected from its probabilities, measured by outcomes.

    Example: homeostat performance --project clinic
    """
    with open_project(folder) as project, project.database.read() as connection:
        found = describe_current_outcomes(connection)
    if as_json:
        print_json(found)
        return
    console = new_console()
    if not found["checks"] and found["estimated"] is None:
        console.print("Nothing is expected of a window yet, and no outcomes have been judged.")
    else:
        console.print(performance_table(found))
    if found["checks"]:
        console.print("\n".join(describe_tests(found["checks"][-1]["report"])))
    console.print(describe_coverage(found))


def performance_table(found: Json) -> Table:
    """Return the newest windows, oldest first: what was expected of each, and what was measured."""
    table = new_table("rows", "", *FIGURES.values(), "outcomes", "delay", "risk", "residual")
    for check in found["checks"]:
        report, expected = check["report"], check["estimated"]
        rows = f"{check['first_seq']} to {check['last_seq']}"
        if expected:
            table.add_row(rows, "expected", *figure_cells(expected))
            rows = ""
        tests = [f"{report[test]['value']:.3g}" if report[test] else "" for test in TESTS]
        coverage = f"{report['n_labelled']} of {report['n_rows']}"
        delay = in_units(report["delay"]["median_s"])
        table.add_row(rows, "measured", *figure_cells(report["realised"]), coverage, delay, *tests)
    ahead = found["estimated"]
    if ahead and not any(check["first_seq"] == ahead["first_seq"] for check in found["checks"]):
        table.add_row(f"{ahead['first_seq']} to {ahead['last_seq']}", "expected", *figure_cells(ahead))
    return table


def figure_cells(figures: Json | None) -> list[str]:
    """Return each figure with its interval, a dash where there is none."""
    return [figure_cell(figures[name]) if figures else "-" for name in FIGURES]


def figure_cell(figure: Json | None) -> str:
    """Return a figure with its interval; the bracket is escaped, or rich would take it for a style."""
    return f"{figure['value']:.3f} \\[{figure['low']:.3f}, {figure['high']:.3f}]" if figure else "-"


def in_units(seconds: float | None) -> str:
    """Return a time in the largest unit of which there are at least two."""
    if seconds is None:
        return "-"
    return next((f"{seconds / size:.1f} {unit}" for unit, size in UNITS if seconds >= 2 * size), f"{seconds:.0f} s")


def describe_tests(report: Json) -> list[str]:
    """Return where both tests stand, a sentence each."""
    if report["risk"] is None:
        return ["The release has no out-of-fold rows: its outcomes are measured, and not tested."]
    return [describe_test(words, report[test]) for test, words in TESTS.items()]


def describe_test(words: str, figures: Json) -> str:
    """Return where one test stands."""
    verdict = "[red]alarm[/]" if figures["reached"] else "quiet"
    grown = f": {figures['grown']}" if figures["reached"] and "grown" in figures else ""
    return (
        f"{words}: e-value {figures['value']:.3g} after {figures['n_rows']} outcomes, highest {figures['peak']:.3g}, "
        f"alarm at {figures['needed']:g}: {verdict}{grown}"
    )


def describe_coverage(found: Json) -> str:
    """Return how many predictions have an outcome now."""
    judged, waiting = found["judged"], found["waiting"]
    late = f", of which {judged['n_late']} came too late to count" if judged["n_late"] else ""
    return (
        f"Outcomes: {judged['n_labelled']} of the {judged['n_rows']} newest judged predictions have one{late}; "
        f"{waiting['n_labelled']} of {waiting['n_rows']} that wait to be judged."
    )
