"""What a difference between two samples says: a statistic, an effect and a p-value from counts in the same cells.

Not here: which features are tested and called drifted (`monitoring.drift`), or counting (`validation.profiles`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Protocol

import numpy as np
from scipy import special, stats

from homeostat.records import Counts, Floats, Kind

# Largest n_reference * n_current whose p-value is counted exactly, for example 20,000 rows against a window of 200.
# Counting takes 1 ms for 768 x 200, 2 ms for 10,000 x 200, 7 ms for 20,000 x 200 and 12 ms for 2,000 x 2,000.
EXACT_UP_TO = 4_000_000
# Least effective sample size for which the expansion stands in for scipy's `kstwo`, which takes 0.7 ms there and
# 65 ms at 50,000.
EXPANSION_FROM = 1_000
# Least rows that a category must be expected to have in the smaller sample to be a cell of its own: for fewer, the
# statistic is not chi-square distributed (Cochran 1954).
LEAST_EXPECTED = 5
# The same for the cell that pools them.
LEAST_EXPECTED_RARE = 1


@dataclass(frozen=True, slots=True)
class Significance:
    """What one test says: its statistic, the p-value in 0-1, and how that was computed.

    `effect`, in 0-1, is how far the two samples are apart, whatever their sizes.
    """

    statistic: float
    effect: float
    p_value: float
    method: str


class DriftTest(Protocol):
    """A two-sample test on the counts of two samples in the same cells."""

    @property
    def name(self) -> str:
        """The test's name in reports."""
        ...

    def compare(self, reference: Counts, current: Counts) -> Significance:
        """Test whether two samples come from one distribution.

        Parameters
        ----------
        reference, current
            Rows per cell, shape (n_cells,), at least one row each. Cell 0 counts missing values. The cells of a
            numeric feature ascend; those of a categorical one have no order. Many may be empty in both.
        """
        ...


class KolmogorovSmirnov:
    """The two-sided two-sample Kolmogorov-Smirnov test. Missing values count as below every measured one."""

    name: ClassVar[str] = "kolmogorov-smirnov"

    def compare(self, reference: Counts, current: Counts) -> Significance:
        """Return the largest distance between the two distribution functions, exactly, and its p-value.

        That distance is the effect as well.
        """
        n_reference, n_current = int(reference.sum()), int(current.sum())
        # Only the steps of the current sample matter: its function is farthest above the other just after one of them,
        # farthest below just before one. A window has few steps, a reference 100,000.
        # As booleans: among 200,000 cells numpy finds the few that are not 0 in 1 ms, those that are True in 0.05 ms.
        steps = np.flatnonzero(current > 0)
        after_reference, after_current = np.cumsum(reference)[steps], np.cumsum(current[steps])
        before_reference, before_current = after_reference - reference[steps], after_current - current[steps]
        # In whole numbers, so that the distance is rounded once and equal shares differ by exactly zero.
        above = after_current * n_reference - after_reference * n_current
        below = before_reference * n_current - before_current * n_reference
        statistic = int(max(above.max(), below.max())) / (n_reference * n_current)
        p_value, method = ks_p_value(statistic, n_reference, n_current)
        return Significance(statistic, statistic, p_value, method)


class ChiSquare:
    """Pearson's chi-square test of homogeneity, without a continuity correction. Missing is a category.

    Categories that are rare in both samples together are pooled with those that the reference does not hold
    (`pool_rare_cells`). Without that a feature with 300 rare categories fired in a third of the windows without a
    drift, 200 rows against 768: the reference holds each of its categories at least once, so what it does not hold
    always comes from the other side.

    References
    ----------
    Cochran (1954), Some methods for strengthening the common chi-square tests, Biometrics 10(4).
    """

    name: ClassVar[str] = "chi-square"

    def compare(self, reference: Counts, current: Counts) -> Significance:
        """Return the chi-square statistic of the 2 x C table of the pooled cells, and its p-value.

        The effect is the total variation distance of the two samples in these cells: the share of the rows that
        would have to change category.
        """
        table = pool_rare_cells(reference, current).astype(np.float64)
        expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / table.sum()
        statistic = float(((table - expected) ** 2 / expected).sum())
        freedom = table.shape[1] - 1
        p_value = float(special.chdtrc(freedom, statistic)) if freedom else 1.0
        shares = table / table.sum(axis=1, keepdims=True)
        effect = min(1.0, float(np.abs(shares[0] - shares[1]).sum() / 2))
        return Significance(statistic, effect, p_value, "asymptotic")


# The test of each kind of feature; `DriftTestConformance` in the tests says what one must hold to.
DRIFT_TESTS: Mapping[Kind, DriftTest] = {
    "numeric": KolmogorovSmirnov(),
    "categorical": ChiSquare(),
}


def pool_rare_cells(reference: Counts, current: Counts) -> Counts:
    """Return the counts of both samples in the cells that chi-square compares, shape (2, C), each with rows.

    One cell holds the categories that the reference does not (the last of both arguments) and every one, missing
    among them, of which fewer than `LEAST_EXPECTED` rows are expected in the smaller sample if both are alike. If
    fewer than `LEAST_EXPECTED_RARE` are expected in that cell too, it joins the rarest other one: a single stray row
    is no drift. Only the sum of the two samples decides, never which of them a category was seen in: the two stay
    exchangeable when nothing has drifted.
    """
    table = np.stack([reference, current])
    together = table.sum(axis=0)
    expected = together * (table.sum(axis=1).min() / together.sum())
    rare = expected < LEAST_EXPECTED
    rare[-1] = True
    frequent, pooled = table[:, ~rare], table[:, rare].sum(axis=1, keepdims=True)
    if expected[rare].sum() >= LEAST_EXPECTED_RARE or not frequent.size:
        return np.hstack([frequent, pooled])
    frequent[:, frequent.sum(axis=0).argmin()] += pooled[:, 0]
    return frequent


def ks_p_value(statistic: float, n_reference: int, n_current: int) -> tuple[float, str]:
    """Return the p-value of a two-sided two-sample Kolmogorov-Smirnov statistic, and how it was computed.

    `exact` while n_reference * n_current is at most `EXACT_UP_TO`: the probability, for samples without ties, of a
    distance of at least `statistic`; with ties the true probability is smaller, so the test is conservative.
    `asymptotic` beyond: the distribution of the one-sample statistic at the effective sample size, from scipy, and
    by `kolmogorov_tail` where that size is at least `EXPANSION_FROM`.

    Parameters
    ----------
    statistic
        The distance of the two distribution functions, in 0-1.
    n_reference, n_current
        Rows of the two samples, missing values included; at least 1.

    References
    ----------
    Hodges (1958), The significance probability of the Smirnov two-sample test, Arkiv for Matematik 3(43).
    Simard, L'Ecuyer (2011), Computing the two-sided Kolmogorov-Smirnov distribution, J. Statistical Software 39(11).
    """
    if n_reference * n_current <= EXACT_UP_TO:
        height = round(statistic * math.lcm(n_reference, n_current))
        return share_of_paths_outside(height, *sorted((n_reference, n_current))), "exact"
    effective = round(n_reference * n_current / (n_reference + n_current))
    if effective >= EXPANSION_FROM:
        return kolmogorov_tail(statistic, effective), "asymptotic"
    return float(np.clip(stats.kstwo.sf(statistic, effective), 0.0, 1.0)), "asymptotic"


def kolmogorov_tail(distance: float, n: int) -> float:
    """Return the probability that the distribution function of n values is `distance` or more from the true one.

    One side alone is exceeded with probability exp(-2 u), u the expansion below in n and distance; the two together
    with K(sqrt(u)), K the complement of Kolmogorov's limit distribution. Against scipy's `kstwo.sf`, which takes
    65 ms at n = 50,000, the relative error for every p above 1e-12 is below 7e-4 at n = 1,000, 2e-4 at 2,000 and
    3e-6 at 20,000; this takes microseconds.

    Parameters
    ----------
    distance
        In 0-1.
    n
        Rows, at least `EXPANSION_FROM`.

    References
    ----------
    Lauwerier (1963), The asymptotic expansion of the statistical distribution of N. V. Smirnov, Zeitschrift fuer
    Wahrscheinlichkeitstheorie 2: the logarithm of his series gives u, in which the terms of order z^5 cancel.
    """
    x = distance
    # The logarithm of his series up to n^(-3/2), in x = z / sqrt(n).
    u = n * x**2 + x / 3 - 2 / 9 * (x**2 - n * x**4) + 44 / 405 * x**3 - 2 / 45 * x / n
    return float(special.kolmogorov(math.sqrt(u)))


# A watch asks the same again and again: distances are multiples of 1 / lcm(m, n). With 20 features and windows of 200
# rows a row costs 27 microseconds in place of 76 against 1,000 rows, 35 against 768 after 400 windows.
@lru_cache(maxsize=65_536)
def share_of_paths_outside(height: int, m: int, n: int) -> float:
    """Return the share of the lattice paths from (0, 0) to (m, n) that ever have lcm(m, n) |x/m - y/n| >= height.

    A path takes a step right for each value of one sample and a step up for each of the other, in ascending order:
    without ties all paths are equally likely (Hodges 1958). Counted column by column within the band of points that
    are not outside: `outside`, shape (n + 1,), holds the paths that reach (x, y) and have been outside before, times
    one power of two. Of a point outside that is every path, C(x + y, x), whose logarithm leaves ten correct digits.
    Requires 1 <= m <= n and m n <= `EXACT_UP_TO`: the counts then stay within the range of a double.
    """
    step_x, step_y = n // math.gcd(m, n), m // math.gcd(m, n)
    columns = np.arange(m + 1)
    low = np.maximum((columns * step_x - height) // step_y + 1, 0)
    high = np.minimum(-(-(columns * step_x + height) // step_y), n + 1)
    # A random walk with the drift of the diagonal visits (x, y) with probability C(x + y, x) a^x b^y <= 1, a = m/(m+n).
    # Columns are scaled by a^x, so they span b^-n <= 2^2000: from 2^-1000 on, both ends of the span are doubles. As
    # powers of two the factors round nothing (a itself would, in every column).
    scale = np.round(columns * math.log2(1 + n / m))
    shift = n * math.log2(1 + m / n) / 2
    logarithms = special.gammaln(np.arange(1.0, m + n + 2))

    def every(x: Counts, y: Counts) -> Floats:
        paths: Floats = logarithms[x + y] - logarithms[x] - logarithms[y]
        scaled: Floats = np.exp(paths - (scale[x] + shift) * math.log(2))
        return scaled

    # Each point above the band, as it is in the last column before the band, which only moves up, takes it in.
    above = np.arange(high[0], n + 1)
    outside = np.zeros(n + 1)
    outside[above] = every(np.searchsorted(high, above, side="right") - 1, above)
    # What comes in from the point just below the band.
    inflow = np.where(low > 0, every(columns, np.maximum(low - 1, 0)), 0.0)
    factors = np.exp2(-np.diff(scale, prepend=0.0))
    steps = (column.tolist() for column in (low, high, factors, inflow))
    for first, end, factor, coming_in in zip(*steps, strict=True):
        inside = outside[first:end]
        inside *= factor
        np.add.accumulate(inside, out=inside)
        inside += coming_in
    # The two sides round apart even where every path has been outside.
    return min(1.0, float(outside[n] / every(np.array(m), np.array(n))))
