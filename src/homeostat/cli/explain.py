"""`homeostat explain`: why a row has its score, why another release gives another, and what a release goes by.

Not here: the figures (`deployment.explaining`, `training.effects`).
"""

import json
from collections.abc import Mapping
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from homeostat.cli import json_option, print_json, project_option
from homeostat.cli.completion import complete_release
from homeostat.cli.output import new_console, new_table
from homeostat.data.columns import unstack_rows
from homeostat.data.sources import as_cells, open_given, source_dialect
from homeostat.deployment.artifacts import find_release, open_release
from homeostat.deployment.explaining_subject import find_subject
from homeostat.deployment.explaining_words import SHORT, show_value
from homeostat.deployment.registry import require_production, resolve_release
from homeostat.errors import InputError, ReleaseUnexplained
from homeostat.project import Project, dialect_of, open_project
from homeostat.records import Json
from homeostat.validation.checks import require_columns

# The longest bar, in blocks.
BAR = 24
RAISES, LOWERS = "yellow", "cyan"


@click.command("explain")
@click.argument("data", type=click.Path(path_type=Path), required=False)
@click.option("--row-number", type=click.IntRange(1), default=1, help="The row of DATA.  [default: 1]")
@click.option("--row", "text", help="A row as a JSON object.")
@click.option("--id", "prediction", help="The id of a stored prediction.")
@click.option("--release", shell_complete=complete_release, help="The release that explains.  [default: production]")
@click.option("--compare", shell_complete=complete_release, help="Another release: say why it answers otherwise.")
@project_option
@json_option
@click.pass_context
def explain_command(
    context: click.Context,
    data: Path | None,
    folder: Path,
    *,
    row_number: int,
    text: str | None,
    prediction: str | None,
    release: str | None,
    compare: str | None,
    as_json: bool,
) -> None:
    """Show what each value of a row adds to its score: of DATA, of --row or of the prediction --id.

    Figures are log-odds: together with the base, the score of the average training row, they are the row's own. Without
    a row, shows how much each feature counts in the release. Ends with code 1 if the row is impossible.

    Example: homeostat explain patients.csv --row-number 3 --compare 1
    """
    if sum(given is not None for given in (data, text, prediction)) > 1:
        raise click.UsageError("give one of DATA, --row and --id")
    with open_project(folder) as project:
        if data is None and text is None and prediction is None:
            if compare is not None:
                raise click.UsageError("--compare needs a row: give one of DATA, --row and --id")
            show_effects(project, release, as_json=as_json)
            return
        row = parse_row(text) if text is not None else read_row(project, data, row_number) if data is not None else {}
        told = explain_one(project, row, prediction=prediction, release=release, compare=compare)
    if as_json:
        print_json(told)
    else:
        show(new_console(), told)
    context.exit("rejected" in told)


def explain_one(
    project: Project, row: Mapping[str, object], *, prediction: str | None, release: str | None, compare: str | None
) -> Json:
    """Return the explanation of one row, or of a stored prediction."""
    from homeostat.deployment.explaining import explain  # noqa: PLC0415  LightGBM takes a second to import

    with project.database.read() as connection:
        live = require_production(connection).release
        subject = find_subject(connection, [row], prediction=prediction, release=release, compare=compare, live=live)
    (told,) = explain(subject.question(), project.blobs)
    return told if subject.answered is None else {"id": prediction, "answered": subject.answered, **told}


# --- the row ------------------------------------------------------------------------------------------------------


def parse_row(text: str) -> Mapping[str, object]:
    """Return the row in the text of `--row`."""
    try:
        row = json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"that is no JSON: {error}", param_hint="--row") from error
    if not isinstance(row, dict):
        raise click.BadParameter('that is no object: {"column": value, ...}', param_hint="--row")
    return row


def read_row(project: Project, data: Path, number: int) -> Mapping[str, object]:
    """Return one row of a file, by its number from 1 on; columns that are no features are left out."""
    features = {feature.name: feature.kind for feature in project.schema.features}
    source = open_given(data, dialect_of(project.settings), list(features))
    frame = source.read()
    require_columns(frame.columns, list(features))
    if number > frame.height:
        raise InputError(
            problem=f"{data} has {frame.height} rows, and none with the number {number}",
            expected=f"a number from 1 to {frame.height}",
            action="correct --row-number; the header does not count",
        )
    return unstack_rows(as_cells(frame.slice(number - 1, 1), features, source_dialect(source)))[0]


# --- as tables ----------------------------------------------------------------------------------------------------


def show(console: Console, told: Json) -> None:
    """Print an explanation."""
    if "rejected" in told:
        table = new_table("column", "rule", "expected")
        for broken in told["rejected"]:
            table.add_row(*(escape(str(broken[key])) for key in ("column", "rule", "expected")))
        console.print("[red]rejected[/]: the row is impossible")
        console.print(table)
        return
    console.print(lay_out_change(told) if "change" in told else lay_out(told))
    console.print(escape(told["change"]["sentence"] if "change" in told else told["sentence"]), soft_wrap=True)


def lay_out(told: Json) -> Table:
    """Return the table of one explanation, the largest part first."""
    table = new_table("feature", "value", f"release {told['release'][:SHORT]}", "")
    table.columns[2].justify = "right"
    largest = max((abs(part["contribution"]) for part in told["contributions"]), default=0)
    for part in told["contributions"]:
        size = part["contribution"]
        table.add_row(escape(part["feature"]), escape(show_value(part)), f"{size:+.3f}", draw_bar(size, largest))
    table.add_row("average training row", "", f"{told['base']:+.3f}", end_section=True)
    table.add_row("log-odds", "", f"{told['log_odds']:+.3f}", f"probability {told['probability']:.3f}")
    return table


def lay_out_change(told: Json) -> Table:
    """Return the table of two explanations, the largest difference first."""
    change = told["change"]
    both = {one["release"]: one for one in (told["compare"], told)}
    before, after = both[change["from"]], both[change["to"]]
    names = [f"release {one['release'][:SHORT]}" for one in (before, after)]
    table = new_table("feature", "value", *names, "difference", "")
    for column in table.columns[2:5]:
        column.justify = "right"
    largest = max((abs(one["difference"]) for one in change["differences"]), default=0)
    for one in change["differences"]:
        figures = [f"{one[key]:+.3f}" for key in ("before", "after", "difference")]
        table.add_row(escape(one["feature"]), escape(show_value(one)), *figures, draw_bar(one["difference"], largest))
    bases = [f"{size:+.3f}" for size in (before["base"], after["base"], change["base"])]
    table.add_row("average training row", "", *bases, draw_bar(change["base"], largest), end_section=True)
    sums = [f"{size:+.3f}" for size in (before["log_odds"], after["log_odds"], change["log_odds"])]
    table.add_row("log-odds", "", *sums)
    table.add_row("probability", "", f"{before['probability']:.3f}", f"{after['probability']:.3f}")
    return table


def draw_bar(size: float, largest: float) -> str:
    """Return a bar as long as a figure is large, in one colour for what raises a score and another for what lowers."""
    blocks = min(BAR, round(BAR * abs(size) / largest)) if largest else 0
    return f"[{RAISES if size > 0 else LOWERS}]{'+' if size > 0 else '-'}{'█' * blocks}[/]" if blocks else ""


def show_effects(project: Project, name: str | None, *, as_json: bool) -> None:
    """Print how much each feature counts in a release, and between which probabilities it moves the answer."""
    with project.database.read() as connection:
        digest = resolve_release(connection, name).digest if name else require_production(connection).release
    effects = open_release(find_release(digest, project.blobs)).effects
    if effects is None:
        raise ReleaseUnexplained(
            problem=f"release {digest[:SHORT]} does not say what it goes by",
            expected="a release that was packed since Homeostat tells that, of a family that it can explain",
            action="train another one: homeostat train",
        )
    if as_json:
        print_json({"release": digest, **effects})
        return
    table = new_table("feature", "mean |part|", "", "mean probability over its values")
    table.columns[1].justify = "right"
    largest = max(effects["importance"].values(), default=0)
    for feature, size in effects["importance"].items():
        means = effects["effects"][feature]["mean"]
        span = f"{min(means):.3f} to {max(means):.3f}" if means else "too few rows"
        table.add_row(escape(feature), f"{size:.3f}", draw_bar(size, largest), span)
    console = new_console()
    console.print(table)
    console.print(f"Release {digest[:SHORT]}, in log-odds over {effects['n_rows']} training rows.")
