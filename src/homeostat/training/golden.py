"""The golden rows of a release: inputs where a wrong graph would betray itself.

Not here: the expected answers, which the packed graph gives (`deployment.artifacts`). Pure. The rows are synthetic:
a release never carries a person's record.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from homeostat.data.columns import stack_rows
from homeostat.records import Cell, Columns, Feature, Floats, Row, Schema
from homeostat.training.preprocessing import Preprocessor

UNSEEN = "a category that no training row holds"
# Beyond the named edge cases: rows drawn at random, so that combinations of values are covered too.
N_RANDOM = 200
# Thresholds of one feature that are probed on both sides; more of them are thinned evenly.
MAX_THRESHOLDS = 64


def golden_rows(schema: Schema, preprocessor: Preprocessor, thresholds: Mapping[str, Floats], *, seed: int) -> Columns:
    """Return rows that vary one feature at a time around the typical row, then random combinations of all.

    Parameters
    ----------
    schema
        What a row may be.
    preprocessor
        The learned fills and categories.
    thresholds
        The split values of each numeric feature, ascending (`graph.split_thresholds`).
    seed
        Of the random combinations.
    """
    fills: dict[str, Cell] = {step.name: step.fill for step in preprocessor.numeric}
    typical: Row = {f.name: fills.get(f.name) for f in schema.features}
    categories = {step.name: step.categories for step in preprocessor.categorical}
    probes = {
        f.name: probe_numbers(f, thresholds.get(f.name, np.empty(0)))
        if f.kind == "numeric"
        else probe_texts(f, categories[f.name])
        for f in schema.features
    }
    rows: list[Row] = [typical]
    rows += [{**typical, name: cell} for name, cells in probes.items() for cell in cells]
    rng = np.random.default_rng(seed)
    rows += [{name: cells[rng.integers(len(cells))] for name, cells in probes.items()} for _ in range(N_RANDOM)]
    return stack_rows(rows, schema)


def probe_texts(feature: Feature, categories: Sequence[str]) -> list[Cell]:
    """Return the telling categories: missing, markers, one that training never saw, and each that it kept."""
    markers = [marker for marker in feature.missing if isinstance(marker, str)]
    return [None, *markers, UNSEEN, *filter(None, categories)]


def probe_numbers(feature: Feature, thresholds: Floats) -> list[Cell]:
    """Return the telling values: missing, markers, zero, the extremes, each threshold and its two neighbours."""
    chosen = thresholds
    if len(thresholds) > MAX_THRESHOLDS:
        chosen = thresholds[np.linspace(0, len(thresholds) - 1, MAX_THRESHOLDS).astype(np.int64)]
    at = chosen.astype(np.float32)
    below, above = np.nextafter(at, np.float32(-np.inf)), np.nextafter(at, np.float32(np.inf))
    edges = [edge for edge in (0.0, feature.low, feature.high) if edge is not None]
    markers = [float(marker) for marker in feature.missing if not isinstance(marker, str)]
    numbers = sorted({*edges, *markers, *(float(v) for v in np.concatenate([below, at, above]))})
    return [None, *numbers]
