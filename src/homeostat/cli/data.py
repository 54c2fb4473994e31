"""`homeostat predict` and `label`: scores for a file, and outcomes from a file."""

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import click

from homeostat.cli import json_option, print_json, project_option
from homeostat.cli.progress import Stage, showing
from homeostat.data.csv_files import write_table
from homeostat.data.sources import open_given, source_dialect
from homeostat.deployment.artifacts import find_release, open_release
from homeostat.deployment.batch import score_source
from homeostat.deployment.registry import require_production
from homeostat.project import dialect_of, open_project
from homeostat.retraining.given_tables import label_source


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
    with showing(lambda: Stage(f"Scoring {data.name}"), as_json=as_json):
        scored, n_rejected = score_source(release, source)
        write_table(scored, output, source_dialect(source))
    summary = {"rows": scored.height, "rejected": n_rejected, "release": release.digest, "output": str(output)}
    if as_json:
        print_json(summary)
    else:
        click.echo(f"{scored.height} rows, {n_rejected} rejected; scores of release {release.digest[:12]} in {output}")
    context.exit(1 if n_rejected else 0)


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
        outcomes = label_source(
            project.database,
            open_given(data, dialect_of(project.settings), ["id", "label"]),
            target=project.schema.target,
            sender=source,
            now=datetime.now(UTC),
        )
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
