"""What live traffic says of a challenger that answered it beside the champion, without anybody seeing its answers.

Not here: which rows these are (`retraining.cases`), or answering them (`retraining.shadowing`). Pure. No outcome is
known yet: only what no sound challenger does refuses.
"""

from dataclasses import replace

import numpy as np

from homeostat.deployment.criteria import judge_answers, report
from homeostat.records import Criterion, Floats, GateResult

# Fewer equal labels than by tossing a coin: one of the two is turned round.
MIN_AGREEMENT = 0.5
# Probabilities that count as extreme.
EXTREME = 0.05


def judge_shadow(
    challenger: Floats, champion: Floats, latency: Criterion, *, same_rule: bool, cut: float
) -> GateResult:
    """Return the verdict on answers to the same live rows.

    Parameters
    ----------
    challenger, champion
        Probabilities, shape (n_rows,).
    latency
        What was measured on the same rows.
    same_rule
        Whether both are to describe the same world: if not, they may disagree, and their agreement is only reported.
    cut
        The probability from which on a row is called positive.
    """
    answers = replace(judge_answers(challenger), name="shadow answers")
    if not answers.passed:
        return GateResult((answers,))
    agreement = judge_agreement(challenger, champion, cut=cut)
    told = agreement if same_rule else report(agreement)
    return GateResult((answers, told, replace(latency, name="shadow latency")))


def judge_agreement(challenger: Floats, champion: Floats, *, cut: float) -> Criterion:
    """Judge whether both give the same label more often than a coin would."""
    agreement = float(np.mean((challenger >= cut) == (champion >= cut)))
    difference = float(np.mean(np.abs(challenger - champion)))
    extreme, usual = (float(np.mean((one < EXTREME) | (one > 1 - EXTREME))) for one in (challenger, champion))
    sentence = (
        f"the same label for {agreement:.1%} of {len(challenger)} live rows, at least {MIN_AGREEMENT:.0%} asked; "
        f"probabilities {difference:.3f} apart on average; {extreme:.1%} extreme, of the champion's {usual:.1%}"
    )
    figures = {
        "n_rows": len(challenger),
        "agreement": agreement,
        "mean_difference": difference,
        "extreme_share": extreme,
        "champion_extreme_share": usual,
    }
    return Criterion("shadow agreement", agreement >= MIN_AGREEMENT, sentence, figures)
