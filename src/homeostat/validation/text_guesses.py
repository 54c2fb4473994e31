"""Guessing what the texts of a column are: categories, booleans, missing markers, dates, identifiers or free text.

Not here: columns of numbers (`validation.number_guesses`). Pure. A text is left out only for a reason that is told.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import islice

from homeostat.records import Feature
from homeostat.validation.guesses import Guess, in_percent, in_rows, leave_out

# What people write where nothing is known, in small letters.
NO_VALUE = frozenset({"?", "na", "n/a", "#n/a", "<na>", "null", "nan", "-", "--", "."})
# Among numbers these mean it too; as a category they may be an answer.
NO_NUMBER = NO_VALUE | {"none", "missing", "unknown", "not available", "nil"}
BOOLEANS = (
    ("false", "true"),
    ("no", "yes"),
    ("n", "y"),
    ("f", "t"),
    ("off", "on"),
    ("nein", "ja"),
    ("non", "oui"),
)
WORDS = ("false", "true")
# So many categories a model tells apart (training.preprocessing.MAX_CATEGORIES); the others count as unseen.
TOLD_APART = 50
# A column of more is of use if those are most of its rows.
MIN_COVERED = 0.5
MAX_DIFFERENT = 0.5
SAMPLE = 300
CODE = re.compile(r"0\d+")
UUID = re.compile(r"\{?[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}\}?|[0-9a-fA-F]{32,}")
# 24.12.2024, 12/24/24, 2024/12/24 and "Dec 24, 2024", alone or before a time; ISO 8601 is asked of the library.
DAYS = ("%d.%m.%Y", "%d.%m.%y", "%d/%m/%Y", "%m/%d/%Y", "%m/%d/%y", "%d/%m/%y", "%Y/%m/%d", "%d-%m-%Y", "%m-%d-%Y")
NAMED_DAYS = ("%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%d-%b-%Y", "%d-%b-%y")
TIMES = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
LONGEST_MOMENT = 40
ISO = "ISO 8601"


def infer_texts(name: str, counts: Mapping[str, int], n_rows: int) -> Guess:
    """Return the guess for a column of text.

    Parameters
    ----------
    counts
        Each different text with its number of rows.
    n_rows
        All rows, those without a text too.
    """
    markers = sorted(text for text in counts if text.lower() in NO_VALUE)
    known = Counter({text: count for text, count in counts.items() if text not in markers})
    n_present = known.total()
    n_empty = n_rows - n_present - sum(counts[marker] for marker in markers)
    missing = [f"{marker!r} stands in {in_rows(counts[marker])}: means missing" for marker in markers]
    if not known:
        return leave_out(name, "every value is missing", *missing)
    if n_empty:
        missing.append(f"{n_empty} empty values: missing, a category of their own")
    if len(known) == 1 and n_present == n_rows:
        return leave_out(name, f"every value is {next(iter(known))!r}")
    form = find_moments(list(islice(known, SAMPLE)))
    if form:
        reason = f"left out: dates or moments such as {next(iter(known))!r}"
        more = () if form == ISO else ("written as 2024-12-31 they could order the rows in time (training.time)",)
        return Guess(name, None, (reason, *more), is_moment=form == ISO)
    codes = ("leading zeros: numbers that are codes and no amounts",) if any(map(CODE.fullmatch, known)) else ()
    reason = tell_useless(known, n_present)
    if reason:
        return leave_out(name, reason, *codes)
    booleans = find_booleans(list(known))
    declared = None if booleans == WORDS else booleans
    reasons = [describe_categories(known, n_present), *codes]
    if declared is not None:
        reasons.append(f"booleans: false is taken as {declared[0]!r} and true as {declared[1]!r}")
    feature = Feature(name, "categorical", missing=tuple(markers), booleans=declared)
    return Guess(name, feature, (*reasons, *missing))


def tell_useless(known: Counter[str], n_present: int) -> str:
    """Return why no model can learn from these texts, or nothing if one can."""
    n_different = len(known)
    if all(map(UUID.fullmatch, islice(known, SAMPLE))):
        return f"{n_different} different identifiers such as {next(iter(known))!r}"
    if n_different == n_present > 1:
        return "every value is different, like an identifier"
    if n_different <= TOLD_APART:
        return ""
    if n_different > MAX_DIFFERENT * n_present:
        return f"{n_different} different values in {in_rows(n_present)}, like names or free text"
    covered = cover(known, n_present)
    if covered < MIN_COVERED:
        return (
            f"{n_different} different values; a model tells {TOLD_APART} apart, and the most frequent {TOLD_APART} "
            f"are only {in_percent(covered)} of the rows"
        )
    return ""


def describe_categories(known: Counter[str], n_present: int) -> str:
    """Return what becomes of the texts."""
    if len(known) <= TOLD_APART:
        return f"text with {len(known)} different values: categories; others are accepted and counted as unseen"
    return (
        f"text with {len(known)} different values: the {TOLD_APART} most frequent, "
        f"{in_percent(cover(known, n_present))} of the rows, are told apart; the others count as unseen"
    )


def cover(known: Counter[str], n_present: int) -> float:
    """Return the share of the rows that have one of the categories that a model tells apart."""
    return sum(count for _, count in known.most_common(TOLD_APART)) / n_present


def find_booleans(values: Sequence[str]) -> tuple[str, str] | None:
    """Return the texts for false and true, if a column has these and no other."""
    by_word = {value.lower(): value for value in values}
    if len(values) != len(by_word):
        return None
    for false, true in BOOLEANS:
        if set(by_word) == {false, true}:
            return by_word[false], by_word[true]
    return None


def find_moments(values: Sequence[str]) -> str:
    """Return the form in which each text is a date or a moment, or nothing if there is none."""
    if any(len(value) > LONGEST_MOMENT for value in values):
        return ""
    if all(map(is_iso, values)):
        return ISO
    forms = (day + time for day in (*DAYS, *NAMED_DAYS) for time in TIMES)
    return next((form for form in forms if all(fits(value, form) for value in values)), "")


def is_iso(text: str) -> bool:
    """Return whether a text is a date or a moment of ISO 8601, with its marks: 20240101 alone is a number."""
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return "-" in text


def fits(text: str, form: str) -> bool:
    """Return whether a text is a moment in a form of `strptime`."""
    try:
        datetime.strptime(text, form)  # noqa: DTZ007  only whether it can be read
    except ValueError:
        return False
    return True
