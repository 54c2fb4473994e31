"""Which candidate becomes the challenger: each recipe's model scores the recent rows, the best is packed.

Not here: the recipes (`training.recipes`), or whether the challenger may replace the champion (`deployment.gate`).
Every candidate is scored by its graph, on rows that none of them has seen.
"""

import math
from collections.abc import Sequence

import numpy as np

from homeostat.data.snapshots import take_labelled
from homeostat.project import Project
from homeostat.records import Floats, Json, LabelledRows, Schema, Snapshot
from homeostat.retraining.packing import Candidate, Choice, fit_candidate, pack_candidate, recent_since
from homeostat.training.recipes import recipe_from_json
from homeostat.training.scoring import Graph
from homeostat.training.train import log_loss, log_odds

# Fewer rows cannot choose: the union then is the challenger.
MIN_CHOOSING = 30


def pack_best(
    project: Project, snapshot: Snapshot, searches: Sequence[Json], *, change: Json | None, code: Json, provenance: Json
) -> Json:
    """Fit the winner of each search, pack the best of them, and return its digest, its recipe and everyone's figures.

    Parameters
    ----------
    project, snapshot
        The open project, and the training set.
    searches
        For each recipe, the union first: the recipe and what its search found, as JSON.
    change
        What has changed in the world, `kind` and `since`: rows from there on choose.
    code, provenance
        As in `retraining.packing.pack`.
    """
    candidates = [fit_candidate(project, snapshot, one["found"], recipe_from_json(one["recipe"])) for one in searches]
    choosing = take_labelled(snapshot.rows, recent_since(snapshot.rows, Choice(change=change).since))
    losses = score_candidates(candidates, choosing, project.schema)
    best = candidates[choose(losses)]
    told = [
        describe_candidate(one, loss, n_choosing=len(choosing.labels))
        for one, loss in zip(candidates, losses, strict=True)
    ]
    packed = pack_candidate(project, snapshot, best, Choice(told, change), code=code, provenance=provenance)
    return packed | {"recipe": best.recipe.name, "candidates": told}


def score_candidates(candidates: Sequence[Candidate], choosing: LabelledRows, schema: Schema) -> list[float | None]:
    """Return each candidate's log loss on the rows that choose; None without a choice, or where they are too few."""
    if len(candidates) == 1 or len(choosing.labels) < MIN_CHOOSING:
        return [None] * len(candidates)
    return [graph_loss(Graph(one.trained.graph, schema), choosing) for one in candidates]


def graph_loss(graph: Graph, rows: LabelledRows) -> float:
    """Return the log loss of a graph's answers to labelled rows, in nats."""
    scores: Floats = graph.score(rows.columns).astype(np.float64)
    return log_loss(rows.labels, log_odds(scores))


def choose(losses: Sequence[float | None]) -> int:
    """Return the place of the least loss, of equal ones the first; the first if there are no losses."""
    known = [math.inf if loss is None or math.isnan(loss) else loss for loss in losses]
    return known.index(min(known))


def describe_candidate(candidate: Candidate, loss: float | None, *, n_choosing: int) -> Json:
    """Return a candidate's figures."""
    return {
        "recipe": candidate.recipe.name,
        "family": candidate.found["family"],
        "parameters": candidate.found["parameters"],
        "n_training": candidate.n_training,
        "n_choosing": 0 if loss is None else n_choosing,
        "log_loss": loss,
    }
