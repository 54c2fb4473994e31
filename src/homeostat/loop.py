"""The cycle: a table of steps in stage order, and `advance`, which runs the next one.

Not here: what a step does in detail, or what a person asks for (`cli`). Every step leaves its record and the name of
the next step in one transaction, and gives the same result when it is run again: a loop that is killed anywhere goes on
where it was.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection

from homeostat.deployment.artifacts import find_release, recall_release
from homeostat.deployment.registry import (
    current_promotion,
    gate_from_json,
    gate_to_json,
    promote,
    register_release,
)
from homeostat.errors import HomeostatError, LeaseHeld, TrainingFailed
from homeostat.monitoring.arrival_checks import watch_arrivals
from homeostat.monitoring.drift_checks import date_change
from homeostat.monitoring.outcomes import judge_outcomes, outcomes_wait
from homeostat.monitoring.production import WINDOWS_PER_CALL, stamp_rows
from homeostat.monitoring.retention import clear_expired, periods_of
from homeostat.monitoring.windows import watch
from homeostat.project import Project
from homeostat.records import Decision, Json, Promotion
from homeostat.retraining.attempt import lacks_store, run_part
from homeostat.retraining.comparison import compare
from homeostat.retraining.cycles import HAND, Cycle, close_cycle, find_open_cycle, open_cycle, store_step
from homeostat.retraining.facts import describe_quiet, gather_facts, gather_watch, judging_labels
from homeostat.retraining.policy import decide, stay
from homeostat.retraining.training_data import take_snapshot
from homeostat.retraining.triggers import propose
from homeostat.store.events import append_event, latest_event
from homeostat.store.leases import Lease, find_lease, give_lease_back, require_lease, take_lease, this_process

# How often a step that waits for a child process renews the lease.
RENEW_S = 10.0


@dataclass(frozen=True, slots=True)
class Advance:
    """What one call of `advance` did, in a sentence. `idle` means that there is nothing more to do now."""

    sentence: str
    idle: bool
    outcome: str | None = None
    decision: Decision | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """What a step is handed: the project, the lease it acts under, and its cycle."""

    project: Project
    lease: Lease
    cycle: Cycle
    now: datetime

    def recall(self, step: str) -> Json:
        """Return what an earlier step of this cycle has left."""
        left: Json = self.cycle.record[step]
        return left

    def run_part(self, part: str, request: Json) -> Json:
        """Run a part of the attempt in a child process, renewing the lease while it works."""
        renewed = time.monotonic()

        def renew() -> None:
            nonlocal renewed
            if time.monotonic() - renewed > RENEW_S:
                take_lease(self.project.database, now=datetime.now(UTC))
                renewed = time.monotonic()

        full = {**request, "cycle": self.cycle.id, "trigger": self.cycle.trigger}
        return run_part(part, self.project, full, while_waiting=renew)


# --- the steps, in stage order ------------------------------------------------------------------------------------


def step_snapshot(turn: Turn) -> Json:
    """Freeze D_old u labelled D_production."""
    with turn.project.database.read() as connection:
        champion = current_promotion(connection)
        epoch = champion.epoch if champion else 0
        moved = date_change(connection, epoch=epoch, rule=turn.project.settings.monitoring.trigger)
    if champion is not None:
        # Only stamped rows are read, and a training by hand can come before any loop has seen one.
        stamp_rows(turn.project.database, lease=turn.lease, epoch=epoch)
    hand = turn.cycle.trigger == HAND
    snapshot = take_snapshot(turn.project, champion=champion, reload_files=hand, change_point=moved)
    lineage = snapshot.lineage
    return {"snapshot": snapshot.digest, "rows": lineage["rows"], "labels_seen": lineage["labels_seen"]}


def step_search(turn: Turn) -> Json:
    """Find the best configuration; before a first training, MLflow's store is built beside it."""
    with ThreadPoolExecutor(max_workers=1) as aside:
        if lacks_store(turn.project):
            # What goes wrong with it is told by the step that needs it.
            aside.submit(run_part, "prepare", turn.project, {}, while_waiting=lambda: None)
        return turn.run_part("search", {"snapshot": turn.recall("snapshot")["snapshot"]})


def step_fit(turn: Turn) -> Json:
    """Fit it, evaluate its graph, pack the release."""
    request = {"snapshot": turn.recall("snapshot")["snapshot"], "search": turn.recall("search")}
    return turn.run_part("fit", request)


def step_track(turn: Turn) -> Json:
    """Record the attempt in the experiment manager, and register the release."""
    fitted, snapshot = turn.recall("fit"), turn.recall("snapshot")["snapshot"]
    tracked = tell_tracking(turn, "track", {"release": fitted["release"], "snapshot": snapshot})
    with turn.project.database.write() as connection:
        require_lease(connection, turn.lease)
        registered = register_release(
            connection,
            fitted["release"],
            snapshot=snapshot,
            family=fitted["family"],
            metrics=fitted["metrics"] | {"labels_seen": turn.recall("snapshot")["labels_seen"]},
            run_id=tracked.get("run_id"),
            now=turn.now,
        )
    return {**tracked, "number": registered.number}


def step_gate(turn: Turn) -> Json:
    """Judge the challenger against the champion of the moment on the same held-out rows."""
    with turn.project.database.read() as connection:
        champion = current_promotion(connection)
        judging = judging_labels(connection, turn.project, champion) if champion else {}
    # What a person asked for is judged by recent rows if they suffice; what the loop decided needs them.
    enough = len(judging) >= turn.project.settings.retraining.min_recent
    judged_by_recent = champion is not None and (turn.cycle.trigger != HAND or enough)
    verdict = compare(
        turn.project,
        challenger=turn.recall("fit")["release"],
        champion=champion.release if champion else None,
        recent_ids=frozenset(judging) if judged_by_recent else None,
    )
    return gate_to_json(verdict) | {"epoch": champion.epoch if champion else 0}


def step_promote(turn: Turn) -> Json:
    """Move production, unless a killed predecessor of this step has done it already."""
    gate, release = turn.recall("gate"), turn.recall("fit")["release"]
    with turn.project.database.read() as connection:
        current = current_promotion(connection)
    if current is not None and current.release == release:
        return {"epoch": current.epoch}
    promotion = promote(
        turn.project.database,
        release,
        gate=gate_from_json(gate),
        expected_epoch=gate["epoch"],
        actor="loop" if turn.cycle.trigger != HAND else "hand",
        reason=turn.cycle.reason,
        now=turn.now,
    )
    return {"epoch": promotion.epoch}


def step_mirror(turn: Turn) -> Json:
    """Point MLflow's alias at the release in production."""
    run_id = turn.recall("track").get("run_id")
    if run_id is None:
        return {"problem": "the attempt has no run"}
    return tell_tracking(turn, "mirror", {"release": turn.recall("fit")["release"], "run_id": run_id})


def tell_tracking(turn: Turn, part: str, request: Json) -> Json:
    """Run a part that speaks to the experiment manager; if that fails, say so in the log and go on without.

    MLflow holds what people compare. It decides nothing, so it must not stand between a release and production.
    """
    try:
        return turn.run_part(part, request)
    except LeaseHeld:
        raise
    except HomeostatError as error:
        with turn.project.database.write() as connection:
            require_lease(connection, turn.lease)
            payload = {"cycle": turn.cycle.id, "part": part, "problem": error.problem}
            append_event(connection, "tracking_failed", payload, now=turn.now)
        return {"problem": error.problem}


STEPS: Mapping[str, Callable[[Turn], Json]] = {
    "snapshot": step_snapshot,
    "search": step_search,
    "fit": step_fit,
    "track": step_track,
    "gate": step_gate,
    "promote": step_promote,
    "mirror": step_mirror,
}
ORDER = tuple(STEPS)


# --- turning ------------------------------------------------------------------------------------------------------


def advance(project: Project, *, now: datetime) -> Advance:
    """Run the next step of the open cycle; without one, watch the world and decide whether to open one.

    Raises
    ------
    LeaseHeld
        Another loop is acting.
    HomeostatError
        The step failed; its cycle is closed as failed.
    """
    lease = take_lease(project.database, now=now)
    with project.database.read() as connection:
        cycle = find_open_cycle(connection)
    if cycle is None:
        return observe(project, lease, now=now)
    return run_step(Turn(project, lease, cycle, now))


def run_step(turn: Turn) -> Advance:
    """Run the cycle's next step and store what it leaves together with the step that follows."""
    step = str(turn.cycle.step)
    try:
        left = STEPS[step](turn)
    except LeaseHeld:
        raise
    except HomeostatError as error:
        fail_cycle(turn, error)
        raise
    except Exception as error:
        # Whatever a step meets ends its cycle: left open, the loop would run into it for ever and watch nothing.
        failure = TrainingFailed(
            problem=f"step {step} met {type(error).__name__}: {error}",
            expected="a step that ends",
            action="mend the cause, then run `homeostat train`; production is as it was",
        )
        fail_cycle(turn, failure)
        raise failure from error
    following = ORDER[ORDER.index(step) + 1] if step != ORDER[-1] else None
    sentence, outcome = describe_step(turn.cycle, step, left)
    with turn.project.database.write() as connection:
        require_lease(connection, turn.lease)
        store_step(connection, turn.cycle, left, following=None if outcome else following)
        if step == "gate":
            record_verdict(connection, turn, left)
        if outcome:
            close_cycle(connection, turn.cycle, outcome=outcome, sentence=sentence, now=turn.now)
    return Advance(sentence, idle=False, outcome=outcome)


def fail_cycle(turn: Turn, error: HomeostatError) -> None:
    """Close the cycle as failed, with the reason in the log."""
    with turn.project.database.write() as connection:
        require_lease(connection, turn.lease)
        close_cycle(connection, turn.cycle, outcome="failed", sentence=str(error), now=turn.now)


def record_verdict(connection: Connection, turn: Turn, verdict: Json) -> None:
    """Append the gate's verdict to the event log, in the transaction that ends the step: once, whatever was killed."""
    payload = {"release": turn.recall("fit")["release"], "passed": verdict["passed"], "criteria": verdict["criteria"]}
    append_event(connection, "gate", payload, now=turn.now)


def describe_step(cycle: Cycle, step: str, left: Json) -> tuple[str, str | None]:
    """Return a finished step in a sentence, and the cycle's outcome if it was the last."""
    release = str(cycle.record.get("fit", left).get("release", ""))[:12]
    if step == "snapshot":
        rows = ", ".join(f"{n} {side}" for side, n in left["rows"].items() if n)
        return f"Snapshot {left['snapshot'][:12]}: {rows} rows.", None
    if step == "search":
        return str(left["sentence"]), None
    if step == "gate":
        sentences = "; ".join(c["sentence"] for c in left["criteria"] if c["passed"] == left["passed"])
        verdict = "passed" if left["passed"] else "was refused at"
        return f"Release {release} {verdict} the gate: {sentences}.", None if left["passed"] else "refused"
    if step == "promote":
        return f"Release {release} is in production (epoch {left['epoch']}).", None
    if step == "mirror":
        epoch = cycle.record["promote"]["epoch"]
        alias = "MLflow's alias follows" if "problem" not in left else f"MLflow's alias does not: {left['problem']}"
        return f"Release {release} is in production since epoch {epoch}; {alias}.", "promoted"
    trouble = f", but MLflow failed: {left['problem']}" if "problem" in left else ""
    return f"Release {release}: {'packed' if step == 'fit' else 'recorded and registered'}{trouble}.", None


def observe(project: Project, lease: Lease, *, now: datetime) -> Advance:
    """Check the new windows, delete what is too old, hear the triggers, decide, and open a cycle if that is granted."""
    with project.database.read() as connection:
        promotion = current_promotion(connection)
    if promotion is None:
        return Advance("Nothing is in production yet: run `homeostat train`.", idle=True)
    judged = look_at_world(project, promotion, lease, now=now)
    # After the watch, so that what it has looked at may go; before the decision, so that this rests on what is left.
    cleared = clear_expired(project.database, periods_of(project.settings), lease=lease, now=now)
    # Gathered before the write transaction: the log's writers would wait for it.
    with project.database.read() as connection:
        decision = consider(connection, project, promotion, now=now)
    with project.database.write() as connection:
        require_lease(connection, lease)
        record_decision(connection, decision, now=now)
        if decision.action == "retrain":
            trigger = str(decision.trigger)
            open_cycle(connection, trigger=trigger, reason=decision.sentence, step=ORDER[0], now=now)
    return Advance(decision.sentence, idle=judged and cleared and decision.action != "retrain", decision=decision)


def look_at_world(project: Project, promotion: Promotion, lease: Lease, *, now: datetime) -> bool:
    """Stamp the new rows, judge what has come since the last look, and return whether all of it was judged."""
    database, rules = project.database, project.settings.monitoring
    stamp_rows(database, lease=lease, epoch=promotion.epoch)
    release = recall_release(find_release(promotion.release, project.blobs))
    reports = watch(database, release, promotion, rules, lease=lease, now=now)
    watch_arrivals(database, release, promotion, rules, lease=lease, now=now, blobs=project.blobs)
    judge_outcomes(database, release, promotion, rules, lease=lease, now=now)
    return len(reports) < WINDOWS_PER_CALL and not outcomes_wait(database, promotion, rules, now=now)


def consider(connection: Connection, project: Project, promotion: Promotion, *, now: datetime) -> Decision:
    """Hear the triggers and decide."""
    watched = gather_watch(connection, project, promotion, now=now)
    proposals = propose(watched, project.settings.monitoring, project.settings.retraining)
    if not proposals:
        return stay(describe_quiet(watched.newest, project.settings.monitoring.window))
    return decide(proposals, gather_facts(connection, project, promotion, now=now), project.settings.retraining)


def record_decision(connection: Connection, decision: Decision, *, now: datetime) -> None:
    """Append a decision to the log, unless it only repeats the last one with newer figures."""
    last = latest_event(connection, "decision")
    if last is None or (last.payload["action"], last.payload["trigger"]) != (decision.action, decision.trigger):
        payload = {"action": decision.action, "trigger": decision.trigger, "sentence": decision.sentence}
        append_event(connection, "decision", payload, now=now)


def begin_by_hand(project: Project, *, reason: str) -> bool:
    """Open a cycle that a person asked for, and return whether it was opened: one may be under way already.

    It needs no lease: whichever loop acts on the project turns it.
    """
    with project.database.write() as connection:
        if find_open_cycle(connection) is not None:
            return False
        open_cycle(connection, trigger=HAND, reason=reason, step=ORDER[0], now=datetime.now(UTC))
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
