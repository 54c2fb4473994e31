"""Rows and outcomes put into the log as if a service had answered them, for tests of what happens to them later.

Not here: how a service writes them (`tests/monitoring/test_predictions.py`).
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, insert, select, update

from homeostat.deployment.artifacts import find_release, open_release
from homeostat.deployment.registry import require_production
from homeostat.monitoring.entries import Line, label_to_text, new_prediction_ids, to_microseconds
from homeostat.monitoring.production import stamp_rows
from homeostat.monitoring.windows import watch
from homeostat.project import Project
from homeostat.records import Label, Row
from homeostat.store.database import Database
from homeostat.store.leases import Lease, take_lease
from homeostat.store.tables import labels, leases, predictions

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def answer(database: Database, rows: Sequence[Row]) -> list[str]:
    """Append answered rows to the log and return their ids, which count on from those that are there."""
    with database.write() as connection:
        known = connection.scalar(select(func.count()).select_from(predictions)) or 0
        ids = [f"p{known + number:06}" for number in range(len(rows))]
        # Not `NOW`: some day the loop's own clock would find these rows too old to keep. Each is a request of its own.
        began, step = datetime.now(UTC), timedelta(microseconds=1)
        values = {"release": "a" * 64, "probability": 0.5, "label": "0"}
        lines = [
            {**values, "id": i, "row": json.dumps(row).encode(), "received_at": began + number * step}
            for number, (i, row) in enumerate(zip(ids, rows, strict=True))
        ]
        if lines:
            connection.execute(insert(predictions), lines)
    return ids


def line(row: Row, *, id_: str | None = None, now: datetime = NOW, release: str = "a" * 64) -> Line:
    """Return the line of an answered row, as `entries.PREDICTION_COLUMNS` has it."""
    id_ = new_prediction_ids(1, to_microseconds(now))[0] if id_ is None else id_
    return (id_, to_microseconds(now), release, json.dumps(row).encode(), 0.25, label_to_text(0))


def label(
    database: Database, outcomes: Sequence[tuple[str, Label]], *, source: str = "test", now: datetime = NOW
) -> None:
    """Append outcomes by prediction id, all from one source."""
    lines = [{"prediction": i, "label": json.dumps(o), "received_at": now, "source": source} for i, o in outcomes]
    with database.write() as connection:
        if lines:
            connection.execute(insert(labels), lines)


def own_lease(database: Database) -> Lease:
    """Take the lease for this process."""
    return take_lease(database, now=NOW)


@contextmanager
def lease_lost(database: Database) -> Iterator[Lease]:
    """Give a lease that another loop has taken meanwhile."""
    lease = own_lease(database)
    with database.write() as connection:
        connection.execute(update(leases).values(fence=lease.fence + 1, holder="elsewhere:1"))
    yield lease


def check_windows(project: Project) -> None:
    """Check the complete windows of the watch under way, as a loop does."""
    with project.database.read() as connection:
        promotion = require_production(connection)
    release = open_release(find_release(promotion.release, project.blobs))
    lease = own_lease(project.database)
    stamp_rows(project.database, lease=lease, epoch=promotion.epoch)
    watch(project.database, release, promotion, project.settings.monitoring, lease=lease, now=NOW)
