"""A table that a person hands over: checked against the schema, its outcomes too, or read as outcomes of predictions.

Not here: reading a file (`data.sources`), the rules (`validation.checks`), or what becomes of a label
(`monitoring.labels`).
"""

import math
from collections.abc import Sequence
from datetime import datetime

import polars as pl

from homeostat.data.sources import Source, as_cells, source_dialect
from homeostat.monitoring.labels import LabelItem, LabelOutcome, record_labels
from homeostat.records import Json, Schema, Target, Violation
from homeostat.retraining.labelled_tables import is_nothing, read_labels
from homeostat.store.database import Database
from homeostat.validation.checks import check_table, require_columns
from homeostat.validation.schema import class_label


def check_source(source: Source, schema: Schema) -> Json:
    """Return how many rows of a table are accepted and rejected, and each violation; rows count from 1.

    The target is checked where the table has it.

    Raises
    ------
    SourceUnreadable
        There is no table.
    ColumnMissing
        A feature has no column.
    """
    frame = source.read()
    require_columns(frame.columns, [feature.name for feature in schema.features])
    checked = check_table(as_cells(frame, {f.name: f.kind for f in schema.features}, source_dialect(source)), schema)
    violations = [*checked.violations, *check_outcomes(frame, schema.target)]
    rejected = {violation.row for violation in violations}
    return {
        "source": source.name,
        "rows": frame.height,
        "accepted": frame.height - len(rejected),
        "rejected": len(rejected),
        "unlabelled": count_unlabelled(frame, schema.target),
        "violations": [tell(violation) for violation in sorted(violations, key=lambda v: v.row or 0)],
    }


def check_outcomes(frame: pl.DataFrame, target: Target) -> list[Violation]:
    """Return the outcomes of a table that are none of the target's two values; none if it has no such column."""
    if target.name not in frame.columns:
        return []
    values, expected = frame[target.name].to_list(), f"{target.negative!r} or {target.positive!r}"
    labels = read_labels(values, target).tolist()
    wrong = [row for row, label in enumerate(labels) if label < 0 and not is_nothing(values[row])]
    return [Violation(target.name, values[row], "target", expected, row) for row in wrong]


def count_unlabelled(frame: pl.DataFrame, target: Target) -> int:
    """Return how many rows of a table have no outcome yet: these are no violation, and not trained on."""
    return sum(map(is_nothing, frame[target.name].to_list())) if target.name in frame.columns else 0


def tell(violation: Violation) -> Json:
    """Return a violation as a JSON object."""
    value = violation.value
    return {
        "row": (violation.row or 0) + 1,
        "column": violation.column,
        "value": str(value) if value in (math.inf, -math.inf) else value,  # JSON knows no infinity
        "rule": violation.rule,
        "expected": violation.expected,
    }


def label_source(
    database: Database, source: Source, *, target: Target, sender: str, now: datetime
) -> Sequence[LabelOutcome]:
    """Record the outcomes in a table with the columns `id` (of the prediction) and `label`; return what became of each.

    Raises
    ------
    SourceUnreadable
        There is no table.
    ColumnMissing
        There is no column `id` or `label`.
    """
    frame = source.read()
    require_columns(frame.columns, ["id", "label"])
    raw = frame["label"].to_list()
    values = [
        cell if known < 0 else class_label(target, positive=bool(known))
        for cell, known in zip(raw, read_labels(raw, target).tolist(), strict=True)
    ]
    items = [LabelItem(str(row_id), value) for row_id, value in zip(frame["id"].to_list(), values, strict=True)]
    return record_labels(database, items, target=target, source=sender, now=now)
