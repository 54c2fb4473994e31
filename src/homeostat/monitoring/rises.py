"""How surprising it is that a share has risen: exact p-values for rows that are exchangeable if nothing has changed.

Not here: which shares are watched, or how small a p-value must be (`monitoring.arrivals`). Pure.
"""

from collections.abc import Sequence

import numpy as np
from scipy import special, stats

from homeostat.records import Counts, Floats, NumericProfile


def p_of_rise(hits: int, n_rows: int, *, hits_then: int, n_then: int) -> float:
    """Return the one-sided p-value of Fisher's exact test: the chance of so many of all hits among the new rows.

    A larger `hits_then` gives a larger p-value: where it is only a bound on the true count, the test stays valid.
    """
    if not n_rows or not n_then:
        return 1.0
    return float(stats.hypergeom.sf(hits - 1, n_rows + n_then, hits + hits_then, n_rows))


def outer_values(cells: NumericProfile, share: float) -> tuple[float, float, int]:
    """Return the reference values beyond which at most `share` of the others lie, low and high, and how many may.

    The low one is the value of rank k from below, the high one of rank k from above, k - 1 = floor(share * n): the
    number of new values beyond is then tested by `p_of_rise` with hits_then = k - 1. (They wait for k - 1 of the
    reference, a negative hypergeometric variable, whose tail is that of Fisher's test. New values equal to the bound
    count as within, so that ties make it conservative.) At least one value of the reference must be measured.
    """
    at = cells.counts[2::2]
    n_beyond = int(share * at.sum())
    # Each reference value was measured at least once: so many of them from either end hold all that may lie beyond.
    tails = at[: n_beyond + 1], at[::-1][: n_beyond + 1]
    low, high = (int(np.searchsorted(np.cumsum(tail), n_beyond, side="right")) for tail in tails)
    return float(cells.edges[low]), float(cells.edges[at.size - 1 - high]), n_beyond


def p_of_unseen(then: Counts, now: Counts, unseen: Sequence[int]) -> float:
    """Return the p-value of new rows in categories that the reference does not hold.

    Not Fisher's test: of a column of names, every new row is unseen though nothing has changed. Two bounds, given how
    often each category occurs in both samples together, at twice the smaller one:

    - many new categories. One row of each category, chosen by chance, is a simple random sample of all rows; at least
      as many of them are new as there are categories that only new rows hold.
    - one large new category. The chance that all rows of one category are new, summed over all of at least its size.

    Parameters
    ----------
    then, now
        Rows of the reference and new rows in each category of the reference, shape (n_categories,).
    unseen
        New rows in each other category, at least 1 in each.
    """
    n_then, n_rows = int(then.sum()), int(now.sum()) + sum(unseen)
    if not unseen or not n_then:
        return 1.0
    sizes = np.concatenate([then + now, np.array(unseen, dtype=np.int64)])
    many = float(stats.hypergeom.sf(len(unseen) - 1, n_then + n_rows, sizes.size, n_rows))
    large = float(chance_all_new(sizes[sizes >= max(unseen)], n_then, n_rows).sum())
    return min(1.0, 2 * min(many, large))


def chance_all_new(sizes: Counts, n_then: int, n_rows: int) -> Floats:
    """Return the chance that all of `sizes` given rows are among the new ones: C(n_rows, size) / C(all, size)."""
    fitting = sizes[sizes <= n_rows].astype(np.float64)
    n_all = n_then + n_rows
    chances: Floats = np.exp(
        special.gammaln(n_rows + 1.0)
        - special.gammaln(n_rows - fitting + 1.0)
        - special.gammaln(n_all + 1.0)
        + special.gammaln(n_all - fitting + 1.0)
    )
    return chances
