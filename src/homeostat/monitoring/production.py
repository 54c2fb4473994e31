"""The durable log read as data: rows put in order, windows of them, and the labelled ones as a source.

Not here: writing the log (`monitoring.predictions`), or judging a window (`monitoring.drift`).
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby

import polars as pl
import sqlalchemy
from sqlalchemy import ColumnElement, Connection, bindparam, func, or_, select, true, update

from homeostat.errors import SourceUnreadable
from homeostat.monitoring.observed import accept_again
from homeostat.records import Json, Schema
from homeostat.store.database import Database
from homeostat.store.leases import Lease, require_lease
from homeostat.store.tables import labels, predictions, retention
from homeostat.validation.schema import is_label

# Rows stamped in one transaction: the log's writers wait for it, so it is kept short.
STAMP_BLOCK = 2_000
# Windows that are judged in one call: the loop renews its lease and hears its triggers in between.
WINDOWS_PER_CALL = 100
# A longer quarantine is for ever: no calendar holds it.
LONGEST_S = 1e10
# Rows whose order is chosen at once: more than one request can have, so that it is seen whole.
STAMP_MOST = 50_000


def stamp_rows(database: Database, *, lease: Lease, epoch: int) -> int:
    """Stamp the accepted rows that no loop has seen yet with numbers in the order of the log, and return how many.

    The numbers are contiguous and belong to the watch of the release in production now (`epoch`); the database's own
    sequence is not in commit order. Rows of one request are numbered in a random order, which their ids decide: a
    sorted request of 1,000 rows would otherwise give one window its low values and the next its high ones, which is
    what a drift looks like. LeaseHeld if another loop took the lease meanwhile.
    """
    stamped = 0
    while fresh := fresh_rows(database):
        for start in range(0, len(fresh), STAMP_BLOCK):
            stamp_block(database, fresh[start : start + STAMP_BLOCK], lease=lease, epoch=epoch)
        stamped += len(fresh)
    return stamped


def fresh_rows(database: Database) -> list[int]:
    """Return the database's numbers of rows to stamp next, in the order in which they are stamped."""
    columns = (predictions.c.seq, predictions.c.received_at, predictions.c.id)
    query = select(*columns).where(predictions.c.observed_seq.is_(None)).order_by(predictions.c.seq)
    with database.read() as connection:
        lines = connection.execute(query.limit(STAMP_MOST)).all()
    requests = [list(request) for _, request in groupby(lines, key=lambda line: line.received_at)]
    if len(lines) == STAMP_MOST and len(requests) > 1:
        requests.pop()  # it may go on behind the limit
    return [line.seq for request in requests for line in sorted(request, key=lambda line: shuffle_key(line.id))]


def shuffle_key(prediction: str) -> bytes:
    """Return what a prediction is put in order by: random, and the same whenever it is asked."""
    return hashlib.blake2b(prediction.encode(), digest_size=8).digest()


def stamp_block(database: Database, fresh: Sequence[int], *, lease: Lease, epoch: int) -> None:
    """Stamp some rows, in this order, in one transaction."""
    with database.write("stamp") as connection:
        require_lease(connection, lease)
        last = last_stamped(connection)
        connection.execute(
            update(predictions)
            .where(predictions.c.seq == bindparam("which"))
            .values(observed_seq=bindparam("place"), epoch=epoch),
            [{"which": seq, "place": last + place} for place, seq in enumerate(fresh, start=1)],
        )


def last_stamped(connection: Connection) -> int:
    """Return the highest number that a row was ever given, 0 before the first; its row may be deleted since."""
    # "is not null" says nothing to the maximum, but lets SQLite find it at the end of a partial index.
    stamped = select(func.max(predictions.c.observed_seq)).where(predictions.c.observed_seq.is_not(None))
    ends = (stamped, select(retention.c.last_seq))
    return max(connection.scalar(end) or 0 for end in ends)


def watched_range(connection: Connection, *, epoch: int) -> tuple[int, int] | None:
    """Return the first and last observed number of a watch, None if it has no rows yet."""
    # Two queries: SQLite finds one end of an index at once, but walks through it for both.
    first, last = (
        connection.scalar(select(end(predictions.c.observed_seq)).where(predictions.c.epoch == epoch))
        for end in (func.min, func.max)
    )
    return None if first is None or last is None else (first, last)


def window_after(connection: Connection, *, epoch: int, done: int | None, n_rows: int) -> tuple[int, int] | None:
    """Return the first and last observed number of a watch's next window of `n_rows`, None if it is not complete yet.

    `done` is the last number that an earlier window has covered, None before the first: that begins with the watch.
    """
    watched = watched_range(connection, epoch=epoch)
    if watched is None:
        return None
    first = watched[0] if done is None else done + 1
    last = first + n_rows - 1
    return None if last > watched[1] else (first, last)


@dataclass(frozen=True, slots=True)
class Quarantine:
    """How long an outcome waits before it is used, as seen from a moment; None in its place: it does not wait."""

    now: datetime
    lasts_s: float


def is_old_enough(quarantine: Quarantine | None) -> ColumnElement[bool]:
    """Return the condition under which an outcome is used.

    One that came further from now than the quarantine lasts is out of it, also if it seems to come from the future: the
    clock was set back since, and says nothing of its age.
    """
    if quarantine is None or quarantine.lasts_s == 0:
        return true()
    lasts = timedelta(seconds=min(quarantine.lasts_s, LONGEST_S))
    return or_(labels.c.received_at <= quarantine.now - lasts, labels.c.received_at >= quarantine.now + lasts)


@dataclass(frozen=True, slots=True)
class LabelledProduction:
    """The labelled predictions as a `Source`: each with its id, its features as sent, its outcome and who sent that.

    Those that the schema of today no longer accepts, row or outcome, are left out, and those in quarantine.
    """

    database: Database
    schema: Schema
    quarantine: Quarantine | None = None

    @property
    def name(self) -> str:
        """Return the source's name."""
        return "production"

    def read(self) -> pl.DataFrame:
        """Return every labelled prediction that a loop has observed, in the order of the log.

        Raises
        ------
        SourceUnreadable
            No prediction that the schema accepts has a label yet.
        """
        frame, n_refused = self.read_counted()
        if not len(frame):
            raise SourceUnreadable(
                problem=f"none of {n_refused} labelled predictions fits the schema",
                expected="at least one",
                action="send outcomes to /v1/labels",
            )
        return frame

    def read_counted(self) -> tuple[pl.DataFrame, int]:
        """Return the same, if need be without a row, and how many the schema of today no longer accepts."""
        kept, n_refused = [], 0
        with self.database.read() as connection:
            for line in self._labelled(connection):
                row, outcome = accept_again(line.row, self.schema), json.loads(line.label)
                if row is None or not is_label(outcome, self.schema.target):
                    n_refused += 1
                else:
                    kept.append((line.id, line.observed_seq, line.source, row, str(outcome)))
        frame: dict[str, pl.Series] = {
            ".id": pl.Series([line[0] for line in kept], dtype=pl.String),
            ".seq": pl.Series([line[1] for line in kept], dtype=pl.Int64),
            ".sender": pl.Series([line[2] for line in kept], dtype=pl.String),
        }
        for feature in self.schema.features:
            kind = pl.Float64 if feature.kind == "numeric" else pl.String
            frame[feature.name] = pl.Series([line[3][feature.name] for line in kept], dtype=kind)
        frame[self.schema.target.name] = pl.Series([line[4] for line in kept], dtype=pl.String)
        return pl.DataFrame(frame), n_refused

    def describe(self) -> Json:
        """Return the log's line of lineage: how many labels there were."""
        with self.database.read() as connection:
            return {"kind": "production", "name": self.name, "labels": count_labels(connection)}

    def _labelled(self, connection: Connection) -> Iterable[sqlalchemy.Row[tuple[str, int, bytes, str, str]]]:
        query = (
            select(predictions.c.id, predictions.c.observed_seq, predictions.c.row, labels.c.label, labels.c.source)
            .join(labels, labels.c.prediction == predictions.c.id)
            .where(predictions.c.observed_seq.is_not(None), is_old_enough(self.quarantine))
            .order_by(predictions.c.observed_seq)
        )
        return connection.execute(query)


def count_labels(connection: Connection) -> int:
    """Return how many predictions have a label."""
    return int(connection.scalar(select(func.count()).select_from(labels)) or 0)


def count_labels_ever(connection: Connection, quarantine: Quarantine | None = None) -> int:
    """Return how many labels have ever arrived, those in quarantine left out.

    Those that were deleted since, with their predictions, count too.
    """
    query = select(func.count()).select_from(labels).where(is_old_enough(quarantine))
    return int(connection.scalar(query) or 0) + (connection.scalar(select(retention.c.labels)) or 0)


def labelled_since(
    connection: Connection, *, first_seq: int, at_most: int, quarantine: Quarantine | None = None
) -> list[tuple[str, str, str]]:
    """Return id, label (as JSON text) and sender of the newest labelled predictions from `first_seq` on, in order."""
    query = (
        select(predictions.c.id, labels.c.label, labels.c.source)
        .join(labels, labels.c.prediction == predictions.c.id)
        .where(predictions.c.observed_seq >= first_seq, is_old_enough(quarantine))
        .order_by(predictions.c.observed_seq.desc())
        .limit(at_most)
    )
    return [(row.id, row.label, row.source) for row in reversed(connection.execute(query).all())]
