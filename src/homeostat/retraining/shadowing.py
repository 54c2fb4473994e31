"""Answering live rows with a challenger in the shadow of the champion, in the process with limits.

Not here: what the answers say (`deployment.shadow`), or waiting for the rows (`retraining.judging`).
"""

from dataclasses import dataclass

import numpy as np

from homeostat.data.columns import stack_rows
from homeostat.deployment.artifacts import find_release, open_release
from homeostat.deployment.shadow import judge_shadow
from homeostat.monitoring.observed import accept_again
from homeostat.project import Project
from homeostat.records import Columns, Floats, GateResult, Release
from homeostat.retraining.cases import Shadow, read_answered
from homeostat.retraining.comparison import Refused, refusing, score_guarded, time_rows
from homeostat.training.scoring import POSITIVE_FROM, Graph


@dataclass(frozen=True, slots=True)
class Beside:
    """Live rows that the champion has answered, and both releases; `answers` has shape (n_rows,)."""

    challenger: Release
    champion: Release
    columns: Columns
    answers: Floats


def prepare_shadow(project: Project, shadow: Shadow) -> Beside:
    """Load both releases and the live rows; rows that the challenger's schema does not accept are left out."""
    names = (shadow.challenger, shadow.champion)
    challenger, champion = (open_release(find_release(one, project.blobs)) for one in names)
    with project.database.read() as connection:
        found = read_answered(connection, shadow)
    rows = [(accept_again(row, challenger.schema), probability) for row, probability in found]
    kept = [(row, probability) for row, probability in rows if row is not None]
    columns = stack_rows([row for row, _ in kept], challenger.schema)
    return Beside(challenger, champion, columns, np.array([probability for _, probability in kept], dtype=np.float64))


def judge_beside(beside: Beside, shadow: Shadow) -> GateResult:
    """Return the verdict on a challenger's answers to live rows."""
    try:
        with refusing("shadow answers"):
            graph = Graph(beside.challenger.graph, beside.challenger.schema)
        ours = score_guarded(graph, beside.columns)
        with refusing("shadow latency"):
            latency = time_rows(graph, beside.columns, beside.champion)
    except Refused as refused:
        return GateResult((refused.criterion,))
    return judge_shadow(ours, beside.answers, latency, same_rule=shadow.same_rule, cut=POSITIVE_FROM)
