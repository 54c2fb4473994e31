"""The training set of one attempt: D_old u labelled D_production, with the rows that drift will be measured against.

Not here: the statistics of it, or the fit. Every row passes the same rules as a request.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from homeostat.data.columns import join_columns, texts
from homeostat.data.snapshots import (
    FILE,
    PRODUCTION,
    choose_side,
    create_snapshot,
    identify_rows,
    join_labelled,
    load_snapshot,
    require_classes,
    take_labelled,
)
from homeostat.data.sources import Source, as_cells, open_source, source_dialect, text_cells
from homeostat.deployment.artifacts import find_release, open_release
from homeostat.errors import DataInsufficient, TargetInvalid
from homeostat.monitoring.observed import read_rows
from homeostat.monitoring.production import LabelledProduction, Quarantine, count_labels_ever, watched_range
from homeostat.project import Project, dialect_of
from homeostat.records import Columns, Json, LabelledRows, Promotion, Schema, Snapshot, Target
from homeostat.retraining.selection import select_labels
from homeostat.training.giveaways import find_giveaways
from homeostat.validation.checks import check_table, require_columns
from homeostat.validation.profiles import mask_missing


@dataclass(frozen=True, slots=True)
class Loaded:
    """The accepted, labelled rows of one source with its line of lineage."""

    rows: LabelledRows
    lineage: Json


def load_source(source: Source, schema: Schema, *, origin: str, anchor_share: float, recent_share: float) -> Loaded:
    """Return a source's accepted rows, each on its side.

    Raises
    ------
    SourceUnreadable
        There is no table.
    ColumnMissing
        A feature or the target has no column.
    TargetInvalid
        An accepted row has an outcome that is neither of the target's two values.
    """
    return load_table(
        source, source.read(), schema, origin=origin, anchor_share=anchor_share, recent_share=recent_share
    )


def load_table(
    source: Source, frame: pl.DataFrame, schema: Schema, *, origin: str, anchor_share: float, recent_share: float
) -> Loaded:
    """Return the accepted rows of a table that a source has handed over; see `load_source`."""
    require_columns(frame.columns, [schema.target.name, *(feature.name for feature in schema.features)])
    checked = check_table(as_cells(frame, {f.name: f.kind for f in schema.features}, source_dialect(source)), schema)
    outcomes = read_labels(frame[schema.target.name].to_list(), schema.target)
    labels = outcomes[checked.accepted]
    if (labels < 0).any():
        row = int(np.flatnonzero(checked.accepted)[np.flatnonzero(labels < 0)[0]])
        value = frame[schema.target.name].to_list()[row]
        raise TargetInvalid(
            problem=f"{source.name}: row {row + 1} has {schema.target.name} = {value!r}",
            expected=f"{schema.target.negative!r} or {schema.target.positive!r} (project.target_values)",
            action="correct the row or remove it; nothing was stored",
        )
    given = origin == PRODUCTION
    ids = text_cells(frame[".id"])[checked.accepted] if given else identify_rows(checked.columns)
    shares = {"anchor_share": anchor_share, "recent_share": recent_share}
    sides = texts([choose_side(row_id, origin=origin, **shares) for row_id in ids.tolist()])
    seqs = frame[".seq"].to_numpy(writable=True)[checked.accepted] if given else np.zeros(len(labels), dtype=np.int64)
    rows = LabelledRows(ids, checked.columns, labels, sides, texts([origin] * len(labels)), seqs)
    counts = {"rows": len(checked.accepted), "accepted": len(labels), "rejected": len(checked.accepted) - len(labels)}
    return Loaded(rows, {**source.describe(), **counts})


def read_labels(values: Sequence[object], target: Target) -> NDArray[np.int8]:
    """Return 1 for the positive value, 0 for the negative, -1 for any other; they are compared as written."""
    negative, positive = spell(target.negative), spell(target.positive)
    meaning = {negative: 0, positive: 1}
    return np.array([meaning.get(spell(value), -1) for value in values], dtype=np.int8)


def spell(value: object) -> str:
    """Return a label as text in which 1, 1.0, "+1" and "01" are one, and a boolean is as a column of text has it."""
    text = str(value).lower() if isinstance(value, bool) else str(value).strip()
    try:
        return repr(float(text))
    except ValueError:
        return text


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


def shares_of(project: Project) -> dict[str, float]:
    """Return the shares by which rows are put on their sides."""
    settings = project.settings
    return {"anchor_share": settings.training.anchor_share, "recent_share": settings.retraining.recent_share}


def load_files(project: Project) -> list[Loaded]:
    """Return the rows of the project's own data."""
    found = []
    for location in project.settings.project.data:
        query, dialect = project.settings.project.query, dialect_of(project.settings)
        source = open_source(location, folder=project.folder, query=query, dialect=dialect)
        found.append(load_source(source, project.schema, origin=FILE, **shares_of(project)))
    return found


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
    parts = load_files(project) if old is None or reload_files else []
    if old is not None:
        kept = production_part(old.rows) if reload_files else old.rows
        parts.append(Loaded(kept, {"kind": "snapshot", "name": old.digest, "rows": len(kept.labels)}))
    produced = load_production(project, quarantine)
    parts += [] if produced.rows is None else [produced.rows]
    offered = join_labelled([part.rows for part in parts], schema)
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
        "sources": [part.lineage for part in parts],
        "labels_seen": produced.n_ever,
        "change_point": change_point,
        "same_files": old is not None and holds_same_files(rows, old),
        "left_out": {reason: n for reason, n in produced.left_out.items() if n} | dict(selected.left_out),
        "senders": dict(selected.sources),
        "single_source": selected.single_source,
        "giveaways": dict(find_giveaways(trained.columns, trained.labels, schema)),
    }
    return create_snapshot(rows, baseline, schema=schema, lineage=lineage, blobs=project.blobs)


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


def production_part(rows: LabelledRows) -> LabelledRows:
    """Return the labelled predictions among the rows of a snapshot."""
    return origin_part(rows, PRODUCTION)


def file_part(rows: LabelledRows) -> LabelledRows:
    """Return the rows that came from files."""
    return origin_part(rows, FILE)


def origin_part(rows: LabelledRows, origin: str) -> LabelledRows:
    """Return the rows of one origin."""
    return take_labelled(rows, np.asarray(rows.origins == origin, dtype=np.bool_))


def holds_same_files(rows: LabelledRows, old: Snapshot) -> bool:
    """Return whether the rows of files are those of an earlier training set."""
    return set(file_part(rows).ids) == set(file_part(old.rows).ids)


def choose_baseline(
    project: Project, rows: LabelledRows, old: Snapshot | None, champion: Promotion | None, change_point: int | None
) -> Columns:
    """Return the rows that drift will be measured against.

    The first release: every accepted row of its snapshot. After a drift: the accepted rows since the change point,
    labelled or not; against the union, a world that has moved once keeps looking drifted. Without one: the champion's
    baseline and what its watch has seen since, or, if the files hold another table now, that table.
    """
    if old is None or champion is None or project.settings.monitoring.reference == "snapshot":
        return rows.columns
    if not holds_same_files(rows, old):
        return file_part(rows).columns
    with project.database.read() as connection:
        watched = watched_range(connection, epoch=champion.epoch)
        if watched is None:
            return old.baseline
        first = change_point if change_point is not None else watched[0]
        seen = read_rows(connection, project.schema, first=first, last=watched[1])
    return seen if change_point is not None else join_columns([old.baseline, seen], project.schema)
