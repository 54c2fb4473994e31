"""What a replay tells: the lines of the event log, each with the row after which it happened.

Not here: the run (`simulation.replay`), or what it comes to (`simulation.replay_report`). A kind of event that is new
to this file is told as it stands.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from sqlalchemy import Connection, select

from homeostat.monitoring.drift_checks import as_check
from homeostat.records import Json, Violation
from homeostat.store.events import Event
from homeostat.store.tables import drift_checks

# Bookkeeping, and what another line tells already.
UNTOLD = frozenset(
    {
        "cycle_promoted",
        "cycle_rolled_back",
        "outcomes_checked",
        "release_registered",
        "request_answered",
        "retention_ran",
    }
)
# Criteria that rest on a measurement of this machine, which no two runs repeat: of these, the verdict alone is told.
MEASURED = frozenset({"latency", "memory"})
# What the end of a cycle and an alert are called in a line.
NAMES = MappingProxyType(
    {
        "cycle_refused": "refused",
        "cycle_held": "held",
        "cycle_failed": "failed",
        "cycle_overtaken": "overtaken",
        "evidence": "drift_alert",
        "risk": "concept_alert",
        "residual": "concept_alert",
    }
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a replay is: the id of the last row, and what the clock shows."""

    row: int | str | None
    at: datetime

    def line(self, event: str, content: Json) -> Json:
        """Return a line; what the content calls row, time or event is not told."""
        head = {"row": self.row, "time": self.at.isoformat(), "event": event}
        return head | {name: value for name, value in content.items() if name not in head}


def tell_rejected(place: Place, violations: Iterable[Violation]) -> Json:
    """Return the line of a row that the rules refuse."""
    found = [{"column": v.column, "value": plain(v.value), "rule": v.rule, "expected": v.expected} for v in violations]
    return place.line("rejected", {"violations": found})


def plain(value: object) -> object:
    """Return a cell as JSON has it: it knows no infinity."""
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return str(value)
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)


def tell_events(connection: Connection, events: Iterable[Event], place: Place, *, trigger: str) -> Iterator[Json]:
    """Yield the lines of some events; `trigger` is the rule by which a drift retrains (`monitoring.trigger`)."""
    for event in events:
        if event.kind == "drift_checked":
            yield place.line("drift_checked", describe_check(connection, event.payload, trigger=trigger))
        elif event.kind == "alert":
            yield place.line(NAMES.get(event.payload["kind"], "alert"), event.payload)
        elif event.kind == "decision":
            # A decision to retrain has an event of its own, and one to do nothing is no news.
            if event.payload["action"] == "wait":
                yield place.line("decision", event.payload)
        elif event.kind == "gate":
            yield place.line("gate", {**event.payload, "criteria": list(map(repeatable, event.payload["criteria"]))})
        elif event.kind == "requested" and event.payload["kind"] == "approve":
            yield place.line("approved", event.payload)
        elif event.kind not in UNTOLD:
            yield place.line(NAMES.get(event.kind, event.kind), event.payload)


def repeatable(criterion: Json) -> Json:
    """Return what the same history gives again of one criterion of the gate."""
    return {name: criterion[name] for name in ("name", "passed")} if criterion["name"] in MEASURED else criterion


def describe_check(connection: Connection, payload: Json, *, trigger: str) -> Json:
    """Return what a line tells of one drift check."""
    first, last = payload["window"]
    check = as_check(connection.execute(select(drift_checks).where(drift_checks.c.first_seq == first)).one())
    report = check["report"]
    told = ("name", "test", "statistic", "p_value", "effect", "drifted", "shift")
    streams = report["evidence"]["streams"]
    guarded = report["guarded"]
    return {
        "window": [first, last],
        "epoch": check["epoch"],
        "features": [{name: feature[name] for name in told} for feature in report["features"]],
        "drifted": payload["drifted"],
        "score": report["score"],
        "boundary": report["boundary"],
        "fired": check["fired"],
        "evidence": {name: {"value": s["value"], "peak": s["peak"]} for name, s in streams.items()},
        "evidence_needed": guarded["evidence_needed"],
        "guarded": guarded["fired"],
        "triggered": check["guarded"] if trigger == "guarded" else check["fired"],
        "since": guarded["since"],
    }
