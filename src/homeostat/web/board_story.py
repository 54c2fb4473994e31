"""What has happened, in sentences, and which releases there are: the newest lines of the logs, told for the board.

Not here: writing any of them, or the pages that show one whole (`web.pages`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from sqlalchemy import Connection, select

from homeostat.deployment.registry import RegisteredRelease, as_promotion, as_registered
from homeostat.monitoring.alerts import KIND
from homeostat.records import Json, Promotion
from homeostat.store.events import Event, newest_events
from homeostat.store.tables import promotions, releases
from homeostat.web.rendering import name_actor

LINES, ROWS = 10, 8
# What each kind of event is told as, by its payload.
TELLING: Mapping[str, Callable[[Json], str]] = MappingProxyType(
    {
        "decision": lambda said: said["sentence"],
        "retrain_decided": lambda said: f"a turn begins with a training ({said['trigger']}): {said['reason']}",
        "promotion_decided": lambda said: f"a release is taken to the gate: {said['reason']}",
        "rollback_decided": lambda said: f"production goes back: {said['reason']}",
        "promoted": lambda said: f"release {said['release'][:12]} is in production: {said['reason']}",
        "rolled_back": lambda said: f"back to release {said['release'][:12]}: {said['reason']}",
        "bake_passed": lambda said: f"the probation of epoch {said['epoch']} is over",
        "requested": lambda said: (
            f"asked to {said['kind'].replace('rollback', 'roll back')} by {name_actor(said['actor'])}: {said['reason']}"
        ),
        "request_refused": lambda said: said["sentence"],
        "cycle_refused": lambda said: said["sentence"],
        "cycle_held": lambda said: said["sentence"],
        "cycle_failed": lambda said: said["sentence"],
        "cycle_overtaken": lambda said: said["sentence"],
    }
)
BAD = frozenset({"rolled_back", "request_refused", "cycle_failed", "cycle_refused"})


@dataclass(frozen=True, slots=True)
class Told:
    """One event in a sentence; `bad` if somebody should look."""

    seq: int
    at: datetime
    sentence: str
    bad: bool


@dataclass(frozen=True, slots=True)
class ReleaseLine:
    """One release: what the gate said of it (None: nothing yet), and since when it is or was in production."""

    release: RegisteredRelease
    gate: Json | None
    promotion: Promotion | None

    @property
    def failed(self) -> list[str]:
        """The names of the criteria that the gate refused it by."""
        return [one["name"] for one in (self.gate or {}).get("criteria", ()) if not one["passed"]]


def read_story(connection: Connection) -> list[Told]:
    """Return what was decided and done of late, newest first."""
    events = [event for kind in TELLING for event in newest_events(connection, kind, limit=LINES)]
    return [tell(event) for event in sorted(events, key=lambda event: -event.seq)[:LINES]]


def tell(event: Event) -> Told:
    """Return an event in a sentence."""
    return Told(event.seq, event.at, as_sentence(TELLING[event.kind](event.payload)), event.kind in BAD)


def as_sentence(text: str) -> str:
    """Return a text with a capital at its beginning and a stop at its end."""
    plain = text.strip()
    return f"{plain[:1].upper()}{plain[1:]}{'' if plain.endswith(('.', '?', '!')) else '.'}"


def read_alerts(connection: Connection, *, epoch: int) -> list[Told]:
    """Return the newest alerts of a watch, newest first."""
    newest = reversed(newest_events(connection, KIND, limit=LINES))
    return [
        Told(event.seq, event.at, as_sentence(event.payload["sentence"]), bad=True)
        for event in newest
        if event.payload["epoch"] == epoch
    ]


def read_promotions(connection: Connection) -> list[Promotion]:
    """Return the newest lines of the promotion log, newest first."""
    query = select(promotions).order_by(promotions.c.epoch.desc()).limit(ROWS)
    return [as_promotion(row) for row in connection.execute(query)]


def read_releases(connection: Connection, moves: list[Promotion]) -> list[ReleaseLine]:
    """Return the newest releases, newest first, and the one in production if it is older; `moves` newest first."""
    query = select(releases).order_by(releases.c.number.desc()).limit(ROWS)
    found = [as_registered(row) for row in connection.execute(query)]
    if moves and moves[0].release not in {one.digest for one in found}:
        live = select(releases).where(releases.c.digest == moves[0].release)
        found += [as_registered(row) for row in connection.execute(live)]
    verdicts = {event.payload["release"]: event.payload for event in newest_events(connection, "gate", limit=2 * ROWS)}
    in_production = {move.release: move for move in reversed(moves)}
    return [ReleaseLine(one, verdicts.get(one.digest), in_production.get(one.digest)) for one in found]
