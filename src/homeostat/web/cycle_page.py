"""The page of one cycle: what it was for, each step with what it left, the verdict, how it ended and how long it took.

Not here: the steps themselves (`homeostat.loop`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from homeostat.deployment.registry import find_registered
from homeostat.records import Json
from homeostat.retraining.cycles import Cycle, find_cycle
from homeostat.store.event_pages import read_between
from homeostat.store.events import Event
from homeostat.web.contents import Content

# The step in which an event of each kind is written.
MARKS = {"release_registered": "track", "gate": "gate", "promoted": "promote", "rolled_back": "restore"}
# Events of a cycle that are looked at: a cycle that waits for live rows sees many of others.
MOST_EVENTS = 400
OUTCOMES = {
    "promoted": ("promoted", "calm"),
    "refused": ("refused", "moved"),
    "held": ("held for approval", "wait"),
    "rolled_back": ("rolled back", "wait"),
    "overtaken": ("overtaken", "wait"),
    "failed": ("failed", "moved"),
}
# What every step leaves and is told in another place.
ELSEWHERE = frozenset({"sentence", "criteria", "searches", "metrics"})


@dataclass(frozen=True, slots=True)
class Step:
    """One finished step: what it left, and after how many seconds of the cycle it began, if an event tells."""

    name: str
    sentence: str
    left: Json
    began_s: float | None


def describe_cycle(connection: Connection, number: int) -> Content | None:
    """Return the page of a cycle, None if there is none of this number."""
    cycle = find_cycle(connection, number)
    if cycle is None:
        return None
    lines = list_events(connection, cycle)
    digest = cycle.record.get("fit", {}).get("release")
    registered = find_registered(connection, digest) if digest else None
    ended = next((line for line in lines if line.kind.startswith("cycle_")), None)
    return Content(
        "cycle.html.jinja",
        "/",
        {
            "cycle": cycle,
            "outcome": OUTCOMES.get(cycle.outcome or "", (cycle.outcome or "under way", "wait")),
            "ended": ended.payload.get("sentence") if ended else None,
            "lasted": in_words(cycle.finished_at - cycle.started_at) if cycle.finished_at else None,
            "steps": list_steps(cycle, lines),
            "release": digest,
            "number": registered.number if registered else None,
            "gate": cycle.record.get("gate") if "criteria" in cycle.record.get("gate", {}) else None,
            "shadow": cycle.record.get("shadow") if "criteria" in cycle.record.get("shadow", {}) else None,
            "events": lines,
        },
    )


def list_events(connection: Connection, cycle: Cycle) -> list[Event]:
    """Return the events of a cycle, oldest first: its own, and those about its release while it went on."""
    digest = cycle.record.get("fit", {}).get("release")
    found = read_between(connection, cycle.started_at, cycle.finished_at, limit=MOST_EVENTS)
    return [event for event in found if is_of(event, cycle, digest)]


def is_of(event: Event, cycle: Cycle, digest: str | None) -> bool:
    """Return whether an event belongs to a cycle."""
    if "cycle" in event.payload:
        return bool(event.payload["cycle"] == cycle.id)
    if event.kind.endswith("_decided"):
        return bool(event.payload.get("reason") == cycle.reason)
    return digest is not None and event.payload.get("release") == digest and event.kind in MARKS


def list_steps(cycle: Cycle, lines: Sequence[Event]) -> list[Step]:
    """Return the finished steps in their order."""
    began = {MARKS[line.kind]: line.at for line in lines if line.kind in MARKS}
    return [
        Step(
            name,
            str(left.get("sentence", "")),
            {key: member for key, member in left.items() if key not in ELSEWHERE},
            seconds_since(cycle.started_at, began.get(name)),
        )
        for name, left in cycle.record.items()
        if isinstance(left, dict)
    ]


def seconds_since(start: datetime, moment: datetime | None) -> float | None:
    """Return the seconds from one moment to another, None if that is unknown."""
    return None if moment is None else (moment - start).total_seconds()


def in_words(span: timedelta) -> str:
    """Return a span of time as it is said."""
    seconds = span.total_seconds()
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} seconds"
