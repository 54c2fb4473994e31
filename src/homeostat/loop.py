"""The cycle: a table of steps in stage order, and `advance`, which runs the next one.

Not here: what a step does in detail, or what a person asks for (`cli`). Every step leaves its record and the name of
the next step in one transaction, and gives the same result when it is run again: a loop that is killed anywhere goes on
where it was.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from homeostat.deployment.artifacts import find_release, recall_release
from homeostat.deployment.registry import current_promotion
from homeostat.errors import HomeostatError, LeaseHeld, StorageFailed, TrainingFailed
from homeostat.monitoring.arrival_checks import watch_arrivals
from homeostat.monitoring.outcomes import judge_outcomes, outcomes_wait
from homeostat.monitoring.production import WINDOWS_PER_CALL, stamp_rows
from homeostat.monitoring.retention import clear_expired, periods_of
from homeostat.monitoring.windows import watch
from homeostat.project import Project
from homeostat.records import Decision, Json, Promotion
from homeostat.retraining.aftercare import look_after
from homeostat.retraining.cycles import (
    HAND,
    ROLLBACK,
    Cycle,
    close_cycle,
    find_open_cycle,
    is_still_at,
    open_cycle,
    store_step,
)
from homeostat.retraining.deciding import consider, record_decision
from homeostat.retraining.fulfilment import carry_out
from homeostat.retraining.judging import step_gate, step_shadow
from homeostat.retraining.learning import step_fit, step_search, step_snapshot, step_track
from homeostat.retraining.releasing import step_approve, step_mirror, step_promote
from homeostat.retraining.requests import next_request
from homeostat.retraining.rollback import Urgent, find_urgent, open_rollback, step_restore
from homeostat.retraining.tracking_watch import keep_in_step
from homeostat.retraining.turn import Done, Overtaken, Turn, Waits
from homeostat.store.blobs import STORAGE_ERRORS
from homeostat.store.events import append_event
from homeostat.store.failpoints import failpoint
from homeostat.store.leases import Lease, find_lease, give_lease_back, require_lease, take_lease, this_process

OPENED = "A cycle was opened meanwhile: going on with that one."


@dataclass(frozen=True, slots=True)
class Advance:
    """What one call of `advance` did, in a sentence. `idle` means that there is nothing more to do now."""

    sentence: str
    idle: bool
    outcome: str | None = None
    decision: Decision | None = None


# In stage order. A cycle begins at the first; at `gate`, with a release that somebody wants promoted; or at `restore`.
STEPS: Mapping[str, Callable[[Turn], Done | Waits]] = {
    "snapshot": step_snapshot,
    "search": step_search,
    "fit": step_fit,
    "track": step_track,
    "gate": step_gate,
    "shadow": step_shadow,
    "approve": step_approve,
    "promote": step_promote,
    "restore": step_restore,
    "mirror": step_mirror,
}
ORDER = tuple(step for step in STEPS if step != "restore")
FOLLOWING: Mapping[str, str | None] = {**dict(pairwise(ORDER)), "restore": "mirror", "mirror": None}


# --- turning ------------------------------------------------------------------------------------------------------


def advance(project: Project, *, now: datetime) -> Advance:
    """Run the next step of the open cycle; without one, watch the world and decide whether to open one.

    Whatever is under way, going back to the last good release comes first.

    Raises
    ------
    LeaseHeld
        Another loop is acting.
    StorageFailed
        The disk took nothing; the step is run again by the next call.
    HomeostatError
        The step failed; its cycle is closed as failed.
    """
    lease = take_lease(project.database, now=now)
    with project.database.read() as connection:
        cycle = find_open_cycle(connection)
    if cycle is None or cycle.trigger != ROLLBACK:
        urgent = find_urgent(project, now=now)
        if urgent is not None:
            return go_back(project, lease, urgent, cycle, now=now)
    if cycle is None:
        return observe(project, lease, now=now)
    return run_step(Turn(project, lease, cycle, now, is_overtaken=lambda: is_overtaken(project, cycle)))


def is_overtaken(project: Project, cycle: Cycle) -> bool:
    """Return whether production must go back while a cycle is under way that does something else."""
    return cycle.trigger != ROLLBACK and find_urgent(project, now=datetime.now(UTC)) is not None


def go_back(project: Project, lease: Lease, urgent: Urgent, cycle: Cycle | None, *, now: datetime) -> Advance:
    """Open the cycle that goes back, ending the one under way."""
    with project.database.write("go_back") as connection:
        require_lease(connection, lease)
        if cycle is not None:
            close_cycle(connection, cycle, outcome="overtaken", sentence=urgent.reason, now=now)
        return Advance(open_rollback(connection, urgent, now=now), idle=False)


def run_step(turn: Turn) -> Advance:
    """Run the cycle's next step and store what it leaves together with the step that follows."""
    step = str(turn.cycle.step)
    failpoint(f"step_{step}.before")
    try:
        left = STEPS[step](turn)
    except (LeaseHeld, StorageFailed):
        raise  # the cycle stays open, and the step is run again
    except Overtaken:
        return Advance(f"Step {step} was interrupted: something more urgent waits.", idle=False)
    except HomeostatError as error:
        fail_cycle(turn, error)
        raise
    except Exception as error:
        if is_storage_failure(error):
            raise
        # Whatever a step meets ends its cycle: left open, the loop would run into it for ever and watch nothing.
        failure = TrainingFailed(
            problem=f"step {step} met {type(error).__name__}: {error}",
            expected="a step that ends",
            action="mend the cause, then run `homeostat train`; production is as it was",
        )
        fail_cycle(turn, failure)
        raise failure from error
    if isinstance(left, Waits):
        return keep_watching(turn, left)
    with turn.project.database.write(f"step_{step}") as connection:
        require_lease(connection, turn.lease)
        if not is_still_at(connection, turn.cycle):
            return Advance(f"Step {step} is over: its cycle was ended meanwhile.", idle=False)
        store_step(connection, turn.cycle, left.record, following=None if left.outcome else FOLLOWING[step])
        if step == "gate":
            record_verdict(connection, turn, left.record)
        if left.outcome:
            close_cycle(connection, turn.cycle, outcome=left.outcome, sentence=left.sentence, now=turn.now)
    return Advance(left.sentence, idle=False, outcome=left.outcome)


def is_storage_failure(error: Exception) -> bool:
    """Return whether the disk or the database is what failed: then nothing is wrong with the step itself."""
    return isinstance(error, SQLAlchemyError) or (isinstance(error, OSError) and error.errno in STORAGE_ERRORS)


def fail_cycle(turn: Turn, error: HomeostatError) -> None:
    """Close the cycle as failed, with the reason in the log."""
    with turn.project.database.write("fail_cycle") as connection:
        require_lease(connection, turn.lease)
        close_cycle(connection, turn.cycle, outcome="failed", sentence=str(error), now=turn.now)


def record_verdict(connection: Connection, turn: Turn, verdict: Json) -> None:
    """Append the gate's verdict to the event log, in the transaction that ends the step: once, whatever was killed."""
    payload = {"release": turn.recall("fit")["release"], "passed": verdict["passed"], "criteria": verdict["criteria"]}
    append_event(connection, "gate", payload, now=turn.now)


def keep_watching(turn: Turn, waits: Waits) -> Advance:
    """Look at the world while a cycle waits; what is asked meanwhile ends it, or nobody would be heard for days."""
    with turn.project.database.read() as connection:
        promotion, request = current_promotion(connection), next_request(connection)
    if request is not None:
        sentence = f"Request {request.id} has come ({request.kind}): the cycle that waited makes way for it."
        with turn.project.database.write("make_way") as connection:
            require_lease(connection, turn.lease)
            if is_still_at(connection, turn.cycle):
                close_cycle(connection, turn.cycle, outcome="overtaken", sentence=sentence, now=turn.now)
        return Advance(sentence, idle=False)
    judged = promotion is None or look_at_world(turn.project, promotion, turn.lease, now=turn.now)
    cleared = clear_expired(turn.project.database, periods_of(turn.project.settings), lease=turn.lease, now=turn.now)
    return Advance(waits.sentence, idle=judged and cleared)


def observe(project: Project, lease: Lease, *, now: datetime) -> Advance:
    """Do what is asked; else check the new windows, delete what is too old, hear the triggers, decide.

    A cycle is opened for a request, and for a retraining that is granted.
    """
    keep_in_step(project, lease, now=now)  # a moved alias of MLflow is a request too
    asked = begin_request(project, lease, now=now)
    if asked is not None:
        return Advance(asked, idle=False)
    with project.database.read() as connection:
        promotion = current_promotion(connection)
    if promotion is None:
        return Advance("Nothing is in production yet: run `homeostat train`.", idle=True)
    judged = look_at_world(project, promotion, lease, now=now)
    # After the watch, so that what it has looked at may go; before the decision, so that this rests on what is left.
    cleared = clear_expired(project.database, periods_of(project.settings), lease=lease, now=now)
    # Gathered before the write transaction: the log's writers would wait for it.
    with project.database.read() as connection:
        considered = consider(connection, project, promotion, now=now)
    decision = considered.decision
    with project.database.write("decide") as connection:
        require_lease(connection, lease)
        if find_open_cycle(connection) is not None:
            return Advance(OPENED, idle=False)
        record_decision(connection, considered, epoch=promotion.epoch)
        if decision.action == "retrain":
            trigger = str(decision.trigger)
            open_cycle(connection, trigger=trigger, reason=decision.sentence, step=ORDER[0], now=now)
    return Advance(decision.sentence, idle=judged and cleared and decision.action != "retrain", decision=decision)


def begin_request(project: Project, lease: Lease, *, now: datetime) -> str | None:
    """Open the cycle that the oldest request asks for, or refuse it; return what was done, None without a request."""
    with project.database.read() as connection:
        request = next_request(connection)
    if request is None:
        return None
    with project.database.write("begin_request") as connection:
        require_lease(connection, lease)
        if find_open_cycle(connection) is not None:
            return OPENED
        return carry_out(connection, request, now=now)


def look_at_world(project: Project, promotion: Promotion, lease: Lease, *, now: datetime) -> bool:
    """Stamp the new rows, judge what has come since the last look, and return whether all of it was judged."""
    database, rules = project.database, project.settings.monitoring
    stamp_rows(database, lease=lease, epoch=promotion.epoch)
    release = recall_release(find_release(promotion.release, project.blobs))
    reports = watch(database, release, promotion, rules, lease=lease, now=now)
    watch_arrivals(database, release, promotion, rules, lease=lease, now=now, blobs=project.blobs)
    judge_outcomes(database, release, promotion, rules, lease=lease, now=now)
    look_after(project, release, promotion, lease=lease, now=now)
    return len(reports) < WINDOWS_PER_CALL and not outcomes_wait(database, promotion, rules, now=now)


def begin_by_hand(project: Project, *, reason: str) -> bool:
    """Open a cycle that a person asked for, and return whether it was opened: one may be under way already.

    One that only waits for live traffic makes way. It needs no lease: whichever loop acts on the project turns it.
    """
    now = datetime.now(UTC)
    with project.database.write("begin_by_hand") as connection:
        under_way = find_open_cycle(connection)
        if under_way is not None and under_way.step != "shadow":
            return False
        if under_way is not None:
            close_cycle(connection, under_way, outcome="overtaken", sentence=f"A person asked: {reason}", now=now)
        open_cycle(connection, trigger=HAND, reason=reason, step=ORDER[0], now=now)
        return True


def tick(project: Project) -> Iterator[Advance]:
    """Advance until there is nothing more to do now, yielding what each call did; then give the lease back."""
    try:
        idle = False
        while not idle:
            done = advance(project, now=datetime.now(UTC))
            yield done
            idle = done.idle or done.outcome is not None
    finally:
        give_back(project)


def give_back(project: Project) -> None:
    """Give the lease back if this process holds it."""
    with project.database.read() as connection:
        lease = find_lease(connection)
    if lease is not None and lease.holder == this_process():
        give_lease_back(project.database, lease)
