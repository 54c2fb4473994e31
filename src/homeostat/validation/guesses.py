"""What a guess about a column is: the feature it becomes, or that it is left out, with the reasons.

Not here: making one (`validation.inference`). Pure.
"""

from dataclasses import dataclass

from homeostat.records import Feature


@dataclass(frozen=True, slots=True)
class Guess:
    """A feature with the reasons for its settings, or, if `feature` is None, the reason why the column is left out.

    `is_moment` says that the column was left out because it tells when something was, in a form that orders the rows.
    """

    column: str
    feature: Feature | None
    reasons: tuple[str, ...]
    is_moment: bool = False


def leave_out(name: str, reason: str, *more: str) -> Guess:
    """Return the guess that a column is no input."""
    return Guess(name, None, (f"left out: {reason}", *more))


def in_rows(count: int) -> str:
    """Return a number of rows in words."""
    return f"{count} row{'' if count == 1 else 's'}"


def in_digits(value: float) -> str:
    """Return a number as a person writes it: to six digits, a whole number with all of them and no power of ten."""
    if value.is_integer() and abs(value) < 1e15:  # noqa: PLR2004  beyond, not every digit is known
        return f"{value:.0f}"
    return f"{value:g}"


def in_percent(share: float) -> str:
    """Return a share as a person reads it: whole percent, below one with as many digits as it takes."""
    if share == 0 or share >= 0.01:  # noqa: PLR2004  one percent
        return f"{share:.0%}"
    return f"{share * 100:.1g}%"
