"""Who is in production: the registered releases and the append-only promotion log.

Not here: whether a challenger deserves it (`deployment.gate`), why a release must go (`monitoring.bake`), or loading
one (`deployment.serving`). Production is what the last line of the log says, and nothing else.
"""

import json
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Row, delete, insert, select
from sqlalchemy.exc import IntegrityError

from homeostat.errors import PromotionConflict, ReleaseMissing, StateError
from homeostat.records import Criterion, GateResult, Json, Promotion
from homeostat.store.database import Database
from homeostat.store.events import append_event
from homeostat.store.leases import Lease, require_lease
from homeostat.store.tables import barred, promotions, releases

# How many releases an error names, the newest first.
NEWEST = 3


@dataclass(frozen=True, slots=True)
class RegisteredRelease:
    """One line of the registry. `number` counts from 1 in order of registration."""

    number: int
    digest: str
    snapshot: str
    created_at: datetime
    run_id: str | None
    family: str
    metrics: Json


def register_release(
    connection: Connection, digest: str, *, snapshot: str, family: str, metrics: Json, run_id: str | None, now: datetime
) -> RegisteredRelease:
    """Add a packed release to the registry; one that is there already stays as it is."""
    known = find_registered(connection, digest)
    if known is None:
        values = {"digest": digest, "snapshot": snapshot, "created_at": now, "run_id": run_id, "family": family}
        connection.execute(insert(releases).values(**values, metrics=json.dumps(metrics)))
        append_event(connection, "release_registered", {"release": digest, "snapshot": snapshot}, now=now)
    return resolve_release(connection, digest)


def list_releases(connection: Connection) -> list[RegisteredRelease]:
    """Return every registered release, oldest first."""
    return [as_registered(row) for row in connection.execute(select(releases).order_by(releases.c.number))]


def leaf_through_releases(connection: Connection, *, limit: int, before: int | None = None) -> list[RegisteredRelease]:
    """Return the newest registered releases, newest first; those before number `before` if given."""
    query = select(releases).order_by(releases.c.number.desc()).limit(limit)
    if before is not None:
        query = query.where(releases.c.number < before)
    return [as_registered(row) for row in connection.execute(query)]


def as_registered(row: Row[tuple[object, ...]]) -> RegisteredRelease:
    """Return a row of the table as a record."""
    return RegisteredRelease(
        row.number, row.digest, row.snapshot, row.created_at, row.run_id, row.family, json.loads(row.metrics)
    )


def find_registered(connection: Connection, digest: str) -> RegisteredRelease | None:
    """Return the registered release with this digest, None if there is none."""
    row = connection.execute(select(releases).where(releases.c.digest == digest)).first()
    return as_registered(row) if row else None


def resolve_release(connection: Connection, name: str) -> RegisteredRelease:
    """Return the release that `name` means: its number, its digest, or the beginning of its digest.

    Raises
    ------
    ReleaseMissing
        No release, or more than one, has this name.
    """
    known = list_releases(connection)
    found = [r for r in known if name == str(r.number)] or [r for r in known if name and r.digest.startswith(name)]
    if len(found) == 1:
        return found[0]
    newest = ", ".join(f"{r.number} ({r.digest[:12]})" for r in known[: -NEWEST - 1 : -1])
    raise ReleaseMissing(
        problem=f"{len(found) or 'no'} releases are called {name!r}",
        expected="the number or the digest of one release",
        action=f"the newest are {newest}: see `homeostat releases`" if newest else "run `homeostat train` first",
    )


def current_promotion(connection: Connection) -> Promotion | None:
    """Return the last line of the promotion log, None before the first promotion."""
    row = connection.execute(select(promotions).order_by(promotions.c.epoch.desc()).limit(1)).first()
    return as_promotion(row) if row else None


def require_production(connection: Connection) -> Promotion:
    """Return the last line of the promotion log; ReleaseMissing before the first promotion."""
    promotion = current_promotion(connection)
    if promotion is None:
        raise ReleaseMissing(
            problem="no release is in production yet", expected="a promoted release", action="run `homeostat train`"
        )
    return promotion


def list_promotions(connection: Connection) -> list[Promotion]:
    """Return the promotion log, oldest first."""
    return [as_promotion(row) for row in connection.execute(select(promotions).order_by(promotions.c.epoch))]


def as_promotion(row: Row[tuple[object, ...]]) -> Promotion:
    """Return a row of the table as a record."""
    return Promotion(row.epoch, row.release, row.previous, row.decided_at, row.actor, row.reason)


def promote(
    database: Database,
    release: str,
    *,
    gate: GateResult,
    expected_epoch: int,
    actor: str,
    reason: str,
    now: datetime,
    lease: Lease | None = None,
) -> Promotion:
    """Put a registered release into production by appending to the log, if nobody was faster.

    Parameters
    ----------
    release
        The digest of a registered release.
    gate
        The verdict that lets it in.
    expected_epoch
        The epoch that the verdict was made against; 0 before the first promotion.
    lease
        What the caller acts under; None where no loop can act.

    Raises
    ------
    LeaseHeld
        Another loop took the lease meanwhile.
    StateError
        The gate did not pass.
    PromotionConflict
        The log has moved on since.
    ReleaseMissing
        The release is not registered.
    """
    if not gate.passed:
        refused = ", ".join(c.name for c in gate.criteria if not c.passed)
        raise StateError(
            problem=f"the gate refused release {release[:12]} ({refused})",
            expected="a release that passes every criterion",
            action="see `homeostat releases`",
        )
    try:
        with database.write("promote") as connection:
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
            payload = {"release": release, "previous": promotion.previous, "epoch": promotion.epoch}
            append_event(connection, "promoted", {**payload, "actor": actor, "reason": reason}, now=now)
    except IntegrityError as error:
        raise conflict(expected_epoch, expected_epoch + 1) from error
    return promotion


def append_promotion(
    connection: Connection,
    release: str,
    gate: GateResult,
    *,
    expected_epoch: int,
    actor: str,
    reason: str,
    now: datetime,
    lease: Lease | None,
) -> Promotion:
    """Append to the promotion log in the caller's transaction, which IntegrityError ends if another was faster.

    Whoever was barred and comes back has passed the gate again: the bar is lifted.
    """
    if lease is not None:
        require_lease(connection, lease)
    resolve_release(connection, release)
    current = require_epoch(connection, expected_epoch)
    promotion = Promotion(expected_epoch + 1, release, current.release if current else None, now, actor, reason)
    verdict = json.dumps(gate_to_json(gate))
    values = {"epoch": promotion.epoch, "release": release, "previous": promotion.previous, "decided_at": now}
    connection.execute(insert(promotions).values(**values, actor=actor, reason=reason, gate=verdict))
    connection.execute(delete(barred).where(barred.c.release == release))
    return promotion


def require_epoch(connection: Connection, expected: int) -> Promotion | None:
    """Return the last line of the promotion log if its epoch is as expected (0: no line), else raise."""
    current = current_promotion(connection)
    epoch = current.epoch if current else 0
    if epoch != expected:
        raise conflict(expected, epoch)
    return current


def conflict(expected: int, found: int) -> PromotionConflict:
    """Return the three-part error for a lost race."""
    return PromotionConflict(
        problem=f"production has moved to epoch {found} meanwhile",
        expected=f"epoch {expected}, against which the release was judged",
        action="judge it again against the release that is in production now",
    )


def gate_to_json(gate: GateResult) -> Json:
    """Return a verdict as a JSON object."""
    return {
        "passed": gate.passed,
        "criteria": [
            {"name": c.name, "passed": c.passed, "sentence": c.sentence, "figures": c.figures} for c in gate.criteria
        ],
    }


def gate_from_json(data: Json) -> GateResult:
    """Return the verdict that `gate_to_json` wrote."""
    return GateResult(tuple(Criterion(c["name"], c["passed"], c["sentence"], c["figures"]) for c in data["criteria"]))
