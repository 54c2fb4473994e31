"""What a person may ask of the loop, what is refused at once, and what waits for a loop or for a person.

Not here: the table of requests (`retraining.requests`), or carrying them out, by which time the world may have moved on
and they are judged again (`retraining.fulfilment`).
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType

from sqlalchemy import Connection

from homeostat.deployment.registry import RegisteredRelease, current_promotion, require_production, resolve_release
from homeostat.deployment.restoring import last_good
from homeostat.errors import StateError
from homeostat.records import Json
from homeostat.retraining.cycles import Cycle, find_open_cycle, held_cycles
from homeostat.retraining.fulfilment import find_held
from homeostat.retraining.requests import Asked, Request, ask, list_pending

MAX_REASON, MAX_ACTOR = 1000, 80
NO_REASON = "no reason given"


def place(
    connection: Connection, kind: Asked, *, name: str | None = None, reason: str, actor: str, now: datetime
) -> Request:
    """Ask something of the loop, in the caller's write transaction, unless it is refused at once.

    Parameters
    ----------
    kind
        What is asked. The request of a rollback names the release that must go: it is no wish to leave another one.
    name
        The release that it is about: its number, its digest or the beginning of it. None means the obvious one.
    actor
        Who asks.

    Raises
    ------
    ReleaseMissing
        No release, or more than one, has this name; or none is in production.
    StateError
        It is done already, asked for already, or there is nothing to do it with.
    """
    release = FINDERS[kind](connection, name)
    for waiting in list_pending(connection):
        if (waiting.kind, waiting.release) == (kind, release):
            raise StateError(
                problem=f"request {waiting.id} asks for the same and waits for a loop",
                expected="to ask once",
                action="let it be carried out: `homeostat tick`, or a running loop",
            )
    return ask(connection, kind, release=release, reason=tidy(reason), actor=tidy(actor)[:MAX_ACTOR], now=now)


def tidy(text: str) -> str:
    """Return what a person has written as it may be shown in a line: no control characters, not without end."""
    plain = "".join(letter if letter.isprintable() else " " for letter in text).strip()
    return plain[:MAX_REASON] or NO_REASON


def find_nothing(connection: Connection, name: str | None) -> None:
    """Return None: a retraining is about no release."""


def find_promotable(connection: Connection, name: str | None) -> str:
    """Return the digest of a release that may be promoted; the gate decides later."""
    registered = resolve_release(connection, name or "")
    require_elsewhere(connection, registered)
    return registered.digest


def find_approvable(connection: Connection, name: str | None) -> str:
    """Return the digest of a release that waits for approval: the newest, unless one is named."""
    digest = find_held(connection) if name is None else resolve_release(connection, name).digest
    if digest is None:
        raise StateError(
            problem="no release waits for approval",
            expected="one that passed the gate and was held since production moved last",
            action="see `homeostat releases`; `homeostat promote RELEASE --reason TEXT` takes any of them to the gate",
        )
    registered = resolve_release(connection, digest)
    require_elsewhere(connection, registered)
    held = {cycle.record["fit"]["release"] for cycle in held_cycles(connection)}
    if digest not in held:
        raise StateError(
            problem=f"release {registered.number} ({digest[:12]}) was not held for approval",
            expected="a release that passed the gate and was held",
            action=f"take it to the gate: `homeostat promote {registered.number} --reason TEXT`",
        )
    return digest


def find_doomed(connection: Connection, name: str | None) -> str:  # noqa: ARG001  the signature of a finder
    """Return the digest of the release that must go, if there is one to go back to."""
    current = require_production(connection)
    if last_good(connection) is None:
        raise StateError(
            problem=f"there is nothing to go back to from release {current.release[:12]}",
            expected="an earlier release that was in production and was not rolled back itself",
            action="see `homeostat history`; promote another release, or train one",
        )
    return current.release


FINDERS: Mapping[Asked, Callable[[Connection, str | None], str | None]] = MappingProxyType(
    {"retrain": find_nothing, "promote": find_promotable, "approve": find_approvable, "rollback": find_doomed}
)


def require_elsewhere(connection: Connection, registered: RegisteredRelease) -> None:
    """Raise StateError for the release that is in production."""
    current = current_promotion(connection)
    if current is not None and current.release == registered.digest:
        raise StateError(
            problem=f"release {registered.number} ({registered.digest[:12]}) is in production already, "
            f"since {current.decided_at:%Y-%m-%d %H:%M:%S} UTC",
            expected="another release",
            action="see `homeostat releases`",
        )


def tell_request(request: Request) -> Json:
    """Return a request as a JSON object; `outcome` is null until a loop has answered it."""
    return {
        "request": request.id,
        "kind": request.kind,
        "release": request.release,
        "reason": request.reason,
        "actor": request.actor,
        "at": request.at.isoformat(),
        "decided_at": request.decided_at.isoformat() if request.decided_at else None,
        "outcome": request.outcome,
        "sentence": request.sentence or "It waits for the next turn of a loop.",
    }


def describe_waiting(connection: Connection) -> Json:
    """Return what is under way or waits: the open cycle, the release held for approval, the requests not yet taken."""
    cycle, held = find_open_cycle(connection), find_held(connection)
    return {
        "cycle": None if cycle is None else tell_cycle(cycle),
        "held": None if held is None else {"release": held, "number": resolve_release(connection, held).number},
        "requests": [tell_request(request) for request in list_pending(connection)],
    }


def tell_cycle(cycle: Cycle) -> Json:
    """Return a cycle that is under way as a JSON object: why, and the next step."""
    started_at = cycle.started_at.isoformat()
    return {"trigger": cycle.trigger, "reason": cycle.reason, "step": cycle.step, "started_at": started_at}
