"""The first part of an attempt: what has changed in the world, the training set, and the recipes that are tried on it.

Not here: what a training set holds (`retraining.training_data`), or the recipes themselves (`training.recipes`).
"""

from dataclasses import asdict
from datetime import datetime

from homeostat.deployment.registry import current_promotion
from homeostat.project import Project
from homeostat.records import Json
from homeostat.retraining.facts import quarantine_of
from homeostat.retraining.regimes import judge_change
from homeostat.retraining.training_data import take_snapshot
from homeostat.training.recipes import propose_recipes

# What of a snapshot's lineage the record of its step holds.
TOLD = ("rows", "labels_seen", "left_out", "senders", "single_source", "giveaways")


def freeze_training_set(project: Project, *, reload_files: bool, now: datetime) -> Json:
    """Store the training set of a cycle, and return what the steps after it need: its name, the change, the recipes."""
    with project.database.read() as connection:
        champion = current_promotion(connection)
        change = None if champion is None else judge_change(connection, project, champion, now=now)
    since = None if change is None else change.since
    settings = project.settings
    quarantine = quarantine_of(project, now=now)
    snapshot = take_snapshot(
        project, champion=champion, reload_files=reload_files, change_point=since, quarantine=quarantine
    )
    recipes = propose_recipes(
        snapshot.rows, change, half_life=settings.retraining.half_life, folds=settings.training.folds
    )
    return {
        "snapshot": snapshot.digest,
        **{name: snapshot.lineage[name] for name in TOLD},
        "change": None if change is None else asdict(change),
        "recipes": [asdict(recipe) for recipe in recipes],
    }
