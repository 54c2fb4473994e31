"""What the experiment manager is told of a cycle, by its steps or once it has ended; and what it failed to take.

Not here: telling it (`retraining.tracked`, in a child process). MLflow holds what people compare. It decides nothing,
so it must not stand between a release and production: what it does not take is told later.
"""

from collections.abc import Sequence
from datetime import datetime
from urllib.parse import urlsplit

from sqlalchemy import Connection

from homeostat.errors import HomeostatError, LeaseHeld
from homeostat.project import Project
from homeostat.records import Json
from homeostat.retraining.cycles import ROLLBACK, Cycle, find_training, newest_cycles
from homeostat.retraining.turn import Turn
from homeostat.store.events import append_event, newest_events
from homeostat.store.leases import Lease, require_lease

# Ended cycles that are looked at for those that were not told.
NEWEST = 100


# --- what is told -------------------------------------------------------------------------------------------------


def tell_attempt(cycle: Cycle) -> Json:
    """Return a training, as far as it has come."""
    record = cycle.record
    return {
        "cycle": cycle.id,
        "trigger": cycle.trigger,
        "reason": cycle.reason,
        "started_at": cycle.started_at.isoformat(),
        "snapshot": record.get("snapshot", {}).get("snapshot"),
        "searches": record.get("search", {}).get("searches", []),
    }


def tell_training(connection: Connection, release: str) -> Json | None:
    """Return the training that a release comes from, None if no cycle is known that trained it."""
    cycle = find_training(connection, release)
    return None if cycle is None else tell_attempt(cycle)


def tell_outcome(cycle: Cycle, outcome: str, sentence: str, *, at: datetime) -> Json:
    """Return what became of a cycle's release, with the verdict of the gate."""
    return {"outcome": outcome, "sentence": sentence, "gate": cycle.record.get("gate", {}), "at": at.isoformat()}


def list_untold(connection: Connection, *, after: int) -> list[Json]:
    """Return the ended cycles after a number whose end the experiment manager does not know, oldest first."""
    ended = [cycle for cycle in newest_cycles(connection, limit=NEWEST) if cycle.id > after and cycle.step is None]
    return [tell_end(connection, cycle) for cycle in ended if not is_told(cycle)]


def is_told(cycle: Cycle) -> bool:
    """Return whether there is nothing to tell of a cycle that has ended, or its last step has told it."""
    return cycle.trigger == ROLLBACK or "version" in cycle.record.get("mirror", {})


def tell_end(connection: Connection, cycle: Cycle) -> Json:
    """Return an ended cycle: its training, the release that it came to if any, and what became of that."""
    release = cycle.record.get("fit", {}).get("release")
    attempt = tell_training(connection, release) if release else None
    outcome = str(cycle.outcome)
    known = newest_events(connection, f"cycle_{outcome}", limit=NEWEST)
    sentence = next((str(e.payload["sentence"]) for e in known if e.payload["cycle"] == cycle.id), outcome)
    ended = tell_outcome(cycle, outcome, sentence, at=cycle.finished_at or cycle.started_at)
    return {"number": cycle.id, "release": release, "attempt": attempt or tell_attempt(cycle), "concluded": ended}


# --- what it fails to take ----------------------------------------------------------------------------------------


def tell_tracking(turn: Turn, part: str, request: Json) -> Json:
    """Run a part that speaks to the experiment manager; if that fails, say so in the log and go on without."""
    if not turn.project.is_tracked:
        return {}
    try:
        return turn.run_part(part, request)
    except LeaseHeld:
        raise
    except HomeostatError as error:
        return {"problem": note_failure(turn.project, turn.lease, error, part=part, cycle=turn.cycle.id, now=turn.now)}


def note_failure(
    project: Project, lease: Lease, error: HomeostatError, *, part: str, cycle: int | None, now: datetime
) -> str:
    """Append to the log that the experiment manager failed, and return the problem: without the login of its URL."""
    problem = hide_login(error.problem, project.tracking_url)
    with project.database.write("tracking_failed") as connection:
        require_lease(connection, lease)
        append_event(connection, "tracking_failed", {"cycle": cycle, "part": part, "problem": problem}, now=now)
    return problem


def hide_login(text: str, url: str) -> str:
    """Return a text without the user name and the password that a URL holds."""
    login, at, _ = urlsplit(url).netloc.rpartition("@")
    hidden = text.replace(f"{login}{at}", "") if at else text
    secrets: Sequence[str] = [part for part in login.split(":")[1:] if part]
    for secret in secrets:
        hidden = hidden.replace(secret, "...")
    return hidden


def describe_trouble(tracked: Json) -> str:
    """Return what went wrong with the experiment manager, in words."""
    return f", but MLflow failed: {tracked['problem']}" if "problem" in tracked else ""
