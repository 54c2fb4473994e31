"""The rows that judge: the anchor of a snapshot, and labelled predictions that are kept from all training.

Not here: which predictions may judge (`retraining.facts`), or the judging (`retraining.comparison`).
"""

import hashlib
import json
from collections.abc import Collection

import numpy as np
from sqlalchemy import Connection, select

from homeostat.data.columns import stack_rows, texts
from homeostat.data.snapshots import PRODUCTION, choose_side, join_labelled, take_labelled
from homeostat.monitoring.observed import accept_again
from homeostat.project import Project
from homeostat.records import LabelledRows, Schema
from homeostat.store.tables import labels, predictions
from homeostat.validation.schema import is_label

# So many rows that more would not change a verdict: beyond, they are thinned.
MOST_ROWS = 5_000
IDS_PER_QUERY = 500


def anchor_rows(rows: LabelledRows, *, seed: int) -> LabelledRows:
    """Return the anchor of a snapshot."""
    return thin(take_labelled(rows, np.asarray(rows.sides == "anchor", dtype=np.bool_)), seed=seed)


def recent_rows(
    project: Project, rows: LabelledRows, schema: Schema, ids: Collection[str], *, seed: int
) -> LabelledRows:
    """Return the labelled predictions with these ids, from the snapshot or, if they came later, from the log.

    What the snapshot could have held and does not was left out for a reason, and judges no more than it trains.
    """
    wanted = set(ids)
    mask = [side == "recent" and row in wanted for side, row in zip(rows.sides, rows.ids, strict=True)]
    known = take_labelled(rows, np.array(mask, dtype=np.bool_))
    share = project.settings.retraining.recent_share
    later = sorted(
        row
        for row in wanted - set(rows.ids.tolist())
        if choose_side(row, origin=PRODUCTION, anchor_share=0, recent_share=share) == "recent"
    )
    newest = int(rows.seqs.max(initial=0))
    with project.database.read() as connection:
        found = read_labelled(connection, later, schema)
    return thin(join_labelled([known, take_labelled(found, np.asarray(found.seqs > newest))], schema), seed=seed)


def read_labelled(connection: Connection, ids: list[str], schema: Schema) -> LabelledRows:
    """Return labelled predictions of the log by id; those that the schema no longer accepts are left out."""
    found = []
    for start in range(0, len(ids), IDS_PER_QUERY):
        query = (
            select(predictions.c.id, predictions.c.row, predictions.c.observed_seq, labels.c.label)
            .join(labels, labels.c.prediction == predictions.c.id)
            .where(predictions.c.id.in_(ids[start : start + IDS_PER_QUERY]))
            .order_by(predictions.c.id)
        )
        for line in connection.execute(query):
            row, label = accept_again(line.row, schema), json.loads(line.label)
            if row is not None and is_label(label, schema.target):
                found.append((line.id, row, label == schema.target.positive, line.observed_seq or 0))
    return LabelledRows(
        texts([one[0] for one in found]),
        stack_rows([one[1] for one in found], schema),
        np.array([one[2] for one in found], dtype=np.int8),
        texts(["recent"] * len(found)),
        texts([PRODUCTION] * len(found)),
        np.array([one[3] for one in found], dtype=np.int64),
    )


def thin(rows: LabelledRows, *, seed: int) -> LabelledRows:
    """Return the rows, or so many of them, drawn at random, that more would not change a verdict."""
    n_rows = len(rows.labels)
    if n_rows <= MOST_ROWS:
        return rows
    drawn = np.random.default_rng(seed).choice(n_rows, MOST_ROWS, replace=False)
    return take_labelled(rows, np.sort(drawn))


def name_rows(rows: LabelledRows) -> str:
    """Return a digest of which rows these are."""
    return hashlib.sha256("|".join(sorted(rows.ids.tolist())).encode()).hexdigest()[:32]
