"""The durable log read as data: rows put in order, windows of them, and the labelled ones as a source.

Not here: writing the log (`monitoring.predictions`), or judging a window (`monitoring.drift`).
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
import polars as pl
from sqlalchemy import Connection, Row, bindparam, func, select, update

from homeostat.data.columns import stack_rows
from homeostat.errors import SourceUnreadable
from homeostat.records import Columns, Json, Schema
from homeostat.store.database import Database
from homeostat.store.tables import labels, predictions
from homeostat.validation.checks import check_row

# Rows stamped in one transaction: the log's writers wait for it, so it is kept short.
STAMP_BLOCK = 2_000


def stamp_rows(database: Database, *, epoch: int) -> int:
    """Stamp the accepted rows that no loop has seen yet with numbers in the order of the log, and return how many.

    The numbers are contiguous and belong to the watch of the release in production now (`epoch`); the database's own
    sequence is not in commit order.
    """
    stamped = 0
    while True:
        with database.write() as connection:
            query = select(predictions.c.seq).where(predictions.c.observed_seq.is_(None)).order_by(predictions.c.seq)
            fresh = connection.scalars(query.limit(STAMP_BLOCK)).all()
            if not fresh:
                return stamped
            last = connection.scalar(select(func.max(predictions.c.observed_seq))) or 0
            connection.execute(
                update(predictions)
                .where(predictions.c.seq == bindparam("which"))
                .values(observed_seq=bindparam("place"), epoch=epoch),
                [{"which": seq, "place": last + place} for place, seq in enumerate(fresh, start=1)],
            )
        stamped += len(fresh)


def watched_range(connection: Connection, *, epoch: int) -> tuple[int, int] | None:
    """Return the first and last observed number of a watch, None if it has no rows yet."""
    first, last = connection.execute(
        select(func.min(predictions.c.observed_seq), func.max(predictions.c.observed_seq)).where(
            predictions.c.epoch == epoch
        )
    ).one()
    return None if first is None else (first, last)


def read_rows(connection: Connection, schema: Schema, *, first: int, last: int) -> Columns:
    """Return the accepted rows from one observed number to another, both included.

    Rows that the schema of today no longer accepts, because it was edited since, are left out.
    """
    query = select(predictions.c.row).where(predictions.c.observed_seq.between(first, last))
    rows = [msgspec.json.decode(row) for row in connection.scalars(query.order_by(predictions.c.observed_seq))]
    checked = [check_row({f.name: row.get(f.name) for f in schema.features}, schema) for row in rows]
    return stack_rows([one.row for one in checked if not one.violations], schema)


@dataclass(frozen=True, slots=True)
class LabelledProduction:
    """The labelled predictions as a `Source`: each with its id, its features as sent, and its outcome."""

    database: Database
    schema: Schema
    first_seq: int = 0

    @property
    def name(self) -> str:
        """Return the source's name."""
        return "production"

    def read(self) -> pl.DataFrame:
        """Return every labelled prediction observed from `first_seq` on, in order.

        Raises
        ------
        SourceUnreadable
            No prediction has a label yet.
        """
        with self.database.read() as connection:
            rows = list(self._labelled(connection))
        if not rows:
            raise SourceUnreadable(
                problem="no prediction has a label yet",
                expected="outcomes sent to /v1/labels",
                action="send the outcomes, then try again",
            )
        cells = [msgspec.json.decode(row.row) for row in rows]
        frame: dict[str, pl.Series] = {".id": pl.Series([row.id for row in rows])}
        for feature in self.schema.features:
            kind = pl.Float64 if feature.kind == "numeric" else pl.String
            frame[feature.name] = pl.Series([cell.get(feature.name) for cell in cells], dtype=kind, strict=False)
        frame[self.schema.target.name] = pl.Series([str(json.loads(row.label)) for row in rows])
        return pl.DataFrame(frame)

    def describe(self) -> Json:
        """Return the log's line of lineage: how many labels there were."""
        with self.database.read() as connection:
            return {"kind": "production", "name": self.name, "labels": count_labels(connection)}

    def _labelled(self, connection: Connection) -> Iterable[Row[tuple[str, bytes, str]]]:
        query = (
            select(predictions.c.id, predictions.c.row, labels.c.label)
            .join(labels, labels.c.prediction == predictions.c.id)
            .where(predictions.c.observed_seq >= self.first_seq)
            .order_by(predictions.c.observed_seq)
        )
        return connection.execute(query)


def count_labels(connection: Connection) -> int:
    """Return how many predictions have a label."""
    return int(connection.scalar(select(func.count()).select_from(labels)) or 0)


def labelled_since(connection: Connection, *, first_seq: int) -> list[tuple[str, str]]:
    """Return id and label (as JSON text) of each labelled prediction observed from `first_seq` on."""
    query = (
        select(predictions.c.id, labels.c.label)
        .join(labels, labels.c.prediction == predictions.c.id)
        .where(predictions.c.observed_seq >= first_seq)
    )
    return [(row.id, row.label) for row in connection.execute(query)]
