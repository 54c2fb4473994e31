"""Which drifted feature has moved the model's scores, and by how much: each is put back alone, and the scores again.

Not here: which features have drifted (`monitoring.drift`), or whether the scores have. Pure, given the scores.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from homeostat.errors import DataInsufficient
from homeostat.records import (
    CategoricalProfile,
    Columns,
    Counts,
    Feature,
    Floats,
    Json,
    NumericProfile,
    Profile,
    Schema,
    Texts,
)
from homeostat.validation.profiles import mask_numbers, mask_texts

# Any: doubles or, as a graph gives them, single precision.
Scores: TypeAlias = NDArray[np.floating[Any]]
# A smaller change of the mean score has no parts worth a percentage.
WORTH_SHARING = 0.01


def explain_scores(
    score: Callable[[Columns], Scores],
    reference: Profile,
    rows: Columns,
    schema: Schema,
    *,
    names: Sequence[str],
    seed: int,
) -> Json:
    """Return how much of the change of the mean score each of the named features explains.

    Putting a feature back gives the window's column the distribution that it had in the reference: ranks stay, so that
    who was high is high. What is explained is a change of the model's answers, not of the outcomes.

    Parameters
    ----------
    score
        The model's answers to rows, shape (n_rows,), such as `Graph(release.graph, schema).score_each`; NaN for none.
    reference
        The baseline profile.
    rows
        The accepted rows of a window, at least one.
    schema
        What a row is.
    names
        The features to put back, such as those that have drifted.
    seed
        Of the chance by which ties are broken and rows are chosen: the same seed gives the same figures.

    Returns
    -------
    Json
        `now`, the mean score of the window; `then`, its mean score with all of the named features put back;
        `features`, by name, the part of the mean score that goes away when this feature alone is put back, largest
        first; `interactions`, what they do not add up to: now - then - their sum.

    Raises
    ------
    DataInsufficient
        There are no rows.
    """
    if not len(next(iter(rows.values()), ())):
        raise DataInsufficient(
            problem="the window has no rows",
            expected="at least one accepted row",
            action="explain only windows that the drift test has judged",
        )
    restored = {
        feature.name: put_back(rows[feature.name], feature, reference, chance=np.random.default_rng([seed, place]))
        for place, feature in enumerate(schema.features)
        if feature.name in names
    }
    now, then = mean(score(rows)), mean(score({**rows, **restored}))
    parts = {name: now - mean(score({**rows, name: column})) for name, column in restored.items()}
    largest_first = sorted(parts.items(), key=lambda part: -abs(part[1]))
    return {
        "then": then,
        "now": now,
        "features": dict(largest_first),
        "interactions": now - then - sum(parts.values()),
    }


def describe_explanation(explanation: Json) -> str:
    """Return an explanation as a sentence: where the mean score went, and with which feature how much of the way."""
    total = explanation["now"] - explanation["then"]
    parts = [f"{name} {describe_part(change, total)}" for name, change in explanation["features"].items()]
    if len(parts) > 1:
        parts.append(f"together beyond their sum {describe_part(explanation['interactions'], total)}")
    told = f": {', '.join(parts)}" if parts else ""
    return f"mean score {explanation['then']:.3f} -> {explanation['now']:.3f}{told}"


def describe_part(change: float, total: float) -> str:
    """Return one part of a change, with its share of the whole unless that would mislead."""
    sensible = abs(total) >= WORTH_SHARING and 0 <= change / total <= 1
    return f"{change:+.3f} ({change / total:.0%})" if sensible else f"{change:+.3f}"


def put_back(values: Floats | Texts, feature: Feature, reference: Profile, *, chance: Generator) -> Floats | Texts:
    """Return a column with the distribution that its feature had in the reference; as it is, if that had no rows."""
    cells = reference.features[feature.name]
    if not cells.counts.sum():
        return values
    if isinstance(cells, CategoricalProfile):
        return put_texts_back(mask_texts(values, feature), cells, chance=chance)
    return put_numbers_back(mask_numbers(values, feature), cells, chance=chance)


def put_numbers_back(numbers: Floats, cells: NumericProfile, *, chance: Generator) -> Floats:
    """Return a numeric column mapped quantile by quantile, NaN for missing, ties and missing rows by chance.

    Of n rows that will be measured the one of rank r takes the reference's quantile at (r - 1/2) / n. A row that was
    missing and must be measured again takes a rank by chance, one that must be missing is chosen by chance.
    """
    n_missing = round(numbers.size * int(cells.counts[0]) / int(cells.counts.sum()))
    order = chance.permutation(numbers.size)
    missing_first = order[np.argsort(~np.isnan(numbers[order]), kind="stable")]
    measured = missing_first[n_missing:]
    # A random place among the others for those that were missing, and a random order among equal values.
    fresh = np.isnan(numbers[measured])
    known = measured[~fresh]
    ranks = chance.permutation(measured.size)
    taken = np.sort(ranks[: known.size])
    places = np.concatenate([taken, ranks[known.size :]])
    ordered = np.concatenate([known[np.argsort(numbers[known], kind="stable")], measured[fresh]])
    at = cells.counts[2::2]
    restored: Floats = np.full(numbers.size, np.nan)
    if measured.size:
        levels = (places + 0.5) / measured.size * int(at.sum())
        restored[ordered] = cells.edges[np.searchsorted(np.cumsum(at), levels, side="left")]
    return restored


def put_texts_back(texts: Texts, cells: CategoricalProfile, *, chance: Generator) -> Texts:
    """Return a categorical column in which as few rows as possible, chosen by chance, have changed their category."""
    kinds: list[str | None] = [None, *cells.categories]
    places = {kind: place for place, kind in enumerate(kinds)}
    wanted = share_out(cells.counts[:-1], texts.size)
    order = chance.permutation(texts.size)
    kept, surplus = np.zeros(len(kinds), dtype=np.int64), []
    for row in order.tolist():
        place = places.get(texts[row])
        if place is None or kept[place] == wanted[place]:
            surplus.append(row)
        else:
            kept[place] += 1
    restored = texts.copy()
    # In the order of chance: which of them becomes what is by chance too.
    for row, place in zip(surplus, np.repeat(np.arange(len(kinds)), wanted - kept).tolist(), strict=True):
        restored[row] = kinds[place]
    return restored


def share_out(counts: Counts, n_rows: int) -> Counts:
    """Return whole numbers that sum to `n_rows`, in proportion to `counts`, by largest remainders."""
    exact: Floats = counts * n_rows / counts.sum()
    whole: Counts = np.floor(exact).astype(np.int64)
    largest = np.argsort(whole - exact, kind="stable")[: n_rows - int(whole.sum())]
    whole[largest] += 1
    return whole


def mean(scores: Scores) -> float:
    """Return the mean of scores, summed as doubles; of rows that have none (NaN) nothing can be said."""
    return float(np.nanmean(scores, dtype=np.float64))
