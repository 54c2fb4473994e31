"""Batch scores: the production release's answers to a table, by the same rules and the same graph as over HTTP.

Not here: reading the table (`data.sources`) or keeping the answers: batch scores are not predictions of the log.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from homeostat.data.sources import Source, as_cells, source_dialect
from homeostat.records import Floats, Release, Violation
from homeostat.training.scoring import POSITIVE_FROM, Graph
from homeostat.validation.checks import check_table, require_columns
from homeostat.validation.schema import class_label


@dataclass(frozen=True, slots=True)
class BatchScores:
    """Scores of a table: `probability` has shape (n_rows,), NaN for a rejected row."""

    probability: Floats
    violations: tuple[Violation, ...]


def score_table(release: Release, cells: Mapping[str, NDArray[Any]]) -> BatchScores:
    """Return the scores of a table of cells; ColumnMissing if a feature has no column."""
    checked = check_table(cells, release.schema)
    probability = np.full(len(checked.accepted), np.nan)
    if checked.accepted.any():
        probability[checked.accepted] = Graph(release.graph, release.schema).score(checked.columns)
    return BatchScores(probability, checked.violations)


def score_source(release: Release, source: Source) -> tuple[pl.DataFrame, int]:
    """Return a table with the release's answers beside its columns, and how many of its rows were rejected.

    The columns predicted_probability, predicted_label and rejected_because are added. A rejected row has only the last.

    Raises
    ------
    SourceUnreadable
        There is no table.
    ColumnMissing
        A feature has no column.
    """
    frame = source.read()
    require_columns(frame.columns, [feature.name for feature in release.schema.features])
    kinds = {feature.name: feature.kind for feature in release.schema.features}
    scores = score_table(release, as_cells(frame, kinds, source_dialect(source)))
    reasons = give_reasons(scores.violations)
    rows = [None if p != p else p for p in scores.probability.tolist()]  # noqa: PLR0124  only NaN differs from itself
    target = release.schema.target
    labels = [None if p is None else str(class_label(target, positive=p >= POSITIVE_FROM)) for p in rows]
    because = [reasons.get(row) for row in range(len(rows))]
    scored = frame.with_columns(
        pl.Series("predicted_probability", rows, dtype=pl.Float64),
        pl.Series("predicted_label", labels, dtype=pl.String),
        pl.Series("rejected_because", because, dtype=pl.String),
    )
    return scored, len(reasons)


def give_reasons(violations: Sequence[Violation]) -> dict[int, str]:
    """Return for each rejected row, counted from 0, why it was rejected."""
    reasons: dict[int, list[str]] = {}
    for violation in violations:
        words = f"{violation.column} = {violation.value!r}: {violation.rule} ({violation.expected})"
        reasons.setdefault(violation.row or 0, []).append(words)
    return {row: "; ".join(words) for row, words in reasons.items()}
