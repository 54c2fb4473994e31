"""The project's own tables: read, judged by the rules of a request, each labelled row on its side.

Not here: labelled predictions, or what becomes of all the rows together (`retraining.training_data`).
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

import numpy as np
import polars as pl
from numpy.typing import NDArray

from homeostat.data.columns import take_rows, texts
from homeostat.data.sides import choose_sides, place_files
from homeostat.data.snapshots import FILE, PRODUCTION, identify_rows, join_labelled, origin_part, take_labelled
from homeostat.data.sources import Source, as_cells, open_source, source_dialect, text_cells
from homeostat.data.times import (
    Division,
    TimeKind,
    Times,
    divide,
    division_from_json,
    place_in_time,
    read_times,
)
from homeostat.errors import ColumnMissing, TargetInvalid, TimeInvalid
from homeostat.project import Project, dialect_of
from homeostat.records import CheckedTable, Json, LabelledRows, Schema, Snapshot, Target
from homeostat.settings import TrainingSettings
from homeostat.validation.checks import check_table, require_columns


class Shares(TypedDict):
    """Which share of the rows of files, and of labelled predictions, is kept from training."""

    anchor_share: float
    recent_share: float


@dataclass(frozen=True, slots=True)
class Loaded:
    """The accepted, labelled rows of one source with its line of lineage."""

    rows: LabelledRows
    lineage: Json
    time_kind: TimeKind | None = None


def load_source(
    source: Source, schema: Schema, *, origin: str, anchor_share: float, recent_share: float, time: str | None = None
) -> Loaded:
    """Return a source's accepted rows, each on its side; `time` is the column that orders the rows of a file.

    Raises
    ------
    SourceUnreadable
        There is no table.
    ColumnMissing
        A feature or the target has no column.
    TargetInvalid
        An accepted row has an outcome that is neither of the target's two values.
    TimeInvalid
        An accepted row has no moment that can be read.
    """
    shares: Shares = {"anchor_share": anchor_share, "recent_share": recent_share}
    return load_table(source, source.read(), schema, origin=origin, time=time, **shares)


def load_table(
    source: Source,
    frame: pl.DataFrame,
    schema: Schema,
    *,
    origin: str,
    anchor_share: float,
    recent_share: float,
    time: str | None = None,
) -> Loaded:
    """Return the accepted rows of a table that a source has handed over; see `load_source`."""
    require_columns(frame.columns, [schema.target.name, *(feature.name for feature in schema.features)])
    require_time(frame.columns, time, source)
    dialect = source_dialect(source)
    judged = check_table(as_cells(frame, {f.name: f.kind for f in schema.features}, dialect), schema)
    checked = drop_unlabelled(judged, frame[schema.target.name].to_list())
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
    sides = (
        choose_sides(ids, origin=origin, anchor_share=anchor_share, recent_share=recent_share)
        if given
        else place_files(ids, labels, anchor_share=anchor_share)
    )
    times = None if time is None else read_times(frame[time], checked.accepted, source=source.name, dialect=dialect)
    moments = None if times is None else times.values[checked.accepted]
    seqs = frame[".seq"].to_numpy(writable=True)[checked.accepted] if given else np.zeros(len(labels), dtype=np.int64)
    rows = LabelledRows(ids, checked.columns, labels, sides, texts([origin] * len(labels)), seqs, moments)
    n_judged = int(judged.accepted.sum())
    counts = {"rows": frame.height, "accepted": len(labels), "rejected": frame.height - n_judged}
    counts |= {"unlabelled": n_judged - len(labels)} if n_judged > len(labels) else {}
    return Loaded(rows, {**source.describe(), **counts}, None if times is None or not len(labels) else times.kind)


def require_time(found: Sequence[str], time: str | None, source: Source) -> None:
    """Raise ColumnMissing if the column that orders the rows in time is not among those of a file."""
    if time is not None and time not in found:
        near = difflib.get_close_matches(time, found, n=1)
        raise ColumnMissing(
            problem=f"{source.name}: there is no column {time!r} (found: {', '.join(found)})",
            expected="the column that says when each row happened (training.time)",
            action=f"did you mean {near[0]!r}?" if near else "add the column, or remove training.time",
        )


def drop_unlabelled(checked: CheckedTable, outcomes: Sequence[object]) -> CheckedTable:
    """Return an accepted table without the rows that have no outcome (yet): nothing can be learned from them."""
    known = checked.accepted & np.array([not is_nothing(value) for value in outcomes], dtype=np.bool_)
    return CheckedTable(take_rows(checked.columns, known[checked.accepted]), known, checked.violations)


def is_nothing(value: object) -> bool:
    """Return whether a cell of the target is empty: None, NaN or blanks."""
    return value is None or value != value or (isinstance(value, str) and not value.strip())  # noqa: PLR0124  only NaN


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


def shares_of(project: Project) -> Shares:
    """Return the shares by which rows are put on their sides."""
    settings = project.settings
    return {"anchor_share": settings.training.anchor_share, "recent_share": settings.retraining.recent_share}


def load_files(project: Project) -> list[Loaded]:
    """Return the rows of the project's own data."""
    found, time = [], project.settings.training.time
    for location in project.settings.project.data:
        query, dialect = project.settings.project.query, dialect_of(project.settings)
        source = open_source(location, folder=project.folder, query=query, dialect=dialect)
        found.append(load_source(source, project.schema, origin=FILE, time=time, **shares_of(project)))
    return found


def join_files(parts: Sequence[Loaded], project: Project, old: Snapshot | None) -> tuple[LabelledRows, Division | None]:
    """Return the rows of all files, each on its side, and how time divides them, if it does.

    What time has divided for the champion stays divided, unless the files hold other rows altogether now.
    """
    rows, training = join_labelled([part.rows for part in parts], project.schema), project.settings.training
    if training.time is None or rows.times is None or not len(rows.labels):
        sides = (
            rows.sides if len(parts) == 1 else place_files(rows.ids, rows.labels, anchor_share=training.anchor_share)
        )
        return replace(rows, sides=sides), None
    kinds = sorted({part.time_kind for part in parts if part.time_kind is not None})
    if len(kinds) > 1:
        raise TimeInvalid(
            problem=f"column {training.time!r} holds moments in one file and plain numbers in another",
            expected="one way of writing time in all files",
            action="write the column in all files alike",
        )
    is_known = old is not None and not set(rows.ids).isdisjoint(origin_part(old.rows, FILE).ids)
    earlier = division_of(old, training) if old is not None and is_known else None
    times = Times(rows.times, kinds[0])
    division = divide(times, column=training.time, share=training.anchor_share, earlier=earlier)
    placed = replace(rows, sides=place_in_time(rows.times, division))
    return take_labelled(placed, np.argsort(rows.times, kind="stable")), division


def division_of(snapshot: Snapshot, training: TrainingSettings) -> Division | None:
    """Return how time divides the rows of a snapshot; None if the column that says so is another one now, or none."""
    division = division_from_json(snapshot.lineage.get("time"))
    return division if division is not None and division.column == training.time else None
