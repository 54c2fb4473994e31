"""Going back in the promotion log: which release was the last good one, and which ones are barred.

Not here: why a release must go (`retraining.aftercare`), or going on (`deployment.registry`).
"""

from datetime import datetime

from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.exc import IntegrityError

from homeostat.deployment.registry import append_promotion, conflict, current_promotion, require_epoch
from homeostat.errors import StateError
from homeostat.records import Criterion, GateResult, Promotion
from homeostat.store.database import Database
from homeostat.store.events import append_event
from homeostat.store.leases import Lease
from homeostat.store.tables import barred, promotions


def last_good(connection: Connection) -> str | None:
    """Return the release that the log goes back to: the newest earlier one that is neither in production nor barred.

    None if nothing is left.
    """
    current = current_promotion(connection)
    if current is None:
        return None
    gone = select(barred.c.release)
    earlier = select(promotions.c.release).where(
        promotions.c.release != current.release, promotions.c.release.not_in(gone)
    )
    found: str | None = connection.scalar(earlier.order_by(promotions.c.epoch.desc()).limit(1))
    return found


def is_barred(connection: Connection, digest: str, *, labels_ever: int) -> bool:
    """Return whether a release was rolled back and no label has arrived since; `labels_ever` counts all of them."""
    labels_then = connection.scalar(select(barred.c.labels).where(barred.c.release == digest))
    return labels_then is not None and labels_ever <= labels_then


def list_barred(connection: Connection) -> dict[str, str]:
    """Return why each release that was rolled back is barred, by its digest."""
    return {row.release: row.reason for row in connection.execute(select(barred.c.release, barred.c.reason))}


def restore(
    database: Database,
    release: str,
    *,
    expected_epoch: int,
    alarm: str,
    reason: str,
    actor: str,
    labels_ever: int,
    now: datetime,
    lease: Lease | None = None,
) -> Promotion:
    """Put an earlier release back into production and bar the one that was there, in one transaction.

    Parameters
    ----------
    release
        The last good one.
    expected_epoch
        The epoch of the release that must go.
    alarm, reason
        What has spoken against it, by name and in a sentence.
    labels_ever
        How many labels have ever arrived: new ones lift the bar.
    lease
        What the caller acts under; None where no loop can act.

    Raises
    ------
    LeaseHeld
        Another loop took the lease meanwhile.
    StateError
        The release is not the last good one.
    PromotionConflict
        The log has moved on since.
    """
    gate = GateResult((Criterion("rollback", passed=True, sentence=reason, figures={"alarm": alarm}),))
    try:
        with database.write("restore") as connection:
            require_epoch(connection, expected_epoch)
            if release != last_good(connection):
                raise not_last_good(release)
            promotion = append_promotion(
                connection,
                release,
                gate,
                expected_epoch=expected_epoch,
                actor=actor,
                reason=reason,
                now=now,
                lease=lease,
            )
            bar(connection, str(promotion.previous), labels_ever=labels_ever, reason=reason, now=now)
            payload = {"release": release, "previous": promotion.previous, "epoch": promotion.epoch, "alarm": alarm}
            payload |= {"actor": actor, "reason": reason, "barred": True}
            append_event(connection, "rolled_back", payload, now=now)
    except IntegrityError as error:
        raise conflict(expected_epoch, expected_epoch + 1) from error
    return promotion


def bar(connection: Connection, release: str, *, labels_ever: int, reason: str, now: datetime) -> None:
    """Bar a release until new labels arrive, in the caller's transaction; it may have been barred before."""
    connection.execute(delete(barred).where(barred.c.release == release))
    values = {"release": release, "at": now, "labels": labels_ever, "reason": reason}
    connection.execute(insert(barred).values(**values))


def not_last_good(release: str) -> StateError:
    """Return the three-part error for a release that production does not go back to."""
    return StateError(
        problem=f"production cannot go back to release {release[:12]}",
        expected="the newest earlier release that was not rolled back itself",
        action="see `homeostat history`, or promote the release through the gate",
    )
