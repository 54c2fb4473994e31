"""The alias `production` in MLflow as a way to ask: whoever moves it asks for a promotion, once a move.

Not here: carrying it out, through the gate as any promotion by hand (`retraining.fulfilment`). A move that was refused,
or that names nothing which could be promoted, is taken back: MLflow shows who is in production, and decides nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from homeostat.deployment.registry import current_promotion, find_registered
from homeostat.project import Project
from homeostat.records import Json
from homeostat.retraining.requests import Request, ask, find_request
from homeostat.retraining.telling import tell_training
from homeostat.store.events import append_event, latest_event
from homeostat.store.leases import Lease, require_lease

ALIAS, ACTOR = "production", "mlflow"
PROMOTED, BEGUN = "promoted", "begun"

# Runs a part of the child process: its name and its request to its answer.
Run = Callable[[str, Json], Json]


@dataclass(frozen=True, slots=True)
class Move:
    """A move of the alias that was noticed and is not settled: the version it names now, None if it was deleted.

    `request` is what it became, None if it named nothing that could be promoted.
    """

    version: str | None
    sentence: str
    request: Request | None

    @property
    def is_answered(self) -> bool:
        """Whether nothing more will come of it: the alias may be put back."""
        return self.request is None or self.request.outcome not in {None, BEGUN}

    @property
    def why(self) -> str:
        """Why it is taken back, in words."""
        return self.sentence if self.request is None else str(self.request.sentence)


def find_move(connection: Connection) -> Move | None:
    """Return the newest move of the alias if it has neither moved production nor been taken back."""
    moved, restored = latest_event(connection, "alias_moved"), latest_event(connection, "alias_restored")
    if moved is None or (restored is not None and restored.seq > moved.seq):
        return None
    number = moved.payload["request"]
    request = None if number is None else find_request(connection, number)
    if request is not None and request.outcome == PROMOTED:
        return None
    return Move(moved.payload["version"], moved.payload["sentence"], request)


def follow_alias(project: Project, lease: Lease, run: Run, *, now: datetime) -> None:
    """Look where the alias points: ask for what somebody has moved it to, or put it back once that is answered."""
    state = look(project, lease, run, now=now)
    if state == "moved":
        with project.database.read() as connection:
            move = find_move(connection)
        if move is not None and move.is_answered:
            look(project, lease, run, now=now)


def look(project: Project, lease: Lease, run: Run, *, now: datetime) -> str:
    """Look once, put the alias back if it may be, write down what was found, and return its state."""
    with project.database.read() as connection:
        promotion, move = current_promotion(connection), find_move(connection)
        if promotion is None:
            return "in step"
        attempt = tell_training(connection, promotion.release) or unknown_training(promotion.decided_at)
    is_answered = move is not None and move.is_answered
    put_back = {"version": move.version} if move is not None and is_answered else None
    found = run("alias", {"release": promotion.release, "attempt": attempt, "put_back": put_back})
    state = str(found["state"])
    with project.database.write("follow_alias") as connection:
        require_lease(connection, lease)
        if state == "moved":
            note_move(connection, found, now=now)
        elif move is not None and is_answered:
            sentence = f"MLflow's alias {ALIAS} is back at version {found['version']}, the release in production, "
            payload = {"version": found["version"], "sentence": f"{sentence}because: {move.why}"}
            append_event(connection, "alias_restored", payload, now=now)
    return state


def unknown_training(at: datetime) -> Json:
    """Return what is told of the training of a release that no cycle has trained."""
    return {"cycle": 0, "trigger": "hand", "reason": "no cycle trained it", "started_at": at.isoformat()}


def note_move(connection: Connection, found: Json, *, now: datetime) -> None:
    """Ask for the release that the alias was moved to, once a move; or note that it names none of ours."""
    version, release = found["version"], found["release"]
    known = find_move(connection)
    if known is not None and known.version == version:
        return
    number, sentence = None, describe_stray(version)
    if release is not None and find_registered(connection, release) is not None:
        sentence = f"MLflow's alias {ALIAS} was moved to version {version}"
        number = ask(connection, "promote", release=release, reason=sentence, actor=ACTOR, now=now).id
    payload = {"version": version, "release": release, "request": number, "sentence": sentence}
    append_event(connection, "alias_moved", payload, now=now)


def describe_stray(version: str | None) -> str:
    """Return in words what is wrong with an alias that asks for nothing."""
    if version is None:
        return f"MLflow's alias {ALIAS} was deleted"
    return f"MLflow's alias {ALIAS} was moved to version {version}, which is no release of this project"
