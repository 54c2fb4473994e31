"""Comparing a release with its predecessor on each window of rows once, when its outcomes are judged.

Not here: the test (`monitoring.succession`), or which windows are judged when (`monitoring.outcomes`): this follows.
"""

from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

import numpy as np
from sqlalchemy import Connection, select

from homeostat.data.columns import stack_rows
from homeostat.deployment.artifacts import find_release, recall_release
from homeostat.deployment.restoring import is_barred
from homeostat.errors import ArtifactError, ReleaseMissing, StateError
from homeostat.monitoring.bake import LEAST_SCORED
from homeostat.monitoring.observed import accept_again
from homeostat.monitoring.outcome_checks import last_judged
from homeostat.monitoring.outcomes import to_class
from homeostat.monitoring.production import WINDOWS_PER_CALL, watched_range
from homeostat.monitoring.succession import (
    Succession,
    advance_succession,
    succession_from_bytes,
    succession_to_bytes,
)
from homeostat.monitoring.watch_states import find_state, store_state
from homeostat.project import Project
from homeostat.records import Floats, Promotion, Release, Row, Schema
from homeostat.settings import Settings
from homeostat.store.database import Database
from homeostat.store.leases import Lease, require_lease
from homeostat.store.tables import labels, predictions
from homeostat.training.scoring import GRAPH_ERRORS, Graph

STATE = "succession"
# Most that one of several senders counts: nobody who can undo a release alone need be let in for training's sake.
MOST_SHARE = 0.5
# Whatever a release can raise while it is opened or asked, on a disk that fails or after somebody has changed it.
UNUSABLE = (ArtifactError, ReleaseMissing, OSError, *GRAPH_ERRORS)
# The predecessor answers so many rows again, or up to twice as many, where answers look wrong.
SCORED_AGAIN = 500


class Outcome(NamedTuple):
    """One row that the release has answered, and what came of it: `label` is 1 for positive."""

    row: Row
    probability: float
    label: int
    source: str


def judge_succession(
    database: Database,
    release: Release,
    predecessor: Release | None,
    promotion: Promotion,
    settings: Settings,
    *,
    lease: Lease,
    now: datetime,  # noqa: ARG001  the signature of every judge of a watch
) -> None:
    """Compare the release with its predecessor on the rows whose outcomes were judged since the last time.

    Nothing is compared without a predecessor, or with one of other columns or another target; rows that it cannot
    answer are passed over. A loop that is killed goes on where it was.

    Raises
    ------
    LeaseHeld
        Another loop took the lease meanwhile; what was compared until then stays.
    """
    if predecessor is None or not are_comparable(release.schema, predecessor.schema):
        return
    graph: Graph | None = None
    for _ in range(WINDOWS_PER_CALL):
        with database.read() as connection:
            block = next_block(connection, promotion, n_rows=settings.monitoring.window)
            if block is None:
                return
            outcomes = read_outcomes(connection, release, first=block[0], last=block[1])
            before = restore_succession(connection, epoch=promotion.epoch)
        try:
            graph = graph or Graph(predecessor.graph, predecessor.schema)
            after = advance_over(
                before, outcomes, graph, predecessor.schema, most=min(MOST_SHARE, settings.retraining.max_source_share)
            )
        except GRAPH_ERRORS:
            # A predecessor that cannot answer these rows says nothing of them: the comparison goes on after them.
            after = before
        state = succession_to_bytes(after)
        with database.write("judge_succession") as connection:
            require_lease(connection, lease)
            store_state(connection, epoch=promotion.epoch, kind=STATE, last_seq=block[1], state=state)


def are_comparable(ours: Schema, theirs: Schema) -> bool:
    """Return whether two releases take the same columns and answer the same question."""
    columns = [[(feature.name, feature.kind) for feature in schema.features] for schema in (ours, theirs)]
    return columns[0] == columns[1] and ours.target == theirs.target


def next_block(connection: Connection, promotion: Promotion, *, n_rows: int) -> tuple[int, int] | None:
    """Return the first and last observed number of the next rows to compare, None if no outcome was judged since."""
    found, judged = (
        find_state(connection, epoch=promotion.epoch, kind=STATE),
        last_judged(connection, epoch=promotion.epoch),
    )
    if judged is None or (found is not None and found[0] >= judged):
        return None
    watched = watched_range(connection, epoch=promotion.epoch)
    first = found[0] + 1 if found is not None else watched[0] if watched is not None else judged
    return first, min(first + n_rows - 1, judged)


def read_outcomes(connection: Connection, release: Release, *, first: int, last: int) -> list[Outcome]:
    """Return the rows that the release has answered and that have an outcome, in the order of the predictions."""
    query = (
        select(predictions.c.row, predictions.c.probability, labels.c.label, labels.c.source)
        .join(labels, labels.c.prediction == predictions.c.id)
        .where(predictions.c.observed_seq.between(first, last), predictions.c.release == release.digest)
        .order_by(predictions.c.observed_seq)
    )
    found = []
    for line in connection.execute(query):
        row, label = accept_again(line.row, release.schema), to_class(line.label, release.schema.target)
        if row is not None and label >= 0:
            found.append(Outcome(row, line.probability, label, line.source))
    return found


def restore_succession(connection: Connection, *, epoch: int) -> Succession:
    """Return the comparison as it stands on a watch; what another version of it has left is begun anew."""
    found = find_state(connection, epoch=epoch, kind=STATE)
    if found is not None:
        with suppress(StateError):
            return succession_from_bytes(found[1])
    return Succession()


def advance_over(
    succession: Succession, outcomes: list[Outcome], graph: Graph, schema: Schema, *, most: float
) -> Succession:
    """Return the comparison after some more rows, which the predecessor answers now."""
    if not outcomes:
        return succession
    before = graph.score(stack_rows([one.row for one in outcomes], schema)).astype(np.float64)
    return advance_succession(
        succession,
        np.array([one.probability for one in outcomes]),
        before,
        np.array([one.label for one in outcomes], dtype=np.int8),
        sources=[one.source for one in outcomes],
        most=most,
    )


# --- the predecessor ----------------------------------------------------------------------------------------------


def find_predecessor(connection: Connection, promotion: Promotion) -> str | None:
    """Return the release that this one is compared with, None if it has none but one that was rolled back."""
    before = promotion.previous
    if before is None or before == promotion.release or is_barred(connection, before, labels_ever=0):
        return None
    return before


def open_predecessor(project: Project, promotion: Promotion) -> Release | None:
    """Return the release that this one is compared with, None if there is none or if it is not whole any more."""
    with project.database.read() as connection:
        before = find_predecessor(connection, promotion)
    try:
        return None if before is None else open_promoted(project, before)
    except UNUSABLE:
        return None


def open_promoted(project: Project, digest: str) -> Release:
    """Return a release that was promoted."""
    return recall_release(find_release(digest, project.blobs))


def score_again(project: Project, promotion: Promotion, release: Release, rows: list[bytes]) -> Floats | None:
    """Return what the predecessor says to a sample of stored rows.

    None if it takes other columns, accepts too few of them for a comparison, fails, or is not there any more.
    """
    predecessor = open_predecessor(project, promotion)
    if predecessor is None or not are_comparable(release.schema, predecessor.schema):
        return None
    # Evenly from all of them. Asked anew on every turn of a probation: a loop remembers nothing.
    sample = rows[:: max(1, len(rows) // SCORED_AGAIN)]
    accepted = [row for row in (accept_again(one, predecessor.schema) for one in sample) if row is not None]
    if len(accepted) < min(LEAST_SCORED, len(sample)):
        return None
    try:
        graph = Graph(predecessor.graph, predecessor.schema)
        return graph.score(stack_rows(accepted, predecessor.schema)).astype(np.float64)
    except UNUSABLE:
        return None
