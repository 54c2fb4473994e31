"""Guessing a schema from a table, each guess with its reason, for `homeostat init`.

Not here: reading the table (`data.sources`), writing the settings file (`cli.init`), or the target
(`validation.outcome_guesses`). Pure. A guess is meant to be read by a person: when in doubt a value is allowed, and the
reason says so.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from homeostat.errors import DataInsufficient
from homeostat.records import Feature
from homeostat.validation.guesses import Guess, in_rows, leave_out
from homeostat.validation.number_guesses import infer_numbers
from homeostat.validation.text_guesses import NO_NUMBER, infer_texts

MIN_ROWS = 20
# Other texts among numbers are taken for "missing" if they are so few, in rows and in kinds.
MAX_WORD_SHARE = 0.1
MAX_WORDS = 5
# In no name of a member of an object that msgspec decodes.
UNSENDABLE = frozenset('"\\') | frozenset(map(chr, range(32)))
# As many different values, numbers and texts together, may be categories.
MAX_MIXED = 50


def infer_features(columns: Iterable[tuple[str, NDArray[Any]]]) -> list[Guess]:
    """Return a guess for each input column, taken one after the other.

    Parameters
    ----------
    columns
        The name of each column and its cells, shape (n_rows,): float64 (NaN missing) for a column of numbers, else
        objects: numbers, texts, booleans, None.

    Raises
    ------
    DataInsufficient
        There are too few rows, or no column can be an input.
    """
    guesses = []
    for name, cells in columns:
        if len(cells) < MIN_ROWS:
            raise DataInsufficient(
                problem=f"the table has {in_rows(len(cells))}",
                expected=f"at least {MIN_ROWS} rows to infer a schema",
                action="give a larger file",
            )
        guesses.append(infer_column(name, cells))
    if not any(guess.feature for guess in guesses):
        raise DataInsufficient(
            problem="no column beside the target varies" if guesses else "there is no column beside the target",
            expected="at least one input column",
            action="check the file and the name of the target"
            + "".join(f"; {guess.column!r} is {guess.reasons[0]}" for guess in guesses[:3]),
        )
    return guesses


def infer_column(name: str, cells: NDArray[Any]) -> Guess:
    """Return the guess for one column."""
    if any(letter in UNSENDABLE for letter in name):
        return leave_out(name, "its name holds a quotation mark, a backslash or a control character: rename the column")
    if cells.dtype == np.float64:
        return infer_numbers(name, cells, {})
    listed = cells.tolist()
    kinds = set(map(type, listed))
    if bool in kinds:
        return infer_booleans(name, listed)
    words = Counter(cell for cell in listed if isinstance(cell, str))
    if float not in kinds:
        return infer_texts(name, words, len(listed))
    return infer_mixed(name, listed, words)


def infer_booleans(name: str, cells: list[bool | None]) -> Guess:
    """Return the guess for a column of booleans: the categories false and true."""
    counts = Counter(str(cell).lower() for cell in cells if cell is not None)
    guess = infer_texts(name, counts, len(cells))
    return guess if guess.feature is None else Guess(name, Feature(name, "categorical"), guess.reasons)


def infer_mixed(name: str, cells: list[float | str | None], words: Counter[str]) -> Guess:
    """Return the guess for a column in which numbers and texts stand: numbers if the texts mean that none is known."""
    numbers = np.array([cell if isinstance(cell, float) else np.nan for cell in cells])
    others = {word: count for word, count in words.items() if word.lower() not in NO_NUMBER}
    n_present = sum(cell is not None for cell in cells)
    few = len(others) <= MAX_WORDS and sum(others.values()) <= MAX_WORD_SHARE * n_present
    if few:
        return infer_numbers(name, numbers, words)
    counts = words + Counter(f"{cell:.15g}" for cell in cells if isinstance(cell, float))
    n_numbers = n_present - words.total()
    if len(counts) > MAX_MIXED and n_numbers > n_present / 2:
        shown = ", ".join(map(repr, list(others)[:3]))
        return leave_out(
            name,
            f"numbers, but among them {len(others)} different texts such as {shown}: mend them, "
            "or declare those that mean missing, to use it",
        )
    return infer_texts(name, counts, len(cells))
