"""Ten gamblers against uniform p-values: how their money grows, and since when it has been growing.

Not here: where the p-values come from (`monitoring.evidence`), or what much money leads to (`monitoring.guard`).

If the p-values are independent and uniform, every bet below has the expected factor 1, so the money is a martingale
that starts at 1 and reaches c with a chance of at most 1/c, whenever one looks (Ville 1939). Money enters the bets
little by little: what has not entered yet, the `reserve`, can still win on a change that comes late (Shin, Ramdas,
Rinaldo 2022, E-detectors).
"""

from dataclasses import dataclass

import numpy as np

from homeostat.records import Counts, Floats

# Linear bets 1 + t (2p - 1) win while values are large (t > 0) or small, quadratic ones 1 + t (6p^2 - 6p + 1) while
# they are spread wider (t > 0) or narrower than before.
LINEAR = np.array([-0.8, -0.4, -0.15, 0.15, 0.4, 0.8])
QUADRATIC = np.array([-0.8, -0.3, 0.3, 0.8])
N_BETS = LINEAR.size + QUADRATIC.size
# Half of the money for each kind of bet.
SHARES = np.repeat([0.5 / LINEAR.size, 0.5 / QUADRATIC.size], [LINEAR.size, QUADRATIC.size])
# A bet that owns this keeps no more: giving money away keeps the bound, and no double overflows.
CAP = 1e100
# Rows after which the reserve has shrunk to 1 / (1 + ln 2) = .59.
RESERVE_ROWS = 200


@dataclass(frozen=True, slots=True)
class Purses:
    """The money of the bets on d streams, and what it has come to.

    `wealth` has shape (10, d); `value` is what a stream's bets and reserve are worth now and `peak` the most they have
    ever been worth, after any row, both of shape (d,).
    """

    wealth: Floats
    value: Floats
    peak: Floats


def reserve(n_rows: Counts) -> Floats:
    """Return the share of the money that has not entered the bets after so many rows."""
    return np.asarray(1 / (1 + np.log1p(n_rows / RESERVE_ROWS)), dtype=np.float64)


def bet_factors(p_values: Floats) -> Floats:
    """Return by what each bet multiplies its money, shape (n, 10, d), for p-values of shape (n, d); all are >= .2."""
    factors = np.empty((p_values.shape[0], N_BETS, p_values.shape[1]))
    linear = 2 * p_values - 1
    quadratic = 6 * p_values * (p_values - 1) + 1
    np.multiply(LINEAR[:, None], linear[:, None], out=factors[:, : LINEAR.size])
    np.multiply(QUADRATIC[:, None], quadratic[:, None], out=factors[:, LINEAR.size :])
    factors += 1
    return factors


def play(purses: Purses, factors: Floats, *, n_before: int) -> Purses:
    """Return the purses after the next n rows: for each in turn, first money enters every bet, then it is multiplied.

    Parameters
    ----------
    factors
        What `bet_factors` returned, n >= 1.
    n_before
        Rows that have been played before.
    """
    left = reserve(np.arange(n_before, n_before + len(factors) + 1))
    history = np.empty_like(factors)
    wealth = purses.wealth
    # Row by row is as fast as the closed form with running products, and cannot overflow between two rows.
    for after, factor, entering in zip(history, factors, (left[:-1] - left[1:]).tolist(), strict=True):
        np.add(wealth, entering, out=after)
        np.multiply(after, factor, out=after)
        np.minimum(after, CAP, out=after)
        wealth = after
    values = np.einsum("k,nkd->nd", SHARES, history) + left[1:, None]
    return Purses(wealth.copy(), values[-1], np.maximum(purses.peak, values.max(axis=0)))


def follow_runs(runs: Floats, starts: Counts, gains: Floats, *, first_seq: int) -> tuple[Floats, Counts]:
    """Return the runs of luck after one more window, and the window in which each has begun.

    Page's cumulative sum for each bet: its logarithmic gain over the windows since it last was at zero. While nothing
    changes a bet loses on average, so a run is short; a change starts one that lasts.

    Parameters
    ----------
    runs, starts
        Shape (10, d); a start means nothing while its run is zero.
    gains
        The logarithm of each bet's factor over the window, shape (10, d).
    first_seq
        The number of the window's first row.

    References
    ----------
    Page (1954), Continuous inspection schemes, Biometrika 41(1/2).
    """
    longer = np.maximum(runs + gains, 0.0)
    return longer, np.where(runs > 0, starts, first_seq)
