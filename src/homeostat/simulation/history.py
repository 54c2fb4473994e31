"""A recorded history: the rows of a stream with their ids and moments, and the outcome of each and when it was known.

Not here: whether a row is possible (`validation.checks`), or living through it (`simulation.replay`).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from homeostat.data.dialects import PLAIN
from homeostat.data.sources import as_cells, number_cells, open_given, source_dialect
from homeostat.errors import ColumnMissing, SourceUnreadable, TargetInvalid
from homeostat.records import Dialect, Schema
from homeostat.retraining.labelled_tables import read_labels
from homeostat.store.tables import EPOCH
from homeostat.validation.checks import require_columns

Micros: TypeAlias = NDArray[np.int64]
# Of an outcome that is never known.
NEVER = np.iinfo(np.int64).max
NO_LABEL = -1
# Who sends the outcomes where no column says so.
SENDER = "replay"
# Without a column of times, rows come one a minute from here on.
BEGIN, STEP = datetime(2000, 1, 1, tzinfo=UTC), timedelta(minutes=1)
# Beyond these no calendar holds what is reckoned from a moment: ages, periods.
EARLIEST, LATEST = datetime(1000, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
# The longest id that the log holds.
LONGEST_ID = 40
ROW_ID, EVENT_TIME, AVAILABLE_AT = "row_id", "event_time", "available_at"


@dataclass(frozen=True, slots=True)
class Names:
    """What columns are called; None is the usual name if there is such a column, else that there is none."""

    id: str | None = None
    time: str | None = None
    available_at: str | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class History:
    """A stream of n rows in the order in which they came.

    `ids` are as the file has them, `keys` the same as texts that the log can hold. `times` and `available`, of shape
    (n,), are microseconds since 1970; an outcome that is never known is available at `NEVER`. `labels` holds 1 for
    positive, 0 for negative, -1 for none. `cells` are the features as they stand in the file.
    """

    ids: Sequence[int | str]
    keys: Sequence[str]
    times: Micros
    cells: Mapping[str, NDArray[Any]]
    labels: NDArray[np.int8]
    available: Micros
    sources: Sequence[str]

    @property
    def clock(self) -> Micros:
        """What a clock that never goes back shows at each row."""
        return np.maximum.accumulate(self.times)

    def __len__(self) -> int:
        return len(self.ids)


def read_history(
    stream: Path, labels: Path | None, schema: Schema, names: Names, *, delay_s: float = 0.0, dialect: Dialect = PLAIN
) -> History:
    """Return the history in a stream and a table of labels, each CSV or Parquet.

    Parameters
    ----------
    stream
        The rows. Without `labels`, its target column holds the outcomes, if there is one.
    labels
        For each id the outcome, in a column called as the target or `label`, and when it was known.
    delay_s
        How long after its row an outcome is known where no column says so.
    dialect
        How the project's CSV files are written; a file that is not so is read as it seems to be.

    Raises
    ------
    SourceUnreadable
        There is no table, an id is missing or stands twice, a moment cannot be read, an outcome has no row.
    ColumnMissing
        A column that was named, or a feature, is not there.
    TargetInvalid
        An outcome is none of the target's two values.
    """
    features = [feature.name for feature in schema.features]
    opened = open_given(stream, dialect, features)
    frame = opened.read()
    require_columns(frame.columns, features)
    ids = read_ids(frame, choose(frame, names.id, ROW_ID, stream), stream)
    column = choose(frame, names.time, EVENT_TIME, stream)
    times = read_moments(frame[column], stream) if column else count_minutes(len(ids))
    told, place = (frame, np.arange(len(ids))) if labels is None else look_up(labels, ids, names, dialect)
    about = stream if labels is None else labels
    known, available, sources = (
        np.full(len(ids), NO_LABEL, dtype=np.int8),
        np.full(len(ids), NEVER),
        [SENDER] * len(ids),
    )
    if labels is not None or schema.target.name in frame.columns:
        known[place] = read_outcomes(told, schema, about)
        column = choose(told, names.available_at, AVAILABLE_AT, about)
        later = times[place] + round(delay_s * 1e6)
        available[place] = read_moments(told[column], about, missing=NEVER) if column else later
        column = choose(told, names.source, None, about)
        for row, sender in zip(place.tolist(), told[column].to_list() if column else [], strict=False):
            sources[row] = SENDER if sender is None else str(sender)[:80]
    keys = [as_key(str(one)) for one in ids]
    cells = as_cells(frame, {feature.name: feature.kind for feature in schema.features}, source_dialect(opened))
    return History(ids, keys, times, cells, known, np.maximum(available, times), sources)


def choose(frame: pl.DataFrame, given: str | None, usual: str | None, path: Path) -> str | None:
    """Return the column to use: the given one, which must be there, else the usual one if it is there."""
    if given is None:
        return usual if usual in frame.columns else None
    if given not in frame.columns:
        raise ColumnMissing(
            problem=f"{path.name}: there is no column {given!r} (found: {', '.join(frame.columns)})",
            expected="the columns that the options name",
            action="correct the option, or the file",
        )
    return given


def look_up(
    path: Path, ids: Sequence[int | str], names: Names, dialect: Dialect
) -> tuple[pl.DataFrame, NDArray[np.int64]]:
    """Return a table of labels, and for each of its lines which row of the stream it is about."""
    frame = open_given(path, dialect, [names.id or ROW_ID]).read()
    told = read_ids(frame, choose(frame, names.id or ROW_ID, None, path), path)
    rows = {str(one): row for row, one in enumerate(ids)}
    unknown = [one for one in told if str(one) not in rows]
    if unknown:
        raise SourceUnreadable(
            problem=f"{path.name}: {len(unknown)} labels are for ids that the stream does not have, such as "
            f"{unknown[0]!r}",
            expected="labels of the stream's own rows",
            action="check that both files have the same ids",
        )
    return frame, np.array([rows[str(one)] for one in told], dtype=np.int64)


def read_ids(frame: pl.DataFrame, column: str | None, path: Path) -> list[int | str]:
    """Return the ids of a table: whole numbers as such, all else as text; without a column, the rows counted from 1."""
    if column is None:
        return list(range(1, frame.height + 1))
    values = frame[column]
    texts = [None if value is None else plain(value).strip() for value in values.to_list()]
    seen: set[str] = set()
    for row, text in enumerate(texts, start=1):
        if not text or text in seen:
            raise SourceUnreadable(
                problem=f"{path.name}: row {row} has {'no id' if not text else f'the id {text!r} a second time'}",
                expected=f"one id for each row in column {column!r}",
                action="correct the file, or name another column with --id",
            )
        seen.add(text)
    whole = all(text == str(int(text)) if text.lstrip("-").isdecimal() else False for text in seen)
    return [int(text) if whole else text for text in texts if text]


def plain(value: object) -> str:
    """Return an id as text, a whole number without a fraction."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def as_key(text: str) -> str:
    """Return an id that the log can hold: the text itself, or its digest if it is too long."""
    return text if len(text) <= LONGEST_ID else hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def count_minutes(n_rows: int) -> Micros:
    """Return moments one step apart."""
    return (BEGIN - EPOCH) // MICROSECOND + np.arange(n_rows, dtype=np.int64) * (STEP // MICROSECOND)


def read_outcomes(frame: pl.DataFrame, schema: Schema, path: Path) -> NDArray[np.int8]:
    """Return the outcomes of a table: 1, 0, or -1 where there is none."""
    target = schema.target
    column = target.name if target.name in frame.columns else "label"
    if column not in frame.columns:
        raise ColumnMissing(
            problem=f"{path.name}: there is no column {target.name!r} (found: {', '.join(frame.columns)})",
            expected="the outcomes in a column that is called as the target, or `label`",
            action="rename the column",
        )
    values = frame[column].to_list()
    known = read_labels(values, target)
    for row, (value, label) in enumerate(zip(values, known.tolist(), strict=True), start=1):
        if label == NO_LABEL and value is not None and str(value).strip():
            raise TargetInvalid(
                problem=f"{path.name}: row {row} has {column} = {value!r}",
                expected=f"{target.negative!r} or {target.positive!r}, or nothing where no outcome is known",
                action="correct the row or remove it",
            )
    return known


def read_moments(column: pl.Series, path: Path, *, missing: int | None = None) -> Micros:
    """Return moments as microseconds since 1970: ISO 8601 (UTC unless it says otherwise), or epoch seconds.

    `missing` stands for an empty cell; None refuses one.
    """
    cells = number_cells(column).tolist()
    found: list[int] = []
    for row, cell in enumerate(cells, start=1):
        if missing is not None and (cell is None or cell != cell):  # noqa: PLR0124  only NaN differs from itself
            found.append(missing)
            continue
        try:
            moment = to_moment(cell)
        except (ValueError, OverflowError, TypeError) as error:
            raise SourceUnreadable(
                problem=f"{path.name}: row {row} has {column.name} = {cell!r}",
                expected=f"a moment such as 2026-03-01T12:00:00Z, or seconds since 1970, {EARLIEST:%Y} to {LATEST:%Y}",
                action="correct the file, or name another column",
            ) from error
        found.append(moment)
    return np.array(found, dtype=np.int64)


def to_moment(cell: object) -> int:
    """Return one moment as microseconds since 1970; ValueError, OverflowError or TypeError if it is none."""
    if isinstance(cell, float | int):
        moment = EPOCH + timedelta(seconds=cell)
    elif isinstance(cell, datetime):
        moment = cell
    else:
        moment = datetime.fromisoformat(str(cell))
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if not EARLIEST <= moment <= LATEST:
        raise ValueError
    return (moment - EPOCH) // MICROSECOND


def as_datetime(micros: int) -> datetime:
    """Return microseconds since 1970 as an aware moment."""
    return EPOCH + micros * MICROSECOND
