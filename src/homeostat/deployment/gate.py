"""May the challenger replace the champion? Each criterion with its figures and its answer.

Not here: scoring the rows, or moving production (`deployment.registry`). Pure. Both releases are judged on the same
rows, which neither has ever seen: the anchor (old data) and the recent rows (labelled predictions kept from training).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from homeostat.records import Criterion, Estimate, Floats, GateResult
from homeostat.training.evaluation import compare_auc, estimate_auc, estimate_to_json

CHANCE = 0.5
# Fewer distinct answers than this on the anchor is a constant model with rounding noise.
MIN_DISTINCT = 3


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Held-out rows with both releases' probabilities, all of shape (n_rows,); no champion before the first."""

    labels: NDArray[np.int8]
    challenger: Floats
    champion: Floats | None


def judge(
    anchor: HeldOut, recent: HeldOut | None, *, margin: float, min_recent: int, min_recent_per_class: int, seed: int
) -> GateResult:
    """Return the verdict on a challenger.

    Parameters
    ----------
    anchor
        Rows of the first data that no training ever sees.
    recent
        Labelled predictions kept from all training; None if the attempt was asked for by hand and they are too few.
    margin
        The loss of AUC that still counts as no worse: the lower end of the paired 95 % interval stays above -margin.
    min_recent, min_recent_per_class
        Fewer recent rows cannot be judged, and refuse.
    seed
        Of the bootstrap.
    """
    criteria = [judge_answers(anchor), judge_skill(anchor, seed=seed)]
    if anchor.champion is not None:
        criteria.append(judge_no_worse("anchor", anchor, margin=margin, seed=seed))
    if recent is not None and recent.champion is not None:
        enough = judge_enough(recent, min_recent=min_recent, min_recent_per_class=min_recent_per_class)
        criteria.append(enough)
        if enough.passed:
            criteria.append(judge_no_worse("recent", recent, margin=margin, seed=seed))
    return GateResult(tuple(criteria))


def judge_answers(rows: HeldOut) -> Criterion:
    """Judge whether every answer is a probability, and not always the same one."""
    sound = bool(np.isfinite(rows.challenger).all() and ((rows.challenger >= 0) & (rows.challenger <= 1)).all())
    distinct = len(np.unique(rows.challenger))
    sentence = f"{distinct} different answers to {len(rows.labels)} anchor rows, {'all' if sound else 'not all'} in 0-1"
    return Criterion("answers", sound and distinct >= MIN_DISTINCT, sentence, {"distinct": distinct, "sound": sound})


def judge_skill(rows: HeldOut, *, seed: int) -> Criterion:
    """Judge whether the challenger is better than chance on the anchor."""
    if not np.isfinite(rows.challenger).all():
        return Criterion("skill", passed=False, sentence="not every answer is a number", figures={})
    found = estimate_auc(rows.labels, rows.challenger, seed=seed)
    sentence = f"AUC {describe(found)} on {len(rows.labels)} anchor rows, chance is {CHANCE}"
    return Criterion("skill", found.low > CHANCE, sentence, estimate_to_json(found))


def judge_enough(rows: HeldOut, *, min_recent: int, min_recent_per_class: int) -> Criterion:
    """Judge whether there are enough recent rows of both classes to judge by."""
    n_rows, n_positive = len(rows.labels), int(rows.labels.sum())
    rarer = min(n_positive, n_rows - n_positive)
    passed = n_rows >= min_recent and rarer >= min_recent_per_class
    sentence = f"{n_rows} recent rows, {rarer} of the rarer class; needed {min_recent} and {min_recent_per_class}"
    return Criterion("recent rows", passed, sentence, {"n_rows": n_rows, "n_rarer": rarer})


def judge_no_worse(name: str, rows: HeldOut, *, margin: float, seed: int) -> Criterion:
    """Judge whether the challenger's AUC is non-inferior to the champion's on the same rows."""
    if rows.champion is None or not np.isfinite(rows.challenger).all():
        return Criterion(name, passed=False, sentence="there is nothing to compare", figures={})
    difference = compare_auc(rows.labels, rows.challenger, rows.champion, seed=seed)
    ours = estimate_auc(rows.labels, rows.challenger, seed=seed)
    theirs = estimate_auc(rows.labels, rows.champion, seed=seed)
    passed = difference.low >= -margin
    sentence = (
        f"AUC {ours.value:.3f} against {theirs.value:.3f} on {len(rows.labels)} {name} rows: difference "
        f"{describe(difference, sign='+')}, {'not below' if passed else 'may be below'} -{margin:g}"
    )
    figures = {
        "challenger": estimate_to_json(ours),
        "champion": estimate_to_json(theirs),
        "difference": estimate_to_json(difference),
        "margin": margin,
    }
    return Criterion(name, passed, sentence, figures)


def describe(estimate: Estimate, *, sign: str = "") -> str:
    """Return a figure with its interval."""
    return f"{estimate.value:{sign}.3f} [{estimate.low:{sign}.3f}, {estimate.high:{sign}.3f}]"
