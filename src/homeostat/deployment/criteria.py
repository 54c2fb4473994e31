"""What the answers of a challenger are worth: the criteria that rest on labelled rows, each with figures and answer.

Not here: which of them count (`deployment.gate`), what a release is as a program (`deployment.soundness`), or groups of
rows (`deployment.slices`). Pure.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from homeostat.records import Columns, Criterion, Estimate, Floats
from homeostat.training.contrasts import Contrast
from homeostat.training.evaluation import calibration_error, estimate_auc, estimate_to_json, reliability

CHANCE = 0.5
# Fewer distinct answers than this is a constant model with rounding noise.
MIN_DISTINCT = 3
# A Brier score moves less than an AUC does: what is allowed of the one, in what is allowed of the other.
BRIER_PER_AUC = 0.5
# How much larger the calibration error may surely be, as the share by which probabilities are off on average.
CALIBRATION_MARGIN = 0.03
REPORTED = "reported, not enforced: "


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Held-out rows with the releases' probabilities, all of shape (n_rows,).

    `champion` is None before the first promotion, `past` what the best champion of before says. `columns` are the rows
    themselves, for the groups that slices look at; none: there are no slices.
    """

    labels: NDArray[np.int8]
    challenger: Floats
    champion: Floats | None
    past: Floats | None = None
    columns: Columns = field(default_factory=dict)


def judge_answers(answers: Floats) -> Criterion:
    """Judge whether every row has an answer, every answer is a probability, and not always the same one."""
    answered = int(np.isfinite(answers).sum())
    inside = bool(((answers >= 0) & (answers <= 1)).all())
    distinct = len(np.unique(answers))
    sentence = (
        f"{distinct} different answers to {len(answers)} rows, "
        f"{'all' if inside else 'not all'} in 0-1, {len(answers) - answered} without a number"
    )
    figures = {"distinct": distinct, "n_rows": len(answers), "answered": answered, "in_range": inside}
    return Criterion("answers", inside and distinct >= MIN_DISTINCT, sentence, figures)


def judge_skill(name: str, kind: str, rows: HeldOut, *, seed: int) -> Criterion:
    """Judge whether the challenger is better than chance."""
    found = estimate_auc(rows.labels, rows.challenger, seed=seed)
    sentence = f"AUC {describe(found)} on {len(rows.labels)} {kind} rows, chance is {CHANCE}"
    return Criterion(name, found.low > CHANCE, sentence, estimate_to_json(found))


def judge_enough(rows: HeldOut, *, min_recent: int, min_recent_per_class: int) -> Criterion:
    """Judge whether there are enough recent rows of both classes to judge by."""
    n_rows, n_positive = len(rows.labels), int(rows.labels.sum())
    rarer = min(n_positive, n_rows - n_positive)
    passed = n_rows >= min_recent and rarer >= min_recent_per_class
    sentence = f"{n_rows} recent rows, {rarer} of the rarer class; needed {min_recent} and {min_recent_per_class}"
    return Criterion("recent rows", passed, sentence, {"n_rows": n_rows, "n_rarer": rarer})


def judge_no_worse(name: str, found: Contrast, *, margin: float) -> Criterion:
    """Judge whether the challenger is non-inferior to a rival in AUC and in Brier score on the same rows."""
    allowed = margin * BRIER_PER_AUC
    ranks, squares = found.auc.low >= -margin, found.brier.high <= allowed
    sentence = (
        f"AUC {found.ours_auc.value:.3f} against {found.theirs_auc.value:.3f} on {found.n_rows} rows ({name}): "
        f"difference {describe(found.auc, sign='+')}, {'not below' if ranks else 'may be below'} -{margin:g}; Brier "
        f"difference {describe(found.brier, sign='+')}, {'not above' if squares else 'may be above'} {allowed:g}"
    )
    return Criterion(name, ranks and squares, sentence, {**found.to_json(), "margin": margin, "brier_margin": allowed})


def judge_calibration(kind: str, rows: HeldOut, found: Contrast | None) -> Criterion:
    """Judge whether the challenger's probabilities are surely further from the shares of positives than the rival's."""
    error = calibration_error(rows.labels, rows.challenger)
    figures = {"error": error, "reliability": reliability(rows.labels, rows.challenger)}
    words = f"expected calibration error {error:.3f} on {len(rows.labels)} {kind} rows"
    if found is None:
        return Criterion("calibration", passed=True, sentence=f"{words}, nothing to compare with", figures=figures)
    difference = found.calibration
    passed = difference.low <= CALIBRATION_MARGIN
    sentence = (
        f"{words}: difference {describe(difference, sign='+')}, {'not surely' if passed else 'surely'} above "
        f"{CALIBRATION_MARGIN:g}"
    )
    compared = {"difference": estimate_to_json(difference), "margin": CALIBRATION_MARGIN}
    return Criterion("calibration", passed, sentence, {**figures, **compared})


def report(criterion: Criterion) -> Criterion:
    """Return a criterion that is told, and refuses nothing."""
    figures = {**criterion.figures, "met": criterion.passed}
    return Criterion(criterion.name, passed=True, sentence=REPORTED + criterion.sentence, figures=figures)


def describe(estimate: Estimate, *, sign: str = "") -> str:
    """Return a figure with its interval."""
    return f"{estimate.value:{sign}.3f} [{estimate.low:{sign}.3f}, {estimate.high:{sign}.3f}]"
