"""May the challenger replace the champion? Which criteria count, and whether the anchor may refuse.

Not here: the criteria (`deployment.criteria`, `deployment.slices`, `deployment.soundness`), scoring the rows, or moving
production (`deployment.registry`). Pure. All releases are judged on the same rows, which none has ever seen: the anchor
(old data) and the recent rows (labelled predictions kept from training).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from homeostat.deployment.criteria import (
    HeldOut,
    judge_answers,
    judge_calibration,
    judge_enough,
    judge_no_worse,
    judge_skill,
    report,
)
from homeostat.deployment.slices import judge_slices
from homeostat.records import Change, Criterion, GateResult, Schema
from homeostat.training.contrasts import Contrast, contrast

ANCHOR, RECENT = "anchor", "recent"


@dataclass(frozen=True, slots=True)
class Rules:
    """What a challenger must show.

    `margin` is the loss of AUC that still counts as no worse. Fewer recent rows than `min_recent`, or than
    `min_recent_per_class` of a class, cannot judge, and refuse. An anchor that is not `enforced` is reported only.
    """

    margin: float
    min_recent: int
    min_recent_per_class: int
    enforced: bool
    seed: int


def judge(anchor: HeldOut, recent: HeldOut | None, rules: Rules, *, schema: Schema) -> GateResult:
    """Return the verdict on a challenger's answers.

    Parameters
    ----------
    anchor
        Rows of the first data that no training ever sees.
    recent
        Labelled predictions kept from all training; None if they are not asked for: before the first promotion, and
        if the attempt was asked for by hand and they are too few.
    rules
        What it must show.
    schema
        Of the rows, for the groups among them.
    """
    answers = judge_answers(np.concatenate([rows.challenger for rows in (anchor, recent) if rows is not None]))
    if not answers.passed:
        return GateResult((answers,))
    if anchor.champion is None:
        first = judge_skill("skill", ANCHOR, anchor, seed=rules.seed)
        return GateResult((answers, first, judge_calibration(ANCHOR, anchor, None)))
    against = contrast(anchor.labels, anchor.challenger, anchor.champion, seed=rules.seed)
    criteria = [answers, *judge_anchor(anchor, against, rules), *judge_recent(recent, rules, schema)]
    # Without recent rows that can judge, the anchor is looked at closely, if it may refuse.
    if rules.enforced and criteria[-1].name != "slices":
        criteria += judge_closely(ANCHOR, anchor, against, schema)
    return GateResult(tuple(criteria))


def judge_anchor(rows: HeldOut, against: Contrast, rules: Rules) -> list[Criterion]:
    """Judge skill, and the comparisons with the champion and with the best one of before, on the anchor."""
    skill = judge_skill("skill" if rules.enforced else "anchor skill", ANCHOR, rows, seed=rules.seed)
    found = [skill, judge_no_worse(ANCHOR, against, margin=rules.margin)]
    if rows.past is not None:
        past = contrast(rows.labels, rows.challenger, rows.past, seed=rules.seed)
        found.append(judge_no_worse("best past", past, margin=rules.margin))
    return found if rules.enforced else [report(one) for one in found]


def judge_recent(rows: HeldOut | None, rules: Rules, schema: Schema) -> list[Criterion]:
    """Judge what recent rows say, if they are asked for and suffice."""
    if rows is None or rows.champion is None:
        return []
    enough = judge_enough(rows, min_recent=rules.min_recent, min_recent_per_class=rules.min_recent_per_class)
    if not enough.passed:
        return [enough]
    against = contrast(rows.labels, rows.challenger, rows.champion, seed=rules.seed)
    skill = [] if rules.enforced else [judge_skill("skill", RECENT, rows, seed=rules.seed)]
    no_worse = judge_no_worse(RECENT, against, margin=rules.margin)
    return [enough, *skill, no_worse, *judge_closely(RECENT, rows, against, schema)]


def judge_closely(kind: str, rows: HeldOut, against: Contrast, schema: Schema) -> list[Criterion]:
    """Judge the calibration, and each group of rows."""
    calibration = judge_calibration(kind, rows, against)
    return [calibration] if rows.champion is None else [calibration, judge_slices(kind, rows, rows.champion, schema)]


def is_anchor_enforced(mode: Literal["auto", "enforce", "report"], change: Change | None) -> bool:
    """Return whether the anchor may refuse: not if outcomes say that it describes a world that is gone."""
    if mode == "auto":
        return change is None or change.kind != "concept"
    return mode == "enforce"


def find_hold(mode: Literal["auto", "enforce", "report"], change: Change | None) -> str | None:
    """Return why a person must approve a challenger that the anchor could not refuse, None if nobody need.

    Without the anchor, whoever sends the labels decides what is learned: labels of one source, or none that say that
    the world has changed, is how poisoning looks.
    """
    if is_anchor_enforced(mode, change):
        return None
    if change is None or change.kind != "concept":
        return 'retraining.anchor is "report" and no outcomes say that the old world is gone'
    if not change.confirmed:
        return f"the change rests on outcomes that one source alone could feign ({change.n_sources} sent any)"
    return None
