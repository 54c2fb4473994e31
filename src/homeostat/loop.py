"""The cycle: a table of steps in stage order, and `advance`, which runs the next one.

Not here: what a step does in detail, or what a person asks for (`cli`). Every step leaves its record and the name of
the next step in one transaction, and gives the same result when it is run again: a loop that is killed anywhere goes on
where it was.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection

from homeostat.deployment.artifacts import find_release, open_release
from homeostat.deployment.registry import (
    current_promotion,
    gate_from_json,
    gate_to_json,
    promote,
    register_release,
)
from homeostat.errors import HomeostatError, LeaseHeld
from homeostat.monitoring.drift_checks import change_point, list_drift_checks
from homeostat.monitoring.windows import watch
from homeostat.project import Project
from homeostat.records import Decision, Json
from homeostat.retraining.attempt import run_part
from homeostat.retraining.comparison import compare
from homeostat.retraining.cycles import HAND, Cycle, close_cycle, find_open_cycle, open_cycle, store_step
from homeostat.retraining.facts import gather_facts, gather_watch, judging_labels
from homeostat.retraining.policy import decide
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
        moved = change_point(list_drift_checks(connection, epoch=epoch))
    hand = turn.cycle.trigger == HAND
    snapshot = take_snapshot(turn.project, champion=champion, reload_files=hand, change_point=moved)
    lineage = snapshot.lineage
    return {"snapshot": snapshot.digest, "rows": lineage["rows"], "labels_seen": lineage["labels_seen"]}


def step_search(turn: Turn) -> Json:
    """Find the best configuration."""
    return turn.run_part("search", {"snapshot": turn.recall("snapshot")["snapshot"]})


def step_fit(turn: Turn) -> Json:
    """Fit it, evaluate its graph, pack the release."""
    request = {"snapshot": turn.recall("snapshot")["snapshot"], "search": turn.recall("search")}
    return turn.run_part("fit", request)


def step_track(turn: Turn) -> Json:
    """Record the attempt in the experiment manager, and register the release."""
    fitted, snapshot = turn.recall("fit"), turn.recall("snapshot")["snapshot"]
    tracked = turn.run_part("track", {"release": fitted["release"], "snapshot": snapshot})
    with turn.project.database.write() as connection:
        require_lease(connection, turn.lease)
        registered = register_release(
            connection,
            fitted["release"],
            snapshot=snapshot,
            family=fitted["family"],
            metrics=fitted["metrics"] | {"labels_seen": turn.recall("snapshot")["labels_seen"]},
            run_id=tracked["run_id"],
            now=turn.now,
        )
    return {**tracked, "number": registered.number}


def step_gate(turn: Turn) -> Json:
    """Judge the challenger against the champion of the moment on the same held-out rows."""
    with turn.project.database.read() as connection:
        champion = current_promotion(connection)
        judging = judging_labels(connection, turn.project, champion) if champion else {}
    judged_by_recent = champion is not None and (turn.cycle.trigger != HAND or bool(judging))
    verdict = compare(
        turn.project,
        challenger=turn.recall("fit")["release"],
        champion=champion.release if champion else None,
        recent_ids=frozenset(judging) if judged_by_recent else None,
    )
    result = gate_to_json(verdict) | {"epoch": champion.epoch if champion else 0}
    with turn.project.database.write() as connection:
        require_lease(connection, turn.lease)
        payload = {"release": turn.recall("fit")["release"], "passed": verdict.passed, "criteria": result["criteria"]}
        append_event(connection, "gate", payload, now=turn.now)
    return result


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
    request = {"release": turn.recall("fit")["release"], "run_id": turn.recall("track")["run_id"]}
    return turn.run_part("mirror", request)


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
        with turn.project.database.write() as connection:
            require_lease(connection, turn.lease)
            close_cycle(connection, turn.cycle, outcome="failed", sentence=str(error), now=turn.now)
        raise
    following = ORDER[ORDER.index(step) + 1] if step != ORDER[-1] else None
    sentence, outcome = describe_step(turn.cycle, step, left)
    with turn.project.database.write() as connection:
        require_lease(connection, turn.lease)
        store_step(connection, turn.cycle, left, following=None if outcome else following)
        if outcome:
            close_cycle(connection, turn.cycle, outcome=outcome, sentence=sentence, now=turn.now)
    return Advance(sentence, idle=False, outcome=outcome)


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
        return f"Release {release} is in production since epoch {epoch}, and MLflow's alias follows.", "promoted"
    return f"Release {release}: {'packed' if step == 'fit' else 'recorded and registered'}.", None


def observe(project: Project, lease: Lease, *, now: datetime) -> Advance:
    """Check the new windows, hear the triggers, decide, and open a cycle if the policy grants it."""
    with project.database.read() as connection:
        promotion = current_promotion(connection)
    if promotion is None:
        return Advance("Nothing is in production yet: run `homeostat train`.", idle=True)
    release = open_release(find_release(promotion.release, project.blobs))
    watch(project.database, release, promotion, project.settings.monitoring, now=now)
    with project.database.write() as connection:
        require_lease(connection, lease)
        proposals = propose(
            gather_watch(connection, promotion, now=now), project.settings.monitoring, project.settings.retraining
        )
        facts = gather_facts(connection, project, promotion, now=now)
        decision = decide(proposals, facts, project.settings.retraining)
        record_decision(connection, decision, now=now)
        if decision.action == "retrain":
            trigger = str(decision.trigger)
            open_cycle(connection, trigger=trigger, reason=decision.sentence, step=ORDER[0], now=now)
    return Advance(decision.sentence, idle=decision.action != "retrain", decision=decision)


def record_decision(connection: Connection, decision: Decision, *, now: datetime) -> None:
    """Append a decision to the log, unless it only repeats the last one with newer figures."""
    last = latest_event(connection, "decision")
    if last is None or (last.payload["action"], last.payload["trigger"]) != (decision.action, decision.trigger):
        payload = {"action": decision.action, "trigger": decision.trigger, "sentence": decision.sentence}
        append_event(connection, "decision", payload, now=now)


def begin_by_hand(project: Project, *, reason: str) -> None:
    """Open a cycle that a person asked for; one that is open already is gone on with instead."""
    now = datetime.now(UTC)
    lease = take_lease(project.database, now=now)
    with project.database.write() as connection:
        require_lease(connection, lease)
        if find_open_cycle(connection) is None:
            open_cycle(connection, trigger=HAND, reason=reason, step=ORDER[0], now=now)


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
