"""Batch scores: the production release's answers to a table, by the same rules and the same graph as over HTTP.

Not here: reading the table (`data.sources`) or keeping the answers: batch scores are not predictions of the log.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from homeostat.records import Floats, Release, Violation
from homeostat.training.scoring import Graph
from homeostat.validation.checks import check_table


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
