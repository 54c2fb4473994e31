"""Guessing the target: which two values it has and which of them is the positive one; refusing what is no yes or no.

Not here: the other columns (`validation.inference`). Pure. A refusal says what stands there and how to go on.
"""

from collections import Counter
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from homeostat.errors import TargetInvalid
from homeostat.records import Label, Target
from homeostat.validation.guesses import in_digits, in_percent, in_rows
from homeostat.validation.text_guesses import NO_VALUE

BINARY = 2
# A number with more different values, or with fractions, is an amount and no class.
MAX_CLASSES = 20
SHOWN = 4
USUAL_NEGATIVES = frozenset(
    {"0", "no", "n", "false", "f", "negative", "neg", "tested_negative", "-1", "absent", "healthy", "<=50k"}
    | {"nein", "non", "off", "good", "benign", "normal", "ok", "no.", "false.", "<=50k.", "control", "legit"}
)
USUAL_POSITIVES = frozenset(
    {"yes", "y", "true", "t", "positive", "pos", "tested_positive", "present", "sick", ">50k", "ja", "oui", "on"}
    | {"bad", "malignant", "yes.", "true.", ">50k.", "case", "fraud", "churn", "churned", "default", "ill"}
)


def infer_target(name: str, cells: NDArray[Any]) -> tuple[Target, str]:
    """Return the target with its negative value first, and the reason for that order.

    Parameters
    ----------
    cells
        The outcomes, shape (n_rows,): float64 (NaN missing), or objects: numbers, texts, booleans, None. A row without
        an outcome is left out of training.

    Raises
    ------
    TargetInvalid
        The column does not hold exactly two different values.
    """
    listed = [None if cell != cell else cell for cell in cells.tolist()]  # noqa: PLR0124  only NaN differs from itself
    counts = Counter(as_label(cell) for cell in listed if cell is not None)
    if len(counts) != BINARY:
        refuse_target(name, cells, counts)
    values = order_values(counts)
    known = counts.total()
    reason = f"{values[1]!r} is the positive class ({in_percent(counts[values[1]] / known)} of the rows)"
    if known < len(listed):
        reason += f"; {in_rows(len(listed) - known)} without an outcome: left out of training"
    return Target(name, values[0], values[1]), reason


def as_label(cell: float | str | bool) -> Label:  # noqa: FBT001  a cell, not a choice
    """Return a value of the target as a label: a whole number as such, anything else as text."""
    if isinstance(cell, bool):
        return str(cell).lower()
    return int(cell) if isinstance(cell, float) and cell.is_integer() else str(cell)


def order_values(counts: Counter[Label]) -> list[Label]:
    """Return the two values, the negative first: by what they usually mean, numbers by size, texts by frequency."""
    values = sorted(counts, key=lambda value: (str(type(value)), value))
    first, second = (str(value).lower() for value in values)
    if (second in USUAL_NEGATIVES) != (first in USUAL_NEGATIVES):
        return values[::-1] if second in USUAL_NEGATIVES else values
    if (second in USUAL_POSITIVES) != (first in USUAL_POSITIVES):
        return values[::-1] if first in USUAL_POSITIVES else values
    if all(isinstance(value, str) for value in values) and counts[values[1]] > counts[values[0]]:
        return values[::-1]  # what is asked for is rare: an illness, a default, a churn
    return values


def refuse_target(name: str, cells: NDArray[Any], counts: Counter[Label]) -> NoReturn:
    """Raise TargetInvalid for a target that has not two values: what it has, and how to go on."""
    expected = "exactly two different values: Homeostat predicts whether something is so or not"
    numbers = np.array([value for value in counts if not isinstance(value, str)], dtype=np.float64)
    if cells.dtype == np.float64 and len(counts) > BINARY:
        numbers = cells[np.isfinite(cells)]
    n_values = f"{len(counts)} different value{'' if len(counts) == 1 else 's'}"
    unknown = [value for value in counts if str(value).lower() in NO_VALUE]
    if len(counts) - len(unknown) == BINARY:
        problem = f"target {name!r} has {n_values}: {show_counts(counts)}"
        action = f"leave the cells with {unknown[0]!r} empty: a row without an outcome is left out of training"
    elif len(counts) < BINARY:
        problem = f"target {name!r} has {n_values}: {show_counts(counts) or 'every cell is empty'}"
        action = "give rows of both outcomes, or name another target"
    elif len(numbers) and (len(counts) > MAX_CLASSES or not np.array_equal(numbers, np.floor(numbers))):
        low, middle, high = np.quantile(numbers, (0, 0.5, 1)).tolist()
        problem = f"target {name!r} is an amount: {n_values} from {in_digits(low)} to {in_digits(high)} (regression)"
        limit = f"a limit that matters, such as {in_digits(middle)}"
        action = f"add a column that says whether it is above {limit}, and name that"
    else:
        shown = counts.most_common(1)[0][0]
        problem = f"target {name!r} has {n_values}: {show_counts(counts)} (multiclass)"
        action = f"add a column that says whether it is one of them, such as {shown!r} or not, and name that"
    raise TargetInvalid(problem=problem, expected=expected, action=action)


def show_counts(counts: Counter[Label]) -> str:
    """Return the most frequent values with their rows."""
    shown = ", ".join(f"{value!r} ({in_rows(count)})" for value, count in counts.most_common(SHOWN))
    return shown + (f" and {len(counts) - SHOWN} more" if len(counts) > SHOWN else "")
