"""On which side the rows of files fall that no time orders: equal rows together, as long as they are few.

Not here: the side of one row by its id (`data.snapshots.choose_side`), or rows that time orders (`data.times`).
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from homeostat.data.columns import texts
from homeostat.data.snapshots import FILE, choose_side
from homeostat.records import Counts, Texts

# So many equal rows with the same outcome keep together: copies of one record, or near enough. Further ones are a habit
# of the table, whose rate is what can be learned: a table of two columns with ten categories each has no more than a
# hundred different rows, and with whole groups of them on one side the other would be of another world, or empty.
TOGETHER = 5


def choose_sides(ids: Texts, *, origin: str, anchor_share: float, recent_share: float) -> Texts:
    """Return the side of each row by its id alone, shape (n_rows,)."""
    shares = {"anchor_share": anchor_share, "recent_share": recent_share}
    return texts([choose_side(row_id, origin=origin, **shares) for row_id in ids.tolist()])


def place_files(ids: Texts, labels: NDArray[np.int8], *, anchor_share: float) -> Texts:
    """Return the side of each row of files, shape (n_rows,), from the ids of its features and its outcome.

    It follows from the features; from the sixth equal row with the same outcome on, from its number among them too.
    The order of the rows does not matter, and further rows never move those that were there.
    """
    lines = zip(ids.tolist(), labels.tolist(), number_copies(ids, labels).tolist(), strict=True)
    names = [row_id if number < TOGETHER else f"{row_id}|{label}|{number}" for row_id, label, number in lines]
    return choose_sides(texts(names), origin=FILE, anchor_share=anchor_share, recent_share=0)


def number_copies(ids: Texts, labels: NDArray[np.int8]) -> Counts:
    """Return which of the equal rows with the same outcome each row is, from 0, shape (n_rows,)."""
    frame = pl.DataFrame({"id": pl.Series(ids.tolist(), dtype=pl.String), "label": labels})
    numbers = frame.select(pl.int_range(pl.len()).over("id", "label")).to_series()
    return np.asarray(numbers.to_numpy(), dtype=np.int64)
