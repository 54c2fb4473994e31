"""The first part of an attempt: what has changed in the world, the training set, and the recipes that are tried on it.

Not here: what a training set holds (`retraining.training_data`), or the recipes themselves (`training.recipes`).
"""

from dataclasses import asdict
from datetime import datetime

from homeostat.deployment.artifacts import find_release, open_release
from homeostat.deployment.registry import current_promotion
from homeostat.monitoring.production import Quarantine
from homeostat.project import Project
from homeostat.records import Json, Promotion, Recipe, Snapshot
from homeostat.retraining.regimes import judge_change
from homeostat.retraining.training_data import take_snapshot
from homeostat.training.recipes import UNION, propose_recipes, recipe_from_json

# What of a snapshot's lineage the record of its step holds.
TOLD = ("rows", "labels_seen", "left_out", "senders", "single_source", "giveaways", "time")


def freeze_training_set(project: Project, *, reload_files: bool, now: datetime) -> Json:
    """Store the training set of a cycle, and return what the steps after it need: its name, the change, the recipes."""
    with project.database.read() as connection:
        champion = current_promotion(connection)
        change = None if champion is None else judge_change(connection, project, champion, now=now)
    since = None if change is None else change.since
    settings = project.settings
    quarantine = Quarantine(now, settings.retraining.quarantine_s)
    snapshot = take_snapshot(
        project, champion=champion, reload_files=reload_files, change_point=since, quarantine=quarantine
    )
    carried = UNION if champion is None else carry_recipe(project, champion, snapshot)
    half_life, folds = settings.retraining.half_life, settings.training.folds
    recipes = propose_recipes(snapshot.rows, change, carried=carried, half_life=half_life, folds=folds)
    return {
        "snapshot": snapshot.digest,
        **{name: snapshot.lineage[name] for name in TOLD},
        "change": None if change is None else asdict(change),
        "recipes": [asdict(recipe) for recipe in recipes],
    }


def carry_recipe(project: Project, champion: Promotion, snapshot: Snapshot) -> Recipe:
    """Return the recipe of the release in production; the union if the project's files hold another table now."""
    lineage = open_release(find_release(champion.release, project.blobs)).lineage
    # Not in a release of before.
    if not snapshot.lineage["same_files"] or "recipe" not in lineage:
        return UNION
    return recipe_from_json(lineage["recipe"])
