"""Guessing a schema from a table, each guess with its reason, for `homeostat init`.

Not here: reading the table (`data.sources`) or writing the settings file (`cli.project`). Pure. A guess is meant to be
read by a person: when in doubt a value is allowed, and the reason says so.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from homeostat.errors import DataInsufficient, TargetInvalid
from homeostat.records import Feature, Floats, Label, Target

# Numbers that people write for "not measured".
USUAL_MARKERS = (0.0, -1.0, -9.0, -99.0, -999.0, -9999.0, 999.0, 9999.0, 99999.0)
# A marker stands apart from the measured values by this many typical gaps between neighbours.
ISOLATION = 5.0
MIN_DISTINCT = 10
MIN_MARKER_ROWS = 2
MAX_MARKER_SHARE = 0.6
MIN_ROWS = 20
BINARY = 2
USUAL_NEGATIVES = (
    "0",
    "no",
    "n",
    "false",
    "f",
    "negative",
    "neg",
    "tested_negative",
    "-1",
    "absent",
    "healthy",
    "<=50k",
)


@dataclass(frozen=True, slots=True)
class Guess:
    """A feature with the reasons for its settings, or, if `feature` is None, the reason why the column is left out."""

    column: str
    feature: Feature | None
    reasons: tuple[str, ...]


def infer_features(cells: Mapping[str, NDArray[Any]]) -> list[Guess]:
    """Return a guess for each input column.

    Parameters
    ----------
    cells
        One array of shape (n_rows,) per column: float64 (NaN missing) for a column of numbers, else objects.

    Raises
    ------
    DataInsufficient
        There are too few rows, a column holds nothing at all, or no column can be an input.
    """
    n_rows = len(next(iter(cells.values()), np.empty(0)))
    if cells and n_rows < MIN_ROWS:
        raise DataInsufficient(
            problem=f"the table has {n_rows} row{'' if n_rows == 1 else 's'}",
            expected=f"at least {MIN_ROWS} rows to infer a schema",
            action="give a larger file",
        )
    guesses = [
        infer_numeric(name, array) if array.dtype == np.float64 else infer_categorical(name, array)
        for name, array in cells.items()
    ]
    if not any(guess.feature for guess in guesses):
        raise DataInsufficient(
            problem="no column beside the target varies",
            expected="at least one input column",
            action="check the file and the name of the target",
        )
    return guesses


def refuse_empty(name: str) -> DataInsufficient:
    """Return the error for a column without a single value."""
    return DataInsufficient(
        problem=f"every value of column {name!r} is missing",
        expected="at least some measured values in each column",
        action=f"remove the column {name!r} from the file, or fill it",
    )


def infer_numeric(name: str, values: Floats) -> Guess:
    """Return the guess for a column of numbers: its markers and its possible range."""
    measured = values[np.isfinite(values)]
    if not len(measured):
        raise refuse_empty(name)
    distinct = np.unique(measured)
    if len(distinct) == 1:
        return Guess(name, None, (f"left out: every value is {distinct[0]:g}",))
    markers, reasons = find_markers(measured, distinct)
    kept = distinct[~np.isin(distinct, markers)]
    low, high = possible_range(float(kept[0]), float(kept[-1]), has_markers=bool(markers))
    n_missing = int(np.isnan(values).sum())
    if n_missing:
        reasons.append(f"{n_missing} empty values: missing, imputed")
    reasons.append(f"range: values run from {kept[0]:g} to {kept[-1]:g}; twice that span is still called possible")
    return Guess(name, Feature(name, "numeric", None, low, high, tuple(markers)), tuple(reasons))


def find_markers(measured: Floats, distinct: Floats) -> tuple[list[float], list[str]]:
    """Return the values that look like missing markers, and for each candidate the reason for or against."""
    markers: list[float] = []
    reasons: list[str] = []
    for candidate, rest, edge in (
        (distinct[0], distinct[1:], distinct[1]),
        (distinct[-1], distinct[:-1], distinct[-2]),
    ):
        if candidate not in USUAL_MARKERS or len(distinct) < MIN_DISTINCT:
            continue
        n_rows = int((measured == candidate).sum())
        gap = float(np.median(np.diff(rest)))
        verb = "start" if edge > candidate else "end"
        words = f"{candidate:g} stands in {n_rows} rows and the other values {verb} at {edge:g}"
        apart = abs(edge - candidate) >= ISOLATION * gap
        if apart and MIN_MARKER_ROWS <= n_rows <= MAX_MARKER_SHARE * len(measured):
            markers.append(float(candidate))
            reasons.append(f"{words}: looks like a missing marker")
        else:
            reasons.append(f"{words}: looks like a real value")
    return markers, reasons


def possible_range(low: float, high: float, *, has_markers: bool) -> tuple[float, float]:
    """Return generous bounds around the values seen, on round numbers."""
    span = high - low
    top = round_out(high + span) if high + span > 0 else 0.0
    if low < 0:
        return -round_out(span - low), top
    return (round_in(low / 2) if has_markers else 0.0), top


def round_out(value: float) -> float:
    """Return `value` > 0 rounded up to 1, 1.5, 2, 3, ... times a power of ten; infinity past the largest float."""
    if value == math.inf:
        return value
    # Through text, not 3 * 0.1: the settings file must hold exactly the bound that was meant.
    _, _, exponent = f"{value:.17e}".partition("e")
    steps = (float(f"{step}e{exponent}") for step in (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9, 10))
    return next(step for step in steps if step >= value)


def round_in(value: float) -> float:
    """Return `value` >= 0 rounded down to one significant digit."""
    digits, _, exponent = f"{value:.17e}".partition("e")
    return float(f"{digits[0]}e{exponent}")


def infer_categorical(name: str, cells: NDArray[np.object_]) -> Guess:
    """Return the guess for a column of text."""
    present = [cell for cell in cells.tolist() if cell is not None]
    if not present:
        raise refuse_empty(name)
    distinct = set(present)
    if len(distinct) == 1:
        return Guess(name, None, (f"left out: every value is {present[0]!r}",))
    if len(distinct) == len(cells):
        return Guess(name, None, ("left out: every value is different, like an identifier",))
    reasons = [f"text with {len(distinct)} different values: categories; others are accepted and counted as unseen"]
    if len(present) < len(cells):
        reasons.append(f"{len(cells) - len(present)} empty values: missing, a category of their own")
    return Guess(name, Feature(name, "categorical"), tuple(reasons))


def infer_target(name: str, cells: NDArray[Any]) -> tuple[Target, str]:
    """Return the target with its negative value first, and the reason for that order.

    Raises
    ------
    TargetInvalid
        The column does not hold exactly two different values, or some are missing.
    """
    listed = [None if cell != cell else cell for cell in cells.tolist()]  # noqa: PLR0124  only NaN differs from itself
    distinct = sorted({cell for cell in listed if cell is not None}, key=lambda cell: (str(type(cell)), cell))
    if len(distinct) != BINARY or None in listed:
        shown = ", ".join(f"{cell:g}" if isinstance(cell, float) else repr(cell) for cell in distinct[:6])
        empty = sum(cell is None for cell in listed)
        raise TargetInvalid(
            problem=f"target {name!r} has {len(distinct)} different values ({shown}) and {empty} empty ones",
            expected="exactly two different values and none empty (only binary targets are supported)",
            action="choose another target, or remove the rows that are neither",
        )
    values = [as_label(cell) for cell in distinct]
    if str(values[1]).lower() in USUAL_NEGATIVES and str(values[0]).lower() not in USUAL_NEGATIVES:
        distinct.reverse()
        values.reverse()
    share = sum(cell == distinct[1] for cell in listed) / len(listed)
    return Target(name, values[0], values[1]), f"{values[1]!r} is the positive class ({share:.0%} of the rows)"


def as_label(cell: float | str) -> Label:
    """Return a value of the target as a label: a whole number as such, anything else as text."""
    return int(cell) if isinstance(cell, float) and cell.is_integer() else str(cell)
