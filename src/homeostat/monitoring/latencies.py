"""How long requests took, as counts in fixed buckets: histograms that add up, in memory and in the database.

Not here: what is measured (`web.reporting`), or how slow is too slow (`monitoring.bake`). Pure.
"""

from bisect import bisect_left

import numpy as np

from homeostat.records import Counts

# Upper ends in seconds, each a quarter above the one before, from 0.1 ms to 21 s; one more bucket holds the rest.
EDGES_S = tuple(1e-4 * 1.25**place for place in range(56))
N_BUCKETS = len(EDGES_S) + 1


def bucket_of(seconds: float) -> int:
    """Return the number of the bucket that a duration falls into: the first whose upper end is not below it."""
    return bisect_left(EDGES_S, seconds)


def upper_quantile(counts: Counts, share: float) -> float:
    """Return the upper end of the bucket that holds the quantile, in seconds; infinite in the last one.

    Parameters
    ----------
    counts
        Requests per bucket, shape (N_BUCKETS,), at least one.
    share
        In (0, 1): the share of the requests that were no slower.
    """
    place = int(np.searchsorted(np.cumsum(counts), share * counts.sum()))
    return EDGES_S[place] if place < len(EDGES_S) else float("inf")


def count_slower(counts: Counts, seconds: float) -> int:
    """Return how many requests were certainly slower than so many seconds: those of the buckets wholly above."""
    return int(counts[bucket_of(seconds) + 1 :].sum())
