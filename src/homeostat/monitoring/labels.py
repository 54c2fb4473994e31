"""The outcomes: one for each prediction, and what is told to the sender of a late, repeated or conflicting one.

Not here: how outcomes reach training (`monitoring.production`).
"""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

from sqlalchemy import Connection, insert, select

from homeostat.monitoring.entries import label_from_text, label_to_text
from homeostat.records import Label, Target
from homeostat.store.database import Database
from homeostat.store.tables import labels, predictions
from homeostat.validation.schema import is_label

# Ids asked for at once: below every limit on bound parameters.
LOOKUP_SIZE = 500

LabelStatus: TypeAlias = Literal["recorded", "repeated", "conflicting", "unknown", "invalid"]


@dataclass(frozen=True, slots=True)
class LabelItem:
    """One outcome as it was sent: `label` may be any JSON value."""

    id: str
    label: object


@dataclass(frozen=True, slots=True)
class LabelOutcome:
    """What became of one outcome.

    `status` is recorded (new), repeated (the same again), conflicting (another one stands and stays), unknown (no such
    prediction) or invalid (not one of the target's two values). `standing` is the label that counts from now on.
    """

    id: str
    label: object
    status: LabelStatus
    standing: Label | None


def record_labels(
    database: Database, items: Sequence[LabelItem], *, target: Target, source: str, now: datetime
) -> list[LabelOutcome]:
    """Store outcomes durably, all in one transaction, and return what became of each, in order; see `write_labels`."""
    with database.write("label") as connection:
        return write_labels(connection, items, target=target, source=source, now=now)


def write_labels(
    connection: Connection, items: Sequence[LabelItem], *, target: Target, source: str, now: datetime
) -> list[LabelOutcome]:
    """Store outcomes inside the caller's write transaction, and return what became of each, in order.

    Parameters
    ----------
    connection
        A write transaction.
    items
        Outcomes with the ids of their predictions; one id may occur more than once.
    target
        The two values that an outcome can have, told apart by JSON type as well.
    source
        Who sent them, at most 80 characters.
    """
    ids = sorted({item.id for item in items})
    issued = frozenset(find_ids(connection, ids))
    outcomes = judge_labels(items, issued=issued, standing=find_labels(connection, ids), target=target)
    lines = [
        {"prediction": o.id, "label": label_to_text(o.standing), "received_at": now, "source": source}
        for o in outcomes
        if o.status == "recorded" and o.standing is not None
    ]
    if lines:
        connection.execute(insert(labels), lines)
    return outcomes


def judge_labels(
    items: Sequence[LabelItem], *, issued: AbstractSet[str], standing: Mapping[str, Label], target: Target
) -> list[LabelOutcome]:
    """Return what becomes of each outcome, given the ids that were answered and the labels that stand already.

    The first label of an id stands: a later one that differs is reported with both, and changes nothing.
    """
    known = dict(standing)
    outcomes = []
    for item in items:
        before = known.get(item.id)
        status = judge_label(item, issued=issued, standing=before, target=target)
        if status == "recorded":
            known[item.id] = target.positive if item.label == target.positive else target.negative
        outcomes.append(LabelOutcome(item.id, item.label, status, known.get(item.id)))
    return outcomes


def judge_label(item: LabelItem, *, issued: AbstractSet[str], standing: Label | None, target: Target) -> LabelStatus:
    """Return what becomes of one outcome; `standing` is the label that the id has already."""
    if not is_label(item.label, target):
        return "invalid"
    if item.id not in issued:
        return "unknown"
    if standing is None:
        return "recorded"
    return "repeated" if item.label == standing else "conflicting"


def find_ids(connection: Connection, ids: Sequence[str]) -> list[str]:
    """Return those of the ids that were answered."""
    found: list[str] = []
    for part in in_parts(ids):
        found.extend(connection.scalars(select(predictions.c.id).where(predictions.c.id.in_(part))))
    return found


def find_labels(connection: Connection, ids: Sequence[str]) -> dict[str, Label]:
    """Return the labels that stand for these ids."""
    found: dict[str, Label] = {}
    for part in in_parts(ids):
        query = select(labels.c.prediction, labels.c.label).where(labels.c.prediction.in_(part))
        found |= {row.prediction: label_from_text(row.label) for row in connection.execute(query)}
    return found


def in_parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield the ids in groups small enough for one query."""
    for start in range(0, len(ids), LOOKUP_SIZE):
        yield ids[start : start + LOOKUP_SIZE]
