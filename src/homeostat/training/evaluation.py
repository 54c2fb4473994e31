"""Judging probabilities against outcomes: AUC, Brier score, calibration, each with a bootstrap interval.

Not here: where the probabilities come from (always a compiled graph) or what is good enough (`deployment.gate`). Pure.
Intervals are percentile intervals of a seeded bootstrap over rows, stratified by class, so that every replicate holds
both classes (Efron, Tibshirani 1993, An Introduction to the Bootstrap, chapter 13). Of many rows they are normal
intervals by the influence of each row, which for the AUC are those of DeLong, DeLong, Clarke-Pearson (1988): of 4,000
rows both lie within a fiftieth of their width, and a thousand replicates of a million rows would take minutes.
"""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from homeostat.records import Estimate, Floats, Json

REPLICATES = 1_000
# Replicates times rows that are held in memory at once: 32 MB of weights.
BLOCK = 4_000_000
# From so many rows on, intervals are by the influence of each row.
MANY_ROWS = 50_000
NORMAL_95 = 1.959963984540054
# Corners of a ROC curve that are kept: of more, evenly spread ones, or the curve alone would fill megabytes.
MOST_CORNERS = 10_000
BINS = 10
FLOOR = 1e-12
TAILS = (2.5, 97.5)

Labels = NDArray[np.int8]


def auc(labels: Labels, scores: Floats, weights: Floats | None = None) -> float:
    """Return the area under the ROC curve, ties counting half; all of shape (n_rows,), without weights all alike."""
    counted = np.ones(len(labels)) if weights is None else weights
    return float(weighted_auc(labels, scores, counted[np.newaxis])[0])


def weighted_auc(labels: Labels, scores: Floats, weights: Floats) -> Floats:
    """Return the AUC under each row of `weights`, shape (n_replicates, n_rows): the result has (n_replicates,).

    AUC is the weighted share of (positive, negative) pairs in which the positive scores higher (Mann-Whitney).
    """
    ranked = np.argsort(scores, kind="stable")
    positive, negative = ranked[labels[ranked] == 1], ranked[labels[ranked] != 1]
    below, up_to = (np.searchsorted(scores[positive], scores[negative], side=side) for side in ("left", "right"))
    drawn, others = weights[:, positive], weights[:, negative]
    reached = np.zeros((len(weights), len(positive) + 1))
    np.cumsum(drawn, axis=1, out=reached[:, 1:])
    lower = np.einsum("rj,rj->r", others, reached[:, below])
    tied = lower if np.array_equal(below, up_to) else np.einsum("rj,rj->r", others, reached[:, up_to])
    pairs = reached[:, -1] * others.sum(axis=1)
    return np.asarray(1 - (lower + tied) / (2 * pairs), dtype=np.float64)


def replicate_weights(labels: Labels, seed: int) -> Iterator[Floats]:
    """Yield blocks of bootstrap weights, shape (n_in_block, n_rows): how often each row was drawn."""
    rng = np.random.default_rng(seed)
    groups = [np.flatnonzero(labels == value) for value in (0, 1)]
    size = max(1, min(REPLICATES, BLOCK // len(labels)))
    for start in range(0, REPLICATES, size):
        n_block = min(size, REPLICATES - start)
        weights = np.zeros((n_block, len(labels)))
        for rows in groups:
            if len(rows):
                weights[:, rows] = draw_counts(rng, len(rows), n_block)
        yield weights


def draw_counts(rng: np.random.Generator, n_rows: int, n_replicates: int) -> NDArray[np.int64]:
    """Return how often each row was drawn with replacement, shape (n_replicates, n_rows)."""
    # Counting drawn row numbers: ten times as fast as `Generator.multinomial`.
    drawn = rng.integers(n_rows, size=(n_replicates, n_rows)) + n_rows * np.arange(n_replicates)[:, None]
    return np.bincount(drawn.ravel(), minlength=n_rows * n_replicates).reshape(n_replicates, n_rows)


def interval(value: float, replicates: Floats) -> Estimate:
    """Return a figure with the middle 95 % of its replicates."""
    low, high = np.percentile(replicates, TAILS)
    return Estimate(value, float(low), float(high))


def normal_interval(value: float, influence: Floats, *, within: tuple[float, float]) -> Estimate:
    """Return a figure with its normal 95 % interval, from how much each row moves it, shape (n_rows,)."""
    half = NORMAL_95 * math.sqrt(float(influence @ influence))
    low, high = np.clip([value - half, value + half], *within)
    return Estimate(value, float(low), float(high))


def auc_influence(labels: Labels, scores: Floats, weights: Floats) -> Floats:
    """Return how much each row moves the AUC, shape (n_rows,); the sum of their squares is its variance.

    A row moves it by how far the share of the other class that it is on the right side of lies from the AUC.
    """
    places = [np.flatnonzero(labels == value) for value in (0, 1)]
    moved = np.empty(len(labels))
    for ours, theirs, sign in ((places[1], places[0], 1.0), (places[0], places[1], -1.0)):
        ranked = theirs[np.argsort(scores[theirs], kind="stable")]
        passed = np.concatenate([[0.0], np.cumsum(weights[ranked])]) / weights[ranked].sum()
        ends = (np.searchsorted(scores[ranked], scores[ours], side=side) for side in ("left", "right"))
        below = sum(passed[end] for end in ends) / 2
        counted = weights[ours] / weights[ours].sum()
        moved[ours] = sign * counted * (below - counted @ below)
    return moved


def estimate_auc(labels: Labels, scores: Floats, *, seed: int, weights: Floats | None = None) -> Estimate:
    """Return the AUC with its interval.

    Parameters
    ----------
    labels
        Shape (n_rows,), 1 = positive; both classes are present.
    scores
        Shape (n_rows,), or (n_repeats, n_rows) for repeated out-of-fold scores: then the figure is the mean AUC over
        repeats, and each bootstrap replicate draws the same rows in every repeat.
    seed
        The same seed draws the same rows: two models are then compared on the same replicates.
    weights
        What each row counts, shape (n_rows,); None counts all alike.
    """
    repeats, counted = np.atleast_2d(scores), np.ones(len(labels)) if weights is None else weights
    value = float(np.mean([auc(labels, one, counted) for one in repeats]))
    if len(labels) > MANY_ROWS:
        moved = np.mean([auc_influence(labels, one, counted) for one in repeats], axis=0)
        return normal_interval(value, moved, within=(0.0, 1.0))
    blocks = [
        np.mean([weighted_auc(labels, one, drawn * counted) for one in repeats], axis=0)
        for drawn in replicate_weights(labels, seed)
    ]
    return interval(value, np.concatenate(blocks))


def compare_auc(labels: Labels, ours: Floats, theirs: Floats, *, seed: int, weights: Floats | None = None) -> Estimate:
    """Return AUC(ours) - AUC(theirs) on the same rows with its paired interval; shapes as in `estimate_auc`."""
    pairs = list(zip(np.atleast_2d(ours), np.atleast_2d(theirs), strict=True))
    counted = np.ones(len(labels)) if weights is None else weights
    value = float(np.mean([auc(labels, a, counted) - auc(labels, b, counted) for a, b in pairs]))
    if len(labels) > MANY_ROWS:
        moved = [auc_influence(labels, a, counted) - auc_influence(labels, b, counted) for a, b in pairs]
        return normal_interval(value, np.mean(moved, axis=0), within=(-1.0, 1.0))
    blocks = [
        np.mean([weighted_auc(labels, a, drawn) - weighted_auc(labels, b, drawn) for a, b in pairs], axis=0)
        for drawn in (weights * counted for weights in replicate_weights(labels, seed))
    ]
    return interval(value, np.concatenate(blocks))


def estimate_mean(labels: Labels, losses: Floats, *, seed: int) -> Estimate:
    """Return the mean of a loss per row, shape (n_rows,), with its interval."""
    if len(labels) > MANY_ROWS:
        centred = losses.astype(np.float64)
        for value in (0, 1):  # each class has as many rows in every sample
            centred = np.where(labels == value, centred - losses[labels == value].mean(), centred)
        return normal_interval(float(losses.mean()), centred / len(labels), within=(-math.inf, math.inf))
    blocks = [weights @ losses / len(labels) for weights in replicate_weights(labels, seed)]
    return interval(float(losses.mean()), np.concatenate(blocks))


def evaluate(labels: Labels, probabilities: Floats, *, seed: int) -> Json:
    """Return every metric with its interval, and the curves, as a JSON object; shapes (n_rows,)."""
    clipped = np.clip(probabilities, FLOOR, 1 - FLOOR)
    losses = {
        "brier": (probabilities - labels) ** 2,
        "log_loss": -np.where(labels == 1, np.log(clipped), np.log1p(-clipped)),
        "accuracy": ((probabilities >= 0.5) == (labels == 1)).astype(np.float64),  # noqa: PLR2004  the service's cut
    }
    estimates = {"auc": estimate_auc(labels, probabilities, seed=seed)}
    estimates |= {name: estimate_mean(labels, loss, seed=seed) for name, loss in losses.items()}
    return {
        "n_rows": len(labels),
        "n_positive": int(labels.sum()),
        **{name: estimate_to_json(estimate) for name, estimate in estimates.items()},
        "average_precision": average_precision(labels, probabilities),
        "calibration_error": calibration_error(labels, probabilities),
        "reliability": reliability(labels, probabilities),
        "roc": roc_curve(labels, probabilities),
    }


def estimate_to_json(estimate: Estimate) -> Json:
    """Return an estimate as a JSON object."""
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def reliability(labels: Labels, probabilities: Floats) -> list[Json]:
    """Return for each tenth of [0, 1] that holds rows: how many, the mean probability, the share of positives."""
    place = np.minimum((probabilities * BINS).astype(np.int64), BINS - 1)
    masks = [place == number for number in range(BINS)]
    return [
        {
            "n_rows": int(mask.sum()),
            "probability": float(probabilities[mask].mean()),
            "positive_share": float(labels[mask].mean()),
        }
        for mask in masks
        if mask.any()
    ]


def calibration_error(labels: Labels, probabilities: Floats) -> float:
    """Return the expected calibration error over ten equal bins (Naeini, Cooper, Hauskrecht 2015)."""
    bins = reliability(labels, probabilities)
    gaps = [cell["n_rows"] * abs(cell["probability"] - cell["positive_share"]) for cell in bins]
    return float(sum(gaps) / len(labels))


def average_precision(labels: Labels, scores: Floats) -> float:
    """Return the mean precision over the positives, equal scores taken together; by chance it is their share.

    Where positives are rare it tells what AUC hides: how many false alarms come with the rows that score highest. 0
    without positives.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.r_[scores[order][1:] != scores[order][:-1], True])
    found = np.cumsum(labels[order])[ends]
    gained = np.diff(found, prepend=0)
    return float(gained @ (found / (ends + 1)) / max(1, int(found[-1])))


def roc_curve(labels: Labels, scores: Floats) -> Json:
    """Return the corners of the ROC curve: false and true positive rates from (0, 0) to (1, 1)."""
    order = np.argsort(-scores, kind="stable")
    ranked, outcome = scores[order], labels[order]
    ends = np.flatnonzero(np.r_[ranked[1:] != ranked[:-1], True])
    if len(ends) > MOST_CORNERS:
        ends = ends[np.linspace(0, len(ends) - 1, MOST_CORNERS).round().astype(np.int64)]
    true, false = np.cumsum(outcome)[ends], np.cumsum(1 - outcome)[ends]
    return {
        "false_positive_rate": [0.0, *(false / max(1, false[-1])).tolist()],
        "true_positive_rate": [0.0, *(true / max(1, true[-1])).tolist()],
    }
