"""Guessing what the numbers of a column may be: missing markers, the possible range, identifiers and dates.

Not here: columns of text (`validation.text_guesses`). Pure. When in doubt a value is allowed, and the reason says so.
"""

import math
import re
from collections.abc import Mapping
from datetime import datetime

import numpy as np

from homeostat.records import Feature, Floats
from homeostat.validation.guesses import Guess, in_digits, in_rows, leave_out

# Numbers that people write for "not measured".
USUAL_MARKERS = (0.0, -1.0, -9.0, -99.0, -999.0, -9999.0, 999.0, 9999.0, 99999.0)
# A marker stands apart from the measured values by this many typical gaps between neighbours.
ISOLATION = 5.0
# ... and by this share of their span: among very many values every gap is a large one.
MIN_GAP_SHARE = 0.01
MIN_DISTINCT = 10
MIN_MARKER_ROWS = 2
MAX_MARKER_SHARE = 0.6
# The last word of a column's name that says that its numbers only name things, and how many would be groups.
ID_WORDS = frozenset({"id", "ids", "uuid", "guid", "key", "pk", "rowid"})
COUNT_WORDS = ID_WORDS | {"", "index", "idx", "nr", "no", "num", "number", "unnamed"}
MAX_GROUPS = 50
# A column without such a name counts its rows if there are so many, and its numbers are as dense as this.
MIN_COUNTED = 200
DENSITY = 1.5
TIME_WORDS = frozenset({"time", "timestamp", "date", "datetime", "day", "at", "ts", "epoch", "created", "updated"})
# Seconds since 1970 from 1990 to 2060, and the same in thousandths and millionths.
EPOCH_SECONDS = (631_152_000, 2_840_140_800)
EPOCH_UNITS = (1, 1_000, 1_000_000)
FIRST_DAY, LAST_DAY = 19000101, 21001231
FLAG = (0.0, 1.0)


def infer_numbers(name: str, values: Floats, words: Mapping[str, int]) -> Guess:
    """Return the guess for a column of numbers.

    Parameters
    ----------
    values
        Shape (n_rows,), NaN where no number stands.
    words
        The texts that stand among the numbers and mean "missing", each with its number of rows.
    """
    measured = values[np.isfinite(values)]
    told = [f"{word!r} stands in {in_rows(count)}: means missing" for word, count in words.items()]
    if not len(measured):
        return leave_out(name, "every value is missing", *told)
    distinct = np.unique(measured)
    if len(distinct) == 1:
        return leave_out(name, f"every value is {in_digits(distinct[0])}")
    reason = tell_moments(name, distinct)
    if reason:
        return Guess(name, None, (f"left out: {reason}",), is_moment=True)
    reason = tell_identifier(name, measured, distinct)
    if reason:
        return leave_out(name, reason)
    markers, reasons = find_markers(measured, distinct)
    kept = distinct[~np.isin(distinct, markers)]
    low, high = possible_range(float(kept[0]), float(kept[-1]), has_markers=bool(markers))
    n_missing = int(np.isnan(values).sum()) - sum(words.values())
    if n_missing:
        reasons.append(f"{n_missing} empty values: missing, imputed")
    ends = f"{in_digits(kept[0])} to {in_digits(kept[-1])}"
    reasons.append(f"range: values run from {ends}; twice that span is still called possible")
    if len(distinct) == len(measured) >= MIN_COUNTED and np.array_equal(distinct, np.floor(distinct)):
        reasons.append("every value is a different whole number: remove the column if it only names the rows")
    booleans = None
    if tuple(distinct.tolist()) == FLAG:
        booleans = (0, 1)
        reasons.append("booleans: only 0 and 1 stand here, so false and true are taken as these")
    return Guess(name, Feature(name, "numeric", None, low, high, (*markers, *words), booleans), (*told, *reasons))


def name_words(name: str) -> list[str]:
    """Return the words of a column's name in small letters: CustomerID, customer_id and "customer id" have two."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]


def tell_identifier(name: str, measured: Floats, distinct: Floats) -> str:
    """Return why numbers only name their rows, or nothing if they may measure something."""
    n_rows, n_values = len(measured), len(distinct)
    if not np.array_equal(distinct, np.floor(distinct)):
        return ""
    last = (name_words(name) or [""])[-1]
    if n_values == n_rows and last in COUNT_WORDS:
        return "whole numbers, all different, with the name of an identifier"
    if last in ID_WORDS and n_values > MAX_GROUPS:
        return f"{n_values} different whole numbers with the name of an identifier"
    if n_values == n_rows >= MIN_COUNTED and distinct[-1] - distinct[0] < DENSITY * n_rows:
        return f"whole numbers from {distinct[0]:.15g} to {distinct[-1]:.15g}, each once: they count the rows"
    return ""


def tell_moments(name: str, distinct: Floats) -> str:
    """Return why whole numbers are dates or moments, or nothing if they are not."""
    if len(distinct) <= MIN_DISTINCT or not np.array_equal(distinct, np.floor(distinct)):
        return ""
    low, high = float(distinct[0]), float(distinct[-1])
    if low >= FIRST_DAY and high <= LAST_DAY and all(map(is_day, distinct[:: max(1, len(distinct) // 500)].tolist())):
        return f"dates written as numbers, from {low:.0f} to {high:.0f}"
    if not TIME_WORDS & set(name_words(name)):
        return ""
    for unit in EPOCH_UNITS:
        if EPOCH_SECONDS[0] * unit <= low and high <= EPOCH_SECONDS[1] * unit:
            return f"moments, counted in seconds since 1970{'' if unit == 1 else f' times {unit}'}"
    return ""


def is_day(number: float) -> bool:
    """Return whether a number such as 20240229 is a day of the calendar."""
    try:
        datetime.strptime(f"{number:.0f}", "%Y%m%d")  # noqa: DTZ007  a day has no zone
    except ValueError:
        return False
    return True


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
        words = f"{in_digits(candidate)} stands in {in_rows(n_rows)} and the other values {verb} at {in_digits(edge)}"
        apart = abs(edge - candidate) >= max(ISOLATION * gap, MIN_GAP_SHARE * (rest[-1] - rest[0]))
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
