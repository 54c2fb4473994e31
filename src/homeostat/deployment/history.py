"""Who was in production at a moment, and why: answered from the event log, held against the promotion log.

Not here: moving production (`deployment.registry`), or whether a line of the event log was edited (`store.events`).
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import zip_longest
from typing import Literal, TypeAlias, cast

from sqlalchemy import Connection, select

from homeostat.deployment.registry import list_promotions
from homeostat.errors import ArtifactCorrupt
from homeostat.records import Json, Promotion
from homeostat.store.events import Event, Finding, read_events
from homeostat.store.tables import promotions

How: TypeAlias = Literal["promoted", "rolled_back"]
HOW: tuple[How, ...] = ("promoted", "rolled_back")
# What both logs say of a promotion.
BOTH_SAY = ("release", "previous", "decided_at", "actor", "reason")


@dataclass(frozen=True, slots=True)
class Move:
    """A move of production as one line of the event log tells it. `until` is when the next one came; None is now."""

    line: int
    how: How
    promotion: Promotion
    until: datetime | None


def who_was_live(promotions: Iterable[Promotion], at: datetime) -> Promotion | None:
    """Return the promotion that was in force at a moment; None before the first.

    It is the last one, in the order of the epochs, that was decided at that moment or before. Of several in one moment
    the last counts; after a clock that stepped back, a later epoch never gives way to an earlier one.
    """
    decided = (promotion for promotion in promotions if promotion.decided_at <= at)
    return max(decided, key=lambda promotion: promotion.epoch, default=None)


def read_moves(connection: Connection) -> list[Move]:
    """Return every move of production that the event log tells, in the order of the epochs.

    Raises
    ------
    ArtifactCorrupt
        A line cannot be read as one.
    """
    told = sorted((as_move(event) for how in HOW for event in read_events(connection, kind=how)), key=epoch_of)
    return [
        replace(move, until=following.promotion.decided_at if following else None)
        for move, following in zip_longest(told, told[1:])
    ]


def epoch_of(move: Move) -> tuple[int, int]:
    """Return the place of a move in the order of moves."""
    return move.promotion.epoch, move.line


def as_move(event: Event) -> Move:
    """Return a line of the event log as a move of production."""
    try:
        said = event.payload
        promotion = Promotion(
            int(said["epoch"]),
            str(said["release"]),
            said["previous"],
            event.at,
            str(said["actor"]),
            str(said["reason"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactCorrupt(
            problem=f"line {event.seq} of the event log tells of no promotion: {error!r}",
            expected="epoch, release, previous, actor and reason",
            action="run `homeostat verify`, and compare with a backup",
        ) from error
    return Move(event.seq, cast("How", event.kind), promotion, None)


def find_move(connection: Connection, at: datetime) -> Move | None:
    """Return the move of production that was in force at a moment; None before the first.

    Raises
    ------
    ArtifactCorrupt
        The event log and the promotion log answer differently.
    """
    moves = read_moves(connection)
    live = who_was_live((move.promotion for move in moves), at)
    listed = who_was_live(list_promotions(connection), at)
    if live != listed:
        raise ArtifactCorrupt(
            problem=f"the event log says that {describe(live)} in production at {at:%Y-%m-%d %H:%M:%S}, "
            f"the promotion log that {describe(listed)}",
            expected="two records that agree",
            action="run `homeostat verify`, and compare with a backup",
        )
    return next((move for move in moves if move.promotion == live), None)


def describe(promotion: Promotion | None) -> str:
    """Return a promotion in a few words."""
    return "nothing was" if promotion is None else f"release {promotion.release[:12]} (epoch {promotion.epoch}) was"


# --- verifying ----------------------------------------------------------------------------------------------------


def find_disagreements(connection: Connection) -> list[Finding]:
    """Return every place at which the event log and the promotion log disagree; none if they agree."""
    try:
        moves = read_moves(connection)
        judged = {event.seq: event.payload for event in read_events(connection, kind="gate")}
    except ArtifactCorrupt as error:
        return [Finding(None, error.problem)]
    told = {move.promotion.epoch: move for move in moves}
    listed = {promotion.epoch: promotion for promotion in list_promotions(connection)}
    found = [
        Finding(told[epoch].line, f"line {told[epoch].line} begins epoch {epoch}, and so does another one")
        for epoch, times in Counter(move.promotion.epoch for move in moves).items()
        if times > 1
    ]
    for epoch in sorted(told.keys() | listed.keys()):
        if epoch not in told:
            found.append(Finding(None, f"the promotion of epoch {epoch} is in no line of the event log"))
        elif epoch not in listed:
            found.append(
                Finding(
                    told[epoch].line, f"line {told[epoch].line} tells of epoch {epoch}, which the promotion log has not"
                )
            )
        else:
            found += compare(told[epoch], listed[epoch])
    return found + compare_verdicts(moves, judged, read_verdicts(connection))


def compare(move: Move, listed: Promotion) -> list[Finding]:
    """Return what the two logs say differently of one promotion."""
    differing = [name for name in BOTH_SAY if getattr(move.promotion, name) != getattr(listed, name)]
    return [
        Finding(
            move.line,
            f"line {move.line} says of epoch {listed.epoch} that {name} is {show(getattr(move.promotion, name))}, "
            f"the promotion log {show(getattr(listed, name))}",
        )
        for name in differing
    ]


def show(value: object) -> str:
    """Return a value of a promotion as a sentence may hold it."""
    return f"{value:%Y-%m-%d %H:%M:%S.%f} UTC" if isinstance(value, datetime) else repr(value)


def read_verdicts(connection: Connection) -> dict[int, str]:
    """Return the verdict of the gate on each promotion, as text, by epoch."""
    query = select(promotions.c.epoch, promotions.c.gate)
    return {row.epoch: row.gate for row in connection.execute(query)}


def compare_verdicts(moves: Sequence[Move], judged: Mapping[int, Json], kept: Mapping[int, str]) -> list[Finding]:
    """Return the promotions whose verdict is not the one that the event log has of the gate before."""
    found = []
    for move in moves:
        before = [
            seq for seq, said in judged.items() if seq < move.line and said.get("release") == move.promotion.release
        ]
        epoch = move.promotion.epoch
        if move.how == "promoted" and before and epoch in kept and not is_verdict(judged[before[-1]], kept[epoch]):
            found.append(
                Finding(
                    before[-1],
                    f"line {before[-1]} has another verdict of the gate than the promotion log for epoch {epoch}",
                )
            )
    return found


def is_verdict(said: Json, kept: str) -> bool:
    """Return whether a verdict that was kept is the one that the event log tells."""
    told = {"passed": said.get("passed"), "criteria": said.get("criteria")}
    try:
        # As text: a figure may be NaN, which equals nothing.
        return json.dumps(json.loads(kept), sort_keys=True) == json.dumps(told, sort_keys=True)
    except ValueError:
        return False
