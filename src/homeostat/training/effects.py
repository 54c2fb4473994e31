"""What a release has learned of each feature: how much it counts, and how the answer moves with its value.

Not here: one row's answer (`training.contributions`). Both are measured on a sample of the training rows, the second by
the packed graph. Pure but for the graph. No figure is that of a single row: a point stands for `GROUP` rows or more.

References
----------
Friedman (2001), Greedy function approximation, Annals of Statistics 29, 1189-1232 (partial dependence).
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from homeostat.data.columns import take_rows, texts
from homeostat.records import Cell, Columns, Feature, Floats, Json, Mask, Schema, Texts
from homeostat.training.contributions import Explainer
from homeostat.training.scoring import Graph

# The most rows that effects are measured on, and the most points of a feature.
MAX_ROWS = 500
MAX_POINTS = 20
# The fewest rows that a point, or a category, may stand for.
GROUP = 10
# Numbers that the graph may be given in all, a text as so many of them. With 100 numeric features that is 100 rows a
# point and 1.2 s; 50 rows a point, and with 100 features of 50 categories 8 s, are the most that many features cost.
MAX_CELLS, TEXT_COST, MIN_ROWS = 20_000_000, 4, 50
LOW, HIGH = 0.1, 0.9
# Digits that are kept: with fewer figures that differ in their last bit, two machines more often say the same.
DIGITS = 6


def describe_effects(graph: Graph, explainer: Explainer, columns: Columns, schema: Schema, *, seed: int) -> Json:
    """Return the importance and the effect of every feature, as a JSON object.

    Parameters
    ----------
    graph, explainer
        The packed graph, and the native model behind it.
    columns
        The training rows, of shape (n_rows,) with n_rows > 0.
    schema
        What a row is.
    seed
        Of the sample.

    Returns
    -------
    `n_rows` of the sample; `base`, the log-odds of the average training row; `importance`, the mean |contribution| of
    each feature in log-odds, largest first; `effects` by feature: for each point the mean probability with the 10 %
    and 90 % quantiles over the sample, and the mean where the feature is missing (null where training missed none).
    """
    sample = take_rows(columns, draw_sample(len(next(iter(columns.values()))), schema, seed=seed))
    told = explainer.explain(sample)
    sizes = np.abs(told.values).mean(axis=0)
    ranked = np.argsort(-sizes, kind="stable")
    return {
        "n_rows": len(told.values),
        "base": shorten(told.base),
        "importance": {schema.features[place].name: shorten(sizes[place]) for place in ranked},
        "effects": {
            feature.name: describe_feature(graph, sample, columns[feature.name], feature) for feature in schema.features
        },
    }


def draw_sample(n_rows: int, schema: Schema, *, seed: int) -> NDArray[np.int64]:
    """Return the places of the rows that effects are measured on, fewer where there are many features."""
    row_cost = len(schema.numeric) + TEXT_COST * len(schema.categorical)
    affordable = MAX_CELLS // (MAX_POINTS * row_cost * len(schema.features))
    wanted = min(n_rows, MAX_ROWS, max(affordable, MIN_ROWS))
    return np.sort(np.random.default_rng(seed).choice(n_rows, wanted, replace=False))


def describe_feature(graph: Graph, sample: Columns, values: Floats | Texts, feature: Feature) -> Json:
    """Return the effect of one feature, at points that its training values, shape (n_rows,), suggest."""
    missing = missing_of(values, feature)
    numeric = feature.kind == "numeric"
    at: Sequence[float] | Sequence[str] = (
        numeric_points(values[~missing].astype(np.float64)) if numeric else text_points(values[~missing].tolist())
    )
    scores = [score_at(graph, sample, feature, value) for value in at]
    empty = score_at(graph, sample, feature, None).mean() if missing.sum() >= GROUP else None
    return {
        "kind": feature.kind,
        "at": list(at),
        "mean": [shorten(one.mean()) for one in scores],
        "low": [shorten(np.quantile(one, LOW)) for one in scores],
        "high": [shorten(np.quantile(one, HIGH)) for one in scores],
        "missing": None if empty is None else shorten(empty),
    }


def missing_of(values: Floats | Texts, feature: Feature) -> Mask:
    """Return where a feature is not measured, shape (n_rows,): markers count as missing, as they do to the graph."""
    if feature.kind == "categorical":
        return np.array([cell is None or cell in feature.missing for cell in values.tolist()], dtype=np.bool_)
    rounded = values.astype(np.float32)
    markers = np.array([marker for marker in feature.missing if not isinstance(marker, str)], dtype=np.float32)
    return np.asarray(np.isnan(rounded) | np.isin(rounded, markers), dtype=np.bool_)


def numeric_points(measured: Floats) -> list[float]:
    """Return at most `MAX_POINTS` values, ascending, that are spread as the measured ones are.

    The sorted values are cut into groups of equal size, `GROUP` or more. The point of a group is its middle value if
    so many rows have that value, and else its mean: no row's own value is given away.
    """
    n_groups = min(MAX_POINTS, len(measured) // GROUP)
    if n_groups == 0:
        return []
    groups = np.array_split(np.sort(measured), n_groups)
    return sorted({shorten(point_of(group, measured)) for group in groups})


def point_of(group: Floats, measured: Floats) -> float:
    """Return the value that stands for a group of sorted values."""
    middle = group[len(group) // 2]
    return float(middle if np.count_nonzero(measured == middle) >= GROUP else group.mean())


def text_points(measured: Sequence[str]) -> list[str]:
    """Return the most frequent categories, at most `MAX_POINTS`, each of at least `GROUP` rows; ties alphabetically."""
    counts = Counter(measured)
    ranked = sorted(counts, key=lambda category: (-counts[category], category))
    return [category for category in ranked[:MAX_POINTS] if counts[category] >= GROUP]


def score_at(graph: Graph, sample: Columns, feature: Feature, value: Cell) -> Floats:
    """Return the answers to the sample if every row had one value of a feature, shape (n_rows,)."""
    n_rows = len(sample[feature.name])
    if feature.kind == "categorical":
        return graph.score({**sample, feature.name: texts([value] * n_rows)}).astype(np.float64)
    constant = np.full(n_rows, np.nan if value is None else value, dtype=np.float64)
    return graph.score({**sample, feature.name: constant}).astype(np.float64)


def shorten(value: float) -> float:
    """Return a figure with six significant digits."""
    return float(f"{value:.{DIGITS}g}")
