"""Going back to the last good release: what makes it urgent, and the step that does it.

Not here: the alarms (`retraining.aftercare`, `monitoring.bake`), or the promotion log (`deployment.registry`).
"""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from homeostat.deployment.artifacts import check_golden, find_release, open_release
from homeostat.deployment.registry import current_promotion, require_production
from homeostat.deployment.restoring import bar, last_good, restore
from homeostat.errors import ArtifactError, HomeostatError, ReleaseMissing, StateError
from homeostat.monitoring.production import count_labels_ever
from homeostat.project import Project
from homeostat.records import Json, Promotion
from homeostat.retraining.aftercare import find_breach
from homeostat.retraining.cycles import ROLLBACK, newest_cycles, open_cycle
from homeostat.retraining.requests import Request, answer_request, next_request
from homeostat.retraining.turn import Done, Turn
from homeostat.store.leases import require_lease
from homeostat.training.scoring import GRAPH_ERRORS, Graph

FIRST_STEP = "restore"
UNSOUND = (ArtifactError, ReleaseMissing, OSError, *GRAPH_ERRORS)
# After a rollback that failed, nothing is tried by itself for so long: whatever stands in its way, the loop must be
# able to do what a person asks for.
RETRY = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Urgent:
    """Why production must go back now: in a sentence, and as the record that its cycle begins with.

    `request` is set if a person asked for it.
    """

    reason: str
    record: Json
    request: Request | None = None


def find_urgent(project: Project, *, now: datetime) -> Urgent | None:
    """Return why production must go back now, None if it may stay or has nothing to go back to.

    Cheap: asked once a second during a training.
    """
    with project.database.read() as connection:
        asked = next_request(connection, kind="rollback")
        current = current_promotion(connection)
        if current is None or last_good(connection) is None:
            return None
        failed = has_failed_lately(connection, current, now=now)
    # The request names what must go: if that is gone already, there is nothing to do (`retraining.fulfilment`).
    if asked is not None and asked.release in {None, current.release}:
        alarm = {"alarm": "hand", "sentence": asked.reason}
        record = {"request": {"id": asked.id, "kind": asked.kind, "actor": asked.actor}, "breach": alarm}
        return Urgent(asked.reason, record, asked)
    breach = None if failed else find_breach(project, now=now)
    return None if breach is None else Urgent(breach.sentence, {"breach": asdict(breach)})


def has_failed_lately(connection: Connection, current: Promotion, *, now: datetime) -> bool:
    """Return whether going back from what is in production has just failed."""
    return any(
        (cycle.trigger, cycle.outcome) == (ROLLBACK, "failed")
        and cycle.record.get("epoch") == current.epoch
        and cycle.finished_at is not None
        and abs(now - cycle.finished_at) < RETRY
        for cycle in newest_cycles(connection, limit=3)
    )


def open_rollback(connection: Connection, urgent: Urgent, *, now: datetime) -> str:
    """Open the cycle that goes back, in the caller's transaction, and return what was decided in a sentence.

    The record holds the epoch that must end: a step that is run again must not go back twice.
    """
    current = require_production(connection)
    record = {**urgent.record, "epoch": current.epoch}
    open_cycle(connection, trigger=ROLLBACK, reason=urgent.reason, step=FIRST_STEP, now=now, record=record)
    sentence = f"Going back from release {current.release[:12]} to the last good one: {urgent.reason}."
    if urgent.request is not None:
        answer_request(connection, urgent.request, outcome="begun", sentence=sentence, now=now)
    return sentence


def step_restore(turn: Turn) -> Done:
    """Put the last good release back into production, unless a killed predecessor of this step has done it."""
    record = turn.cycle.record
    breach, request = record["breach"], record.get("request")
    with turn.project.database.read() as connection:
        current = require_production(connection)
        n_labels = count_labels_ever(connection)
    if current.epoch == record["epoch"]:
        current = restore(
            turn.project.database,
            find_sound(turn, labels_ever=n_labels),
            expected_epoch=current.epoch,
            alarm=breach["alarm"],
            reason=turn.cycle.reason,
            actor=request["actor"] if request else "loop",
            labels_ever=n_labels,
            now=turn.now,
            lease=turn.lease,
        )
    sentence = f"Release {current.release[:12]} is in production again (epoch {current.epoch})."
    return Done({"epoch": current.epoch}, sentence)


def find_sound(turn: Turn, *, labels_ever: int) -> str:
    """Return the newest earlier release that answers its golden rows here; those that do not are barred.

    Raises
    ------
    StateError
        None is left.
    """
    while True:
        with turn.project.database.read() as connection:
            target = last_good(connection)
        if target is None:
            raise StateError(
                problem="there is no earlier release to go back to",
                expected="a release that was in production before, is whole and was not rolled back",
                action="train and promote another one",
            )
        try:
            release = open_release(find_release(target, turn.project.blobs))
            check_golden(release, Graph(release.graph, release.schema))
        except UNSOUND as error:
            # Whatever is wrong with it, it cannot answer here: an older one may.
            reason = error.problem if isinstance(error, HomeostatError) else f"{type(error).__name__}: {error}"
            with turn.project.database.write("bar_damaged") as connection:
                require_lease(connection, turn.lease)
                bar(connection, target, labels_ever=labels_ever, reason=reason, now=turn.now)
        else:
            return target
