"""Putting champion and challenger before the gate: both score the same held-out rows.

Not here: the criteria (`deployment.gate`).
"""

import numpy as np
from numpy.typing import NDArray

from homeostat.data.columns import take_rows
from homeostat.data.snapshots import load_snapshot
from homeostat.deployment.artifacts import check_golden, find_release, open_release
from homeostat.deployment.gate import HeldOut, judge
from homeostat.errors import ArtifactError
from homeostat.project import Project
from homeostat.records import Criterion, GateResult, LabelledRows, Release
from homeostat.training.scoring import Graph


def compare(
    project: Project, *, challenger: str, champion: str | None, recent_ids: frozenset[str] | None
) -> GateResult:
    """Return the gate's verdict on a packed release.

    Parameters
    ----------
    project
        The open project.
    challenger, champion
        Digests of releases; no champion before the first promotion.
    recent_ids
        The labelled predictions since the world may have changed: those of them that are kept from training judge.
        None if the attempt was asked for by hand and they are too few.
    """
    try:
        release = open_release(find_release(challenger, project.blobs))
        graph = Graph(release.graph, release.schema)
        difference = check_golden(release, graph)
    except ArtifactError as error:
        return GateResult((Criterion("artifact", passed=False, sentence=error.problem, figures={}),))
    sound = Criterion(
        "artifact",
        passed=True,
        sentence=f"every byte verified; {len(release.golden.expected)} golden rows answered within {difference:.1g}",
        figures={"largest_difference": difference},
    )
    snapshot = load_snapshot(release.lineage["snapshot"], schema=release.schema, blobs=project.blobs)
    rival = None if champion is None else open_release(find_release(champion, project.blobs))
    criteria = [sound]
    if rival is not None and columns_of(rival) != columns_of(release):
        rival = None
        words = "the champion has other columns and cannot answer these rows: there is nothing to compare with"
        criteria.append(Criterion("champion", passed=True, sentence=words, figures={}))
    rows = snapshot.rows
    anchor = hold_out(rows, np.asarray(rows.sides == "anchor", dtype=np.bool_), release, rival)
    recent = None
    if recent_ids is not None:
        mask = np.array(
            [side == "recent" and row in recent_ids for side, row in zip(rows.sides, rows.ids, strict=True)]
        )
        recent = hold_out(rows, mask, release, rival)
    settings = project.settings
    verdict = judge(
        anchor,
        recent,
        margin=settings.retraining.margin,
        min_recent=settings.retraining.min_recent,
        min_recent_per_class=settings.retraining.min_recent_per_class,
        seed=settings.training.seed,
    )
    return GateResult((*criteria, *verdict.criteria))


def columns_of(release: Release) -> set[tuple[str, str]]:
    """Return name and kind of each input: releases that share them can answer the same rows, whatever else differs."""
    return {(feature.name, feature.kind) for feature in release.schema.features}


def hold_out(rows: LabelledRows, mask: NDArray[np.bool_], challenger: Release, champion: Release | None) -> HeldOut:
    """Return the chosen rows with the probabilities that both graphs give."""
    columns = take_rows(rows.columns, mask)
    scores = [
        None if release is None else Graph(release.graph, release.schema).score(columns).astype(np.float64)
        for release in (challenger, champion)
    ]
    first, second = scores
    return HeldOut(rows.labels[mask], first if first is not None else np.empty(0), second)
