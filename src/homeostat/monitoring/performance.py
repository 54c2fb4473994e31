"""How well a release predicts: estimated from its probabilities alone, measured once outcomes have arrived.

Not here: whether that is worse than it should be (`monitoring.concept`), or reading rows (`monitoring.outcomes`). Pure.
Both kinds of figure have 95 % percentile intervals of one seeded bootstrap over rows, so that they compare.
"""

from collections.abc import Callable

import numpy as np

from homeostat.records import Counts, Floats, Json, Mask
from homeostat.training.evaluation import TAILS, Labels

FIGURES = ("accuracy", "auc", "brier")
# From this probability on the service answers the positive label.
CUT = 0.5
# Replicates: 500 for windows of up to 2,000 rows, 200 from 5,000 on. `training.evaluation` draws 1,000, stratified by
# class, which took 45 ms for 200 rows and 2.4 s for 10,000: too much for every window. This takes 8 and 100 ms.
MOST, LEAST = 500, 200
# Replicates times rows: drawn in all, if that leaves enough replicates, and drawn at once, so that they stay in cache.
BUDGET, BLOCK = 1_000_000, 100_000


def estimate_performance(probabilities: Floats, *, seed: int) -> Json:
    """Return the accuracy, AUC and Brier score to be expected of rows whose outcomes are not known yet.

    Confidence-based performance estimation: if a row's probability is calibrated, its outcome is positive with just
    that probability, and the expectation of every metric follows. It holds only while P(outcome | features) is what it
    was in training, and as far as the calibration carries where the features have moved. After a change of the concept
    itself it stays as good as ever, and is wrong: an early warning, never a reason to act by itself.

    Parameters
    ----------
    probabilities
        Shape (n_rows,), calibrated, in [0, 1]; values that are not finite are left out, values outside are clipped.
    seed
        Of the intervals: rows are drawn again, and outcomes from their probabilities, so that what will be measured of
        this window lies within 95 % of the time if all is as assumed.

    Returns
    -------
    Json
        `n_rows`, and for each of `FIGURES` `value`, `low` and `high`; None where nothing can be said: the AUC of rows
        that cannot be of both classes, and everything of no rows.

    References
    ----------
    NannyML, Confidence-based performance estimation.
    https://nannyml.readthedocs.io/en/stable/how_it_works/performance_estimation.html
    """
    known = np.clip(probabilities[np.isfinite(probabilities)], 0.0, 1.0).astype(np.float64)
    if not len(known):
        return {"n_rows": 0, **dict.fromkeys(FIGURES)}
    levels, places, n_rows = np.unique(known, return_inverse=True, return_counts=True)

    def outcomes_of(rng: np.random.Generator, drawn: Counts) -> Mask:
        return np.asarray(rng.random(drawn.shape) < known[drawn])

    replicates = draw_figures(levels, places, outcomes_of, seed=seed)
    expected = expect_figures(levels, n_rows)
    return {"n_rows": len(known), **{name: around(expected[name], replicates[name]) for name in FIGURES}}


def measure_performance(labels: Labels, probabilities: Floats, *, seed: int) -> Json:
    """Return the accuracy, AUC and Brier score of rows with their outcomes.

    Parameters
    ----------
    labels
        Shape (n_rows,), 1 = positive. Of one class only the AUC is None; without rows everything is.
    probabilities
        Shape (n_rows,), in [0, 1], finite.
    seed
        Of the rows that the intervals draw.
    """
    counts = {"n_rows": len(labels), "n_positive": int(labels.sum())}
    if not len(labels):
        return {**counts, **dict.fromkeys(FIGURES)}
    levels, places = np.unique(probabilities.astype(np.float64), return_inverse=True)
    is_positive = labels == 1

    def outcomes_of(_rng: np.random.Generator, drawn: Counts) -> Mask:
        return np.asarray(is_positive[drawn])

    replicates = draw_figures(levels, places, outcomes_of, seed=seed)
    found = figures_of(levels, *(count(places[chosen], len(levels)) for chosen in (is_positive, ~is_positive)))
    return {**counts, **{name: around(float(found[name][0]), replicates[name]) for name in FIGURES}}


def expect_figures(levels: Floats, n_rows: Counts) -> dict[str, float]:
    """Return each figure to be expected of rows at some levels of probability; NaN for an AUC without a pair.

    The AUC is the expected number of pairs in order over the expected number of pairs. A row is no pair with itself:
    counting it as one would pull the AUC of a small window towards 1/2.
    """
    positive, negative = n_rows * levels, n_rows * (1 - levels)
    in_order, pairs = count_pairs(positive[np.newaxis], negative[np.newaxis])
    with_itself = float((positive * (1 - levels)).sum())
    apart = float(pairs[0]) - with_itself
    # Rounding leaves a rest where there is no pair.
    is_defined = apart > 1e-9 * float(pairs[0])
    return {
        "accuracy": float(np.where(levels >= CUT, positive, negative).sum() / n_rows.sum()),
        "auc": (float(in_order[0]) - with_itself / 2) / apart if is_defined else np.nan,
        "brier": with_itself / float(n_rows.sum()),
    }


def draw_figures(
    levels: Floats, places: Counts, outcomes_of: Callable[[np.random.Generator, Counts], Mask], *, seed: int
) -> dict[str, Floats]:
    """Return each figure of windows drawn from this one, shape (n_replicates,); NaN for an AUC of one class.

    `places` holds each row's level, shape (n_rows,); `outcomes_of` says which of the drawn rows are positive.
    """
    rng = np.random.default_rng(seed)
    size, n_levels = len(places), len(levels)
    n_replicates, most = int(np.clip(BUDGET // size, LEAST, MOST)), max(1, BLOCK // size)
    parts = []
    for n_part in (min(most, n_replicates - start) for start in range(0, n_replicates, most)):
        drawn = rng.integers(size, size=(n_part, size))
        is_positive = outcomes_of(rng, drawn)
        cells = places[drawn] + n_levels * np.arange(n_part)[:, np.newaxis]
        counts = (count(cells[chosen], n_levels, n_part) for chosen in (is_positive, ~is_positive))
        parts.append(figures_of(levels, *counts))
    return {name: np.concatenate([part[name] for part in parts]) for name in FIGURES}


def count(cells: Counts, n_levels: int, n_windows: int = 1) -> Floats:
    """Return how many rows fell on each level, shape (n_windows, n_levels)."""
    counts = np.bincount(cells, minlength=n_windows * n_levels)
    return counts.reshape(n_windows, n_levels).astype(np.float64)


def figures_of(levels: Floats, positive: Floats, negative: Floats) -> dict[str, Floats]:
    """Return each figure of windows whose rows were counted by outcome and level, shape (n_windows,) each."""
    in_order, pairs = count_pairs(positive, negative)
    n_rows = (positive + negative).sum(axis=1)
    return {
        "accuracy": np.where(levels >= CUT, positive, negative).sum(axis=1) / n_rows,
        "auc": np.divide(in_order, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0),
        "brier": (positive @ (1 - levels) ** 2 + negative @ levels**2) / n_rows,
    }


def count_pairs(positive: Floats, negative: Floats) -> tuple[Floats, Floats]:
    """Return for rows counted by ascending score, shape (n, n_levels), the pairs in order (ties half) and all pairs."""
    below = np.cumsum(negative, axis=1) - negative
    return (positive * (below + negative / 2)).sum(axis=1), positive.sum(axis=1) * negative.sum(axis=1)


def around(value: float, drawn: Floats) -> Json | None:
    """Return a figure with the middle 95 % of what was drawn, itself included; None if it is not defined."""
    defined = drawn[~np.isnan(drawn)]
    if np.isnan(value) or not len(defined):
        return None
    low, high = np.percentile(defined, TAILS)
    return {"value": value, "low": min(value, float(low)), "high": max(value, float(high))}


def describe_labels(predicted_s: Floats, labelled_s: Floats, *, now_s: float) -> Json:
    """Return how many rows have their outcome, how long it took, and how long the others have waited.

    Parameters
    ----------
    predicted_s, labelled_s
        When each row was answered and when its outcome arrived, in seconds of any one clock, shape (n_rows,); NaN
        without an outcome. An outcome that seems to come before its prediction, of a clock that jumped, took 0 s.
    now_s
        The same clock now.
    """
    has_label = ~np.isnan(labelled_s)
    delays = np.maximum(0.0, labelled_s[has_label] - predicted_s[has_label])
    waiting = np.maximum(0.0, now_s - predicted_s[~has_label])
    return {
        "labelled_share": float(has_label.mean()) if len(has_label) else None,
        "median_s": float(np.median(delays)) if len(delays) else None,
        "p90_s": float(np.percentile(delays, 90)) if len(delays) else None,
        "n_unlabelled": len(waiting),
        "oldest_unlabelled_s": float(waiting.max()) if len(waiting) else None,
    }
