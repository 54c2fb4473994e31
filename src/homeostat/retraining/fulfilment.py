"""Carrying out what was asked of the loop: a request becomes a cycle, or is refused with the reason.

Not here: asking (`retraining.requests`), or going back, which is more urgent than the rest (`retraining.rollback`).
"""

from datetime import datetime

from sqlalchemy import Connection

from homeostat.deployment.registry import RegisteredRelease, current_promotion, resolve_release
from homeostat.errors import HomeostatError, ReleaseMissing
from homeostat.records import Json
from homeostat.retraining.cycles import HAND, find_training, has_moved_since, held_cycles, open_cycle
from homeostat.retraining.requests import Request, answer_request

TRAIN, JUDGE = "snapshot", "gate"
# What a cycle that begins at the gate needs of those that have trained the release.
NEEDED = ("snapshot", "fit", "track")


def carry_out(connection: Connection, request: Request, *, now: datetime) -> str:
    """Open the cycle that a request asks for, or refuse it; return what was done in a sentence."""
    try:
        step, record, sentence = plan(connection, request)
    except HomeostatError as error:
        sentence = f"Refused to {request.kind}: {error.problem}."
        answer_request(connection, request, outcome="refused", sentence=sentence, now=now)
        return sentence
    record |= {"request": {"id": request.id, "kind": request.kind, "actor": request.actor}}
    open_cycle(connection, trigger=HAND, reason=request.reason, step=step, now=now, record=record)
    answer_request(connection, request, outcome="begun", sentence=sentence, now=now)
    return sentence


def plan(connection: Connection, request: Request) -> tuple[str, Json, str]:
    """Return the step at which the cycle of a request begins, its record, and what is done in a sentence.

    Raises
    ------
    ReleaseMissing
        The release does not exist or is in production already, nothing waits for approval, or there is nothing to go
        back to (where there is, going back came first).
    """
    if request.kind == "rollback":
        raise refuse_rollback(request)
    if request.kind == "retrain":
        return TRAIN, {}, f"Retraining, asked for by {request.actor}: {request.reason}."
    registered = find_asked(connection, request)
    current = current_promotion(connection)
    if current is not None and current.release == registered.digest:
        raise ReleaseMissing(
            problem=f"release {registered.digest[:12]} is in production already",
            expected="another release",
            action="see `homeostat releases`",
        )
    sentence = f"Release {registered.digest[:12]} goes to the gate: {request.kind}, asked for by {request.actor}."
    return JUDGE, recall_record(connection, registered), sentence


def refuse_rollback(request: Request) -> ReleaseMissing:
    """Return why a rollback is not carried out: one that can be comes before everything else, and never gets here."""
    gone = f"release {str(request.release)[:12]} is not in production any more, or "
    return ReleaseMissing(
        problem=f"{gone if request.release else ''}there is no earlier release to go back to",
        expected="a release that was in production before and was not rolled back",
        action="see `homeostat history`; train and promote another one",
    )


def find_asked(connection: Connection, request: Request) -> RegisteredRelease:
    """Return the release that a request is about: the one it names, or the newest one that waits for approval."""
    name = request.release or find_held(connection)
    if name is None:
        raise ReleaseMissing(
            problem="no release waits for approval",
            expected="a release that passed the gate and was held",
            action="see `homeostat releases`, or name the release",
        )
    return resolve_release(connection, name)


def find_held(connection: Connection) -> str | None:
    """Return the digest of the newest release that was held for approval, if production has not moved since."""
    held = held_cycles(connection, limit=1)
    if not held or has_moved_since(connection, held[0]):
        return None
    return str(held[0].record["fit"]["release"])


def recall_record(connection: Connection, registered: RegisteredRelease) -> Json:
    """Return what the steps have left that trained a release, so that the gate can judge it again.

    Without the change that was seen then: it is the world of today that it is to fit.
    """
    trained = find_training(connection, registered.digest)
    if trained is not None:
        left = {step: trained.record[step] for step in NEEDED if step in trained.record}
        return left | {"snapshot": {**left["snapshot"], "change": None}}
    seen = registered.metrics.get("labels_seen", 0)
    return {
        "snapshot": {"snapshot": registered.snapshot, "labels_seen": seen},
        "fit": {"release": registered.digest, "family": registered.family, "metrics": registered.metrics},
        "track": {"run_id": registered.run_id},
    }
