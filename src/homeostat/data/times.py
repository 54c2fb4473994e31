"""Which moment each row belongs to, and where time divides the rows that judge from those that are trained on.

Not here: the sides of rows without an order in time (`data.sides`). A moment is a number: seconds since 1970 in UTC for
dates, or whatever number the column holds, of which only the order counts.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from homeostat.data.columns import texts
from homeostat.data.dialects import PLAIN, read_numbers
from homeostat.data.sources import blank_is_missing
from homeostat.errors import DataInsufficient, TimeInvalid
from homeostat.records import Dialect, Floats, Json, Mask, Texts

TimeKind = Literal["moment", "number"]
MICROSECONDS = 1e6
EXPECTED = (
    "a date such as 2024-05-31, a moment such as 2024-05-31 14:00:00 (ISO 8601), or a number that grows with time"
)
MONTH_LENGTH = len("2024-05")


@dataclass(frozen=True, slots=True)
class Times:
    """When the rows of a table happened: `values`, shape (n_rows,), NaN for a row that was not wanted."""

    values: Floats
    kind: TimeKind


@dataclass(frozen=True, slots=True)
class Division:
    """Which stretches of time judge, for good: both ends of each are included, the stretches ascend.

    Rows up to `newest` have had their side since this division was made; later rows are divided when they come.
    """

    column: str
    kind: TimeKind
    anchor: tuple[tuple[float, float], ...]
    newest: float


# --- moments ------------------------------------------------------------------------------------------------------


def read_times(column: pl.Series, wanted: Mask, *, source: str, dialect: Dialect = PLAIN) -> Times:
    """Return the moments of a column's wanted rows; `wanted` has shape (n_rows,), `dialect` says how it has numbers.

    Raises
    ------
    TimeInvalid
        A wanted row has no moment, or one that cannot be read.
    """
    chosen = column.filter(pl.Series(wanted))
    found, kind = read_moments(chosen, dialect)
    unread = np.flatnonzero(~np.isfinite(found))
    if len(unread):
        row, value = int(np.flatnonzero(wanted)[unread[0]]), chosen[int(unread[0])]
        raise TimeInvalid(
            problem=f"{source}: row {row + 1} has {column.name} = {value!r}",
            expected=f"{EXPECTED}, the same in every row (training.time)",
            action="correct the row or remove it; nothing was stored",
        )
    values = np.full(len(wanted), np.nan)
    values[wanted] = found
    return Times(values, kind)


def read_moments(column: pl.Series, dialect: Dialect) -> tuple[Floats, TimeKind]:
    """Return the moments of a column, shape (n_rows,), NaN where there is none, and what they are."""
    if column.dtype.is_numeric():
        return column.cast(pl.Float64).to_numpy(writable=True), "number"
    if column.dtype in (pl.Date, pl.Datetime):
        since_1970 = column.cast(pl.Datetime("us")).cast(pl.Int64).cast(pl.Float64)
        return since_1970.to_numpy(writable=True) / MICROSECONDS, "moment"
    if column.dtype != pl.String:
        return np.full(len(column), np.nan), "moment"
    cells = blank_is_missing(column)
    numbers = read_numbers(cells, dialect)
    # Of a column that is no date at all the first cell that is no number is named.
    if numbers.null_count() < len(numbers) and (numbers.null_count() == cells.null_count() or not is_moment(cells)):
        return numbers.to_numpy(writable=True), "number"
    return np.array([read_moment(cell) for cell in cells.to_list()], dtype=np.float64), "moment"


def is_moment(cells: pl.Series) -> bool:
    """Return whether the first cell that is not empty is a moment."""
    return bool(np.isfinite(read_moment(cells.drop_nulls()[0])))


def read_moment(text: str | None) -> float:
    """Return the seconds since 1970 of a moment in ISO 8601, NaN if it is none; without a zone it is in UTC."""
    if text is None:
        return np.nan
    try:
        moment = datetime.fromisoformat(f"{text}-01" if len(text) == MONTH_LENGTH and "-" in text else text)
    except ValueError:
        return np.nan
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def describe_moment(value: float, kind: TimeKind) -> str:
    """Return a moment as it is written: a date, with the time of day if there is one, or the number."""
    if kind == "number":
        return f"{value:.15g}"
    text = datetime.fromtimestamp(value, UTC).replace(tzinfo=None).isoformat(sep=" ")
    return text.removesuffix(" 00:00:00")


# --- the division -------------------------------------------------------------------------------------------------


def divide(times: Times, *, column: str, share: float, earlier: Division | None) -> Division:
    """Return which stretches of time judge: the newest `share` of the rows, equal moments never divided.

    What an earlier division has decided stays. Rows that are newer than all rows of then are divided in the same way:
    the newest of them join the anchor, as soon as they make up its share of all rows since the last stretch.

    Raises
    ------
    DataInsufficient
        All rows are of the same moment.
    TimeInvalid
        The column holds another kind of moments than it did.
    """
    if earlier is None:
        return divide_first(times, column=column, share=share)
    if earlier.kind != times.kind:
        raise TimeInvalid(
            problem=f"column {column!r} holds {times.kind}s, and held {earlier.kind}s when the anchor was chosen",
            expected="the same kind of moments for good: they say which rows no training may see",
            action="write the column as it was, or start a new project",
        )
    distinct, n_from = count_from(times.values)
    since = times.values > earlier.anchor[-1][1]
    # Not above the share: of a row or a day at a time, none would ever be trained on otherwise.
    fits = (distinct > earlier.newest) & (n_from <= share * since.sum())
    newest = max(earlier.newest, float(distinct[-1]))
    added = ((float(distinct[fits][0]), newest),) if fits.any() else ()
    return Division(column, times.kind, (*earlier.anchor, *added), newest)


def divide_first(times: Times, *, column: str, share: float) -> Division:
    """Return the division of rows of which none has a side yet."""
    distinct, n_from = count_from(times.values)
    if len(distinct) == 1:
        raise DataInsufficient(
            problem=f"all rows have {column} = {describe_moment(float(distinct[0]), times.kind)}",
            expected="rows of several moments: the newest judge, the others are trained on",
            action="name another column in training.time, or remove the setting",
        )
    # The first moment is always trained on.
    nearest = 1 + int(np.abs(n_from[1:] - share * len(times.values)).argmin())
    newest = float(distinct[-1])
    return Division(column, times.kind, ((float(distinct[nearest]), newest),), newest)


def count_from(values: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Return the distinct moments, ascending, and how many rows there are from each of them on."""
    distinct, counts = np.unique(values, return_counts=True)
    return distinct, counts[::-1].cumsum()[::-1]


def place_in_time(values: Floats, division: Division) -> Texts:
    """Return the side of each moment, shape (n_rows,)."""
    judges = np.zeros(len(values), dtype=np.bool_)
    for first, last in division.anchor:
        judges |= (values >= first) & (values <= last)
    return texts(np.where(judges, "anchor", "training").tolist())


def division_to_json(division: Division) -> Json:
    """Return a division as a lineage holds it, with its last stretch in words."""
    first, last = (describe_moment(end, division.kind) for end in division.anchor[-1])
    return {**asdict(division), "anchor_from": first, "anchor_to": last}


def division_from_json(stored: Mapping[str, object] | None) -> Division | None:
    """Return the division that a lineage holds, None if it holds none."""
    if stored is None:
        return None
    content: Json = dict(stored)
    anchor = tuple((float(first), float(last)) for first, last in content["anchor"])
    return Division(content["column"], content["kind"], anchor, float(content["newest"]))
