"""The steps that learn: freeze the training set, search, fit, record the attempt.

Not here: what a training set holds (`retraining.training_data`), or the child processes (`retraining.attempt`).
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sqlalchemy import make_url

from homeostat.deployment.registry import current_promotion, register_release
from homeostat.monitoring.production import stamp_rows
from homeostat.project import Project
from homeostat.records import Json
from homeostat.retraining.attempt import run_part
from homeostat.retraining.cycles import HAND
from homeostat.retraining.telling import describe_trouble, tell_attempt, tell_tracking
from homeostat.retraining.turn import Done, Turn
from homeostat.store.leases import require_lease


def step_snapshot(turn: Turn) -> Done:
    """Freeze D_old u labelled D_production."""
    with turn.project.database.read() as connection:
        champion = current_promotion(connection)
    if champion is not None:
        # Only stamped rows are read, and a training by hand can come before any loop has seen one.
        stamp_rows(turn.project.database, lease=turn.lease, epoch=champion.epoch)
    request = {"now": turn.now.isoformat(), "reload_files": turn.cycle.trigger == HAND}
    frozen = turn.run_part("snapshot", request)
    return Done(frozen, describe_snapshot(frozen))


def describe_snapshot(frozen: Json) -> str:
    """Return in words what a training set holds, what stays out of it, and what looks too good to be true."""
    said = f"Snapshot {frozen['snapshot'][:12]}: {listed(frozen['rows'])} rows."
    if frozen.get("time"):
        said += f" The anchor is {frozen['time']['column']} from {frozen['time']['anchor_from']} on."
    if frozen["left_out"]:
        said += f" Left out: {listed(frozen['left_out'])}."
    for name, found in frozen["giveaways"].items():
        said += f" {name} alone tells the outcome (AUC {found:.3f}): is it known when a prediction is asked for?"
    change = frozen["change"]
    return f"{said} What has changed: {change['sentence']}." if change and change["kind"] != "none" else said


def listed(counts: Mapping[str, int]) -> str:
    """Return counts with their names."""
    return ", ".join(f"{n} {name}" for name, n in counts.items() if n)


def step_search(turn: Turn) -> Done:
    """Find the best configuration of each recipe; before a first training, MLflow's store is built beside it."""
    frozen = turn.recall("snapshot")
    with ThreadPoolExecutor(max_workers=1) as aside:
        if lacks_store(turn.project):
            # What goes wrong with it is told by the step that needs it.
            aside.submit(run_part, "prepare", turn.project, {}, while_waiting=lambda: None)
        searches = [
            {"recipe": recipe, "found": turn.run_part("search", {"snapshot": frozen["snapshot"], "recipe": recipe})}
            for recipe in frozen["recipes"]
        ]
    sentence = describe_searches(searches)
    return Done({"sentence": sentence, "searches": searches}, sentence)


def lacks_store(project: Project) -> bool:
    """Return whether the experiment manager's embedded store is still to be built."""
    if not project.is_tracked:
        return False
    location = make_url(project.tracking_url)  # the URL of a server is one too
    return location.get_backend_name() == "sqlite" and not Path(location.database or "").exists()


def describe_searches(searches: Sequence[Json]) -> str:
    """Return in words what the searches have found; the name of a recipe only where there are several."""
    if len(searches) == 1:
        return str(searches[0]["found"]["sentence"])
    return " ".join(f"Recipe {one['recipe']['name']!r}: {one['found']['sentence']}" for one in searches)


def step_fit(turn: Turn) -> Done:
    """Fit what was found, and pack the best of the candidates."""
    frozen = turn.recall("snapshot")
    change = frozen["change"] and {name: frozen["change"][name] for name in ("kind", "since")}
    searches = turn.recall("search")["searches"]
    packed = turn.run_part("fit", {"snapshot": frozen["snapshot"], "searches": searches, "change": change})
    return Done(packed, f"Release {packed['release'][:12]}: packed{describe_choice(packed)}.")


def describe_choice(fitted: Json) -> str:
    """Return in words which of several candidates was chosen, and by what; nothing if there was only one."""
    told = fitted["candidates"]
    if len(told) < 2:  # noqa: PLR2004  nothing to choose from
        return ""
    if told[0]["log_loss"] is None:
        return f", trained by the recipe {fitted['recipe']!r}: too few recent rows to choose"
    losses = ", ".join(f"{one['recipe']} {one['log_loss']:.3f}" for one in told)
    return f", trained by the recipe {fitted['recipe']!r}: log loss on {told[0]['n_choosing']} recent rows {losses}"


def step_track(turn: Turn) -> Done:
    """Record the attempt in the experiment manager, and register the release."""
    fitted, snapshot = turn.recall("fit"), turn.recall("snapshot")["snapshot"]
    tracked = tell_tracking(turn, "track", {"release": fitted["release"], "attempt": tell_attempt(turn.cycle)})
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
