"""The record of drift checks: one line per window, which rules fired in it, and since when the world has moved.

Not here: the statistics (`monitoring.drift`, `monitoring.evidence`) or reading the windows (`monitoring.windows`). The
service imports this. What the loop asks on every turn costs the same however many windows a watch has.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal, TypeAlias

import msgspec
from sqlalchemy import Connection, Row, func, insert, select

from homeostat.records import Json
from homeostat.store.tables import drift_checks, promotions

Rule: TypeAlias = Literal["book", "guarded"]
BOOK, GUARDED = 1, 2
# What the column `fired` holds where a rule has fired.
LEVELS: Mapping[Rule, tuple[int, int]] = {"book": (BOOK, BOOK + GUARDED), "guarded": (GUARDED, BOOK + GUARDED)}
# Windows that the book's change point is looked for in: a shift is not dated to years ago.
LOOK_BACK = 1_000


def append_check(
    connection: Connection, report: Json, *, epoch: int, window: tuple[int, int], release: str, now: datetime
) -> None:
    """Store one check of the accepted rows `window[0]` to `window[1]` (observed numbers, both included)."""
    first, last = window
    guarded = (report.get("guarded") or {}).get("fired", False)
    connection.execute(
        insert(drift_checks).values(
            epoch=epoch,
            first_seq=first,
            last_seq=last,
            checked_at=now,
            release=release,
            score=report["score"],
            fired=BOOK * (report["score"] > report["boundary"]) + GUARDED * guarded,
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
    epoch = connection.scalar(select(func.max(promotions.c.epoch)))
    return None if epoch is None else newest_check(connection, epoch=epoch)


def newest_check(connection: Connection, *, epoch: int) -> Json | None:
    """Return the newest check of a watch, None before its first."""
    last = last_checked(connection, epoch=epoch)
    return None if last is None else find_check(connection, epoch=epoch, last_seq=last)


def newest_fired(connection: Connection, *, epoch: int, rule: Rule) -> Json | None:
    """Return the newest check of a watch in which a rule fired, None if it never did."""
    of_watch = select(func.max(drift_checks.c.last_seq)).where(drift_checks.c.epoch == epoch)
    # One query for each value: of two values at once SQLite would read every line that has either.
    ends = [connection.scalar(of_watch.where(drift_checks.c.fired == level)) for level in LEVELS[rule]]
    found = [last for last in ends if last is not None]
    return find_check(connection, epoch=epoch, last_seq=max(found)) if found else None


def find_check(connection: Connection, *, epoch: int, last_seq: int) -> Json:
    """Return the check of a watch that ends with a row."""
    query = select(drift_checks).where(drift_checks.c.epoch == epoch, drift_checks.c.last_seq == last_seq)
    return as_check(connection.execute(query).one())


def leaf_through_checks(connection: Connection, *, limit: int, before: int | None = None) -> list[Json]:
    """Return the newest checks of all watches, newest first; those before number `before` if given."""
    query = select(drift_checks).order_by(drift_checks.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(drift_checks.c.id < before)
    return [as_check(row) for row in connection.execute(query)]


def find_numbered_check(connection: Connection, number: int) -> Json | None:
    """Return the check of a number, None if there is none."""
    row = connection.execute(select(drift_checks).where(drift_checks.c.id == number)).first()
    return as_check(row) if row else None


def find_check_from(connection: Connection, first_seq: int) -> int | None:
    """Return the number of the check whose window begins at a row, None if there is none."""
    return connection.scalar(select(drift_checks.c.id).where(drift_checks.c.first_seq == first_seq))


def last_check_of(connection: Connection, release: str) -> Json | None:
    """Return the newest check of a release, of whichever time in production; None if it has none."""
    newest = select(func.max(drift_checks.c.id)).where(drift_checks.c.release == release)
    number = connection.scalar(newest)
    return None if number is None else find_numbered_check(connection, number)


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
        "fired": row.fired in LEVELS["book"],
        "guarded": row.fired in LEVELS["guarded"],
        "report": msgspec.json.decode(row.report),
    }


def date_change(connection: Connection, *, epoch: int, rule: Rule) -> int | None:
    """Return the observed number from which on the world looks moved by the rule that retrains, None if it does not.

    By the guarded rule it is the change point of the evidence in the newest check that fired; by the book's, which has
    none, that of `change_point` among the newest windows.
    """
    if rule == "guarded":
        check = newest_fired(connection, epoch=epoch, rule=rule)
        return None if check is None else check["report"]["guarded"]["since"] or check["first_seq"]
    query = select(drift_checks.c.first_seq, drift_checks.c.fired).where(drift_checks.c.epoch == epoch)
    newest = connection.execute(query.order_by(drift_checks.c.last_seq.desc()).limit(LOOK_BACK)).all()
    return change_point([(line.first_seq, line.fired in LEVELS[rule]) for line in reversed(newest)])


def change_point(windows: Sequence[tuple[int, bool]]) -> int | None:
    """Return the first row of the window at which a run of fired windows began, None if none fired.

    `windows` holds the first row of each window, and whether it fired. It is the first fired window from which on at
    least half of the windows fired: one chance alarm long ago does not date the change, one quiet window within it does
    not hide it.
    """
    fired_since = sum(fired for _, fired in windows)
    for place, (first_seq, fired) in enumerate(windows):
        if fired:
            if 2 * fired_since >= len(windows) - place:
                return first_seq
            fired_since -= 1
    return None
