"""`homeostat init`: a project from a table of any kind, each guess with its reason.

Not here: the guesses themselves (`data.detection`, `validation.inference`) or the text of the file (`cli.proposal`).
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click
import numpy as np
import polars as pl
from numpy.typing import NDArray
from rich.markup import escape

from homeostat.cli import json_option, print_json, project_option
from homeostat.cli.output import new_console
from homeostat.cli.proposal import Proposal, locate, project_name, render_settings, write_project
from homeostat.data.detection import Detected, detect_dialect
from homeostat.data.dialects import PLAIN
from homeostat.data.refusals import require_file, unreadable
from homeostat.data.sources import as_cells, is_parquet, number_cells, open_source, text_cells
from homeostat.errors import ColumnMissing, SettingsInvalid
from homeostat.records import Dialect, Json, Target
from homeostat.retraining.labelled_tables import read_labels
from homeostat.settings import FILE_NAME
from homeostat.training.giveaways import find_giveaways
from homeostat.validation.checks import check_table
from homeostat.validation.guesses import Guess, leave_out
from homeostat.validation.inference import infer_features
from homeostat.validation.outcome_guesses import infer_target
from homeostat.validation.schema import freeze_schema

# A column that tells the outcome does so in as many rows too.
MAX_PROBED = 20_000


@click.command("init")
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--target", required=True, help="The outcome column.")
@click.option("--name", help="The project's name.  [default: the folder's]")
@click.option("--force", is_flag=True, help="Replace an existing homeostat.toml.")
@project_option
@json_option
def init_command(data: Path, target: str, name: str | None, folder: Path, *, force: bool, as_json: bool) -> None:
    """Infer a schema from DATA (CSV or Parquet), say why, and write homeostat.toml.

    How a CSV file is written (separator, decimal comma, encoding, gzip) is found from the file.

    Example: homeostat init pima.csv --target Outcome
    """
    path = folder / FILE_NAME
    if path.exists() and not force:
        raise SettingsInvalid(
            problem=f"{path} exists already", expected="a folder without one", action="pass --force to replace it"
        )
    with new_console(stderr=True).status(f"Reading {escape(data.name)} ..."):
        proposal = propose_project(data.resolve(), target)
    write_project(path, render_settings(name or project_name(folder), locate(data, folder), proposal))
    if as_json:
        columns = [as_guess(guess) for guess in proposal.guesses]
        written = asdict(proposal.detected.dialect)
        print_json({"settings": str(path), "written": written, "target": proposal.reason, "columns": columns})
    else:
        print_proposal(proposal, path)


def propose_project(data: Path, target: str) -> Proposal:
    """Return what a data file seems to be: how it is written, its columns, its target.

    Raises
    ------
    SourceUnreadable
        The file is no table.
    ColumnMissing
        There is no column of the target's name.
    TargetInvalid
        The target has not two values.
    DataInsufficient
        There are too few rows or no inputs.
    """
    found = Detected(PLAIN, {}) if is_parquet(data) else detect(data)
    frame = open_source(str(data), folder=data.parent, dialect=found.dialect).read()
    require_target(frame, target)
    tables = [column.name for column in frame.iter_columns() if not is_plain(column)]
    guesses = infer_features(each_column(frame.drop(target, *tables), found.dialect))
    guesses += [leave_out(name, f"it holds {frame[name].dtype}") for name in tables if name != target]
    outcome, reason = infer_target(target, outcome_cells(frame[target]))
    return Proposal(found, warn_of_giveaways(guesses, frame, found.dialect, outcome), outcome, reason)


def detect(data: Path) -> Detected:
    """Return how a CSV file is written; SourceUnreadable if its text cannot be read."""
    require_file(data)
    try:
        return detect_dialect(data)
    except (OSError, EOFError, UnicodeError) as error:
        raise unreadable(data.name, str(error), "a CSV file, or a Parquet file whose name ends in .parquet") from error


def require_target(frame: pl.DataFrame, target: str) -> None:
    """Raise ColumnMissing if there is no such column, with the nearest name, or a word on a file without names."""
    if target in frame.columns:
        return
    names = {name.casefold(): name for name in frame.columns}
    near = get_close_matches(target.casefold(), list(names), n=1, cutoff=0.5)
    shown = ", ".join(frame.columns[:20]) + (f" and {frame.width - 20} more" if frame.width > 20 else "")  # noqa: PLR2004
    nameless = sum(number_cells(pl.Series([name])).dtype != object for name in frame.columns) > frame.width / 2
    action = f"pass --target {near[0] if not near else names[near[0]]!r}" if near else "pass --target and one of these"
    raise ColumnMissing(
        problem=f"there is no column {target!r} (found: {shown})",
        expected="the name of the outcome's column, which stands in the first line",
        action="add a first line with the names of the columns: the first line holds numbers" if nameless else action,
    )


def is_plain(column: pl.Series) -> bool:
    """Return whether a column holds one plain value in each cell."""
    return not (column.dtype.is_nested() or column.dtype in {pl.Binary, pl.Object})


def each_column(frame: pl.DataFrame, dialect: Dialect) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield each column with its cells, one at a time: the Python objects of a million rows are let go at once."""
    for column in frame.iter_columns():
        may_be_numbers = column.dtype.is_numeric() or (column.dtype == pl.String and not holds_codes(column))
        yield column.name, number_cells(column, dialect) if may_be_numbers else text_cells(column)


def holds_codes(column: pl.Series) -> bool:
    """Return whether numbers with leading zeros stand in a column, such as postal codes: no amount is written so."""
    return bool(column.str.contains(r"^\s*0\d+\s*$").any())


def outcome_cells(column: pl.Series) -> NDArray[Any]:
    """Return the cells of the target: numbers only as programs write them, since labels are compared as written."""
    return number_cells(column) if column.dtype == pl.String or column.dtype.is_numeric() else text_cells(column)


def warn_of_giveaways(guesses: list[Guess], frame: pl.DataFrame, dialect: Dialect, target: Target) -> list[Guess]:
    """Return the guesses, with a warning beside each feature that alone tells the outcome almost perfectly."""
    schema = freeze_schema([guess.feature for guess in guesses if guess.feature], target)
    sample = frame.gather_every(max(1, frame.height // MAX_PROBED))
    labels = read_labels(sample[target.name].to_list(), target)
    checked = check_table(as_cells(sample, {f.name: f.kind for f in schema.features}, dialect), schema)
    known = labels[checked.accepted] >= 0
    columns = {name: values[known] for name, values in checked.columns.items()}
    told = find_giveaways(columns, labels[checked.accepted][known].astype(np.int8), schema)
    warning = "WARNING: alone it tells the outcome almost perfectly (AUC {:.3f}): is it known only later? Remove it"
    return [
        replace(guess, reasons=(warning.format(told[guess.column]), *guess.reasons)) if guess.column in told else guess
        for guess in guesses
    ]


def print_proposal(proposal: Proposal, path: Path) -> None:
    """Print what was guessed for a person."""
    console = new_console()
    dialect = proposal.detected.dialect
    for key, reason in proposal.detected.reasons.items():
        console.print(f"{key} = {json.dumps(getattr(dialect, key), ensure_ascii=False)}: {reason}", markup=False)
    console.print(f"Target [bold]{escape(proposal.target.name)}[/]: {escape(proposal.reason)}.")
    for guess in proposal.guesses:
        console.print(guess.column or '""', style="bold" if guess.feature else "dim", markup=False)
        for words in guess.reasons:
            style = "yellow" if words.startswith("WARNING") else "dim"
            console.print(f"  {words}", style=style, markup=False, soft_wrap=True)
    n_used = sum(guess.feature is not None for guess in proposal.guesses)
    console.print(f"\n{n_used} of {len(proposal.guesses)} columns are used.", markup=False)
    console.print(
        f"Wrote {escape(str(path))}. Read it, correct what is wrong, then: [bold]homeostat train[/]", soft_wrap=True
    )


def as_guess(guess: Guess) -> Json:
    """Return a guess as a JSON object."""
    feature = guess.feature
    if feature is None:
        return {"column": guess.column, "used": False, "reasons": guess.reasons}
    content: Json = {"kind": feature.kind, "range": [feature.low, feature.high], "missing": feature.missing}
    if feature.booleans is not None:
        content["booleans"] = feature.booleans
    return {"column": guess.column, "used": True, **content, "reasons": guess.reasons}
