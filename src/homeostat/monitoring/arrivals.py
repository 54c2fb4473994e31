"""Sudden changes of what arrives, named at once: blocks of some 50 rows, accepted and rejected, against the baseline.

Not here: which shares are watched (`monitoring.indicators`), slow or small changes (`monitoring.drift`), reading the
log (`monitoring.arrival_checks`), or a reason to retrain. Pure.

If nothing has changed, the rows of a block are exchangeable with those of the baseline, so the p-value of each share is
valid: P(p <= a) <= a. Block b of a watch tests each of the m shares at alpha_life * 6 / (pi^2 b^2) / m. The sum of
1 / b^2 is pi^2 / 6, so by the union bound the chance that a watch ever tells a false alert is at most alpha_life. It
does not matter how shares and blocks, which have one baseline, depend on each other. Rows that depend on each other, as
those of one sorted file that comes in many requests, are outside this guarantee.
"""

import math
from dataclasses import dataclass

import numpy as np

from homeostat.monitoring.indicators import (
    ANY,
    ENOUGH,
    Baseline,
    Block,
    Rise,
    arrived_numbers,
    count_indicators,
    rejection_rises,
    value_rises,
)
from homeostat.monitoring.units import describe_change
from homeostat.records import Alert, Json
from homeostat.validation.profiles import describe_feature

# Fewest arrivals that are judged together.
BLOCK = 50
# A smaller rise of a share is not sudden: the windows of the drift check see it.
SUDDEN = 0.3


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a watch is: blocks judged, and the kind and subject of each alert told."""

    n_blocks: int = 0
    told: frozenset[tuple[str, str]] = frozenset()


def judge_block(
    baseline: Baseline, so_far: Progress, block: Block, *, alpha_life: float
) -> tuple[Progress, tuple[Alert, ...]]:
    """Return where the watch stands with this block, and the alerts that it has not told before.

    Parameters
    ----------
    baseline
        What the release was trained on; a feature that none of its rows measured has no bounds.
    so_far
        Where the watch stood.
    block
        Arrivals in their order, `BLOCK` of them or more; without any, nothing is judged.
    alpha_life
        Bound on the chance that the watch ever tells a false alert, in (0, 1).
    """
    if not block:
        return so_far, ()
    number = so_far.n_blocks + 1
    alpha = alpha_life * 6 / (math.pi * number) ** 2 / count_indicators(baseline.schema)
    told, alerts = set(so_far.told), []
    for rise in [*value_rises(baseline, block), *rejection_rises(baseline, block)]:
        # Which rule it is says more than that rows are rejected.
        known = rise.subject == ANY and any(kind == "rejected" for kind, _ in told)
        if known or (rise.kind, rise.subject) in told or rise.size < SUDDEN:
            continue
        # Last: an exact test takes 0.2 ms, which for every indicator of every block would be three times the rest.
        p_value = rise.test()
        if p_value <= alpha:
            told.add((rise.kind, rise.subject))
            alerts.append(tell(rise, p_value, baseline, block))
    return Progress(number, frozenset(told)), tuple(alerts)


def tell(rise: Rise, p_value: float, baseline: Baseline, block: Block) -> Alert:
    """Return the alert of a rise, with the change of the median where that may show a change of unit."""
    about = f"{rise.feature.name}: " if rise.feature else ""
    then = f"{rise.share_then:.1%}"
    against = f"at most {then} before training" if rise.kind == "rejected" else f"{then} of the baseline"
    sentence = f"{about}{rise.hits} of the last {rise.n_rows} {rise.words}, against {against}"
    figures: Json = {
        "hits": rise.hits,
        "rows": rise.n_rows,
        "share": rise.hits / rise.n_rows,
        "share_then": rise.share_then,
        "p_value": p_value,
    }
    medians = change_of_median(rise, baseline, block)
    if medians is not None:
        figures |= {"median_then": medians[0], "median": medians[1]}
        sentence += f"; {describe_change(*medians)}"
    return Alert(rise.kind, rise.subject, sentence, figures)


def change_of_median(rise: Rise, baseline: Baseline, block: Block) -> tuple[float, float] | None:
    """Return the median of the baseline, and that of what has arrived since the first hit, accepted or not.

    None if one of them has fewer than `ENOUGH` numbers, or if no number's size is what has changed.
    """
    if rise.where is None or rise.feature is None:
        return None
    cells = baseline.profile.features[rise.feature.name]
    arrived = arrived_numbers(block, rise.feature)[int(rise.where().argmax()) :]
    measured = arrived[~np.isnan(arrived)]
    if min(measured.size, int(cells.counts[1:].sum())) < ENOUGH:
        return None
    return float(describe_feature(cells)["median"]), float(np.median(measured))
