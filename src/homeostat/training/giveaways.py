"""Features that give the outcome away: one that alone tells it almost perfectly is rarely known when a model is asked.

Not here: what is done about it. It is told, with the feature's name; a person knows whether it is a discovery or a
column that was filled in afterwards (Kaufman, Rosset, Perlich, Stitelman 2012, Leakage in Data Mining). Pure.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from homeostat.data.columns import take_rows
from homeostat.records import Columns, Floats, Schema, Texts
from homeostat.training.evaluation import auc
from homeostat.validation.profiles import mask_missing

SUSPECT_AUC = 0.995
# With fewer rows of a class some column of many ranks them so by chance.
MIN_PER_CLASS = 20
# Rows that are looked at, evenly spread: what gives the outcome away does so in these as well.
MOST_ROWS = 50_000


def find_giveaways(columns: Columns, labels: NDArray[np.int8], schema: Schema) -> Mapping[str, float]:
    """Return the AUC of each feature that alone ranks the outcomes better than `SUSPECT_AUC`, in either direction."""
    if len(labels) > MOST_ROWS:
        spread = np.linspace(0, len(labels) - 1, MOST_ROWS).round().astype(np.int64)
        columns, labels = take_rows(columns, spread), labels[spread]
    if min(int(labels.sum()), int((1 - labels).sum())) < MIN_PER_CLASS:
        return {}
    found = {}
    for feature in schema.features:
        values = mask_missing(columns[feature.name], feature)
        rank = rank_numbers if feature.kind == "numeric" else rank_categories
        best = max(rank(values, labels))
        if best > SUSPECT_AUC:
            found[feature.name] = best
    return found


def rank_numbers(values: Floats | Texts, labels: NDArray[np.int8]) -> list[float]:
    """Return how well numbers rank the outcomes, ascending and descending, missing ones below and above all others."""
    measured = values.astype(np.float64)
    below, above = (auc(labels, np.where(np.isnan(measured), end, measured)) for end in (-np.inf, np.inf))
    return [below, 1 - below, above, 1 - above]


def rank_categories(values: Floats | Texts, labels: NDArray[np.int8]) -> list[float]:
    """Return how well the rates of categories rank the outcomes: every other row teaches them, the rest are ranked.

    On the rows that taught them, a column of names that each occur once would rank perfectly.
    """
    names = [str(value) for value in values.tolist()]
    overall = float(labels[::2].mean())
    totals: dict[str, list[int]] = {}
    for name, label in zip(names[::2], labels[::2].tolist(), strict=True):
        totals.setdefault(name, []).append(label)
    rates = {name: float(np.mean(found)) for name, found in totals.items()}
    held = labels[1::2]
    if len(np.unique(held)) == 1:
        return [0.0]
    return [auc(held, np.array([rates.get(name, overall) for name in names[1::2]]))]
