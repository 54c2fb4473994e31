"""The training set of one attempt: D_old u labelled D_production, with the rows that drift will be measured against.

Not here: how the files are read (`retraining.labelled_tables`), or the statistics of it, or the fit.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from homeostat.data.snapshots import (
    PRODUCTION,
    create_snapshot,
    join_labelled,
    load_snapshot,
    origin_part,
    require_classes,
    take_labelled,
)
from homeostat.data.times import Division, division_to_json
from homeostat.deployment.artifacts import find_release, open_release
from homeostat.errors import DataInsufficient
from homeostat.monitoring.production import LabelledProduction, Quarantine, count_labels_ever
from homeostat.project import Project
from homeostat.records import Columns, Json, LabelledRows, Promotion, Schema, Snapshot
from homeostat.retraining.baselines import choose_baseline, holds_same_files
from homeostat.retraining.labelled_tables import Loaded, division_of, join_files, load_files, load_table, shares_of
from homeostat.retraining.selection import select_labels
from homeostat.training.giveaways import find_giveaways
from homeostat.validation.profiles import mask_missing


@dataclass(frozen=True, slots=True)
class Produced:
    """The labelled predictions of the log that are old enough: `rows` is None if there are none.

    `senders` names who sent each outcome; `left_out` counts those in quarantine and those that the schema refuses;
    `n_ever` the outcomes that have ever arrived and are, or were, out of quarantine.
    """

    rows: Loaded | None
    senders: Mapping[str, str]
    left_out: Mapping[str, int]
    n_ever: int


def load_production(project: Project, quarantine: Quarantine | None) -> Produced:
    """Return the labelled predictions that the log holds."""
    with project.database.read() as connection:
        n_ever = count_labels_ever(connection, quarantine)
        n_young = count_labels_ever(connection) - n_ever
    source = LabelledProduction(project.database, project.schema, quarantine)
    frame, n_refused = source.read_counted()
    rows = load_table(source, frame, project.schema, origin=PRODUCTION, **shares_of(project)) if len(frame) else None
    senders = dict(zip(frame[".id"].to_list(), frame[".sender"].to_list(), strict=True))
    return Produced(rows, senders, {"quarantine": n_young, "schema": n_refused}, n_ever)


def take_snapshot(
    project: Project,
    *,
    champion: Promotion | None,
    reload_files: bool,
    change_point: int | None,
    quarantine: Quarantine | None = None,
) -> Snapshot:
    """Store and return the training set of an attempt.

    Labelled predictions of the champion's snapshot stay, also once the log has deleted them or their quarantine were
    longer now; the window, the caps and the other rules of `retraining.selection` hold for them and the new ones alike.

    Parameters
    ----------
    project
        The open project.
    champion
        The release in production; None before the first.
    reload_files
        Read the project's files again (a training asked for by hand); otherwise D_old is the champion's snapshot, so
        that the loop does not depend on files that may have changed since.
    change_point
        The observed number from which on the world looks moved: the new baseline begins there.
    quarantine
        Of outcomes; None if none waits.

    Raises
    ------
    DataInsufficient
        Nothing is left to learn from, a side has too few rows of a class, or a column is all missing.
    """
    schema, settings = project.schema, project.settings
    old = None if champion is None else champion_snapshot(project, champion)
    own = gather_own(project, old, reload_files=reload_files)
    produced = load_production(project, quarantine)
    offered = join_labelled([*own.rows, *([] if produced.rows is None else [produced.rows.rows])], schema)
    if not len(offered.labels):
        raise DataInsufficient(
            problem="every row was rejected", expected="accepted rows", action="see `homeostat check` for the reasons"
        )
    selected = select_labels(offered, produced.senders, settings.retraining)
    rows = take_labelled(offered, selected.kept)
    require_classes(rows, at_least=settings.training.folds)
    require_measured(rows.columns, schema)
    baseline = choose_baseline(project, rows, old, champion, change_point)
    trained = take_labelled(rows, np.asarray(rows.sides == "training", dtype=np.bool_))
    lineage = {
        "sources": [*own.lineage, *([] if produced.rows is None else [produced.rows.lineage])],
        "time": None if own.division is None else division_to_json(own.division),
        "labels_seen": produced.n_ever,
        "change_point": change_point,
        "same_files": old is not None and holds_same_files(rows, old),
        "left_out": {reason: n for reason, n in produced.left_out.items() if n} | dict(selected.left_out),
        "senders": dict(selected.sources),
        "single_source": selected.single_source,
        "giveaways": dict(find_giveaways(trained.columns, trained.labels, schema)),
    }
    return create_snapshot(rows, baseline, schema=schema, lineage=lineage, blobs=project.blobs)


@dataclass(frozen=True, slots=True)
class Own:
    """What the project holds without its log: rows of files and of an earlier training set, and how time divides."""

    rows: list[LabelledRows]
    lineage: list[Json]
    division: Division | None


def gather_own(project: Project, old: Snapshot | None, *, reload_files: bool) -> Own:
    """Return the rows of the files, if they are asked for or needed, and those of the champion's training set."""
    training = project.settings.training
    division = None if old is None else division_of(old, training)
    rows: list[LabelledRows] = []
    lineage: list[Json] = []
    # Where time has come to order the rows since, only the files know when each of them was.
    if reload_files or old is None or (training.time is not None and division is None):
        files = load_files(project)
        placed, division = join_files(files, project, old)
        rows, lineage = [placed], [part.lineage for part in files]
    if old is not None:
        kept = origin_part(old.rows, PRODUCTION) if rows else old.rows
        rows.append(kept)
        lineage.append({"kind": "snapshot", "name": old.digest, "rows": len(kept.labels)})
    if training.time is None:
        rows = [replace(part, times=None) for part in rows]
    return Own(rows, lineage, division)


def require_measured(columns: Columns, schema: Schema) -> None:
    """Raise DataInsufficient if every value of a feature is missing: there is nothing to impute it from."""
    for feature in schema.features:
        values = mask_missing(columns[feature.name], feature)
        if all(value is None or value != value for value in values.tolist()):  # noqa: PLR0124  only NaN differs
            raise DataInsufficient(
                problem=f"every value of column {feature.name!r} is missing",
                expected="at least some measured values in each column",
                action=f"remove [features.{feature.name}] from homeostat.toml, or fill the column",
            )


def champion_snapshot(project: Project, champion: Promotion) -> Snapshot | None:
    """Return the snapshot of the release in production, None if the schema was edited since."""
    release = open_release(find_release(champion.release, project.blobs))
    if release.schema.digest != project.schema.digest:
        return None
    return load_snapshot(release.lineage["snapshot"], schema=project.schema, blobs=project.blobs)
