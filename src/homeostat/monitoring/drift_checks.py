"""The record of drift checks: one line per window, and what a run of them says about since when.

Not here: the statistics (`monitoring.drift`) or reading the windows (`monitoring.windows`). The service imports this.
"""

import json
from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import Connection, Row, func, insert, select

from homeostat.records import Json
from homeostat.store.tables import drift_checks, promotions


def append_check(
    connection: Connection, report: Json, *, epoch: int, window: tuple[int, int], release: str, now: datetime
) -> None:
    """Store one check of the accepted rows `window[0]` to `window[1]` (observed numbers, both included)."""
    first, last = window
    connection.execute(
        insert(drift_checks).values(
            epoch=epoch,
            first_seq=first,
            last_seq=last,
            checked_at=now,
            release=release,
            score=report["score"],
            fired=int(report["score"] > report["boundary"]),
            report=json.dumps(report),
        )
    )


def list_drift_checks(connection: Connection, *, epoch: int | None = None) -> list[Json]:
    """Return the checks, oldest first, of one watch (the time of one promotion) if `epoch` is given."""
    query = select(drift_checks).order_by(drift_checks.c.id)
    if epoch is not None:
        query = query.where(drift_checks.c.epoch == epoch)
    return [as_check(row) for row in connection.execute(query)]


def latest_drift_check(connection: Connection) -> Json | None:
    """Return the newest check of the release in production, None before its first."""
    epoch = select(func.max(promotions.c.epoch)).scalar_subquery()
    query = select(drift_checks).where(drift_checks.c.epoch == epoch).order_by(drift_checks.c.id.desc()).limit(1)
    row = connection.execute(query).first()
    return as_check(row) if row else None


def last_checked(connection: Connection, *, epoch: int) -> int | None:
    """Return the last observed number that a check of this watch has covered, None before the first."""
    last: int | None = connection.scalar(select(func.max(drift_checks.c.last_seq)).where(drift_checks.c.epoch == epoch))
    return last


def as_check(row: Row[tuple[object, ...]]) -> Json:
    """Return a row of the table as a JSON object."""
    return {
        "id": row.id,
        "epoch": row.epoch,
        "first_seq": row.first_seq,
        "last_seq": row.last_seq,
        "checked_at": row.checked_at.isoformat(),
        "release": row.release,
        "score": row.score,
        "fired": bool(row.fired),
        "report": msgspec.json.decode(row.report),
    }


def change_point(checks: Sequence[Json]) -> int | None:
    """Return the observed number from which on the world looks moved, None if no window fired.

    It is the beginning of the first fired window from which on at least half of the windows fired: one chance alarm
    long ago does not date the change, one quiet window within it does not hide it.
    """
    fired_since = sum(bool(check["fired"]) for check in checks)
    for place, check in enumerate(checks):
        if check["fired"]:
            if 2 * fired_since >= len(checks) - place:
                return int(check["first_seq"])
            fired_since -= 1
    return None
