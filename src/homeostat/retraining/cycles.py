"""The persisted record of each turn of the loop: which step is next, and what the steps so far have left.

Not here: the steps themselves (`homeostat.loop`).
"""

import json
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Row, exists, insert, select, update

from homeostat.records import Json
from homeostat.retraining.requests import settle_request
from homeostat.store.events import append_event
from homeostat.store.tables import cycles

HAND, ROLLBACK = "hand", "rollback"
# The event that tells of a cycle that does not begin with a training, by its first step.
DECISIONS = {"gate": "promotion_decided", "restore": "rollback_decided"}


@dataclass(frozen=True, slots=True)
class Cycle:
    """One turn of the loop. `step` is the next step to run, None once it is over; `record` is by step name."""

    id: int
    started_at: datetime
    finished_at: datetime | None
    trigger: str
    reason: str
    step: str | None
    outcome: str | None
    record: Json


def open_cycle(
    connection: Connection, *, trigger: str, reason: str, step: str, now: datetime, record: Json | None = None
) -> None:
    """Begin a turn of the loop at a step; `record` is what the steps before it would have left."""
    values = {"started_at": now, "trigger": trigger, "reason": reason, "step": step}
    connection.execute(insert(cycles).values(**values, record=json.dumps(record or {})))
    kind = DECISIONS.get(step, "retrain_decided")
    append_event(connection, kind, {"trigger": trigger, "reason": reason}, now=now)


def find_open_cycle(connection: Connection) -> Cycle | None:
    """Return the turn that is under way, None if the loop is idle."""
    row = connection.execute(select(cycles).where(cycles.c.step.is_not(None)).order_by(cycles.c.id).limit(1)).first()
    return as_cycle(row) if row else None


def list_cycles(connection: Connection) -> list[Cycle]:
    """Return every turn, oldest first."""
    return [as_cycle(row) for row in connection.execute(select(cycles).order_by(cycles.c.id))]


def find_cycle(connection: Connection, number: int) -> Cycle | None:
    """Return the turn of a number, None if there is none."""
    row = connection.execute(select(cycles).where(cycles.c.id == number)).first()
    return as_cycle(row) if row else None


def newest_cycles(connection: Connection, *, limit: int) -> list[Cycle]:
    """Return the newest turns, oldest first."""
    newest = connection.execute(select(cycles).order_by(cycles.c.id.desc()).limit(limit)).all()
    return [as_cycle(row) for row in reversed(newest)]


def held_cycles(connection: Connection, *, limit: int = 20) -> list[Cycle]:
    """Return the newest turns that ended with a challenger that waits for approval, oldest first."""
    held = select(cycles).where(cycles.c.outcome == "held").order_by(cycles.c.id.desc()).limit(limit)
    return [as_cycle(row) for row in reversed(connection.execute(held).all())]


def has_moved_since(connection: Connection, cycle: Cycle) -> bool:
    """Return whether a later turn has moved production, on or back."""
    moved = cycles.c.outcome.in_(("promoted", "rolled_back"))
    return bool(connection.scalar(select(exists(select(cycles.c.id).where(cycles.c.id > cycle.id, moved)))))


def find_training(connection: Connection, release: str) -> Cycle | None:
    """Return the newest turn that has trained a release, None if none is known."""
    about = select(cycles).where(cycles.c.record.contains(release, autoescape=True)).order_by(cycles.c.id.desc())
    found = (as_cycle(row) for row in connection.execute(about))
    return next((c for c in found if "search" in c.record and c.record.get("fit", {}).get("release") == release), None)


def is_still_at(connection: Connection, cycle: Cycle) -> bool:
    """Return whether a turn is still at the step at which it was read: a person may have ended it meanwhile."""
    return connection.scalar(select(cycles.c.step).where(cycles.c.id == cycle.id)) == cycle.step


def as_cycle(row: Row[tuple[object, ...]]) -> Cycle:
    """Return a row of the table as a record."""
    return Cycle(
        row.id, row.started_at, row.finished_at, row.trigger, row.reason, row.step, row.outcome, json.loads(row.record)
    )


def store_step(connection: Connection, cycle: Cycle, left: Json, *, following: str | None) -> None:
    """Store what a step has left, and the step that follows, in the caller's transaction."""
    record = {**cycle.record, str(cycle.step): left}
    connection.execute(update(cycles).where(cycles.c.id == cycle.id).values(record=json.dumps(record), step=following))


def close_cycle(connection: Connection, cycle: Cycle, *, outcome: str, sentence: str, now: datetime) -> None:
    """End a turn with its outcome: `promoted`, `refused`, `held`, `rolled_back`, `overtaken` or `failed`."""
    connection.execute(
        update(cycles).where(cycles.c.id == cycle.id).values(step=None, outcome=outcome, finished_at=now)
    )
    append_event(connection, f"cycle_{outcome}", {"cycle": cycle.id, "sentence": sentence}, now=now)
    if request := cycle.record.get("request"):
        settle_request(connection, request["id"], outcome=outcome, sentence=sentence)
