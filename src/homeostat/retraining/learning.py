"""The steps that learn: freeze the training set, search, fit, record the attempt.

Not here: what a training set holds (`retraining.training_data`), or the child processes (`retraining.attempt`).
"""

from concurrent.futures import ThreadPoolExecutor

from homeostat.deployment.registry import current_promotion, register_release
from homeostat.errors import HomeostatError, LeaseHeld
from homeostat.monitoring.drift_checks import date_change
from homeostat.monitoring.production import stamp_rows
from homeostat.records import Json
from homeostat.retraining.attempt import lacks_store, run_part
from homeostat.retraining.cycles import HAND
from homeostat.retraining.training_data import take_snapshot
from homeostat.retraining.turn import Done, Turn
from homeostat.store.events import append_event
from homeostat.store.leases import require_lease


def step_snapshot(turn: Turn) -> Done:
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
    rows = ", ".join(f"{n} {side}" for side, n in lineage["rows"].items() if n)
    record = {"snapshot": snapshot.digest, "rows": lineage["rows"], "labels_seen": lineage["labels_seen"]}
    return Done(record, f"Snapshot {snapshot.digest[:12]}: {rows} rows.")


def step_search(turn: Turn) -> Done:
    """Find the best configuration; before a first training, MLflow's store is built beside it."""
    with ThreadPoolExecutor(max_workers=1) as aside:
        if lacks_store(turn.project):
            # What goes wrong with it is told by the step that needs it.
            aside.submit(run_part, "prepare", turn.project, {}, while_waiting=lambda: None)
        found = turn.run_part("search", {"snapshot": turn.recall("snapshot")["snapshot"]})
    return Done(found, str(found["sentence"]))


def step_fit(turn: Turn) -> Done:
    """Fit it, evaluate its graph, pack the release."""
    request = {"snapshot": turn.recall("snapshot")["snapshot"], "search": turn.recall("search")}
    packed = turn.run_part("fit", request)
    return Done(packed, f"Release {packed['release'][:12]}: packed.")


def step_track(turn: Turn) -> Done:
    """Record the attempt in the experiment manager, and register the release."""
    fitted, snapshot = turn.recall("fit"), turn.recall("snapshot")["snapshot"]
    tracked = tell_tracking(turn, "track", {"release": fitted["release"], "snapshot": snapshot})
    with turn.project.database.write("register") as connection:
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
    sentence = f"Release {fitted['release'][:12]}: recorded and registered{describe_trouble(tracked)}."
    return Done({**tracked, "number": registered.number}, sentence)


def tell_tracking(turn: Turn, part: str, request: Json) -> Json:
    """Run a part that speaks to the experiment manager; if that fails, say so in the log and go on without.

    MLflow holds what people compare. It decides nothing, so it must not stand between a release and production.
    """
    if not turn.project.is_tracked:
        return {}
    try:
        return turn.run_part(part, request)
    except LeaseHeld:
        raise
    except HomeostatError as error:
        with turn.project.database.write("tracking_failed") as connection:
            require_lease(connection, turn.lease)
            payload = {"cycle": turn.cycle.id, "part": part, "problem": error.problem}
            append_event(connection, "tracking_failed", payload, now=turn.now)
        return {"problem": error.problem}


def describe_trouble(tracked: Json) -> str:
    """Return what went wrong with the experiment manager, in words."""
    return f", but MLflow failed: {tracked['problem']}" if "problem" in tracked else ""
