"""Two releases on the same rows: by how much one differs from the other in AUC, Brier score and calibration.

Not here: which difference is too much (`deployment.criteria`). Pure. Rows that judge both are drawn together (a paired
bootstrap), so that what is hard for both cancels.
"""

from dataclasses import dataclass

import numpy as np

from homeostat.records import Estimate, Floats, Mask
from homeostat.training.evaluation import (
    BINS,
    Labels,
    estimate_to_json,
    interval,
    replicate_weights,
    weighted_auc,
)


@dataclass(frozen=True, slots=True)
class Contrast:
    """What `ours` and `theirs` are worth on the same rows, and ours - theirs; every figure with its 95 % interval."""

    n_rows: int
    ours_auc: Estimate
    theirs_auc: Estimate
    auc: Estimate
    brier: Estimate
    calibration: Estimate

    def to_json(self) -> dict[str, object]:
        """Return the figures as a JSON object."""
        return {
            "n_rows": self.n_rows,
            "challenger": estimate_to_json(self.ours_auc),
            "champion": estimate_to_json(self.theirs_auc),
            "difference": estimate_to_json(self.auc),
            "brier_difference": estimate_to_json(self.brier),
        }


def contrast(labels: Labels, ours: Floats, theirs: Floats, *, seed: int) -> Contrast:
    """Return how two releases differ on the same rows.

    Parameters
    ----------
    labels
        Shape (n_rows,), 1 = positive; both classes are present.
    ours, theirs
        Probabilities, shape (n_rows,).
    seed
        Of the bootstrap: the same rows are drawn for every figure.
    """
    losses = (ours - labels) ** 2 - (theirs - labels) ** 2
    cells = [binned_residuals(labels, one) for one in (ours, theirs)]

    def measure(weights: Floats) -> Floats:
        """Return the five figures under each row of `weights`, shape (5, n_replicates)."""
        first, second = (weighted_auc(labels, one, weights) for one in (ours, theirs))
        errors = [np.abs(weights @ cell).sum(axis=1) / len(labels) for cell in cells]
        return np.stack([first, second, first - second, weights @ losses / len(labels), errors[0] - errors[1]])

    values = measure(np.ones((1, len(labels))))[:, 0]
    replicates = np.concatenate([measure(weights) for weights in replicate_weights(labels, seed)], axis=1)
    figures = [interval(float(value), drawn) for value, drawn in zip(values, replicates, strict=True)]
    return Contrast(len(labels), *figures)


def binned_residuals(labels: Labels, probabilities: Floats) -> Floats:
    """Return probability - outcome in the column of the row's tenth, 0 in the others: shape (n_rows, 10).

    Under weights w, the expected calibration error is the sum over columns of |w @ column| / n_rows.
    """
    place = np.minimum((probabilities * BINS).astype(np.int64), BINS - 1)
    table = np.zeros((len(labels), BINS))
    table[np.arange(len(labels)), place] = probabilities - labels
    return table


def delong(labels: Labels, ours: Floats, theirs: Floats) -> tuple[float, float]:
    """Return AUC(ours) - AUC(theirs) and its standard error, without drawing anything.

    For many small groups of rows, whose corrected intervals lie further out than replicates reach.

    References
    ----------
    DeLong, DeLong, Clarke-Pearson (1988), Biometrics 44, 837-845; by ranks as in Sun, Xu (2014), IEEE Signal
    Processing Letters 21, 1389-1393.
    """
    positive, negative = labels == 1, labels == 0
    mine, other = (placements(scores, positive, negative) for scores in (ours, theirs))
    above, below = (a - b for a, b in zip(mine, other, strict=True))
    variance = sum(float(np.var(part, ddof=1)) / len(part) for part in (above, below))
    return float(above.mean()), float(np.sqrt(variance))


def placements(scores: Floats, positive: Mask, negative: Mask) -> tuple[Floats, Floats]:
    """Return for each positive row the share of negatives below it, and for each negative that of positives above."""
    ranks = midranks(scores)
    n_positive, n_negative = int(positive.sum()), int(negative.sum())
    first = (ranks[positive] - midranks(scores[positive])) / n_negative
    second = 1 - (ranks[negative] - midranks(scores[negative])) / n_positive
    return first, second


def midranks(values: Floats) -> Floats:
    """Return the rank of each value from 1, ties sharing their mean rank, shape (n_values,)."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[place], dtype=np.float64)


def mean_difference(values: Floats) -> tuple[float, float]:
    """Return the mean of paired differences, shape (n_rows,), and its standard error."""
    return float(values.mean()), float(np.std(values, ddof=1) / np.sqrt(len(values)))
