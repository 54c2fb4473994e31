"""`homeostat predict` and `label`: scores for a file, and outcomes from a file."""

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import click
import polars as pl

from homeostat.cli import json_option, print_json, project_option
from homeostat.data.csv_files import write_table
from homeostat.data.sources import as_cells, open_given, source_dialect
from homeostat.deployment.artifacts import find_release, open_release
from homeostat.deployment.batch import score_table
from homeostat.deployment.registry import require_production
from homeostat.monitoring.labels import LabelItem, record_labels
from homeostat.project import dialect_of, open_project
from homeostat.retraining.labelled_tables import read_labels
from homeostat.training.scoring import POSITIVE_FROM
from homeostat.validation.checks import require_columns
from homeostat.validation.schema import class_label


@click.command("predict")
@click.argument("data", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), required=True, help="A CSV file.")
@project_option
@json_option
@click.pass_context
def predict_command(context: click.Context, data: Path, output: Path, folder: Path, *, as_json: bool) -> None:
    """Score every row of DATA with the release in production and write its answers beside them.

    The columns predicted_probability, predicted_label and rejected_because are added, and the file is written as DATA
    is: the same separator, decimal comma and encoding. A rejected row has only the last, and the command then ends with
    code 1.

    Example: homeostat predict patients.csv -o scores.csv
    """
    if not output.parent.is_dir():
        raise click.BadParameter(f"there is no folder {output.parent} to write into; create it", param_hint="-o")
    with open_project(folder) as project:
        dialect = dialect_of(project.settings)
        with project.database.read() as connection:
            promotion = require_production(connection)
        release = open_release(find_release(promotion.release, project.blobs))
    names = [feature.name for feature in release.schema.features]
    source = open_given(data, dialect, names)
    frame = source.read()
    require_columns(frame.columns, names)
    kinds = {feature.name: feature.kind for feature in release.schema.features}
    scores = score_table(release, as_cells(frame, kinds, source_dialect(source)))
    reasons: dict[int, list[str]] = {}
    for violation in scores.violations:
        words = f"{violation.column} = {violation.value!r}: {violation.rule} ({violation.expected})"
        reasons.setdefault(violation.row or 0, []).append(words)
    rows = [None if p != p else p for p in scores.probability.tolist()]  # noqa: PLR0124  only NaN differs from itself
    target = release.schema.target
    labels = [None if p is None else str(class_label(target, positive=p >= POSITIVE_FROM)) for p in rows]
    because = ["; ".join(reasons.get(row, [])) or None for row in range(len(rows))]
    answered = frame.with_columns(
        pl.Series("predicted_probability", rows, dtype=pl.Float64),
        pl.Series("predicted_label", labels, dtype=pl.String),
        pl.Series("rejected_because", because, dtype=pl.String),
    )
    write_table(answered, output, source_dialect(source))
    summary = {"rows": len(rows), "rejected": len(reasons), "release": release.digest, "output": str(output)}
    if as_json:
        print_json(summary)
    else:
        click.echo(f"{len(rows)} rows, {len(reasons)} rejected; scores of release {release.digest[:12]} in {output}")
    context.exit(1 if reasons else 0)


@click.command("label")
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--source", default="file", show_default=True, help="Who says so; kept with each label.")
@project_option
@json_option
@click.pass_context
def label_command(context: click.Context, data: Path, source: str, folder: Path, *, as_json: bool) -> None:
    """Record the outcomes in DATA, a CSV with the columns `id` (of the prediction) and `label`.

    Ends with code 1 if one is unknown, in conflict with an earlier one, or no value of the target.

    Example: homeostat label outcomes.csv --source laboratory
    """
    with open_project(folder) as project:
        frame = open_given(data, dialect_of(project.settings), ["id", "label"]).read()
        require_columns(frame.columns, ["id", "label"])
        target = project.schema.target
        meaning = read_labels(frame["label"].to_list(), target)
        values = [
            raw if known < 0 else class_label(target, positive=bool(known))
            for raw, known in zip(frame["label"].to_list(), meaning.tolist(), strict=True)
        ]
        items = [LabelItem(str(row_id), value) for row_id, value in zip(frame["id"].to_list(), values, strict=True)]
        outcomes = record_labels(project.database, items, target=target, source=source, now=datetime.now(UTC))
    counts = Counter(outcome.status for outcome in outcomes)
    bad = [o for o in outcomes if o.status in {"conflicting", "unknown", "invalid"}]
    if as_json:
        listed = [{"id": o.id, "label": o.label, "status": o.status, "standing": o.standing} for o in bad]
        print_json({"counts": counts, "problems": listed})
    else:
        click.echo(", ".join(f"{count} {status}" for status, count in counts.items()))
        for o in bad:
            click.echo(
                f"  {o.id}: {o.label!r} {o.status}" + (f", {o.standing!r} stands" if o.standing is not None else "")
            )
    context.exit(1 if bad else 0)
